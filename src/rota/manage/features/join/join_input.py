"""One view's rows and who asks for them when: what the joins of scalar and of windowed features start from."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from rota.records.data import FeatureView
from rota.records.time import micros

AsOf = Literal["event", "served"]
ROW, ENTITY, PLACE, EVENT, ARRIVED, SIGN = "_row", "_entity", "_place", "_event", "_arrived", "_sign"


@dataclass(frozen=True, slots=True)
class Question:
    """One view's rows and who asks for them when: entities numbered, moments in order."""

    view: FeatureView
    found: pl.DataFrame
    entities: pl.Series
    at: pl.Series
    as_of: AsOf

    def last(self, lookup: pl.DataFrame, moments: pl.Series) -> pl.Series:
        """For each asked (entity, moment) the `_place` of the lookup's last row at or before it, or null; both are in order of time."""
        asked = pl.DataFrame({ENTITY: self.entities, "at": moments})
        return asked.join_asof(lookup, on="at", by=ENTITY, strategy="backward", check_sortedness=False)[PLACE]

    def alive(self, event_us: pl.Series) -> pl.Series:
        """Where there is a row, not older than the view's ttl."""
        if self.view.ttl is None:
            return event_us.is_not_null() & self.at.is_not_null()
        return ((self.at - event_us) <= micros(self.view.ttl)).fill_null(value=False)
