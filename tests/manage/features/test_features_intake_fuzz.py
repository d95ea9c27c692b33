"""Random files taken in at random sizes, with processes that die on the way, against a second parser written down character by character."""

import csv
import functools
import io
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.manage.features.ingestion import quarantine
from rota.manage.features.rows import file_readers, text_files
from rota.manage.features.writer import Feed
from rota.ports.inputs import Inputs
from rota.records.data import Source
from rota.records.file_format import FileFormat
from rota.testing.clock import FakeClock

KINDS = {"id": "int", "at": "timestamp", "amount": "float", "flag": "bool", "shop": "string", "note": "string"}
WORDS = ["", "a", "NA", "null", "None", "nan", "00123", "-", " ", "ü", "5", "é\u2028x", "\ufeff", "#", "\\N", "x\0y", "'", "0"]
CELLS: dict[str, list[str]] = {
    "id": ["1", "-7", " 3 ", "9007199254740993", "9223372036854775807", "", "9223372036854775808", "x", "NA"],
    "at": ["2013-07-15T10:00:00Z", "2013-07-15T12:00:00+02:00", "2013-07-15", "2020-02-29T00:00:00.5Z", "", "soon", "2013-02-30"],
    "amount": ["1.5", "-0.25", "1e3", "", "many", "NA", " 2 "],
    "flag": ["true", "False", "", "maybe"],
}
Row = dict[str, Any]


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Document:
    """A CSV file, how it is written, and what is to come of it: the rows that are taken, and on which lines the others begin."""

    data: bytes
    form: FileFormat
    rows: list[Row]
    rejected: list[int]


def parsed(text: str, delimiter: str) -> Iterator[tuple[int, list[tuple[str, bool]] | None]]:
    """Records of a text, one character after the other: its line and its cells with whether each was quoted; None where it is no CSV."""
    at, line = 0, 1
    while at < len(text):
        cells, end = _record(text, at, delimiter)
        begin = line
        if cells is None:
            end = _line_end(text, at)
        line += len(text[at:end].replace("\r\n", "\n").replace("\r", "\n").split("\n")) - (
            1 if text[at:end][-1:] in ("\r", "\n") or end < len(text) else 0
        )
        empty = text[at:end].rstrip("\r\n") == ""
        at = end
        if not empty:
            yield begin, cells


def _line_end(text: str, at: int) -> int:
    while at < len(text) and text[at] not in "\r\n":
        at += 1
    return at + 2 if text[at : at + 2] == "\r\n" else min(at + 1, len(text))


def _record(text: str, at: int, delimiter: str) -> tuple[list[tuple[str, bool]] | None, int]:
    cells = []
    while True:
        cell, quoted = "", at < len(text) and text[at] == '"'
        if quoted:
            at += 1
            while True:
                if at == len(text):
                    return None, at
                if text[at] == '"' and text[at : at + 2] != '""':
                    break
                cell += text[at]
                at += 2 if text[at] == '"' else 1
            at += 1
        else:
            while at < len(text) and text[at] not in ("\r", "\n", delimiter):
                cell += text[at]
                at += 1
        cells.append((cell, quoted))
        if at == len(text) or text[at] in "\r\n":
            return cells, _line_end(text, at)
        if text[at] != delimiter:
            return None, at
        at += 1


def typed(kind: str, cell: str, quoted: bool, form: FileFormat) -> Any:
    """The value of a cell by the rules of the documentation; raises `ValueError` for one that is none."""
    if cell in form.null_values or (not cell and not quoted):
        return None
    if kind == "string":
        return cell
    bare = cell.strip()
    if not bare:
        return None
    return READ[kind](bare, form)


def _int(bare: str, _: FileFormat) -> int:
    if not -(2**63) <= int(bare) < 2**63:
        raise ValueError(bare)
    return int(bare)


def _float(bare: str, form: FileFormat) -> float | None:
    number = float(bare.replace(".", "x").replace(",", ".") if form.decimal == "," else bare)
    return None if math.isnan(number) else number


def _moment(text: str, form: str) -> int:
    moment = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)) // datetime.resolution


READ: dict[str, Callable[[str, FileFormat], Any]] = {
    "int": _int,
    "float": _float,
    "bool": lambda bare, _: {"true": True, "false": False}[bare.lower()],
    "timestamp": lambda bare, form: _moment(bare, form.timestamp_format),
}


