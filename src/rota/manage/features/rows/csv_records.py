"""CSV text cut into its records, with numpy where the quotes are in order and record by record where they are not.

A quote opens a cell only at its beginning; within, two quotes are one. `\\n`, `\\r\\n` and `\\r` outside of quotes end a record, an empty
line is none. A record whose quotes cannot be read costs the line on which it begins; the next line is read as a record again.
"""

import functools
import re
from dataclasses import dataclass, field

import numpy as np

_QUOTE, _LF, _CR = 34, 10, 13
MOST_QUOTED = 8_000_000
"""Bytes that a record with an open quote may have; beyond them the quote is taken to be a mistake."""

Bytes = np.ndarray[tuple[int], np.dtype[np.uint8]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]
Places = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Records:
    """Records of a stretch of text: `text` holds those that are in order, each ended by a newline, at the `places` among all `height`.

    `lines` are the lines (from 0) on which the records begin, `faults` the reasons of the others with their bytes, by place. The
    stretch that was read has `used` bytes and `line_ends` ends of lines; `open_quote` says that the rest holds a quote that is not closed.
    """

    text: bytes
    height: int
    places: Places
    lines: Places
    faults: dict[int, tuple[str, bytes]]
    used: int
    line_ends: int
    open_quote: bool = False


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the records of a text begin and end (line ends left out), where the next ones begin, and where its lines end.

    `quoted` holds for each byte within quotes, None where there are none; `open_quote` says that the last one is not closed.
    """

    starts: Places
    ends: Places
    nexts: Places
    line_ends: Places
    quoted: Flags | None
    open_quote: bool


@dataclass(slots=True)
class _Mended:
    """A text whose records are in order: those that are no CSV are left out with their reason, quotes within bare cells are quoted."""

    parts: list[bytes] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    faults: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    used: int = 0
    line_ends: int = 0
    open_quote: bool = False


def cut(data: bytes, delimiter: str, width: int | None, *, last: bool, most: int, ended: bool = False, doubt: bool = False) -> Records:
    """The first records of a text that begins with one, at most `most` of them, empty lines left out.

    `width` is how many cells a record must have (None: any number). `ended`: there is no more text now, so that a carriage return
    at its end is no half of a line's end; `last`: nor will there be, so that a last line without an end is a record too. `doubt`:
    a quote that is not closed in this text is a mistake and not a cell that goes on behind it.
    """
    ended = ended or last
    found = _quick(data, delimiter, last=last, ended=ended)
    if found is not None and not (doubt and found.open_quote):
        return _checked(data, found, delimiter, width, most)
    mended = _mend(data, delimiter, last=last, ended=ended, most=most, doubt=doubt)
    text = b"".join(mended.parts)
    again = _quick(text, delimiter, last=True, ended=True)
    assert again is not None
    inner = _checked(text, again, delimiter, width, most)
    where = np.flatnonzero(np.array(mended.kept, dtype=bool))
    faults = {int(where[place]): fault for place, fault in inner.faults.items()} | mended.faults
    return Records(
        inner.text,
        len(mended.kept),
        where[inner.places],
        np.array(mended.lines, dtype=np.int64),
        faults,
        mended.used,
        mended.line_ends,
        mended.open_quote,
    )


def cells(record: bytes, delimiter: str) -> list[str] | None:
    """The texts of a record's cells; None when its quotes cannot be read."""
    found = _fields(record.rstrip(b"\r\n"), _field(delimiter.encode()), ord(delimiter))
    if found is None:
        return None
    return [(each[1:-1].replace(b'""', b'"') if each[:1] == b'"' else each).decode(errors="replace") for each in found]


def line_ends(text: bytes) -> int:
    """How many ends of lines a text has."""
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


def _quick(data: bytes, delimiter: str, *, last: bool, ended: bool) -> _Cut | None:
    """The records of a text, found by the parity of its quotes; None where a quote stands at a place that makes parity wrong."""
    array = np.frombuffer(data, np.uint8)
    starts, ends = _line_ends(array, data, ended=ended)
    all_ends, quoted, open_quote = starts, None, False
    if b'"' in data:
        marks = array == _QUOTE
        quoted = np.bitwise_xor.accumulate(marks.view(np.uint8)).view(bool)
        if not _in_order(array, marks, quoted, ord(delimiter)):
            return None
        open_quote = bool(quoted[-1])
        outside = ~quoted[starts]
        starts, ends = starts[outside], ends[outside]
    if last and (int(ends[-1]) if ends.size else 0) < array.size:
        if open_quote:
            return None
        starts, ends = np.append(starts, array.size), np.append(ends, array.size)
    return _Cut(np.concatenate([np.zeros(min(1, ends.size), np.int64), ends[:-1]]), starts, ends, all_ends, quoted, open_quote)


