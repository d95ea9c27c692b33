"""Validate data against a schema: its anomalies, in the semantics and under the names of TFDV.

The kinds bear TensorFlow Data Validation's names (anomalies.proto); docs/schema.md has the table of them. Missing, new and
mistyped columns, too many nulls and empty data fail the gate; unknown values and values out of range only warn, because
seasons move ranges and new values appear in healthy data. `ColumnSchema.policy` overrides that for a column, `Schema.policy`
for all. Schemas are inferred in `schema_inference`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl

from rota.records.schema import Anomaly, Bins, ColumnSchema, ColumnStatistics, Policy, Schema, Statistics
from rota.stats.distances import compare, compare_rows
from rota.stats.summarize import summarize
from rota.stats.table_summary import ColumnSummary, TableSummary

POLICY: Mapping[str, Policy] = {
    "SCHEMA_MISSING_COLUMN": "fail",
    "SCHEMA_NEW_COLUMN": "fail",
    "UNEXPECTED_DATA_TYPE": "fail",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": "fail",
    "FEATURE_TYPE_LOW_NUMBER_PRESENT": "fail",
    "FEATURE_TYPE_LOW_UNIQUE": "fail",
    "FEATURE_TYPE_HIGH_UNIQUE": "fail",
    "FEATURE_TYPE_NO_UNIQUE": "warn",
    "FEATURE_TYPE_LOW_NUMBER_VALUES": "fail",
    "FEATURE_TYPE_HIGH_NUMBER_VALUES": "fail",
    "FLOAT_TYPE_HAS_NAN": "fail",
    "FLOAT_TYPE_HAS_INF": "fail",
    "DATASET_LOW_NUM_EXAMPLES": "fail",
    "DATASET_HIGH_NUM_EXAMPLES": "fail",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "warn",
    "FLOAT_TYPE_SMALL_FLOAT": "warn",
    "FLOAT_TYPE_BIG_FLOAT": "warn",
    "INT_TYPE_SMALL_INT": "warn",
    "INT_TYPE_BIG_INT": "warn",
    "COMPARATOR_L_INFTY_HIGH": "warn",
    "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH": "warn",
    "COMPARATOR_CONTROL_DATA_MISSING": "warn",
    "COMPARATOR_LOW_NUM_EXAMPLES": "warn",
    "COMPARATOR_HIGH_NUM_EXAMPLES": "warn",
    "FEATURE_WITHOUT_VALUES": "fail",
    "KNOWN_FAULT": "fail",
    "OPEN_ALERT": "fail",
}
"""Every kind of anomaly and what it does by default; the last two are Rota's own, found by the data gate."""
EVERY_KIND = "*"
SHOWN_VALUES = 5


def validate(
    schema: Schema,
    data: pl.DataFrame | TableSummary | Statistics,
    *,
    environment: str = "",
    policy: Mapping[str, Policy] = POLICY,
    previous: Statistics | None = None,
    serving: Statistics | None = None,
) -> tuple[Anomaly, ...]:
    """Every expectation that the data break, in the schema's order; new columns next, the dataset last. An ignored kind is left out.

    A frame holds just the columns under the schema; observe a stream of frames first. `previous` are statistics for the drift
    comparators, `serving` those for the skew comparators, on the schema's bins. Statistics know fewer details than data: the
    unknown values of a text are those in its unseen bin and among the commonest, and infinities have no sign.
    """
    seen = _of_statistics(schema, data) if isinstance(data, Statistics) else summarize(data, schema) if isinstance(data, pl.DataFrame) else data
    found: list[Anomaly] = []
    for column in schema.columns:
        observed = seen.columns.get(column.name)
        wanted = expected(schema, column, environment)
        if observed is None:
            found += _missing(column) if wanted and column.required else ()
        elif observed.type is not None and not _fits(observed.type, column.type):
            message = f"column {column.name!r} holds {observed.type} where {column.type} is expected"
            found.append(_anomaly(column, "UNEXPECTED_DATA_TYPE", message))
        elif seen.rows:
            found += _judge(column, observed, wanted=wanted)
            for limits, control, against in ((column.skew, serving, "serving"), (column.drift, previous, "the data before")):
                found += compare(column.name, limits, observed.counts, control, against) if limits and control else ()
    names = {column.name for column in schema.columns}
    found += [
        Anomaly(name, "SCHEMA_NEW_COLUMN", f"column {name!r} is not in schema {schema.name!r} version {schema.version}", "fail")
        for name in seen.columns
        if name not in names
    ]
    found += _judge_rows(schema, seen.rows, previous)
    return tuple(decide(schema, found, policy=policy))


