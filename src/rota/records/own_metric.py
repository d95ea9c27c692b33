"""A metric that a team wrote: a function of a project, with the direction that is better and the ends between which its values lie."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

from rota.errors import InvalidInput
from rota.records.record import Record, check_name

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__rota_metric__"


class OwnMetric(Record, frozen=True):
    """A function of a project by which its models are measured, besides the metrics of their problem.

    `function` is "module:name", by which a worker imports it. `lowest` and `highest` bound its values; None: they have no bound there.
    """

    name: str
    function: str
    higher_is_better: bool
    lowest: float | None = None
    highest: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value, infinite where there is no bound."""
        return -math.inf if self.lowest is None else self.lowest, math.inf if self.highest is None else self.highest

    def checked(self, given: Any) -> float:
        """What the function gave as a number between the ends, or NaN; raises `InvalidInput` for anything else."""
        try:
            value = float(given)
        except (TypeError, ValueError):
            raise InvalidInput(
                f"metric {self.name!r} gave {str(given)[:100]!r}, which is no number; give a float, NaN where it is not defined"
            ) from None
        lowest, highest = self.ends
        if value < lowest or value > highest or math.isinf(value):
            raise InvalidInput(f"metric {self.name!r} gave {value:g}; it is declared to lie between {lowest:g} and {highest:g}, and to be finite")
        return value


def marked(function: F, *, higher_is_better: bool, lowest: float | None = None, highest: float | None = None) -> F:
    """The function itself, which a pipeline can name among its metrics from now on."""
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if not callable(function) or not name.isidentifier():
        raise InvalidInput(f"metric {name or function!r} must be a function at the top level of its module, so that a worker can import it")
    check_name("metric", name)
    found = OwnMetric(name, f"{module}:{name}", higher_is_better, lowest, highest)
    if not found.ends[0] < found.ends[1]:
        raise InvalidInput(f"metric {name!r} lies between lowest={lowest} and highest={highest}, which holds no values", metric=name)
    setattr(function, _MARK, found)
    return function


def of(value: Any) -> OwnMetric:
    """The record of a function that `marked` saw, or a record as it is."""
    found = value if isinstance(value, OwnMetric) else getattr(value, _MARK, None)
    if not isinstance(found, OwnMetric):
        raise InvalidInput(f"{value!r} is no metric; write @rota.metric(higher_is_better=True) above a function of (truth, answers)")
    return found