def _line_ends(array: Bytes, data: bytes, *, ended: bool) -> tuple[Places, Places]:
    """Where each end of a line begins and ends. A carriage return at the very end may be half of one, unless the text ends here."""
    newlines = np.flatnonzero(array == _LF)
    if b"\r" not in data:
        return newlines, newlines + 1
    returns = np.flatnonzero(array == _CR)
    if returns.size and returns[-1] == array.size - 1 and not ended:
        returns = returns[:-1]
    following = np.minimum(returns + 1, array.size - 1)
    paired = (array[following] == _LF) & (following > returns)
    starts = newlines.copy()
    starts[np.searchsorted(newlines, returns[paired])] -= 1
    alone = returns[~paired]
    order = np.argsort(np.concatenate([starts, alone]), kind="stable")
    return np.concatenate([starts, alone])[order], np.concatenate([newlines, alone])[order] + 1


def _in_order(array: Bytes, marks: Flags, quoted: Flags, delimiter: int) -> bool:
    """Whether each quote that opens by parity stands at the beginning of a cell, and each that closes at an end, or they are a pair."""
    between = (array == delimiter) | (array == _LF) | (array == _CR)
    opens, closes = marks & quoted, marks & ~quoted
    wrong = (opens[1:] & ~(between | closes)[:-1]).any() or (closes[:-1] & ~(between | opens)[1:]).any()
    return not wrong


def _checked(data: bytes, found: _Cut, delimiter: str, width: int | None, most: int) -> Records:
    """The first records that are no empty lines, those of another width or no UTF-8 apart."""
    starts, ends, nexts = found.starts, found.ends, found.nexts
    full = np.flatnonzero(ends > starts)
    if full.size > most:
        stop = int(starts[full[most]])
        full = full[:most]
    else:
        stop = int(nexts[-1]) if nexts.size else 0
    starts, ends = starts[full], ends[full]
    faults: dict[int, tuple[str, bytes]] = {}
    if width is not None:
        for place, cells in _of_another_width(data, starts, ends, found.quoted, ord(delimiter), width):
            faults[place] = (f"the row has {cells} fields, the header {width}", data[starts[place] : ends[place]])
    for place, at in _no_text(data, starts, ends, stop):
        faults[place] = (_no_utf8(data[at]), data[starts[place] : ends[place]])
    good = np.ones(starts.size, bool)
    good[list(faults)] = False
    lines = np.searchsorted(found.line_ends, starts)
    ended = int(np.searchsorted(found.line_ends, stop))
    text = _joined(data, starts[good], ends[good], stop)
    return Records(text, starts.size, np.flatnonzero(good), lines, faults, stop, ended, open_quote=found.open_quote)


def _of_another_width(data: bytes, starts: Places, ends: Places, quoted: Flags | None, delimiter: int, width: int) -> list[tuple[int, int]]:
    found = np.frombuffer(data, np.uint8) == delimiter
    places = np.flatnonzero(found if quoted is None else found & ~quoted)
    counts = np.searchsorted(places, ends) - np.searchsorted(places, starts) + 1
    wrong = np.flatnonzero(counts != width)
    return list(zip(wrong.tolist(), counts[wrong].tolist(), strict=True))


def _no_text(data: bytes, starts: Places, ends: Places, stop: int) -> list[tuple[int, int]]:
    """Records that are no UTF-8, with the place of the first byte that is none."""
    found, view, begin = [], memoryview(data), 0
    while begin < stop:
        try:
            str(view[begin:stop], "utf-8")
        except UnicodeDecodeError as error:
            at = begin + error.start
            place = int(np.searchsorted(starts, at, side="right")) - 1
            if place >= 0 and at < ends[place]:
                found.append((place, at))
            begin = int(starts[place + 1]) if place + 1 < starts.size else stop
        else:
            break
    return found


def _no_utf8(byte: int) -> str:
    return (
        f"the row is no valid UTF-8 (byte 0x{byte:02X}); if the file is written otherwise, give the source its encoding, such as encoding='latin-1'"
    )


