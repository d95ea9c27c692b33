"""Embeddings, histories, declared categories and decimals go the whole way: from a push to the matrix of a served model, its log and its monitor."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.datasets import build as datasets
from rota.manage.datasets import schemas
from rota.manage.signals import prediction_log
from rota.monitor import compare, status, vectors
from rota.records.dataset import DatasetVersion
from rota.records.model import ModelBundle
from rota.records.record import decode
from rota.records.signal import MonitorSlice
from rota.records.time import DAY_US, HOUR_US
from rota.serve import inference_protocol, tensor_views
from rota.serve.inference_protocol import InferRequest
from rota.serve.tensors import Tensor

ROWS_A_DAY = 40
PROJECT = """
import rota
import lightgbm

cards = rota.Source(
    "cards",
    fields={"card": "int", "at": "timestamp", "embedding": "float[3]", "spent": list[float], "limit": "decimal(12,2)"},
    timestamp_field="at",
)
payments = rota.Source(
    "payments",
    fields={"id": "string", "card": "int", "asked_at": "timestamp", "known_at": "timestamp", "kind": rota.category("cash", "card", "voucher"),
            "picture": "float[2]", "fraud": "float"},
    timestamp_field="known_at",
    id_field="id",
)
card = rota.Entity("card", ["card"])
known = rota.FeatureView(
    "known", [card], cards, ttl="30d",
    features={"embedding": rota.sql("embedding"), "often": rota.sql("array_length(spent)"), "mean": rota.sql("array_avg(spent)"),
              "limit": rota.sql('"limit"')},
)
asked = rota.OnDemandFeatureView(
    "asked", inputs={"kind": rota.category("cash", "card", "voucher"), "picture": "float[2]"},
    features={"kind": rota.sql("kind"), "picture": rota.sql("picture"), "bright": rota.sql("l2_norm(picture)")},
)
features = rota.FeatureService("fraud", [known, asked])


@rota.step
def train(data: rota.TrainingData) -> lightgbm.LGBMClassifier:
    assert data.train.frame["known__embedding"].dtype.is_nested() and len(data.features) == 7 and len(data.columns) == 10
    assert data.train.x.shape == (len(data.train), 10) and list(data.train.to_pandas().columns) == list(data.columns)
    model = lightgbm.LGBMClassifier(n_estimators=20, min_child_samples=5, verbose=-1, n_jobs=1)
    return model.fit(data.train.to_pandas().drop(columns="asked__kind"), data.train.y)


