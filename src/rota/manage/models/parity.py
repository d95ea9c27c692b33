"""Compare what is served of a model with what its author's own object answers, at registration, on rows made to reach what can differ.

Both are given the same rows. A row that the author's object answers by an error cannot be compared and is counted; so is one that only
the served path refuses, unless it is a row of the author's own example. Two different answers refuse the model, with the rows.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from rota.errors import InvalidInput
from rota.manage.models import golden_answers, probe_rows
from rota.ports.models import AuthorModel, AuthorRows, ModelInputs
from rota.problems import output_names, registry
from rota.records.model import GoldenAnswer, RegistrationParity
from rota.records.record import Record
from rota.records.run import Problem
from rota.records.schema import Type

Ask = Callable[[Sequence[Sequence[Any]]], np.ndarray]
"""Answers to rows, as a `Predictor` gives them."""
Answer = GoldenAnswer | None
"""One answer: a number, numbers, the JSON of anything else, or None where it was refused."""
SHOWN = 3
"""Rows that a refusal shows."""
MOST_NUMBERS = 6
"""Numbers of one answer that a refusal shows."""
NARROW = 1e-4
"""Answers to float32 and float64 that are nearer than this differ by rounding alone, and are not told."""
MOST_CALLS = 300
"""Calls of one side after which rows that were not answered by then are left out, as refused."""


class AuthorAnswers(Record, frozen=True):
    """The answers of an author's object, None where it refused, kept beside a model whose object is gone when it is registered.

    The first `examples` rows are the author's own. `error` is the last refusal. `narrow_difference`: how far apart its answers are for the
    same numbers as float32 and as float64.
    """

    author: str
    names: tuple[str, ...]
    types: tuple[Type, ...]
    rows: tuple[tuple[Any, ...], ...]
    answers: tuple[Answer, ...]
    examples: int = 0
    problem: Problem | None = None
    classes: tuple[str, ...] = ()
    error: str = ""
    narrow_difference: float = 0.0
    outputs: tuple[str, ...] = ()


def ask(author: AuthorModel, name: str, rows: AuthorRows, *, examples: int = 0) -> AuthorAnswers:
    """What the author's object answers to rows; whatever it raises is a refusal of the row."""

    def asked(cells: Sequence[Sequence[Any]], *, narrow: bool = False) -> np.ndarray:
        return author.answers(AuthorRows(rows.names, rows.types, cells, narrow))

    answers, error = _each(asked, rows.cells, (Exception,))
    inputs: ModelInputs = author.inputs
    cells = tuple(map(tuple, rows.cells))
    narrow = _narrow_difference(asked, [row for row, answer in zip(cells, answers, strict=True) if answer is not None])
    return AuthorAnswers(name, rows.names, rows.types, cells, tuple(answers), examples, inputs.problem, inputs.classes, error, narrow, inputs.outputs)


def named_by(truth: AuthorAnswers, problem: Problem | None) -> AuthorAnswers:
    """The answers with names for their numbers where the author's object has none: they are numbered as the problem numbers them."""
    width = next((len(answer) for answer in truth.answers if isinstance(answer, tuple)), 1)
    solved = problem or truth.problem or "regression"
    return msgspec.structs.replace(truth, outputs=output_names.named(solved, width, truth.outputs, ()))


def _narrow_difference(asked: Callable[..., np.ndarray], cells: Sequence[Sequence[Any]]) -> float:
    """The largest difference between answers to the same numbers, which float32 can hold, as float32 and as float64; 0 where one is refused."""
    held = [[float(probe_rows.rounded(cell)) if isinstance(cell, float) else cell for cell in row] for row in cells]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wide, narrow = (np.asarray(asked(held, narrow=each)) for each in (False, True))
            if wide.dtype == object:
                return 0.0
    except Exception:  # noqa: BLE001 - what it answers in its usual form was asked before
        return 0.0
    apart = np.abs(wide - narrow) / np.maximum(1.0, np.abs(wide))
    return float(np.nanmax(apart, initial=0.0))


def compare(truth: AuthorAnswers, served: Ask, *, tolerance: float, problem: Problem | None = None) -> RegistrationParity:
    """The served path beside the author's answers; raises `InvalidInput` showing rows that are answered differently.

    Also raised: an answer of a classifier that is no probability, and a row of the author's example that the served path refuses.
    """
    asked = [place for place, own in enumerate(truth.answers) if own is not None]
    found, error = _each(served, [truth.rows[place] for place in asked], (InvalidInput,))
    answers: list[Answer] = [None] * len(truth.rows)
    for place, answer in zip(asked, found, strict=True):
        answers[place] = answer
    both = [place for place, pair in enumerate(zip(truth.answers, answers, strict=True)) if None not in pair]
    unanswered = [place for place, own in enumerate(truth.answers) if own is not None and answers[place] is None]
    if unanswered and unanswered[0] < truth.examples:
        raise InvalidInput(f"the model is not served as its author's {truth.author} answers: row {unanswered[0]} of its example is refused: {error}")
    apart = {place: golden_answers.difference(truth.answers[place], answers[place]) for place in both}
    wrong = [place for place in both if apart[place] > tolerance]
    if wrong:
        raise InvalidInput(_different(truth, answers, wrong, len(both)), rows=len(wrong))
    _check_allowed(truth, both, problem or truth.problem or "")
    return RegistrationParity(
        compared=len(both),
        refused=sum(own is None for own in truth.answers),
        unanswered=len(unanswered),
        difference=max(apart.values(), default=0.0),
        tolerance=tolerance,
        author=truth.author,
        narrow_difference=truth.narrow_difference if truth.narrow_difference > NARROW else 0.0,
        left_out="" if both else f"the author's {truth.author} answered none of {len(truth.rows)} rows ({truth.error[:200]})",
    )


