"""Feature columns made part by part, in whatever order the parts come."""

import numpy as np
import polars as pl


class Answers:
    """Columns of a fixed height, null where nothing is put. Parts wait as they are until the end: one look-up a column is quicker
    than writing each part to its places."""

    def __init__(self, height: int, template: pl.DataFrame) -> None:
        self._height = height
        self._template = template
        self._parts: list[tuple[np.ndarray, pl.DataFrame]] = []

    def put(self, places: np.ndarray, values: pl.DataFrame) -> None:
        """Keep rows. Threads may put parts at once that have no place in common."""
        if len(places):
            self._parts.append((places, values))

    def take(self) -> list[pl.Series]:
        """The finished columns; the parts are given up here, so that they do not lie in memory twice."""
        if not self._parts:
            return [pl.Series(name, [None], dtype=dtype).new_from_index(0, self._height) for name, dtype in self._template.schema.items()]
        places = np.full(self._height, -1, dtype=np.int64)
        start = 0
        for at, values in self._parts:
            places[at] = np.arange(start, start + values.height)
            start += values.height
        found = pl.Series(places)
        where = pl.select(pl.when(found >= 0).then(found)).to_series()
        made = pl.concat([values for _, values in self._parts])
        self._parts = []
        return [made.drop_in_place(name).gather(where) for name in self._template.columns]
