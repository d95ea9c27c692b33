"""What a run read: data that Rota knows by its node and version, foreign data by its digest."""

import datetime as dt
import hashlib
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

import rota
from rota import wiring
from rota.errors import InvalidInput, NotFound
from rota.manage.experiments import input_tracking
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import Dataset, DatasetDefinition, RandomSplit
from rota.records.time import HOUR_US
from rota.records.tracking import RunInput
from rota.settings import Settings
from rota.testing.story import NOON_US

FIELDS = {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}
SOURCE = Source("flights", FIELDS, "at", id_field="id")
VIEW = FeatureView("airport", [Entity("airport", ["origin"])], SOURCE, {"last": Feature("delay")})
DEFINITION = DatasetDefinition(FeatureService("late", [VIEW]), SOURCE, Feature("delay > 15"), "at", window="9999d", split=RandomSplit(0.3))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with two versions of a dataset."""
    monkeypatch.chdir(tmp_path)
    with wiring.opened(Settings(home=tmp_path / "home")) as platform:
        platform.feed.register([SOURCE, VIEW, DEFINITION.features])
        batch = Batch()
        batch.put(Dataset("late", DEFINITION))
        platform.repositories.metadata.commit(batch)
        for day in range(2):
            platform.features.push("flights", [flight(n) for n in range(day * 30, day * 30 + 30)])
            platform.datasets.build("late")
    return tmp_path / "home"


def flight(n):
    return {"id": f"f{n}", "origin": "JLE"[n % 3], "at": NOON_US + n * HOUR_US, "delay": float(n % 40)}


def stored(home, run):
    with wiring.opened(Settings(home=home)) as platform:
        edges = platform.repositories.metadata.edges([f"experiment_run:{run.id}"], "causes")
        return platform.repositories.tracking.run(run.id), {edge.cause for edge in edges}


def test_a_dataset_that_was_read_is_an_input_of_the_run_with_its_split(home):
    with rota.track("e", home=home) as run:
        rows = rota.read_dataset("late@1", home=home)
    assert (rows.height, rows["is_test"].dtype) == (30, pl.Boolean)
    found, causes = stored(home, run)
    (read,) = found.inputs
    assert (read.name, read.source_type, read.source, read.node) == ("late", "rota_dataset", "late@1", "dataset_version:late@1")
    assert (read.tags["rows"], json.loads(read.tags["split"])["type"]) == ("30", "random")
    assert causes == {"dataset_version:late@1"}
    assert found.tags[input_tracking.UNTRACKED] == "false"


def test_a_name_alone_is_the_newest_version_and_outside_of_a_run_nobody_hears(home):
    assert rota.read_dataset("late", home=home).height == 60
    with pytest.raises(NotFound, match="no version 9"):
        rota.read_dataset("late@9", home=home)
    with pytest.raises(NotFound, match="'other' has no version yet"):
        rota.read_dataset("other", home=home)


def test_features_that_were_joined_are_inputs_of_the_run(home):
    asked = [{"origin": "J", "event_timestamp": dt.datetime(2030, 1, 1, tzinfo=dt.UTC)}]
    with rota.FeatureStore(home) as store, rota.track("e", home=home) as run:
        joined = store.get_historical_features(asked, ["airport:last"]).to_polars()
    found, causes = stored(home, run)
    (read,) = found.inputs
    assert (read.name, read.source_type, read.tags["features"]) == ("flights", "rota_features", "airport:last")
    assert read.node.startswith("source:flights@")
    assert causes == {read.node}
    assert joined.height == 1


def test_what_a_child_reads_is_the_childs_and_it_begins_with_its_parents_data(home):
    with rota.track("e", home=home) as run:
        rota.read_dataset("late@1", home=home)
        with run.child("c") as child:
            rota.read_dataset("late@2", home=home)
    assert [each.source for each in stored(home, run)[0].inputs] == ["late@1"]
    assert {each.source for each in stored(home, child)[0].inputs} == {"late@1", "late@2"}
    assert stored(home, child)[1] == {"dataset_version:late@1", "dataset_version:late@2", f"experiment_run:{run.id}"}


def test_reading_twice_is_one_input(home):
    with rota.track("e", home=home) as run:
        for _ in range(2):
            rota.read_dataset("late@1", home=home)
    assert len(stored(home, run)[0].inputs) == 1


def test_foreign_data_is_known_by_its_digest_and_the_run_is_marked(home, tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,2\n")
    with rota.track("e", home=home) as run:
        file = run.log_input(tmp_path / "rows.csv", context="training")
        uri = run.log_input("s3://bucket/rows.parquet", name="rows")
    assert file.digest == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert (file.name, file.source_type, file.node, dict(file.tags)) == ("rows.csv", "local", "", {"mlflow.data.context": "training"})
    assert (uri.source, uri.node) == ("s3://bucket/rows.parquet", "")
    found, causes = stored(home, run)
    assert (len(found.inputs), causes, found.tags[input_tracking.UNTRACKED]) == (2, set(), "true")
    assert input_tracking.untracked(found.inputs)


def test_a_run_that_noted_nothing_is_marked(home):
    with rota.track("e", home=home) as run:
        pass
    assert stored(home, run)[0].tags[input_tracking.UNTRACKED] == "true"


def test_equal_rows_have_equal_digests_whatever_holds_them(home):
    columns = {"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]}
    with rota.track("e", home=home) as run:
        first, second = run.log_input(pl.DataFrame(columns), "p"), run.log_input(pd.DataFrame(columns), "q")
        other = run.log_input(pl.DataFrame(columns).reverse(), "r")
    assert first.digest == second.digest != other.digest
    assert json.loads(first.schema)["mlflow_colspec"][2] == {"name": "c", "type": "string", "required": False}
    assert json.loads(first.profile) == {"num_rows": 2, "num_elements": 6}


def test_frames_with_any_kind_of_column_have_a_digest_of_their_values(home):
    def frame(last):
        return pl.DataFrame(
            {
                "day": [dt.date(2024, 1, 1), None],
                "at": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None],
                "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
                "list": [[1], last],
                "none": [None, None],
            }
        )

    with rota.track("e", home=home) as run:
        digests = [run.log_input(frame(last), f"f{n}").digest for n, last in enumerate(([2], [2], [3]))]
    assert digests[0] == digests[1] != digests[2]


def test_arrays_folders_and_versions_can_be_told_and_other_things_not(home, tmp_path):
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "folder" / "deep" / "a.csv").write_text("1")
    with wiring.opened(Settings(home=home)) as platform:
        version = platform.datasets.build("late").version
    with rota.track("e", home=home) as run:
        assert run.log_input(np.zeros((3, 2))).digest != run.log_input(np.zeros((2, 3)), "b").digest
        before = run.log_input(tmp_path / "folder").digest
        (tmp_path / "folder" / "deep" / "a.csv").rename(tmp_path / "folder" / "a.csv")
        assert run.log_input(tmp_path / "folder", "moved").digest != before
        assert run.log_input(version, "train").node == "dataset_version:late@2"
        with pytest.raises(NotFound, match="no file or folder"):
            run.log_input(tmp_path / "missing.csv")
        with pytest.raises(InvalidInput, match="the logged input is a int"):
            run.log_input(7)
        with pytest.raises(InvalidInput, match="no bytes of its own"):
            run.log_input(np.array([object()]))
    assert stored(home, run)[0].tags[input_tracking.UNTRACKED] == "false"


def test_the_innermost_listener_hears_and_nobody_afterwards():
    outer, inner, data = [], [], RunInput("a", "d")
    with input_tracking.noting(outer.append):
        with input_tracking.noting(inner.append):
            input_tracking.note(data)
        input_tracking.note(data)
        assert input_tracking.listening()
    input_tracking.note(data)
    assert (len(outer), len(inner), input_tracking.listening()) == (1, 1, False)
