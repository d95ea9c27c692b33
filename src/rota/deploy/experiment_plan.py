"""How many units an experiment takes and how long these take to come, from the traffic, outcomes and labels that its endpoint really has."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import polars as pl

from rota.deploy import experiment_judge, row_losses, unit_figures
from rota.deploy.rollout_plan import duration
from rota.errors import InvalidInput, Refused
from rota.manage.models import delivery_stages, model_aliases
from rota.manage.repositories import Repositories
from rota.manage.signals import labels, prediction_log
from rota.records.record import plain
from rota.records.release import Canary, Endpoint, Rollout, TrafficTest
from rota.records.time import DAY_US, HOUR_US, Micros, micros
from rota.stats import effects, group_sequential, sequential
from rota.stats.effects import Floats

MOST_ARMS = 20
DAYS = 28
"""Days of the log that a plan reads, at most."""


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """What an experiment is expected to take, by the last `days`.

    `value` is the champion's primary figure and `spread` the standard deviation of a unit's value, after CUPED, which takes the share `explained` of
    the variance. `units` of all arms together find a difference of `min_effect`, in the figure's own unit, with `power`; `hours` is how long
    they take to come and their windows to close. What is not known is None, and `missing` says why.
    """

    endpoint: str
    model: str
    figure: str
    design: str
    days: float
    seen_units: int
    units_a_day: float
    value: float | None
    spread: float | None
    explained: float
    units: int | None
    min_effect: float | None
    power: float
    hours: float | None
    longest_hours: float
    missing: str = ""
    ways_out: tuple[str, ...] = ()

    @property
    def decides(self) -> bool:
        """Whether the units come before the experiment's time is over."""
        return self.hours is not None and self.hours <= self.longest_hours


def of_endpoint(repositories: Repositories, endpoint: Endpoint, *, now_us: Micros, arms: int = 1) -> ExperimentPlan:
    """The plan of an endpoint's experiment with `arms` candidates. Raises `Refused` for a strategy that is no experiment."""
    test = endpoint.rollout.experiment
    if test is None:
        raise Refused(f"endpoint {endpoint.name!r} delivers by {endpoint.rollout.strategy!r}; give it rollout=rota.ab_test(...) or rota.bandit(...)")
    if not 1 <= arms <= MOST_ARMS:
        raise InvalidInput(f"arms={arms}: an experiment compares 1 to {MOST_ARMS} versions with the champion", arms=arms)
    units, days = _units_of(repositories, endpoint, test, now_us=now_us)
    values, explained = _values(units, test.cuped)
    spread = float(values.std(ddof=1)) if len(values) > 1 else None
    found = ExperimentPlan(
        endpoint=endpoint.name,
        model=endpoint.model,
        figure=test.primary.subject or test.primary.kind,
        design=test.design,
        days=days,
        seen_units=units.height,
        units_a_day=units.height / days if days else 0.0,
        value=float(values.mean()) if len(values) else None,
        spread=spread,
        explained=explained,
        units=None,
        min_effect=test.min_effect or None,
        power=test.power,
        hours=None,
        longest_hours=delivery_stages.longest_us(endpoint.rollout) / HOUR_US,
    )
    found = _sized(found, test, arms)
    if found.units and found.units_a_day:
        found = replace(found, hours=found.units / found.units_a_day * 24 + micros(test.window) / HOUR_US)
    return replace(found, ways_out=tuple(_ways_out(found, test, arms)))


def with_units(strategy: Canary, found: ExperimentPlan) -> Canary:
    """The strategy with the units that were planned. Raises `Refused` where a planned test has none and they cannot be planned."""
    test = strategy.experiment
    if test is None or test.design != "group_sequential" or test.units:
        return strategy
    if not found.units:
        raise Refused(
            f"the A/B test at endpoint {found.endpoint!r} cannot be planned: {found.missing}; give ab_test(units=...), or "
            "design='always_valid', which needs no plan",
            endpoint=found.endpoint,
        )
    return msgspec.structs.replace(strategy, test=msgspec.structs.replace(test, units=found.units))


def told(found: ExperimentPlan) -> str:
    """A plan in a sentence."""
    if found.units is None:
        return f"not planned: {found.missing}"
    finds = f"find a difference of {found.min_effect:.3g} in {found.figure} with power {found.power:g}" if found.min_effect else "are looked at"
    text = f"{found.units:,} units {finds}; they come in about {duration(found.hours)}, of {duration(found.longest_hours)}"
    ways = f": {'; '.join(found.ways_out)}" if found.ways_out else ""
    return text if found.decides else f"{text}, so it would be undecided when its time is over{ways}"


def as_plain(found: ExperimentPlan) -> dict[str, Any]:
    """A plan as JSON keeps it, with whether it decides."""
    return {**plain(found), "decides": found.decides, "message": told(found)}


