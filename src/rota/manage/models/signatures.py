"""The signature of a version that can be served: its requests and answers in MLflow's form, and as tensors of the Open Inference Protocol."""

import json
import math
from collections.abc import Mapping
from typing import Any

from rota.ports.blobs import Blobs
from rota.problems import forms, registry
from rota.problems.problem_type import AnswerForm
from rota.records.model import ModelBundle, ModelTensor, ModelVersion
from rota.records.record import decode
from rota.records.value_types import Type, family, list_type

DATATYPES: Mapping[str, str] = {"float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES", "timestamp": "INT64"}
"""The datatype of a request field of each type, by which a client sends it; a list's is that of its numbers, other types go as BYTES."""
MLFLOW_TYPES: Mapping[str, str] = {"float": "double", "int": "long", "bool": "boolean", "timestamp": "datetime", "bytes": "binary"}
"""MLflow's type of a request field; others are sent as texts."""
SHOWN_TENSORS = 50


def tensors(bundle: ModelBundle) -> dict[str, list[dict[str, Any]]]:
    """Name, datatype and shape of each input and output, as the metadata of the Open Inference Protocol has them; -1 is the number of rows.

    They are the model's own where it was registered as tensors that hold all fields of a request, else one for each field.
    """
    own = [_tensor(each.name, each.datatype, list(each.shape)) for each in bundle.input_tensors]
    held = sum(math.prod(each.shape[1:]) for each in bundle.input_tensors)
    fields = [_field(name, kind) for name, kind in bundle.request_fields.items()]
    return {"inputs": own if own and held == len(bundle.request_fields.keys() - {bundle.group}) else fields, "outputs": outputs(bundle)}


def outputs(bundle: ModelBundle) -> list[dict[str, Any]]:
    """The tensors of the answers: the model's own where it holds what a row is answered, else those of the problem."""
    found = _output_tensors(registry.problem_type(bundle.problem).answer, bundle.outputs)
    if (answer := bundle.output_tensor) is not None and _is_answer(answer, found):
        return [_tensor(answer.name, answer.datatype, list(answer.shape))]
    return found


def mlflow_form(bundle: ModelBundle) -> dict[str, Any]:
    """Inputs and outputs as MLflow's `ModelSignature.to_dict` has them before it makes texts of them."""
    inputs = [{**_mlflow_type(kind), "name": name, "required": True} for name, kind in bundle.request_fields.items()]
    return {"inputs": inputs, "outputs": _output_columns(registry.problem_type(bundle.problem).answer, bundle.outputs)}


def of_version(blobs: Blobs, version: ModelVersion) -> dict[str, Any]:
    """`mlflow`, the author's signature or else the one of what is served, with the protocol's `inputs` and `outputs`; empty for a version without
    a bundle and without a signature."""
    bundle = decode(blobs.get(version.bundle), ModelBundle) if version.bundle and blobs.exists(version.bundle) else None
    given = _parsed(version.signature)
    if bundle is None:
        return {"mlflow": given} if given else {}
    return {"mlflow": given or mlflow_form(bundle), **tensors(bundle)}


def facts(found: Mapping[str, Any]) -> dict[str, str]:
    """A signature as named facts for people."""
    tensors_of = {f"protocol {name}": sentence(found[name]) for name in ("inputs", "outputs") if name in found}
    return ({"signature (MLflow)": json.dumps(found["mlflow"])} if found.get("mlflow") else {}) | tensors_of


def _parsed(signature: str) -> Any:
    """MLflow's JSON with the texts of its parts read, too; what is no JSON as it is."""
    try:
        found = json.loads(signature) if signature else None
        return {name: json.loads(each) if isinstance(each, str) else each for name, each in found.items()} if isinstance(found, dict) else found
    except ValueError:
        return signature


def sentence(found: list[dict[str, Any]]) -> str:
    """Tensors for people; of more than SHOWN_TENSORS the first, and how many more."""
    named = [f"{tensor['name']} {tensor['datatype']} {tensor['shape']}" for tensor in found[:SHOWN_TENSORS]]
    more = [f"and {len(found) - SHOWN_TENSORS} more"] if len(found) > SHOWN_TENSORS else []
    return ", ".join([*named, *more])


def _field(name: str, kind: Type) -> dict[str, Any]:
    """The tensor of one field: a list of numbers has one in each of its rows."""
    if family(kind) == "list":
        of = list_type(kind)
        return _tensor(name, DATATYPES[of.element], [-1, of.length or -1])
    return _tensor(name, DATATYPES.get(kind, "BYTES"), [-1])


def _mlflow_type(kind: Type) -> dict[str, Any]:
    if family(kind) == "list":
        return {"type": "array", "items": {"type": MLFLOW_TYPES[list_type(kind).element]}}
    return {"type": MLFLOW_TYPES.get(kind, "string")}


def _output_tensors(form: AnswerForm, names: tuple[str, ...]) -> list[dict[str, Any]]:
    if form is forms.CLASS:
        return [_tensor("class", "BYTES", [-1]), _tensor("probabilities", "FP64", [-1, len(names)])]
    if names:
        return [_tensor("answer", "FP64", [-1, len(names)])]
    if form.is_list:
        return [_tensor("answer", "FP64", [-1, -1])]
    return [_tensor("answer", "BYTES" if form.are_texts else "FP64", [-1])]


def _output_columns(form: AnswerForm, names: tuple[str, ...]) -> list[dict[str, Any]]:
    numbers = {"type": "array", "items": {"type": "double"}}
    if form is forms.CLASS:
        return [{"type": "string", "name": "class", "required": True}, {**numbers, "name": "probabilities", "required": True}]
    if names:
        return [{"type": "double", "name": name, "required": True} for name in names]
    if form.is_list:
        return [{**numbers, "required": True}]
    return [{"type": "string" if form.are_texts else "double", "required": True}]


def _is_answer(own: ModelTensor, outputs: list[dict[str, Any]]) -> bool:
    """Whether the model's own output holds what a row is answered: so many numbers."""
    if len(outputs) != 1 or outputs[0]["datatype"] != "FP64" or not own.datatype.startswith("FP"):
        return False
    width = outputs[0]["shape"][1:]
    return list(own.shape[1:]) in ([width] if width else [[], [1]])


def _tensor(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}
