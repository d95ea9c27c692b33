"""Rollout strategies as endpoints and reviewers declare them: what a strategy can never decide is said before it is stored."""

import math
from collections.abc import Collection, Iterator
from itertools import chain

from msgspec.structs import replace

from rota.errors import InvalidInput
from rota.manage.models import delivery_stages, own_metrics
from rota.manage.models.registered_models import endpoints
from rota.ports.metadata import Metadata
from rota.problems import registry
from rota.records.release import Analysis, Canary, DeliveryStep
from rota.records.run import Problem
from rota.records.time import HOUR_US, micros
from rota.stats import sequential

MINUTE_US = HOUR_US // 60
_BETWEEN = (
    ("weight", 1, 99),
    ("looks", 1, 50),
    ("units", 0, 10**9),
    ("min_effect", 0, 1e100),
    ("power", 0.5, 0.99),
    ("alpha", 1e-6, 0.5),
    ("srm_alpha", 1e-9, 0.05),
    ("burn_in", 30, 10**9),
    ("floor", 1, 33),
    ("probability", 0.5, 0.9999),
    ("loss", 0, 1),
)
"""Fields of an experiment's test, and between which numbers each lies."""


def chosen(declared: Canary, delivery: Canary | None) -> Canary:
    """The strategy that the reviewer chose.

    Analyses, the unit of traffic and what ends an undecided rollout are the declared ones unless the review names others.
    """
    if delivery is None:
        return declared
    wanted = replace(delivery, analysis=delivery.analysis or declared.analysis, unit=delivery.unit or declared.unit)
    if delivery.patience is None and not delivery.max_duration and delivery.on_inconclusive == "hold":
        wanted = replace(wanted, patience=declared.patience, max_duration=declared.max_duration, on_inconclusive=declared.on_inconclusive)
    return wanted


def check_delivery(metadata: Metadata, model: str, delivery: Canary) -> None:
    """Raises `InvalidInput` when an endpoint of the model could never promote a version that is delivered so."""
    declared = [(endpoint.name, chosen(endpoint.rollout, delivery)) for endpoint in endpoints(metadata, model)]
    own = [metric.name for metric in own_metrics.declared(metadata, model)]
    found = [
        f"endpoint {name!r}: {fault}" for name, strategy in declared or [("any", delivery)] for fault in faults(strategy, None, own=own, at_once=True)
    ]
    if found:
        raise InvalidInput(f"this delivery of {model!r} cannot work: {'; '.join(found)}", model=model)


def faults(strategy: Canary, problem: Problem | None, *, own: Collection[str] = (), at_once: bool = False) -> list[str]:
    """What can never work in a strategy, a sentence each. `problem` is the model's, where it is known, `own` names the metrics of its team's own.

    `at_once` allows a strategy without any step although it has analyses: a reviewer may decide to deliver without a judge.
    """
    found = list(chain.from_iterable(_analysis_faults(number, analysis, problem, own) for number, analysis in enumerate(strategy.analysis)))
    found += _experiment_faults(strategy, problem)
    pairs = [(analysis.kind, analysis.subject) for analysis in strategy.analysis]
    found += [
        f"analysis {kind} {name}".rstrip() + " is there twice; give it one bound"
        for kind, name in dict.fromkeys(pairs)
        if pairs.count((kind, name)) > 1
    ]
    found += _duration_faults(strategy)
    found += _end_faults(strategy)
    if found:
        return found
    if not any(stage.is_judged for stage in delivery_stages.stages(strategy)):
        asked = [analysis.kind for analysis in strategy.analysis]
        return [f"analysis {asked} is never asked: there are no steps and no shadow; add a step, or leave the analysis out"] * bool(
            asked and not at_once
        )
    return list(_hour_faults(strategy)) if strategy.experiment is None else []


def _analysis_faults(number: int, analysis: Analysis, problem: Problem | None, own: Collection[str]) -> Iterator[str]:
    field = f"analysis[{number}] {analysis.kind}"
    if not math.isfinite(analysis.bound):
        yield f"{field}: its bound is {analysis.bound}; give a finite number"
    elif analysis.kind == "error_rate":
        if not 0 <= analysis.bound < 1:
            yield f"{field}: margin = {analysis.bound:g} is a difference of shares; give a number from 0 to below 1"
        if not 1 <= analysis.ratio < math.inf:
            yield f"{field}: ratio = {analysis.ratio:g} is how many times as often it may fail; give a number from 1"
        if analysis.at_least < 0:
            yield f"{field}: at_least = {analysis.at_least} is a number of failures; give 0 or more"
    elif analysis.kind == "latency_p95" and analysis.bound <= 0:
        yield f"{field}: ratio = {analysis.bound:g} must be positive; 1.2 allows a fifth more"
    elif analysis.kind == "kpi" and analysis.bound < 0:
        yield f"{field}: margin = {analysis.bound:g} is by how much the figure may be worse; give a number from 0"
    if analysis.kind != "metric":
        return
    known = [name for name, kind in registry.PROBLEMS.items() if analysis.metric in kind.losses or analysis.metric in kind.metrics]
    if analysis.metric in own:
        return
    if not known:
        every = sorted({*registry.loss_names(), *registry.metric_names(), *own})
        yield f"{field}: the metric {analysis.metric!r} is unknown; a rollout can be judged by {every}"
    elif problem is not None and problem in registry.PROBLEMS and problem not in known:
        usable = list(dict.fromkeys([*registry.PROBLEMS[problem].losses, *registry.PROBLEMS[problem].metrics, *own]))
        yield f"{field}: {analysis.metric!r} belongs to {', '.join(known)}, and the model's problem is {problem}; use {usable}"