def _units_of(repositories: Repositories, endpoint: Endpoint, test: TrafficTest, *, now_us: Micros) -> tuple[pl.DataFrame, float]:
    """What the units of the last DAYS did under the versions that answered, and over how many days they came."""
    prediction_log.flush(repositories.journal, repositories.tables, endpoint.name)
    labels.flush(repositories.journal, repositories.tables, endpoint.name)
    start_us, window_us = now_us - DAYS * DAY_US, micros(test.window)
    rows = labels.joined(repositories.tables, endpoint.name, start_us, now_us + 1, known_until_us=now_us, features=bool(test.cuped))
    champion = model_aliases.aliased_version(repositories.metadata, endpoint.model)
    rows = rows.filter((pl.col("model") == endpoint.model) & (pl.col("role") != "shadow") & pl.col("routed_by").is_null())
    if rows.is_empty() or champion is None:
        return rows.head(0), 0.0
    days = max(now_us - int(rows["at_us"].min()), HOUR_US) / DAY_US  # type: ignore[arg-type]
    rows = rows.filter((pl.col("number") == champion.number) & (pl.col("at_us") <= now_us - window_us)).with_columns(
        pl.lit(1, dtype=pl.Int64).alias("period")
    )
    if test.primary.kind == "metric":
        of_champion = Rollout("", endpoint.name, endpoint.model, champion.number, champion.number, "canary", 0, start_us)
        rows = rows.hstack([row_losses.losses(repositories, of_champion, rows, test.primary.metric)])
    rows = unit_figures.with_outcomes(repositories, endpoint.name, rows, [test.primary], known_until_us=now_us, window_us=window_us)
    return unit_figures.of_units(rows, [test.primary], test.cuped), days


def _values(units: pl.DataFrame, cuped: str) -> tuple[Floats, float]:
    if units.is_empty():
        return np.empty(0), 0.0
    values = effects.linearized(units["over 0"].to_numpy(), units["under 0"].to_numpy())
    if not cuped or not len(values):
        return values, 0.0
    (values,), share = effects.adjusted([values], [units["covariate"].fill_null(math.nan).to_numpy()])
    return values, share


def _sized(found: ExperimentPlan, test: TrafficTest, arms: int) -> ExperimentPlan:
    """The plan with its units, and the smallest difference that these find."""
    if test.is_bandit:
        return replace(found, units=test.burn_in * (arms + 1))
    if not found.spread:
        why = "no unit came in these days" if not found.seen_units else f"no outcome or label that varies is known for {found.figure}"
        return replace(found, units=test.units or None, missing=why)
    if test.units:
        return replace(found, min_effect=found.min_effect or _smallest(found.spread, test, arms))
    if not test.min_effect:
        return replace(found, missing="neither units nor min_effect is given")
    return replace(found, units=_needed(found.spread, test.min_effect, test, arms))


def _needed(spread: float, effect: float, test: TrafficTest, arms: int) -> int:
    """Units of all arms together for one arm's comparison to find an effect."""
    shares = experiment_judge.split(test, 0, range(1, arms + 1))
    pair = shares[1] + shares[0]
    share, alpha = shares[1] / pair, test.alpha / arms
    if test.design == "group_sequential":
        own = group_sequential.needed_units(spread**2, effect, looks=test.looks, alpha=alpha, power=test.power, share=share)
    else:
        own = _needed_always_valid(spread**2 * (1 / share + 1 / (1 - share)), effect, alpha=alpha, power=test.power)
    return math.ceil(own * 100 / pair)


def _needed_always_valid(variance: float, effect: float, *, alpha: float, power: float) -> int:
    """Units by which a confidence sequence excludes 0 with this power at that look; an earlier one may have done so."""
    level = sequential.Level(alpha, experiment_judge.TUNED_FOR)
    beyond = group_sequential.normal_quantile(power)
    low, high = 1, 2
    while not _excludes(high, variance, effect, level, beyond):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _excludes(middle, variance, effect, level, beyond) else (middle, high)
    return high


def _excludes(units: int, variance: float, effect: float, level: sequential.Level, beyond: float) -> bool:
    return abs(effect) >= math.sqrt(variance) * (sequential.half_width(units, level) + beyond / math.sqrt(units))


def _smallest(spread: float, test: TrafficTest, arms: int) -> float:
    """The difference that the given units find; units go with one over its square where the test is planned."""
    low, high = spread * 1e-6, spread * 100
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _needed(spread, middle, test, arms) <= test.units else (middle, high)
    return high


def _ways_out(found: ExperimentPlan, test: TrafficTest, arms: int) -> Iterator[str]:
    """What would decide in time."""
    if found.decides or found.units is None:
        return
    if found.hours is None:
        yield "send traffic with the unit's field; no unit came in these days"
        return
    yield f'max_duration="{math.ceil(found.hours / 24)}d" is long enough'
    hours = found.longest_hours - micros(test.window) / HOUR_US
    affordable = int(found.units_a_day * hours / 24)
    if found.spread and affordable > 1 and not test.is_bandit:
        least = _smallest(found.spread, msgspec.structs.replace(test, units=affordable), arms)
        yield f"min_effect={least:.3g} is what {affordable:,} units find in that time"
    if not test.cuped and not test.is_bandit:
        yield "cuped=FEATURE takes the squared correlation of a stored feature with the figure from the units"
