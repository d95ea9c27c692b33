"""A CSV file as a table at once: what is declared in its type, what is not as it looks. For files that somebody names on the command line."""

from collections.abc import Collection, Mapping
from pathlib import Path

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.rows import column_conversion, field_inference, file_readers
from rota.manage.features.rows.file_look import FileLook
from rota.records.schema import Type


def read(path: Path, fields: Mapping[str, Type] | None = None) -> pl.DataFrame:
    """The rows of a CSV file, times as UTC datetimes. An empty cell is null.

    Raises `InvalidInput` naming file, row and column for a cell that is not of its declared type, and for a file that cannot be read.
    """
    look, known = FileLook(), fields or {}
    parts = list(file_readers.chunks(path, None, look=look))
    for part in parts:
        for place, (reason, _) in sorted(part.faults.items()):
            raise InvalidInput(f"{path}, line {part.lines[place] if part.lines is not None else place + 1}: {reason}", file=str(path))
    twice = sorted({name for name in look.names if look.names.count(name) > 1})
    if twice:
        raise InvalidInput(f"{path}: its header names {twice} more than once; give each column its own name", file=str(path), columns=twice)
    texts = pl.concat([part.frame for part in parts]) if parts else pl.DataFrame(schema=dict.fromkeys(look.names, pl.String))
    kinds = {column.name: known.get(column.name) or field_inference.inferred(column, cells=True) for column in texts}
    found = texts.with_columns(pl.col(name).replace("", None) for name, kind in kinds.items() if kind != "string")
    made = column_conversion.conform(found, kinds, what=str(path), cells=True)
    return made.with_columns(pl.col(name).cast(pl.Datetime("us", "UTC")) for name, kind in kinds.items() if kind == "timestamp")


def timed(table: pl.LazyFrame, what: str, *, texts: Collection[str] = ()) -> pl.LazyFrame:
    """A table of any size with those columns of texts as times whose first thousand are ISO 8601; a later text that is none is an error.

    The columns `texts` stay as they are.
    """
    sample = table.head(1_000).collect()
    names = [column.name for column in sample if column.dtype == pl.String and column.null_count() < column.len() and column.name not in texts]
    times = [name for name in names if column_conversion.fits(sample[name], "timestamp")]

    def converted(column: pl.Series) -> pl.Series:
        moments = column_conversion.conform(column.to_frame(), {column.name: "timestamp"}, what=what).to_series()
        return moments.cast(pl.Datetime("us", "UTC"))

    return table.with_columns(pl.col(name).map_batches(converted, return_dtype=pl.Datetime("us", "UTC")) for name in times)
