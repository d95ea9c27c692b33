"""The files that Delta tables consist of, in a bucket (see `table_files`)."""

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from rota.backends.storage.delta_commits import LOG
from rota.backends.storage.s3_bucket import open_bucket
from rota.backends.storage.s3_tables import S3Tables
from rota.backends.storage.table_files import belongs, live_files, newest
from rota.errors import NotFound
from rota.ports.backup import SourceFile
from rota.records.backup import TABLES

_IN_MEMORY = 34_000_000
_LOOKS_AT_WORK = 3
_AT_ONCE = 16


class BucketTableFiles:
    """TableFiles (port) in a bucket. `versions` tells whether writers were at work; they are held back once that was so for some looks."""

    def __init__(self, url: str) -> None:
        self._bucket = open_bucket(url).within("tables")
        self._place = S3Tables(self._bucket)
        self._looks = 0

    @contextmanager
    def standing(self) -> Iterator[None]:
        self._looks += 1
        if self._looks <= _LOOKS_AT_WORK:
            yield
            return
        with self._place.held_back():
            yield

    def versions(self) -> dict[str, int]:
        tables = list(self._place.tables())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = dict(zip(tables, pool.map(self._newest, tables), strict=True))
        return {table: version for table, version in found.items() if version is not None}

    def _newest(self, table: str) -> int | None:
        return newest(path.rpartition("/")[2] for path in self._bucket.paths(f"{self._folder(table)}/{LOG}"))

    def files(self, table: str, version: int) -> tuple[list[SourceFile], list[str]]:
        folder, live = self._folder(table), live_files(self._place, table, version)
        files, there = [], set()
        for path, size, tag in self._bucket.listed(folder):
            name = path.removeprefix(f"{folder}/")
            if "/" not in name and name.endswith(".parquet"):
                there.add(name)
            elif not (name.startswith(f"{LOG}/") and belongs(name.removeprefix(f"{LOG}/"), version)):
                continue
            files.append(SourceFile(f"{TABLES}{table}/{name}", size, partial(self._read, path), stamp=tag))
        return files, sorted(live - there)

    def write(self, table: str, path: str, chunks: Iterable[bytes]) -> None:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
            spool.writelines(chunks)
            spool.seek(0)
            self._bucket.write_file(f"{table}/{path}", spool)

    def _folder(self, table: str) -> str:
        return self._place.life(table).uri.removeprefix(self._bucket.url() + "/")

    def _read(self, path: str) -> Iterator[bytes]:
        pieces = self._bucket.pieces(path)
        if pieces is None:
            raise NotFound(f"{path} is gone from {self._bucket}", path=path)
        yield from pieces
