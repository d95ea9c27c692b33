"""What the cells of a file mean by its source's format: which texts are null, how times and decimal numbers are written.

An empty cell of CSV is null; a quoted empty one is an empty text in a string field and null in any other. A word such as NA
is null only if the source's `null_values` name it: in a string field it is a text, in any other its row is rejected with that advice.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import polars as pl

from rota.manage.features.rows.column_conversion import Raw, shown_row
from rota.records.file_format import EPOCHS, FileFormat
from rota.records.schema import Type
from rota.records.time import from_datetime
from rota.records.value_types import family

NULL_WORD = r"^\s*(?i:na|n/a|#n/a|#na|null|none|nil|missing|unknown|\\n|-|--|\?|\.)\s*$"
"""Texts by which other programs write a missing value."""
_DIRECTIVES = {"Y": "[0-9]{4}", "m": "[0-9]{2}", "d": "[0-9]{2}", "H": "[0-9]{2}", "M": "[0-9]{2}", "S": "[0-5][0-9]"}
"""Directives that Polars reads as Python does where all of their digits are written."""
_COMMA_NUMBER = r"^\s*[+-]?(?:[0-9]+(?:,[0-9]*)?|,[0-9]+)(?:[eE][+-]?[0-9]+)?\s*$"
_NAN = r"^\s*[+-]?(?i:nan)\s*$"
_NOT_AS_WRITTEN = r"^\s*(?:[+-]?0[0-9]|\+[0-9]+\s*$)"
"""Digits with a leading zero or a plus sign: as a number they are another text, and perhaps another's id."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}(\.[0-9]{0,12})?")
_INT64 = 2**63


def applied(raw: Raw, fields: Mapping[str, Type], form: FileFormat) -> Raw:
    """The rows with what the format says about their cells brought into the form that is expected of any file.

    A cell that is not of the format makes its row a fault with the reason.
    """
    found, changed = raw.frame, []
    faults = dict(raw.faults)
    for name, kind in fields.items():
        if name not in found.columns:
            continue
        written = _known(found[name], kind, form, cells=raw.cells)
        values, bad, why = _brought(written, kind, form, cells=raw.cells)
        for place in bad.arg_true().to_list():
            shown = str(written[place])[:100]
            faults.setdefault(place, (f"field {name!r}: {shown} " + why.replace("{word}", shown.strip()), shown_row(found, place)))
        changed.append(values.alias(name))
    return replace(raw, frame=found.with_columns(changed), faults=faults)


def timed(texts: pl.Series, form: str) -> pl.Series:
    """Times written in a form of their own as microseconds, null where a text is none."""
    return _timed(texts, form)[0]


def _known(column: pl.Series, kind: Type, form: FileFormat, *, cells: bool) -> pl.Series:
    """The column with null for what means null."""
    if column.dtype == pl.Object and form.null_values:
        return pl.Series(column.name, [None if value in form.null_values else value for value in column.to_list()], pl.Object)
    if column.dtype.is_numeric() and form.null_values:
        numbers = [number for word in form.null_values if (number := _as_number(word)) is not None]
        known = pl.select(pl.any_horizontal(pl.lit(value=False), *((column == number).fill_null(value=False) for number in numbers))).to_series()
        return pl.select(pl.when(~known).then(column).alias(column.name)).to_series()
    if column.dtype != pl.String:
        return column
    nothing = pl.lit(value=False)
    if form.null_values:
        nothing = nothing | column.is_in(list(form.null_values))
    if cells and kind != "string":
        nothing = nothing | (column.str.strip_chars() == "")
    if cells and kind == "float":
        nothing = nothing | column.str.contains(_NAN)
    return pl.select(pl.when(~nothing.fill_null(value=True)).then(column).alias(column.name)).to_series()


def _as_number(word: str) -> int | float | None:
    """A word as the number that a column of numbers holds for it: -999, and -999.0 alike."""
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError:
        return None


