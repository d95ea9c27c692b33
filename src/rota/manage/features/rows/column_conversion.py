"""Columns brought into declared types, value for value as `coercion` does it; each row that does not fit is told apart with its reason.

A column of texts out of CSV is one of cells, in which a number is a number; anywhere else a text is a text. Columns that a source
does not declare are left out and may be of any type, absent ones are null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler, scalar_functions
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.rows import coercion, measured_columns
from rota.manage.features.rows.measured_columns import Fitted
from rota.records import early_times
from rota.records.data import Source
from rota.records.intake import Rejection
from rota.records.schema import Type
from rota.records.time import DAY_US, FIRST_US, LAST_US, is_ambiguous, way_out
from rota.records.value_types import SCALARS
from rota.records.values import EXACT, advice, coerce, shown

_MICROS_TEXT = r"^[+-]?[0-9]{9,19}$"
_UTC_TEXT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,6})?(Z|\+00:00)?$"
RAW_CHARACTERS = 2_000
"""How much of a rejected row is kept."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Rows as they were read. `faults` are reasons of rows (by position) that could not even be taken apart, with their text.

    `cells`: the columns are texts because their form has nothing else (CSV), see `coercion.cell`. Of a file of lines: `lines` are
    the numbers of the lines on which the rows begin, `end` the bytes of its text up to the end of these rows, `digest` the
    SHA-256 over those bytes.
    """

    frame: pl.DataFrame
    faults: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    cells: bool = False
    lines: pl.Series | None = None
    end: int | None = None
    digest: str = ""

    def cut(self, start: int, end: int | None = None) -> "Raw":
        """The rows from `start` to `end`."""
        stop = self.frame.height if end is None else min(end, self.frame.height)
        faults = {i - start: fault for i, fault in self.faults.items() if start <= i < stop}
        lines = None if self.lines is None else self.lines[start:stop]
        whole = stop == self.frame.height
        return Raw(self.frame[start:stop], faults, self.cells, lines, self.end if whole else None, self.digest if whole else "")


@dataclass(frozen=True, slots=True)
class Typed:
    """Rows of a source in its types, the position each had, what did not fit, and what is to be said of a field whose times look like seconds."""

    rows_in: int
    rows: pl.DataFrame
    positions: pl.Series
    rejections: list[Rejection]
    notices: Mapping[str, str] = field(default_factory=dict)
    lines: pl.Series | None = None

    def line_of(self, row: int) -> int:
        """The line of a file on which one of the rows begins; 0 where there are no lines."""
        place = self.positions.search_sorted(row)
        return 0 if self.lines is None or place >= self.lines.len() or self.positions[place] != row else int(self.lines[place])


def typed(raw: Raw, source: Source, origin: str, *, before: int = 0) -> Typed:
    """The rows with the fields of the source. `before` rows of the input came earlier, so that row numbers go on.

    Raises `InvalidInput` for a column whose type as a whole cannot be what is declared.
    """
    found = raw.frame
    made: list[pl.Series] = []
    notices: dict[str, str] = {}
    reasons = pl.Series("reason", [raw.faults.get(i, (None,))[0] for i in range(found.height)] if raw.faults else [None] * found.height, pl.String)
    for name, kind in source.fields.items():
        column = found[name] if name in found.columns else pl.Series(name, [None] * found.height, dtype=pl.Null)
        found_values = fitted(column, kind, origin, cells=raw.cells)
        values = found_values.values.alias(name)
        if kind == "timestamp" and (notice := early(column.alias(name), values)):
            notices[name] = notice
        if found_values.misfits.any():
            reasons = first(reasons, found_values.misfits, _reasons(column, kind, found_values.misfits, cells=raw.cells))
        if name in (source.timestamp_field, source.id_field):
            reasons = first(reasons, values.is_null(), pl.Series([f"field {name!r} is null or absent"]))
        made.append(values)
    rejected = reasons.is_not_null()
    rejections = [
        Rejection(
            origin,
            before + i + 1,
            reasons[i],
            raw.faults[i][1] if i in raw.faults else shown_row(found, i),
            0 if raw.lines is None else raw.lines[i],
        )
        for i in rejected.arg_true().to_list()
    ]
    positions = pl.Series("position", range(before + 1, before + found.height + 1), dtype=pl.Int64)
    lines = None if raw.lines is None else raw.lines.filter(~rejected)
    return Typed(found.height, pl.DataFrame(made).filter(~rejected), positions.filter(~rejected), rejections, notices, lines)


def joined(parts: Sequence[Typed]) -> Typed:
    """Stretches that follow each other as one."""
    return Typed(
        sum(part.rows_in for part in parts),
        pl.concat(part.rows for part in parts),
        pl.concat(part.positions for part in parts),
        [rejection for part in parts for rejection in part.rejections],
        {name: notice for part in parts for name, notice in part.notices.items()},
        pl.concat(part.lines for part in parts if part.lines is not None) if all(part.lines is not None for part in parts) else None,
    )


def early(raw: pl.Series, times: pl.Series) -> str:
    """What to say of a column of times that came as numbers and all lie just after 1970 (see `early_times`); else nothing."""
    known = times.drop_nulls()
    if not known.len() or not known.is_between(0, early_times.EARLY_US - 1).all():
        return ""
    if raw.dtype == pl.String:
        dates = raw.str.contains(_MICROS_TEXT).fill_null(value=True).not_()
        return "" if dates.any() else early_times.of_values(raw.name, known)
    return early_times.of_values(raw.name, raw) if raw.dtype.is_numeric() or raw.dtype == pl.Object else ""


def fits(column: pl.Series, kind: Type, *, cells: bool = False) -> bool:
    """Whether every value of a column is one of this type as its writer would have it: "1.0" is a float, although it fits an int."""
    if cells and kind in ("int", "float"):
        bare = column.str.strip_chars(coercion.TEXT_SPACES)
        return bool((bare.str.contains(scalar_functions.INTEGER if kind == "int" else scalar_functions.NUMBER) | column.is_null()).all())
    return not fitted(column, kind, "the column", cells=cells).misfits.any()


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
    except (UnicodeEncodeError, OverflowError, ValueError):  # half a surrogate pair, an integer of thousands of digits
        return shown(value)


def converted(raw: pl.Series, kind: Type, what: str, *, cells: bool = False) -> pl.Series:
    """A column in a declared type, null where a value does not fit; raises `InvalidInput` when its type as a whole does not."""
    return fitted(raw, kind, what, cells=cells).values


def conform(columns: pl.DataFrame, fields: Mapping[str, Type], *, what: str, cells: bool = False) -> pl.DataFrame:
    """The named columns of a frame in their declared types; an absent column raises `InvalidInput`, a value that does not fit too."""
    missing = [name for name in fields if name not in columns.columns]
    if missing:
        raise InvalidInput(f"{what} lacks the columns {missing}; it has {columns.columns}", columns=missing)
    made = []
    for name, kind in fields.items():
        found = fitted(columns[name], kind, what, cells=cells)
        if found.misfits.any():
            row = int(found.misfits.arg_max() or 0)
            why = reason(columns[name][row], kind, cells=cells)
            of = what if cells else f"{what} (type {columns.schema[name]})"
            raise InvalidInput(f"row {row}, column {name!r} of {of}: {why}", column=name, row=row)
        made.append(found.values.alias(name))
    return pl.DataFrame(made)


def measured(column: pl.Series, *, what: str) -> pl.Series:
    """`rota.records.values.measured` of a column: floats, and bools as 0 and 1; `InvalidInput` names a value that is neither."""
    if column.dtype == pl.Boolean:
        return column.cast(pl.Float64)
    return conform(column.to_frame(), {column.name: "float"}, what=what).to_series()


def fitted(raw: pl.Series, kind: Type, what: str, *, cells: bool = False) -> Fitted:
    """A column in a declared type and what of it does not fit; raises `InvalidInput` when its type as a whole is none of Rota's."""
    if raw.dtype == pl.Object:
        return _by_value(raw, kind)
    if isinstance(raw.dtype, pl.Categorical | pl.Enum):
        raw = raw.cast(pl.String)
    missing = raw.is_null()
    if kind not in SCALARS and raw.dtype != pl.Null:
        return measured_columns.fitted(raw, kind, what, cells=cells)
    if raw.dtype == pl.Null or (missing.all() and raw.len()):
        values = _nulls(raw, kind)
    elif raw.dtype == pl.String:
        values = _from_cells(raw, kind) if cells else _from_texts(raw, kind)
        if cells and kind == "float" and values.null_count() > raw.null_count():
            missing |= raw.str.strip_chars(coercion.TEXT_SPACES).str.to_lowercase() == "nan"
    elif raw.dtype == pl.Boolean:
        values = raw if kind == "bool" else _nulls(raw, kind)
    elif raw.dtype.is_numeric():
        values = _from_numbers(raw, kind)
        missing |= raw.is_nan().fill_null(value=False) if raw.dtype.is_float() else False
    elif kind == "timestamp" and (raw.dtype == pl.Date or isinstance(raw.dtype, pl.Datetime)):
        values = _dated(raw)
    else:
        raise InvalidInput(f"column {raw.name!r} of {what} has the type {raw.dtype}, which is no {kind}", column=raw.name, found=str(raw.dtype))
    return Fitted(values, values.is_null() & ~missing)


