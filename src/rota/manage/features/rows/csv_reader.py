"""CSV files as chunks of rows, read on from any row and as far as their text is whole.

`csv_records` finds the rows; Polars, given only rows that are in order, makes columns of them. An empty cell is null, a quoted empty
one an empty text.
"""

import codecs
import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.rows import csv_records
from rota.manage.features.rows.column_conversion import RAW_CHARACTERS, Raw, as_json
from rota.manage.features.rows.csv_records import MOST_QUOTED, Records
from rota.manage.features.rows.file_look import FileLook, check_columns
from rota.records.file_format import FileFormat


@dataclass(slots=True)
class _Text:
    """The text of a file that is being read: what was read and not taken, and how far it was taken."""

    source: Iterator[bytes]
    data: bytes = b""
    ended: bool = False
    taken: int = 0
    lines: int = 0

    def more(self) -> bool:
        """Read one more piece; False at the end."""
        piece = next(self.source, None)
        self.ended = piece is None
        self.data += piece or b""
        return not self.ended

    def take(self, size: int, line_ends: int) -> bytes:
        """Take so many bytes, which hold so many ends of lines."""
        part, self.data = self.data[:size], self.data[size:]
        self.taken += size
        self.lines += line_ends
        return part

    def skip_to(self, place: int, before: bytes) -> bytes:
        """Leave out the text up to a place; returns the end of what was left out. `before` is what was taken last."""
        while self.taken < place and (self.data or self.more()):
            part = self.data[: place - self.taken]
            split = before.endswith(b"\r") and part.startswith(b"\n")
            before = self.take(len(part), csv_records.line_ends(part) - split)
        return before[-1:]

    def half_end(self, before: bytes) -> bytes:
        """Take the newline of a line's end of which the carriage return was taken; it is no line of its own."""
        return self.take(1, 0) if before == b"\r" and (self.data or self.more()) and self.data.startswith(b"\n") else b""

    def went_on(self, before: bytes) -> bytes:
        """The rest of a line that was taken when it had no end yet, if there is one; without a copy when there is none."""
        if before in (b"", b"\r", b"\n") or (not self.data and not self.more()) or self.data[:1] in (b"\r", b"\n"):
            return b""
        while not (match := csv_records.LINE_END.search(self.data)) and self.more():
            pass
        return self.data[: match.end()] if match else self.data


@dataclass(slots=True)
class _Chunk:
    """Rows that are gathered for one chunk."""

    texts: list[bytes] = field(default_factory=list)
    height: int = 0
    places: list[np.ndarray] = field(default_factory=list)
    lines: list[np.ndarray] = field(default_factory=list)
    faults: dict[int, tuple[str, bytes]] = field(default_factory=dict)

    def add(self, records: Records, first_line: int) -> None:
        self.texts.append(records.text)
        self.places.append(records.places + self.height)
        self.lines.append(records.lines + first_line)
        self.faults |= {self.height + place: fault for place, fault in records.faults.items()}
        self.height += records.height


@dataclass(frozen=True, slots=True)
class _Layout:
    """The columns of a file, and those that are wanted."""

    names: list[str]
    wanted: dict[str, int]
    delimiter: str

    def raw(self, chunk: _Chunk) -> Raw:
        frame = self.frame(b"".join(chunk.texts), sum(map(len, chunk.places)))
        if chunk.faults:
            index = np.full(chunk.height, -1, np.int64)
            index[np.concatenate(chunk.places)] = np.arange(frame.height)
            rows = pl.Series(index).replace(-1, None).cast(pl.UInt32)
            frame = (
                frame.select(pl.all().gather(rows))
                if frame.height
                else pl.DataFrame({name: [None] * chunk.height for name in frame.columns}, schema=frame.schema)
            )
        faults = {place: (reason, self._shown(text)) for place, (reason, text) in chunk.faults.items()}
        lines = pl.Series("line", np.concatenate([np.empty(0, np.int64), *chunk.lines]) + 1, pl.Int64)
        return Raw(frame, faults, cells=True, lines=lines)

    def frame(self, text: bytes, height: int) -> pl.DataFrame:
        """The wanted columns of records that are in order."""
        if not self.wanted:
            return pl.DataFrame({"_": [None] * height})
        columns = {f"column_{place + 1}": pl.String() for place in range(len(self.names))}
        if not height:
            return pl.DataFrame(schema=dict.fromkeys(self.wanted, pl.String))
        chosen = {f"column_{place + 1}": name for name, place in self.wanted.items()}
        # Polars takes a mark at the beginning of what it is given for one of a file.
        marked = codecs.BOM_UTF8 + text if text.startswith(codecs.BOM_UTF8) else text
        found = pl.read_csv(marked, has_header=False, schema=columns, separator=self.delimiter, columns=list(chosen), infer_schema=False)
        if found.height != height:
            raise InvalidInput(f"{height} rows were told apart and {found.height} read; check its quotes and its delimiter {self.delimiter!r}")
        return found.select(pl.col(column).alias(name) for column, name in chosen.items())

    def _shown(self, text: bytes) -> str:
        cells = csv_records.cells(text, self.delimiter)
        return (text.decode(errors="replace") if cells is None else as_json(cells))[:RAW_CHARACTERS]


