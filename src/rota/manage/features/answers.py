"""Feature columns filled in part by part, in whatever order the parts come."""

import numpy as np
import polars as pl


class Answers:
    """Columns of a fixed height, null where nothing is put. Floats are written in place; other types wait as parts until the end."""

    def __init__(self, height: int, template: pl.DataFrame) -> None:
        self._height = height
        self._schema = template.schema
        floats = [name for name, dtype in self._schema.items() if dtype == pl.Float64]
        # One block: memory that is asked for at once comes in large pages, which are quicker to fill here and there.
        self._floats = dict(zip(floats, np.full((len(floats), height), np.nan), strict=True))
        self._parts: list[tuple[np.ndarray, pl.DataFrame]] = []

    def put(self, places: np.ndarray, values: pl.DataFrame) -> None:
        """Write rows. Threads may put parts at once that have no place in common."""
        for name, column in self._floats.items():
            column[places] = values[name].to_numpy()
        rest = [name for name in self._schema if name not in self._floats]
        if rest and len(places):
            self._parts.append((places, values.select(rest)))

    def take(self) -> list[pl.Series]:
        """The finished columns; they are given up here, so that they do not lie in memory twice."""
        made = []
        place, rest = self._where()
        for name, dtype in self._schema.items():
            if name in self._floats:
                made.append(pl.Series(name, self._floats.pop(name)).fill_nan(None))
            elif rest is None:
                made.append(pl.Series(name, [None], dtype=dtype).new_from_index(0, self._height))
            else:
                made.append(rest[name].gather(place))
        return made

    def _where(self) -> tuple[pl.Series, pl.DataFrame | None]:
        """For each row where its value lies in the parts put together, or null."""
        places = np.full(self._height, -1, dtype=np.int64)
        start = 0
        for at, values in self._parts:
            places[at] = np.arange(start, start + values.height)
            start += values.height
        rest = pl.concat([values for _, values in self._parts]) if self._parts else None
        return pl.select(pl.when(pl.lit(pl.Series(places)) >= 0).then(pl.lit(pl.Series(places)))).to_series(), rest
