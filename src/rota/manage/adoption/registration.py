"""Register a fitted model or a model file without a tracked run: it becomes a version with its own files and is adopted."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rota import found_files
from rota.errors import InvalidInput, NotFound
from rota.manage.adoption import author_comparison, mlmodel
from rota.manage.adoption.adopt import LARGEST_MODEL, Adopter
from rota.manage.adoption.mlmodel import ENDINGS
from rota.manage.experiments import artifacts
from rota.manage.features.rows import table_adapters
from rota.manage.models import loading, model_keeping, model_versions, pickle_signing, version_sources
from rota.ports.metadata import Batch, transact
from rota.ports.models import ModelFormat
from rota.problems import output_names
from rota.records.model import ModelVersion
from rota.records.record import encode
from rota.records.run import Problem
from rota.records.tracking import ArtifactFile

EXAMPLE = "input_example.json"
REQUIREMENTS = "requirements.txt"
MOST_FILES = 1_000
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Offer:
    """What is registered: the files by their paths, as bytes or as files to copy, and the caller's description of the model."""

    files: Mapping[str, bytes | Path]
    source: str
    signature: str = ""
    problem: Problem | None = None
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    group: str = ""


def register(adopter: Adopter, model: str, offer: Offer, *, actor: str) -> ModelVersion:
    """The next version of a model, made when it is new, with these files. It exists also when it cannot be served: `unservable` says why."""
    repositories = adopter.repositories
    if offer.signature:
        mlmodel.signature(_parsed(offer.signature))
    if not offer.files or len(offer.files) > MOST_FILES:
        raise InvalidInput(f"a version is registered with 1 to {MOST_FILES} files, not {len(offer.files)}", files=len(offer.files))
    kept = {artifacts.check_path(path): repositories.blobs.put_stream(_chunks(content)) for path, content in offer.files.items()}

    def create() -> ModelVersion:
        now_us = repositories.clock.now_us()
        root = artifacts.new_version_root(model)
        version = ModelVersion(
            model=model,
            number=model_versions.next_number(repositories.metadata, model),
            bundle="",
            format="",
            run="",
            dataset="",
            release="",
            created_us=now_us,
            updated_us=now_us,
            owner=actor,
            registered_by=actor,
            description=offer.description,
            tags=dict(offer.tags),
            source=offer.source,
            artifacts=root,
            signature=offer.signature,
            unservable=version_sources.UNCONVERTED,
            group=offer.group,
        )
        batch = Batch()
        for path, (digest, size) in kept.items():
            batch.create(ArtifactFile(root, path, digest, size, now_us))
        model_versions.register(batch, repositories.metadata, version, actor=actor)
        repositories.metadata.commit(batch)
        return version

    made = transact(create)
    return adopter.adopt(model, made.number, actor=actor, problem=offer.problem)


def of_path(path: Path, *, signature: str = "", example: Path | None = None) -> Offer:
    """The offer of one model file, or of a directory with an MLmodel."""
    if path.is_dir():
        files: dict[str, bytes | Path] = {str(file.relative_to(path)): file for file in found_files.below(path)}
    elif path.is_file():
        files = {path.name: path}
    else:
        raise NotFound(f"there is no file or directory {str(path)!r}", path=str(path))
    if not files.keys() & {mlmodel.DESCRIPTION} and not any(Path(name).suffix in ENDINGS for name in files):
        raise InvalidInput(f"{str(path)!r} is no model: its ending is none of {sorted(ENDINGS)}, and it holds no {mlmodel.DESCRIPTION}")
    return Offer(files | ({EXAMPLE: example} if example else {}), f"file:{path.name}", signature)


