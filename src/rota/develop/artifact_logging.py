"""Log artifacts, figures and fitted models of a run, each with its lineage edge from the run."""

import io
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rota import found_files
from rota.develop import model_files
from rota.errors import InvalidInput, NotFound
from rota.manage.adoption import author_comparison, column_mapping, mlmodel
from rota.manage.experiments import artifacts
from rota.manage.models import loading, model_keeping
from rota.manage.repositories import Repositories
from rota.ports.drawing import Drawing
from rota.ports.metadata import Batch
from rota.ports.models import ModelFormat
from rota.ports.tracking import Logged
from rota.records.record import encode, plain
from rota.records.run import Problem
from rota.records.tracking import ExperimentRun, LoggedModel, RunOutput

_PIECE = 1 << 20
_TOLD = 5
_SUFFIXES = frozenset({".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp"})


def artifact(repositories: Repositories, run: ExperimentRun, name: str | Path, data: bytes | None, folder: str) -> str:
    """Store bytes, or the file at the path `name`, below the run's root; returns the digest."""
    if data is not None:
        return _kept(repositories, run, _joined(folder, str(name)), [data])
    if not Path(name).is_file():
        raise NotFound(f"there is no file {str(name)!r} to keep as an artifact; give its path, or a name and bytes", path=str(name))
    found_files.refuse_kernel_files(Path(name))
    return _kept(repositories, run, _joined(folder, Path(name).name), _pieces(Path(name)))


def artifacts_below(repositories: Repositories, run: ExperimentRun, directory: Path, folder: str) -> list[str]:
    """Store every file below a directory under its relative path; when a name cannot be kept, none of them, and every such name is told."""
    if not directory.is_dir():
        raise NotFound(f"there is no directory {str(directory)!r} to keep; give one, or a single file to log_artifact", path=str(directory))
    found = found_files.below(directory)
    named = {_joined(folder, path.relative_to(directory).as_posix()): path for path in found}
    faults = []
    for path in named:
        try:
            artifacts.check_new(repositories.metadata, artifacts.run_root(run), path)
        except InvalidInput as error:
            faults.append(str(error))
    if faults:
        more = f" and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise InvalidInput(f"nothing of {str(directory)!r} was kept: {'; '.join(faults[:_TOLD])}{more}", path=str(directory), faults=len(faults))
    return [_kept(repositories, run, path, _pieces(file)) for path, file in named.items()]


def json_bytes(value: object) -> bytes:
    """Plain values as readable JSON."""
    try:
        return msgspec.json.format(msgspec.json.encode(plain(value)), indent=2) + b"\n"
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"a {type(value).__name__} cannot be kept as JSON: {error}; give dicts, lists, numbers and texts") from error


def figure(drawn: Any, name: str, drawing: Drawing | None) -> dict[str, bytes]:
    """The files of a figure by path; the one named `name` is the last."""
    stem, suffix = name.removesuffix(Path(name).suffix), Path(name).suffix.lower()
    if hasattr(drawn, "savefig"):
        if suffix not in _SUFFIXES:
            raise InvalidInput(f"figure {name!r} must end in one of {sorted(_SUFFIXES)}", name=name)
        into = io.BytesIO()
        drawn.savefig(into, format=suffix[1:])
        return {name: into.getvalue()}
    specification = drawn if isinstance(drawn, Mapping) else drawn.to_dict() if hasattr(drawn, "to_dict") else None
    if not isinstance(specification, Mapping):
        raise InvalidInput(f"a {type(drawn).__name__} is no figure; give one with savefig, an Altair chart, or a Vega-Lite dict", name=name)
    files = {f"{stem}.json": json_bytes(specification)}
    if drawing is not None:
        files[f"{stem}.svg"] = drawing.svg(specification)
    if name not in files:
        if suffix != ".svg":
            raise InvalidInput(f"figure {name!r}: a chart specification is kept as .json or .svg", name=name)
        raise InvalidInput(f"figure {name!r} needs vl-convert to be drawn: pip install 'rota[ui]', or name it {stem}.json", name=name)
    return {**{path: data for path, data in files.items() if path != name}, name: files[name]}


def model(
    repositories: Repositories,
    run: ExperimentRun,
    fitted: Any,
    name: str,
    *,
    formats: Mapping[str, ModelFormat],
    files: Mapping[str, bytes],
    step: int,
    problem: Problem | None = None,
) -> LoggedModel:
    """Store a fitted model with its description; it is `pending` until all of it is there.

    Kept is every model that can be written; where it cannot be served, the record says why. What the model itself answers is kept beside it, so
    that its registration is compared with it.
    """
    found = model_keeping.kept(fitted, formats)
    unservable, answers = found.unservable, None
    if found.keeper is not None:
        unservable = _hindrance(found.keeper, found.data, files)
        answers = author_comparison.recorded(loading.reading(found.keeper, problem), fitted, *_said(files))
    contents = {
        **model_files.described(found, fitted, files, problem=problem or ""),
        **files,
        **({mlmodel.AUTHOR_ANSWERS: encode(answers)} if answers else {}),
    }
    now_us = repositories.clock.now_us()
    record = LoggedModel(
        f"m-{uuid.uuid4().hex}", run.experiment, name, run=run.id, type=found.format, created_us=now_us, updated_us=now_us, unservable=unservable
    )
    begun = Batch()
    begun.create(record)
    repositories.metadata.commit(begun)
    for path, data in contents.items():
        artifacts.store(repositories, artifacts.model_root(record), path, [data])
    return _ready(repositories, record, step)


def _said(files: Mapping[str, bytes]) -> tuple[str, list[dict[str, Any]]]:
    """The signature that was given, and the rows of the example that fit its columns."""
    signature = files.get("signature.json", b"").decode(errors="replace")
    try:
        columns = mlmodel.signature(json.loads(signature)).columns if signature else ()
    except (InvalidInput, ValueError):
        return "", []
    return signature, mlmodel.example_rows(files.get("input_example.json", b""), columns)


def _hindrance(keeper: ModelFormat, data: bytes, files: Mapping[str, bytes]) -> str:
    """Why a registered version of the model could not be served, by its columns; "" when it could."""
    try:
        signature = files.get("signature.json", b"")
        column_mapping.served("model", mlmodel.signature(json.loads(signature)) if signature else None, keeper.describe(data))
    except (InvalidInput, ValueError) as error:
        return str(error)
    return ""


def _ready(repositories: Repositories, record: LoggedModel, step: int) -> LoggedModel:
    """The model, its edge and the run's output, together."""
    now_us = repositories.clock.now_us()
    ready = msgspec.structs.replace(record, status="ready", updated_us=now_us)
    batch = Batch()
    batch.put(ready, replacing=record)
    batch.link(f"logged_model:{record.id}", [f"experiment_run:{record.run}"], now_us)
    repositories.tracking.log(record.run, Logged(outputs=[RunOutput(record.id, step)]), batch)
    return ready


def _kept(repositories: Repositories, run: ExperimentRun, path: str, chunks: Iterable[bytes]) -> str:
    root = artifacts.run_root(run)
    batch = Batch()
    batch.link(f"artifact_file:{root}@{path}", [f"experiment_run:{run.id}"], repositories.clock.now_us())
    return artifacts.store(repositories, root, path, chunks, batch=batch).digest


def _joined(folder: str, name: str) -> str:
    return f"{folder.strip('/')}/{name}" if folder.strip("/") else name


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
