"""OptunaTuner: Optuna's samplers and median pruning behind the Tuner port. The trials themselves are kept as tracked runs, not here."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial, TrialState

from rota.errors import InvalidInput

logging.getLogger("optuna").setLevel(logging.WARNING)  # each trial is a tracked run; Optuna need not print it too


class OptunaTuner:
    """`rota.ports.tuning.Tuner` by a study in memory."""

    def __init__(self, direction: Literal["minimize", "maximize"], *, seed: int = 0, sampler: Literal["tpe", "random"] = "tpe") -> None:
        if direction not in ("minimize", "maximize"):
            raise InvalidInput(f'direction {direction!r} is neither "minimize" nor "maximize"', direction=direction)
        chosen: BaseSampler = RandomSampler(seed) if sampler == "random" else TPESampler(seed=seed)
        self._study = optuna.create_study(direction=direction, sampler=chosen, pruner=optuna.pruners.MedianPruner(n_startup_trials=4))

    def ask(self) -> "OptunaProposal":
        return OptunaProposal(self._study.ask())

    def tell(self, proposal: "OptunaProposal", value: float | None, *, stopped: bool = False) -> None:
        if value is not None:
            self._study.tell(proposal.trial, value)
        else:
            self._study.tell(proposal.trial, state=TrialState.PRUNED if stopped else TrialState.FAIL)

    def learn(self, memory: str, value: float) -> None:
        try:
            remembered = json.loads(memory)
            distributions = {name: json_to_distribution(text) for name, text in remembered["space"].items()}
            self._study.add_trial(optuna.trial.create_trial(params=remembered["drawn"], distributions=distributions, value=value))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"an earlier trial cannot be learned from: {error}; it remembers {memory[:200]!r}") from error


class OptunaProposal:
    """`rota.ports.tuning.Proposal` by one of Optuna's trials."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial

    @property
    def number(self) -> int:
        return self.trial.number

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.trial.params

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float:
        with _in_our_words(name):
            return self.trial.suggest_float(name, low, high, step=step, log=log)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        with _in_our_words(name):
            return self.trial.suggest_int(name, low, high, step=step, log=log)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        with _in_our_words(name):
            return self.trial.suggest_categorical(name, choices)

    def report(self, value: float, step: int) -> None:
        self.trial.report(value, step)

    def stop(self) -> bool:
        return self.trial.should_prune()

    def memory(self) -> str:
        space = {name: distribution_to_json(each) for name, each in self.trial.distributions.items()}
        return json.dumps({"drawn": self.trial.params, "space": space})


@contextmanager
def _in_our_words(name: str) -> Iterator[None]:
    """Optuna's errors name no parameter."""
    try:
        yield
    except ValueError as error:
        raise InvalidInput(f"parameter {name!r} cannot be drawn: {error}", parameter=name) from error
