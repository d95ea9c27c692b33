"""How long a rollout will take to decide, computed before and at its start: from the traffic and the labels that its endpoint really has.

For each stage and analysis: how many rows a candidate needs that is as good as the stable version until it passes, with which probability
(`sample_size.POWER`), how many a bad one until it is found, and how long the endpoint takes to make them. A stage lasts until its slowest
analysis has decided. A plan is an estimate and no verdict: it refuses nothing, it says what would decide.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from rota.deploy import endpoint_traffic, sample_size
from rota.deploy.endpoint_traffic import Traffic
from rota.manage.models import delivery_stages
from rota.manage.models.delivery_stages import Stage
from rota.manage.repositories import Repositories
from rota.records.record import plain
from rota.records.release import Analysis, Canary, Endpoint
from rota.records.time import HOUR_US, Micros
from rota.stats import effects, sequential

NO_LABEL = "no label came of the predictions of this time"
HEAVIER = (10, 25, 50)
"""First steps that are tried where a smaller one does not decide in time."""
TIMES_ALLOWED = 2.0
"""How bad a candidate is that `finds` speaks of: it fails so many times as often as is allowed, or is half as slow again."""


@dataclass(frozen=True, slots=True)
class Need:
    """What an analysis needs in a stage: `clears` and `finds` are rows of what is `counted` since the rollout began, None: it never decides.

    `hours` is how long it takes in this stage until an equal candidate passes (0: it passed in an earlier one, None: for ever), at least so long
    where `is_least`.
    """

    stage: str
    analysis: str
    counted: str
    an_hour: float
    clears: int | None
    finds: int | None
    hours: float | None
    is_least: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How long a strategy takes at an endpoint: `hours` in all (None: for ever), of `longest_hours` that it may be undecided."""

    endpoint: str
    model: str
    traffic: Traffic
    needs: tuple[Need, ...]
    hours: float | None
    longest_hours: float
    power: float = sample_size.POWER
    ways_out: tuple[str, ...] = field(default=())

    @property
    def decides(self) -> bool:
        """Whether the traffic as it is decides on an equal candidate in time."""
        return self.hours is not None and self.hours <= self.longest_hours


def of_endpoint(repositories: Repositories, endpoint: Endpoint, *, now_us: Micros) -> RolloutPlan:
    """The plan of an endpoint's strategy with the traffic that it had up to a moment."""
    asked = [analysis for stage in delivery_stages.stages(endpoint.rollout) for analysis in _asked(stage, endpoint.rollout)]
    ratios = sorted({analysis.bound for analysis in asked if analysis.kind == "latency_p95"})
    tried = sorted({*ratios, *(wider for ratio in ratios for wider in _wider(Analysis("latency_p95", ratio)))})
    return plan(endpoint.name, endpoint.model, endpoint.rollout, endpoint_traffic.observed(repositories, endpoint.name, tried, now_us=now_us))


def plan(endpoint: str, model: str, strategy: Canary, traffic: Traffic) -> RolloutPlan:
    """The plan of a strategy at an endpoint with this traffic, and where it does not decide in time, what would."""
    needs, hours = _walked(strategy, traffic)
    longest = delivery_stages.longest_us(strategy) / HOUR_US if strategy.patience is None else _patient_hours(strategy)
    found = RolloutPlan(endpoint, model, traffic, tuple(needs), hours, longest)
    return found if found.decides else _with_ways_out(found, strategy)


def told(found: RolloutPlan) -> str:
    """A plan in a sentence."""
    if found.decides:
        return (
            f"an equal candidate is expected to pass after about {duration(found.hours)} (power {found.power:g}), of {duration(found.longest_hours)}"
        )
    takes = f"about {duration(found.hours)}" if found.hours is not None else "for ever"
    ways = f": {'; '.join(found.ways_out)}" if found.ways_out else ""
    return f"an equal candidate would be undecided when its {duration(found.longest_hours)} are over, it takes {takes}{ways}"


def as_plain(found: RolloutPlan) -> dict[str, Any]:
    """A plan as JSON keeps it, with whether it decides."""
    return {**plain(found), "decides": found.decides, "message": told(found)}


