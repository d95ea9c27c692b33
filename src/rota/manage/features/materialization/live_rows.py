"""The rows that count of a source with ids, out of its offline table and its journal: what stands for an entity when its newest row went away.

Read only when a correction takes the newest row of an entity away, or when rows are brought online long after they were received;
it costs three looks into the table.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import polars as pl

from rota.manage.features.materialization import materialization_log
from rota.manage.features.materialization.online_update import RECENT_US, PushedRow, columns
from rota.manage.features.materialization.push_stream import PushStream, pushed_rows
from rota.manage.features.materialization.served_index import Vacancy
from rota.manage.features.online.row_codec import RowView, entity_names
from rota.manage.features.rows import source_table
from rota.manage.features.rows.source_table import CREATED, RECEIVED
from rota.records.time import Micros

NOT_INGESTED = pl.lit(None, dtype=pl.Int64).alias(RECEIVED)
NEVER = 2**61
_NAME = "_name"


class LiveRows:
    """What is known now of one source. Rows that are journalled count, whether they are online yet or not; ingested ones once they have
    been materialized, which is now (`materialized_us`) or what the log says."""

    def __init__(self, stream: PushStream, *, materialized_us: Micros | None = None) -> None:
        self._stream = stream
        self._materialized_us = materialized_us
        self._source = stream.source

    def successors(self, vacancies: Sequence[Vacancy]) -> Mapping[bytes, bytes | None]:
        """The newest row that counts of each entity, as the view stores it, by key."""
        identity = self._source.id_field or ""
        history = _History(self._stream)
        gone = history.rows(identity, [vacancy.id for vacancy in vacancies])
        found: dict[bytes, bytes | None] = {}
        for join_keys in dict.fromkeys(vacancy.view.join_keys for vacancy in vacancies):
            views = [vacancy for vacancy in vacancies if vacancy.view.join_keys == join_keys]
            keys = list(dict.fromkeys(join_keys))
            entities = gone.select(keys).unique().drop_nulls()
            ids = history.of(entities)[identity].unique()
            versions = known_by(history.rows(identity, ids.to_list()), self._source.timestamp_field, self._stream.stores.clock.now_us())
            for view in {vacancy.view.prefix: vacancy.view for vacancy in views}.values():
                current = source_table.current(self._online(versions, view), self._source).drop_nulls(keys)
                names = entity_names([current[key].to_list() for key in join_keys])
                current = current.with_columns(pl.Series(_NAME, names, dtype=pl.Binary))
                for key in [vacancy.key for vacancy in views if vacancy.view is view]:
                    rows = current.filter(pl.col(_NAME) == key.removeprefix(view.prefix)).iter_rows(named=True)
                    found[key] = max((view.encode(row, row[CREATED]) for row in rows), key=view.order, default=None)
        return found

    def _online(self, versions: pl.DataFrame, view: RowView) -> pl.DataFrame:
        """The rows that were pushed, and those ingested that a materialization of the view has brought."""
        until_us = self._materialized_us
        if until_us is None and versions[RECEIVED].null_count() < versions.height:
            known = materialization_log.last(self._stream.stores.metadata, view)
            until_us = known.at_us if known is not None else None
        brought = pl.max_horizontal(RECEIVED, self._source.timestamp_field) <= (until_us if until_us is not None else -NEVER)
        return versions.filter(pl.col(RECEIVED).is_null() | brought)

    def outdated(self, pushed: Sequence[PushedRow]) -> set[int]:
        """The places of rows of which a later version is known."""
        late_us = self._stream.stores.clock.now_us() - RECENT_US
        if min(map(itemgetter(0), pushed), default=late_us) >= late_us:
            return set()  # the de-duplication index knows whether one of them was overtaken
        identity = self._source.id_field or ""
        versions = _History(self._stream).rows(identity, list({each.row[identity] for each in pushed}))
        newest = dict(versions.group_by(identity).agg(pl.col(CREATED).max()).iter_rows())
        return {i for i, each in enumerate(pushed) if newest.get(each.row[identity], each.created_us) > each.created_us}


def known_by(rows: pl.DataFrame, timestamp: str, now_us: Micros) -> pl.DataFrame:
    """Rows whose facts are known: none dated later than now, unless it was received by a clock that was ahead."""
    return rows.filter(pl.col(timestamp) <= pl.max_horizontal(pl.lit(now_us), CREATED))


class _History:
    """The journal is read before the table: a row that is carried over meanwhile is seen twice, which does no harm, but never missed."""

    def __init__(self, stream: PushStream) -> None:
        self._source = stream.source
        self._journal = columns(stream.source, [each for chunk in stream.uncarried() for each in pushed_rows(chunk)]).with_columns(NOT_INGESTED)
        tables = stream.stores.tables
        version = tables.version(source_table.table(stream.source))
        self._scan = source_table.scan(tables, stream.source, version=version, columns=self._journal.columns)

    def rows(self, name: str, values: Sequence[Any]) -> pl.DataFrame:
        """All versions with one of the values."""
        wanted = pl.Series(values, dtype=self._journal.schema[name])
        return self._found(pl.col(name).is_in(wanted.implode()))

    def of(self, entities: pl.DataFrame) -> pl.DataFrame:
        """All versions that ever belonged to one of the entities."""
        keys = entities.columns
        found = self._scan.join(entities.lazy(), on=keys, how="semi").collect()
        return pl.concat([found, self._journal.join(entities, on=keys, how="semi")])

    def _found(self, condition: pl.Expr) -> pl.DataFrame:
        return pl.concat([self._scan.filter(condition).collect(), self._journal.filter(condition)])
