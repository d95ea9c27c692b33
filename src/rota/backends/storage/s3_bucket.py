"""One place in an S3-compatible object store: its address and keys, requests for small objects, errors in Rota's words.

Keys, region and endpoint come from the usual AWS_* variables and go nowhere but into the engines' requests.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from ipaddress import ip_address
from typing import IO, Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from rota.errors import Corrupt, InvalidInput, RotaError, Unavailable
from rota.records.time import Micros, from_datetime

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=-]*")
_TAKEN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")
_OF_THE_STORE = (*_TAKEN, "AWS_REGION", "AWS_ENDPOINT_URL")
_TRIES = 3
_TIMEOUT_S = 30
_CONNECT_S = 5
_PIECE = 1_048_576
_PART_BYTES = 8_388_608
_PARTS_AT_ONCE = 2


@dataclass(frozen=True)
class Bucket:
    """A prefix of a bucket. `options` are for engines that open s3:// addresses themselves; they hold the keys and are never shown."""

    name: str
    prefix: str
    endpoint: str
    options: Mapping[str, str] = field(repr=False)

    @property
    def scan_options(self) -> dict[str, Any]:
        """The options as polars wants them, which takes this one as a number and deltalake as a text."""
        return {**self.options, "max_retries": _TRIES}

    def __str__(self) -> str:
        return f"{self.url()} at {self.endpoint or 'AWS'}"

    def url(self, path: str = "") -> str:
        """The s3:// address of a path below the prefix."""
        return "s3://" + "/".join(part for part in (self.name, self.prefix, path) if part)

    def within(self, folder: str) -> "Bucket":
        """A folder of this place as a place of its own."""
        return Bucket(self.name, f"{self.prefix}/{folder}".strip("/"), self.endpoint, self.options)

    @cached_property
    def store(self) -> S3Store:
        """The connection; made once, without a request."""
        return S3Store(
            self.name,
            prefix=self.prefix or None,
            config={name.lower(): self.options[name] for name in _OF_THE_STORE if name in self.options},  # type: ignore[arg-type]
            client_options={
                "allow_http": self.options.get("AWS_ALLOW_HTTP") == "true",
                "connect_timeout": timedelta(seconds=_CONNECT_S),
                "timeout": timedelta(seconds=_TIMEOUT_S),
            },
            retry_config={"max_retries": _TRIES, "retry_timeout": timedelta(seconds=_TIMEOUT_S)},
        )

    def has(self, path: str) -> bool:
        """Whether the object is there (a missing bucket has none: the answer to this request cannot tell the two apart)."""
        with self.errors(f"looking for {path}"):
            try:
                obstore.head(self.store, path)
            except FileNotFoundError:
                return False
        return True

    def size(self, path: str) -> int:
        """The object's bytes counted."""
        with self.errors(f"looking for {path}"):
            return int(obstore.head(self.store, path)["size"])

    def written_us(self, path: str) -> Micros | None:
        """When the object was last written, by the store's clock, or None where there is none."""
        with self.errors(f"looking for {path}"):
            try:
                return from_datetime(obstore.head(self.store, path)["last_modified"])
            except FileNotFoundError:
                return None

    def read(self, path: str) -> bytes | None:
        """The object's bytes, or None where there is none."""
        with self.errors(f"reading {path}"):
            try:
                return bytes(obstore.get(self.store, path).bytes())
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
        return None

    def write(self, path: str, data: bytes) -> None:
        """Store the object whole, in place of what was there."""
        with self.errors(f"storing {len(data)} bytes as {path}"):
            obstore.put(self.store, path, data)

    def write_file(self, path: str, file: IO[bytes]) -> None:
        """Store the rest of an open file as the object, in parts of bounded size that appear together."""
        with self.errors(f"storing {path}"):
            obstore.put(self.store, path, file, use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    def pieces(self, path: str, part: tuple[int, int] | None = None) -> Iterator[bytes] | None:
        """The object's bytes, or those from the one place up to the other, in pieces of bounded size; None where there is none."""
        with self.errors(f"reading {path}"):
            try:
                found = obstore.get(self.store, path, options={"range": part} if part else None)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None
        return self._read_on(path, iter(found.stream(min_chunk_size=_PIECE)))

    def _read_on(self, path: str, stream: Iterator[Any]) -> Iterator[bytes]:
        while True:
            with self.errors(f"reading {path}"):
                piece = next(stream, None)
            if piece is None:
                return
            yield bytes(piece)

    def create(self, path: str, data: bytes) -> bool:
        """Store the object unless there is one, in one step; whether it was stored."""
        with self.errors(f"creating {path}"):
            try:
                obstore.put(self.store, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def paths(self, folder: str = "") -> Iterator[str]:
        """The paths of all objects below a folder, in order."""
        with self.errors(f"listing {folder or 'the objects'}"):
            for chunk in obstore.list(self.store, folder or None):
                yield from (item["path"] for item in chunk)

    def listed(self, folder: str = "") -> Iterator[tuple[str, int, str]]:
        """The path, the size and the tag of all objects below a folder, in order; another tag means that other bytes were put."""
        with self.errors(f"listing {folder or 'the objects'}"):
            for chunk in obstore.list(self.store, folder or None):
                yield from ((item["path"], int(item["size"]), item["e_tag"] or "") for item in chunk)

    def level(self, folder: str) -> tuple[list[str], list[str]]:
        """The folders and the objects directly within a folder."""
        with self.errors(f"listing {folder or 'the folders'}"):
            found = obstore.list_with_delimiter(self.store, folder or None)
        return list(found["common_prefixes"]), [item["path"] for item in found["objects"]]

    def objects(self, folder: str) -> list[tuple[str, int, Micros]]:
        """The objects directly within a folder: path, size in bytes, and when it was written by the store's clock."""
        with self.errors(f"listing {folder or 'the objects'}"):
            found = obstore.list_with_delimiter(self.store, folder or None)["objects"]
        return [(item["path"], int(item["size"]), from_datetime(item["last_modified"])) for item in found]

    def delete(self, *paths: str) -> None:
        """Delete objects; a missing one is no error."""
        with self.errors(f"deleting {len(paths)} objects"), suppress(FileNotFoundError):
            obstore.delete(self.store, list(paths))

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Translate what an engine raises while `doing` something here."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self.translated(doing, error) from error

    def translated(self, doing: str, error: BaseException) -> RotaError:
        """The error to raise for one of an engine: what to do next depends on what the store said."""
        said = str(error)
        if "NoSuchBucket" in said:
            hint = f"there is no bucket {self.name!r}; create it, or correct ROTA_STORAGE_URL"
        elif any(word in said for word in ("403 Forbidden", "401 Unauthorized", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied")):
            hint = "the store refused the credentials; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do in the bucket"
        elif "301 Moved" in said or "AuthorizationHeaderMalformed" in said:
            hint = "the bucket is in another region; set AWS_REGION"
        elif "NoSuchKey" in said or isinstance(error, FileNotFoundError):
            return Corrupt(f"{doing} in {self} failed: an object that the store should hold is missing; was it deleted by hand?", bucket=self.name)
        else:
            hint = "the store did not answer as expected; check AWS_ENDPOINT_URL and the store itself, then retry"
        return Unavailable(f"{doing} in {self} failed: {hint}", bucket=self.name, endpoint=self.endpoint)


def open_bucket(url: str, environ: Mapping[str, str] = os.environ) -> Bucket:
    """The place that an address s3://BUCKET/PREFIX names, reached as the AWS_* variables say; makes no request."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidInput(
            "the storage URL must read s3://BUCKET or s3://BUCKET/PREFIX; keys belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    prefix = parts.path.strip("/")
    if not _NAME.fullmatch(parts.netloc) or not all(_PART.fullmatch(part) for part in prefix.split("/") if prefix):
        raise InvalidInput(f"storage URL {url!r}: a bucket has 3-63 of a-z, 0-9, '.', '-', a prefix parts of letters, digits and '._=-'", url=url)
    endpoint = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or ""
    options = {name: environ[name] for name in _TAKEN if environ.get(name)}
    options |= {"max_retries": str(_TRIES), "retry_timeout": f"{_TIMEOUT_S}s", "connect_timeout": f"{_CONNECT_S}s"}
    options["AWS_REGION"] = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    if endpoint:
        options["AWS_ENDPOINT_URL"] = endpoint.rstrip("/")
        if _may_be_plain(endpoint, environ):
            options["AWS_ALLOW_HTTP"] = "true"
    return Bucket(parts.netloc, prefix, endpoint, options)


def _may_be_plain(endpoint: str, environ: Mapping[str, str]) -> bool:
    """Whether requests go unencrypted: to this machine, or because somebody said so."""
    address = urlsplit(endpoint)
    if address.scheme not in {"http", "https"} or not address.hostname or address.username or address.password:
        raise InvalidInput("AWS_ENDPOINT_URL must read https://HOST or https://HOST:PORT, without a user or password", variable="AWS_ENDPOINT_URL")
    if address.scheme == "https":
        return False
    if _is_loopback(address.hostname) or environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}:
        return True
    raise InvalidInput(
        f"AWS_ENDPOINT_URL {endpoint} is not encrypted; use https, or set AWS_ALLOW_HTTP=true where the network is trusted", endpoint=endpoint
    )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
