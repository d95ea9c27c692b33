"""Numbers that stand for a column whose values are none: what schemas, profiles and monitors look at of lists, bytes and decimals.

A list of numbers has `name:norm` (its Euclidean length), `name:mean` (the mean of its numbers, null where it is empty) and `name:length` (how many
they are, left out where all lists have one length); bytes have `name:length`; a decimal is the float nearest to it, under its own name.

Texts that are read word by word have `name:characters` (how long they are), `name:script` (the share of letters that are of the training texts'
script) and `name:unknown` (the share of words that were not among theirs), by what the bins of these names keep in `values`.
"""

from collections.abc import Collection, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.records.schema import Bins
from rota.stats import text_sketches

NORM, MEAN, LENGTH = ":norm", ":mean", ":length"
CHARACTERS, SCRIPT, UNKNOWN = ":characters", ":script", ":unknown"
_OF_LISTS, _OF_TEXTS = (NORM, MEAN, LENGTH), (CHARACTERS, SCRIPT, UNKNOWN)
SHARES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99)
"""Edges of the bins of shares: those of training are often all 0 or all 1, and by their quantiles anything would be like them."""
SUFFIXES = (*_OF_LISTS, *_OF_TEXTS)


def base(name: str) -> str:
    """The column that a sketch is of; any other name as it is."""
    found, colon, suffix = name.rpartition(":")
    return found if colon and f":{suffix}" in SUFFIXES else name


def names(frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
    """The columns with those of lists and bytes replaced by their sketches, `:length` only where lengths differ."""
    found: list[str] = []
    for name in columns:
        dtype = frame.schema[name]
        if isinstance(dtype, pl.List):
            lengths = frame[name].list.len().drop_nulls()
            found += [name + suffix for suffix in (_OF_LISTS if lengths.n_unique() > 1 else (NORM, MEAN))]
        else:
            found += [name + LENGTH] if dtype == pl.Binary else [name]
    return found


def vectors(frame: pl.DataFrame, name: str) -> NDArray[np.float64]:
    """The lists of a column as a matrix (rows, d), those that are null left out; (0, 0) where they have several lengths, or it has none."""
    if name not in frame.columns or not isinstance(frame.schema[name], pl.List):
        return np.empty((0, 0))
    lists = frame[name].drop_nulls()
    lengths = lists.list.len().unique()
    if len(lengths) != 1 or not lengths[0]:
        return np.empty((0, 0))
    return lists.explode().cast(pl.Float64).to_numpy().reshape(len(lists), int(lengths[0]))


def vector_names(columns: Collection[str]) -> list[str]:
    """The columns that are lists of one length, by the sketches that they have."""
    return [name.removesuffix(NORM) for name in columns if name.endswith(NORM) and name.removesuffix(NORM) + LENGTH not in columns]


def text_references(name: str, texts: pl.Series) -> list[Bins]:
    """What the sketches of a text are computed by, as bins, without edges where these follow from the values; none of a text that is a name."""
    if not text_sketches.is_prose(texts):
        return []
    known = texts.drop_nulls().to_list()
    values = ((), (text_sketches.main_script(known),), text_sketches.vocabulary(known))
    edges = ((), SHARES, SHARES)
    return [Bins(name + suffix, "float", edges=at, values=each) for suffix, at, each in zip(_OF_TEXTS, edges, values, strict=True)]


def sketched(frame: pl.DataFrame, *, bins: Sequence[Bins] = (), expected: Collection[str] = ()) -> pl.DataFrame:
    """The frame with its sketches beside it, and decimals as floats; the same frame where it needs none. Texts have the sketches of the bins.

    A column of nothing but nulls says nothing of its type: it has the sketches that are `expected` of it, all null.
    """
    made: list[pl.Expr | pl.Series] = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.List) and dtype.inner.is_numeric():
            numbers = column.list.eval(pl.element().cast(pl.Float64))
            made.append(numbers.list.eval(pl.element().pow(2)).list.sum().sqrt().alias(name + NORM))
            made.append(numbers.list.mean().alias(name + MEAN))
            made.append(column.list.len().cast(pl.Float64).alias(name + LENGTH))
        elif dtype == pl.Binary:
            made.append(column.bin.size().cast(pl.Float64).alias(name + LENGTH))
        elif isinstance(dtype, pl.Decimal):
            made.append(column.cast(pl.Float64))
        elif dtype == pl.Null:
            made += [pl.lit(None, pl.Float64).alias(name + suffix) for suffix in _OF_LISTS if name + suffix in expected]
    of_texts = [b for b in bins if b.name.endswith(_OF_TEXTS) and b.name not in frame.columns and base(b.name) in frame.columns]
    made += [_of_text(frame[base(b.name)], b) for b in of_texts]
    return frame.with_columns(made) if made else frame


def replaced(frame: pl.DataFrame, *, bins: Sequence[Bins] = (), expected: Collection[str] = ()) -> pl.DataFrame:
    """The frame with sketches in place of the lists and bytes that they are of; with `expected` names only those among the sketches."""
    made = sketched(frame, bins=bins, expected=expected)
    if made is frame:
        return frame
    sketches = [name for name in made.columns if name not in frame.columns]
    gone = {base(name) for name in sketches if not name.endswith(_OF_TEXTS)}
    kept = [name for name in made.columns if name not in gone and (name in frame.columns or not expected or name in expected)]
    return made.select(kept)


def _of_text(texts: pl.Series, bins: Bins) -> pl.Series:
    if texts.dtype != pl.String:  # all null so far
        return pl.Series(bins.name, [None] * texts.len(), pl.Float64)
    if bins.name.endswith(CHARACTERS):
        return texts.str.len_chars().cast(pl.Float64).alias(bins.name)
    if bins.name.endswith(SCRIPT):
        return text_sketches.each(texts, lambda text: text_sketches.script_share(text, bins.values[0])).alias(bins.name)
    known = frozenset(bins.values)
    return text_sketches.each(texts, lambda text: text_sketches.unknown_share(text, known)).alias(bins.name)
