"""Rows made to reach what two ways of asking one model can answer differently.

Beside the example's own rows, one column at a time takes every text that the model knows and one that it does not, a null, zero, negative
and large numbers, the numbers that stand for a missing value, and the numbers at which the model splits with their neighbours as float64
and as float32; then rows are drawn in which every column takes such a value at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rota.ports.models import AuthorRows, ModelInputs
from rota.records.schema import Type

UNSEEN = "a text that no row held"
NUMBERS = (0.0, -1.0, 1.0, 0.5, 1e6, -1e6, -999.0, 9999.0)
FREE_TEXTS = ("", " ", "Two WORDS", "two words, two", "\u00e9t\u00e9 \u6570\u5b57 42\n")
"""Texts for a column that is read word by word."""
WORDS = 4
"""Words of the model's own that are put into one text."""
MOST_TEXTS = 60
"""Texts of a column that are tried one by one; the others are drawn at random."""
MOST_THRESHOLDS = 12
DRAWN = 64
MOST_ROWS = 1_500
MOST_EXAMPLES = 32
_WHOLE = 2**53


@dataclass(frozen=True, slots=True)
class ProbedColumn:
    """What is tried of a column: its values, one by one."""

    name: str
    type: Type
    values: tuple[Any, ...]


def columns(names: Sequence[str], types: Sequence[Type], inputs: ModelInputs, examples: Sequence[Sequence[Any]]) -> list[ProbedColumn]:
    """The values that each column is given, the example's first."""
    found = []
    for place, (name, kind) in enumerate(zip(names, types, strict=True)):
        seen = [row[place] for row in examples if row[place] is not None]
        values = [*seen, *_values(kind, place, inputs), None]
        found.append(ProbedColumn(name, kind, tuple(dict.fromkeys((type(value), value) for value in values))))
    return [ProbedColumn(each.name, each.type, tuple(value for _, value in each.values)) for each in found]


def rows(probed: Sequence[ProbedColumn], examples: Sequence[Sequence[Any]], *, seed: int = 0) -> AuthorRows:
    """The example's rows, one column at a time changed in one of them, and rows drawn; at most `MOST_ROWS` different ones."""
    random = np.random.default_rng(seed)
    bases = [list(row) for row in examples[:MOST_EXAMPLES]] or [_drawn(probed, random, rare=False) for _ in range(MOST_EXAMPLES)]
    made = [*bases, *_one_by_one(probed, bases[0]), *_one_by_one(probed, bases[-1]), *(_drawn(probed, random, rare=True) for _ in range(DRAWN))]
    different = list({tuple((type(cell), cell) for cell in row): row for row in made}.values())
    kept = different if len(different) <= MOST_ROWS else [different[int(i)] for i in np.linspace(0, len(different) - 1, MOST_ROWS)]
    return AuthorRows(tuple(each.name for each in probed), tuple(each.type for each in probed), kept)


def rounded(number: float) -> np.float32:
    """A number as float32 holds it: one beyond its range is infinite there, and no reason to warn."""
    with np.errstate(over="ignore"):
        return np.float32(number)


def neighbours(number: float) -> Iterator[float]:
    """A number, its rounding to float32, and the numbers next to both."""
    narrow = rounded(number)
    yield from (number, float(narrow))
    for side in (-np.inf, np.inf):
        yield float(np.nextafter(number, side))
        yield float(np.nextafter(narrow, np.float32(side)))


def _values(kind: Type, place: int, inputs: ModelInputs) -> Iterator[Any]:
    match kind:
        case "string":
            yield from inputs.texts.get(place, ())[:MOST_TEXTS]
            if place in inputs.free_texts:
                words = inputs.free_texts[place][:MOST_TEXTS]
                yield from (*words, *(" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)), *FREE_TEXTS)
            yield UNSEEN
        case "bool":
            yield from (True, False)
        case _:
            numbers = [*NUMBERS, *inputs.sentinels, *_near_thresholds(inputs.thresholds.get(place, ()))]
            finite = (number for number in numbers if np.isfinite(number))
            yield from (int(number) for number in finite if abs(number) < _WHOLE) if kind == "int" else finite


def _near_thresholds(thresholds: Sequence[float]) -> Iterator[float]:
    chosen = thresholds
    if len(chosen) > MOST_THRESHOLDS:
        chosen = [thresholds[int(i)] for i in np.linspace(0, len(thresholds) - 1, MOST_THRESHOLDS)]
    with np.errstate(over="ignore"):
        for threshold in chosen:
            yield from neighbours(threshold)


def _one_by_one(probed: Sequence[ProbedColumn], base: Sequence[Any]) -> Iterator[list[Any]]:
    for place, column in enumerate(probed):
        for value in column.values:
            yield [*base[:place], value, *base[place + 1 :]]


def _drawn(probed: Sequence[ProbedColumn], random: np.random.Generator, *, rare: bool) -> list[Any]:
    """A row of values drawn from those tried; without `rare` no null, and no text that the model does not know."""
    row = []
    for column in probed:
        values = [value for value in column.values if rare or not (value is None or value == UNSEEN)] or list(column.values)
        row.append(values[int(random.integers(len(values)))])
    return row
