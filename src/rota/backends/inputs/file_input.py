"""Input files (port `Files`) out of directories and S3-compatible buckets.

Buckets are read with obstore; endpoint, region and keys come from the usual AWS_* variables, and are asked for
when a bucket is read, not before.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rota import found_files
from rota.errors import InvalidInput, NotFound, Unavailable
from rota.found_files import FoundFile
from rota.ports.inputs import InputFile

_S3 = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class FileInput:
    """Files (port). `environ` is where S3's variables are looked up."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def find(self, pattern: str) -> list[InputFile]:
        found = self._find_s3(pattern) if _checked(pattern).startswith(_S3) else [_input(each) for each in found_files.matching(pattern)]
        if not found:
            raise NotFound(f"no file matches {pattern!r}; give a CSV, Parquet or JSON lines file, or a glob of them", path=pattern)
        return sorted(found, key=lambda file: file.name)

    @contextmanager
    def fetch(self, file: InputFile, *, growing: bool = False) -> Iterator[Path]:
        if not file.name.startswith(_S3):
            path = Path(file.name)
            _still(file, path, growing=growing)
            yield path
            _still(file, path, growing=growing)
            return
        with tempfile.TemporaryDirectory(prefix="rota-input-") as folder:
            path = Path(folder) / file.name.rpartition("/")[2]
            self._download(file, path)
            yield path

    def _find_s3(self, pattern: str) -> list[InputFile]:
        bucket, _, key = pattern.removeprefix(_S3).partition("/")
        if not _BUCKET.fullmatch(bucket) or not key:
            raise InvalidInput(f"{pattern!r} names no bucket and key; write s3://bucket/path/*.parquet", path=pattern)
        store, magic, where = self._store(bucket), found_files.WILDCARD.search(key), f"{_S3}{bucket}"
        if magic is None:
            with _answers(where):
                return [_listed(where, store.head(key))]
        wanted, seen, found = found_files.expression(key), 0, []
        with _answers(where):
            for page in store.list(prefix=key[: magic.start()].rpartition("/")[0] or None):
                seen += len(page)
                if seen > found_files.MOST_NAMES:
                    raise InvalidInput(f"{pattern!r} would look at more than {found_files.MOST_NAMES} names; give a narrower pattern", path=pattern)
                found += [_listed(where, entry) for entry in page if wanted.fullmatch(entry["path"])]
        return found

    def _download(self, file: InputFile, path: Path) -> None:
        """The object as it was listed: a changed one has another etag, and is refused by the server."""
        bucket, _, key = file.name.removeprefix(_S3).partition("/")
        etag = file.stamp.partition("/")[0]
        store = self._store(bucket)
        with _answers(f"{_S3}{bucket}"), path.open("wb") as local:
            for part in store.get(key, options={"if_match": etag}).stream(min_chunk_size=8_000_000):
                local.write(part)
        if path.stat().st_size != file.size_bytes:
            raise _changed(file)

    def _store(self, bucket: str) -> Any:
        try:
            from rota.backends.storage.s3_bucket import open_bucket  # noqa: PLC0415 - obstore is there only with rota[s3]
        except ImportError:
            raise InvalidInput(f"reading {_S3}{bucket} needs the S3 engine; install rota[s3]", path=f"{_S3}{bucket}") from None
        return open_bucket(f"{_S3}{bucket}", self._environ).store


@contextmanager
def _answers(where: str) -> Iterator[None]:
    """What obstore raises, in our words."""
    from obstore import exceptions  # noqa: PLC0415 - only called where obstore is there

    try:
        yield
    except exceptions.PreconditionError as error:
        raise Unavailable(f"a file in {where} changed while it was read; ingest again", path=where) from error
    except (exceptions.BaseError, OSError) as error:
        said = str(error)
        if any(word in said for word in ("403 Forbidden", "401 Unauthorized", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")):
            raise Unavailable(f"{where} refuses these credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", path=where) from error
        if isinstance(error, FileNotFoundError) or "404 Not Found" in said:
            raise NotFound(f"{where}, or the file asked for in it, does not exist; check the name and AWS_ENDPOINT_URL", path=where) from error
        raise Unavailable(f"{where} does not answer; check AWS_ENDPOINT_URL and the network, then retry", path=where) from error


def _listed(where: str, entry: Mapping[str, Any]) -> InputFile:
    return InputFile(f"{where}/{entry['path']}", entry["size"], f"{entry['e_tag']}/{entry['size']}/{entry['version'] or ''}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _checked(pattern: str) -> str:
    found_files.check_pattern(pattern)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", pattern)
    if scheme and not pattern.startswith(_S3):
        raise InvalidInput(f"{pattern!r} is neither a path nor s3://; {scheme[1]}: addresses are not read", path=pattern)
    return pattern


def _input(file: FoundFile) -> InputFile:
    return InputFile(str(file.path), file.about.st_size, _stamp(file.about), max(0.0, time.time() - file.about.st_mtime))


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_ino}/{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}"


def _still(file: InputFile, path: Path, *, growing: bool) -> None:
    there = found_files.regular(path)
    now = None if there is None else _input(there)
    if now is None or (now.stamp != file.stamp and not (growing and _longer(file, now))):
        raise _changed(file)


def _longer(before: InputFile, now: InputFile) -> bool:
    """Whether a file is the same one (by its inode) and no shorter."""
    return before.stamp.partition("/")[0] == now.stamp.partition("/")[0] and now.size_bytes >= before.size_bytes


def _changed(file: InputFile) -> Unavailable:
    return Unavailable(f"{file.name} changed while it was read; write files under another name and rename them, then ingest again", path=file.name)
