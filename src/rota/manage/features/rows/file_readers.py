"""Files of rows: CSV, Parquet and JSON lines, read a chunk at a time so that a file may be larger than memory.

CSV and JSON lines may be packed with gzip, CSV with zstd too. The order of the rows follows from the content alone, so that whoever
reads it again finds each row at the same place.
"""

import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput
from rota.manage.features.rows import csv_reader, json_lines, text_files
from rota.manage.features.rows.column_conversion import Raw
from rota.manage.features.rows.file_look import FileLook, check_columns
from rota.records.file_format import FileFormat

CHUNK_ROWS = 100_000
MOST_ROWS = 10_000_000_000
"""Rows that a Parquet file may say it has: nulls take no room in it, and each is read."""
_ENDINGS = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_FORMAT = FileFormat()


def digest(path: Path, *, limit: int | None = None) -> str:
    """SHA-256 of a file's content, or of its first `limit` bytes."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(text_files.PIECE if limit is None else min(text_files.PIECE, limit)):
            sha.update(piece)
            limit = None if limit is None else limit - len(piece)
    return sha.hexdigest()


def is_text(name: str) -> bool:
    """Whether a file of this name has lines, which may still be added to."""
    return _ending(Path(name), name) != ".parquet"


def chunks(
    path: Path, wanted: Collection[str] | None, *, name: str = "", rows: int = CHUNK_ROWS, form: FileFormat = _FORMAT, look: FileLook | None = None
) -> Iterator[Raw]:
    """The file's rows with the wanted columns (their declared types if they are known; None: all columns), CHUNK_ROWS at a time.

    A row that cannot be taken apart is a fault of its own. A file that cannot be read at all raises `InvalidInput`, and
    does so before its first chunk unless it is damaged Parquet or damaged packed text. `look` says where to begin and is told what was seen.
    """
    shown, ending = name or str(path), _ending(path, name or str(path))
    look = look or FileLook()
    try:
        if ending == ".parquet":
            yield from _parquet(path, wanted, rows)
            return
        text = text_files.lines_bounded(text_files.until(text_files.pieces(path, form, limit=look.limit), look.stop))
        if ending.startswith(".csv"):
            yield from csv_reader.read(text, wanted, rows, form, look)
        else:
            yield from json_lines.read(text, wanted, rows, look)
    except InvalidInput as error:
        raise InvalidInput(f"{shown} cannot be read: {error}", path=shown, **error.facts) from error
    except (PolarsError, OSError, EOFError) as error:
        raise InvalidInput(f"{shown} cannot be read: {str(error).partition(chr(10))[0]}", path=shown) from error


def _ending(path: Path, shown: str) -> str:
    lowered = path.name.lower()
    ending = max((each for each in _ENDINGS if lowered.endswith(each)), key=len, default=None)
    if ending is None:
        raise InvalidInput(f"{shown} is no file that can be ingested; the endings are {list(_ENDINGS)}", path=shown)
    return ending


def _parquet(path: Path, wanted: Collection[str] | None, rows: int) -> Iterator[Raw]:
    scan = pl.scan_parquet(path, glob=False)
    there = scan.collect_schema().names()
    check_columns(len(there))
    height = scan.select(pl.len()).collect().item()
    if not 0 <= height <= MOST_ROWS:
        raise InvalidInput(f"it says that it has {height} rows, at most {MOST_ROWS} are read; write several files", limit=MOST_ROWS)
    chosen = there if wanted is None else [name for name in there if name in wanted]
    if chosen:
        yield from even(scan.select(chosen).collect_batches(chunk_size=rows, maintain_order=True), rows)
    else:
        # The rows are counted although none of their columns is wanted.
        yield from even(scan.select(pl.repeat(None, pl.len(), dtype=pl.Null).alias("_")).collect_batches(chunk_size=rows), rows)


def even(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[Raw]:
    """Chunks of exactly `rows` rows, the last one fewer."""
    held: list[pl.DataFrame] = []
    height = 0
    for batch in batches:
        held.append(batch)
        height += batch.height
        while height >= rows:
            joined = pl.concat(held)
            yield Raw(joined[:rows])
            held, height = [joined[rows:]], height - rows
    if height:
        yield Raw(pl.concat(held))
