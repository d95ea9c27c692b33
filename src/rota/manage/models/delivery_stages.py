"""The stages of a delivery that a strategy asks for, and how long a candidate may stay undecided in them."""

from dataclasses import dataclass

from rota.records.release import Canary, RolloutState
from rota.records.time import DAY_US, HOUR_US, Micros, micros

TIMES_ITS_STAGES = 6
LEAST_DURATION_US = 2 * DAY_US
"""Of a strategy that states no `max_duration`: losses say nothing before thirty hours with labels."""
LONGEST_WAIT_US = HOUR_US


@dataclass(frozen=True, slots=True)
class Stage:
    """A split of the traffic that is held, then judged: `weight` percent for the candidate, which is mirrored beside it."""

    number: int
    state: RolloutState
    weight: int
    hold_us: Micros

    @property
    def label(self) -> str:
        """Its name in steps, verdicts and pages."""
        return f"{self.number} {self.state} {self.weight}%"


def stages(strategy: Canary) -> list[Stage]:
    """The stages in order: the shadow, if there is one, and a canary for each step."""
    shadow_us = micros(strategy.shadow)
    first: list[tuple[RolloutState, int, Micros]] = [("shadow", 0, shadow_us)] if shadow_us else []
    canary: list[tuple[RolloutState, int, Micros]] = [("canary", weight, micros(strategy.hold)) for weight in strategy.steps]
    return [Stage(number, *stage) for number, stage in enumerate(first + canary)]


def longest_us(strategy: Canary) -> Micros:
    """How long after its start a rollout may be undecided before its end is what the strategy says; meaningless with `patience`."""
    if strategy.max_duration:
        return micros(strategy.max_duration)
    return max(TIMES_ITS_STAGES * sum(stage.hold_us for stage in stages(strategy)), LEAST_DURATION_US)


def wait_us(stage: Stage, undecided_us: Micros) -> Micros:
    """How long an undecided stage is held on before it is judged again: its hold, and after a long time at least an hour."""
    return max(stage.hold_us, min(undecided_us // 10, LONGEST_WAIT_US))
