"""What rollouts are judged by beyond latency and errors: losses of rows, metrics of a problem, and metrics of a team's own, hour by hour.

A loss is compared prediction by prediction, as both versions answered it. A metric is a number of many rows: it is measured of all labelled
predictions of an hour that both versions made, once with the answers of each. Differences are positive where the candidate is worse. An hour on
which a metric of either is not defined is left out, and told.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.models.own_metrics import PartMeasured, TeamMetrics
from rota.manage.repositories import Repositories
from rota.manage.signals import label_domain
from rota.manage.signals.label_domain import DeclaredProblem
from rota.problems import registry
from rota.problems.problem_type import ScoredRows
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.release import Rollout
from rota.records.time import HOUR_US

_COLUMNS: dict[str, type[pl.DataType]] = {"hour": pl.Int64, "rows": pl.Int64, "difference": pl.Float64}


@dataclass(frozen=True, slots=True)
class MetricHours:
    """Columns `hour`, `rows`, `difference` of the hours that can be compared, and how many others cannot, where the metric is not defined.

    `unmeasured` says what keeps the metric from being measured at all ("": nothing): then nothing is judged by it, whatever the hours say.
    """

    hours: pl.DataFrame
    undefined: int = 0
    unmeasured: str = ""


@dataclass(frozen=True, slots=True)
class _Arm:
    """One version of a rollout: the problem that it declares, and its labelled predictions of the role in which both are compared."""

    number: int
    problem: DeclaredProblem
    rows: pl.DataFrame
    scored: ScoredRows


def compared(repositories: Repositories, rollout: Rollout, rows: pl.DataFrame, name: str, team: TeamMetrics | None) -> MetricHours:
    """The hours of a rollout by the loss or metric `name`; `rows` are those of the log with their labels, `team` what calls a team's own metrics.

    Raises `InvalidInput` for a name that nobody knows, and for one of Rota's that the problem of a version does not have.
    """
    if not is_rotas(name):
        return _by_own(repositories, rollout, rows, name, team)
    arms = _arms(repositories, rollout, rows, name)
    for arm in arms:
        kind = arm.problem.kind
        if name not in kind.losses and name not in kind.metrics:
            raise InvalidInput(
                f"version {arm.number} of {rollout.model!r} solves a {kind.name}, which is not compared by {name!r}; its losses are "
                f"{list(kind.losses)}, its metrics {list(kind.metrics)}",
                version=arm.number,
                metric=name,
            )
    if all(name in arm.problem.kind.losses for arm in arms):
        return MetricHours(_of_losses(arms, name))
    hours, parts = _both(arms)
    metric = arms[0].problem.kind.metrics[name]
    return _differences(name, hours, [PartMeasured({name: metric.function(part)}) for part in parts], higher_is_better=metric.higher_is_better)


def is_rotas(name: str) -> bool:
    """Whether a loss or a metric is one of Rota's, which anybody computes who has the log; a team's own is called by workers alone."""
    return name in registry.loss_names() or name in registry.metric_names()


def _by_own(repositories: Repositories, rollout: Rollout, rows: pl.DataFrame, name: str, team: TeamMetrics | None) -> MetricHours:
    own = team.named(name) if team is not None else None
    if own is None or team is None:
        others = f", and by the metrics that the deployed pipeline {rollout.model!r} declares: {[each.name for each in team.metrics] if team else []}"
        known = sorted({*registry.loss_names(), *registry.metric_names()})
        raise InvalidInput(f"analysis metric {name!r} is unknown; a rollout can be judged by {known}{others}", metric=name)
    hours, parts = _both(_arms(repositories, rollout, rows, name))
    return _differences(name, hours, team.calls.each([own], parts), higher_is_better=own.higher_is_better)


def _arms(repositories: Repositories, rollout: Rollout, rows: pl.DataFrame, name: str) -> list[_Arm]:
    """The candidate mirrored, and the stable version."""
    found = []
    for number, role in ((rollout.candidate, "shadow"), (rollout.champion, "stable")):
        version = repositories.metadata.get(ModelVersion, rollout.model, number)
        problem = DeclaredProblem(_usual_problem(name))  # of a version whose bundle is gone
        if version is not None and version.bundle and repositories.blobs.exists(version.bundle):
            problem = label_domain.of_bundle(decode(repositories.blobs.get(version.bundle), ModelBundle))
        own = rows.filter((pl.col("error") == "") & (pl.col("role") == role) & (pl.col("number") == number))
        measured, scored = label_domain.measured(own, problem)
        found.append(_Arm(number, problem, measured, scored))
    return found


def _usual_problem(name: str) -> str:
    known = registry.loss_problems(name) or [each for each, kind in registry.PROBLEMS.items() if name in kind.metrics]
    return known[0] if known else next(iter(registry.PROBLEMS))


def _of_losses(arms: list[_Arm], name: str) -> pl.DataFrame:
    """Mean loss of the candidate minus the stable one's, on the very same predictions of each hour."""
    lost = [arm.rows.select("prediction_id", "at_us", pl.Series("loss", arm.problem.kind.losses[name](arm.scored)).fill_nan(None)) for arm in arms]
    candidate, stable = (each.filter(pl.col("loss").is_not_null()) for each in lost)
    pairs = stable.join(candidate.select("prediction_id", candidate="loss"), on="prediction_id", how="inner")
    hour = (pl.col("at_us") // HOUR_US).alias("hour")
    hourly = pairs.select(hour, (pl.col("candidate") - pl.col("loss")).alias("difference")).group_by("hour")
    return hourly.agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("difference").mean()).sort("hour").select(*_COLUMNS)


def _both(arms: list[_Arm]) -> tuple[pl.DataFrame, list[ScoredRows]]:
    """Columns `hour` and `rows` of the hours with labelled predictions of both versions; the rows of each hour by the candidate, then by stable."""
    candidate, stable = (arm.rows.select("prediction_id", "at_us").with_row_index("place") for arm in arms)
    first = candidate.unique("prediction_id", keep="first").select("prediction_id", candidate="place")
    pairs = stable.unique("prediction_id", keep="first").join(first, on="prediction_id", how="inner")
    hourly = pairs.with_columns((pl.col("at_us") // HOUR_US).alias("hour")).sort("hour", "place").group_by("hour", maintain_order=True)
    hours = hourly.agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("candidate"), pl.col("place").alias("stable"))
    parts = [
        arm.scored.at(np.array(places, dtype=np.int64)) for arm, side in zip(arms, ("candidate", "stable"), strict=True) for places in hours[side]
    ]
    return hours.select("hour", "rows"), parts


def _differences(name: str, hours: pl.DataFrame, measured: list[PartMeasured], *, higher_is_better: bool) -> MetricHours:
    """How much worse the candidate was in each hour; `measured` are its hours, then those of the stable version."""
    values = np.array([part.values.get(name, np.nan) for part in measured], dtype=np.float64).reshape(2, -1)
    worse = (values[1] - values[0]) if higher_is_better else (values[0] - values[1])
    found = hours.with_columns(pl.Series("difference", worse, dtype=pl.Float64).fill_nan(None)).filter(pl.col("difference").is_not_null())
    faults = [part.failed[name] for part in measured if part.is_faulty(name)]
    return MetricHours(found.select(*_COLUMNS), hours.height - found.height, faults[0] if faults else "")
