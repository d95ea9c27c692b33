"""Profiles: statistics and quality of a dataset version, computed when it is built and kept as a blob.

The same profile is shown by `rota data profile`, the control plane's page and `rota data show`.
"""

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from rota.errors import NotFound
from rota.manage.datasets.build import AT, LABEL, TEST, label_type
from rota.manage.features.expressions import compiler
from rota.ports.blobs import Blobs
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.profile import ColumnProfile, Dimension, Profile, Role
from rota.records.record import decode
from rota.records.schema import ColumnSchema, Schema, Statistics, Type
from rota.records.time import Micros, micros
from rota.records.value_types import SCALARS, sql_type
from rota.stats import column_profile, quality, sketches
from rota.stats.bins import choose_bins
from rota.stats.schema_inference import infer_schema
from rota.stats.slice_statistics import column_statistics


def profile(rows: pl.DataFrame, definition: DatasetDefinition, name: str, *, expected: Schema | None, now_us: Micros) -> Profile:
    """The profile of a dataset's rows. `expected` is the schema that its features are held against, where there is one.

    Fields of the label source are held against its contract.
    """
    rows = sketches.sketched(rows)
    found = columns_of(rows, definition)
    by = column_profile.groups(rows[TEST], rows[LABEL])
    promised = _expectations(definition, expected)
    made = tuple(
        _judged(column_profile.column_profile(column, role, type_, rows[column], by), rows[column], promised) for column, role, type_ in found
    )
    dimensions = _dimensions(rows, definition, made, len(promised.keys() & {column.name for column in made}), now_us)
    return Profile(name, rows.height, made, column_profile.SIDES, by.classes, dimensions, quality.overall(dimensions))


def schema(rows: pl.DataFrame, definition: DatasetDefinition, name: str) -> Schema:
    """The schema that the training rows of a dataset suggest, for its features and its label; not frozen."""
    training = sketches.sketched(rows.filter(~pl.col(TEST)))
    described, bins = [], []
    for column, role, type_ in columns_of(rows, definition):
        if role in ("feature", "label"):
            bins.append(choose_bins(column, type_, training[column]))
            described.append(column_statistics(column, type_, training[column], bins[-1]))
    return infer_schema(name, Statistics(training.height, tuple(described)), bins, dataset=name)


def scores(of: Profile) -> dict[str, float]:
    """The quality of a profile by dimension, with `overall`; what could not be judged is left out."""
    found = {dimension.name: dimension.score for dimension in of.quality} | {quality.OVERALL: of.overall}
    return {name: score for name, score in found.items() if score is not None}


def load(blobs: Blobs, version: DatasetVersion) -> Profile:
    """The profile that was kept with a version."""
    if not version.statistics:
        raise NotFound(f"dataset {version.id} was built without a profile, by an older release; build it again", dataset=version.id)
    return decode(blobs.get(version.statistics), Profile)


def columns_of(rows: pl.DataFrame, definition: DatasetDefinition) -> list[tuple[str, Role, Type]]:
    """Name, role and type of a dataset's columns, features first; the columns of bookkeeping are left out."""
    shown = sketches.sketched(rows)
    features: list[tuple[str, Role, Type]] = [
        (name, "feature", _type(shown.schema[name])) for name in sketches.names(rows, definition.features.feature_names)
    ]
    fields: list[tuple[str, Role, Type]] = []
    for name, kind in definition.labels.fields.items():
        if kind in SCALARS or name not in rows.columns:
            fields.append((name, "field", sql_type(kind)))
        else:
            fields += [(each, "field", _type(shown.schema[each])) for each in sketches.names(rows, [name])]
    targets: list[tuple[str, Role, Type]] = [(f"{LABEL}.{name}", "label", "float") for name in definition.targets]
    label: tuple[str, Role, Type] = (LABEL, "label", label_type(definition))
    own: list[tuple[str, Role, Type]] = [label, *targets, (AT, "time", "timestamp")]
    taken = {name for name, _, _ in features + own}
    return [*features, *own, *(each for each in fields if each[0] not in taken)]


def _type(dtype: pl.DataType) -> Type:
    if dtype == pl.String:
        return "string"
    if dtype == pl.Boolean:
        return "bool"
    return "int" if dtype.is_integer() else "float"


def _expectations(definition: DatasetDefinition, expected: Schema | None) -> dict[str, ColumnSchema]:
    contract = definition.labels.contract.columns if definition.labels.contract else ()
    return {column.name: column for column in (*contract, *(expected.columns if expected else ()))}


def _judged(found: ColumnProfile, values: pl.Series, promised: Mapping[str, ColumnSchema]) -> ColumnProfile:
    if found.type == "timestamp":
        return found
    judged = quality.validity_of(values, promised.get(found.name))
    present = found.count - found.nulls
    return msgspec.structs.replace(found, validity=1 - judged.broken / present if present else 1.0, invalid=judged.reason)


def _dimensions(
    rows: pl.DataFrame, definition: DatasetDefinition, found: Sequence[ColumnProfile], expectations: int, now_us: Micros
) -> tuple[Dimension, ...]:
    contents = [column for column in found if column.role != "time"]
    source = definition.labels
    newest = int(rows[source.timestamp_field].max())  # type: ignore[arg-type]
    freshness = source.contract.freshness if source.contract else None
    return (
        quality.completeness(contents),
        quality.validity(contents, expectations),
        _uniqueness(rows, definition),
        _consistency(rows, definition),
        quality.timeliness(max(0, now_us - newest), micros(freshness) if freshness else None, micros(definition.window)),
    )


def _uniqueness(rows: pl.DataFrame, definition: DatasetDefinition) -> Dimension:
    fields = [field for field in definition.labels.fields if field != definition.labels.id_field]
    keys = {key for view in definition.features.stored_views for key in view.join_keys if key in rows.columns}
    same_moment = _repeated(rows.select(*sorted(keys), AT)) if keys else None
    return quality.uniqueness(rows.height, _repeated(rows.select(fields)), same_moment)


def _repeated(rows: pl.DataFrame) -> int:
    """Rows that are equal to an earlier one, by a hash of 64 bits."""
    return rows.height - rows.hash_rows().n_unique()


def _consistency(rows: pl.DataFrame, definition: DatasetDefinition) -> Dimension:
    """Rules: a label is not known before its prediction was asked for, and what the definition declares."""
    source = definition.labels
    rules: dict[str, pl.Expr] = {}
    if source.timestamp_field != definition.timestamp:
        rules[f"{source.timestamp_field} >= {definition.timestamp}"] = pl.col(source.timestamp_field) < pl.col(definition.timestamp)
    rules |= {check: ~compiler.column(check, source.fields) for check in definition.checks}
    names = [f"_rule{place}" for place in range(len(rules))]
    broken = rows.with_columns(rule.fill_null(value=False).alias(name) for name, rule in zip(names, rules.values(), strict=True)).select(names)
    counts = [(rule, int(broken[name].sum())) for name, rule in zip(names, rules, strict=True)]
    return quality.consistency(rows.height, int(broken.select(pl.any_horizontal(names)).to_series().sum()) if names else 0, counts)
