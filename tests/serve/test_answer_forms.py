"""Answers of several numbers, texts and failures in them: by the own protocol, by the Open Inference Protocol, in the log."""

import msgspec
import numpy as np
import pytest

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.tables import MemoryTables
from rota.manage.models.loading import LoadedModel
from rota.manage.models.transformation import RowsTransformer
from rota.manage.signals import prediction_log
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle, Transformation, TransformedColumn
from rota.records.release import Release, Route
from rota.serve import inference_protocol
from rota.serve.inference_protocol import InferRequest
from rota.serve.predicting import PredictionCore
from rota.serve.scoring import LoadedRelease
from rota.serve.tensor_views import view_of
from rota.testing.clock import FakeClock

NOON_US = 1_373_889_600_000_000
SERVICE = FeatureService("m", [OnDemandFeatureView("r", {"x": "float"}, {"x": Feature("x")})])


class Fixed:
    """A predictor that answers row x of a table; a request of x = 9 gets what no answer may be."""

    def __init__(self, table: np.ndarray) -> None:
        self._table = table

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return self._table[matrix[:, 0].astype(int)]


class Request:
    waits = False
    warnings: tuple[str, ...] = ()

    def look_up(self, rows, _now_us):
        return [{"r__x": row["x"]} for row in rows], self

    def reasons(self):
        return {}


def release_of(problem, outputs, table, **named):
    transformation = Transformation((TransformedColumn("r__x", "float"),))
    bundle = ModelBundle("m", "fixed", "", problem, SERVICE, transformation, (), (), outputs=outputs, **named)
    model = LoadedModel("m", bundle, Fixed(table), RowsTransformer(transformation))
    return LoadedRelease.of(Release("kind", 1, (Route("m", 1, "m", "stable", 100),), "", 0, salt="s"), {"m": model}, {"m": Request()})


def asked(served, xs):
    journal, tables = MemoryJournal(), MemoryTables()
    core = PredictionCore(journal, FakeClock(NOON_US))
    core.switch("kind", served)
    found = core.predict("kind", [{"x": float(x)} for x in xs])
    core.close()
    prediction_log.flush(journal, tables, "kind")
    logged = [prediction_log.find(tables, each.prediction_id).answer for each in found.predictions]
    return found, logged


WINE = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [np.nan, 0.5, 0.5]])


def test_a_class_comes_with_the_probability_of_each_and_is_logged_so():
    served = release_of("multiclass", ("red", "white", "rosé"), WINE)
    found, logged = asked(served, [0, 1])
    first, second = (each.answer for each in found.predictions)
    assert first == {"class": "red", "probabilities": {"red": 0.7, "white": 0.2, "rosé": 0.1}}
    assert second["class"] == "rosé"
    assert logged == [first, second]
    assert msgspec.json.decode(msgspec.json.encode(found))["predictions"][0]["answer"] == first


def test_numbers_by_name_and_a_number_that_is_none_fails_its_row_alone():
    served = release_of("regression", ("weight", "waist"), np.array([[70.0, 33.0], [np.inf, 30.0]]))
    found, logged = asked(served, [0, 1])
    assert [each.answer for each in found.predictions] == [{"weight": 70.0, "waist": 33.0}, None]
    assert found.predictions[1].error == "the model answered inf for 'weight'"
    assert logged == [{"weight": 70.0, "waist": 33.0}, None]


def test_a_probability_that_is_none_names_its_class():
    found, _ = asked(release_of("multiclass", ("red", "white", "rosé"), WINE), [2, 0])
    assert found.predictions[0].error == "the model answered nan for 'red'"
    assert found.predictions[1].answer["class"] == "red"


@pytest.mark.parametrize("outputs", [("a", "b"), ("a", "b", "c", "d"), ()])
def test_a_model_that_answers_another_number_of_outputs_is_an_error_of_every_row(outputs):
    found, _ = asked(release_of("multiclass", outputs, WINE), [0, 1])
    assert all("gave answers of shape (1, 3) for 1 rows" in each.error for each in found.predictions)


def protocol(served, xs):
    found, _ = asked(served, xs)
    body = msgspec.json.decode(inference_protocol.response("kind", view_of(served), InferRequest((), id="i"), found).body)
    return {tensor["name"]: tensor for tensor in body["outputs"]}


def test_the_open_inference_protocol_has_a_tensor_for_the_class_and_one_for_its_probabilities():
    served = release_of("multiclass", ("red", "white", "rosé"), WINE)
    outputs = protocol(served, [1, 2, 0])
    assert outputs["class"] == {"name": "class", "datatype": "BYTES", "shape": [3], "data": ["rosé", None, "red"]}
    assert outputs["probabilities"]["shape"] == [3, 3]
    assert outputs["probabilities"]["data"] == [0.1, 0.1, 0.8, None, None, None, 0.7, 0.2, 0.1]
    described = inference_protocol.model_metadata("kind", view_of(served))["outputs"]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in described] == [
        ("class", "BYTES", [-1]),
        ("probabilities", "FP64", [-1, 3]),
    ]
    assert described[1]["parameters"] == {"problem": "multiclass", "outputs": ["red", "white", "rosé"]}


def test_the_open_inference_protocol_has_one_tensor_for_numbers_by_name():
    served = release_of("regression", ("weight", "waist"), np.array([[70.0, 33.0]]))
    assert protocol(served, [0])["answer"] == {"name": "answer", "datatype": "FP64", "shape": [1, 2], "data": [70.0, 33.0]}
    assert inference_protocol.model_metadata("kind", view_of(served))["outputs"][0]["shape"] == [-1, 2]


def test_one_number_is_as_it_was():
    served = release_of("classification", (), np.array([0.25]), classes=("stay", "churn"))
    found, logged = asked(served, [0])
    assert (found.predictions[0].answer, logged) == (0.25, [0.25])
    assert protocol(served, [0])["answer"] == {"name": "answer", "datatype": "FP64", "shape": [1], "data": [0.25]}
    parameters = inference_protocol.model_metadata("kind", view_of(served))["outputs"][0]["parameters"]
    assert parameters == {"problem": "classification", "classes": ["stay", "churn"], "probability_of": "churn"}
