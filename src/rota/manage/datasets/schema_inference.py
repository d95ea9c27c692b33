"""Infer a schema from a dataset version, a file or a table, and let it follow a changed pipeline."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices
from rota.manage.features.rows import csv_tables
from rota.manage.repositories import Repositories
from rota.records.data import FeatureView
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.record import decode, digest, encode
from rota.records.run import Deployed
from rota.records.schema import SERVING, Bins, ColumnSchema, Schema, Statistics, Type
from rota.records.value_types import domain, family
from rota.stats import sketches
from rota.stats.bins import EDGE_VALUES, choose_bins
from rota.stats.schema_inference import infer_schema, infer_table
from rota.stats.slice_statistics import column_statistics
from rota.stats.summarize import summarize

NULL_MARGIN = 0.05
READERS: Mapping[str, Callable[[Path, Sequence[str]], pl.LazyFrame]] = {
    ".parquet": lambda path, _: pl.scan_parquet(path),
    ".csv": lambda path, texts: csv_tables.timed(pl.scan_csv(path, schema_overrides=dict.fromkeys(texts, pl.String)), str(path), texts=texts),
    ".jsonl": lambda path, _: pl.scan_ndjson(path),
    ".ndjson": lambda path, _: pl.scan_ndjson(path),
}


def of_dataset(definition: DatasetDefinition, rows: pl.DataFrame, name: str, dataset: DatasetVersion) -> Schema:
    """The schema of a dataset's features on its training rows; not frozen.

    A day may have twice the share of nulls that the worst day of training had: gaps come in clumps.
    """
    training, known = rows.filter(~pl.col(datasets.TEST)), definitions(definition)
    kinds = datasets.declared_types(definition.features)
    declared = [feature for feature, kind in kinds.items() if family(kind) in ("category", "blob")]
    schema = of_features(training, definition.features.feature_names, name, dataset=dataset.id, categories=declared)
    columns = tuple(_declared(msgspec.structs.replace(c, definition=known.get(sketches.base(c.name), "")), kinds.get(c.name)) for c in schema.columns)
    return msgspec.structs.replace(schema, columns=columns)


def _declared(column: ColumnSchema, kind: Type | None) -> ColumnSchema:
    """A category's domain is the declared one, whichever of its values the rows held."""
    return msgspec.structs.replace(column, domain=domain(kind)) if kind is not None and family(kind) == "category" else column


def of_features(rows: pl.DataFrame, names: Sequence[str], name: str, *, dataset: str = "", categories: Collection[str] = ()) -> Schema:
    """The schema of features in rows with their moments (`datasets.AT`), whichever way they came; not frozen.

    Lists and texts that are read word by word are there by their sketches, which have no bounds: days tell what is normal of them. `categories` are
    texts with a declared domain.
    """
    texts = [each for each in names if rows.schema[each] == pl.String and each not in categories]
    references = {each.name: each for feature in texts for each in sketches.text_references(feature, rows[feature])}
    prose = dict.fromkeys(map(sketches.base, references))
    names, rows = sketches.names(rows, names), sketches.sketched(rows, bins=[*references.values()])
    types = datasets.feature_types(rows, [*(each for each in names if each not in prose), *references])
    bins = tuple(choose_bins(feature, type_, rows[feature]) for feature, type_ in types.items())
    bins = tuple(_made_by(b, references[b.name]) if b.name in references else b for b in bins)
    schema = infer_schema(name, describe(rows, bins), bins, dataset=dataset)
    nulls = _daily_nulls(rows, bins)
    columns = [msgspec.structs.replace(c, max_null_share=max(c.max_null_share, nulls.get(c.name, 0.0))) for c in schema.columns]
    shares = {c.name: c.max_null_share for c in columns}
    columns = [c if sketches.base(c.name) == c.name else _unbounded(c) for c in columns]
    columns += [ColumnSchema(feature, "string", shares[feature + sketches.CHARACTERS]) for feature in prose]
    return msgspec.structs.replace(schema, columns=tuple(columns))


def _unbounded(column: ColumnSchema) -> ColumnSchema:
    """A sketch's expectation: no range, and that nulls are few is expected once of the column that it is of, of a list by its norm."""
    share = column.max_null_share if column.name.endswith((sketches.NORM, sketches.LENGTH)) else 1.0
    return msgspec.structs.replace(column, minimum=None, maximum=None, max_null_share=share)


def _made_by(bins: Bins, reference: Bins) -> Bins:
    """The bins of a text's sketch, with what it is computed by."""
    return msgspec.structs.replace(bins, values=reference.values, edges=reference.edges or bins.edges)


def of_version(repositories: Repositories, version: DatasetVersion, name: str) -> Schema:
    """The schema of a stored dataset version, by the definition that it was built from."""
    deployed = repositories.metadata.page(Deployed, {"pipeline": version.name}, limit=1).items
    if not version.definition and not deployed:
        raise NotFound(f"dataset {version.id} keeps no definition, and no pipeline {version.name!r} is deployed; build it again", dataset=version.id)
    definition = decode(repositories.blobs.get(version.definition), DatasetDefinition) if version.definition else deployed[0].definition.dataset
    return of_dataset(definition, datasets.read(repositories.tables, version), name, version)


