"""JSON lines as chunks of rows, read on from any line and as far as their text is whole."""

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import polars as pl

from rota.manage.features.rows.column_conversion import RAW_CHARACTERS, Raw
from rota.manage.features.rows.file_look import FileLook, check_columns
from rota.manage.features.rows.value_columns import column_of


def read(pieces: Iterator[bytes], wanted: Collection[str] | None, rows: int, look: FileLook) -> Iterator[Raw]:
    """The rows of a text from `look.start` on, `rows` at a time. A last line without an end is a row if it is a whole object."""
    held: list[dict[str, Any]] = []
    faults: dict[int, tuple[str, str]] = {}
    lines: list[int] = []
    sha = look.sha.copy() if look.start else hashlib.sha256()
    taken = 0
    for number, whole in enumerate(_lines(pieces), start=1):
        taken += len(whole)
        if taken <= look.start:
            continue
        line = whole[-(taken - look.start) :]  # a line that was taken without its end may have it now
        text = line.strip()
        row = _row(text) if text else {}
        if not line.endswith((b"\n", b"\r")) and isinstance(row, str) and not look.final:
            taken -= len(line)
            look.wait(len(line), f"its last line ({number}) is no whole object and waits")
            break
        sha.update(line)
        if not text:
            continue
        if isinstance(row, str):
            faults[len(held)] = (row, text.decode(errors="replace")[:RAW_CHARACTERS])
            row = {}
        held.append(row)
        lines.append(number)
        if len(held) == rows:
            yield _raw(held, wanted, faults, lines, taken, sha.hexdigest())
            held, faults, lines = [], {}, []
    if held or taken > look.start:
        yield _raw(held, wanted, faults, lines, taken, sha.hexdigest())
    elif not taken and not look.waits:
        look.notices.append("it is empty")


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        found = (rest + piece).splitlines(keepends=True)
        # A carriage return may be half of a line's end, a line without an end may go on.
        rest = found.pop() if found and not found[-1].endswith(b"\n") else b""
        yield from found
    if rest:
        yield rest


def _row(line: bytes) -> dict[str, Any] | str:
    """The row of a line, or why it is none."""
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"the line is not JSON: {error}"
    return row if isinstance(row, dict) else f"the line is a {type(row).__name__}, not an object"


def _raw(
    held: list[dict[str, Any]], wanted: Collection[str] | None, faults: dict[int, tuple[str, str]], lines: list[int], end: int, digest: str
) -> Raw:
    names = [name for name in dict.fromkeys(name for row in held for name in row) if wanted is None or name in wanted]
    check_columns(len(names))
    columns = [_column(name, [row.get(name) for row in held]) for name in names]
    frame = pl.DataFrame(columns) if columns else pl.DataFrame({"_": [None] * len(held)})
    return Raw(frame, faults, lines=pl.Series("line", lines, pl.Int64), end=end, digest=digest)


def _column(name: str, values: list[Any]) -> pl.Series:
    """Values as a column; objects and lists stay what they are, since no field has their type and each costs its row only."""
    column = column_of(name, values)
    return pl.Series(name, values, pl.Object) if column.dtype.is_nested() else column
