"""Rows in and out of files: JSON lines, CSV and Parquet by the file's suffix."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput, Unavailable
from rota.manage.features.rows import csv_tables
from rota.records.schema import Type


def read(file: Path, fields: Mapping[str, Type] | None = None) -> list[dict[str, Any]]:
    """The rows of a file; `fields` are the types of those that are known, for a CSV file says none. Raises `InvalidInput` naming the
    file, and the line or row where there is one."""
    try:
        if file.suffix in (".jsonl", ".ndjson", ".json"):
            return _json_lines(file)
        if file.suffix == ".csv":
            return csv_tables.read(file, fields).to_dicts()
        if file.suffix == ".parquet":
            return pl.read_parquet(file).to_dicts()
    except (OSError, PolarsError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}", file=str(file)) from error
    raise InvalidInput(f"{file} has the suffix {file.suffix!r}; give a .jsonl, .csv or .parquet file", file=str(file))


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to a file whose directory exists."""
    try:
        if file.suffix in (".jsonl", ".ndjson", ".json"):
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        elif file.suffix == ".csv":
            pl.DataFrame(rows, infer_schema_length=None).write_csv(file)
        elif file.suffix == ".parquet":
            pl.DataFrame(rows, infer_schema_length=None).write_parquet(file)
        else:
            raise InvalidInput(f"{file} has the suffix {file.suffix!r}; give a .jsonl, .csv or .parquet file", file=str(file))
    except OSError as error:
        raise Unavailable(f"{file} cannot be written: {error}", file=str(file)) from error


def write_frame(file: Path, frame: pl.DataFrame) -> None:
    """Write a frame to a .parquet or .csv file whose directory exists; the file appears whole or not at all."""
    if file.suffix not in (".parquet", ".csv"):
        raise InvalidInput(f"{file} has the suffix {file.suffix!r}; give a .parquet or .csv file", file=str(file))
    with _whole(file) as partial:
        if file.suffix == ".parquet":
            frame.write_parquet(partial)
        else:
            frame.write_csv(partial)


def write_text(file: Path, text: str) -> None:
    """Write a text to a file whose directory exists; the file appears whole or not at all."""
    with _whole(file) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    partial = file.with_name(file.name + ".partial")
    try:
        yield partial
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise Unavailable(f"{file} cannot be written: {error}", file=str(file)) from error


def one(text: str) -> dict[str, Any]:
    """A row given as JSON on the command line."""
    return _row(text, "--row")


def _json_lines(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text().splitlines()
    return [_row(line, f"{file}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _row(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{where} is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InvalidInput(f'{where} is a {type(row).__name__}, not an object such as {{"origin": "JFK"}}')
    return row
