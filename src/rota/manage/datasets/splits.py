"""Splits: which rows are held out for the test. A row, or a group of rows, never changes its side.

The newest rows are held out by time, any others by a hash of an identity that is ours and fixed for ever: neither the library's
version, the machine, the rows' order nor the rows around them have a say, so a champion is never scored on rows that it was
trained on. A larger share keeps everything held out that a smaller one holds out.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.records.data import Source
from rota.records.dataset import GroupSplit, RandomSplit, Split, TimeSplit
from rota.records.schema import Type
from rota.records.time import Micros, micros
from rota.records.value_types import family, sql_type

_MASK = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Sides:
    """`test` says of each row whether it is held out; `test_from_us` is the moment of the first such row."""

    test: pl.Series
    test_from_us: Micros


def assign(rows: pl.DataFrame, at: str, split: Split, labels: Source, *, dataset: str) -> Sides:
    """The side of each row; raises `InvalidInput` when one side would be empty or a row has no identity to draw by."""
    if isinstance(split, TimeSplit):
        test_from_us = int(rows[at].max()) + 1 - micros(split.test)  # type: ignore[arg-type]
        test = rows[at] >= test_from_us
        how = f"fall into the newest {split.test}"
    else:
        column = identity(split, labels, dataset=dataset)
        values = rows[column]
        if values.null_count():
            raise InvalidInput(
                f"dataset {dataset!r}: {values.null_count()} of {len(values)} rows have no {column!r}, by which the split draws; "
                f"leave them out with filter={_quoted(column) + ' IS NOT NULL'!r}, or split by another column",
                dataset=dataset,
                column=column,
            )
        test = pl.Series(drawn(values, sql_type(labels.fields[column]), split.seed) < split.test)
        test_from_us = int(rows[at].filter(test).min() or 0) if test.any() else 0  # type: ignore[arg-type]
        how = f"are drawn by {column!r} for a test share of {split.test:g}"
    held_out = int(test.sum())
    if held_out in (0, rows.height):
        raise InvalidInput(
            f"dataset {dataset!r}: of {rows.height} rows {held_out} {how}; "
            "both training and test need rows, so change the split or wait for more data",
            dataset=dataset,
        )
    return Sides(test, test_from_us)


def identity(split: RandomSplit | GroupSplit, labels: Source, *, dataset: str) -> str:
    """The column by which a split draws: `by`, or the label source's id; raises `InvalidInput` where there is none."""
    column = split.by or labels.id_field
    if column is None:
        raise InvalidInput(
            f"dataset {dataset!r} is split at random, but label source {labels.name!r} has no id_field; "
            "declare one, or name the column that identifies a row: RandomSplit(by=...)",
            dataset=dataset,
        )
    if column not in labels.fields:
        raise InvalidInput(
            f"dataset {dataset!r} is split by {column!r}, which is no field of label source {labels.name!r}; its fields are {sorted(labels.fields)}",
            dataset=dataset,
            column=column,
        )
    if family(labels.fields[column]) in ("list", "decimal", "bytes"):
        raise InvalidInput(
            f"dataset {dataset!r} is split by {column!r}, which is {labels.fields[column]}; a row is drawn by a text, a number or a moment",
            dataset=dataset,
            column=column,
        )
    return column


def drawn(values: pl.Series, kind: Type, seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for each value that follows from the value, its type and the seed alone.

    Texts: the first 8 bytes of BLAKE2b over the UTF-8 text (RFC 7693), once for each distinct text. Others: their 64 bits, a
    float's as IEEE 754 with -0.0 as 0.0. Then SplitMix64 (Steele, Lea and Flood, 2014) twice, over seed, type and bits. This
    never changes: a change would move rows from one side to the other under every user's models.
    """
    start = _mixed(np.array([_TAGS[kind] ^ (seed * 0x9E3779B97F4A7C15 & _MASK)], dtype=np.uint64))
    return (_mixed(_bits(values, kind) ^ start) >> np.uint64(11)).astype(np.float64) / 2.0**53


_TAGS: dict[Type, int] = {"float": 1, "int": 2, "bool": 3, "string": 4, "timestamp": 5}


def _bits(values: pl.Series, kind: Type) -> NDArray[np.uint64]:
    if kind == "string":
        distinct = values.unique()
        hashes = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in distinct]
        table = pl.DataFrame({"text": distinct, "hash": pl.Series(hashes, dtype=pl.UInt64)})
        return values.alias("text").to_frame().join(table, on="text", how="left", maintain_order="left")["hash"].to_numpy()
    if kind == "float":
        return (values.cast(pl.Float64).to_numpy() + 0.0).view(np.uint64)
    return values.cast(pl.Int64).to_numpy().astype(np.int64).view(np.uint64)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function; arithmetic wraps around at 64 bits."""
    z = state + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def _quoted(column: str) -> str:
    return column if column.isidentifier() else '"' + column.replace('"', '""') + '"'