def of_model(
    model: Any,
    name: str,
    adopter: Adopter,
    *,
    input_example: Any = (),
    signature: str = "",
    problem: Problem | None = None,
    outputs: tuple[str, ...] = (),
) -> Offer:
    """The offer of a fitted model in memory, by the first installed format that accepts it; its signature follows from the example.

    `input_example` is a list of dicts, or a polars, pandas or Arrow table. `outputs` name the numbers of an answer in the signature.
    """
    format_, data = model_keeping.servable(model, adopter.formats, allowed=pickle_signing.is_allowed(adopter.repositories.metadata, name))
    ending = next(each for each, known in ENDINGS.items() if known == format_.name)
    files: dict[str, bytes | Path] = {f"model{ending}": data, REQUIREMENTS: _requirements(format_)}
    rows: list[dict[str, Any]] = []
    examples = table_adapters.rows(input_example, what="the input example")
    if examples:
        files[EXAMPLE] = example_bytes(examples)
        rows = json.loads(files[EXAMPLE])  # type: ignore[arg-type]
        signature = signature or signature_of(rows)
    if outputs:
        signature = _with_outputs(signature, outputs)
    if answers := author_comparison.recorded(loading.reading(format_, problem), model, signature, rows):
        if outputs and output_names.named(problem or answers.problem or "regression", len(answers.outputs), answers.outputs, outputs) != outputs:
            raise InvalidInput(f"outputs = {list(outputs)} cannot be the names of what the model answers: {list(answers.outputs) or 'one number'}")
        files[mlmodel.AUTHOR_ANSWERS] = encode(answers)
    return Offer(files, f"memory:{type(model).__module__}.{type(model).__qualname__}", signature, problem)


def example_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Example rows as they are kept in a model's folder."""
    return json.dumps([dict(row) for row in rows], default=_number).encode()


def signature_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """A signature in MLflow's form by the values of example rows; a column that holds floats and whole numbers is one of floats."""
    if not rows:
        raise InvalidInput("an input example has at least one row; give the columns that the model reads")
    columns = []
    for name in rows[0]:
        found = {_kind(name, row.get(name)) for row in rows} - {""}
        if len(found) > 1 and not found <= {"double", "long"}:
            raise InvalidInput(f"column {name!r} of the input example holds {sorted(found)}; a column has one type", column=name)
        columns.append({"type": "double" if len(found) != 1 else found.pop(), "name": str(name), "required": True})
    return json.dumps({"inputs": json.dumps(columns), "outputs": None, "params": None})


def _with_outputs(signature: str, outputs: tuple[str, ...]) -> str:
    """A signature in MLflow's form with the names of an answer's numbers."""
    known = _parsed(signature) if signature else {}
    whole = known if isinstance(known, dict) else {"inputs": json.dumps(known)}
    return json.dumps({"inputs": None, "params": None, **whole, "outputs": json.dumps([{"type": "double", "name": name} for name in outputs])})


def _requirements(format_: ModelFormat) -> bytes:
    return "".join(f"{name}=={version}\n" for name, version in format_.libraries().items() if name != "python").encode()


def _kind(name: object, value: Any) -> str:
    kinds = {bool: "boolean", int: "long", float: "double", str: "string", type(None): ""}
    if type(value) not in kinds:
        raise InvalidInput(f"column {name!r} of the input example holds {value!r}; give numbers, texts and true or false", column=str(name))
    return kinds[type(value)]


def _number(value: Any) -> Any:
    """numpy's numbers as Python's."""
    return value.item()


def _parsed(signature: str) -> Any:
    try:
        return json.loads(signature)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f'the signature is no JSON: {error}; give MLflow\'s form, for example \'[{{"name": "age", "type": "double"}}]\''
        ) from error


def _chunks(content: bytes | Path) -> Iterable[bytes]:
    return [content] if isinstance(content, bytes) else _read(content)


def _read(path: Path) -> Iterator[bytes]:
    if path.stat().st_size > LARGEST_MODEL:
        raise InvalidInput(f"{path.name} has {path.stat().st_size} bytes; a file may have {LARGEST_MODEL}", path=str(path))
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
