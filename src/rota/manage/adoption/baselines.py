"""The baseline of an adopted model: its schema, and the reference days that later days are compared with.

A model trained here has both from its training data. A foreign one gets them from reference rows that somebody gives (`of_rows`), kept
as a dataset version under the model's name; or, when nobody does, from the first LEARNING_DAYS complete days that it served
(`learnt`), of which nothing can be said but that later days are like them or not. A distribution is compared once there are
30 reference days (`rota.stats.drift`), given or served; the schema holds at once.
"""

import msgspec
import polars as pl

from rota.errors import InvalidInput, Refused
from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices, schema_inference, schemas
from rota.manage.experiments.frame_digest import digest_of
from rota.manage.features.expressions import compiler
from rota.manage.features.rows import column_conversion
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.data import FeatureService
from rota.records.dataset import DatasetVersion
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.schema import Schema
from rota.records.time import DAY_US, Micros

LEARNING_DAYS = 7
"""Complete served days after which a model without a baseline is compared with these."""
UNDATED_DAYS = 30
"""Days over which reference rows without moments are dealt out evenly."""
LEAST_ROWS = 50


def of_rows(repositories: Repositories, version: ModelVersion, table: pl.LazyFrame, *, timestamp: str = "", label: str = "", actor: str) -> Schema:
    """Make reference rows the baseline of a foreign model: the next dataset version and a schema of its name, frozen.

    The rows have the columns of the model's requests. `timestamp` is the column with each row's moment; without one the rows are
    dealt out evenly over the UNDATED_DAYS before now, which hides how much days differ: give moments when there are any.
    """
    service = _service(repositories, version)
    now_us = repositories.clock.now_us()
    rows = _rows(service, table.collect(), timestamp=timestamp, label=label, now_us=now_us)
    dataset = _stored(repositories, version.model, rows, undated=not timestamp, now_us=now_us)
    batch = Batch()
    batch.create(dataset)
    base = schemas.newest_version(repositories.metadata, version.model)
    schema = _frozen(schema_inference.of_features(rows, service.feature_names, version.model, dataset=dataset.id), repositories, now_us=now_us)
    made = schemas.add(batch, schema, base=base, author=actor, now_us=now_us)
    batch.link(f"schema:{made.name}@{made.version}", [f"dataset_version:{dataset.id}", f"model_version:{version.id}"], now_us)
    batch.audit(actor, "model.baseline", version.id, now_us, dataset=dataset.id, schema=f"{made.name}@{made.version}", rows=dataset.rows)
    repositories.metadata.commit(batch)
    return made


def learnt(repositories: Repositories, batch: Batch, endpoint: str, model: str, *, run: str, now_us: Micros) -> Schema | None:
    """The schema of the first days that an endpoint served, in the batch; None while it served fewer."""
    rows = prediction_log.read(repositories.tables, endpoint, 0, daily_slices.day_of(now_us)).filter(
        (pl.col("role") != "shadow") & (pl.col("error") == "")
    )
    days = sorted({daily_slices.day_of(at_us) for at_us in rows["at_us"].to_list()})
    if len(days) < LEARNING_DAYS:
        return None
    first = rows.filter(pl.col("at_us") < days[LEARNING_DAYS - 1] + DAY_US)
    names = [name for name in rows.columns if name not in prediction_log.COLUMNS]
    if first.height < LEAST_ROWS or not names:
        return None
    schema = _frozen(schema_inference.of_features(first, names, model), repositories, now_us=now_us)
    return schemas.add(batch, schema, base=schemas.newest_version(repositories.metadata, model), author=run, now_us=now_us)


def features(service: FeatureService, rows: pl.DataFrame) -> pl.DataFrame:
    """The features of request rows, as the model sees them; raises `InvalidInput` naming a column that is missing or of another type."""
    given = column_conversion.conform(rows, service.request_fields, what="the reference rows")
    computed = [
        compiler.column(feature.expression, view.inputs).alias(f"{view.name}__{name}")
        for view in service.request_views
        for name, feature in view.features.items()
    ]
    seen = schema_inference.as_numbers(given.select(computed)).select(service.feature_names)
    return seen.with_columns(pl.selectors.numeric().cast(pl.Float64))


def _service(repositories: Repositories, version: ModelVersion) -> FeatureService:
    if version.run:
        raise Refused(f"{version.id} was trained here; what is normal for it is what it was trained on", version=version.id)
    if not version.bundle:
        raise Refused(f"{version.id} cannot be served, so it needs no baseline: {version.unservable}", version=version.id)
    service = decode(repositories.blobs.get(version.bundle), ModelBundle).features
    if service.stored_views:
        raise Refused(f"{version.id} reads stored features; build a dataset of its service {service.name!r} instead", version=version.id)
    return service


def _rows(service: FeatureService, table: pl.DataFrame, *, timestamp: str, label: str, now_us: Micros) -> pl.DataFrame:
    if table.height < LEAST_ROWS:
        raise InvalidInput(f"{table.height} reference rows say too little of what is normal; give at least {LEAST_ROWS}", rows=table.height)
    for column in filter(None, (timestamp, label)):
        if column not in table.columns:
            raise InvalidInput(f"the reference rows have no column {column!r}; they have {table.columns[:50]}", column=column)
    rows = features(service, table).with_columns(
        _moments(table, timestamp, now_us).alias(datasets.AT),
        (column_conversion.measured(table[label], what="the reference rows") if label else pl.Series([None] * table.height, dtype=pl.Float64)).alias(
            datasets.LABEL
        ),
        pl.lit(value=False).alias(datasets.TEST),
    )
    return rows.sort(datasets.AT, maintain_order=True).with_row_index(datasets.ROW).with_columns(pl.col(datasets.ROW).cast(pl.Int64))


def _moments(table: pl.DataFrame, timestamp: str, now_us: Micros) -> pl.Series:
    if timestamp:
        found = column_conversion.conform(table, {timestamp: "timestamp"}, what="the reference rows")[timestamp]
        if found.null_count():
            raise InvalidInput(f"{found.null_count()} reference rows have no {timestamp!r}; every row needs its moment", column=timestamp)
        return found
    first = daily_slices.day_of(now_us) - UNDATED_DAYS * DAY_US
    return pl.Series([first + (place % UNDATED_DAYS) * DAY_US for place in range(table.height)], dtype=pl.Int64)


def _stored(repositories: Repositories, name: str, rows: pl.DataFrame, *, undated: bool, now_us: Micros) -> DatasetVersion:
    digest = digest_of(rows)
    table = f"datasets/{name}/{digest}"
    start, end = int(rows[datasets.AT][0]), int(rows[datasets.AT][-1])
    return DatasetVersion(
        name=name,
        number=datasets.next_number(repositories.metadata, name),
        digest=digest,
        table=table,
        table_version=repositories.tables.append(table, rows, batch=(digest, 0)),
        rows=rows.height,
        train_rows=rows.height,
        test_rows=0,
        start_us=start,
        end_us=end,
        test_from_us=end + 1,
        created_us=now_us,
        undated=undated,
    )


def _frozen(schema: Schema, repositories: Repositories, *, now_us: Micros) -> Schema:
    """The schema as the active version, frozen later than the active one before it."""
    present = schemas.active(repositories.metadata, schema.name)
    later_us = now_us if present is None or present.frozen_us is None else max(now_us, present.frozen_us + 1)
    return msgspec.structs.replace(schema, frozen_us=later_us)
