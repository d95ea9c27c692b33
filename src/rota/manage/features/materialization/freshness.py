"""Freshness of a feature view: how new its newest row is, measured against its ttl, and when it was last materialized."""

import math
from dataclasses import replace
from typing import Literal

import polars as pl

from rota.manage.features.materialization import materialization_log, online_comparison
from rota.manage.features.materialization.online_history import of_source
from rota.manage.features.materialization.push_stream import PushStream, pushed_rows
from rota.manage.features.online.reader import StoredView
from rota.manage.features.online.view_history import ViewHistory
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED
from rota.records.record import Record
from rota.records.time import SECOND_US, Micros

ViewState = Literal["empty", "not online", "behind", "fresh", "stale"]


class ViewStatus(Record, frozen=True):
    """What is known of a view now. Times are None where there is no row.

    `state`: "empty" (its source has no row), "not online" (nothing of its history is in the online store), "behind" (the `not_online`
    newest rows of its history are not there), "fresh" (all is there, and the newest row is within the ttl), "stale" (all is there, and it
    is older). `problem` says of the second and third what to do. `fresh` is whether the state is that.
    `rows` and `waiting` count the rows of the source in the offline table, and those pushed and not flushed yet;
    `materialized_us` and `materialized_keys` are of the last materialization. Pushed rows need none.
    """

    view: str
    source: str
    rows: int
    waiting: int
    newest_event_us: Micros | None
    newest_created_us: Micros | None
    age_s: float | None
    ttl_s: float | None
    fresh: bool
    materialized_us: Micros | None
    materialized_keys: int | None
    state: ViewState = "empty"
    not_online: int = 0
    problem: str = ""


def status(name: str, stream: PushStream, view: StoredView) -> ViewStatus:
    """Of the rows with an entity, in the table and in the journal."""
    source, keys, event = stream.source, list(dict.fromkeys(view.join_keys)), view.timestamp_field
    now_us = stream.stores.clock.now_us()
    scan = source_table.scan(stream.stores.tables, source, columns=list(dict.fromkeys([*keys, event, CREATED]))).drop_nulls(keys)
    rows, *newest = scan.select(pl.len(), pl.col(event).max().alias("event"), pl.col(CREATED).max().alias("created")).collect().row(0)
    waiting = 0
    for chunk in stream.uncarried():
        waiting += len(chunk.payloads)
        found = [(each.row[event], each.created_us) for each in pushed_rows(chunk) if all(each.row.get(key) is not None for key in keys)]
        for place, times in enumerate(zip(*found, strict=True)):
            newest[place] = max(time for time in (newest[place], *times) if time is not None)
    age_us = None if newest[0] is None else now_us - newest[0]
    history = of_source(stream, [view], online_comparison.compare(stream))[view.prefix]
    not_online = _not_online(history, stream, rows)
    state = _state(history, is_empty=newest[0] is None, is_stale=age_us is not None and age_us > view.ttl_us)
    last = materialization_log.last(stream.stores.metadata, view)
    return ViewStatus(
        name,
        source.name,
        rows,
        waiting,
        newest[0],
        newest[1],
        None if age_us is None else age_us / SECOND_US,
        None if math.isinf(view.ttl_us) else view.ttl_us / SECOND_US,
        state == "fresh",
        last.at_us if last else None,
        last.keys if last else None,
        state,
        not_online,
        replace(history, waiting=not_online).problem,
    )


def _state(history: ViewHistory, *, is_empty: bool, is_stale: bool) -> ViewState:
    if is_empty:
        return "empty"
    if history.problem:
        return "not online" if history.state == "not online" else "behind"
    return "stale" if is_stale else "fresh"


def _not_online(history: ViewHistory, stream: PushStream, rows: int) -> int:
    """How many rows of the table wait: those that were ingested since, or those dated ahead that have come due."""
    if history.state == "not online":
        return rows
    if history.state != "behind" or history.waiting:
        return history.waiting
    event, due_us = pl.col(stream.source.timestamp_field), history.due_us or 0
    scan = source_table.scan(stream.stores.tables, stream.source, columns=[stream.source.timestamp_field])
    return int(scan.filter((event >= due_us) & (event <= stream.stores.clock.now_us())).select(pl.len()).collect().item())