def duration(hours: float | None) -> str:
    """Hours as people write them."""
    if hours is None:
        return "never"
    return f"{hours / 24:.1f} days" if hours >= 72 else f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"


def _walked(strategy: Canary, traffic: Traffic) -> tuple[list[Need], float | None]:
    """The needs of every stage, and how long all take together: what passed in a stage is judged on the same rows and more in the next."""
    needs, total, cleared = list[Need](), 0.0, set[tuple[str, str]]()
    for stage in delivery_stages.stages(strategy):
        own = [_need(stage, analysis, traffic) for analysis in _asked(stage, strategy)]
        own = [replace(need, hours=0.0) if (need.analysis, need.counted) in cleared else need for need in own]
        needs += own
        hold = stage.hold_us / HOUR_US
        times = [need.hours for need in own]
        if any(each is None for each in times):
            return needs, None
        slowest = max((each for each in times if each is not None), default=0.0)
        lasts = hold * max(1, math.ceil(slowest / hold - 1e-9)) if hold else slowest
        cleared.update((need.analysis, need.counted) for need in own)
        total += lasts
    return needs, total


def _asked(stage: Stage, strategy: Canary) -> Sequence[Analysis]:
    return (stage.analyses or strategy.analysis) if stage.is_judged else ()


def _need(stage: Stage, analysis: Analysis, traffic: Traffic) -> Need:
    if analysis.kind == "metric":
        return _of_labels(stage, analysis, traffic)
    if analysis.kind == "kpi":
        return _of_outcomes(stage, analysis, traffic)
    counted = "predictions" if analysis.kind == "error_rate" else "answers" if stage.weight else "mirrored answers"
    share = 1.0 if stage.is_mirrored and (analysis.kind == "error_rate" or not stage.weight) else stage.weight / 100
    an_hour = traffic.rows_an_hour * share
    if not an_hour:
        why = "the endpoint had no traffic" if not traffic.rows_an_hour else "no request reaches the candidate in this stage"
        return Need(stage.label, analysis.kind, counted, 0.0, None, None, None, note=why)
    times = (100 - stage.weight) / 100 / share
    if analysis.kind == "error_rate":
        clears = sample_size.to_clear_errors(analysis, rate=traffic.error_rate, times=times)
        finds = sample_size.to_find_errors(analysis, rate=traffic.error_rate, times=times, factor=TIMES_ALLOWED)
    else:
        clears = sample_size.to_clear_latency(slow=traffic.slow.get(endpoint_traffic.multiple(analysis.bound), 0.0), times=times)
        finds = sample_size.to_find_latency(slow=traffic.bad_slow, times=times)
    note = "" if clears else "it allows nothing beyond what the stable version has, so an equal candidate is never told from a worse one"
    hours = clears / an_hour if clears else None
    return Need(stage.label, analysis.kind, counted, an_hour, clears, finds, hours, note=note)


def _of_outcomes(stage: Stage, analysis: Analysis, traffic: Traffic) -> Need:
    """The least that a business figure takes: how far units differ in it is not planned here, `rota experiment plan` does."""
    an_hour = traffic.rows_an_hour * stage.weight / 100
    if not an_hour:
        return Need(stage.label, f"kpi {analysis.subject}", "units", 0.0, None, None, None, note="no request reaches the candidate in this stage")
    least = effects.LEAST_UNITS
    return Need(
        stage.label, f"kpi {analysis.subject}", "units", an_hour, least, None, least / an_hour, True, "how far units differ is not known: at least"
    )


def _of_labels(stage: Stage, analysis: Analysis, traffic: Traffic) -> Need:
    counted, name = "hours with labels", f"metric {analysis.metric}"
    an_hour = traffic.hours_a_day / 24
    if missing := _unlabelled(stage, traffic):
        return Need(stage.label, name, counted, an_hour, None, None, None, note=missing)
    spread = traffic.spreads.get(analysis.metric)
    clears = sequential.LEAST_ROWS if spread is None else sample_size.to_clear_loss(analysis, spread=spread)
    note = f"labels come {duration(traffic.label_delay_hours)} after their predictions"
    note += ", how far losses differ by hour is not known yet: at least" if spread is None else ""
    hours = None if clears is None else clears / an_hour + (traffic.label_delay_hours or 0.0)
    return Need(stage.label, name, counted, an_hour, clears, None, hours, spread is None, note)


