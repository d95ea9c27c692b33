"""The labels that a problem allows: a classification's are 0 and 1, a regression's any finite number.

The problem is the one that the model's bundle declares; it is never guessed from labels or answers.
"""

from collections.abc import Iterable

import polars as pl

from rota.errors import InvalidInput
from rota.ports.blobs import Blobs
from rota.ports.metadata import Metadata
from rota.records.model import CHAMPION, Alias, ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.run import Problem
from rota.records.signal import Label

NAMES = {"classification": "{0, 1}", "regression": "the finite numbers"}


def declared_problem(metadata: Metadata, blobs: Blobs, model: str) -> Problem | None:
    """What the bundle of a model's champion declares, else that of its newest version with one; None while it has none."""
    champion = metadata.get(Alias, model, CHAMPION)
    version = metadata.get(ModelVersion, model, champion.number) if champion is not None else None
    if version is None or not version.bundle:
        found = metadata.find(ModelVersion, {"model": model}, order="-created_us")
        version = next((each for each in found if each.bundle), None)
    return decode(blobs.get(version.bundle), ModelBundle).problem if version is not None else None


def allowed(problem: Problem | None) -> pl.Expr:
    """Whether a row's `label` and `answer` are such as the problem allows."""
    if problem == "classification":
        return pl.col("label").is_in([0.0, 1.0]) & pl.col("answer").is_between(0.0, 1.0)
    return pl.col("label").is_finite() & pl.col("answer").is_finite()


def check(problem: Problem | None, labels: Iterable[Label], *, endpoint: str) -> None:
    """Raise `InvalidInput` naming the first label outside of what the problem allows; without a known problem nothing is refused."""
    if problem != "classification":
        return
    for position, label in enumerate(labels):
        if label.value not in (0.0, 1.0):
            raise InvalidInput(
                f"label {position}: value {label.value:g} of prediction {label.prediction_id!r} is outside {NAMES[problem]}; endpoint {endpoint!r} "
                f"serves a classification, whose truth is 1 where what it predicts came to pass and 0 where it did not",
                position=position,
                value=label.value,
                endpoint=endpoint,
            )
