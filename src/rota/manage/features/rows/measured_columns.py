"""Columns of lists, categories, decimals, bytes and blobs: value for value as `rota.records.measured_values` has them, at once where it can be."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.rows import coercion
from rota.records.measured_values import LARGEST_BYTES
from rota.records.schema import Type
from rota.records.value_types import LONGEST_LIST, decimal_type, domain, family, list_type, shown_type
from rota.records.values import coerce, shown


@dataclass(frozen=True, slots=True)
class Fitted:
    """A column in a declared type; `misfits` are the rows whose value does not fit, which are null in it."""

    values: pl.Series
    misfits: pl.Series


def fitted(raw: pl.Series, kind: Type, what: str, *, cells: bool) -> Fitted:
    """A column in a declared type and what of it does not fit; raises `InvalidInput` when its type as a whole is none of its."""
    of, dtype = family(kind), raw.dtype
    if of == "list" and isinstance(dtype, pl.List | pl.Array) and (dtype.inner.is_numeric() or dtype.inner == pl.Null):
        return _lists(raw.cast(pl.List(dtype.inner)) if isinstance(dtype, pl.Array) else raw, kind)
    if dtype == pl.String and cells and of != "category":
        return by_value(raw, kind, lambda text: coercion.cell(kind, text))
    if dtype == pl.String and of == "category":
        return _kept(raw, raw.is_in(list(domain(kind))))
    if dtype == pl.Binary and of == "bytes":
        return _kept(raw, raw.bin.size() <= LARGEST_BYTES)
    if of == "decimal" and (dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale <= decimal_type(kind).scale)):
        values = raw.cast(DTYPES[kind], strict=False)
        return Fitted(values, values.is_null() & raw.is_not_null())
    if dtype in (pl.String, pl.Boolean) or dtype.is_numeric() or raw.null_count() == raw.len():
        return by_value(raw, kind, lambda value: coerce(kind, value))
    raise InvalidInput(f"column {raw.name!r} of {what} has the type {dtype}, which is no {shown_type(kind)}", column=raw.name, found=str(dtype))


def by_value(raw: pl.Series, kind: Type, convert: Callable[[Any], Any]) -> Fitted:
    """A column whose values are converted one by one."""
    values: list[Any] = []
    misfits = []
    for place, value in enumerate(raw.to_list()):
        try:
            values.append(None if value is None else convert(value))
        except InvalidInput:
            values.append(None)
            misfits.append(place)
    return Fitted(
        pl.Series(raw.name, values, dtype=DTYPES[kind]),
        pl.repeat(value=False, n=raw.len(), dtype=pl.Boolean, eager=True).scatter(misfits, values=True),
    )


def reason(value: Any, kind: Type, *, cells: bool) -> str:
    """Why a value does not fit."""
    try:
        if cells and isinstance(value, str):
            coercion.cell(kind, value)
        else:
            coerce(kind, value)
    except InvalidInput as error:
        return str(error)
    return f"{shown(value)} is no {shown_type(kind)}"


def _kept(raw: pl.Series, fits: pl.Series) -> Fitted:
    """A column without the values that do not fit."""
    misfits = ~fits.fill_null(value=True)
    return Fitted(raw.set(misfits, None) if misfits.any() else raw, misfits)


def _lists(raw: pl.Series, kind: Type) -> Fitted:
    """Lists of numbers all at once; rows with integers out of floats, and those that do not fit, one by one."""
    of = list_type(kind)
    lengths = raw.list.len()
    fits = lengths <= LONGEST_LIST if of.length is None else lengths == of.length
    whole = raw.cast(DTYPES[kind], strict=False)
    exact = raw.dtype.inner.is_integer() or of.element == "float"  # type: ignore[attr-defined]  # a List has an inner type
    if of.element == "float" and not raw.dtype.inner.is_integer():  # type: ignore[attr-defined]
        fits = fits & whole.list.eval(pl.element().is_finite().fill_null(value=False)).list.all()
    else:
        fits = fits & whole.list.eval(pl.element().is_not_null()).list.all()
    if exact or not lengths.sum():
        return _kept(whole, fits)
    return by_value(raw, kind, lambda value: coerce(kind, value))