def named(model: Any) -> str:
    """An object's class, as people know it."""
    kind = type(model)
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _each(asked: Ask, cells: Sequence[Sequence[Any]], refusals: tuple[type[Exception], ...]) -> tuple[list[Answer], str]:
    """An answer for each row, None where it was refused; a batch that fails is asked in halves."""
    answers: list[Answer] = [None] * len(cells)
    plain = [place for place, row in enumerate(cells) if not _is_rare(row)]
    rare = sorted(set(range(len(cells))) - set(plain))
    pending, calls, error = [rare, plain], 0, ""
    while pending and calls < MOST_CALLS:
        places = pending.pop()
        if not places:
            continue
        calls += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a framework's advice on rows that nobody wrote
                found = asked([cells[place] for place in places])
        except refusals as refusal:
            error = f"{type(refusal).__name__}: {refusal}"
            if len(places) > 1:
                middle = len(places) // 2
                pending += [places[middle:], places[:middle]]
            continue
        for place, answer in zip(places, golden_answers.kept(np.asarray(found)), strict=True):
            answers[place] = answer if _is_whole(answer) else None
    return answers, error


def _is_rare(row: Sequence[Any]) -> bool:
    """Whether a row holds what many models refuse; such rows are asked apart, so that the others are one call."""
    return any(cell is None or cell == probe_rows.UNSEEN for cell in row)


def _is_whole(answer: GoldenAnswer) -> bool:
    """Whether every number of an answer is finite."""
    if isinstance(answer, tuple):
        return all(cell is not None and math.isfinite(cell) for cell in answer)
    return isinstance(answer, str) or math.isfinite(answer)


def _shown(answer: Answer) -> str:
    if isinstance(answer, tuple):
        cells = ["nan" if cell is None else f"{cell:.6g}" for cell in answer[:MOST_NUMBERS]]
        return f"[{', '.join(cells)}{', ...' if len(answer) > MOST_NUMBERS else ''}]"
    return f"{answer:.6g}" if isinstance(answer, float) else str(answer)[:100]


def _different(truth: AuthorAnswers, answers: Sequence[Answer], wrong: Sequence[int], compared: int) -> str:
    shown = "; ".join(
        f"{dict(zip(truth.names, truth.rows[place], strict=True))}: the author's {truth.author} answers {_shown(truth.answers[place])}, "
        f"served would be {_shown(answers[place])}"
        for place in wrong[:SHOWN]
    )
    return (
        f"the model is not served as its author's object answers: {len(wrong)} of {compared} rows differ, for example {shown}. "
        "Encode such values before the model, in the pipeline that is registered, or save it as ONNX"
    )


def _check_allowed(truth: AuthorAnswers, both: Sequence[int], problem: str) -> None:
    """What the author's object answers must be what the problem's answers are: as many numbers, and probabilities where these are asked for."""
    given = [truth.answers[place] for place in both]
    if not given or not problem:
        return
    kind, outputs = registry.problem_type(problem), truth.outputs
    several = [answer for answer in given if isinstance(answer, tuple)]
    if not kind.takes(outputs) or any(isinstance(answer, tuple) != (bool(outputs) or kind.answer.is_list) for answer in given):
        seen = f"{len(several[0])} numbers" if several else "one value"
        raise InvalidInput(f"the model is registered as a {kind.name} ({kind.summary}), and its {truth.author} answers {seen} a row{_hint(several)}")
    if isinstance(given[0], str):
        return
    probable = kind.answer.are_probabilities
    judged = [truth.answers[place] for place in both if place < truth.examples]  # far outside of them an exponential is 0
    wrong = kind.answer.wrong(outputs, np.array(given if probable or not judged else judged, dtype=np.float64))
    if wrong:
        way_out = "; register a model with probabilities, or as a regression" if probable else ""
        raise InvalidInput(f"the model is registered as a {kind.name} and its {truth.author} answers {wrong}{way_out}")


def _hint(several: Sequence[Any]) -> str:
    return '; say which problem it solves: problem="multiclass", or "regression" for several targets' if several else ""
