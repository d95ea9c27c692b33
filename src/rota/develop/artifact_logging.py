"""Log artifacts, figures and fitted models of a run, each with its lineage edge from the run."""

import io
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from rota.develop import model_files
from rota.errors import InvalidInput, NotFound
from rota.manage.experiments import artifacts
from rota.manage.repositories import Repositories
from rota.ports.drawing import Drawing
from rota.ports.metadata import Batch
from rota.ports.models import ModelFormat, SealedFormat
from rota.ports.tracking import Logged
from rota.records.record import plain
from rota.records.tracking import ExperimentRun, LoggedModel, RunOutput

_PIECE = 1 << 20
_SUFFIXES = frozenset({".png", ".svg", ".pdf", ".jpg", ".jpeg", ".webp"})


def artifact(repositories: Repositories, run: ExperimentRun, name: str | Path, data: bytes | None, folder: str) -> str:
    """Store bytes, or the file at the path `name`, below the run's root; returns the digest."""
    if data is not None:
        return _kept(repositories, run, _joined(folder, str(name)), [data])
    if not Path(name).is_file():
        raise NotFound(f"there is no file {str(name)!r} to keep as an artifact; give its path, or a name and bytes", path=str(name))
    return _kept(repositories, run, _joined(folder, Path(name).name), _pieces(Path(name)))


def artifacts_below(repositories: Repositories, run: ExperimentRun, directory: Path, folder: str) -> list[str]:
    """Store every file below a directory under its relative path."""
    if not directory.is_dir():
        raise NotFound(f"there is no directory {str(directory)!r} to keep; give one, or a single file to log_artifact", path=str(directory))
    found = sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())
    return [_kept(repositories, run, _joined(folder, path.relative_to(directory).as_posix()), _pieces(path)) for path in found]


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
) -> LoggedModel:
    """Store a fitted model with its description; it is `pending` until all of it is there."""
    accepting = next((each for each in formats.values() if not isinstance(each, SealedFormat) and each.accepts(fitted)), None)
    if accepting is None:
        raise InvalidInput(
            f"a {type(fitted).__module__}.{type(fitted).__name__} is accepted by none of the installed formats {sorted(formats)}; "
            "install the extra of its framework, or keep its file with log_artifact",
            model=type(fitted).__name__,
        )
    contents = {**model_files.described(accepting, fitted, accepting.dumps(fitted), files), **files}
    now_us = repositories.clock.now_us()
    record = LoggedModel(f"m-{uuid.uuid4().hex}", run.experiment, name, run=run.id, type=accepting.name, created_us=now_us, updated_us=now_us)
    begun = Batch()
    begun.create(record)
    repositories.metadata.commit(begun)
    for path, data in contents.items():
        artifacts.store(repositories, artifacts.model_root(record), path, [data])
    return _ready(repositories, record, step)


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
