"""Gate 1: is the fresh data what the schema says, and unlike the days before for no faulty reason?

The active schema is the last frozen version, in its environment TRAINING; what each anomaly does stands in the schema's policies.
By default schema anomalies fail, a drifting distribution warns (drift is why one retrains), a known fault fails: a feed that
changed its unit would train the model on nonsense. An open critical data alert of monitoring fails too: it saw the fault being served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices, slice_checks
from rota.manage.datasets.schema_inference import as_model_sees, describe, following, of_dataset
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records.check import CheckResult
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.release import Endpoint
from rota.records.schema import TRAINING, Anomaly, ColumnStatistics, Schema, Statistics
from rota.records.signal import Alert, MonitorSlice
from rota.records.time import Micros, iso
from rota.stats import sketches
from rota.stats.schema_validation import decide, validate

SERVED_DAYS = 7
FOUND_HERE = ("KNOWN_FAULT", "OPEN_ALERT", "FEATURE_ALL_NULL")


@dataclass(frozen=True, slots=True)
class DataVerdict:
    """Statistics of the data and every anomaly found; those of severity "fail" refuse it. `checks` tell what could be judged at all."""

    statistics: Statistics
    anomalies: tuple[Anomaly, ...]
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Controls:
    """What the schema's comparators compare with: statistics of the data before, and of what is being served."""

    previous: Statistics | None = None
    serving: Statistics | None = None


def active_schema(
    present: Schema | None, name: str, definition: DatasetDefinition, rows: pl.DataFrame, dataset: DatasetVersion, *, now_us: Micros
) -> Schema:
    """The schema that a pipeline's data are held against, `present` itself unless there is none yet or features were changed.

    The first dataset's schema becomes active. When an applied release changed the features, the active schema follows: what it says of the
    unchanged ones stays, the others are inferred (docs/decisions/0010-schema-follows-release.md).
    """
    if present is None:
        return infer(definition, rows, name, dataset, now_us=now_us)
    followed = following(present, definition, rows, dataset)
    return present if followed is present else msgspec.structs.replace(followed, frozen_us=_after(present, now_us))


def infer(definition: DatasetDefinition, rows: pl.DataFrame, name: str, dataset: DatasetVersion, *, now_us: Micros) -> Schema:
    """The schema of a dataset's training rows, frozen at once; `rota data schema show` shows it."""
    return msgspec.structs.replace(of_dataset(definition, rows, name, dataset), frozen_us=now_us)


def controls(repositories: Repositories, schema: Schema, dataset: DatasetVersion) -> Controls:
    """Statistics for the comparators that the schema has: of the dataset version before, and of the newest days served."""
    before = repositories.metadata.get(DatasetVersion, dataset.name, dataset.number - 1)
    limits = schema.constraints
    drifts = any(column.drift for column in schema.columns) or (limits.min_fraction, limits.max_fraction) != (None, None)
    previous = describe(datasets.newest(datasets.read(repositories.tables, before)), schema.bins) if before is not None and drifts else None
    return Controls(previous, _served(repositories.metadata, schema) if any(column.skew for column in schema.columns) else None)


def _served(metadata: Metadata, schema: Schema) -> Statistics | None:
    """What monitoring counted of the newest days served by the model of the schema's name, on the schema's bins."""
    counted = [
        one
        for endpoint in metadata.find(Endpoint, {"model": schema.name})
        for one in metadata.page(MonitorSlice, {"endpoint": endpoint.name}, order="-start_us", limit=SERVED_DAYS).items
    ]
    columns = []
    for bins in schema.bins:
        counts = [one.counts[bins.name] for one in counted if len(one.counts.get(bins.name, ())) == bins.size]
        if counts:
            total = tuple(sum(column) for column in zip(*counts, strict=True))
            columns.append(ColumnStatistics(bins.name, bins.type, sum(total), total[0], total))
    return Statistics(sum(one.rows for one in counted), tuple(columns)) if counted else None


def _after(schema: Schema, now_us: Micros) -> Micros:
    return max(now_us, (schema.frozen_us or 0) + 1)


