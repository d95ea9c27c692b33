"""Batch prediction: rows of files, datasets and queries larger than memory, scored part by part, with one output row for each input row.

Each part is scored by the path that answers online (features, routing, shadows, prediction log) and then written whole, so that a run that was
killed goes on with the first part that is missing. Ids follow from the job and the row: rows of a part that was scored but not written are logged
again under the same ids, which count once. A row that does not fit has its error in its output row, and is not logged, as online.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rota.durable_files import put_in_place
from rota.errors import InvalidInput, NotFound, Refused, Unavailable
from rota.manage.features.rows import column_conversion
from rota.manage.features.rows.column_conversion import Raw
from rota.manage.models import out_of_service
from rota.manage.models.loading import load
from rota.problems import forms, registry
from rota.records.record import Record, decode, encode
from rota.records.release import Release, Unloaded
from rota.serve import model_repository
from rota.serve.micro_batching import SLICE_ROWS
from rota.serve.predicting import Answer, CheckedRequest, PredictionCore
from rota.serve.release_poller import ModelSource
from rota.serve.scoring import LoadedRelease
from rota.serve.tensor_views import pinned, versions

PART_ROWS = 20_000
ENDINGS = (".parquet", ".csv", ".jsonl")
_JOB = "job.json"


class BatchJob(Record, frozen=True):
    """What a folder of parts belongs to: the same job goes on there, another one does not."""

    id: str
    endpoint: str
    revision: int
    version: int
    origin: str
    part_rows: int


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a run did: `rows` in the output, `failed` of them without an answer, `resumed` already there from an earlier run."""

    rows: int
    failed: int
    resumed: int
    warnings: tuple[str, ...]


def job_of(output: Path, wanted: BatchJob, *, restart: bool) -> BatchJob:
    """The job whose parts lie beside an output: the one that was begun, else `wanted`. Raises `InvalidInput` when another one was begun."""
    folder = folder_of(output)
    if output.suffix not in ENDINGS:
        raise InvalidInput(f"{output} has the suffix {output.suffix!r}; give one of {', '.join(ENDINGS)}", file=str(output))
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        begun = decode((folder / _JOB).read_bytes(), BatchJob)
    except FileNotFoundError:
        if output.exists() and not restart:
            raise InvalidInput(f"{output} exists already; choose another name, or replace it with --restart", file=str(output)) from None
        folder.mkdir(parents=True, exist_ok=True)
        put_in_place(folder / _JOB, encode(wanted), replace=True)
        return wanted
    if (begun.endpoint, begun.origin, begun.part_rows) != (wanted.endpoint, wanted.origin, wanted.part_rows) or wanted.version not in (
        0,
        begun.version,
    ):
        if not any(folder.glob("*.parquet")):  # it never scored anything: its input was not there, or it was ended at once
            put_in_place(folder / _JOB, encode(wanted), replace=True)
            return wanted
        raise InvalidInput(
            f"{folder} holds parts of another job ({begun.endpoint}, {begun.origin}, parts of {begun.part_rows} rows); go on with that one, choose "
            "another output, or begin anew with --restart",
            folder=str(folder),
        )
    return begun


def folder_of(output: Path) -> Path:
    """Where the parts of an output lie until it is whole."""
    return output.with_name(output.name + ".parts")


def loaded(source: ModelSource, job: BatchJob) -> LoadedRelease:
    """The release that a job scores with, its models loaded; raises `NotFound` and `Refused` saying why there is none."""
    release = source.metadata.get(Release, job.endpoint, job.revision)
    if release is None:
        raise NotFound(f"endpoint {job.endpoint!r} has no release {job.revision}; begin anew with --restart", endpoint=job.endpoint)
    if (unloaded := source.metadata.get(Unloaded, job.endpoint)) is not None:
        raise Refused(model_repository.why(unloaded), endpoint=job.endpoint)
    out = out_of_service.standing(source.metadata)
    if gone := [route for route in release.routes if route.bundle in out]:
        raise Refused(out_of_service.told(out[gone[0].bundle], job.endpoint), endpoint=job.endpoint)
    models = {route.bundle: load(source.blobs, source.formats, route.bundle, name=route.model) for route in release.routes}
    sources = {digest: source.source_of(model.bundle.features).source for digest, model in models.items()}
    served = LoadedRelease.of(release, models, sources)
    if served.group:
        raise Refused(f"endpoint {job.endpoint!r} ranks rows by the field {served.group!r}; a batch does not keep groups together, ask it online")
    chosen = pinned(served, job.version) if job.version else served
    if chosen is None:
        raise NotFound(f"endpoint {job.endpoint!r} does not serve version {job.version}; it serves {versions(served)}", endpoint=job.endpoint)
    return chosen


