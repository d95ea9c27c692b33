"""Tuner: proposes hyperparameters, and learns from what each proposal was worth."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Proposal(Protocol):
    """The parameters of one trial, drawn one by one while the trial runs; the same name gives the same value again.

    Law: `low` and `high` may both be drawn; `log` draws evenly in the logarithm. `stop` says, after a `report` of an intermediate value,
    that the trial is not worth finishing.
    """

    @property
    def number(self) -> int: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def report(self, value: float, step: int) -> None: ...

    def stop(self) -> bool: ...

    def memory(self) -> str:
        """What was drawn and from what, as a text that `Tuner.learn` understands."""
        ...


class Tuner(Protocol):
    """A search. Law: `ask` gives a proposal, `tell` its worth (None: the trial failed or was stopped). `learn` takes in an earlier trial
    by its proposal's memory and its worth, as if this search had made it. The same seed and the same answers give the same proposals."""

    def ask(self) -> Proposal: ...

    def tell(self, proposal: Proposal, value: float | None, *, stopped: bool = False) -> None: ...

    def learn(self, memory: str, value: float) -> None: ...
