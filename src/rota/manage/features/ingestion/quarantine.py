"""Rejects: every row that was left out of a source, with its reason and as it came, in the table `rejects/<source>`."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rota.manage.signals.exactly_once import tidy
from rota.ports.tables import Tables
from rota.records.intake import Rejection
from rota.records.record import check_name
from rota.records.time import Micros

MOST = 10_000
"""Rejects kept of one input and ingestion; all of them are counted."""
_COLUMNS: Mapping[str, pl.DataType] = {
    "at_us": pl.Int64(),
    "file": pl.String(),
    "row": pl.Int64(),
    "reason": pl.String(),
    "raw": pl.String(),
    "line": pl.Int64(),
}


def append(tables: Tables, source: str, rejections: Sequence[Rejection], *, at_us: Micros, batch: tuple[str, int] | None = None) -> None:
    """Keep rejected rows; with a batch, once."""
    if not rejections:
        return
    rows = [(at_us, each.file, each.row, each.reason, each.raw, each.line) for each in rejections]
    tidy(tables, _name(source), tables.append(_name(source), pl.DataFrame(rows, schema=_COLUMNS, orient="row"), batch=batch))


def read(tables: Tables, source: str, *, limit: int = 100) -> list[dict[str, Any]]:
    """The newest rejects: when, which file, row and line (0: none), why, and the row as it came."""
    if tables.version(_name(source)) is None:
        return []
    found = tables.scan(_name(source))
    line = pl.col("line").fill_null(0) if "line" in found.collect_schema().names() else pl.lit(0, pl.Int64).alias("line")
    newest = found.with_columns(line).sort("at_us", "file", "row", descending=[True, False, False], maintain_order=True)
    return newest.head(limit).collect().to_dicts()


def count(tables: Tables, source: str) -> int:
    """How many rejects are kept."""
    name = _name(source)
    return 0 if tables.version(name) is None else int(tables.scan(name).select(pl.len()).collect().item())


def unseen(tables: Tables, source: str, rejections: Sequence[Rejection]) -> list[Rejection]:
    """The rejections that are not kept yet: what is read again at an overlap is told once."""
    if not rejections or tables.version(_name(source)) is None:
        return list(rejections)
    raws = pl.LazyFrame({"raw": list({each.raw for each in rejections})})
    kept = set(tables.scan(_name(source), columns=["reason", "raw"]).join(raws, on="raw", how="semi").collect().iter_rows())
    return [each for each in rejections if (each.reason, each.raw) not in kept]


def _name(source: str) -> str:
    return f"rejects/{check_name('source', source)}"
