"""Features for training: for each row of a frame of entities and moments, what was true of the entity at that moment.

as_of="event": by event time: the newest row with timestamp <= t, corrections of a row (same id) taken as if they had been
there from the start. For datasets: history that was loaded long afterwards counts as if it had been received in time.
as_of="served": what serving could know: only rows that Rota had received by t, as the online store had them then.
"""

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features import expressions, rows, source_rows
from rota.manage.features.aggregates import ledger, windowed
from rota.manage.features.question import ARRIVED, ENTITY, EVENT, PLACE, ROW, SIGN, AsOf, Question
from rota.manage.features.source_rows import CREATED
from rota.manage.features.stored import RowView
from rota.ports.tables import Tables
from rota.records.data import FeatureService, FeatureView, OnDemandFeatureView
from rota.records.time import Micros

FAR_US = 2**62


def historical(
    tables: Tables, service: FeatureService, spine: pl.DataFrame, *, timestamp: str, known_until_us: Micros = FAR_US, as_of: AsOf = "event"
) -> pl.DataFrame:
    """The spine with one column for each of `service.feature_names`: as many rows as before, in the same order.

    The spine holds the column `timestamp` (when the prediction is or was made) and the service's request fields. Rows of
    the sources that Rota received after `known_until_us` are ignored. An unknown entity, a null join key, a null
    timestamp or a row older than the view's ttl gives null.
    """
    taken = [name for name in service.feature_names if name in spine.columns]
    if taken:
        raise InvalidInput(f"the frame already has the columns {taken}; leave them out", columns=taken)
    order = rows.conform(spine, {timestamp: "timestamp"}, what="the frame").select(at=timestamp).with_row_index(ROW).sort("at", nulls_last=True)
    asked = spine[order[ROW]]
    found: dict[str, pl.DataFrame] = {}
    columns: list[pl.Series] = []
    for view in service.views:
        if isinstance(view, FeatureView):
            if view.source.name not in found:
                found[view.source.name] = source_rows.known(source_rows.stored(tables, view.source), known_until_us)
            question = _asked(view, found[view.source.name], asked, order["at"], as_of)
            columns += windowed(question) if view.windowed else _newest(question)
        else:
            columns += _on_demand(view, asked)
    joined = pl.concat([spine, pl.DataFrame([order[ROW], *columns]).sort(ROW).drop(ROW)], how="horizontal")
    if joined.height != spine.height:
        raise AssertionError(f"{spine.height} rows went in, {joined.height} came out")
    return joined


def _on_demand(view: OnDemandFeatureView, asked: pl.DataFrame) -> list[pl.Series]:
    inputs = rows.conform(asked, view.inputs, what=f"the frame, for view {view.name!r},")
    made = []
    for name, feature in view.features.items():
        values = inputs.select(expressions.column(feature.sql, view.inputs).alias(f"{view.name}__{name}")).to_series()
        made.append(values if values.len() == asked.height else values.new_from_index(0, asked.height))
    return made


def _asked(view: FeatureView, found: pl.DataFrame, asked: pl.DataFrame, at: pl.Series, as_of: AsOf) -> Question:
    keys = list(dict.fromkeys(view.join_keys))
    entities = rows.conform(asked, {key: view.source.fields[key] for key in keys}, what=f"the frame, for view {view.name!r},")
    numbers = entities.unique().drop_nulls().with_row_index(ENTITY).with_columns(pl.col(ENTITY).cast(pl.Int64))
    event = view.source.timestamp_field
    found = found.with_columns(pl.col(event).alias(EVENT), pl.max_horizontal(CREATED, event).alias(ARRIVED), pl.lit(1.0).alias(SIGN))
    if as_of == "event":
        found = source_rows.current(found, view.source)
    elif view.windowed:
        found = ledger(view, found)
    found = found.join(numbers, on=keys, how="inner", maintain_order="left")
    entity = entities.join(numbers, on=keys, how="left", maintain_order="left")[ENTITY]
    return Question(view, found, entity.fill_null(-1), at, as_of)


def _newest(question: Question) -> list[pl.Series]:
    """Scalar features: the place of the newest row of each spine row, then its features, expired by ttl."""
    view = question.view
    found = _ties_resolved(view, question.found.sort(ENTITY, EVENT, CREATED))
    if question.as_of == "event":
        lookup = found.select(ENTITY, PLACE, at=EVENT)
    else:
        lookup = found.sort(ENTITY, ARRIVED, PLACE).select(ENTITY, pl.col(PLACE).cum_max().over(ENTITY), at=ARRIVED)
    lookup = lookup.unique((ENTITY, "at"), keep="last", maintain_order=True).sort("at")
    places = question.last(lookup, question.at)
    features = found.select(
        EVENT, *(expressions.column(feature.sql, view.source.fields).alias(f"{view.name}__{name}") for name, feature in view.features.items())
    )
    picked = features[places.fill_null(0)] if features.height else features.clear(len(places))
    alive = places.is_not_null() & question.alive(picked[EVENT])
    return picked.drop(EVENT).with_columns(pl.when(alive).then(pl.all())).get_columns()


def _ties_resolved(view: FeatureView, found: pl.DataFrame) -> pl.DataFrame:
    """Rows of one entity, event and created time in the order in which the online store would prefer them."""
    key = (ENTITY, EVENT, CREATED)
    tied = found.select(pl.struct(key).is_duplicated()).to_series()
    if tied.any():
        stored, order = RowView(view), [b""] * found.height
        for place, row in zip(tied.arg_true(), found.filter(tied).iter_rows(named=True), strict=True):
            order[place] = stored.encode(row, row[CREATED])
        found = found.with_columns(pl.Series("_order", order, dtype=pl.Binary)).sort(*key, "_order").drop("_order")
    return found.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(PLACE))