def expected(text: str, form: FileFormat) -> tuple[list[Row], list[int]]:
    records = list(parsed(text, form.delimiter))
    if not records:
        return [], []
    names = [cell for cell, _ in records[0][1] or []]
    rows, rejected = [], []
    for line, cells in records[1:]:
        try:
            if cells is None or len(cells) != len(names) or any("\udc80" <= char <= "\udcff" for cell, _ in cells for char in cell):
                raise ValueError(line)
            found = dict(zip(names, cells, strict=True))
            row = {name: typed(kind, *found.get(name, ("", False)), form) for name, kind in KINDS.items()}
            if row["at"] is None:
                raise ValueError(line)
        except (ValueError, KeyError):
            rejected.append(line)
        else:
            rows.append(row)
    return rows, rejected


def document(random_: random.Random, *, broken: bool) -> Document:
    """A CSV file as some program may have written it, with broken lines among the others if `broken`."""
    form = FileFormat(
        null_values=random_.choice([(), (), ("NA",), ("", "-"), ("null", "x")]),
        timestamp_format=random_.choice(["", "", "%d/%m/%Y %H:%M", "%Y%m%d"]),
        delimiter=random_.choice(",,;\t|"),
        decimal=random_.choice("..,"),
    )
    names = ["id", "at", *random_.sample([*list(KINDS)[2:], "other", "x y"], random_.randint(0, 6))]
    random_.shuffle(names)
    line_ends = random_.choice([["\n"], ["\n"], ["\r\n"], ["\r"], ["\n", "\r\n"], ["\n", "\r", "\r\n", "\n\n"]])
    quoting = random_.random()

    def written(cell: str) -> str:
        if any(char in cell for char in f'"\r\n{form.delimiter}') or random_.random() < quoting:
            return '"' + cell.replace('"', '""') + '"'
        return cell

    def cell(name: str) -> str:
        if name == "at" and form.timestamp_format:
            return random_.choice([datetime(2013, 7, random_.randint(1, 28), 10, 30).strftime(form.timestamp_format), "2013-07-15", ""])  # noqa: DTZ001
        if name in CELLS:
            found = random_.choice(CELLS[name][: random_.choice([2, 3, 20])])
            return found.replace(".", ",") if form.decimal == "," and name == "amount" else found
        pieces = [
            random_.choice([*WORDS, '"', '""', form.delimiter, "\n", "\r\n", "\r", ",", "x"]) for _ in range(random_.choice([0, 1, 1, 1, 2, 4]))
        ]
        return "".join(pieces)

    lines = [form.delimiter.join(written(name) for name in names)]
    for _ in range(random_.choice([0, 1, 3, 10, 30])):
        made = form.delimiter.join(written(cell(name)) for name in names)
        if broken and random_.random() < 0.2:
            made = _spoilt(random_, made, form.delimiter)
        lines.append(made)
    ends = [random_.choice(line_ends) for _ in lines]
    if random_.random() < 0.3:
        ends[-1] = ""
    text = "".join(itertools.chain.from_iterable(zip(lines, ends, strict=True)))
    data = text.encode(errors="surrogateescape")
    rows, rejected = expected(text, form)
    return Document(random_.choice([b"", b"\xef\xbb\xbf"]) + data, form, rows, rejected)


def _spoilt(random_: random.Random, line: str, delimiter: str) -> str:
    place = random_.randint(0, len(line))
    return random_.choice(
        [
            line + delimiter,
            line.rpartition(delimiter)[0] or line,
            f'"p"q{delimiter}{line}',
            f'"{line}',
            line[:place] + '"' + line[place:],
            line[:place] + "\udcff" + line[place:],
            f'5" pipe{delimiter}{line}',
        ]
    )


