"""Build a dataset definition into an immutable version: joined point-in-time, with the digest of its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import splits
from rota.manage.experiments.frame_digest import digest_of
from rota.manage.features.definitions import catalog
from rota.manage.features.expressions import compiler
from rota.manage.features.join import point_in_time
from rota.manage.features.rows import source_table
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.data import Expression, Feature, FeatureService, Source
from rota.records.dataset import DatasetDefinition, DatasetVersion, GroupSplit, RandomSplit, TimeSplit
from rota.records.record import check_name
from rota.records.schema import Type
from rota.records.time import DAY_US, SECOND_US, Micros, iso, micros
from rota.records.value_types import SCALARS

LABEL = "label"
AT = "at_us"
TEST = "is_test"
ROW = "row"
NEWEST_US = 7 * DAY_US


@dataclass(frozen=True, slots=True)
class Built:
    """A dataset version that is stored as a table but not yet committed as a record, and its rows."""

    version: DatasetVersion
    rows: pl.DataFrame


def next_number(metadata: Metadata, name: str) -> int:
    newest = metadata.page(DatasetVersion, {"name": name}, order="-number", limit=1).items
    return newest[0].number + 1 if newest else 1


def parse(text: str) -> tuple[str, int]:
    """Name and number of "NAME@NUMBER"."""
    name, _, number = text.rpartition("@")
    if not (name and number.isascii() and number.isdigit() and len(number) <= 18):
        raise InvalidInput(f'dataset {text!r} is not NAME@NUMBER; for example "flight-delay@3"', dataset=text)
    return name, int(number)


def get(metadata: Metadata, name: str, number: int) -> DatasetVersion:
    version = metadata.get(DatasetVersion, name, number)
    if version is None:
        raise NotFound(f"dataset {name!r} has no version {number}; `rota data list` shows what exists", dataset=name, number=number)
    return version


def build(tables: Tables, name: str, number: int, definition: DatasetDefinition, *, now_us: Micros) -> Built:
    """Join labels and features as known at `now_us` and store the rows; doing it again gives the same rows, digest and table.

    Columns: `at_us` (when the prediction would have been made), the label source's own columns, one column a feature,
    `label` (a number, or a text; of several targets the first, and each in `label.<name>`), `is_test` and `row`, the place in the
    order by time and source id.
    """
    check(name, definition)
    spine = labelled_rows(tables, definition, now_us=now_us)
    if spine.is_empty():
        raise InvalidInput(
            f"dataset {name!r} has no labelled rows in the {definition.window} before {iso(now_us)}; "
            f"push or ingest rows of source {definition.labels.name!r} first"
            + (f", or look whether any row meets its filter {definition.filter!r}" if definition.filter else ""),
            dataset=name,
        )
    rows = point_in_time.historical(tables, definition.features, spine, timestamp=AT, known_until_us=now_us)
    sides = splits.assign(rows, AT, definition.split, definition.labels, dataset=name)
    rows = rows.with_columns(sides.test.alias(TEST)).with_row_index(ROW).with_columns(pl.col(ROW).cast(pl.Int64))
    test_rows = int(rows[TEST].sum())
    digest = digest_of(rows)
    table = f"datasets/{name}/{digest}"  # by content: a build that was killed before its record was committed leaves nothing that a later one reads
    table_version = tables.append(table, rows, batch=(digest, 0))
    version = DatasetVersion(
        name=name,
        number=number,
        digest=digest,
        table=table,
        table_version=table_version,
        rows=rows.height,
        train_rows=rows.height - test_rows,
        test_rows=test_rows,
        start_us=int(rows[AT].min()),  # type: ignore[arg-type]
        end_us=int(rows[AT].max()),  # type: ignore[arg-type]
        test_from_us=sides.test_from_us,
        created_us=now_us,
        sources=source_versions(tables, definition),
        split=definition.split,
    )
    return Built(version, rows)


def check(name: str, definition: DatasetDefinition) -> None:
    """Raises `InvalidInput` for a definition that can never be built: its label, filter, checks and split are held against the fields."""
    check_name("dataset", name)
    _check_columns(name, definition)
    fields = definition.labels.fields
    for what, text in (("filter", definition.filter), *(("check", each) for each in definition.checks)):
        if text and (kind := _type_of(name, what, text, fields)) != "bool":
            raise InvalidInput(
                f'dataset {name!r}: its {what} {text!r} is {kind}, not a condition; compare something, as in "delay > 0"', dataset=name
            )
    for label in definition.targets.values() or [definition.label]:
        kind = _type_of(name, "label", label.expression, fields)
        if kind == "timestamp" or (kind == "string" and definition.targets):
            raise InvalidInput(
                f"dataset {name!r}: its label {label.text!r} is a {'text' if kind == 'string' else 'time'}; "
                f"{'each of several targets' if definition.targets else 'a label'} is a number or a condition, as in \"status = 'late'\"",
                dataset=name,
            )
        if label.aggregation:
            raise InvalidInput(
                f"dataset {name!r}: its label is the {label.aggregation} of a window; a label is read from its own row, so give rota.sql(...)",
                dataset=name,
            )
    if not isinstance(definition.split, TimeSplit):
        splits.identity(definition.split, definition.labels, dataset=name)


def read(tables: Tables, version: DatasetVersion) -> pl.DataFrame:
    """The rows of a version, in their order."""
    rows = tables.scan(version.table, version=version.table_version).collect()
    return rows if rows[ROW].is_sorted() else rows.sort(ROW)  # they lie as they were built, unless the table was compacted


def newest(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that are new to a pipeline, which a data gate looks at: the test rows when these are the newest, else the newest 7 days.

    A random or grouped test set is spread over the whole window: a fault of the last days would drown in it.
    """
    test = rows.filter(pl.col(TEST))
    if not test.height or rows.filter(pl.col(AT) >= test[AT].min())[TEST].all():
        return test
    return rows.filter(pl.col(AT) > int(rows[AT].max()) - NEWEST_US)  # type: ignore[arg-type]


