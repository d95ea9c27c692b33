"""Parse an MLflow model directory: flavour, model file, signature, input example and requirements.

Read from the text of `MLmodel` as MLflow 2 and 3 write it, as data: no class is built from YAML, and every path stays in the directory.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from rota.errors import InvalidInput
from rota.manage.adoption import yaml_data
from rota.manage.experiments.artifacts import check_path
from rota.problems import registry
from rota.records.schema import Type

DESCRIPTION = "MLmodel"
AUTHOR_ANSWERS = "author_answers.json"
"""What the author's own object answered to rows when the model was logged or registered (`rota.manage.models.parity.AuthorAnswers`)."""
BESIDE = ("requirements.txt", "input_example.json", "serving_input_example.json", AUTHOR_ANSWERS)
LARGEST_TEXT = 1_000_000
LARGEST_EXAMPLE = 10_000_000
MOST_COLUMNS = 10_000
LONGEST_NAME = 200
OWN_FLAVOUR = "rota"
"""The flavour of models that `run.log_model` kept: their format and file, and why one can never be served."""
FLAVOURS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sklearn": ("skops", ("pickled_model",)),
    "lightgbm": ("lightgbm", ("data",)),
    "xgboost": ("xgboost", ("data",)),
    "catboost": ("catboost", ("data",)),
    "onnx": ("onnx", ("data",)),
}
"""Flavours that are understood: the format that keeps their models, and the entry that names the file."""
ENDINGS: Mapping[str, str] = {
    ".skops": "skops", ".lgb": "lightgbm", ".txt": "lightgbm", ".ubj": "xgboost", ".xgb": "xgboost", ".json": "xgboost",
    ".onnx": "onnx", ".pkl": "pickle", ".pickle": "pickle", ".pt2": "torch", ".cbm": "catboost",
}  # fmt: skip
"""Formats by the ending of a file."""
_TYPES: Mapping[str, Type] = {
    "double": "float", "float": "float", "long": "int", "integer": "int", "boolean": "bool", "string": "string", "datetime": "timestamp",
}  # fmt: skip
_INSTEAD: Mapping[str, str] = {
    "array": "; give the model a column for each number of the array, or train it in a pipeline on a field of type float[n], whose matrix has them",
    "binary": "; give the model numbers that are made of the bytes, such as an embedding",
}
"""What to do about a type of MLflow that no column of a matrix can have."""
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([0-9][A-Za-z0-9.+!_-]*)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a signature."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Signature:
    """Named columns, or `width` numbers without names. `outputs` are the names of the answer's columns, where the signature has any.

    `tensor` and `dtype` are the name and numpy's type of the array that holds numbers without names ("": not said).
    """

    columns: tuple[Column, ...] = ()
    width: int = 0
    outputs: tuple[str, ...] = ()
    tensor: str = ""
    dtype: str = ""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model directory, as far as Rota needs it. `format` is the one that can keep the model's file; "" and `why` when none can."""

    file: str = ""
    format: str = ""
    why: str = ""
    flavour: str = ""
    signature: Signature | None = None
    signature_json: str = ""
    example: str = ""
    requirements: str = ""
    python: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    """What its author says that it solves ("": the model says it)."""


