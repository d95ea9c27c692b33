"""The text of a file as pieces of UTF-8: unpacked, decoded, without its byte order mark, as far as it was there when it was listed."""

import codecs
import gzip
import hashlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.records.file_format import FileFormat
from rota.records.limits import LONGEST_LINE

PIECE = 1_000_000
_WIDE_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def pieces(path: Path, form: FileFormat, *, limit: int | None = None) -> Iterator[bytes]:
    """The text of a file, PIECE bytes or so at a time; of a plain file no more than `limit` bytes, of a packed one all.

    Raises `InvalidInput` for a file in another encoding than the source's where that can be told, `OSError` and `EOFError` for a damaged one.
    """
    found = _bytes(path, limit)
    if not form.plain_text:
        yield from _decoded(found, form.encoding)
        return
    first = b""
    for piece in found:
        first += piece
        if len(first) >= len(codecs.BOM_UTF8):
            break
    for mark, encoding in _WIDE_MARKS.items():
        if first.startswith(mark):
            raise InvalidInput(f"the file begins as {encoding} does, not UTF-8; write it as UTF-8, or give the source encoding={encoding!r}")
    if first:
        yield first.removeprefix(codecs.BOM_UTF8)
    yield from found


def beginning(path: Path, form: FileFormat, size: int, *, limit: int | None = None) -> Any:
    """SHA-256 over the first `size` bytes of a file's text, to be taken on from; None where there are fewer."""
    sha, left = hashlib.sha256(), size
    for piece in pieces(path, form, limit=limit):
        sha.update(piece[:left])
        left -= min(left, len(piece))
        if not left:
            break
    return None if left else sha


def beginnings(path: Path, form: FileFormat, sizes: Collection[int], *, limit: int | None = None) -> dict[int, str]:
    """SHA-256 over the first bytes of a file's text, for each of several sizes that it reaches."""
    sha, read, found = hashlib.sha256(), 0, {}
    left = sorted(sizes)
    for piece in pieces(path, form, limit=limit) if left else ():
        begin = 0
        while left and left[0] <= read + len(piece):
            sha.update(piece[begin : left[0] - read])
            begin = left[0] - read
            found[left.pop(0)] = sha.hexdigest()
        sha.update(piece[begin:])
        read += len(piece)
    return found


def lines_bounded(found: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces of a text; raises `InvalidInput` where one of its lines is longer than LONGEST_LINE, which readers hold whole."""
    read = begins = 0
    for piece in found:
        end = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        first = min((place for place in (piece.find(b"\n"), piece.find(b"\r")) if place >= 0), default=len(piece))
        if read + first - begins > LONGEST_LINE:
            raise InvalidInput(
                f"the line that begins at byte {begins} has more than {LONGEST_LINE} bytes; if its rows have no line ends, write each on a line",
                limit=LONGEST_LINE,
            )
        begins = begins if end < 0 else read + end + 1
        read += len(piece)
        yield piece


def until(found: Iterator[bytes], stop: int | None) -> Iterator[bytes]:
    """The pieces of a text up to a place."""
    for piece in found:
        if stop is not None and len(piece) >= stop:
            yield piece[:stop]
            return
        yield piece
        stop = None if stop is None else stop - len(piece)


def _bytes(path: Path, limit: int | None) -> Iterator[bytes]:
    lowered = path.name.lower()
    if lowered.endswith(".zst"):
        yield from _zstd(path)
        return
    with gzip.open(path) if lowered.endswith(".gz") else path.open("rb") as file:
        left = None if lowered.endswith(".gz") else limit
        while piece := file.read(PIECE if left is None else min(PIECE, left)):
            yield piece
            left = None if left is None else left - len(piece)


def _zstd(path: Path) -> Iterator[bytes]:
    """Lines of a file that Polars unpacks; each is given a newline as its end."""
    for lines in pl.scan_lines(path, glob=False).collect_batches(maintain_order=True):
        text = lines.to_series().str.join("\n").item()
        yield (text + "\n").encode() if lines.height else b""


def _decoded(found: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder, read = codecs.getincrementaldecoder(encoding)(), 0
    first = True
    for piece in _ended(found):
        if not piece:
            # Half a character at the end is left to the last line, which is no valid text with it.
            half = decoder.getstate()[0]
            yield b"\xff" if half else b""
            return
        try:
            text = decoder.decode(piece)
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"byte {read + error.start} of the file is no {encoding} ({error.reason}); give the source the encoding of its files"
            ) from error
        read += len(piece)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        if text:
            yield text.encode(errors="surrogatepass")


def _ended(found: Iterator[bytes]) -> Iterator[bytes]:
    yield from found
    yield b""
