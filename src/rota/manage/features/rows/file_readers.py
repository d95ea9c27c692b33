"""Files of rows: CSV, Parquet and JSON lines, read a chunk at a time so that a file may be larger than memory.

CSV and JSON lines may be packed with gzip, CSV with zstd too. The order of the rows follows from the content alone, so that whoever
reads it again finds each row at the same place.
"""

import csv
import glob
import gzip
import hashlib
import io
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

import msgspec
import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.features.rows import column_conversion
from rota.manage.features.rows.column_conversion import RAW_CHARACTERS, Raw, as_json
from rota.manage.features.rows.value_columns import column_of
from rota.records.schema import Type

CHUNK_ROWS = 100_000
_SAMPLE_ROWS = 1_000
_NULLS = ["", "NA", "NaN", "nan", "null", "NULL", "None"]
_ENDINGS = (".csv", ".csv.gz", ".csv.zst", ".parquet", ".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chunks(path: Path, wanted: Collection[str] | None, *, name: str = "", rows: int = CHUNK_ROWS) -> Iterator[Raw]:
    """The file's rows with the wanted columns (their declared types if they are known; None: all columns), CHUNK_ROWS at a time.

    A row that cannot be taken apart is a fault of its own. A file that cannot be read at all raises `InvalidInput`, and
    does so before its first chunk unless it is damaged Parquet.
    """
    shown, ending = name or str(path), _ending(path, name or str(path))
    try:
        if ending == ".parquet":
            yield from _parquet(path, wanted, rows)
        elif ending.startswith(".csv"):
            yield from _csv(path, wanted, rows, ending)
        else:
            yield from _json_lines(path, wanted, rows)
    except (PolarsError, OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{shown} cannot be read: {str(error).partition(chr(10))[0]}", path=shown) from error


def inferred_fields(path: str | Path) -> dict[str, Type]:
    """Names and types of the columns of a local file, or of the first that a glob matches, out of its header or footer and first rows.

    Raises `NotFound` where there is none, `Unavailable` for s3:// (give the fields of such a source).
    """
    if "://" in str(path):
        raise Unavailable(f"the fields of {str(path)!r} are not looked up when it is declared; give them", path=str(path))
    found = sorted(name for name in glob.iglob(str(path), recursive=True) if Path(name).is_file())  # noqa: PTH207 - a pattern may be absolute
    if not found:
        raise NotFound(f"no file matches {str(path)!r}; give a CSV, Parquet or JSON lines file, or a glob of them", path=str(path))
    sample = next(chunks(Path(found[0]), None, rows=_SAMPLE_ROWS), Raw(pl.DataFrame()))
    return {column.name: inferred(column, cells=sample.cells) for column in sample.frame if column.dtype != pl.Null or sample.frame.height}


def inferred(column: pl.Series, *, cells: bool = False) -> Type:
    """The type that fits every value of a column; cells of CSV are looked into, and values of several types."""
    dtype = column.dtype
    if dtype.is_integer():
        return "int"
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        return "float"
    if dtype == pl.Boolean:
        return "bool"
    if isinstance(dtype, pl.Datetime) or dtype == pl.Date:
        return "timestamp"
    if dtype in (pl.String, pl.Object) and column.null_count() < column.len():
        kinds: tuple[Type, ...] = ("int", "float", "bool", "timestamp")
        return next((kind for kind in kinds if column_conversion.fits(column, kind, cells=cells)), "string")
    return "string"


def _ending(path: Path, shown: str) -> str:
    lowered = path.name.lower()
    ending = max((each for each in _ENDINGS if lowered.endswith(each)), key=len, default=None)
    if ending is None:
        raise InvalidInput(f"{shown} is no file that can be ingested; the endings are {list(_ENDINGS)}", path=shown)
    return ending


def _parquet(path: Path, wanted: Collection[str] | None, rows: int) -> Iterator[Raw]:
    scan = pl.scan_parquet(path, glob=False)
    yield from _even(_batches(scan, wanted, rows), rows)


def _csv(path: Path, wanted: Collection[str] | None, rows: int, ending: str) -> Iterator[Raw]:
    """By the quick reader when it can read the whole file, else row by row, so that a broken row costs that row only."""
    if path.stat().st_size == 0:
        return
    try:
        scan = pl.scan_csv(path, infer_schema=False, null_values=_NULLS, glob=False)
        for _ in _batches(scan, wanted, rows):
            pass
    except PolarsError:
        if ending == ".csv.zst":
            raise
        for _ in _csv_by_row(path, wanted, rows):
            pass
        yield from _csv_by_row(path, wanted, rows)
    else:
        yield from (replace(raw, cells=True) for raw in _even(_batches(scan, wanted, rows), rows))


def _batches(scan: pl.LazyFrame, wanted: Collection[str] | None, rows: int) -> Iterator[pl.DataFrame]:
    there = scan.collect_schema().names()
    chosen = there if wanted is None else [name for name in there if name in wanted]
    if chosen:
        yield from scan.select(chosen).collect_batches(chunk_size=rows, maintain_order=True)
    else:
        # The rows are counted although none of their columns is wanted.
        yield from scan.select(pl.repeat(None, pl.len(), dtype=pl.Null).alias("_")).collect_batches(chunk_size=rows)


def _even(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[Raw]:
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


def _csv_by_row(path: Path, wanted: Collection[str] | None, rows: int) -> Iterator[Raw]:
    with _opened(path) as file:
        lines = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=""), strict=True)
        header = next(lines, [])
        places = {name: place for place, name in reversed(list(enumerate(header))) if wanted is None or name in wanted}
        held: list[list[str | None]] = []
        faults: dict[int, tuple[str, str]] = {}
        for line in lines:
            if not line:
                continue
            if fault := _fault(line, header):
                faults[len(held)] = (fault, as_json(line)[:RAW_CHARACTERS])
                held.append([None] * len(places))
            else:
                held.append([line[place] if place < len(line) and line[place] not in _NULLS else None for place in places.values()])
            if len(held) == rows:
                yield _raw_texts(places, held, faults)
                held, faults = [], {}
        if held:
            yield _raw_texts(places, held, faults)


def _fault(line: list[str], header: list[str]) -> str:
    if len(line) > len(header):
        return f"the row has {len(line)} fields, the header {len(header)}"
    if not all(text.isascii() or _is_text(text) for text in line):
        return "the row is no valid UTF-8"
    return ""


def _is_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _raw_texts(places: Collection[str], held: list[list[str | None]], faults: dict[int, tuple[str, str]]) -> Raw:
    if not places:
        return Raw(pl.DataFrame({"_": [None] * len(held)}), faults, cells=True)
    return Raw(pl.DataFrame(held, schema=dict.fromkeys(places, pl.String), orient="row"), faults, cells=True)


def _json_lines(path: Path, wanted: Collection[str] | None, rows: int) -> Iterator[Raw]:
    with _opened(path) as file:
        held: list[dict[str, Any]] = []
        faults: dict[int, tuple[str, str]] = {}
        for line in file:
            if not line.strip():
                continue
            row = _json_row(line)
            if isinstance(row, str):
                faults[len(held)] = (row, line.decode(errors="replace").strip()[:RAW_CHARACTERS])
                row = {}
            held.append(row)
            if len(held) == rows:
                yield _raw_values(held, wanted, faults)
                held, faults = [], {}
        if held:
            yield _raw_values(held, wanted, faults)


def _json_row(line: bytes) -> dict[str, Any] | str:
    """The row of a line, or why it is none."""
    try:
        row = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"the line is not JSON: {error}"
    return row if isinstance(row, dict) else f"the line is a {type(row).__name__}, not an object"


def _raw_values(held: list[dict[str, Any]], wanted: Collection[str] | None, faults: dict[int, tuple[str, str]]) -> Raw:
    names = [name for name in dict.fromkeys(name for row in held for name in row) if wanted is None or name in wanted]
    columns = [column_of(name, [row.get(name) for row in held]) for name in names]
    return Raw(pl.DataFrame(columns) if columns else pl.DataFrame({"_": [None] * len(held)}), faults)


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")
