"""The files of a logged model: its bytes, its requirements, and a description in MLflow's form, so that its clients load it too."""

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from rota.manage.adoption import mlmodel
from rota.manage.models.model_keeping import KeptModel
from rota.records.record import encode
from rota.records.run import Problem

DESCRIPTION = "MLmodel"
OWN = "rota.json"
REQUIREMENTS = "requirements.txt"
FILES: Mapping[str, str] = {
    "skops": "model.skops", "lightgbm": "model.lgb", "xgboost": "model.ubj", "catboost": "model.cbm", "onnx": "model.onnx", "torch": "model.pt2",
    "pickle": "model.pkl",
}  # fmt: skip
"""The file that holds the bytes of each format."""


def described(kept: KeptModel, fitted: Any, extras: Mapping[str, bytes], *, problem: Problem = "") -> dict[str, bytes]:
    """Every file of the model by path; `extras` are files given besides ("signature.json", "input_example.json"), `problem` is what it solves by its
    author ("": the model says it)."""
    file = FILES.get(kept.format, f"model.{kept.format}")
    lines = [f"{name}=={version}" for name, version in sorted(kept.libraries.items()) if name != "python"]
    own = {"format": kept.format, "file": file, "class": f"{type(fitted).__module__}.{type(fitted).__qualname__}", "libraries": kept.libraries}
    return {
        file: kept.data,
        OWN: encode({**own, "unservable": kept.unservable} if kept.unservable else own),
        REQUIREMENTS: "".join(f"{line}\n" for line in lines).encode(),
        DESCRIPTION: _yaml(_mlmodel(kept, fitted, file, extras, problem)).encode(),
    }


def _mlmodel(kept: KeptModel, fitted: Any, file: str, extras: Mapping[str, bytes], problem: Problem) -> dict[str, Any]:
    own = {"format": kept.format, "data": file, **({"unservable": kept.unservable} if kept.hopeless else {})}
    own |= {"problem": problem} if problem else {}
    is_sklearn = any(base.__module__ == "sklearn.base" for base in type(fitted).__mro__)
    made: dict[str, Any] = {"flavors": {**_flavors(kept.format, file, kept.libraries, is_sklearn=is_sklearn), mlmodel.OWN_FLAVOUR: own}}
    if "signature.json" in extras:
        made["signature"] = json.loads(extras["signature.json"])
    return made


def _flavors(kind: str, file: str, libraries: Mapping[str, str], *, is_sklearn: bool) -> dict[str, Any]:
    """What MLflow's loaders ask for; a format that MLflow does not know has none of its flavours."""
    match kind:
        case "pickle" if is_sklearn:
            pickled = {"pickled_model": file, "serialization_format": "cloudpickle", "sklearn_version": _version("scikit-learn"), "code": None}
            return {"python_function": _function("mlflow.sklearn", file), "sklearn": pickled}
        case "skops":
            sklearn = {"pickled_model": file, "serialization_format": "skops", "sklearn_version": libraries.get("scikit-learn", ""), "code": None}
            return {"python_function": _function("mlflow.sklearn", file), "sklearn": sklearn}
        case "lightgbm":
            booster = {"data": file, "lgb_version": libraries.get("lightgbm", ""), "model_class": "lightgbm.basic.Booster", "code": None}
            return {"python_function": _function("mlflow.lightgbm", file), "lightgbm": booster}
        case "onnx":
            return {
                "python_function": _function("mlflow.onnx", file),
                "onnx": {"data": file, "onnx_version": _version("onnx"), "providers": ["CPUExecutionProvider"], "code": None},
            }
        case "xgboost":
            booster = {"data": file, "xgb_version": libraries.get("xgboost", ""), "model_class": "xgboost.core.Booster", "code": None}
            return {"python_function": _function("mlflow.xgboost", file), "xgboost": {**booster, "model_format": "ubj"}}
    return {}


def _function(loader: str, file: str) -> dict[str, Any]:
    return {"loader_module": loader, "data": file, "env": {"virtualenv": "python_env.yaml"}}


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _yaml(value: Mapping[str, Any], depth: int = 0) -> str:
    """Nested maps of texts and lists of texts as YAML; every leaf is JSON, which YAML contains."""
    lines = []
    for name, each in value.items():
        indent = "  " * depth
        lines.append(f"{indent}{name}:\n{_yaml(each, depth + 1)}" if isinstance(each, Mapping) and each else f"{indent}{name}: {json.dumps(each)}\n")
    return "".join(lines)
