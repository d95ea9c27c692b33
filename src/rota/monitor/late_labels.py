"""Labels that came late, or were corrected: which measured days they change, however old those are."""

from collections.abc import Iterator, Sequence

import polars as pl

from rota.manage.signals import labels, prediction_log
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.signal import Cursor, MonitorSlice
from rota.records.time import DAY_US, Micros

OVERLAP_US = DAY_US
"""Labels received as long before the last look are looked at again: another process may have stored them after it."""
DAYS_AT_ONCE = 30


def cursor(metadata: Metadata, endpoint: str) -> Cursor:
    """Up to when an endpoint's labels were looked at; its position is a moment in microseconds, 0 before the first look."""
    name = f"monitor.labels/{endpoint}"
    return metadata.get(Cursor, name) or Cursor(name, 0)


def changed_slices(metadata: Metadata, tables: Tables, endpoint: str, *, since_us: Micros) -> list[MonitorSlice]:
    """The slices of days with a label that was received since a moment, oldest first."""
    new = labels.STREAM.scan(tables, endpoint, ["prediction_id", "received_us"]).filter(pl.col("received_us") >= since_us - OVERLAP_US)
    log = prediction_log.STREAM.scan(tables, endpoint, ["prediction_id", "at_us"])
    labelled = log.join(new.select("prediction_id").unique(), on="prediction_id", how="semi")
    days = labelled.select((pl.col("at_us") // DAY_US * DAY_US).alias("day")).unique().collect()["day"].sort().to_list()
    return [found for day in days if (found := metadata.get(MonitorSlice, endpoint, day)) is not None]


def together(slices: Sequence[MonitorSlice]) -> Iterator[list[MonitorSlice]]:
    """Slices in groups of neighbouring days, so that a group's rows are read at once and no group spans a gap of months."""
    group: list[MonitorSlice] = []
    for each in slices:
        if group and (len(group) == DAYS_AT_ONCE or each.start_us - group[-1].start_us > DAYS_AT_ONCE * DAY_US):
            yield group
            group = []
        group.append(each)
    if group:
        yield group
