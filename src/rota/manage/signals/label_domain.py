"""The labels that a problem allows, and the labelled rows of a log that can be measured by it.

The problem and the names of its outputs are those that the model's bundle declares; they are never guessed from labels or answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.manage.signals import typed_values
from rota.ports.blobs import Blobs
from rota.ports.metadata import Metadata
from rota.problems import registry
from rota.problems.problem_type import Outputs, ProblemType, ScoredRows
from rota.records.model import CHAMPION, Alias, ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.run import Problem
from rota.records.signal import Label


@dataclass(frozen=True, slots=True)
class DeclaredProblem:
    """The problem of a model and the names of what it answers: outputs, or two classes."""

    problem: Problem
    names: Outputs = ()

    @property
    def kind(self) -> ProblemType:
        return registry.problem_type(self.problem)


def declared(metadata: Metadata, blobs: Blobs, model: str) -> DeclaredProblem | None:
    """What the bundle of a model's champion declares, else that of its newest version with one; None while it has none."""
    champion = metadata.get(Alias, model, CHAMPION)
    version = metadata.get(ModelVersion, model, champion.number) if champion is not None else None
    if version is None or not version.bundle:
        found = metadata.find(ModelVersion, {"model": model}, order="-created_us")
        version = next((each for each in found if each.bundle), None)
    return of_bundle(decode(blobs.get(version.bundle), ModelBundle)) if version is not None else None


def of_bundle(bundle: ModelBundle) -> DeclaredProblem:
    """What a bundle declares."""
    return DeclaredProblem(bundle.problem, bundle.names)


def checked(known: DeclaredProblem | None, labels: Sequence[Label], *, endpoint: str) -> list[Label]:
    """Labels in the form of the problem; raises `InvalidInput` naming the first that it does not allow. Without a known problem numbers are taken."""
    if known is None:
        odd = next(((place, label) for place, label in enumerate(labels) if not label.withdrawn and not isinstance(label.value, float)), None)
        if odd is not None:
            raise InvalidInput(
                f"label {odd[0]} does not fit (value {str(odd[1].value)[:100]!r} is no number); no version of the model at endpoint {endpoint!r} "
                "says yet which problem it solves, and until then a label is a number",
                position=odd[0],
                endpoint=endpoint,
            )
        return list(labels)
    return [label if label.withdrawn else _checked(known, position, label, endpoint) for position, label in enumerate(labels)]


def measured(rows: pl.DataFrame, known: DeclaredProblem) -> tuple[pl.DataFrame, ScoredRows]:
    """The labelled rows whose label and answer are such as the problem allows, and these as metrics are given them.

    `rows` have the columns of `labels.joined`. A class that the model does not know is a label that it got wrong. Where rows are judged by
    groups, one without a group cannot be.
    """
    kind, names = known.kind, known.names
    grouped = pl.col("group").is_not_null() if kind.needs_groups else True
    rows = rows.filter(pl.col("label_at_us").is_not_null() & grouped)
    if kind.label.fits(1.0) and kind.answer.fits(1.0) and typed_values.are_numbers(rows, "label") and typed_values.are_numbers(rows, "answer"):
        chosen = np.arange(rows.height)
        truth, answer = rows["label"].to_numpy(), rows["answer"].to_numpy()
    else:
        chosen, truth, answer = _fitting(rows, known)
    weights = rows["label_weight"].fill_null(1.0).to_numpy()[chosen]
    groups = rows["group"].to_numpy()[chosen] if kind.needs_groups else None
    scored = ScoredRows(truth, answer, names, weights if (weights != 1).any() else None, groups)
    allowed = np.array(kind.allowed(scored), dtype=bool)
    return rows[chosen[allowed]], scored.where(allowed)


def _fitting(rows: pl.DataFrame, known: DeclaredProblem) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """The places of the rows whose label and answer have the forms of the problem, and their truth and answers."""
    kind, names = known.kind, known.names
    truths, answers = typed_values.of(rows, "label"), typed_values.of(rows, "answer")
    fitting = np.array([kind.label.fits(label) and kind.answer.fits(answer) for label, answer in zip(truths, answers, strict=True)], dtype=bool)
    chosen = np.flatnonzero(fitting)
    truth = kind.label.array(names, [truths[place] for place in chosen])
    return chosen, truth, kind.answer.array(names, [answers[place] for place in chosen])


def _checked(known: DeclaredProblem, position: int, label: Label, endpoint: str) -> Label:
    try:
        value = known.kind.label.check(known.names, label.value)
    except InvalidInput as error:
        raise InvalidInput(
            f"label {position}: value of prediction {label.prediction_id!r}: {error}. Endpoint {endpoint!r} serves a {known.problem}, "
            f"whose labels are {known.kind.label.allowed}",
            position=position,
            value=str(label.value)[:200],
            endpoint=endpoint,
        ) from None
    return label if value is label.value else msgspec.structs.replace(label, value=value)
