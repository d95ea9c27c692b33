"""Answers and labels in the columns of their tables: a number, a text, numbers by name, a list of numbers, or the JSON of anything else.

A value lies in one column where it is a number or a text, so that engines read it as one. `{"class": ..., "probabilities": {...}}` is a text (the
class) with numbers by name. Of an answer with many classes only the likeliest are kept (MOST_CLASSES, KEPT_CLASSES), and the row says how many are
not: `left_out`, in the column of JSON.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import polars as pl

from rota.records.limits import KEPT_CLASSES, MOST_CLASSES

LEFT_OUT = "left_out"
"""How many classes an answer of the log does not have the probabilities of."""
SHOWN, SHOWN_CHARS = 4, 80
"""Numbers of a value, and characters of a text, that people are shown in a line."""
_json = msgspec.json.Encoder(order="deterministic")


class ValueColumns(NamedTuple):
    """One value, in the columns of its kind; the others are None."""

    number: float | None = None
    text: str | None = None
    names: list[str] | None = None
    values: list[float | None] | None = None
    json: str | None = None


def columns(noun: str) -> dict[str, Any]:
    """The columns of a value called `noun` with their types; the number has its name."""
    kinds: dict[str, Any] = {"text": pl.String(), "names": pl.List(pl.String()), "values": pl.List(pl.Float64()), "json": pl.String()}
    return {noun: pl.Float64(), **{f"{noun}_{name}": kind for name, kind in kinds.items()}}


def split(value: Any) -> ValueColumns:
    """A plain value in its columns."""
    if value is None or _is_number(value):
        return ValueColumns(None if value is None else float(value))
    if isinstance(value, str):
        return ValueColumns(text=value)
    if isinstance(value, Mapping):
        if _is_class(value):
            named = value["probabilities"]
            beside = _json.encode({LEFT_OUT: value[LEFT_OUT]}).decode() if value.get(LEFT_OUT) else None
            return ValueColumns(text=value["class"], names=list(named), values=list(named.values()), json=beside)
        if value and all(isinstance(name, str) and (each is None or _is_number(each)) for name, each in value.items()):
            return ValueColumns(names=list(value), values=[None if each is None else float(each) for each in value.values()])
    elif value and isinstance(value, list | tuple) and all(map(_is_number, value)):
        return ValueColumns(values=[float(each) for each in value])
    return ValueColumns(json=_json.encode(value).decode())


def joined(found: ValueColumns) -> Any:
    """The plain value of its columns."""
    number, text, names, values, json = found
    if names is not None:
        named = dict(zip(names, values or (), strict=True))
        beside = {} if json is None else msgspec.json.decode(json)
        return named if text is None else {"class": text, "probabilities": named, **beside}
    if values is not None:
        return list(values)
    if json is not None:
        return msgspec.json.decode(json)
    return number if text is None else text


def frame(noun: str, values: Sequence[Any]) -> pl.DataFrame:
    """Plain values as their columns; numbers alone are the common case."""
    kinds = columns(noun)
    if all(value is None or type(value) is float for value in values):
        nothing = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name != noun]
        return pl.DataFrame({noun: pl.Series(values, dtype=pl.Float64)}).with_columns(nothing)
    parts = zip(*map(split, values), strict=True)
    return pl.DataFrame([pl.Series(name, list(part), dtype=kind) for (name, kind), part in zip(kinds.items(), parts, strict=True)])


def without_unused(frame: pl.DataFrame, optional: Iterable[str]) -> pl.DataFrame:
    """The frame without those of its optional columns that are null in each row: a table has them from the first value on."""
    return frame.drop(name for name in optional if name in frame.columns and frame[name].null_count() == frame.height)


def are_numbers(rows: pl.DataFrame, noun: str) -> bool:
    """Whether the values of rows are numbers only, or not there."""
    return all(rows[name].null_count() == rows.height for name in list(columns(noun))[1:])


def of(rows: pl.DataFrame, noun: str) -> list[Any]:
    """The plain values of rows with the columns of `noun`."""
    if are_numbers(rows, noun):
        return rows[noun].to_list()
    names = list(columns(noun))
    return [joined(ValueColumns(*row)) for row in rows.select(names).iter_rows()]


def shown(value: Any) -> str:
    """A value for people, in a few characters: the class with its probability, the first of several numbers."""
    if _is_number(value):
        return f"{value:.4f}"
    if isinstance(value, Mapping) and _is_class(value):
        probability = value["probabilities"].get(value["class"])
        beyond = f", {value[LEFT_OUT]} classes not kept" if value.get(LEFT_OUT) else ""
        return str(value["class"]) + (f" ({probability:.4f}{beyond})" if probability is not None else "")
    if isinstance(value, Mapping):
        told = [f"{name} {each:.4f}" if _is_number(each) else f"{name} {each}" for name, each in list(value.items())[:SHOWN]]
        return ", ".join(told) + (f", and {len(value) - SHOWN} more" if len(value) > SHOWN else "")
    text = value if isinstance(value, str) else _json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."


def bounded(answer: Any) -> Any:
    """An answer as the log keeps it: of many classes the likeliest, and how many are left out."""
    if type(answer) is not dict or not _is_class(answer) or len(answer["probabilities"]) <= MOST_CLASSES:
        return answer
    likeliest = heapq.nlargest(KEPT_CLASSES, answer["probabilities"].items(), key=itemgetter(1))
    return {"class": answer["class"], "probabilities": dict(likeliest), LEFT_OUT: len(answer["probabilities"]) - KEPT_CLASSES}


def _is_class(value: Mapping[str, Any]) -> bool:
    is_one = isinstance(value.get("class"), str) and isinstance(value.get("probabilities"), Mapping)
    return is_one and (len(value) == 2 or (len(value) == 3 and type(value.get(LEFT_OUT)) is int))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