def _brought(column: pl.Series, kind: Type, form: FileFormat, *, cells: bool) -> tuple[pl.Series, pl.Series, str]:
    """A column as it is expected of any file, which of its cells cannot be brought there, and why."""
    if kind == "timestamp" and form.timestamp_format:
        return _timed(column, form.timestamp_format)
    if family(kind) in ("float", "decimal") and form.decimal == "," and column.dtype == pl.String:
        bad = column.is_not_null() & ~column.str.contains(_COMMA_NUMBER)
        return column.str.replace(",", ".", literal=True), bad.fill_null(value=False), f"is no {kind} with the decimal mark ','"
    if family(kind) not in ("string", "category") and cells and column.dtype == pl.String:
        if form.as_written and kind in ("int", "float") and (bad := column.str.contains(_NOT_AS_WRITTEN).fill_null(value=False)).any():
            return (
                column,
                bad,
                f"would not come back as it is written, and the fields were read off the first rows; declare them, this one as {kind} or str",
            )
        why = f"is no {kind}; if it stands for a missing value, give the source null_values=['{{word}}']"
        return column, column.str.contains(NULL_WORD).fill_null(value=False), why
    return column, pl.repeat(value=False, n=column.len(), dtype=pl.Boolean, eager=True), ""


def _timed(column: pl.Series, form: str) -> tuple[pl.Series, pl.Series, str]:
    """Times written in a form of their own, as microseconds; dates and datetimes have theirs and stay."""
    why = f"is no time of the form {form!r}"
    if column.dtype.is_temporal() or column.dtype == pl.Null:
        return column, pl.repeat(value=False, n=column.len(), dtype=pl.Boolean, eager=True), why
    texts = (
        pl.Series(column.name, [None if value is None else str(value) for value in column.to_list()], pl.String)
        if column.dtype == pl.Object
        else column
    )
    values = _since_epoch(texts, EPOCHS[form]) if form in EPOCHS else _by_form(texts.cast(pl.String).str.strip_chars(), form)
    return values, values.is_null() & column.is_not_null(), why


def _since_epoch(column: pl.Series, unit_us: int) -> pl.Series:
    if column.dtype.is_integer():
        most = _INT64 // unit_us - 1
        return pl.select(pl.when(column.is_between(-most, most)).then(column.cast(pl.Int64, strict=False) * unit_us)).to_series()
    return _each(column.cast(pl.String).str.strip_chars(), lambda text: _scaled(text, unit_us))


def _scaled(text: str, unit_us: int) -> int | None:
    at_us = round(Decimal(text) * unit_us) if _NUMBER.fullmatch(text) else _INT64
    return at_us if abs(at_us) < _INT64 else None


def _by_form(texts: pl.Series, form: str) -> pl.Series:
    """All at once where every directive has its usual digits, any other text by itself."""
    quick = _pattern(form)
    if quick is None:
        return _each(texts, lambda text: _moment(text, form))
    usual = pl.when(texts.str.contains(quick)).then(texts)
    whole = usual if "%H" in form else usual + " 00:00:00"
    parsed = pl.select(whole.str.to_datetime(form if "%H" in form else form + " %H:%M:%S", time_unit="us", strict=False).dt.epoch("us")).to_series()
    others = texts.filter(parsed.is_null()).unique().drop_nulls().to_list()
    known = {text: _moment(text, form) for text in others}
    return pl.select(pl.coalesce(parsed, texts.replace_strict(known, default=None, return_dtype=pl.Int64))).to_series() if others else parsed


def _each(texts: pl.Series, read: Callable[[str], int | None]) -> pl.Series:
    return texts.replace_strict({text: read(text) for text in texts.unique().drop_nulls().to_list()}, default=None, return_dtype=pl.Int64)


def _moment(text: str, form: str) -> int | None:
    try:
        return from_datetime(datetime.strptime(text, form))  # noqa: DTZ007 - without an offset it is UTC
    except (ValueError, OverflowError):
        return None


def _pattern(form: str) -> str | None:
    """The form as a regular expression, if it has directives of fixed digits only."""
    parts = re.split(r"%(.)", form)
    if "H" in parts[1::2] and not {"M"} <= set(parts[1::2]):
        return None
    if not set(parts[1::2]) <= _DIRECTIVES.keys() or len(set(parts[1::2])) < len(parts[1::2]) or re.search(r"\s", "".join(parts[0::2]).strip(" ")):
        return None
    return "^" + "".join(_DIRECTIVES[part] if odd % 2 else re.escape(part) for odd, part in enumerate(parts)) + "$"
