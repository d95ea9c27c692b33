"""Gate 1: is the fresh data what the schema says, and unlike the days before for no faulty reason?

Schema anomalies fail, a drifting distribution warns (drift is why one retrains), a known fault fails: a feed that changed its
unit would train the model on nonsense. An open critical data alert of monitoring fails too: it saw the fault being served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import polars as pl

from rota.manage import datasets, slices
from rota.ports.metadata import Metadata
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.schema import Anomaly, Bins, Schema, Statistics
from rota.records.signal import Alert
from rota.records.time import Micros, iso
from rota.stats.bins import choose_bins
from rota.stats.profile import column_statistics
from rota.stats.schema import infer_schema, validate

NULL_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class DataVerdict:
    """Statistics of the data and every anomaly found; those of severity "fail" refuse it."""

    statistics: Statistics
    anomalies: tuple[Anomaly, ...]


def frozen_schema(metadata: Metadata, pipeline: str) -> Schema | None:
    """The newest frozen schema of a pipeline."""
    found = metadata.find(Schema, {"name": pipeline}, order="-version", limit=20)
    return next((schema for schema in found if schema.frozen_us is not None), None)


def infer(definition: DatasetDefinition, rows: pl.DataFrame, name: str, dataset: DatasetVersion, *, now_us: Micros) -> Schema:
    """The schema of a dataset's training rows, frozen at once; `rota data schema` shows it."""
    training = rows.filter(~pl.col(datasets.TEST))
    types = datasets.feature_types(rows, definition.features.feature_names)
    bins = tuple(choose_bins(feature, type_, training[feature]) for feature, type_ in types.items())
    statistics = describe(training, bins)
    schema = infer_schema(name, statistics, bins)
    nulls = _daily_nulls(training, bins)
    columns = tuple(msgspec.structs.replace(c, max_null_share=max(c.max_null_share, nulls.get(c.name, 0.0))) for c in schema.columns)
    return msgspec.structs.replace(schema, columns=columns, bins=bins, dataset=f"{dataset.name}@{dataset.number}", frozen_us=now_us)


def _daily_nulls(rows: pl.DataFrame, bins: Sequence[Bins]) -> dict[str, float]:
    """Twice the share of nulls that each feature had on its worst day: gaps come in clumps, so an average tells nothing of a day."""
    days = slices.cut(rows, datasets.AT, bins, newest=0)
    return {name: min(1.0, NULL_MARGIN + 2 * float((counts[:, 0] / counts.sum(axis=1)).max())) for name, counts in days.counts.items()}


def describe(rows: pl.DataFrame, bins: Sequence[Bins]) -> Statistics:
    """Statistics of every binned feature."""
    columns = tuple(column_statistics(b.name, b.type, rows[b.name], b) for b in bins if b.name in rows.columns)
    ends = (int(rows[datasets.AT].min()), int(rows[datasets.AT].max()) + 1) if rows.height else (0, 0)  # type: ignore[arg-type]
    return Statistics(rows.height, columns, *ends)


def judge(schema: Schema, rows: pl.DataFrame, features: Sequence[str], open_faults: Sequence[Alert]) -> DataVerdict:
    """Hold the dataset's newest test days against the schema and against the days before them; `features` names its feature columns."""
    newest = rows.filter(pl.col(datasets.TEST))
    found = list(validate(schema, newest.select([name for name in features if name in newest.columns])))
    retyped = {anomaly.feature for anomaly in found if anomaly.kind == "UNEXPECTED_DATA_TYPE"}
    bins = [b for b in schema.bins if b.name not in retyped]
    statistics = describe(newest, bins)
    for finding in slices.examine(bins, slices.cut(rows, datasets.AT, bins), slices.Window()):
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
    return DataVerdict(statistics, tuple(found))