class World:
    """The stores of a platform in memory, around one source of files; each of its acts may be the last of a process."""

    def __init__(self, folder: Path, form: FileFormat, *, with_id: bool) -> None:
        self.folder, self.left = folder, -1
        self.metadata, self.tables = MemoryMetadata(), MemoryTables()
        self._dying()
        inputs = Inputs(FileInput(), SqlInput({}))
        self.feed = Feed(self.metadata, self.tables, MemoryOnline(), MemoryJournal(), FakeClock(2_000_000_000_000_000), inputs=inputs)
        self.feed.register([Source("s", KINDS, "at", id_field="id" if with_id else None, path=str(folder / "*"), format=form)])

    def _dying(self) -> None:
        for owner, verb in ((self.tables, "append"), (self.metadata, "commit")):
            setattr(owner, verb, functools.partial(self._act, getattr(owner, verb)))

    def _act(self, verb: Callable[..., Any], *arguments: Any, **words: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            raise Killed
        done = verb(*arguments, **words)
        if self.left == -1_000:
            raise Killed
        return done

    def ingest(self, *, final: bool, dies_at: int | None = None) -> Any:
        """One ingestion, after those that die."""
        if dies_at is not None:
            self.left = dies_at
            with suppress(Killed):
                self.feed.ingestion.ingest("s", final=final)
            self.left = -1
        return self.feed.ingestion.ingest("s", final=final)

    def rows(self) -> list[Row]:
        if self.tables.version("sources/s") is None:
            return []
        return self.tables.scan("sources/s").select(list(KINDS)).collect().to_dicts()

    def rejected(self) -> list[int]:
        return sorted(each["line"] for each in quarantine.read(self.tables, "s", limit=10_000))


def same(found: list[Row], wanted: list[Row]) -> bool:
    return Counter(repr(sorted(row.items())) for row in found) == Counter(repr(sorted(row.items())) for row in wanted)


@contextmanager
def small_pieces(random_: random.Random) -> Iterator[None]:
    """Read a few bytes and rows at a time, so that every boundary falls everywhere."""
    piece, chunks = text_files.PIECE, file_readers.chunks
    text_files.PIECE = random_.choice([1, 3, 17, 200, piece])
    file_readers.chunks = functools.partial(chunks, rows=random_.choice([1, 2, 5, 100_000]))
    try:
        yield
    finally:
        text_files.PIECE, file_readers.chunks = piece, chunks


def a_whole_file(random_: random.Random, folder: Path) -> None:
    """A file with broken lines: every other row is taken, each broken line is named."""
    made = document(random_, broken=True)
    (folder / "a.csv").write_bytes(made.data)
    world = World(folder, made.form, with_id=False)
    world.ingest(final=True, dies_at=random_.choice([None, None, random_.randint(1, 12)]))
    assert same(world.rows(), made.rows), (made.data, world.rows(), made.rows)
    assert world.rejected() == made.rejected, (made.data, world.rejected(), made.rejected)


def a_growing_file(random_: random.Random, folder: Path) -> None:
    """A file that is seen at random sizes: each row is taken once, none before its line has an end."""
    made = document(random_, broken=False)
    world = World(folder, made.form, with_id=False)
    name, cuts = "a.csv", sorted(random_.randint(0, len(made.data)) for _ in range(random_.randint(1, 6)))
    for size in cuts:
        name = random_.choice([name, name, "b.csv", "c.csv"])
        for other in folder.iterdir():
            other.rename(folder / name)
        (folder / name).write_bytes(made.data[:size])
        world.ingest(final=False, dies_at=random_.choice([None, random_.randint(1, 8)]))
        assert not (Counter(map(repr, world.rows())) - Counter(map(repr, made.rows))), (made.data, size, world.rows())
    (folder / name).write_bytes(made.data)
    if random_.random() < 0.5:
        world.ingest(final=False)
    world.ingest(final=True)
    assert same(world.rows(), made.rows), (made.data, cuts, world.rows(), made.rows)
    assert world.rejected() == made.rejected, (made.data, cuts, world.rejected(), made.rejected)
    (folder / name).rename(folder / "d.csv")
    assert world.ingest(final=True).rows_out == 0


def lines_of_json(random_: random.Random, folder: Path) -> None:
    """JSON lines that grow, with lines among them that are no objects."""
    rows, lines, rejected = [], [], []
    for number in range(1, random_.choice([2, 5, 20])):
        row = {
            "id": random_.choice([1, -5, 2**63 - 1, None]),
            "at": random_.choice(["2013-07-15T10:00:00Z", 5]),
            "note": random_.choice([*WORDS, None, "a\nb"]),
        }
        row = {name: row[name] for name in random_.sample(list(row), 3) if random_.random() < 0.9 or name == "at"}
        lines.append(json.dumps(row, ensure_ascii=random_.random() < 0.5))
        if random_.random() < 0.1:
            lines[-1] = random_.choice(["{", "[1]", '"x"', '{"at": "soon"}', "{}", "\0"])
            rejected.append(number)
        else:
            at = 1_373_882_400_000_000 if row["at"] != 5 else 5
            rows.append({name: row.get(name) for name in KINDS} | {"at": at})
    end = random_.choice(["\n", "\r\n"])
    data = (end.join(lines) + random_.choice(["", end])).encode()
    world = World(folder, FileFormat(), with_id=False)
    for size in sorted(random_.randint(0, len(data)) for _ in range(random_.randint(0, 5))):
        (folder / "a.jsonl").write_bytes(data[:size])
        world.ingest(final=False, dies_at=random_.choice([None, random_.randint(1, 8)]))
    (folder / "a.jsonl").write_bytes(data)
    world.ingest(final=True)
    assert same(world.rows(), rows), (data, world.rows(), rows)
    assert world.rejected() == rejected, (data, world.rejected(), rejected)


def the_same_in_every_form(random_: random.Random, folder: Path) -> None:
    """A table as CSV, JSON lines and Parquet, with and without an id, once more than once."""
    texts = st_texts(random_)
    frame = pl.DataFrame(
        {
            "id": range(len(texts)),
            "at": ["2013-07-15T10:00:00Z"] * len(texts),
            "amount": [random_.choice([None, 0.1, 1e300, -5.0]) for _ in texts],
            "flag": [random_.choice([None, True, False]) for _ in texts],
            "note": texts,
        },
        schema={"id": pl.Int64, "at": pl.String, "amount": pl.Float64, "flag": pl.Boolean, "note": pl.String},
    )
    found = []
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        place = folder / name.replace(".", "_")
        place.mkdir()
        if name == "a.csv":
            with (place / name).open("w", encoding="utf-8", newline="") as file:
                frame.write_csv(file, quote_style="non_numeric", null_value="")
        elif name == "a.jsonl":
            frame.write_ndjson(place / name)
        else:
            frame.write_parquet(place / name)
        world = World(place, FileFormat(), with_id=random_.random() < 0.5)
        world.ingest(final=False, dies_at=random_.choice([None, random_.randint(1, 6)]))
        found.append(world.rows())
    if None not in texts:
        assert same(found[0], found[1]), (found[0], found[1])
    assert same(found[1], found[2]), (found[1], found[2])
    assert len(found[2]) == len(texts)


def st_texts(random_: random.Random) -> list[str | None]:
    return [random_.choice([*WORDS, 'x"y', "a\nb", "a,b", "\r\n"]) for _ in range(random_.choice([1, 5, 20]))]


CHECKS = (a_whole_file, a_growing_file, lines_of_json, the_same_in_every_form)


def look(seed: int, folder: Path) -> None:
    random_ = random.Random(seed)
    place = folder / str(seed)
    place.mkdir()
    check = CHECKS[seed % len(CHECKS)]
    with small_pieces(random_):
        try:
            check(random_, place)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {check.__name__}: {error}") from error


def test_random_files_are_taken_as_a_second_parser_reads_them(tmp_path: Path) -> None:
    for seed in (*range(16), 40_389, 119_640_001):
        look(seed, tmp_path)


@pytest.mark.slow
def test_random_files_for_as_long_as_is_asked(fuzz: Callable[[Callable[[int], object]], None], tmp_path: Path) -> None:
    fuzz(lambda seed: look(seed, tmp_path))


@pytest.mark.parametrize("seed", range(30))
def test_the_second_parser_reads_what_others_read(seed: int, tmp_path: Path) -> None:
    """Python's csv and DuckDB, where a file is CSV as they have it."""
    random_ = random.Random(seed)
    made = document(random_, broken=False)
    text = made.data.decode("utf-8-sig")
    mine = [[cell for cell, _ in cells or []] for _, cells in parsed(text, made.form.delimiter)]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=made.form.delimiter, strict=True)
    assert mine == [row for row in reader if row]
    if "\r" in text or "\0" in text or len(mine) < 2 or len(mine[0]) < 2 or len(set(mine[0])) < len(mine[0]):
        return
    (tmp_path / "a.csv").write_text(text, encoding="utf-8", newline="")
    theirs = duckdb.sql(
        f"select * from read_csv('{tmp_path}/a.csv', delim = '{made.form.delimiter}', quote = '\"', escape = '\"', header = true, all_varchar = true)"
    ).fetchall()
    assert [[cell or "" for cell in row] for row in theirs] == mine[1:]
