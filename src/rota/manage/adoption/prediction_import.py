"""Import predictions made elsewhere into an endpoint's log, so that they are monitored like Rota's own.

Rows with an answer and the columns that the model saw; where the file names no prediction ids, a row's id follows from the
file's content and its place, so taking the same file twice changes nothing.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
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
from rota.problems import registry
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
    """Which columns of the file say when, what was answered and (where known) what was true; the others are what the model saw.

    An answer of several numbers has a column for each, `<answer>.<output>`, as `rota predict --output FILE.csv` writes them.
    """

    timestamp: str = "at"
    answer: str = "answer"
    label: str = "label"


def take(repositories: Repositories, endpoint: str, file: Path, columns: Columns, *, sync: bool = False) -> dict[str, int]:
    """Bring a file of predictions, and the labels in it, into the endpoint's log; returns how many of each it held."""
    found = repositories.metadata.get(Endpoint, endpoint)
    if found is None:
        raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints create {endpoint} --model MODEL` declares one", endpoint=endpoint)
    table = schema_inference.file_table(file, texts=(ID,)).collect()
    problem = _problem(repositories, found)
    answers = _answers(table, file, columns, problem)
    version = model_aliases.aliased_version(repositories.metadata, found.model)
    seen = _features(repositories, version.bundle if version else "", table, columns)
    groups = _groups(table, file, version.group if version else "")
    answered = zip(_ids(table, file), answers, groups, strict=True)
    rows = list(_predictions(table, seen, columns, answered, (found, version.number if version else 0)))
    now_us = repositories.clock.now_us()
    truths = [] if columns.label not in table.columns else _labels(table[columns.label], rows, now_us)
    truths = label_domain.checked(problem, truths, endpoint=endpoint)  # before anything of the file is taken
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
    values = label_values(table["value"], str(file))
    given = [Label(str(name), value, now_us) for name, value in zip(table[ID], values, strict=True) if name is not None and value is not None]
    found = repositories.metadata.get(Endpoint, endpoint)
    given = label_domain.checked(_problem(repositories, found) if found is not None else None, given, endpoint=endpoint)
    labels.append(repositories.journal, endpoint, given, now_us, sync=sync)
    return len(given)


def _problem(repositories: Repositories, endpoint: Endpoint) -> DeclaredProblem | None:
    return label_domain.declared(repositories.metadata, repositories.blobs, endpoint.model)


def _answers(table: pl.DataFrame, file: Path, columns: Columns, problem: DeclaredProblem | None) -> list[Any]:
    """The answers of the rows as the problem of the model has them (unknown: numbers), None for a row that was answered with nothing."""
    kind = problem.kind if problem is not None else registry.problem_type("regression")
    outputs = problem.names if problem is not None and kind.needs_outputs != "never" else ()
    names = [f"{columns.answer}.{name}" for name in outputs] or [columns.answer]
    missing = [name for name in (columns.timestamp, *names) if name not in table.columns]
    if missing:
        raise InvalidInput(f"{file} lacks the columns {missing}; it has {table.columns[:50]}: name them by --timestamp and --answer", columns=missing)
    if table.is_empty():
        raise InvalidInput(f"{file} holds no predictions", file=str(file))
    if not outputs and not kind.answer.fits(1.0):
        return [cell if kind.answer.fits(cell) else None for cell in table[columns.answer]]
    for name in names:
        if not table[name].dtype.is_numeric():
            raise InvalidInput(f"column {name!r} of {file} is {table[name].dtype}; an answer is a number", column=name)
    cells = table.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy()
    whole = np.isfinite(cells).all(axis=1)
    plain = kind.answer.plain(outputs, cells if outputs else cells[:, 0])
    return [answer if good else None for answer, good in zip(plain, whole, strict=True)]


def _features(repositories: Repositories, bundle: str, table: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """What the model saw: by its own request view where it is known, else the file's columns as they are."""
    known = {ID, columns.timestamp, columns.label, *(name for name in table.columns if name.partition(".")[0] == columns.answer)}
    if bundle:
        service = decode(repositories.blobs.get(bundle), ModelBundle).features
        if not service.stored_views:
            return baselines.features(service, table)
    given = table.select(name for name in table.columns if name not in known)
    if not given.columns:
        raise InvalidInput("the file holds nothing but answers; give the columns that the model saw")
    return schema_inference.as_numbers(given).rename(lambda name: name if "__" in name else f"{VIEW}__{name}")


def _predictions(
    table: pl.DataFrame, seen: pl.DataFrame, columns: Columns, answered: Iterable[tuple[str, Any, str]], of: tuple[Endpoint, int]
) -> Iterator[Prediction]:
    endpoint, number = of
    moments = column_conversion.conform(table, {columns.timestamp: "timestamp"}, what="the predictions")[columns.timestamp]
    for (name, answer, group), at_us, row in zip(answered, moments, seen.iter_rows(named=True), strict=True):
        if at_us is None:
            raise InvalidInput(f"prediction {name!r} has no {columns.timestamp!r}; every prediction has its moment", column=columns.timestamp)
        request = {column.partition("__")[2]: value for column, value in row.items()}
        error = "it was answered with nothing" if answer is None else ""
        yield Prediction(name, endpoint.name, at_us, endpoint.model, number, "stable", 0, name, request, row, answer, 0, error, group=group)


def _groups(table: pl.DataFrame, file: Path, field: str) -> list[str]:
    """The group of each row by the field that the model declares; "" for each where it declares none."""
    if not field:
        return [""] * table.height
    if field not in table.columns or table[field].null_count():
        raise InvalidInput(f"{file} has rows without {field!r}, the group by which the model's answers are ranked; give the column", column=field)
    return [str(each) for each in table[field].to_list()]


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
    known = zip(rows, label_values(values, "the predictions"), strict=True)
    return [Label(row.prediction_id, value, now_us) for row, value in known if value is not None]


def label_values(values: pl.Series, what: str) -> list[Any]:
    """A column of labels: texts that are no numbers name classes; None where nothing is known."""
    if values.dtype == pl.String:
        cells = values.to_list()
        try:
            numbers = column_conversion.measured(values, what=what)
        except InvalidInput:  # some are names; what is a number stays one, so that a refusal names the cell that is none
            numbers = values.cast(pl.Float64, strict=False)
            return [float(number) if _is_finite(number) else cell or None for number, cell in zip(numbers, cells, strict=True)]
        return [float(number) if _is_finite(number) else None for number in numbers]
    return [float(value) if _is_finite(value) else None for value in column_conversion.measured(values, what=what)]


def _is_finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