def _nulls(raw: pl.Series, kind: Type) -> pl.Series:
    return pl.Series(raw.name, [None], dtype=DTYPES[kind]).new_from_index(0, raw.len())


def _by_value(raw: pl.Series, kind: Type) -> Fitted:
    return measured_columns.by_value(raw, kind, lambda value: coerce(kind, value))


def _from_numbers(raw: pl.Series, kind: Type) -> pl.Series:
    if kind == "string":
        return _nulls(raw, kind)
    if kind == "float":
        if isinstance(raw.dtype, pl.Decimal):  # by its digits: a quotient of two floats would be rounded twice
            raw = raw.cast(pl.String)
        return raw.cast(pl.Float64).fill_nan(None)
    integers = _whole(raw)
    if kind == "bool":
        return integers.replace_strict({0: False, 1: True}, default=None, return_dtype=pl.Boolean)
    return _in_range(integers, kind)


def _whole(raw: pl.Series) -> pl.Series:
    """The integers of 64 bits that numbers are, null where they are none or may be any of several."""
    if raw.dtype.is_integer():
        return raw.cast(pl.Int64, strict=False)
    if raw.dtype.is_float():
        raw = raw.cast(pl.Float64)
        return pl.select(pl.when((raw.abs() < EXACT) & (raw == raw.floor())).then(raw).cast(pl.Int64, strict=False)).to_series()
    return pl.select(pl.when(raw == raw.floor()).then(raw).cast(pl.Int64, strict=False)).to_series()