def _experiment_faults(strategy: Canary, problem: Problem | None) -> Iterator[str]:
    """What can never decide in an A/B test or a bandit."""
    if (strategy.strategy in ("ab", "bandit")) != (strategy.test is not None):
        yield f"strategy = {strategy.strategy!r} with test = {strategy.test}: write rota.ab_test(...) or rota.bandit(...)"
        return
    if (test := strategy.test) is None:
        return
    yield from (fault.replace("analysis[0]", "primary") for fault in _analysis_faults(0, test.primary, problem, ()))
    for each in (test.primary, *strategy.analysis):
        if each.kind == "metric" and not registry.loss_problems(each.metric) and not list(_analysis_faults(0, each, problem, ())):
            yield f"metric {each.metric!r} is no loss of single predictions, which an experiment needs; use one of {registry.loss_names()}"
    if test.primary.kind == "latency_p95":
        yield "primary = latency_p95: an experiment is decided by a figure of its units; make it a guardrail"
    if test.is_bandit != (strategy.strategy == "bandit"):
        yield f"design = {test.design!r} is none of strategy = {strategy.strategy!r}; write rota.ab_test(...) or rota.bandit(...)"
    if test.design == "group_sequential" and not test.units and not test.min_effect:
        yield "a planned test needs units, or min_effect, the smallest difference worth finding, from which they are planned"
    for name, lowest, highest in _BETWEEN:
        if not lowest <= (value := getattr(test, name)) <= highest:
            yield f"{name} = {value:g}: give a number from {lowest:g} to {highest:g}"
    if micros(strategy.hold) < MINUTE_US:
        yield f"hold = {strategy.hold!r} is the time between two looks; give a minute or more"
    if strategy.on_inconclusive == "promote" or strategy.patience is not None:
        yield 'an undecided experiment is never promoted: leave patience out, and on_inconclusive is "hold" or "roll_back"'


def _duration_faults(strategy: Canary) -> Iterator[str]:
    short = any(not isinstance(step, DeliveryStep) for step in strategy.steps)
    if short and micros(strategy.hold) < 1 and strategy.analysis:
        yield f"hold = {strategy.hold!r}: each step would be judged before it had any traffic"
    elif any(stage.is_judged and not stage.hold_us and not stage.waits for stage in delivery_stages.stages(strategy)):
        yield 'an analysis step has no pause before it: it would be judged before it had any traffic; write pause("30m"), analysis()'
    if strategy.strategy == "canary" or (strategy.experiment is not None and not strategy.steps):
        return
    if strategy.steps:
        there = ", ".join(map(str, strategy.steps))
        yield f"strategy = {strategy.strategy!r} has no steps, and {there} are there; leave them out, or deliver as a canary"
    if not micros(strategy.shadow):
        yield f"strategy = {strategy.strategy!r} mirrors the candidate for shadow = {strategy.shadow!r}; give it some time"


def _end_faults(strategy: Canary) -> Iterator[str]:
    """What is said twice, or wrongly, of how an undecided rollout ends."""
    if strategy.patience is not None and strategy.patience < 0:
        yield f"patience = {strategy.patience} is negative; 0 rolls back at the first hold that decides nothing"
    elif strategy.patience is not None and (strategy.max_duration or strategy.on_inconclusive != "hold"):
        yield (
            f"patience = {strategy.patience} rolls back what is undecided after so many holds, and max_duration = {strategy.max_duration!r} with "
            f'on_inconclusive = {strategy.on_inconclusive!r} say something else; leave patience out (max_duration="1d", on_inconclusive="roll_back")'
        )
    if strategy.max_duration and micros(strategy.max_duration) < sum(stage.hold_us for stage in delivery_stages.stages(strategy)):
        yield f"max_duration = {strategy.max_duration!r} is over before its stages are: shadow and holds take longer together"


def _hour_faults(strategy: Canary) -> Iterator[str]:
    """A loss is compared hour by hour and says nothing below so many hours: what ends by itself must last as long."""
    if strategy.patience is not None:
        stage = f"shadow = {strategy.shadow!r}" if micros(strategy.shadow) else f"hold = {strategy.hold!r}"
        longest = f"{stage} with patience = {strategy.patience}"
        hours = delivery_stages.stages(strategy)[0].hold_us * (strategy.patience + 1) / HOUR_US
        end, way_out = "rolled back", 'hold longer, for example shadow="2d"'
    else:
        longest, hours = f"max_duration = {strategy.max_duration!r}", delivery_stages.longest_us(strategy) / HOUR_US
        end, way_out = "promoted unjudged" if strategy.on_inconclusive == "promote" else "rolled back", 'allow more, for example max_duration="7d"'
    if strategy.on_inconclusive == "hold" and strategy.patience is None:
        return  # it waits for its hours; an alert says so
    for analysis in strategy.analysis:
        if analysis.kind == "metric" and hours < sequential.LEAST_ROWS:
            yield (
                f"metric {analysis.metric!r} is judged on at least {sequential.LEAST_ROWS} hours with labels, but {longest} gives up after "
                f"{hours:g} hours, so every version would be {end}; {way_out}"
            )