def _unlabelled(stage: Stage, traffic: Traffic) -> str:
    """Why no pair of labelled predictions is ever made; "" when they are."""
    if not stage.is_mirrored:
        return "the candidate is not mirrored"
    if not traffic.hours_a_day:
        return "the endpoint had no traffic"
    return NO_LABEL if traffic.label_delay_hours is None else ""


def _patient_hours(strategy: Canary) -> float:
    return sum(stage.hold_us for stage in delivery_stages.stages(strategy)) / HOUR_US * ((strategy.patience or 0) + 1)


def _with_ways_out(found: RolloutPlan, strategy: Canary) -> RolloutPlan:
    return replace(found, ways_out=tuple(_ways_out(found, strategy)))


def _ways_out(found: RolloutPlan, strategy: Canary) -> Iterator[str]:
    """What would decide in time: more of it, a larger margin, more weight."""
    if not found.traffic.rows_an_hour:
        yield f"no prediction was asked for in the last {found.traffic.days:g} days; send traffic, or let a person promote it"
        return
    if found.hours is not None:
        yield f'max_duration="{math.ceil(found.hours / 24)}d" is long enough'
    alone = [*_by_margin(found, strategy), *_by_weight(found, strategy)]
    yield from alone
    slowest = max(found.needs, key=lambda need: math.inf if need.hours is None else need.hours, default=None)
    if not alone and slowest is not None:
        yield f"{slowest.analysis} takes longest, in {slowest.stage}"
        yield from next(filter(None, (_by_margin(found, _heavier(strategy, each), f" and a first step of {each} percent") for each in HEAVIER)), [])
    if any(need.hours is None and need.note == NO_LABEL for need in found.needs):
        yield "send labels, or leave out the metric analysis"


def _by_margin(found: RolloutPlan, strategy: Canary, beside: str = "") -> list[str]:
    """For each analysis the least of some larger margins with which the strategy decides in time."""
    ways = []
    for number, analysis in enumerate(strategy.analysis):
        wider = (msgspec.structs.replace(analysis, bound=bound) for bound in _wider(analysis))
        fits = next((each for each in wider if _fits(found, _exchanged(strategy, number, each))), None)
        if fits is not None:
            name = f"{analysis.kind} {analysis.metric}".rstrip()
            ways.append(f"{name} with {'ratio' if analysis.kind == 'latency_p95' else 'margin'}={fits.bound:g}{beside}")
    return ways


def _by_weight(found: RolloutPlan, strategy: Canary) -> list[str]:
    weights = [stage.weight for stage in delivery_stages.stages(strategy) if stage.weight]
    heavier = (each for each in HEAVIER if weights and each > min(weights) and _fits(found, _heavier(strategy, each)))
    return [f"a first step of {each} percent" for each in heavier][:1]


def _wider(analysis: Analysis) -> list[float]:
    if analysis.kind == "latency_p95":
        return [round(1 + max(analysis.bound - 1, 0.05) * factor, 3) for factor in (1.5, 2, 3, 5, 10)]
    return [float(f"{max(analysis.bound, 0.0005) * factor:.2g}") for factor in (1.5, 2, 3, 5, 10, 20)]


def _fits(found: RolloutPlan, strategy: Canary) -> bool:
    hours = _walked(strategy, found.traffic)[1]
    return hours is not None and hours <= found.longest_hours


def _exchanged(strategy: Canary, number: int, analysis: Analysis) -> Canary:
    analyses = [analysis if position == number else each for position, each in enumerate(strategy.analysis)]
    return msgspec.structs.replace(strategy, analysis=analyses)


def _heavier(strategy: Canary, least: int) -> Canary:
    steps: list[Any] = []
    for step in strategy.steps:
        if isinstance(step, int):
            steps.append(max(step, least))
        else:
            steps.append(msgspec.structs.replace(step, weight=max(step.weight, least)) if step.kind == "set_weight" and step.weight else step)
    return msgspec.structs.replace(strategy, steps=[each for number, each in enumerate(steps) if number == 0 or each != steps[number - 1]])