def _in_range(values: pl.Series, kind: Type) -> pl.Series:
    """A timestamp has a calendar date, or it is none."""
    if kind != "timestamp":
        return values
    return pl.select(pl.when(values.is_between(FIRST_US, LAST_US)).then(values)).to_series()


def _dated(raw: pl.Series) -> pl.Series:
    if raw.dtype == pl.Date:
        days = raw.cast(pl.Int64)
        return pl.select(pl.when(days.is_between(FIRST_US // DAY_US, LAST_US // DAY_US)).then(days * DAY_US)).to_series()
    if raw.dtype.time_unit == "ms":  # type: ignore[attr-defined]  # a Datetime has a unit; most milliseconds have no calendar date
        parts = raw.cast(pl.Int64)
        return pl.select(pl.when(parts.is_between(FIRST_US // 1_000, LAST_US // 1_000)).then(parts * 1_000)).to_series()
    return _in_range(raw.dt.epoch("us"), "timestamp")


def _from_texts(raw: pl.Series, kind: Type) -> pl.Series:
    return raw if kind == "string" else _moments(raw, kind, cells=False) if kind == "timestamp" else _nulls(raw, kind)


def _from_cells(raw: pl.Series, kind: Type) -> pl.Series:
    """`coercion.cell` of a column."""
    if kind == "string":
        return raw
    if kind == "timestamp":
        return _moments(raw, kind, cells=True)
    if kind == "bool":
        known = {text: _cell(kind, text) for text in raw.unique().drop_nulls().to_list()}
        return raw.replace_strict(known, default=None, return_dtype=pl.Boolean)
    quick = _cast(raw, kind)
    if quick.null_count() == raw.null_count() and not (kind == "float" and quick.is_infinite().any()):
        return quick
    bare = raw.str.strip_chars(coercion.TEXT_SPACES)
    numbers = _cast(bare, "float")
    if kind == "int":
        return pl.select(pl.coalesce(_cast(bare, "int"), _whole(numbers))).to_series()
    infinite = pl.when(bare.str.contains(coercion.TEXT_INFINITE)).then(pl.when(bare.str.starts_with("-")).then(float("-inf")).otherwise(float("inf")))
    return pl.select(pl.coalesce(pl.when(numbers.is_finite()).then(numbers), infinite)).to_series()


def _cast(texts: pl.Series, kind: Type) -> pl.Series:
    return texts.alias("text").to_frame().select(compiler.column(f"cast(text as {kind})", {"text": "string"})).to_series()


def _moments(raw: pl.Series, kind: Type, *, cells: bool) -> pl.Series:
    """UTC text in its usual form and (of cells) microseconds all at once, any other text by itself."""
    usual = pl.when(raw.str.contains(_UTC_TEXT)).then(raw.str.slice(0, 26).str.strip_suffix("Z").str.replace("T", " ").str.replace(r"\+.*$", ""))
    parsed = pl.select(usual).to_series().str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False).dt.epoch("us")
    if cells:
        digits = pl.select(pl.when(raw.str.contains(_MICROS_TEXT)).then(raw.str.strip_prefix("+")).cast(pl.Int64, strict=False)).to_series()
        parsed = pl.select(pl.coalesce(parsed, digits)).to_series()
    parsed = _in_range(parsed, kind)
    others = raw.filter(parsed.is_null() & raw.is_not_null()).unique().to_list()
    if not others:
        return parsed
    known = {text: (_cell if cells else _coerced)(kind, text) for text in others}
    return pl.select(pl.coalesce(parsed, raw.replace_strict(known, default=None, return_dtype=pl.Int64))).to_series()


def _cell(kind: Type, text: str) -> Any:
    try:
        return coercion.cell(kind, text)
    except InvalidInput:
        return None


def _coerced(kind: Type, text: str) -> Any:
    try:
        return coerce(kind, text)
    except InvalidInput:
        return None


def _reasons(column: pl.Series, kind: Type, misfits: pl.Series, *, cells: bool) -> pl.Series:
    places = misfits.arg_true()
    reasons = [f"field {column.name!r}: {reason(value, kind, cells=cells)}" for value in column.gather(places)]
    return pl.repeat(None, column.len(), dtype=pl.String, eager=True).scatter(places, reasons)


def reason(value: Any, kind: Type, *, cells: bool) -> str:
    """Why a value does not fit a type."""
    if kind not in SCALARS:
        return measured_columns.reason(value, kind, cells=cells)
    text = value[:100] if cells and isinstance(value, str) else shown(value)
    hint = f"; {way_out(value)}" if kind == "timestamp" and is_ambiguous(value) else advice(value)
    return f"{text} is no {kind}{hint}"
