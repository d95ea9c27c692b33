"""Metrics of texts as answers: `truth` and `answers` (rows,) are texts, `weights` (rows,) or None."""

import math
import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.stats.weighting import mean, total

Floats = NDArray[np.float64]
_WORD = re.compile(r"\w+")


def exact_of_rows(truth: NDArray[Any], answers: NDArray[Any]) -> Floats:
    """1 of each row whose texts are equal but for white space at their ends, else 0."""
    return np.array([left.strip() == right.strip() for left, right in zip(truth, answers, strict=True)], dtype=np.float64)


def token_f1_of_rows(truth: NDArray[Any], answers: NDArray[Any]) -> Floats:
    """F1 of each row's words, in lower case and counted as often as they occur (Rajpurkar et al., 2016; articles stay here).

    1 where neither text has a word.
    """
    return np.array([_token_f1(left, right) for left, right in zip(truth, answers, strict=True)], dtype=np.float64)


def exact_match(truth: NDArray[Any], answers: NDArray[Any], weights: Floats | None = None) -> float:
    """The mean of `exact_of_rows`."""
    return mean(exact_of_rows(truth, answers), weights)


def token_f1(truth: NDArray[Any], answers: NDArray[Any], weights: Floats | None = None) -> float:
    """The mean of `token_f1_of_rows`."""
    return mean(token_f1_of_rows(truth, answers), weights)


def length_ratio_error(truth: NDArray[Any], answers: NDArray[Any], weights: Floats | None = None) -> float:
    """How far the characters of all answers over those of all truths are from 1; NaN where the truths have none."""
    wanted = total(lengths(truth), weights)
    return abs(total(lengths(answers), weights) / wanted - 1) if wanted else math.nan


def lengths(texts: NDArray[Any]) -> Floats:
    """Characters of each text."""
    return np.array([len(each) for each in texts], dtype=np.float64)


def words(texts: NDArray[Any]) -> Floats:
    """Words of each text."""
    return np.array([len(_WORD.findall(each)) for each in texts], dtype=np.float64)


def _token_f1(truth: str, answer: str) -> float:
    wanted, given = Counter(_WORD.findall(truth.lower())), Counter(_WORD.findall(answer.lower()))
    both = wanted.total() + given.total()
    return 2 * (wanted & given).total() / both if both else 1.0
