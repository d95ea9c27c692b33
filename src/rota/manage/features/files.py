"""Rows of a source out of files: CSV, Parquet or JSON lines, each value that does not fit told apart with its reason."""

import glob
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput, NotFound
from rota.manage.features import expressions, rows, scalars
from rota.records.data import Source
from rota.records.record import Record
from rota.records.schema import Type

_NULLS = ["", "NA", "NaN", "nan", "null", "NULL", "None"]
_TEXT_BOOLS = {"true": True, "True": True, "TRUE": True, "1": True, "false": False, "False": False, "FALSE": False, "0": False}


class Rejection(Record, frozen=True):
    """A row that was left out: its number in the file (from 1, without the header) and why."""

    file: str
    row: int
    reason: str


class Ingestion(Record, frozen=True):
    """What an ingestion did: rows read, stored, already there, and rejected (the first hundred with their reasons)."""

    source: str
    files: int = 0
    rows_in: int = 0
    rows_out: int = 0
    known: int = 0
    rejected: int = 0
    rejections: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """One file's rows of a source, typed, and what did not fit."""

    rows_in: int
    rows: pl.DataFrame
    rejections: list[Rejection]


def paths(pattern: str | Path) -> list[Path]:
    """The files of a path or glob, in order; raises `NotFound` when there are none."""
    found = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True) if Path(name).is_file())  # noqa: PTH207 - a pattern may be absolute
    if not found:
        raise NotFound(f"no file matches {str(pattern)!r}; give a CSV, Parquet or JSON lines file, or a glob of them", path=str(pattern))
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path, source: Source) -> Contents:
    """The file's rows with the fields of the source; columns the source does not declare are left out, absent ones are null."""
    found = _frame(path)
    made: list[pl.Series] = []
    reasons = pl.Series("reason", [None] * found.height, dtype=pl.String)
    for name, kind in source.fields.items():
        raw = found[name] if name in found.columns else pl.Series(name, [None] * found.height, dtype=pl.Null)
        values = _converted(raw, kind, f"{path.name}").alias(name)
        bad = values.is_null() & raw.is_not_null() & ~(_is_nan(raw))
        shown = pl.select(
            pl.lit(f"field {name!r}: ") + raw.cast(pl.String, strict=False).fill_null("?").str.slice(0, 100) + f" is no {kind}"
        ).to_series()
        reasons = _first(reasons, bad, shown)
        if name in (source.timestamp_field, source.id_field):
            reasons = _first(reasons, values.is_null() & ~bad, pl.Series([f"field {name!r} is null or absent"] * found.height, dtype=pl.String))
        made.append(values)
    rejected = reasons.is_not_null()
    rejections = [Rejection(path.name, int(i) + 1, reasons[int(i)]) for i in rejected.arg_true()]
    return Contents(found.height, pl.DataFrame(made).filter(~rejected), rejections)


def _frame(path: Path) -> pl.DataFrame:
    readers: dict[str, Callable[[Path], pl.DataFrame]] = {
        ".csv": partial(pl.read_csv, infer_schema=False, null_values=_NULLS),
        ".parquet": pl.read_parquet,
        ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
        ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"{path} is no file that can be ingested; the endings are {sorted(readers)}", path=str(path))
    try:
        return reader(path)
    except (PolarsError, OSError) as error:
        raise InvalidInput(f"{path} cannot be read: {str(error).splitlines()[0]}", path=str(path)) from error


def _converted(raw: pl.Series, kind: Type, what: str) -> pl.Series:
    if raw.dtype == pl.String and kind != "string":
        return _from_text(raw, kind)
    if raw.dtype.is_float() and kind in ("int", "timestamp"):
        whole = raw.fill_nan(None)
        return pl.select(pl.when(whole == whole.floor()).then(whole.cast(pl.Int64, strict=False))).to_series()
    if raw.dtype.is_integer() and kind == "string":
        return raw.cast(pl.String)
    values = raw.to_frame().select(rows.conformed(raw.dtype, raw.name, kind, what=what)).to_series()
    return pl.select(pl.when(values.is_between(scalars.FIRST_US, scalars.LAST_US)).then(values)).to_series() if kind == "timestamp" else values


def _from_text(raw: pl.Series, kind: Type) -> pl.Series:
    if kind in ("float", "int"):
        return raw.alias("text").to_frame().select(expressions.column(f"cast(trim(text) as {kind})", {"text": "string"})).to_series()
    distinct = raw.unique().drop_nulls().to_list()
    if kind == "bool":
        known = {text: _TEXT_BOOLS.get(text) for text in distinct}
        return raw.replace_strict(known, default=None, return_dtype=pl.Boolean)
    moments = {text: _moment(text) for text in distinct}
    return raw.replace_strict(moments, default=None, return_dtype=pl.Int64)


def _moment(text: str) -> int | None:
    try:
        return int(rows.coerce("timestamp", int(text) if text.lstrip("+-").isdecimal() and len(text) > 8 else text))
    except (InvalidInput, ValueError):
        return None


def _is_nan(raw: pl.Series) -> pl.Series:
    return (
        raw.is_nan().fill_null(value=False)
        if raw.dtype.is_float()
        else pl.Series([False]).new_from_index(0, raw.len())
        if raw.len()
        else raw.is_null()
    )


def _first(reasons: pl.Series, where: pl.Series, reason: pl.Series) -> pl.Series:
    return pl.select(pl.when(reasons.is_null() & where).then(reason).otherwise(reasons)).to_series()


def total(source: str, parts: Sequence[Ingestion]) -> Ingestion:
    """Several ingestions as one."""
    return Ingestion(
        source,
        files=sum(part.files for part in parts),
        rows_in=sum(part.rows_in for part in parts),
        rows_out=sum(part.rows_out for part in parts),
        known=sum(part.known for part in parts),
        rejected=sum(part.rejected for part in parts),
        rejections=tuple(rejection for part in parts for rejection in part.rejections)[:100],
    )