def run(
    core: PredictionCore, served: LoadedRelease, job: BatchJob, chunks: Iterator[Raw], output: Path, progress: Callable[[int], None] = lambda _: None
) -> BatchResult:
    """Score what is not scored yet and put the output in place; `progress` is told the rows that are done.

    Raises `Unavailable` when the prediction log cannot be written, `InvalidInput` when the input is not what it was when parts of it were scored.
    """
    core.switch(job.endpoint, served)
    folder = folder_of(output)
    rows = failed = resumed = 0
    warnings: dict[str, None] = {}
    for number, chunk in enumerate(chunks):
        _check_columns(chunk.frame, served)
        name = f"{number:06d}.{_fingerprint(chunk.frame)}.parquet"
        if there := sorted(folder.glob(f"{number:06d}.*.parquet")):
            if there[0].name != name:
                raise InvalidInput(f"the input has changed since part {number} of it was scored (rows from {rows}); begin anew with --restart")
            part = pl.read_parquet(there[0], columns=["error"])
            resumed += part.height
        else:
            part = _scored(core, served, job, chunk, rows, warnings)
            buffer = BytesIO()
            part.write_parquet(buffer)
            put_in_place(folder / name, buffer.getvalue(), replace=True)
        rows, failed = rows + part.height, failed + int((part["error"] != "").sum())
        progress(rows)
    if more := sorted(folder.glob("*.parquet"))[number + 1 if rows else 0 :]:
        raise InvalidInput(
            f"the input has become shorter: {len(more)} parts of it were scored that are not there any more; begin anew with --restart"
        )
    _put_together(folder, output, served)
    return BatchResult(rows, failed, resumed, tuple(warnings))


def _check_columns(frame: pl.DataFrame, served: LoadedRelease) -> None:
    if missing := [name for name in served.fields if name not in frame.columns]:
        raise InvalidInput(f"the input has no columns {missing[:20]}, which the endpoint asks for; it has {frame.columns[:50]}", columns=missing[:20])


def _fingerprint(frame: pl.DataFrame) -> str:
    """What tells a chunk from another one, also from one with the same rows in another order."""
    objects = [name for name, dtype in frame.schema.items() if dtype == pl.Object]
    plain = frame.with_columns(pl.Series(name, [repr(value) for value in frame[name]], dtype=pl.String) for name in objects)
    hashes = plain.with_row_index("\0").hash_rows().to_numpy()
    return f"{plain.height:x}-{int(np.bitwise_xor.reduce(hashes)):016x}"


def _scored(core: PredictionCore, served: LoadedRelease, job: BatchJob, chunk: Raw, first: int, warnings: dict[str, None]) -> pl.DataFrame:
    """The output rows of a chunk."""
    rows, errors = _typed(chunk, served)
    ids = [f"{job.id}-{first + place}" for place in range(len(rows))]
    answers: dict[int, Answer] = {}
    places = [place for place in range(len(rows)) if place not in errors]
    for start in range(0, len(places), SLICE_ROWS):
        asked, checked = _fitting(core, job.endpoint, places[start : start + SLICE_ROWS], rows, ids, errors)
        if checked is None:
            continue
        response = core.answer([checked])[0]
        if not response.logged:
            raise Unavailable("the prediction log cannot be written; make room on the home's disk, and run the same command again to go on")
        warnings.update(dict.fromkeys(response.warnings))
        answers.update(zip(asked, response.predictions, strict=True))
    return _frame(served, ids, answers, errors, first)