def decide(schema: Schema, anomalies: list[Anomaly], *, policy: Mapping[str, Policy] = POLICY) -> Iterator[Anomaly]:
    """Each anomaly with the severity that the column, the schema, or `policy` gives its kind; without the ignored ones."""
    own = {column.name: column.policy for column in schema.columns}
    for anomaly in anomalies:
        rules = (own.get(anomaly.feature, {}), schema.policy)
        named = [rule[kind] for rule in rules for kind in (anomaly.kind, EVERY_KIND) if kind in rule]
        severity = named[0] if named else policy.get(anomaly.kind, "fail")
        if severity != "ignore":
            yield msgspec.structs.replace(anomaly, severity=severity)


def expected(schema: Schema, column: ColumnSchema, environment: str = "") -> bool:
    """Whether data of an environment must have the column; without an environment every column is expected.

    `in_environment` and `not_in_environment` of the column say so for themselves, else the schema's environments do. A column
    outside its environment may be there all the same, and is then held to its other expectations.
    """
    if not environment or environment in column.in_environment:
        return True
    return environment not in column.not_in_environment and environment in schema.environments


def _judge(column: ColumnSchema, seen: ColumnSummary, *, wanted: bool) -> Iterator[Anomaly]:
    if wanted:
        yield from _judge_presence(column, seen)
    yield from _judge_domain(column, seen)
    yield from _judge_range(column, seen)
    yield from _judge_distinct(column, seen)
    yield from _judge_values(column, seen)


def _missing(column: ColumnSchema) -> Iterator[Anomaly]:
    yield _anomaly(column, "SCHEMA_MISSING_COLUMN", f"column {column.name!r} ({column.type}) is missing")


def _judge_presence(column: ColumnSchema, seen: ColumnSummary) -> Iterator[Anomaly]:
    share = seen.nulls / seen.rows
    if share > column.max_null_share:
        message = f"column {column.name!r}: {share:.1%} of the values are missing, at most {column.max_null_share:.1%} are expected"
        yield _anomaly(column, "FEATURE_TYPE_LOW_FRACTION_PRESENT", message, share, column.max_null_share, rows=seen.nulls)
    if seen.present < column.min_count:
        message = f"column {column.name!r}: {seen.present} rows have a value, at least {column.min_count} are expected"
        yield _anomaly(column, "FEATURE_TYPE_LOW_NUMBER_PRESENT", message, seen.present, column.min_count)


def _judge_domain(column: ColumnSchema, seen: ColumnSummary) -> Iterator[Anomaly]:
    share = seen.unknown_rows / seen.present if seen.unknown_rows else 0.0
    if column.domain is None or share <= column.max_unknown_share:
        return
    examples = ", ".join(repr(value) for value in seen.unknown[:SHOWN_VALUES])
    message = f"column {column.name!r}: {share:.1%} of the rows hold values outside the domain" + (f", such as {examples}" if examples else "")
    kind = "ENUM_TYPE_UNEXPECTED_STRING_VALUES"
    yield _anomaly(column, kind, message, share, column.max_unknown_share, rows=seen.unknown_rows, values=examples)


def _judge_range(column: ColumnSchema, seen: ColumnSummary) -> Iterator[Anomaly]:
    whole = column.type in ("int", "timestamp")
    prefix, suffix = ("INT_TYPE", "INT") if whole else ("FLOAT_TYPE", "FLOAT")
    low, high = (seen.minimum, seen.maximum) if column.allow_inf else seen.finite
    if column.minimum is not None and low is not None and low < column.minimum:
        message = f"column {column.name!r}: the smallest value {_shown(low)} lies below {_shown(column.minimum)}"
        yield _anomaly(column, f"{prefix}_SMALL_{suffix}", message, low, column.minimum, **_rows(seen.below))
    if column.maximum is not None and high is not None and high > column.maximum:
        message = f"column {column.name!r}: the largest value {_shown(high)} lies above {_shown(column.maximum)}"
        yield _anomaly(column, f"{prefix}_BIG_{suffix}", message, high, column.maximum, **_rows(seen.beyond))
    for allowed, rows, kind, words in (
        (column.allow_nan, seen.nans, "FLOAT_TYPE_HAS_NAN", "NaN"),
        (column.allow_inf, seen.infinities, "FLOAT_TYPE_HAS_INF", "an infinity"),
    ):
        if not allowed and rows:
            yield _anomaly(column, kind, f"column {column.name!r}: {rows} rows hold {words}, none is expected", rows, 0, rows=rows)


