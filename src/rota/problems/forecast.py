"""Forecasts of a time series: an answer has a number for each step ahead, or for each step and level of probability.

Outputs are named "<step>" or "<step>|<level>", for example "1", "2", "3" or "1|0.1", "1|0.5", "1|0.9", "2|0.1" ...; the truth of an answer is
a number for each step, as the steps come to pass.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.problems import forms
from rota.problems.problem_type import AnswerForm, Floats, LabelForm, Metric, Outputs, ProblemType, ScoredRows
from rota.problems.quantiles import level
from rota.problems.regression import drift_of_numbers
from rota.stats.weighting import mean_of_cells, mean_of_known

POINT = 0.5
"""The level of an output that names none."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """The steps of a forecast, of each output its step's place and level, and of each step the places of three outputs: the lowest level, that
    nearest to the middle, the highest."""

    steps: tuple[str, ...]
    step: NDArray[np.int64]
    levels: Floats
    low: NDArray[np.int64]
    middle: NDArray[np.int64]
    high: NDArray[np.int64]


@lru_cache(maxsize=64)
def horizon(outputs: Outputs) -> Horizon:
    """What the names of outputs say."""
    parts = [name.partition("|") for name in outputs]
    steps = tuple(dict.fromkeys(step for step, _, _ in parts))
    of = np.array([steps.index(step) for step, _, _ in parts], dtype=np.int64)
    levels = np.array([level(text) if bar else POINT for _, bar, text in parts], dtype=np.float64)
    members = [np.flatnonzero(of == place) for place in range(len(steps))]
    ends = [(each[levels[each].argmin()], each[np.abs(levels[each] - POINT).argmin()], each[levels[each].argmax()]) for each in members]
    low, middle, high = np.array(ends, dtype=np.int64).reshape(len(steps), 3).T
    return Horizon(steps, of, levels, low, middle, high)


def _wrong(outputs: Outputs, _answers: NDArray[Any]) -> str:
    odd = [name for name, at in zip(outputs, horizon(outputs).levels, strict=True) if math.isnan(at)]
    return f'named by {odd}, whose levels do not lie between 0 and 1; write "<step>" or "<step>|<level>", as in "1|0.9"' if odd else ""


def _label(outputs: Outputs, value: Any) -> dict[str, float]:
    return forms.named_numbers_label(horizon(outputs).steps, value)


def _truth(outputs: Outputs, values: Sequence[Any]) -> Floats:
    return forms.by_name(horizon(outputs).steps, values)


def _pinball_of_cells(rows: ScoredRows) -> Floats:
    at = horizon(rows.outputs)
    above = rows.truth[:, at.step] - rows.answers
    return np.asarray(np.maximum(at.levels * above, (at.levels - 1) * above), dtype=np.float64)


def _errors(rows: ScoredRows) -> Floats:
    """The error of the middle of each step, (rows, steps); NaN of a step that is not known yet."""
    return np.asarray(rows.truth - rows.answers[:, horizon(rows.outputs).middle], dtype=np.float64)


def pinball(rows: ScoredRows) -> Floats:
    """The mean pinball loss of each row over its known steps and their levels; a point forecast counts as the level 0.5 (half of its error)."""
    return mean_of_known(_pinball_of_cells(rows))


def absolute(rows: ScoredRows) -> Floats:
    """The mean absolute error of each row's middle over its known steps."""
    return mean_of_known(np.abs(_errors(rows)))


def mae_by_step(rows: ScoredRows) -> dict[str, float]:
    """The mean absolute error of each step's middle; NaN where no truth of it is known."""
    found = np.abs(_errors(rows))
    return {name: mean_of_cells(found[:, [place]], rows.weights) for place, name in enumerate(horizon(rows.outputs).steps)}


def _step(rows: ScoredRows, place: int) -> float:
    found = list(mae_by_step(rows).values())
    return found[place] if found else math.nan


def _coverage(rows: ScoredRows) -> float:
    at = horizon(rows.outputs)
    if not _is_interval(at):
        return math.nan
    inside = (rows.truth >= rows.answers[:, at.low]) & (rows.truth <= rows.answers[:, at.high])
    return mean_of_cells(np.where(np.isnan(rows.truth), np.nan, inside), rows.weights)


def _coverage_error(rows: ScoredRows) -> float:
    at = horizon(rows.outputs)
    promised = np.where(np.isnan(rows.truth), np.nan, at.levels[at.high] - at.levels[at.low])
    return abs(_coverage(rows) - mean_of_cells(promised, rows.weights))


def _width(rows: ScoredRows) -> float:
    at = horizon(rows.outputs)
    return mean_of_cells(rows.answers[:, at.high] - rows.answers[:, at.low], rows.weights) if _is_interval(at) else math.nan


def _is_interval(at: Horizon) -> bool:
    return bool(len(at.steps)) and bool((at.low != at.high).all())


FORECAST = ProblemType(
    name="forecast",
    summary='several steps ahead, as a number or as quantiles each; outputs are named "<step>" or "<step>|<level>"',
    answer=AnswerForm("a number for each step, or for each step and level", forms.NAMED_NUMBERS.plain, forms.by_name, forms.is_named, _wrong),
    label=LabelForm("numbers by step, as they become known", "numbers by the names of the steps", _label, _truth, forms.is_named, is_partial=True),
    metrics={
        "pinball": Metric(lambda rows: mean_of_cells(_pinball_of_cells(rows), rows.weights), False, highest=math.inf),
        "mae": Metric(lambda rows: mean_of_cells(np.abs(_errors(rows)), rows.weights), False, highest=math.inf),
        "rmse": Metric(lambda rows: math.sqrt(mean_of_cells(_errors(rows) ** 2, rows.weights)), False, highest=math.inf),
        "mae_first_step": Metric(lambda rows: _step(rows, 0), False, highest=math.inf),
        "mae_last_step": Metric(lambda rows: _step(rows, -1), False, highest=math.inf),
        "coverage": Metric(_coverage, True),
        "coverage_error": Metric(_coverage_error, False),
        "interval_width": Metric(_width, False, lowest=-math.inf, highest=math.inf),
    },
    losses={"pinball": pinball, "absolute_error": absolute},
    excess=pinball,
    excess_name="pinball loss",
    drift=drift_of_numbers,
    main_metric="mae",
    always="pinball",
    targets=lambda outputs: horizon(outputs).steps,
    needs_outputs="always",
    slices="the series, or a group of series",
)
