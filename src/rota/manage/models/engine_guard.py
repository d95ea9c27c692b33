"""What the author's model refuses, learnt by asking it, and refused before a faster engine answers it all the same.

scikit-learn refuses a null that no step replaces, a text that no encoder knows, and numbers beyond its range; a converted graph would answer
something. Each column is tried by itself in a row that the model answers.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from rota.errors import InvalidInput
from rota.ports.models import Predictor
from rota.records.model import EngineGuard

FINITE = float(np.finfo(np.float64).max)
NARROW = float(np.finfo(np.float32).max)
_HUGE, _WIDE = 1e300, 1e38
_LONGEST_WHY = 300


def learnt(native: Predictor, row: np.ndarray, unseen: dict[int, int]) -> EngineGuard:
    """The guard of a model that answers `row`; `unseen` is the code of a text that nobody knows, by the columns that have one."""
    width = len(row)
    low: list[float | None] = [None] * width
    high: list[float | None] = [None] * width
    why: dict[str, str] = {}
    nulls = [True] * width
    for column in _refused(native, row, dict.fromkeys(range(width), np.nan), why, "null"):
        nulls[column] = False
    numbers = [column for column in range(width) if column not in unseen]
    for column in _refused(native, row, dict.fromkeys(numbers, np.inf), why, "number"):
        low[column], high[column] = -FINITE, FINITE
    for column in _refused(native, row, dict.fromkeys(numbers, _HUGE), why, "number"):
        low[column], high[column] = -NARROW, NARROW
    for column in _refused(native, row, dict.fromkeys([c for c in numbers if high[c] == NARROW], _WIDE), why, "number"):
        low[column], high[column] = _narrower(native, row, column)
    for column in _refused(native, row, unseen, why, "number"):
        low[column], high[column] = 0.0, unseen[column] - 1.0
    return EngineGuard(tuple(low), tuple(high), tuple(nulls), why.get("null", ""), why.get("number", ""))


def _refused(native: Predictor, row: np.ndarray, values: dict[int, Any], why: dict[str, str], kind: str) -> Iterator[int]:
    """The columns in which the model refuses a value; all of them are tried at once first."""
    if not values:
        return
    rows = np.repeat(row[None, :], len(values), axis=0)
    for place, (column, value) in enumerate(values.items()):
        rows[place, column] = value
    with suppress(InvalidInput):
        native.predict(rows)
        return
    for place, column in enumerate(values):
        try:
            native.predict(rows[place : place + 1])
        except InvalidInput as error:
            why.setdefault(kind, " ".join(str(error).split())[:_LONGEST_WHY])
            yield column


def _narrower(native: Predictor, row: np.ndarray, column: int) -> tuple[float, float]:
    """The largest power of ten that the model takes in a column."""
    low, high = 0, 38
    while high - low > 1:
        middle = (low + high) // 2
        tried = row[None, :].copy()
        tried[0, column] = 10.0**middle
        try:
            native.predict(tried)
            low = middle
        except InvalidInput:
            high = middle
    return -(10.0**low), 10.0**low


@dataclass(frozen=True, slots=True)
class GuardedPredictor:
    """A predictor (port) that refuses what the author's model refuses, in its words."""

    predictor: Predictor
    guard: EngineGuard
    low: np.ndarray
    high: np.ndarray
    nulls: np.ndarray
    takes_all: bool

    @classmethod
    def of(cls, predictor: Predictor, guard: EngineGuard) -> "GuardedPredictor":
        low, high = (np.array([side if each is None else each for each in bounds]) for side, bounds in ((-np.inf, guard.low), (np.inf, guard.high)))
        nulls = np.array(guard.nulls, dtype=bool)
        return cls(predictor, guard, low, high, nulls, bool(nulls.all() and np.isinf(low).all() and np.isinf(high).all()))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if not self.takes_all and matrix.shape[1:] == self.low.shape and not ((matrix >= self.low) & (matrix <= self.high)).all():
            self._check(matrix)
        return self.predictor.predict(matrix)

    def taken(self, matrix: np.ndarray) -> np.ndarray:
        """A mask (rows,) of what is not refused."""
        within = ((matrix >= self.low) & (matrix <= self.high)) | (np.isnan(matrix) & self.nulls)
        return np.asarray(within.all(axis=1))

    def _check(self, matrix: np.ndarray) -> None:
        if self.taken(matrix).all():
            return
        null = (np.isnan(matrix) & ~self.nulls).any()
        raise InvalidInput((self.guard.why_null if null else self.guard.why_number) or "the model refuses such a value", shape=matrix.shape)


def code_of_unseen(vocabularies: Sequence[Sequence[str]]) -> dict[int, int]:
    """The code of a text that is not in a column's vocabulary, by the columns that have one."""
    return {column: len(texts) for column, texts in enumerate(vocabularies) if texts}
