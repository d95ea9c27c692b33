"""What is normal for a model that was not trained here: its schema, its reference days, and what is refused."""

import polars as pl
import pytest

from rota.backends.inline_compute import InlineCompute
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.engines import installed_formats
from rota.errors import InvalidInput, Refused
from rota.manage.adoption import baselines
from rota.manage.adoption import registration as foreign_registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.datasets import build as datasets
from rota.manage.datasets import schemas
from rota.manage.repositories import Repositories
from rota.records.model import ModelVersion
from rota.records.time import DAY_US
from rota.testing import FakeClock

CONVERT = "rota.wiring:convert_in_child"
NOW_US = 20_000 * DAY_US


@pytest.fixture
def repositories():
    metadata = MemoryMetadata()
    return Repositories(
        metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(NOW_US), MemoryTracking(metadata)
    )


@pytest.fixture
def version(repositories):
    """A model of one column "age" and one "name of plan" that nobody reads in training here."""
    linear = pytest.importorskip("sklearn.linear_model")
    model = linear.LinearRegression().fit([[1.0, 2.0], [2.0, 1.0], [3.0, 5.0]], [1.0, 2.0, 3.0])
    adopter = Adopter(repositories, installed_formats(), InlineCompute(), CONVERT)
    offer = foreign_registration.of_model(model, "churn", adopter, input_example=[{"age": 1.0, "paid last month": 2}])
    return foreign_registration.register(adopter, "churn", offer, actor="ana")


def rows(count=90):
    return pl.DataFrame({"age": [float(i % 40) for i in range(count)], "paid last month": [i % 7 for i in range(count)], "other": ["x"] * count})


def baseline(repositories, version, table, **options):
    return baselines.of_rows(repositories, version, table.lazy(), actor="ana", **options)


def test_reference_rows_become_a_dataset_version_and_the_law(repositories, version):
    made = baseline(repositories, version, rows().with_columns(truth=pl.lit(1.0)), label="truth")
    assert schemas.serving(repositories.metadata, "churn") == made
    assert {column.name: (column.type, column.minimum, column.maximum) for column in made.columns}.keys() == {
        "request__age",
        "request__paid_last_month",
    }
    dataset = datasets.get(repositories.metadata, *datasets.parse(made.dataset))
    stored = datasets.read(repositories.tables, dataset)
    assert (dataset.rows, dataset.train_rows, stored.height) == (90, 90, 90)
    assert stored["label"].to_list() == [1.0] * 90
    assert stored["request__age"].dtype == stored["request__paid_last_month"].dtype == pl.Float64
    causes = {edge.cause for edge in repositories.metadata.edges([f"schema:churn@{made.version}"], "causes")}
    assert causes == {"dataset_version:churn@1", "model_version:churn@1"}


def test_rows_without_moments_are_dealt_out_over_the_days_before_now(repositories, version):
    made = baseline(repositories, version, rows())
    at = datasets.read(repositories.tables, datasets.get(repositories.metadata, *datasets.parse(made.dataset)))["at_us"]
    assert sorted(set((at // DAY_US).to_list())) == list(range(20_000 - baselines.UNDATED_DAYS, 20_000))
    assert at.value_counts()["count"].unique().to_list() == [3]


def test_rows_with_moments_keep_them(repositories, version):
    table = rows().with_columns(asked=pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 3, 30), "1d", eager=True, time_zone="UTC"))
    made = baseline(repositories, version, table, timestamp="asked")
    dataset = datasets.get(repositories.metadata, *datasets.parse(made.dataset))
    assert (dataset.end_us - dataset.start_us) // DAY_US == 89


def test_a_second_baseline_is_the_next_version_and_the_law(repositories, version):
    first = baseline(repositories, version, rows())
    second = baseline(repositories, version, rows(120))
    assert (first.version, second.version) == (1, 2)
    assert schemas.active(repositories.metadata, "churn") == second


@pytest.mark.parametrize(
    ("table", "options", "reason"),
    [
        (rows(10), {}, "at least 50"),
        (rows().drop("age"), {}, r"lacks the columns \['age'\]"),
        (rows().with_columns(age=pl.lit("old")), {}, "no float"),
        (rows(), {"timestamp": "asked"}, "no column 'asked'"),
        (rows(), {"timestamp": "other"}, "no timestamp"),
        (rows(), {"label": "truth"}, "no column 'truth'"),
    ],
    ids=["few", "missing", "text", "no moments", "wrong moments", "no label"],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_stored(repositories, version, table, options, reason):
    with pytest.raises(InvalidInput, match=reason):
        baseline(repositories, version, table, **options)
    assert schemas.newest(repositories.metadata, "churn") is None


def test_a_model_trained_here_and_one_that_cannot_be_served_have_no_baseline(repositories, version):
    trained = ModelVersion("delay", 1, "b", "lightgbm", "r1", "delay@1", "", NOW_US)
    with pytest.raises(Refused, match="was trained here"):
        baseline(repositories, trained, rows())
    hopeless = ModelVersion("delay", 1, "", "", "", "", "", NOW_US, unservable="no model")
    with pytest.raises(Refused, match="no model"):
        baseline(repositories, hopeless, rows())
