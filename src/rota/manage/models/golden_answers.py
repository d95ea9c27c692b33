"""Golden answers: what a predictor gave to the golden rows at registration, kept beside the model, and whether it gives the same again."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from rota.records.model import GoldenAnswer

_encode = msgspec.json.Encoder(order="deterministic").encode


def kept(answers: np.ndarray) -> tuple[GoldenAnswer, ...]:
    """A predictor's array as it is kept: a number for each row, a tuple of numbers (None: NaN), or the JSON of anything else."""
    if answers.dtype == object:
        return tuple(_encode(answer).decode() for answer in answers.tolist())
    if answers.ndim == 1:
        return tuple(map(float, answers))
    return tuple(tuple(None if math.isnan(cell) else cell for cell in row) for row in answers.tolist())


def same(golden: Sequence[GoldenAnswer], answers: np.ndarray, tolerance: float) -> np.ndarray:
    """Which rows are answered as at registration: numbers to `tolerance` (absolute, and relative beyond 1), anything else exactly.

    A mask (rows,); answers of another shape are none of them.
    """
    found = kept(answers)
    if len(found) != len(golden):
        return np.zeros(len(golden), dtype=bool)
    return np.array([difference(one, other) <= tolerance for one, other in zip(golden, found, strict=True)], dtype=bool)


def difference(own: Any, other: Any) -> float:
    """How far apart two answers are: of numbers the largest difference, relative beyond 1; inf for others that are not equal."""
    if isinstance(own, list | tuple) and isinstance(other, list | tuple) and len(own) == len(other):
        return max((difference(one, two) for one, two in zip(own, other, strict=True)), default=0.0)
    if _is_number(own) and _is_number(other):
        return abs(own - other) / max(1.0, abs(own)) if own != other else 0.0
    return 0.0 if own == other else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
