"""Describe run inputs that Rota did not read itself: they have a digest but no lineage node, and count as untracked."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rota import found_files
from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import read as dataset_reading
from rota.manage.experiments.frame_digest import digest_of, digestible
from rota.manage.features.rows import table_adapters
from rota.records.dataset import DatasetVersion
from rota.records.record import digest, encode
from rota.records.tracking import RunInput

CONTEXT = "mlflow.data.context"
"""MLflow's tag of what an input was used for: training, validation, test."""
_PIECE = 1 << 20
_KINDS = ((pl.Boolean, "boolean"), (pl.String, "string"), (pl.Binary, "binary"), (pl.Int64, "long"), (pl.Float64, "double"), (pl.Float32, "float"))


def described(data: Any, name: str = "", *, context: str = "") -> RunInput:
    """A frame, array, path, URI or `DatasetVersion` as the input of a run; raises `InvalidInput` for anything else."""
    tags = {CONTEXT: context} if context else {}
    if isinstance(data, DatasetVersion):
        found = dataset_reading.described(data)
        return RunInput(name or found.name, found.digest, found.source_type, found.source, found.node, tags={**found.tags, **tags})
    if isinstance(data, str) and "://" in data:
        return RunInput(name or data.rpartition("/")[2] or data, digest(data.encode()), "uri", data, tags=tags)
    if isinstance(data, str | Path):
        return _file(Path(data), name, tags)
    if isinstance(data, np.ndarray):
        facts = f"{data.dtype} {data.shape};".encode()
        if data.dtype.hasobject:
            raise InvalidInput(f"an array of {data.dtype} has no bytes of its own to digest; give a frame")
        return RunInput(name or "array", digest(facts + np.ascontiguousarray(data).tobytes()), "array", profile=_profile(data.shape), tags=tags)
    frame = table_adapters.columns(data, what="the logged input")
    return RunInput(name or "frame", digest_of(digestible(frame)), "frame", schema=_schema(frame), profile=_profile(frame.shape), tags=tags)


def _file(path: Path, name: str, tags: dict[str, str]) -> RunInput:
    if not path.exists():
        raise NotFound(f"there is no file or folder {str(path)!r} to log as an input", path=str(path))
    if not path.is_file() and not path.is_dir():
        raise InvalidInput(f"{str(path)!r} is a pipe, a socket or a device, which may never end; log a file or a folder", path=str(path))
    found_files.refuse_kernel_files(path)
    total = hashlib.sha256()
    for each in [path] if path.is_file() else found_files.below(path, links=True):
        if each != path:
            total.update(f"{each.relative_to(path).as_posix()} {each.stat().st_size};".encode())
        for piece in _pieces(each):
            total.update(piece)
    return RunInput(name or path.name, total.hexdigest(), "local", str(path), tags=tags)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _schema(frame: pl.DataFrame) -> str:
    """MLflow's form of a table's columns."""
    return encode({"mlflow_colspec": [{"name": name, "type": _kind(dtype), "required": False} for name, dtype in frame.schema.items()]}).decode()


def _kind(dtype: pl.DataType) -> str:
    known = next((name for each, name in _KINDS if dtype == each), "")
    return known or ("integer" if dtype.is_integer() else "datetime" if dtype.is_temporal() else "string")


def _profile(shape: tuple[int, ...]) -> str:
    elements = int(np.prod(shape)) if shape else 0
    return encode({"num_rows": shape[0] if shape else 0, "num_elements": elements}).decode()