def read(pieces: Iterator[bytes], wanted: Collection[str] | None, rows: int, form: FileFormat, look: FileLook) -> Iterator[Raw]:
    """The rows of a text from `look.start` on, `rows` at a time."""
    text = _Text(pieces)
    layout = _header(text, wanted, form, look)
    if layout is None:
        return
    sha = look.sha.copy() if look.start else hashlib.sha256(look.header)
    chunk, seen = _Chunk(), 0
    before = text.skip_to(look.start, look.header)
    sha.update(text.half_end(before))
    if rest := text.went_on(before):
        if not rest.endswith((b"\r", b"\n")) and not look.final:
            look.wait(len(rest), f"its last line ({text.lines + 1}) has no line end and waits")
            return
        chunk.add(_gone_on(rest), text.lines)
        sha.update(text.take(len(rest), csv_records.line_ends(rest)))
    while True:
        most, doubt = rows - chunk.height, len(text.data) > MOST_QUOTED
        records = csv_records.cut(
            text.data, form.delimiter, len(layout.names), last=text.ended and look.final, ended=text.ended, most=most, doubt=doubt
        )
        if not records.used and text.ended and records.open_quote and _mistaken(text.data, layout, look):
            records = csv_records.cut(text.data, form.delimiter, len(layout.names), last=False, ended=True, most=1, doubt=True)
        if records.used:
            chunk.add(records, text.lines)
            sha.update(text.take(records.used, records.line_ends))
            if chunk.height >= rows:
                yield _placed(layout.raw(chunk), text, sha)
                seen, chunk = seen + chunk.height, _Chunk()
        elif not text.ended:
            text.more()
        else:
            break
    if chunk.height or text.taken > look.start:
        yield _placed(layout.raw(chunk), text, sha)
    if text.data:
        line = text.lines + 1
        why = (
            f"a quote that is opened on line {line} is not closed; what follows waits"
            if records.open_quote
            else f"its last line ({line}) has no line end and waits"
        )
        look.wait(len(text.data), why)
    elif not look.start and not seen and not chunk.height:
        look.notices.append("it has a header and no rows")


def _gone_on(rest: bytes) -> Records:
    """The rest of a line that was taken too early, as a row that is none."""
    reason = "the row was taken when its line had no end, and its line has gone on since; correct what is stored of it"
    none = np.empty(0, np.int64)
    return Records(b"", 1, none, np.zeros(1, np.int64), {0: (reason, rest.rstrip(b"\r\n"))}, len(rest), csv_records.line_ends(rest))


def _placed(raw: Raw, text: _Text, sha: "hashlib._Hash") -> Raw:
    return replace(raw, end=text.taken, digest=sha.hexdigest())


def _header(text: _Text, wanted: Collection[str] | None, form: FileFormat, look: FileLook) -> _Layout | None:
    """The layout of a text by its first line; None where there is no whole one."""
    while True:
        records = csv_records.cut(text.data, form.delimiter, None, last=text.ended and look.final, ended=text.ended, most=1)
        if records.height or (not text.more() and (not look.final or not text.data)):
            break
    if not records.height:
        if text.data.strip():
            look.wait(len(text.data), "its header has no line end and waits")
        else:
            look.notices.append("it is empty")
        return None
    if records.faults:
        raise InvalidInput(f"its header cannot be read: {records.faults[0][0]}")
    names = csv_records.cells(records.text, form.delimiter) or []
    check_columns(len(names))
    if any("\0" in name for name in names):
        raise InvalidInput("its header holds NUL bytes, as no text in UTF-8 does; give the source its encoding, such as encoding='utf-16'")
    look.names = names
    look.header = text.take(records.used, records.line_ends)
    first = {name: names.index(name) for name in names if wanted is None or name in wanted}
    return _Layout(names, first, form.delimiter)


def _mistaken(data: bytes, layout: _Layout, look: FileLook) -> bool:
    """Whether a quote that nothing closes was opened by mistake: a later line of the text is a row by itself."""
    begin = min((place for place in (data.find(b"\n"), data.find(b"\r")) if place >= 0), default=len(data)) + 1
    records = csv_records.cut(data[begin:], layout.delimiter, len(layout.names), last=False, ended=True, most=1_000, doubt=True)
    return len(layout.names) > 1 and records.places.size > 0 and look.plausible(Raw(layout.frame(records.text, records.places.size), cells=True))