def read(text: bytes, files: Collection[str]) -> Foreign:
    """What `MLmodel` says of a directory with these files; raises `InvalidInput` when it is no such text or its signature cannot be served."""
    if len(text) > LARGEST_TEXT:
        raise InvalidInput(f"{DESCRIPTION} has {len(text)} bytes; it may have {LARGEST_TEXT}")
    try:
        said = yaml_data.load(text.decode())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, InvalidInput) as error:
        raise InvalidInput(f"{DESCRIPTION} cannot be read as YAML: {' '.join(str(error).split())[:200]}") from error
    flavours = said.get("flavors") if isinstance(said, dict) else None
    if not isinstance(flavours, dict):
        raise InvalidInput(f"{DESCRIPTION} names no flavors; log the model again with MLflow 2 or 3")
    flavour, format_, file, why = _model(flavours, files)
    raw = said.get("signature")
    return Foreign(
        file=file,
        format=format_,
        why=why,
        flavour=flavour,
        signature=signature(raw) if raw else None,
        signature_json=_plain(raw) if raw else "",
        example=_named(said.get("saved_input_example_info"), "artifact_path", files),
        requirements=BESIDE[0] if BESIDE[0] in files else "",
        python=str(flavours.get("python_function", {}).get("python_version", "")) if isinstance(flavours.get("python_function"), dict) else "",
        facts={"mlflow_version": str(said.get("mlflow_version", ""))[:50]},
        problem=_problem(flavours.get(OWN_FLAVOUR)),
    )


def _problem(own: Any) -> str:
    """The problem that Rota's own flavour names; raises `InvalidInput` for an unknown one."""
    named = own.get("problem") if isinstance(own, dict) else None
    return registry.problem_type(str(named)[:100]).name if named else ""


def bare(files: Collection[str]) -> Foreign:
    """A directory without MLmodel that holds the file of one model."""
    models = sorted(file for file in files if _ending(file) in ENDINGS and file not in BESIDE)
    requirements, example = (name if name in files else "" for name in BESIDE[:2])
    if len(models) != 1:
        why = f"its files hold no {DESCRIPTION}, and {len(models)} files that could be a model: {models[:5]}"
        return Foreign(why=why, requirements=requirements, example=example)
    return Foreign(file=models[0], format=ENDINGS[_ending(models[0])], requirements=requirements, example=example)


def signature(raw: Any) -> Signature:
    """A signature in MLflow's form: `{"inputs": "[...]", "outputs": ...}`, or the list of its inputs itself."""
    listed = raw.get("inputs") if isinstance(raw, Mapping) else raw
    try:
        entries = json.loads(listed) if isinstance(listed, str) else listed
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the signature's inputs are no JSON: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise InvalidInput("the signature names no inputs; log the model with input_example=... or signature=infer_signature(...)")
    if len(entries) > MOST_COLUMNS:
        raise InvalidInput(f"the signature has {len(entries)} columns; it may have {MOST_COLUMNS}")
    if not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInput("the signature's inputs are no list of columns")
    if entries[0].get("type") == "tensor":
        width, name = _width(entries), entries[0].get("name")
        usable = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()
        return Signature(width=width, outputs=_output_names(raw), tensor=str(name) if usable else "", dtype=entries[0]["tensor-spec"]["dtype"])
    columns = tuple(_column(entry, place) for place, entry in enumerate(entries))
    if len({column.name for column in columns}) < len(columns):
        raise InvalidInput("the signature names a column twice; each needs a name of its own")
    return Signature(columns, outputs=_output_names(raw))


def _output_names(raw: Any) -> tuple[str, ...]:
    """The names of the answer's columns; none of a tensor, of columns without names, and of what cannot be read: a model is served without."""
    listed = raw.get("outputs") if isinstance(raw, Mapping) else None
    try:
        entries = json.loads(listed) if isinstance(listed, str) else listed
    except (ValueError, RecursionError):
        return ()
    columns = entries[:MOST_COLUMNS] if isinstance(entries, list) else []
    names = [str(each["name"]) for each in columns if isinstance(each, dict) and isinstance(each.get("name"), str)]
    usable = all(0 < len(name) <= LONGEST_NAME and name.isprintable() for name in names)
    return tuple(names) if usable and len(set(names)) == len(columns) else ()


