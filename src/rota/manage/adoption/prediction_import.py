"""Import predictions made elsewhere into an endpoint's log, so that they are monitored like Rota's own.

Rows with an answer and the columns that the model saw; where the file names no prediction ids, a row's id follows from the
file's content and its place, so taking the same file twice changes nothing.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.adoption import baselines
from rota.manage.adoption.column_mapping import VIEW
from rota.manage.datasets import schema_inference
from rota.manage.features.rows import column_conversion
from rota.manage.models import model_aliases
from rota.manage.repositories import Repositories
from rota.manage.signals import label_domain, labels, prediction_log
from rota.manage.signals.label_domain import DeclaredProblem
from rota.records.model import ModelBundle
from rota.records.record import decode
from rota.records.release import Endpoint
from rota.records.signal import Label, Prediction
from rota.records.time import Micros

ID = "prediction_id"
BATCH_ROWS = 5_000
LONGEST_ID = 128


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of the file say when, what was answered and (where known) what was true; the others are what the model saw."""

    timestamp: str = "at"
    answer: str = "answer"
    label: str = "label"


def take(repositories: Repositories, endpoint: str, file: Path, columns: Columns, *, sync: bool = False) -> dict[str, int]:
    """Bring a file of predictions, and the labels in it, into the endpoint's log; returns how many of each it held."""
    found = repositories.metadata.get(Endpoint, endpoint)
    if found is None:
        raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints create {endpoint} --model MODEL` declares one", endpoint=endpoint)
    table = schema_inference.file_table(file, texts=(ID,)).collect()
    _check(table, file, columns)
    version = model_aliases.aliased_version(repositories.metadata, found.model)
    seen = _features(repositories, version.bundle if version else "", table, columns)
    rows = list(_predictions(table, seen, columns, _ids(table, file), (found, version.number if version else 0)))
    now_us = repositories.clock.now_us()
    truths = [] if columns.label not in table.columns else _labels(table[columns.label], rows, now_us)
    truths = label_domain.checked(_problem(repositories, found), truths, endpoint=endpoint)  # before anything of the file is taken
    for start in range(0, len(rows), BATCH_ROWS):
        prediction_log.append(repositories.journal, endpoint, rows[start : start + BATCH_ROWS], sync=sync)
    if truths:
        labels.append(repositories.journal, endpoint, truths, now_us, sync=sync)
    return {"predictions": len(rows), "labels": len(truths)}


def take_labels(repositories: Repositories, endpoint: str, file: Path, *, sync: bool = False) -> int:
    """Bring a file of labels (`prediction_id`, `value`) into the endpoint's log."""
    table = schema_inference.file_table(file, texts=(ID,)).collect()
    missing = [name for name in (ID, "value") if name not in table.columns]
    if missing:
        raise InvalidInput(f"{file} lacks the columns {missing}; a label has {ID} and value", columns=missing)
    now_us = repositories.clock.now_us()
    values = column_conversion.measured(table["value"], what=str(file))
    named = zip(table[ID], values, strict=True)
    given = [Label(str(name), float(value), now_us) for name, value in named if name is not None and _is_finite(value)]
    found = repositories.metadata.get(Endpoint, endpoint)
    given = label_domain.checked(_problem(repositories, found) if found is not None else None, given, endpoint=endpoint)
    labels.append(repositories.journal, endpoint, given, now_us, sync=sync)
    return len(given)


def _problem(repositories: Repositories, endpoint: Endpoint) -> DeclaredProblem | None:
    return label_domain.declared(repositories.metadata, repositories.blobs, endpoint.model)


def _check(table: pl.DataFrame, file: Path, columns: Columns) -> None:
    missing = [name for name in (columns.timestamp, columns.answer) if name not in table.columns]
    if missing:
        raise InvalidInput(f"{file} lacks the columns {missing}; it has {table.columns[:50]}: name them by --timestamp and --answer", columns=missing)
    if not table[columns.answer].dtype.is_numeric():
        raise InvalidInput(f"column {columns.answer!r} of {file} is {table[columns.answer].dtype}; an answer is a number", column=columns.answer)
    if table.is_empty():
        raise InvalidInput(f"{file} holds no predictions", file=str(file))


def _features(repositories: Repositories, bundle: str, table: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """What the model saw: by its own request view where it is known, else the file's columns as they are."""
    known = {ID, columns.timestamp, columns.answer, columns.label}
    if bundle:
        service = decode(repositories.blobs.get(bundle), ModelBundle).features
        if not service.stored_views:
            return baselines.features(service, table)
    given = table.select(name for name in table.columns if name not in known)
    if not given.columns:
        raise InvalidInput("the file holds nothing but answers; give the columns that the model saw")
    return schema_inference.as_model_sees(given).rename(lambda name: name if "__" in name else f"{VIEW}__{name}")


def _predictions(table: pl.DataFrame, seen: pl.DataFrame, columns: Columns, ids: Sequence[str], of: tuple[Endpoint, int]) -> Iterator[Prediction]:
    endpoint, number = of
    moments = column_conversion.conform(table, {columns.timestamp: "timestamp"}, what="the predictions")[columns.timestamp]
    answers = table[columns.answer].cast(pl.Float64)
    for name, at_us, answer, row in zip(ids, moments, answers, seen.iter_rows(named=True), strict=True):
        if at_us is None:
            raise InvalidInput(f"prediction {name!r} has no {columns.timestamp!r}; every prediction has its moment", column=columns.timestamp)
        good = _is_finite(answer)
        request = {column.partition("__")[2]: value for column, value in row.items()}
        error = "" if good else "it was answered with nothing"
        yield Prediction(name, endpoint.name, at_us, endpoint.model, number, "stable", 0, name, request, row, answer if good else None, 0, error)


def _ids(table: pl.DataFrame, file: Path) -> list[str]:
    if ID not in table.columns:
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()[:16]
        return [f"{content}-{place}" for place in range(table.height)]
    ids = [str(each) for each in table[ID]]
    bad = next((each for each in ids if not 0 < len(each) <= LONGEST_ID or not each.isprintable()), None)
    if bad is not None or table[ID].null_count():
        raise InvalidInput(f"{ID} {str(bad)[:50]!r} in {file} is not allowed; use 1-{LONGEST_ID} printable characters", file=str(file))
    return ids


def _labels(values: pl.Series, rows: Sequence[Prediction], now_us: Micros) -> list[Label]:
    known = column_conversion.measured(values, what="the predictions")
    return [Label(row.prediction_id, float(value), now_us) for row, value in zip(rows, known, strict=True) if _is_finite(value)]


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