def _joined(data: bytes, starts: Places, ends: Places, stop: int) -> bytes:
    """The records one after the other, each ended by one newline."""
    if not starts.size:
        return b""
    if ends[-1] + 1 == stop and not starts[0] and (starts[1:] == ends[:-1] + 1).all() and b"\r" not in data:
        return data[:stop]
    array = np.frombuffer(data + b"\n", np.uint8).copy()
    array[ends] = _LF
    step = np.zeros(array.size + 1, np.int8)
    step[starts] += 1
    step[ends + 1] -= 1
    return array[np.cumsum(step[:-1], dtype=np.int8) > 0].tobytes()


def _mend(data: bytes, delimiter: str, *, last: bool, ended: bool, most: int, doubt: bool) -> _Mended:
    """Record by record: what is no CSV is left out, and a quote within a bare cell is written as CSV has it."""
    made, at, size = _Mended(), 0, len(data)
    mark, field, record = ord(delimiter), _field(delimiter.encode()), _record(delimiter.encode())
    while at < size and len(made.kept) < most:
        match = record.match(data, at)
        end = match.end() if match else _after_line(data, at)
        if match is None and not (last or doubt) and size - at < MOST_QUOTED and _unclosed(data, at, field, mark):
            made.open_quote = True
            break
        if end == size and not (last or data.endswith((b"\n", b"\r") if ended else b"\n")):
            break
        whole = data[at:end]
        bare = whole.rstrip(b"\r\n") if match is None else whole[: len(whole) - len(match[1])]
        if bare or match is None:
            if match is None:
                made.faults[len(made.kept)] = (_quote_fault(data, at, field, mark), bare)
            else:
                made.parts.append(_well_quoted(bare, field, mark) + b"\n")
            made.kept.append(match is not None)
            made.lines.append(made.line_ends)
        made.line_ends += line_ends(whole)
        at = end
    made.used = at
    return made


def _well_quoted(record: bytes, field: re.Pattern[bytes], delimiter: int) -> bytes:
    if b'"' not in record:
        return record
    found = _fields(record, field, delimiter)
    assert found is not None
    return bytes([delimiter]).join(b'"' + each.replace(b'"', b'""') + b'"' if b'"' in each and each[:1] != b'"' else each for each in found)


def _fields(record: bytes, field: re.Pattern[bytes], delimiter: int) -> list[bytes] | None:
    """The cells of a record as they are written."""
    found, at = [], 0
    while match := field.match(record, at):
        found.append(match[0])
        if match.end() == len(record):
            return found
        if record[match.end()] != delimiter:
            return None
        at = match.end() + 1
    return None


def _unclosed(data: bytes, at: int, field: re.Pattern[bytes], delimiter: int) -> bool:
    """Whether a record that cannot be read holds a quote that nothing closes."""
    place = _broken_cell(data, at, field, delimiter)
    return _QUOTED.match(data, place) is None


def _quote_fault(data: bytes, at: int, field: re.Pattern[bytes], delimiter: int) -> str:
    place = _broken_cell(data, at, field, delimiter)
    number = _cells_before(data, at, place, field) + 1
    quoted = _QUOTED.match(data, place)
    if quoted is None or line_ends(quoted[0]):
        return f"a quote is opened in field {number} and not closed"
    shown = data[place : place + 100].splitlines()[0].decode(errors="replace")
    return f"field {number} goes on behind its closing quote: {shown}"


def _cells_before(data: bytes, at: int, place: int, field: re.Pattern[bytes]) -> int:
    count = 0
    while at < place and (match := field.match(data, at)):
        count, at = count + 1, match.end() + 1
    return count


def _broken_cell(data: bytes, at: int, field: re.Pattern[bytes], delimiter: int) -> int:
    """Where the cell begins in which a record cannot be read on."""
    while match := field.match(data, at):
        if match.end() >= len(data) or data[match.end()] != delimiter:
            break
        at = match.end() + 1
    return at


def _after_line(data: bytes, at: int) -> int:
    match = LINE_END.search(data, at)
    return match.end() if match else len(data)


_QUOTED = re.compile(rb'"(?:[^"]++|"")*+"')
LINE_END = re.compile(rb"\r\n|\n|\r")


@functools.cache
def _field(delimiter: bytes) -> re.Pattern[bytes]:
    mark = re.escape(delimiter)
    return re.compile(rb'"(?:[^"]++|"")*+"(?=[' + mark + rb'\r\n]|\Z)|(?!")[^' + mark + rb"\r\n]*+")


@functools.cache
def _record(delimiter: bytes) -> re.Pattern[bytes]:
    field, mark = _field(delimiter).pattern, re.escape(delimiter)
    return re.compile(rb"(?:" + field + rb")(?:" + mark + rb"(?:" + field + rb"))*+(\r\n|\n|\r|\Z)")
