"""Input files (port `Files`) out of directories and S3-compatible buckets.

Buckets are read with obstore; endpoint, region and keys come from the usual AWS_* variables, and are asked for
when a bucket is read, not before.
"""

import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.ports.inputs import MOST, InputFile

_MAGIC = re.compile(r"[*?\[]")
_S3 = "s3://"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class FileInput:
    """Files (port). `environ` is where S3's variables are looked up."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ

    def find(self, pattern: str) -> list[InputFile]:
        found = self._find_s3(pattern) if _checked(pattern).startswith(_S3) else _find_local(pattern)
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
        store, magic, where = self._store(bucket), _MAGIC.search(key), f"{_S3}{bucket}"
        if magic is None:
            with _answers(where):
                return [_listed(where, store.head(key))]
        wanted, seen, found = _expression(key), 0, []
        with _answers(where):
            for page in store.list(prefix=key[: magic.start()].rpartition("/")[0] or None):
                seen += len(page)
                if seen > MOST:
                    raise _too_wide(pattern)
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
    if not pattern or "\0" in pattern or len(pattern) > 4_096:
        raise InvalidInput(f"{pattern!r:.200} is no path of 1 to 4096 characters", path=pattern[:200])
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", pattern)
    if scheme and not pattern.startswith(_S3):
        raise InvalidInput(f"{pattern!r} is neither a path nor s3://; {scheme[1]}: addresses are not read", path=pattern)
    if pattern.count("**") > 1:
        raise InvalidInput(f"{pattern!r} has more than one '**'; one is enough for any depth", path=pattern)
    return pattern


def _expression(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over whole names."""
    text, i = "", 0
    start = True  # at the beginning of a part, where a wildcard does not stand for "." or "_"
    while i < len(pattern):
        char = pattern[i]
        hidden = "(?![._])" if start else ""
        if pattern.startswith("**/", i) and start:
            text, i = text + "(?:(?![._])[^/]+/)*", i + 3
            continue
        closing = pattern.find("]", i + 2)
        if char == "*":
            text += hidden + "[^/]*"
            while pattern.startswith("*", i + 1):
                i += 1
        elif char == "?":
            text += hidden + "[^/]"
        elif char == "[" and closing > 0:
            inside = pattern[i + 1 : closing].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            text += hidden + "(?!/)[" + ("^" + inside[1:] if inside.startswith("!") else inside) + "]"
            i = closing
        else:
            text += re.escape(char)
        start = char == "/"
        i += 1
    try:
        return re.compile(text, re.DOTALL)
    except re.error as error:
        raise InvalidInput(f"{pattern!r} is no pattern: {error}", path=pattern) from error


def _find_local(pattern: str) -> list[InputFile]:
    if not _MAGIC.search(pattern) or Path(pattern).is_file():
        return _file(Path(pattern))
    return _Walk(pattern).found()


class _Walk:
    """A walk through directories along the parts of a pattern, counted so that it ends."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._seen = 0

    def found(self) -> list[InputFile]:
        path = Path(self._pattern)
        parts = list(path.parts)
        start = Path(path.anchor) if path.is_absolute() else Path()
        return self._below(start, parts[1:] if path.is_absolute() else parts)

    def _below(self, folder: Path, parts: list[str]) -> list[InputFile]:
        part, rest = parts[0], parts[1:]
        if part == "**":
            # "**" at the end stands for every file below
            return [file for each in self._folders(folder) for file in self._below(each, rest or ["*"])]
        if not _MAGIC.search(part):
            return self._below(folder / part, rest) if rest else _file(folder / part)
        wanted = _expression(part)
        names = sorted(name for name in self._names(folder) if wanted.fullmatch(name))
        if not rest:
            return [file for name in names for file in _file(folder / name)]
        return [file for name in names if (folder / name).is_dir() for file in self._below(folder / name, rest)]

    def _folders(self, top: Path) -> Iterator[Path]:
        for folder, inside, files in os.walk(top):
            self._count(len(inside) + len(files))
            inside[:] = sorted(name for name in inside if not name.startswith((".", "_")))
            yield Path(folder)

    def _names(self, folder: Path) -> list[str]:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - names are all that is needed
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Unavailable(f"{folder} cannot be read: {error.strerror}; check its permissions", path=str(folder)) from error
        self._count(len(names))
        return names

    def _count(self, more: int) -> None:
        self._seen += more + 1
        if self._seen > MOST:
            raise _too_wide(self._pattern)


def _file(path: Path) -> list[InputFile]:
    """The regular file at a path, if there is one: a pipe or a device would be read for ever."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Unavailable(f"{path} cannot be looked at: {error.strerror}; check the path and its permissions", path=str(path)) from error
    return [InputFile(str(path), found.st_size, _stamp(found), max(0.0, time.time() - found.st_mtime))] if stat.S_ISREG(found.st_mode) else []


def _stamp(found: os.stat_result) -> str:
    return f"{found.st_ino}/{found.st_size}/{found.st_mtime_ns}/{found.st_ctime_ns}"


def _still(file: InputFile, path: Path, *, growing: bool) -> None:
    now = _file(path)
    if not now or (now[0].stamp != file.stamp and not (growing and _longer(file, now[0]))):
        raise _changed(file)


def _longer(before: InputFile, now: InputFile) -> bool:
    """Whether a file is the same one (by its inode) and no shorter."""
    return before.stamp.partition("/")[0] == now.stamp.partition("/")[0] and now.size_bytes >= before.size_bytes


def _changed(file: InputFile) -> Unavailable:
    return Unavailable(f"{file.name} changed while it was read; write files under another name and rename them, then ingest again", path=file.name)


def _too_wide(pattern: str) -> InvalidInput:
    return InvalidInput(f"{pattern!r} would look at more than {MOST} names; give a narrower pattern", path=pattern)
