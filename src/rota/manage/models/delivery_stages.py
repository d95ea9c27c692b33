"""The stages of a delivery that a strategy asks for, and how long a candidate may stay undecided in them.

A strategy is compiled to steps in Argo Rollouts' words, and these to stages: a split of the traffic, what it is held for, and a judgement.

    Canary(shadow="1h", steps=[5], hold="2h")   set_mirror, pause 1h, analysis, set_weight 5, pause 2h, analysis
    blue_green(preview="1h")                    set_mirror, pause 1h, analysis
    shadow("1h")                                set_mirror, pause 1h, analysis, pause
    ab_test(..., weight=50), bandit(...)        set_mirror off, set_weight 50, pause (time between two looks), analysis
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rota.records.release import Analysis, Canary, DeliveryStep, HeaderMatch, RolloutState, analysis, pause, set_mirror, set_weight
from rota.records.time import DAY_US, HOUR_US, Micros, micros

TIMES_ITS_STAGES = 6
LEAST_DURATION_US = 2 * DAY_US
"""Of a strategy that states no `max_duration`: losses say nothing before thirty hours with labels."""
LEAST_WAIT_US = HOUR_US // 60
LONGEST_WAIT_US = HOUR_US


@dataclass(frozen=True, slots=True)
class Stage:
    """A split of the traffic that is held, then judged: `weight` percent for the candidate, which is mirrored beside it unless told otherwise.

    `waits`: until a person resumes. `analyses` are those of this stage alone, none: the strategy's. Requests with one of `headers` are for it.
    """

    number: int
    weight: int
    hold_us: Micros
    is_mirrored: bool = True
    waits: bool = False
    is_judged: bool = True
    analyses: tuple[Analysis, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()

    @property
    def state(self) -> RolloutState:
        """The state of a rollout in this stage."""
        return "canary" if self.weight else "shadow"

    @property
    def label(self) -> str:
        """Its name in steps, verdicts and pages."""
        return f"{self.number} {self.state} {self.weight}%"


def steps(strategy: Canary) -> list[DeliveryStep]:
    """The steps of a strategy, its short forms written out."""
    return list(_steps(strategy))


def _steps(strategy: Canary) -> Iterator[DeliveryStep]:
    if (test := strategy.experiment) is not None:
        yield from (set_mirror(False), set_weight(test.weight), pause(strategy.hold), analysis())
        return
    if micros(strategy.shadow):
        yield from (set_mirror(), pause(strategy.shadow), analysis())
    for step in strategy.steps:
        if isinstance(step, DeliveryStep):
            yield step
        else:
            yield from (set_weight(step), pause(strategy.hold), analysis())
    if strategy.strategy == "shadow":
        yield pause()


def stages(strategy: Canary) -> list[Stage]:
    """The stages in order: each begins with a change of the traffic, or after a judgement, and ends with the next of either."""
    found = list[Stage]()
    now = Stage(0, 0, 0, is_judged=False)
    is_open = holds = False
    for step in steps(strategy):
        if step.kind in ("set_weight", "set_mirror", "set_header_route"):
            if is_open and holds:
                found.append(now)
                now = _following(now)
                holds = False
            now = _with_traffic(now, step)
            is_open = True
        elif step.kind == "pause":
            now = replace(now, hold_us=now.hold_us + micros(step.duration)) if step.duration else replace(now, waits=True)
            is_open = holds = True
        else:
            found.append(replace(now, is_judged=True, analyses=tuple(step.analyses)))
            now = _following(now)
            is_open = holds = False
    return [*found, now] if is_open else found


def _following(stage: Stage) -> Stage:
    return Stage(stage.number + 1, stage.weight, 0, stage.is_mirrored, is_judged=False, headers=stage.headers)


def _with_traffic(stage: Stage, step: DeliveryStep) -> Stage:
    if step.match is not None:
        others = tuple(each for each in stage.headers if each.header != step.match.header)
        return replace(stage, headers=(*others, step.match) if step.match.value else others)
    return replace(stage, weight=step.weight) if step.kind == "set_weight" else replace(stage, is_mirrored=step.mirror)


def longest_us(strategy: Canary) -> Micros:
    """How long after its start a rollout may be undecided before its end is what the strategy says; meaningless with `patience`."""
    if strategy.max_duration:
        return micros(strategy.max_duration)
    return max(TIMES_ITS_STAGES * sum(stage.hold_us for stage in stages(strategy)), LEAST_DURATION_US)


def wait_us(stage: Stage, undecided_us: Micros) -> Micros:
    """How long an undecided stage is held on before it is judged again: its hold, a minute at least where it has none, and after long an hour."""
    return max(stage.hold_us or LEAST_WAIT_US, min(undecided_us // 10, LONGEST_WAIT_US))