def following(schema: Schema, definition: DatasetDefinition, rows: pl.DataFrame, dataset: DatasetVersion) -> Schema:
    """A schema after a change of the pipeline's features: what it says of the others stays, what changed is inferred anew.

    The same schema when nothing changed. Data cannot change which features a dataset has, only an applied definition can, so
    this never hides a fault in a feed: a feature that stays is held to what was frozen for it.
    """
    known = definitions(definition)
    of = {c.name: c.name if c.name in known else sketches.base(c.name) for c in schema.columns}
    kept = {c.name: c for c in schema.columns if of[c.name] in known and c.definition in ("", known[of[c.name]])}
    if {of[name] for name in kept} == known.keys() and len(kept) == len(schema.columns):
        return schema
    fresh = of_dataset(definition, rows, schema.name, dataset)
    columns = tuple(kept.get(column.name, column) for column in fresh.columns)
    old_bins = {b.name: b for b in schema.bins if b.name in kept}
    bins = tuple(old_bins.get(b.name, b) for b in fresh.bins)
    return msgspec.structs.replace(schema, columns=columns, bins=bins, dataset=fresh.dataset)


def as_model_sees(features: pl.DataFrame, *, schema: Schema | None = None) -> pl.DataFrame:
    """Every feature that is no text as numbers, which is what a schema of features is about: a condition is 0 or 1, a time microseconds, a list
    its sketches (those that the schema has), and beside a text its sketches."""
    expected, bins = ([c.name for c in schema.columns], schema.bins) if schema else ((), ())
    return as_numbers(sketches.replaced(features, bins=bins, expected=expected))


def as_numbers(features: pl.DataFrame) -> pl.DataFrame:
    """Conditions as 0 and 1, moments as microseconds; anything else as it is."""
    conditions, times = pl.selectors.boolean(), pl.selectors.datetime()
    return features.with_columns(conditions.cast(pl.Float64), times.dt.epoch("us").cast(pl.Float64))


def definitions(definition: DatasetDefinition) -> dict[str, str]:
    """A digest of what each feature's values follow from: the source, the keys and the expression with its window."""
    found = {}
    for view in definition.features.views:
        origin = (view.source.name, view.join_keys) if isinstance(view, FeatureView) else sorted(view.inputs)
        for feature, stated in view.features.items():
            text = encode((origin, stated.text, stated.aggregation, stated.window))
            found[f"{view.name}__{feature}"] = digest(text)[:16]
    return {name: found.get(name, "") for name in definition.features.feature_names}


def of_table(name: str, table: pl.LazyFrame, *, label: str = "", dataset: str = "") -> Schema:
    """The schema of a table that may be larger than memory: every row is looked at, a sample chooses the bins of numbers."""
    columns = table.collect_schema().names()
    if label and label not in columns:
        raise InvalidInput(f"schema {name!r}: there is no column {label!r} to be the label; there are {columns[:50]}", schema=name)
    rows = int(table.select(pl.len()).collect().item())
    sample = table.gather_every(max(1, rows // EDGE_VALUES)).collect()
    schema = infer_table(name, summarize(batches(table)), sample=sample, dataset=dataset)
    labelled = (msgspec.structs.replace(c, not_in_environment=(SERVING,)) if c.name == label else c for c in schema.columns)
    return msgspec.structs.replace(schema, columns=tuple(labelled))


def batches(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """A table in parts that fit into memory; one empty part when it has no rows, so that its columns are known."""
    some = False
    for part in table.collect_batches(maintain_order=False):
        some = some or part.height > 0
        yield part
    if not some:
        yield table.head(0).collect()


def file_table(path: Path, *, texts: Sequence[str] = ()) -> pl.LazyFrame:
    """A file as a table; Parquet, CSV and JSON lines, by its ending. `texts` are columns that a CSV file has as they stand (ids)."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", path=str(path))
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidInput(f"file {path}: the ending {path.suffix!r} is none of {sorted(READERS)}", path=str(path))
    try:
        table = reader(path, texts)
        table.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InvalidInput(f"file {path} cannot be read as {path.suffix[1:]}: {error}", path=str(path)) from error
    return table


def describe(rows: pl.DataFrame, bins: Sequence[Bins]) -> Statistics:
    """Statistics of every binned feature."""
    rows = sketches.sketched(rows, bins=bins)
    columns = tuple(column_statistics(b.name, b.type, rows[b.name], b) for b in bins if b.name in rows.columns)
    ends = (int(rows[datasets.AT].min()), int(rows[datasets.AT].max()) + 1) if rows.height else (0, 0)  # type: ignore[arg-type]
    return Statistics(rows.height, columns, *ends)


def _daily_nulls(rows: pl.DataFrame, bins: Sequence[Bins]) -> dict[str, float]:
    """Twice the share of nulls that each feature had on its worst day, with a margin."""
    days = daily_slices.cut(rows, datasets.AT, bins, newest=0)
    return {name: min(1.0, NULL_MARGIN + 2 * float((counts[:, 0] / counts.sum(axis=1)).max())) for name, counts in days.counts.items()}