def labelled_rows(tables: Tables, definition: DatasetDefinition, *, now_us: Micros) -> pl.DataFrame:
    """Rows of the label source in the window that were known at `now_us`, one per id, with `at_us` and `label`: those with a label, unless the
    definition takes the others as well."""
    source = definition.labels
    if tables.version(f"sources/{source.name}") is None:
        return pl.DataFrame({AT: [], LABEL: []}, schema={AT: pl.Int64, LABEL: pl.Float64})
    labels = [_label(each, source).alias(f"{LABEL}.{name}") for name, each in definition.targets.items()]
    rows = source_table.current(source_table.known(source_table.stored(tables, source), now_us), source)
    at = pl.col(definition.timestamp)
    rows = rows.filter((pl.col(source.timestamp_field) <= now_us) & (at > now_us - micros(definition.window)) & (at <= now_us))
    if definition.filter:
        rows = rows.filter(compiler.column(definition.filter, source.fields))
    rows = rows.with_columns(at.alias(AT), _label(definition.label, source).alias(LABEL), *labels)
    rows = rows if definition.unlabelled else rows.filter(pl.col(LABEL).is_not_null())
    order = [source.id_field] if source.id_field else rows.columns  # tables promise no order, so ties need one
    return rows.sort([AT, *order], maintain_order=True)


def label_type(definition: DatasetDefinition) -> Type:
    """What the label of a definition is: "string" for the name of a class, else a number."""
    return "string" if compiler.check(definition.label.expression, definition.labels.fields) == "string" else "float"


def labels(rows: pl.DataFrame, definition: DatasetDefinition) -> pl.Series:
    """The labels of a dataset's rows: numbers, texts, or of several targets a list of numbers in their order, null where one is not known."""
    if not definition.targets:
        return rows[LABEL]
    return rows.select(pl.concat_list(f"{LABEL}.{name}" for name in definition.targets).alias(LABEL))[LABEL]


def _label(label: Feature, source: Source) -> pl.Expr:
    column = compiler.column(label.expression, source.fields)
    if compiler.check(label.expression, source.fields) == "string":
        return column
    return column.cast(pl.Float64).fill_nan(None)


def source_names(definition: DatasetDefinition) -> list[str]:
    """Every source that a definition reads."""
    return sorted({definition.labels.name} | {view.source.name for view in definition.features.stored_views})


def source_versions(tables: Tables, definition: DatasetDefinition) -> dict[str, int]:
    """The table version of every source that a definition reads and that has rows."""
    return {name: version for name in source_names(definition) if (version := tables.version(f"sources/{name}")) is not None}


def split_words(version: DatasetVersion) -> str:
    """How a version was split, as people read it."""
    split = version.split
    if isinstance(split, RandomSplit | GroupSplit):
        unit = "rows" if isinstance(split, RandomSplit) else "groups"
        return f"{split.test:.0%} of the {unit}, drawn by {split.by or 'id'} with seed {split.seed}"
    return f"the newest {split.test if split else 'rows'}, from {iso(version.test_from_us - version.test_from_us % SECOND_US)}"


def feature_types(rows: pl.DataFrame, names: Sequence[str], declared: Mapping[str, Type] | None = None) -> dict[str, Type]:
    """The type of each feature as the model sees it: a text is a category, anything else a number, unless it is `declared` with measures."""
    kinds = declared or {}
    return {name: kinds[name] if _has_measures(kinds.get(name)) else "string" if rows.schema[name] == pl.String else "float" for name in names}


def declared_types(service: FeatureService) -> dict[str, Type]:
    """The type of each feature of a service as its views declare it."""
    kinds = {f"{view.name}__{name}": catalog.type_of(view, feature) for view in service.views for name, feature in view.features.items()}
    return {name: kinds[name] for name in service.feature_names}


def _has_measures(kind: Type | None) -> bool:
    return kind is not None and kind not in SCALARS


def _type_of(name: str, what: str, expression: Expression, fields: Mapping[str, Type]) -> Type:
    try:
        return compiler.check(expression, fields)
    except InvalidInput as error:
        raise InvalidInput(f"dataset {name!r}, {what}: {error}", dataset=name, **error.facts) from error


def _check_columns(name: str, definition: DatasetDefinition) -> None:
    """The label source's columns stand beside the dataset's own."""
    taken = {ROW, TEST} | ({AT} if definition.timestamp != AT else set())
    clash = sorted(taken & set(definition.labels.fields))
    if clash:
        raise InvalidInput(
            f"dataset {name!r}: label source {definition.labels.name!r} has the fields {clash}, which a dataset needs for itself; rename them",
            dataset=name,
        )
