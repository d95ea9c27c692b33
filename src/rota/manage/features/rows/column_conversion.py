"""Columns as other programs write them, brought into a source's declared types; each row that does not fit is told apart with its reason.

float (nan is null), int (64 bits), bool, string, and timestamp: ISO 8601 text (without an offset: UTC), a date, a datetime,
or integer microseconds. Columns that the source does not declare are left out, absent ones are null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler, scalar_functions
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.rows import coercion as rows
from rota.records.data import Source
from rota.records.intake import Rejection
from rota.records.schema import Type

_TEXT_BOOLS = {"true": True, "True": True, "TRUE": True, "1": True, "false": False, "False": False, "FALSE": False, "0": False}
_UTC_TEXT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|\+00:00)?$"
_MICROS_TEXT = r"^[+-]?[0-9]{9,19}$"
RAW_CHARACTERS = 2_000
"""How much of a rejected row is kept."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Rows as they were read. `faults` are reasons of rows (by position) that could not even be taken apart, with their text."""

    frame: pl.DataFrame
    faults: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    def cut(self, start: int, end: int | None = None) -> "Raw":
        """The rows from `start` to `end`."""
        stop = self.frame.height if end is None else min(end, self.frame.height)
        return Raw(self.frame[start:stop], {i - start: fault for i, fault in self.faults.items() if start <= i < stop})


@dataclass(frozen=True, slots=True)
class Typed:
    """Rows of a source in its types, the position each had, and what did not fit."""

    rows_in: int
    rows: pl.DataFrame
    positions: pl.Series
    rejections: list[Rejection]


def typed(raw: Raw, source: Source, origin: str, *, before: int = 0) -> Typed:
    """The rows with the fields of the source. `before` rows of the input came earlier, so that row numbers go on.

    Raises `InvalidInput` for a column whose type as a whole cannot be what is declared.
    """
    found = raw.frame
    made: list[pl.Series] = []
    reasons = pl.Series("reason", [raw.faults.get(i, (None,))[0] for i in range(found.height)] if raw.faults else [None] * found.height, pl.String)
    for name, kind in source.fields.items():
        column = found[name] if name in found.columns else pl.Series(name, [None] * found.height, dtype=pl.Null)
        values = converted(column, kind, origin).alias(name)
        bad = values.is_null() & column.is_not_null() & ~_is_nan(column)
        if bad.any():
            shown = pl.select(
                pl.lit(f"field {name!r}: ") + column.cast(pl.String, strict=False).fill_null("?").str.slice(0, 100) + f" is no {kind}"
            ).to_series()
            reasons = first(reasons, bad, shown)
        if name in (source.timestamp_field, source.id_field):
            reasons = first(reasons, values.is_null(), pl.Series([f"field {name!r} is null or absent"]))
        made.append(values)
    rejected = reasons.is_not_null()
    rejections = [
        Rejection(origin, before + i + 1, reasons[i], raw.faults[i][1] if i in raw.faults else shown_row(found, i))
        for i in rejected.arg_true().to_list()
    ]
    positions = pl.Series("position", range(before + 1, before + found.height + 1), dtype=pl.Int64)
    return Typed(found.height, pl.DataFrame(made).filter(~rejected), positions.filter(~rejected), rejections)


def joined(parts: Sequence[Typed]) -> Typed:
    """Stretches that follow each other as one."""
    return Typed(
        sum(part.rows_in for part in parts),
        pl.concat(part.rows for part in parts),
        pl.concat(part.positions for part in parts),
        [rejection for part in parts for rejection in part.rejections],
    )


def fits(texts: pl.Series, kind: Type) -> bool:
    """Whether every text of a column is one of this type."""
    return bool((_from_text(texts, kind).is_not_null() | texts.is_null()).all())


def first(reasons: pl.Series, where: pl.Series, reason: pl.Series) -> pl.Series:
    """The reasons with one more for the rows that had none yet; a single reason is that of every row."""
    if not where.any():
        return reasons
    given = reason if reason.len() == reasons.len() else reason.new_from_index(0, reasons.len())
    return pl.select(pl.when(reasons.is_null() & where).then(given).otherwise(reasons).alias("reason")).to_series()


