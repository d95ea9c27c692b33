"""The signature of a version: MLflow's form and the protocol's tensors, agreeing with what a running endpoint tells."""

import json
from types import SimpleNamespace

import msgspec
import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.manage.models import signatures
from rota.problems.registry import PROBLEMS
from rota.records.data import FeatureService, OnDemandFeatureView, sql
from rota.records.model import ModelBundle, ModelTensor, ModelVersion, Transformation, TransformedColumn
from rota.records.record import encode
from rota.serve import tensor_views

FIELDS = {"age": "float", "visits": "int", "is_new": "bool", "plan": "string", "at": "timestamp"}
MEASURED = {"face": "float[3]", "days": "int[]", "pay": 'category["card","cash"]', "price": "decimal(8,2)", "picture": "bytes", "scan": "blob"}
COLUMNS = Transformation(tuple(TransformedColumn(f"request__{name}", kind) for name, kind in FIELDS.items()))
OUTPUTS = {"multiclass": ("a", "b", "c"), "multilabel": ("x", "y"), "quantiles": ("0.1", "0.9"), "forecast": ("1", "2")}


def bundle(problem="regression", outputs=(), fields=FIELDS):
    request = OnDemandFeatureView("request", inputs=fields, features={name: sql(name) for name in fields})
    return ModelBundle("m", "skops", "", problem, FeatureService("m", [request]), Transformation(()), (), (), outputs=outputs)


@pytest.mark.parametrize("problem", ["classification", "regression", "count", "ranking", "text", "custom", *OUTPUTS])
def test_it_names_the_tensors_that_an_endpoint_names(problem):
    made = bundle(problem, OUTPUTS.get(problem, ()))
    assert told_by_an_endpoint(made) == signatures.tensors(made)


def test_fields_of_every_type_are_the_tensors_that_an_endpoint_names():
    made = bundle(fields=FIELDS | MEASURED)
    found = signatures.tensors(made)
    assert told_by_an_endpoint(made) == found
    named = {each["name"]: (each["datatype"], each["shape"]) for each in found["inputs"]}
    assert (named["face"], named["days"], named["price"]) == (("FP64", [-1, 3]), ("INT64", [-1, -1]), ("BYTES", [-1]))


def test_a_model_of_tensors_has_its_own():
    tensors = (ModelTensor("matrix", "FP32", (-1, 2)), ModelTensor("more", "FP64", (-1, 3)))
    made = msgspec.structs.replace(
        bundle("regression", ("a", "b")), input_tensors=tensors, output_tensor=ModelTensor("both", "FP32", (-1, 2)), transformation=COLUMNS
    )
    assert [each["name"] for side in signatures.tensors(made).values() for each in side] == ["matrix", "more", "both"]
    assert told_by_an_endpoint(made) == signatures.tensors(made)


def told_by_an_endpoint(made):
    stable = SimpleNamespace(model=SimpleNamespace(bundle=made), route=SimpleNamespace(number=1), fields=made.request_fields, bundle=made)
    served = SimpleNamespace(stable=stable, fields=made.request_fields, release=SimpleNamespace(routes=[], unit=""), routes={})
    view = tensor_views.view_of(served)
    return {
        "inputs": [{"name": each.name, "datatype": each.datatypes[0], "shape": list(each.shape)} for each in view.declared],
        "outputs": [{"name": each.name, "datatype": each.datatype, "shape": list(each.shape)} for each in view.outputs],
    }


def test_every_problem_type_has_one():
    for problem in PROBLEMS:
        made = bundle(problem, OUTPUTS.get(problem, ()))
        assert signatures.tensors(made)["outputs"]
        assert signatures.mlflow_form(made)["outputs"]


def test_mlflow_reads_the_form():
    types = pytest.importorskip("mlflow.types")
    for problem in PROBLEMS:
        form = signatures.mlflow_form(bundle(problem, OUTPUTS.get(problem, ())))
        assert types.Schema.from_json(json.dumps(form["inputs"])).input_names() == list(FIELDS)
        assert len(types.Schema.from_json(json.dumps(form["outputs"])).inputs) == len(form["outputs"])


def test_mlflow_reads_fields_of_every_type():
    types = pytest.importorskip("mlflow.types")
    form = signatures.mlflow_form(bundle(fields=FIELDS | MEASURED))
    assert types.Schema.from_json(json.dumps(form["inputs"])).input_names() == [each["name"] for each in form["inputs"]]
    assert next(each for each in form["inputs"] if each["name"] == "face")["items"] == {"type": "double"}


def test_the_authors_own_signature_is_shown_as_it_was_given():
    blobs = MemoryBlobs()
    given = json.dumps({"inputs": json.dumps([{"type": "double", "name": "age", "required": True}]), "outputs": None})
    version = ModelVersion("m", 1, blobs.put(encode(bundle())), "skops", "", "", "", 0, signature=given)
    found = signatures.of_version(blobs, version)
    assert found["mlflow"] == {"inputs": [{"type": "double", "name": "age", "required": True}], "outputs": None}
    told = signatures.facts(found)
    assert told["protocol inputs"] == "age FP64 [-1], at INT64 [-1], is_new BOOL [-1], plan BYTES [-1], visits INT64 [-1]"
    assert told["protocol outputs"] == "answer FP64 [-1]"
    assert signatures.of_version(blobs, ModelVersion("m", 1, "", "", "", "", "", 0)) == {}


def test_of_very_many_tensors_the_first_are_shown_and_the_others_counted():
    many = [{"name": f"f{place}", "datatype": "FP64", "shape": [-1]} for place in range(signatures.SHOWN_TENSORS + 7)]
    assert signatures.sentence(many).endswith("and 7 more")
