"""Rollout strategies as endpoints and reviewers declare them: what a strategy can never decide is said before it is stored."""

import math
from collections.abc import Iterator
from itertools import chain

from msgspec.structs import replace

from rota.errors import InvalidInput
from rota.manage.models.registered_models import endpoints
from rota.ports.metadata import Metadata
from rota.problems import registry
from rota.records.release import Analysis, Canary
from rota.records.run import Problem
from rota.records.time import HOUR_US, Micros, micros
from rota.stats import sequential


def chosen(declared: Canary, delivery: Canary | None) -> Canary:
    """The strategy that the reviewer chose; analyses and the unit of traffic are the declared ones unless the review names others."""
    if delivery is None:
        return declared
    return replace(delivery, analysis=delivery.analysis or declared.analysis, unit=delivery.unit or declared.unit)


def check_delivery(metadata: Metadata, model: str, delivery: Canary) -> None:
    """Raises `InvalidInput` when an endpoint of the model could never promote a version that is delivered so."""
    declared = [(endpoint.name, chosen(endpoint.rollout, delivery)) for endpoint in endpoints(metadata, model)]
    found = [f"endpoint {name!r}: {fault}" for name, strategy in declared or [("any", delivery)] for fault in faults(strategy, None, at_once=True)]
    if found:
        raise InvalidInput(f"this delivery of {model!r} cannot work: {'; '.join(found)}", model=model)


def faults(strategy: Canary, problem: Problem | None, *, at_once: bool = False) -> list[str]:
    """What can never work in a strategy, a sentence each. `problem` is the model's, where it is known.

    `at_once` allows a strategy without any step although it has analyses: a reviewer may decide to deliver without a judge.
    """
    found = list(chain.from_iterable(_analysis_faults(number, analysis, problem) for number, analysis in enumerate(strategy.analysis)))
    pairs = [(analysis.kind, analysis.metric) for analysis in strategy.analysis]
    found += [
        f"analysis {kind} {name}".rstrip() + " is there twice; give it one bound"
        for kind, name in dict.fromkeys(pairs)
        if pairs.count((kind, name)) > 1
    ]
    found += _duration_faults(strategy)
    if strategy.patience < 0:
        found.append(f"patience = {strategy.patience} is negative; 0 rolls back at the first hold that decides nothing")
    if found:
        return found
    first_us = _first_hold_us(strategy)
    if not first_us:
        asked = [analysis.kind for analysis in strategy.analysis]
        return [f"analysis {asked} is never asked: there are no steps and no shadow; add a step, or leave the analysis out"] * bool(
            asked and not at_once
        )
    return list(_hour_faults(strategy, first_us))


def _analysis_faults(number: int, analysis: Analysis, problem: Problem | None) -> Iterator[str]:
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
    if analysis.kind != "metric":
        return
    known = registry.loss_problems(analysis.metric)
    if not known:
        yield f"{field}: the metric {analysis.metric!r} is unknown; a rollout can be judged by {registry.loss_names()}"
    elif problem is not None and problem in registry.PROBLEMS and problem not in known:
        usable = list(registry.PROBLEMS[problem].losses)
        yield f"{field}: {analysis.metric!r} is a loss of {', '.join(known)}, and the model's problem is {problem}; use {usable}"


def _duration_faults(strategy: Canary) -> Iterator[str]:
    if strategy.steps and micros(strategy.hold) < 1 and strategy.analysis:
        yield f"hold = {strategy.hold!r}: each step would be judged before it had any traffic"


def _first_hold_us(strategy: Canary) -> Micros:
    """How long a candidate has, patience included, before the first stage must have passed; 0 when nothing is held."""
    shadow_us = micros(strategy.shadow)
    hold_us = shadow_us or (micros(strategy.hold) if strategy.steps else 0)
    return hold_us * (strategy.patience + 1)


def _hour_faults(strategy: Canary, first_us: Micros) -> Iterator[str]:
    """A loss is compared hour by hour and says nothing below so many hours: the first stage must last as long."""
    hours = first_us / HOUR_US
    stage = f"shadow = {strategy.shadow!r}" if micros(strategy.shadow) else f"hold = {strategy.hold!r}"
    for analysis in strategy.analysis:
        if analysis.kind == "metric" and hours < sequential.LEAST_ROWS:
            yield (
                f"metric {analysis.metric!r} is judged on at least {sequential.LEAST_ROWS} hours with labels, but {stage} with patience = "
                f"{strategy.patience} gives up after {hours:g} hours, so every version would be rolled back; "
                'hold longer, for example shadow="2d"'
            )
