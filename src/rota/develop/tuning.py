"""Hyperparameter search: every trial is a child run of the tuning run, and the best one is marked.

    def objective(trial):
        model = fit(depth=trial.suggest_int("depth", 2, 10), rate=trial.suggest_float("rate", 0.01, 0.3, log=True))
        return log_loss(model)

    best = rota.tune("late-flights", objective, trials=30)

With a metric, one of the problem's by its name or a team's own (`@rota.metric`), the objective returns `(truth, answers)` of held-out rows; the
metric says what they are worth and which direction is better:

    best = rota.tune("late-flights", objective, trials=30, metric=worst_miss)

A trial that raises is a failed child and the search goes on; FAILURES_IN_A_ROW of them end it, because then the objective
is wrong and not the parameters.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rota.develop.tracking import TrackedRun
from rota.errors import InvalidInput, Refused
from rota.ports.tuning import Proposal, Tuner
from rota.problems import registry
from rota.problems.output_names import numbered
from rota.problems.problem_type import ScoredRows
from rota.records import own_metric
from rota.records.run import Problem
from rota.records.tracking import ExperimentRun
from rota.records.values import measured, shown

FAILURES_IN_A_ROW = 3
BEST = "best"
"""The tag that marks the best trial ("true") and names it on the tuning run (its id)."""
MEMORY = "tuning.memory"
STOPPED = "tuning.stopped"
VALUE = "objective"
"""The metric that holds a trial's objective value."""

Direction = Literal["minimize", "maximize"]


class Hopeless(BaseException):
    """Ends a trial that is not worth finishing; no error, hence no Exception that the objective could swallow."""


class Trial:
    """One trial of a search, as its objective sees it: parameters to draw, and the child run to log into."""

    def __init__(self, proposal: Proposal, run: TrackedRun) -> None:
        self.run = run
        self._proposal = proposal

    @property
    def number(self) -> int:
        """The position of the trial in its search, from 0."""
        return self._proposal.number

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters drawn so far."""
        return dict(self._proposal.parameters)

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float:
        """Draw a number between `low` and `high`, both included; `log` draws evenly in the logarithm, `step` on a grid from `low`."""
        return self._proposal.suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """Draw a whole number between `low` and `high`, both included."""
        return self._proposal.suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw one of the choices (texts, numbers, booleans or None)."""
        return self._proposal.suggest_categorical(name, choices)

    def report(self, value: float, step: int) -> None:
        """Log an intermediate value; ends the trial here when the others were better at this step."""
        self.run.log_metric(VALUE, value, step=step)
        self._proposal.report(value, step)
        if self._proposal.stop():
            raise Hopeless


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a search ended: the tuning run, its best trial's run, parameters and value, and how many trials there were of each ending."""

    run: str
    best_run: str
    best_value: float
    best_parameters: Mapping[str, Any]
    finished: int
    stopped: int
    failed: int


def tune(
    run: TrackedRun,
    tuner: Tuner,
    objective: Callable[[Trial], float],
    *,
    trials: int,
    direction: Direction = "minimize",
    progress: Callable[[str], None] = lambda _: None,
) -> Tuned:
    """Search with a tuner inside a tuning run. `told` gets a line after each trial. Raises `Refused` when no trial finished."""
    if trials < 1:
        raise InvalidInput(f"trials={trials}: a search needs at least 1 trial", trials=trials)
    run.log_params({"tuning.trials": trials, "tuning.direction": direction})
    search = _Search(run, tuner, objective, direction)
    for number in range(trials):
        search.trial()
        progress(f"trial {number + 1}/{trials}: {search.newest}; best {search.best_text}")
    return search.ended()


def measured_by(metric: Callable[..., Any] | str, problem: Problem, objective: Callable[[Trial], Any]) -> tuple[Callable[[Trial], float], Direction]:
    """An objective that is worth what a metric says of the `(truth, answers)` or scored rows that it returns, and the direction that is better.

    `metric` is one of the problem's by its name, or a function with `@rota.metric`, called here, in the program that searches. The worth of a trial
    is logged under the metric's name. A trial raises when the metric could not judge it.
    """
    name, higher_is_better, function = _metric(metric, problem)

    def worth(trial: Trial) -> float:
        value = function(_rows(problem, objective(trial)))
        if math.isnan(value):
            raise InvalidInput(f"metric {name!r} is not defined on what the objective returned (it is NaN)", metric=name)
        trial.run.log_metric(name, value)
        return value

    return worth, "maximize" if higher_is_better else "minimize"