def refusal(schema: Schema, verdict: DataVerdict) -> str:
    """Why the data are refused, and what to do when they are right after all; "" when they are not refused."""
    failed = [anomaly for anomaly in verdict.anomalies if anomaly.severity == "fail"]
    if not failed:
        return ""
    stated = "; ".join(anomaly.message for anomaly in failed)
    if all(anomaly.kind in FOUND_HERE for anomaly in failed):
        return stated
    name = schema.name
    return (
        f"{stated} (where the data are right, change the schema: `rota data schema edit {name} --freeze`, or `infer {name} --from-pipeline --freeze`)"
    )


def judge(schema: Schema, rows: pl.DataFrame, features: Sequence[str], open_faults: Sequence[Alert], controls: Controls | None = None) -> DataVerdict:
    """Hold the dataset's newest days (a time split's test days) against the schema and against the days before them.

    `features` names its feature columns. The newest days are also what the schema's bounds on the number of rows are about.
    """
    newest, control = datasets.newest(rows), controls or Controls()
    columns = as_model_sees(newest.select([name for name in features if name in newest.columns]), schema=schema)
    broken = validate(schema, columns, environment=TRAINING, previous=control.previous, serving=control.serving)
    retyped = {anomaly.feature for anomaly in broken if anomaly.kind == "UNEXPECTED_DATA_TYPE"}
    bins = [b for b in schema.bins if b.name not in retyped]
    days = daily_slices.cut(sketches.sketched(rows, bins=bins), datasets.AT, bins)
    found = _empty(rows, features)
    watched = slice_checks.watch(bins, days, daily_slices.Window(), slice_checks.Baseline(), left_out=daily_slices.spoiled(bins, days))
    for finding in watched.findings:
        if finding.fault is not None:
            evidence = {name: float(value) for name, value in finding.fault.evidence.items()}
            found.append(Anomaly(finding.feature, "KNOWN_FAULT", finding.fault.message, "fail", evidence=evidence))
        elif finding.drift.alarm:
            message = f"{finding.feature} drifts: {finding.drift.effect:.0f} of 100 rows lie elsewhere than in the days before"
            found.append(Anomaly(finding.feature, "COMPARATOR_L_INFTY_HIGH", message, "warn", finding.drift.distance, finding.drift.distance_limit))
    named = {anomaly.feature for anomaly in found if anomaly.kind == "KNOWN_FAULT"}
    for alert in open_faults:
        if alert.subject not in named:
            message = f"{alert.message} (alert open since {iso(alert.raised_us)})"
            found.append(Anomaly(alert.subject, "OPEN_ALERT", message, "fail"))
    anomalies = (*broken, *decide(schema, found))
    return DataVerdict(describe(newest, bins), anomalies, (_held(schema, anomalies, newest.height), *watched.results))


def _held(schema: Schema, anomalies: Sequence[Anomaly], rows: int) -> CheckResult:
    """Whether the newest rows are as the schema says."""
    failed = [anomaly.message for anomaly in anomalies if anomaly.severity == "fail"]
    message = "; ".join(failed) or f"{rows} newest rows are as version {schema.version} of the schema says"
    return CheckResult("schema", "fail" if failed else "pass" if rows else "inconclusive", message, rows=rows, missing="" if rows else "no rows")


def _empty(rows: pl.DataFrame, features: Sequence[str]) -> list[Anomaly]:
    """Features without a single value in the training rows: nothing can be learnt from them, and libraries end on them in errors of their own."""
    training = rows.filter(~pl.col(datasets.TEST))
    empty = [name for name in features if name in training.columns and training.height and _is_empty(training[name])]
    message = "feature {!r} is null in all of {} training rows; take it out of the feature service, or mend what fills it"
    return [Anomaly(name, "FEATURE_ALL_NULL", message.format(name, training.height), "fail") for name in empty]


def _is_empty(values: pl.Series) -> bool:
    return values.null_count() == len(values) or (values.dtype.is_float() and bool(values.fill_null(float("nan")).is_nan().all()))
