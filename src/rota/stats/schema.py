"""Schema of a dataset: expectations inferred from clean data with margins, and the anomalies of data that break them.

The kinds bear TensorFlow Data Validation's names (anomalies.proto). Missing, new and mistyped columns, too many nulls and
empty data fail the gate; unknown values and values out of range only warn, because seasons move ranges and new values
appear in healthy data. `ColumnSchema.policy` overrides that per column.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from rota.errors import InvalidInput
from rota.records.schema import Anomaly, Bins, ColumnSchema, ColumnStatistics, Schema, Statistics, Type
from rota.stats.bins import as_numbers

Policy = Literal["fail", "warn", "ignore"]

POLICY: Mapping[str, Policy] = {
    "SCHEMA_MISSING_COLUMN": "fail",
    "SCHEMA_NEW_COLUMN": "fail",
    "UNEXPECTED_DATA_TYPE": "fail",
    "FEATURE_TYPE_LOW_FRACTION_PRESENT": "fail",
    "DATASET_LOW_NUM_EXAMPLES": "fail",
    "ENUM_TYPE_UNEXPECTED_STRING_VALUES": "warn",
    "FLOAT_TYPE_SMALL_FLOAT": "warn",
    "FLOAT_TYPE_BIG_FLOAT": "warn",
    "INT_TYPE_SMALL_INT": "warn",
    "INT_TYPE_BIG_INT": "warn",
}
# A text with more distinct values than this names things rather than classes them; new ones are its nature.
DOMAIN_LIMIT = 1_000
SHOWN_VALUES = 5
RANGE_MARGIN, NULL_MARGIN = 0.1, 0.05


def infer_schema(name: str, statistics: Statistics, bins: Iterable[Bins], *, version: int = 1, dataset: str = "") -> Schema:
    """Expectations that the data behind `statistics` meet, with room for healthy new data. Not frozen.

    Ranges grow on both sides by a tenth of their width (a column without negative values stays so); the share of nulls may
    be half as large again plus 5 points. Domains come from the `bins`, which know every training value, up to 1,000 values.
    """
    if not statistics.rows:
        raise InvalidInput(f"schema {name!r} cannot be inferred from statistics of 0 rows; give clean data", schema=name)
    kept = tuple(bins)
    known = {one.name: one for one in kept}
    columns = tuple(_column_schema(column, known.get(column.name)) for column in statistics.columns)
    return Schema(name, version, columns, kept, dataset)


def validate(schema: Schema, data: pl.DataFrame | Statistics, *, policy: Mapping[str, Policy] = POLICY) -> tuple[Anomaly, ...]:
    """Every expectation that the data break, in the schema's order; new columns last. An ignored kind is left out.

    A frame holds just the columns under the schema. Statistics know fewer details: the unknown values of a text are those
    in their unseen bin, and without bins those among the commonest.
    """
    observed = _of_frame(schema, data) if isinstance(data, pl.DataFrame) else _of_statistics(data)
    rows = len(data) if isinstance(data, pl.DataFrame) else data.rows
    expected = {column.name: column for column in schema.columns}
    anomalies = [anomaly for column in schema.columns for anomaly in _judge(column, observed.get(column.name), rows, policy)]
    for name in observed.keys() - expected.keys():
        anomalies += _report(policy, {}, name, "SCHEMA_NEW_COLUMN", f"column {name!r} is not in schema {schema.name!r} version {schema.version}")
    if not rows:
        anomalies += _report(policy, {}, "", "DATASET_LOW_NUM_EXAMPLES", "the data have no rows", observed=0, threshold=1)
    return tuple(anomalies)


@dataclass(frozen=True, slots=True)
class _Observed:
    """What validation looks at in a column; `unknown` are values outside the domain, `type` is None when all is null."""

    type: str | None
    nulls: int
    minimum: float | None = None
    maximum: float | None = None
    unknown: Sequence[str] = ()
    unknown_rows: int = 0


def _column_schema(column: ColumnStatistics, bins: Bins | None) -> ColumnSchema:
    null_share = column.nulls / column.count if column.count else 0.0
    max_null_share = min(1.0, 1.5 * null_share + NULL_MARGIN)
    if column.type == "string":
        values = (*bins.values, *bins.rare) if bins else ()
        return ColumnSchema(column.name, column.type, max_null_share, domain=tuple(sorted(values)) if 0 < len(values) <= DOMAIN_LIMIT else None)
    if column.type not in ("float", "int") or column.minimum is None or column.maximum is None:
        return ColumnSchema(column.name, column.type, max_null_share)
    margin = RANGE_MARGIN * (column.maximum - column.minimum)
    low = max(0.0, column.minimum - margin) if column.minimum >= 0 else column.minimum - margin
    high = column.maximum + margin
    if column.type == "int":
        low, high = math.floor(low), math.ceil(high)
    return ColumnSchema(column.name, column.type, max_null_share, minimum=low, maximum=high)


def _judge(column: ColumnSchema, seen: _Observed | None, rows: int, policy: Mapping[str, Policy]) -> Iterator[Anomaly]:
    name = column.name
    if seen is None:
        yield from _report(policy, column.policy, name, "SCHEMA_MISSING_COLUMN", f"column {name!r} ({column.type}) is missing")
        return
    if seen.type is not None and not _fits(seen.type, column.type):
        message = f"column {name!r} holds {seen.type} where {column.type} is expected"
        yield from _report(policy, column.policy, name, "UNEXPECTED_DATA_TYPE", message)
        return
    null_share = seen.nulls / rows if rows else 0.0
    if null_share > column.max_null_share:
        message = f"column {name!r}: {null_share:.1%} of the values are missing, at most {column.max_null_share:.1%} are expected"
        kind = "FEATURE_TYPE_LOW_FRACTION_PRESENT"
        yield from _report(policy, column.policy, name, kind, message, observed=null_share, threshold=column.max_null_share)
    if seen.unknown_rows:
        share = seen.unknown_rows / rows
        examples = ", ".join(repr(value) for value in seen.unknown[:SHOWN_VALUES])
        message = f"column {name!r}: {share:.1%} of the rows hold values outside the domain" + (f", such as {examples}" if examples else "")
        yield from _report(policy, column.policy, name, "ENUM_TYPE_UNEXPECTED_STRING_VALUES", message, observed=share, threshold=0.0)
    prefix, suffix = ("INT_TYPE", "INT") if column.type == "int" else ("FLOAT_TYPE", "FLOAT")
    if column.minimum is not None and seen.minimum is not None and seen.minimum < column.minimum:
        message = f"column {name!r}: the smallest value {seen.minimum:g} lies below {column.minimum:g}"
        yield from _report(policy, column.policy, name, f"{prefix}_SMALL_{suffix}", message, observed=seen.minimum, threshold=column.minimum)
    if column.maximum is not None and seen.maximum is not None and seen.maximum > column.maximum:
        message = f"column {name!r}: the largest value {seen.maximum:g} lies above {column.maximum:g}"
        yield from _report(policy, column.policy, name, f"{prefix}_BIG_{suffix}", message, observed=seen.maximum, threshold=column.maximum)


def _report(
    policy: Mapping[str, Policy],
    own: Mapping[str, Policy],
    feature: str,
    kind: str,
    message: str,
    *,
    observed: float | None = None,
    threshold: float | None = None,
) -> Iterator[Anomaly]:
    severity = own.get(kind, policy.get(kind, "fail"))
    if severity != "ignore":
        yield Anomaly(feature, kind, message, severity, observed, threshold)


def _fits(seen: str, expected: Type) -> bool:
    """Whole numbers fit where numbers are expected; nothing else stands in for another type."""
    return seen == expected or (seen == "int" and expected == "float")


def _of_frame(schema: Schema, frame: pl.DataFrame) -> dict[str, _Observed]:
    expected = {column.name: column for column in schema.columns}
    return {series.name: _of_series(series, expected.get(series.name)) for series in frame}


def _of_series(series: pl.Series, column: ColumnSchema | None) -> _Observed:
    kind = type_of(series.dtype)
    if column is None or kind is None:
        return _Observed(kind, series.null_count())
    if kind == "string":
        if column.domain is None:
            return _Observed(kind, series.null_count())
        texts = series.cast(pl.String)
        unknown = texts.filter(texts.is_not_null() & ~texts.is_in(list(column.domain)))
        return _Observed(kind, series.null_count(), unknown=unknown.unique().sort().head(SHOWN_VALUES).to_list(), unknown_rows=len(unknown))
    if kind not in ("float", "int"):
        return _Observed(kind, series.null_count())
    numbers = pl.Series(as_numbers(series.name, series)).drop_nans()
    low, high = numbers.min(), numbers.max()
    return _Observed(kind, len(series) - len(numbers), low, high)  # type: ignore[arg-type]


def _of_statistics(statistics: Statistics) -> dict[str, _Observed]:
    return {
        column.name: _Observed(
            column.type if column.nulls < column.count else None,
            column.nulls,
            column.minimum,
            column.maximum,
            unknown_rows=column.counts[-1] if column.type == "string" and column.counts else 0,
        )
        for column in statistics.columns
    }


def type_of(dtype: pl.DataType) -> str | None:
    """Rota's type of a polars type; None for a column of nulls, the engine's own name for what Rota has no type for."""
    if dtype == pl.Null:
        return None
    if dtype.is_float():
        return "float"
    if dtype.is_integer():
        return "int"
    if dtype == pl.Boolean:
        return "bool"
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return "string"
    return "timestamp" if isinstance(dtype, pl.Datetime) else str(dtype)