pipeline = rota.TrainingPipeline(
    "fraud", train=train,
    dataset=rota.DatasetDefinition(
        features, labels=payments, label=rota.sql("fraud"), timestamp="asked_at", window="20d", split=rota.TimeSplit(test="4d")
    ),
    gates=[rota.at_least("roc_auc", 0.7)],
)
policy = rota.ReleasePolicy("fraud", "automatic")
endpoint = rota.Endpoint("fraud", model="fraud", rollout=rota.Canary(shadow="1d", steps=[50], hold="1d", analysis=[rota.error_rate(margin=0.2)]))
monitor = rota.Monitor(endpoint, schedule="0 1 * * *", expected_days_between_false_alarms=30)
"""


class Cards:
    """Cards whose embeddings and payments decide about fraud."""

    def __init__(self, world: Any) -> None:
        self.world, self.random, self.day = world, np.random.default_rng(3), 0
        self.shift = self.brightness = 0.0

    def push_cards(self) -> None:
        at = self.world.clock.now_us()
        self.embeddings = self.random.normal(size=(20, 3)) + self.shift
        rows = [{"card": n, "at": at, "embedding": self.embeddings[n], "spent": [1.5] * (n % 4 + 1), "limit": f"{1000 + n}.10"} for n in range(20)]
        self.world.platform.features.push("cards", rows)

    def payments(self) -> Iterator[tuple[dict[str, Any], float]]:
        for _ in range(ROWS_A_DAY):
            card = int(self.random.integers(20))
            picture = self.random.normal(size=2) + self.brightness
            row = {"card": card, "kind": str(self.random.choice(["cash", "card"])), "picture": picture.tolist()}
            yield row, float(self.embeddings[card, 0] + picture[1] > self.shift + self.brightness)

    def live(self, *, ask: bool = True) -> list[Any]:
        start = self.world.clock.now_us() // DAY_US * DAY_US
        self.world.clock.advance(start + 6 * HOUR_US)
        self.push_cards()
        self.world.clock.advance(start + 12 * HOUR_US)
        rows = list(self.payments())
        names = [f"p{self.day}.{i}" for i in range(ROWS_A_DAY)]
        found = list(self.world.core.predict("fraud", [row for row, _ in rows], names).predictions) if ask else []
        now = self.world.clock.now_us()
        self.world.clock.advance(now + HOUR_US)
        made = [{"id": n, "asked_at": now, "known_at": now + 1, **row, "fraud": y} for n, (row, y) in zip(names, rows, strict=True)]
        self.world.platform.features.push("payments", made)
        if ask:
            self.world.platform.signals.label("fraud", [{"prediction_id": n, "value": y} for n, (_, y) in zip(names, rows, strict=True)])
        self.day += 1
        self.world.clock.advance(start + DAY_US + 90 * 60_000_000)
        self.world.settle()
        return found


@pytest.fixture
def cards(world: Any, tmp_path: Path) -> Cards:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "project.py").write_text(PROJECT)
    world.platform.projects.apply(tmp_path / "cards" / "project.py")
    made = Cards(world)
    for _ in range(20):
        made.live(ask=False)
    run = world.platform.repositories.runs.get(world.platform.pipelines.start("fraud"))
    world.settle()
    run = world.platform.repositories.runs.get(run.id)
    assert run.status == "succeeded", run.error
    return made


def test_lists_categories_and_decimals_go_the_whole_way(world: Any, cards: Cards) -> None:
    repositories = world.platform.repositories
    dataset = world.metadata.find(DatasetVersion, {"name": "fraud"})[-1]
    rows = datasets.read(repositories.tables, dataset)
    assert rows.schema["known__embedding"] == pl.List(pl.Float64)
    assert rows.schema["known__limit"] == pl.Decimal(12, 2)
    assert rows["known__limit"].drop_nulls()[0].as_tuple().exponent == -2
    bundle = decode(repositories.blobs.get(world.versions()[-1].bundle), ModelBundle)
    assert [column.name for column in bundle.transformation.columns][:3] == ["known__embedding.1", "known__embedding.2", "known__embedding.3"]
    answers = [each for _ in range(3) for each in cards.live()]
    assert not [each.error for each in answers if each.error]
    prediction_log.flush(repositories.journal, repositories.tables, "fraud")
    logged = prediction_log.read(repositories.tables, "fraud", 0, world.clock.now_us())
    assert logged.schema["known__embedding"] == logged.schema["asked__picture"] == pl.List(pl.Float64)
    assert logged["known__limit"].to_list()[0].as_tuple().exponent == -2
    assert logged["known__embedding"].to_list()[-1] in cards.embeddings.tolist()
    checked = compare.check_parity(repositories, world.platform.feed.pushes, "fraud")
    assert checked.cells > 100
    assert checked.differing == []
    slices = world.metadata.find(MonitorSlice, {"endpoint": "fraud"}, order="start_us")
    assert sum(slices[-1].counts["known__embedding:norm"]) == ROWS_A_DAY
    schema = schemas.serving(world.metadata, "fraud")
    assert {"known__embedding:norm", "known__embedding:mean", "asked__picture:norm", "known__limit"} <= {each.name for each in schema.columns}
    assert next(each for each in schema.columns if each.name == "asked__kind").domain == ("cash", "card", "voucher")
    assert "known__embedding" not in {each.name for each in schema.columns}
    alike = vectors.two_sample(repositories, "fraud", "asked__picture", days=3)
    assert (alike.state, alike.rows) == ("same", 120)
    assert "no difference is seen" in vectors.sentence(alike)
    assert vectors.two_sample(repositories, "fraud", "asked__picture", days=1).state == "cannot"
    cards.brightness = 3.0
    cards.live()
    cards.live()
    dark = vectors.two_sample(repositories, "fraud", "asked__picture", days=2)
    assert dark.state == "different"
    with pytest.raises(InvalidInput, match=r"no list of one length .* \['known__embedding', 'asked__picture'\]"):
        vectors.two_sample(repositories, "fraud", "known__often")
    results = {(each.check, each.subject): each for each in status.results(repositories, "fraud")}
    assert results["drift", "known__embedding"].missing.startswith("20 of ")


def test_what_is_no_input_of_a_served_model_is_refused_at_the_door_with_its_field(world: Any, cards: Cards) -> None:
    for wrong, said in (
        ({"kind": "chash"}, "field 'kind' .*'chash' is outside the domain of its category.*did you mean 'cash'"),
        ({"picture": [1.0]}, "field 'picture' .*a list of 1 numbers is no float\\[2\\]"),
        ({"picture": [1.0, None]}, "number 2 of a float\\[2\\] is missing"),
        ({"picture": "AAAA"}, "'AAAA' is no float\\[2\\]; give a list of numbers"),
    ):
        with pytest.raises(InvalidInput, match=said):
            world.core.predict("fraud", [{"card": 1, "kind": "cash", "picture": [1.0, 2.0], **wrong}])
    view = tensor_views.view_of(world.core.served["fraud"])
    shapes = {tensor.name: (tensor.datatypes[0], tensor.shape) for tensor in view.declared}
    assert shapes == {"card": ("INT64", (-1,)), "kind": ("BYTES", (-1,)), "picture": ("FP64", (-1, 2))}
    given = {"card": Tensor("card", (2,), "INT64", [1, 2]), "kind": Tensor("kind", (2, 1), "BYTES", ["cash", None])}
    for picture in (Tensor("picture", (2, 2), "FP32", [[1, 2], [None, None]]), Tensor("picture", (2, 2), "FP64", [1.0, 2.0, None, None])):
        rows = inference_protocol.rows_of(view, InferRequest((*given.values(), picture)), 10)
        assert rows == [{"card": 1, "kind": "cash", "picture": [1.0, 2.0]}, {"card": 2, "kind": None, "picture": None}]
        assert [each.error for each in world.core.predict("fraud", rows).predictions] == ["", ""]
    with pytest.raises(InvalidInput, match=r"'picture' has shape \[2, 1\]; its shape must be \[rows, 2\]"):
        inference_protocol.rows_of(view, InferRequest((*given.values(), Tensor("picture", (2, 1), "FP64", [1.0, 2.0]))), 10)
    answer = world.core.predict("fraud", [{"card": 1, "kind": None, "picture": None}, {"card": 10**9, "kind": "cash", "picture": [1, 2]}])
    assert [each.error for each in answer.predictions] == ["", ""]
    cell = world.platform.features.get_online_features(["known:limit", "known:embedding"], [{"card": 1}]).rows()[0]
    assert cell["known__limit"] == Decimal("1001.10")
    assert json.loads(json.dumps(cell["known__embedding"])) == cards.embeddings[1].tolist()


def test_a_pipeline_over_what_is_no_column_of_a_matrix_is_refused_before_anything_is_stored(world: Any, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    text = PROJECT.replace('"often": rota.sql("array_length(spent)")', '"often": rota.sql("spent")')
    (tmp_path / "lists" / "project.py").write_text(text)
    with pytest.raises(InvalidInput, match=r"feature 'known__often': lists of any length .*array_length"):
        world.platform.projects.apply(tmp_path / "lists" / "project.py")