def _judge_distinct(column: ColumnSchema, seen: ColumnSummary) -> Iterator[Anomaly]:
    if (column.min_unique, column.max_unique) == (None, None):
        return
    distinct = seen.distinct
    if distinct is None:
        message = f"column {column.name!r}: its distinct values were not counted in these statistics; validate the data themselves"
        yield _anomaly(column, "FEATURE_TYPE_NO_UNIQUE", message)
        return
    words = f"column {column.name!r} has {distinct} distinct values"
    if column.min_unique is not None and distinct < column.min_unique:
        message = f"{words}, at least {column.min_unique} are expected"
        yield _anomaly(column, "FEATURE_TYPE_LOW_UNIQUE", message, distinct, column.min_unique)
    if column.max_unique is not None and distinct > column.max_unique:
        message = f"{words}, at most {column.max_unique} are expected"
        yield _anomaly(column, "FEATURE_TYPE_HIGH_UNIQUE", message, distinct, column.max_unique)


def _judge_values(column: ColumnSchema, seen: ColumnSummary) -> Iterator[Anomaly]:
    """Nulls have no values; presence constraints cover them."""
    if column.min_values is not None and seen.fewest is not None and seen.fewest < column.min_values:
        message = f"column {column.name!r}: a row holds {seen.fewest} values, at least {column.min_values} are expected"
        yield _anomaly(column, "FEATURE_TYPE_LOW_NUMBER_VALUES", message, seen.fewest, column.min_values)
    if column.max_values is not None and seen.most is not None and seen.most > column.max_values:
        message = f"column {column.name!r}: a row holds {seen.most} values, at most {column.max_values} are expected"
        yield _anomaly(column, "FEATURE_TYPE_HIGH_NUMBER_VALUES", message, seen.most, column.max_values)


def _judge_rows(schema: Schema, rows: int, previous: Statistics | None) -> Iterator[Anomaly]:
    limits = schema.constraints
    if rows < limits.min_examples:
        message = f"the data have {rows} rows, at least {limits.min_examples} are expected" if rows else "the data have no rows"
        yield Anomaly("", "DATASET_LOW_NUM_EXAMPLES", message, "fail", rows, limits.min_examples)
    if limits.max_examples is not None and rows > limits.max_examples:
        message = f"the data have {rows} rows, at most {limits.max_examples} are expected"
        yield Anomaly("", "DATASET_HIGH_NUM_EXAMPLES", message, "fail", rows, limits.max_examples)
    if previous is not None:
        yield from compare_rows(limits, rows, previous)


def _anomaly(
    column: ColumnSchema, kind: str, message: str, observed: float | None = None, threshold: float | None = None, **evidence: Any
) -> Anomaly:
    return Anomaly(column.name, kind, message, "fail", observed, threshold, evidence)


def _rows(count: int) -> dict[str, int]:
    return {"rows": count} if count else {}


def _shown(value: float) -> str:
    """A whole number in full, as one beyond 2^53 differs from its neighbour in its last digit."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _fits(seen: str, wanted: str) -> bool:
    """Whole numbers fit where numbers are expected; nothing else stands in for another type."""
    return seen == wanted or (seen == "int" and wanted == "float")


def _of_statistics(schema: Schema, statistics: Statistics) -> TableSummary:
    expectations = {column.name: column for column in schema.columns}
    bins = {one.name: one for one in schema.bins}
    columns = {c.name: _of_column(c, expectations.get(c.name), bins.get(c.name)) for c in statistics.columns}
    return TableSummary(statistics.rows, columns)


def _of_column(column: ColumnStatistics, wanted: ColumnSchema | None, bins: Bins | None) -> ColumnSummary:
    ends = (column.minimum, column.maximum)
    seen = ColumnSummary(
        column.type if column.nulls < column.count else None, column.count, column.nulls, column.nans, column.infinities, *ends, ends
    )
    counts = np.asarray(column.counts, dtype=np.int64) if column.counts else None
    seen = replace(seen, counts=counts, known_distinct=column.distinct, **dict.fromkeys(("fewest", "most"), 1 if seen.present else None))
    if column.type != "string" or wanted is None or wanted.domain is None:
        return seen
    domain = set(wanted.domain)
    outside = {value: rows for value, rows in column.top if value not in domain}
    named = {*bins.values, *bins.rare} if bins else set()
    unseen = sum(rows for value, rows in column.top if value not in named)
    rest = max(0, int(counts[-1]) - unseen) if counts is not None and bins else 0  # unseen values that are not among the commonest
    return replace(seen, unknown=tuple(outside)[:SHOWN_VALUES], unknown_rows=sum(outside.values()) + rest)