def shown_row(frame: pl.DataFrame, index: int) -> str:
    """A row as it came, as JSON, cut when it is very long."""
    return as_json(frame.row(index, named=True))[:RAW_CHARACTERS]


def as_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except (UnicodeEncodeError, OverflowError):
        return repr(value)


def converted(raw: pl.Series, kind: Type, what: str) -> pl.Series:
    """A column in a declared type, null where a value does not fit; raises `InvalidInput` when its type as a whole does not."""
    dtype = raw.dtype
    if dtype == pl.String and kind != "string":
        return _from_text(raw, kind)
    if isinstance(dtype, pl.Decimal) and kind in ("float", "string"):
        return raw.cast(DTYPES[kind], strict=False)
    if (dtype.is_float() or isinstance(dtype, pl.Decimal)) and kind in ("int", "timestamp"):
        exact = raw.fill_nan(None) if dtype.is_float() else raw
        values = pl.select(pl.when(exact == exact.floor()).then(exact.cast(pl.Int64, strict=False))).to_series()
    elif dtype.is_integer() and kind != "float":
        values = _from_integers(raw, kind)
    else:
        values = raw.to_frame().select(rows.conformed(dtype, raw.name, kind, what=what)).to_series()
    return _in_range(values, kind)


def _from_integers(raw: pl.Series, kind: Type) -> pl.Series:
    if kind == "string":
        return raw.cast(pl.String)
    values = raw.cast(pl.Int64, strict=False)  # an unsigned number may be too large
    return values.replace_strict({0: False, 1: True}, default=None, return_dtype=pl.Boolean) if kind == "bool" else values


def _in_range(values: pl.Series, kind: Type) -> pl.Series:
    """A timestamp has a calendar date, or it is none."""
    if kind != "timestamp":
        return values
    return pl.select(pl.when(values.is_between(scalar_functions.FIRST_US, scalar_functions.LAST_US)).then(values)).to_series()


def _from_text(raw: pl.Series, kind: Type) -> pl.Series:
    if kind in ("float", "int"):
        return raw.alias("text").to_frame().select(compiler.column(f"cast(trim(text) as {kind})", {"text": "string"})).to_series()
    if kind == "bool":
        known = {text: _TEXT_BOOLS.get(text) for text in raw.unique().drop_nulls().to_list()}
        return raw.replace_strict(known, default=None, return_dtype=pl.Boolean)
    return _in_range(_moments(raw), kind)


def _moments(raw: pl.Series) -> pl.Series:
    """UTC text in its usual form and microseconds all at once, any other text by itself. Fewer than nine digits are a date (20130715)."""
    usual = pl.when(raw.str.contains(_UTC_TEXT)).then(raw.str.slice(0, 26).str.strip_suffix("Z").str.replace("T", " ").str.replace(r"\+.*$", ""))
    parsed = pl.select(usual).to_series().str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False).dt.epoch("us")
    digits = pl.select(pl.when(raw.str.contains(_MICROS_TEXT)).then(raw.str.strip_prefix("+")).cast(pl.Int64, strict=False)).to_series()
    parsed = pl.select(pl.coalesce(parsed, digits)).to_series()
    others = raw.filter(parsed.is_null() & raw.is_not_null()).unique().to_list()
    if not others:
        return parsed
    known = {text: _moment(text) for text in others}
    return pl.select(pl.coalesce(parsed, raw.replace_strict(known, default=None, return_dtype=pl.Int64))).to_series()


def _moment(text: str) -> int | None:
    try:
        return int(rows.coerce("timestamp", text))
    except (InvalidInput, ValueError):
        return None


def _is_nan(raw: pl.Series) -> pl.Series:
    if raw.dtype.is_float():
        return raw.is_nan().fill_null(value=False)
    return pl.repeat(value=False, n=raw.len(), dtype=pl.Boolean, eager=True)
