"""Drift of features that are lists of one length: the mean of a day against that of the baseline, and on demand a classifier between two samples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices, schemas
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log
from rota.manage.signals.alerts import Breach
from rota.monitor.breaches import Checked
from rota.records.check import CheckResult
from rota.records.dataset import DatasetVersion
from rota.records.release import Endpoint
from rota.records.schema import Schema, VectorMoments
from rota.records.signal import AlertKind, Monitor, MonitorSlice
from rota.records.time import DAY_US
from rota.stats import embedding_drift, sketches
from rota.stats.drift import LEAST_ROWS
from rota.stats.embedding_drift import LEAST_SAMPLE, ShiftVerdict, TwoSampleVerdict

TESTED_DAYS = 7
MOST_ROWS = 20_000
"""Rows of each sample that a classifier is fitted on and tried with, spread evenly over those there are."""


@dataclass(frozen=True, slots=True)
class VectorDays:
    """The slices that tell what is normal, `trained` ones first, and whether the trained days are days at all."""

    trained: Sequence[MonitorSlice]
    served: Sequence[MonitorSlice]
    undated: bool = False


def of_day(monitor: Monitor, schema: Schema, days: VectorDays, *, day: int) -> Checked:
    """Whether the means of the newest days moved, for each feature that is a list of one length: a result each, and a breach for those that did."""
    names = sketches.vector_names([b.name for b in schema.bins])
    found = Checked()
    for name in names:
        verdict = _verdict(name, monitor, days, features=len(names) + len(schema.bins))
        found += _checked(name, verdict, day)
    return found


def two_sample(repositories: Repositories, endpoint: str, feature: str, *, days: int = TESTED_DAYS) -> TwoSampleVerdict:
    """A classifier between the vectors that an endpoint was served with in its newest complete days and those that its model was trained on.

    Raises `NotFound` for an endpoint, a schema or training rows that are not there, `InvalidInput` for a feature that is no list of one length.
    """
    if days < 1:
        raise InvalidInput(f"days={days}: at least one day is compared", days=days)
    found = repositories.metadata.get(Endpoint, endpoint)
    if found is None:
        raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
    schema = schemas.serving(repositories.metadata, found.model)
    name, _, number = schema.dataset.partition("@") if schema else ("", "", "")
    dataset = repositories.metadata.get(DatasetVersion, name, int(number)) if number.isdecimal() else None
    if schema is None or dataset is None:
        raise NotFound(f"model {found.model!r} has no training rows to compare with; `rota models baseline` gives it some", model=found.model)
    names = sketches.vector_names([b.name for b in schema.bins])
    if feature not in names:
        raise InvalidInput(f"feature {feature!r} is no list of one length that {found.model!r} reads; those are {names or 'none'}", feature=feature)
    prediction_log.flush(repositories.journal, repositories.tables, endpoint)
    end_us = daily_slices.day_of(repositories.clock.now_us())
    served = prediction_log.read(repositories.tables, endpoint, end_us - days * DAY_US, end_us)
    served = served.filter((pl.col("role") != "shadow") & (pl.col("error") == ""))
    trained = datasets.read(repositories.tables, dataset).filter(~pl.col(datasets.TEST))
    return embedding_drift.two_sample_test(*(sketches.vectors(_thinned(rows), feature) for rows in (trained, served)))


def sentence(verdict: TwoSampleVerdict) -> str:
    """What a two-sample test found, for people."""
    if verdict.state == "cannot":
        return f"could not be judged: the smaller sample has {verdict.rows} vectors, {LEAST_SAMPLE} are needed"
    told = f"a linear classifier tells {verdict.accuracy:.1%} of {verdict.rows} vectors apart, a coin half of them (p {verdict.p_value:.1g})"
    return f"{told}: the vectors differ" if verdict.state == "different" else f"{told}: no difference is seen"


def plain_verdict(verdict: TwoSampleVerdict) -> dict[str, Any]:
    """A verdict as JSON has it; what could not be computed is null."""
    numbers = {"accuracy": verdict.accuracy, "p_value": verdict.p_value}
    return {"state": verdict.state, "rows": verdict.rows, **{name: None if math.isnan(number) else number for name, number in numbers.items()}}


def _thinned(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.gather_every(max(1, rows.height // MOST_ROWS))


def _verdict(name: str, monitor: Monitor, days: VectorDays, *, features: int) -> ShiftVerdict:
    served = list(days.served)
    newest = [_of(s, name) for s in served[-monitor.gap_days :]]
    width = next((len(each.mean) for each in reversed(newest) if each.count), 0)
    own = [each for s in served[: -monitor.gap_days] if (each := _of(s, name)).count and len(each.mean) == width]
    trained = [each for s in days.trained if (each := _of(s, name)).count and len(each.mean) == width]
    normal = trained or own
    reference = reduce(embedding_drift.together, normal, VectorMoments())
    before = [*(() if days.undated else trained), *own][-monitor.reference_days :]
    known = [each for each in newest if len(each.mean) in (0, width)]
    budget = monitor.expected_days_between_false_alarms
    return embedding_drift.shift_of_days(reference, before, known, features=features, days_between_false_alarms=budget)


def _of(slice_: MonitorSlice, name: str) -> VectorMoments:
    return slice_.vectors.get(name, VectorMoments())


def _checked(name: str, verdict: ShiftVerdict, day: int) -> Checked:
    check: AlertKind = "drift"
    if verdict.state == "learning":
        missing = f"{verdict.days} of {verdict.needed} days with {LEAST_ROWS} vectors"
        missing += f"; {verdict.rows} vectors on the newest day" if verdict.rows < LEAST_ROWS else ""
        state = "cannot" if verdict.rows < LEAST_ROWS else "learning"
        return Checked((CheckResult(check, "inconclusive", f"could not be judged: {missing}", name, missing, state, rows=verdict.rows),))  # type: ignore[arg-type]
    message = (
        f"the mean of the vectors lies {verdict.shift:.2f} of their spread from the baseline's, {verdict.limit:.2f} at most in {verdict.days} days "
        f"before ({verdict.run} of {verdict.run_needed} days in a row beyond)"
    )
    outcome = CheckResult(check, "fail" if verdict.alarm else "pass", message, name, observed=verdict.shift, bound=verdict.limit, rows=verdict.rows)
    if not verdict.alarm:
        return Checked((outcome,))
    evidence = {"day_us": day, "rule": "mean shift", "shift": verdict.shift, "limit": verdict.limit, "run": verdict.run}
    return Checked((outcome,), (Breach(check, name, "warning", f"{name}: {message}", evidence),))