def _fitting(
    core: PredictionCore, endpoint: str, places: Sequence[int], rows: Sequence[Mapping[str, Any]], ids: Sequence[str], errors: dict[int, str]
) -> tuple[Sequence[int], CheckedRequest | None]:
    """The places of rows that the endpoint takes, and the request of these (None: there is none); of the others the reason is noted."""
    served = core.served[endpoint]

    def checked(chosen: Sequence[int]) -> CheckedRequest:
        return core.prepare(endpoint, [rows[place] for place in chosen], [ids[place] for place in chosen], served=served)

    try:
        return places, checked(places)
    except InvalidInput:
        pass
    taken = []
    for place in places:
        try:
            checked([place])
        except InvalidInput as error:
            errors[place] = str(error).replace("row 0", "the row", 1)
        else:
            taken.append(place)
    return taken, checked(taken) if taken else None


def _typed(chunk: Raw, served: LoadedRelease) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The rows with the endpoint's fields in their types, and why rows could not be read."""
    frame = chunk.frame
    errors = {place: fault[0] for place, fault in chunk.faults.items()}
    columns: dict[str, list[Any]] = {}
    for name, kind in served.fields.items():
        found = column_conversion.fitted(frame[name], kind, "the input", cells=chunk.cells)
        columns[name] = found.values.to_list()
        for place in found.misfits.arg_true().to_list():
            errors.setdefault(place, f"field {name!r}: {column_conversion.reason(frame[name][place], kind, cells=chunk.cells)}")
    unit = served.release.unit
    if unit in frame.columns and unit not in columns:
        columns[unit] = frame[unit].cast(pl.String).to_list()
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)], errors


def _frame(served: LoadedRelease, ids: Sequence[str], answers: Mapping[int, Answer], errors: Mapping[int, str], first: int) -> pl.DataFrame:
    found = [answers.get(place) for place in range(len(ids))]
    plain, named = _answer_columns(served, [None if each is None else each.answer for each in found])
    return pl.DataFrame(
        [
            pl.Series("row", range(first, first + len(ids)), pl.Int64),
            pl.Series("prediction_id", ids, pl.String),
            plain,
            *named,
            pl.Series("model", [each.model if each else None for each in found], pl.String),
            pl.Series("version", [each.version if each else None for each in found], pl.Int64),
            pl.Series("role", [each.role if each else None for each in found], pl.String),
            pl.Series("error", [each.error if each else errors.get(place, "") for place, each in enumerate(found)], pl.String),
            pl.Series("missing", [json.dumps(dict(each.missing)) if each and each.missing else None for each in found], pl.String),
        ]
    )


def _answer_columns(served: LoadedRelease, answers: Sequence[Any]) -> tuple[pl.Series, list[pl.Series]]:
    """The column `answer`, and `answer.NAME` for each number that has a name."""
    bundle = served.stable.model.bundle
    form = registry.problem_type(bundle.problem).answer
    if form is forms.CLASS:
        likeliest = pl.Series("answer", [None if each is None else each["class"] for each in answers], pl.String)
        return likeliest, _named(bundle.outputs, [None if each is None else each["probabilities"] for each in answers])
    if bundle.outputs:
        return pl.Series("answer", [None] * len(answers), pl.Float64), _named(bundle.outputs, answers)
    if form.are_texts:
        texts = [each if each is None or isinstance(each, str) else json.dumps(each) for each in answers]
        return pl.Series("answer", texts, pl.String), []
    if form.is_list:
        return pl.Series("answer", list(answers), pl.List(pl.Float64)), []
    return pl.Series("answer", list(answers), pl.Float64), []


def _named(names: Sequence[str], answers: Sequence[Any]) -> list[pl.Series]:
    return [pl.Series(f"answer.{name}", [None if each is None else each.get(name) for each in answers], pl.Float64) for name in names]


def _put_together(folder: Path, output: Path, served: LoadedRelease) -> None:
    """The parts in their order as one file, which appears whole; then they are removed."""
    parts = sorted(folder.glob("*.parquet"))
    whole = pl.scan_parquet(parts, glob=False) if parts else _frame(served, [], {}, {}, 0).lazy()
    partial = folder / "whole"
    if output.suffix == ".parquet":
        whole.sink_parquet(partial, maintain_order=True)
    elif output.suffix == ".csv":
        lists = [name for name, kind in whole.collect_schema().items() if kind.is_nested()]
        whole.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists).sink_csv(partial, maintain_order=True)
    else:
        whole.sink_ndjson(partial, maintain_order=True)
    partial.replace(output)
    shutil.rmtree(folder)
