"""Inputs: rows of other people's files and databases, read and never written."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that a pattern matches. As long as `stamp` stays the same, so does the content.

    `age_s`: seconds since it was changed last, when it was found; infinite where files appear whole, as the objects of a bucket do.
    """

    name: str
    size_bytes: int
    stamp: str
    age_s: float = field(default=math.inf, compare=False)


class Files(Protocol):
    """Files of directories and buckets.

    Law:
    - `find` lists what a path or pattern matches, by name: `*`, `?` and `[...]` within one part, `**` for any number of
      directories. Wildcards pass over names that start with "." or "_" (what other tools keep for themselves) and `**`
      follows no links. Nothing found raises `NotFound`; a pattern with a NUL, another scheme than s3://, or so
      wide that more than `found_files.MOST_NAMES` entries would be looked at raises `InvalidInput`.
    - `fetch` gives the file as it was found, on local disk for as long as the block lasts. A file that changed or
      disappeared since raises `Unavailable`, as does storage that does not answer. No error shows a secret. `growing`: a file
      that was only made longer has not changed.
    """

    def find(self, pattern: str) -> list[InputFile]: ...

    def fetch(self, file: InputFile, *, growing: bool = False) -> AbstractContextManager[Path]: ...


@dataclass(frozen=True, slots=True)
class WatermarkQuery:
    """Rows of a query whose column `mark` lies in [since, until], an end that is None being open.

    `kind` is what `mark` is declared as; a timestamp is asked for in microseconds, whatever the database keeps it as.
    """

    url: str
    query: str
    mark: str
    kind: str
    since: int | None = None
    until: int | None = None


class Databases(Protocol):
    """SQL databases, each read through one connection that can write nothing.

    Law:
    - `url` holds ${NAME} for values of the environment, filled in when the connection is opened; no error and no log shows them.
    - `batches` yields the rows by ascending mark, `rows` at a time (the last fewer), out of one consistent view where the
      database has such a thing, without holding more than a batch in memory. Rows whose mark is null are left out.
    - Columns arrive as the database names them, as Int64, Float64, Boolean, String or Datetime in UTC; values of several types
      in one column and integers beyond 64 bits as Object, each value as it is, and everything else as String.
    - A wrong URL, query or column raises `InvalidInput`, a missing variable too; a database that is not there or goes away,
      also in the middle, raises `Unavailable`.
    """

    def batches(self, wanted: WatermarkQuery, *, rows: int) -> Iterator[pl.DataFrame]: ...


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where ingestion reads from."""

    files: Files
    databases: Databases