def pins(requirements: str) -> dict[str, str]:
    """The exact versions that a requirements file asks for; other lines say nothing about what the model was built with."""
    found = (_PIN.fullmatch(line.partition("#")[0].partition(";")[0].strip()) for line in requirements[:LARGEST_TEXT].splitlines())
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def example_rows(data: bytes, columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The rows of an input example by column: pandas' split form, a list of lists, a list of objects, or one object; [] for any other form."""
    if len(data) > LARGEST_EXAMPLE:
        return []
    try:
        said = json.loads(data)
    except (ValueError, RecursionError, UnicodeDecodeError):
        return []
    names = [column.name for column in columns]
    if isinstance(said, dict) and isinstance(said.get("dataframe_split"), dict):
        said = said["dataframe_split"]
    if isinstance(said, dict) and isinstance(said.get("data"), list):
        given = said.get("columns", names)
        rows = [dict(zip(given, row, strict=False)) for row in said["data"] if isinstance(row, list)] if isinstance(given, list) else []
    elif isinstance(said, list):
        rows = [dict(zip(names, row, strict=False)) if isinstance(row, list) else row for row in said if isinstance(row, list | dict)]
    else:
        rows = [said] if isinstance(said, dict) else []
    return [row for row in rows if set(names) <= row.keys()]


def _model(flavours: Mapping[str, Any], files: Collection[str]) -> tuple[str, str, str, str]:
    """Flavour, format and file of the model, or why there is none."""
    own = flavours.get(OWN_FLAVOUR)
    if isinstance(own, dict) and own.get("format") in ENDINGS.values():
        file = _named(own, "data", files)
        why = str(own.get("unservable") or "")[:1_000] if file else f"the file that its flavour {OWN_FLAVOUR} names is not among its files"
        return OWN_FLAVOUR, str(own["format"]), file, why
    for flavour, (format_, entries) in FLAVOURS.items():
        said = flavours.get(flavour)
        if not isinstance(said, dict):
            continue
        file = next((found for entry in entries if (found := _named(said, entry, files))), "")
        if not file:
            return flavour, "", "", f"the file that its flavour {flavour} names is not among its files"
        return flavour, "pickle" if file.endswith((".pkl", ".pickle")) else format_, file, ""
    known = sorted(flavours)[:5]
    return (
        "",
        "",
        "",
        f"none of its flavours {known} is understood; {sorted(FLAVOURS)} are: save it as ONNX, or allow it as a pickle of scikit-learn's kind",
    )


def _named(said: Any, entry: str, files: Collection[str]) -> str:
    """A file that the description names, when it is one of the directory's."""
    path = said.get(entry) if isinstance(said, dict) else None
    if not isinstance(path, str) or not path:
        return ""
    return path if check_path(path) in files else ""


def _column(entry: Mapping[str, Any], place: int) -> Column:
    name, kind = entry.get("name"), entry.get("type")
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"column {place} of the signature has no usable name ({str(name)[:50]!r})", column=place)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidInput(
            f"column {name!r} of the signature is of type {str(kind)[:50]!r}; served are {sorted(_TYPES)}{_INSTEAD.get(str(kind), '')}", column=name
        )
    return Column(name, _TYPES[kind])


def _width(entries: Sequence[Mapping[str, Any]]) -> int:
    spec = entries[0].get("tensor-spec")
    shape = spec.get("shape") if isinstance(spec, dict) else None
    kind = str(spec.get("dtype", "")) if isinstance(spec, dict) else ""
    if len(entries) > 1 or not isinstance(shape, list) or len(shape) != 2 or not isinstance(shape[1], int) or not 0 < shape[1] <= MOST_COLUMNS:
        raise InvalidInput(f"the signature's tensor has the shape {shape}; only one of shape [-1, columns] is served")
    if not kind.startswith(("float", "int", "uint", "bool")):
        raise InvalidInput(f"the signature's tensor is of {kind!r}; only numbers are served")
    return shape[1]


def _plain(raw: Any) -> str:
    return json.dumps({name: raw.get(name) for name in ("inputs", "outputs", "params")}) if isinstance(raw, dict) else ""


def _ending(file: str) -> str:
    name = file.rpartition("/")[2]
    return name[name.rfind(".") :] if "." in name else ""