def _metric(metric: Callable[..., Any] | str, problem: Problem) -> tuple[str, bool, Callable[[ScoredRows], float]]:
    if isinstance(metric, str):
        known = registry.metric(problem, metric)
        if known is None:
            names = list(registry.problem_type(problem).metrics)
            raise InvalidInput(f"a {problem} has no metric {metric!r}; it is measured by {names}, or by a function with @rota.metric", metric=metric)
        return metric, known.higher_is_better, known.function
    own = own_metric.of(metric)
    takes_rows = len(inspect.signature(metric).parameters) == 1
    return own.name, own.higher_is_better, lambda rows: own.checked(metric(rows) if takes_rows else metric(rows.truth, rows.answers))


def _rows(problem: Problem, given: Any) -> ScoredRows:
    if isinstance(given, ScoredRows):
        return given
    if not isinstance(given, tuple) or len(given) != 2:
        raise InvalidInput(f"the objective returned {shown(given)}; with a metric it returns (truth, answers), or the scored rows")
    answers = np.asarray(given[1])
    outputs = numbered(problem, answers.shape[1]) if answers.ndim == 2 else ()
    return registry.checked(problem, given[0], answers, outputs=outputs)


def learn(tuner: Tuner, earlier: Sequence[ExperimentRun]) -> int:
    """Take in the finished trials of an earlier search; returns how many."""
    useful = [trial for trial in earlier if trial.status == "finished" and MEMORY in trial.tags and STOPPED not in trial.tags]
    for trial in useful:
        tuner.learn(trial.tags[MEMORY], trial.metrics[VALUE])
    return len(useful)


class _Search:
    """The state of one search: counts, and the best trial so far."""

    def __init__(self, run: TrackedRun, tuner: Tuner, objective: Callable[[Trial], float], direction: Direction) -> None:
        self.newest = ""
        self._run, self._tuner, self._objective = run, tuner, objective
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._best: tuple[str, float, Mapping[str, Any]] | None = None
        self._counts = {"finished": 0, "stopped": 0, "failed": 0}
        self._in_a_row = 0

    @property
    def best_text(self) -> str:
        return "none yet" if self._best is None else f"{self._best[1]:.6g} {dict(self._best[2])}"

    def trial(self) -> None:
        proposal = self._tuner.ask()
        try:
            child, value = self._tried(proposal)
        except Exception as error:  # noqa: BLE001 - the objective is the user's code
            self._failed(proposal, error)
            return
        self._in_a_row = 0
        self._tuner.tell(proposal, value, stopped=value is None)
        self._counts["stopped" if value is None else "finished"] += 1
        self.newest = "stopped early" if value is None else f"{value:.6g}"
        if value is not None and (self._best is None or self._sign * value < self._sign * self._best[1]):
            self._best = (child, value, dict(proposal.parameters))

    def _tried(self, proposal: Proposal) -> tuple[str, float | None]:
        """The child run's id and its value; None when it was stopped early."""
        with self._run.child(f"trial {proposal.number}") as child:
            value: float | None = None
            try:
                value = _worth(self._objective(Trial(proposal, child)))
                child.log_metric(VALUE, value)
            except Hopeless:
                child.set_tag(STOPPED, "true")
            finally:
                child.log_params({name: drawn for name, drawn in proposal.parameters.items() if name not in child.record.parameters})
                child.set_tag(MEMORY, proposal.memory())
        return child.id, value

    def _failed(self, proposal: Proposal, error: Exception) -> None:
        self._tuner.tell(proposal, None)
        self._counts["failed"] += 1
        self._in_a_row += 1
        self.newest = f"failed: {type(error).__name__}: {error}"
        if self._in_a_row >= FAILURES_IN_A_ROW:
            raise Refused(f"{self._in_a_row} trials in a row failed, the last with {type(error).__name__}: {error}; mend the objective") from error

    def ended(self) -> Tuned:
        if self._best is None:
            raise Refused(f"no trial finished ({self._counts}); give the search more trials or let them run to their end")
        child, value, parameters = self._best
        self._run.log_params({f"best.{name}": drawn for name, drawn in parameters.items()})
        self._run.log_metric(VALUE, value)
        self._run.set_tag(BEST, child)
        self._run.tag_child(child, BEST, "true")
        return Tuned(self._run.id, child, value, parameters, **self._counts)


def _worth(value: object) -> float:
    try:
        number = measured(value)
    except InvalidInput:
        number = None
    if number is None or not math.isfinite(number):
        raise InvalidInput(f"the objective returned {shown(value)}; it must be a finite number", value=shown(value))
    return number
