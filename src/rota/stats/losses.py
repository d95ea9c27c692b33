"""Losses of one answer, by which a champion and a challenger are compared on the same labelled rows; smaller is better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import polars as pl

from rota.records.run import Problem
from rota.stats.metrics import LOG_LOSS_CLIP


@dataclass(frozen=True, slots=True)
class Loss:
    """`of` gives the column of losses from the columns of answers and of truths; `problem` is where it means something."""

    of: Callable[[pl.Expr, pl.Expr], pl.Expr]
    problem: Problem


def _squared(answer: pl.Expr, truth: pl.Expr) -> pl.Expr:
    return (answer - truth) ** 2


def _log_loss(answer: pl.Expr, truth: pl.Expr) -> pl.Expr:
    sure = answer.clip(LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return -(truth * sure.log() + (1 - truth) * (1 - sure).log())


LOSSES: Mapping[str, Loss] = {
    "brier": Loss(_squared, "classification"),
    "log_loss": Loss(_log_loss, "classification"),
    "squared_error": Loss(_squared, "regression"),
}


def names(problem: Problem) -> list[str]:
    """The losses of a problem type."""
    return [name for name, loss in LOSSES.items() if loss.problem == problem]
