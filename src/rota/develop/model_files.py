"""The files of a logged model: its bytes, its requirements, and a description in MLflow's form, so that its clients load it too."""

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

from rota.ports.models import ModelFormat
from rota.records.record import encode

DESCRIPTION = "MLmodel"
OWN = "rota.json"
REQUIREMENTS = "requirements.txt"
FILES: Mapping[str, str] = {"skops": "model.skops", "lightgbm": "model.lgb", "xgboost": "model.ubj", "onnx": "model.onnx", "torch": "model.pt2"}
"""The file that holds the bytes of each format."""


def described(kept_by: ModelFormat, fitted: Any, data: bytes, extras: Mapping[str, bytes]) -> dict[str, bytes]:
    """Every file of the model by path; `extras` are files given besides ("signature.json", "input_example.json")."""
    file = FILES.get(kept_by.name, f"model.{kept_by.name}")
    libraries = kept_by.libraries()
    lines = [f"{name}=={version}" for name, version in sorted(libraries.items())]
    own = {"format": kept_by.name, "file": file, "class": f"{type(fitted).__module__}.{type(fitted).__qualname__}", "libraries": libraries}
    return {
        file: data,
        OWN: encode(own),
        REQUIREMENTS: "".join(f"{line}\n" for line in lines).encode(),
        DESCRIPTION: _yaml(_mlmodel(kept_by.name, file, libraries, extras)).encode(),
    }


def _mlmodel(kind: str, file: str, libraries: Mapping[str, str], extras: Mapping[str, bytes]) -> dict[str, Any]:
    made: dict[str, Any] = {"flavors": _flavors(kind, file, libraries)}
    if "signature.json" in extras:
        made["signature"] = json.loads(extras["signature.json"])
    return made


def _flavors(kind: str, file: str, libraries: Mapping[str, str]) -> dict[str, Any]:
    """What MLflow's loaders ask for; a format that MLflow does not know has no flavour."""
    match kind:
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
