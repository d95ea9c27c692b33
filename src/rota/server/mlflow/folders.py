"""The files of a folder on MLflow's wire."""

from rota.manage.experiments import artifacts
from rota.server.mlflow.wire import MlflowCall


def listed(call: MlflowCall, root: str, folder: str = "") -> list[dict[str, object]]:
    """What lies directly below a folder, with paths relative to the root."""
    found = artifacts.listing(call.repositories.metadata, root, _clean(folder))
    return [_entry(each, each.path) for each in found]


def named(call: MlflowCall, root: str, folder: str = "") -> list[dict[str, object]]:
    """The same with bare names, as the artifact service lists."""
    found = artifacts.listing(call.repositories.metadata, root, _clean(folder))
    return [_entry(each, each.path.rpartition("/")[2]) for each in found]


def _clean(folder: str) -> str:
    folder = folder.removesuffix("/")
    return artifacts.check_path(folder) if folder else ""


def _entry(listed: artifacts.Listed, path: str) -> dict[str, object]:
    if listed.size is None:
        return {"path": path, "is_dir": True}
    return {"path": path, "is_dir": False, "file_size": listed.size}
