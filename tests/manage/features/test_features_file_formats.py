"""What cells mean, how files are written, what fields are read off them, and how files grow: by the rules of docs/sources.md."""

import gzip
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import rota
from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.features.ingestion import quarantine, source_status
from rota.manage.features.rows import file_readers
from rota.manage.features.writer import Feed
from rota.ports.inputs import Inputs
from rota.records.data import Entity, Feature, FeatureView, Source
from rota.records.file_format import FileFormat
from rota.records.record import decode, encode
from rota.records.time import parse_time
from rota.testing.clock import FakeClock

FIELDS = {"shop": "string", "at": "timestamp", "amount": "float", "pieces": "int", "open": "bool"}
DAY = parse_time("2026-02-03T00:00:00Z")
HEAD = "shop,at,amount,pieces,open\n"


class Shelf:
    """A source of the files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.metadata, self.tables = folder, MemoryMetadata(), MemoryTables()
        stores = (self.metadata, self.tables, MemoryOnline(), MemoryJournal(), FakeClock(DAY + 86_400_000_000))
        self.feed = Feed(*stores, inputs=Inputs(FileInput(), SqlInput({})))

    def source(self, fields: Mapping[str, Any] = FIELDS, **words: Any) -> None:
        pattern = words.pop("path", "*")
        self.feed.register([rota.FileSource("s", self.folder / pattern, timestamp_field="at", fields=fields, **words)])

    def write(self, text: str | bytes, name: str = "a.csv") -> None:
        (self.folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    def ingest(self, *, final: bool = False) -> Any:
        return self.feed.ingestion.ingest("s", final=final)

    def column(self, name: str) -> list[Any]:
        if self.tables.version("sources/s") is None:
            return []
        return self.tables.scan("sources/s").select(name).collect()[name].to_list()

    def rejects(self) -> list[tuple[int, str]]:
        return [(each["line"], each["reason"]) for each in quarantine.read(self.tables, "s")]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "files").mkdir()
    return Shelf(tmp_path / "files")


NULL_TEXTS = ["NA", '"NA"', "None", '"null"', "nan", '""', "", "n/a", "-", '"None"']


def test_in_a_string_only_an_unquoted_empty_cell_is_null(shelf: Shelf) -> None:
    shelf.source()
    shelf.write(HEAD + "".join(f"{cell},2026-02-03,,,\n" for cell in NULL_TEXTS))
    assert (shelf.ingest().rows_out, shelf.rejects()) == (len(NULL_TEXTS), [])
    assert shelf.column("shop") == ["NA", "NA", "None", "null", "nan", "", None, "n/a", "-", "None"]


def test_in_other_fields_a_word_is_a_reject_that_names_the_way_out(shelf: Shelf) -> None:
    shelf.source()
    shelf.write(HEAD + 'a,2026-02-03,NA,null,-\nb,2026-02-03,1,n/a,true\nc,2026-02-03,,"",""\nd,2026-02-03,nan, ,\ne,NA,1,1,true\nf,,1,1,true\n')
    assert (shelf.ingest().rows_out, shelf.column("shop")) == (2, ["c", "d"])
    assert shelf.column("amount") == shelf.column("pieces") == [None, None]
    assert shelf.rejects() == [
        (2, "field 'amount': NA is no float; if it stands for a missing value, give the source null_values=['NA']"),
        (3, "field 'pieces': n/a is no int; if it stands for a missing value, give the source null_values=['n/a']"),
        (6, "field 'at': NA is no timestamp; if it stands for a missing value, give the source null_values=['NA']"),
        (7, "field 'at' is null or absent"),
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_null_values_are_null_in_texts_of_every_form_of_file(shelf: Shelf, name: str) -> None:
    shelf.source(null_values=["NA", ""])
    frame = pl.DataFrame({"shop": ["NA", "", "none", "x"], "at": ["2026-02-03"] * 4, "amount": [None, 1.0, 2.0, 3.0]})
    if name == "a.csv":
        frame.write_csv(shelf.folder / name, quote_style="non_numeric")
    else:
        frame.write_ndjson(shelf.folder / name) if name == "a.jsonl" else frame.write_parquet(shelf.folder / name)
    assert shelf.ingest().rows_out == 4
    assert shelf.column("shop") == [None, None, "none", "x"]


def test_a_row_without_its_key_is_a_reject(shelf: Shelf) -> None:
    shelf.source()
    stored = source_status.get(shelf.metadata, "s")
    shelf.feed.register([FeatureView("v", [Entity("shop", ["shop"])], stored, {"amount": Feature("amount")})])
    shelf.write(HEAD + ',2026-02-03,1,1,true\n"",2026-02-03,2,1,true\nNA,2026-02-03,3,1,true\n')
    assert (shelf.ingest().rejected, shelf.column("shop")) == (1, ["", "NA"])
    assert shelf.rejects() == [(2, "the key 'shop' is null")]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%d/%m/%Y", "03/02/2026"),
        ("%m/%d/%Y", "02/03/2026"),
        ("%m/%d/%Y", "2/3/2026"),
        ("%d.%m.%Y %H:%M:%S", "03.02.2026 00:00:00"),
        ("%d %b %Y %I:%M %p", "03 Feb 2026 12:00 AM"),
        ("%Y-%m-%dT%H:%M:%S%z", "2026-02-03T01:00:00+0100"),
        ("%Y%m%d", "20260203"),
        ("epoch_s", str(DAY // 1_000_000)),
        ("epoch_s", str(DAY // 1_000_000) + ".000"),
        ("epoch_ms", str(DAY // 1_000)),
        ("epoch_us", str(DAY)),
    ],
)
def test_times_are_read_in_the_form_of_their_source(shelf: Shelf, form: str, text: str) -> None:
    shelf.source(timestamp_format=form)
    shelf.write(f"shop,at\na,{text}\nb,2026-02-03T00:00:00Z\n")
    shelf.write(f'{{"shop": "c", "at": "{text}"}}\n', "b.jsonl")
    if text.isdigit():
        shelf.write(f'{{"shop": "c", "at": {text}}}\n', "b.jsonl")
        pl.DataFrame({"shop": ["d"], "at": [int(text)]}).write_parquet(shelf.folder / "c.parquet")
    pl.DataFrame({"shop": ["e"], "at": pl.Series([DAY]).cast(pl.Datetime("us"))}).write_parquet(shelf.folder / "d.parquet")
    shelf.ingest()
    assert set(shelf.column("at")) == {DAY}
    assert shelf.rejects() == ([] if "%z" in form else [(3, f"field 'at': 2026-02-03T00:00:00Z is no time of the form {form!r}")])


def test_columns_may_be_parted_and_numbers_marked_otherwise(shelf: Shelf) -> None:
    shelf.source(delimiter=";", decimal=",", path="*.csv")
    shelf.write("shop;at;amount\na,b;2026-02-03;1,5\nb;2026-02-03;-,25\nc;2026-02-03;1.5\nd;2026-02-03;1.234,5\ne;2026-02-03;7\n")
    assert (shelf.ingest().rejected, shelf.column("shop"), shelf.column("amount")) == (2, ["a,b", "b", "e"], [1.5, -0.25, 7.0])
    assert shelf.rejects()[0] == (4, "field 'amount': 1.5 is no float with the decimal mark ','")
    shelf.write("shop,at\nx,2026-02-03\n", "b.csv")
    with pytest.raises(InvalidInput, match="its header is one column, 'shop,at': if ',' parts its columns, give the source delimiter=','"):
        shelf.ingest()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le"])
def test_a_file_in_another_encoding_is_read_where_it_is_told(shelf: Shelf, encoding: str) -> None:
    shelf.source(encoding=encoding)
    shelf.write("shop,at\nCafé,2026-02-03\n".encode(encoding))
    shelf.write(gzip.compress("shop,at\nMünch,2026-02-03\n".encode(encoding)), "b.csv.gz")
    shelf.ingest()
    assert shelf.column("shop") == ["Café", "Münch"]


def test_a_file_in_another_encoding_that_nobody_told_is_named(shelf: Shelf) -> None:
    shelf.source(path="a.csv")
    shelf.write("shop,at\nok,2026-02-03\nCafé,2026-02-03\n".encode("latin-1"))
    assert (shelf.ingest().rows_out, shelf.rejects()[0][0]) == (1, 3)
    assert "byte 0xE9" in shelf.rejects()[0][1]
    assert "encoding='latin-1'" in shelf.rejects()[0][1]
    for encoding in ("utf-16", "utf-16-le"):
        shelf.write("shop,at\nCafé,2026-02-03\n".encode(encoding))
        with pytest.raises(InvalidInput, match="encoding='utf-16'"):
            shelf.ingest()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"delimiter": ""}, "give one character"),
        ({"delimiter": '"'}, "give one character"),
        ({"delimiter": "\n"}, "give one character"),
        ({"delimiter": "é"}, "give one character"),
        ({"delimiter": "::"}, "give one character"),
        ({"decimal": "x"}, "give '.' or ','"),
        ({"encoding": "klingon"}, "no encoding of text"),
        ({"encoding": "hex"}, "no encoding of text"),
        ({"timestamp_format": "%H:%M"}, "no full date"),
        ({"timestamp_format": "%Y-%m-%d %I:%M"}, "no half of its day"),
        ({"timestamp_format": "soon"}, "no full date|no form"),
        ({"timestamp_format": "%Q"}, "no form of a time|no full date"),
        ({"null_values": [1]}, "give the texts that mean null"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(tmp_path: Path, words: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        rota.FileSource("s", tmp_path / "a.csv", timestamp_field="at", fields=FIELDS, **words)


def test_options_belong_to_the_definition_of_a_source(shelf: Shelf) -> None:
    shelf.source(null_values="NA", delimiter=";")
    stored = source_status.get(shelf.metadata, "s")
    assert stored.format == FileFormat(("NA",), delimiter=";")
    assert decode(encode(stored), Source) == stored
    before = encode(Source("s", FIELDS, "at")).replace(encode(FileFormat()), b"null").replace(b'"format":null,', b"").replace(b',"format":null', b"")
    assert decode(before, Source).format == FileFormat()
    shelf.source(null_values="-")
    assert source_status.get(shelf.metadata, "s").format.null_values == ("-",)


def test_with_an_id_a_file_is_read_again_under_other_options_and_without_one_it_is_not(shelf: Shelf, tmp_path: Path) -> None:
    for id_field, rows in (("pieces", [1, 2]), (None, [1])):
        (tmp_path / f"{id_field}").mkdir()
        again = Shelf(tmp_path / f"{id_field}")
        again.source(id_field=id_field)
        again.write(HEAD + "a,2026-02-03,1,1,true\nb,2026-02-03,NA,2,true\n")
        assert again.ingest().rejected == 1
        again.source(id_field=id_field, null_values=["NA"])
        again.ingest()
        again.ingest()
        assert again.column("pieces") == rows


def inferred(folder: Path, text: str | bytes, name: str = "a.csv", **words: Any) -> dict[str, str]:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return dict(rota.FileSource("s", folder / name, timestamp_field="at", **words).fields)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2", "0"], "int"),
        (["00123", "01067"], "string"),
        (["0", "007"], "string"),
        (["9223372036854775807"], "int"),
        (["9223372036854775808", "1"], "string"),
        (["-9223372036854775809"], "string"),
        (["1", "2.5"], "float"),
        (["1.5", "9007199254740993"], "string"),
        (["1e5", "2.5E-3"], "float"),
        (["1e5", "9f3"], "string"),
        (["+4915112345678"], "string"),
        (["+1.5", "-.5", "3."], "float"),
        (["007.5"], "string"),
        (["1", "x"], "string"),
        (["1_000"], "string"),
        (["0x1F"], "string"),
        (["inf"], "string"),
        (["1e999"], "string"),
        (["true", "False"], "bool"),
        (["0", "1"], "int"),
        (["yes", "no"], "string"),
        (["2026-02-03", "2026-02-03T10:00:00+01:00"], "timestamp"),
        (["20260203"], "int"),
        (["10:30"], "string"),
        (["NA"], "string"),
        (["NA", "DE"], "string"),
        (["", ""], "string"),
        ([" 1", "2 "], "int"),
        (["1", '"2"', ""], "int"),
    ],
)
def test_a_column_of_csv_is_a_number_where_it_would_come_back_as_it_was(tmp_path: Path, cells: list[str], kind: str) -> None:
    text = "at,x\n" + "".join(f"2026-02-03,{cell}\n" for cell in cells)
    assert inferred(tmp_path, text)["x"] == kind
    broken = text + '2026-02-03,"p"q\n2026-02-03\n2026-02-03,1,2\n'  # rows that are none change nothing
    assert inferred(tmp_path, broken)["x"] == kind


def test_numbers_with_words_among_them_are_not_guessed(tmp_path: Path) -> None:
    text = "at,x\n2026-02-03,1\n2026-02-03,NA\n"
    with pytest.raises(InvalidInput, match=r"column 'x' is int, but for the words \['NA'\].*null_values=\['NA'\]"):
        inferred(tmp_path, text)
    assert inferred(tmp_path, text, null_values=["NA"])["x"] == "int"
    assert inferred(tmp_path, "at;x\n03/02/2026;1,5\n", delimiter=";", decimal=",", timestamp_format="%d/%m/%Y") == {"at": "timestamp", "x": "float"}


def test_a_header_with_equal_or_empty_names_is_refused_by_name(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"names \['x'\] more than once"):
        inferred(tmp_path, "x,at,x\n1,2026-02-03,2\n")
    with pytest.raises(InvalidInput, match="column 1 of its header has no name"):
        inferred(tmp_path, ",at\n0,2026-02-03\n")
    shelf.source()
    shelf.write(",shop,at\n0,a,2026-02-03\n")
    shelf.write("other,other,shop,at\n0,1,b,2026-02-03\n", "b.csv")  # columns that nobody declared may be called as they like
    shelf.write("shop,shop,at\nc,d,2026-02-03\n", "c.csv")
    with pytest.raises(InvalidInput, match=r"names \['shop'\] more than once.*2 rows were stored"):
        shelf.ingest()
    assert shelf.column("shop") == ["a", "b"]


def test_parquet_types_are_fields_or_left_out_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    at = pl.Series([DAY]).cast(pl.Datetime("us"))
    frame = pl.DataFrame(
        {
            "at": at.cast(pl.Datetime("ns", "Asia/Tokyo")),
            "day": at.cast(pl.Date),
            "kind": pl.Series(["a"], dtype=pl.Categorical),
            "level": pl.Series(["a"], dtype=pl.Enum(["a"])),
            "zip": ["01067"],
            "code": ["123"],
            "none": pl.Series([None], dtype=pl.Null),
            "big": pl.Series([2**63], dtype=pl.UInt64),
            "small": pl.Series([7], dtype=pl.UInt64),
            "money": pl.Series(["1.50"]).cast(pl.Decimal(10, 2)),
            "half": pl.Series([0.5], dtype=pl.Float32),
            "list": [[1]],
            "struct": [{"a": 1}],
            "time": pl.Series([0]).cast(pl.Time),
            "duration": pl.Series([0]).cast(pl.Duration("us")),
            "bytes": [b"x"],
        }
    )
    frame.write_parquet(tmp_path / "a.parquet")
    source = rota.FileSource("s", tmp_path / "a.parquet", timestamp_field="at")
    assert dict(source.fields) == {
        "at": "timestamp",
        "day": "timestamp",
        "kind": "string",
        "level": "string",
        "zip": "string",
        "code": "string",
        "none": "string",
        "small": "int",
        "money": "float",
        "half": "float",
        "list": "int[]",
        "bytes": "bytes",
    }
    for name in ("big", "struct", "time", "duration"):
        assert f"'{name}': " in caplog.text
    with pytest.raises(InvalidInput, match="column 'time' has the type Time, which no field can have"):
        rota.FileSource("s", tmp_path / "a.parquet", timestamp_field="at", id_field="time")
    shelf = Shelf(tmp_path)
    shelf.feed.register([source])
    assert shelf.ingest().rows_out == 1
    assert (shelf.column("kind"), shelf.column("small"), shelf.column("at")) == (["a"], [7], [DAY])


@pytest.mark.parametrize("id_field", ["pieces", None])
def test_a_file_that_grows_is_read_on_and_half_a_line_waits(shelf: Shelf, id_field: str | None) -> None:
    shelf.source(id_field=id_field)
    whole = HEAD + "a,2026-02-03,1.5,1,true\nb,2026-02-03,2.5,2,true\nc,2026-02-03,3.5,123456,true\n"
    shelf.write(whole[: whole.index("456")])
    done = shelf.ingest()
    assert (done.rows_out, shelf.column("pieces")) == (2, [1, 2])
    (notice,) = done.notices
    assert "its last line (4) has no line end and waits; end it with a newline, or ingest with final (`--final`)" in notice
    assert shelf.ingest().notices == (f"{shelf.folder}/a.csv: its last line (20 bytes) is incomplete and waits; " + notice.partition("; ")[2],)
    shelf.write(whole)
    done = shelf.ingest()
    assert (done.rows_in, done.rows_out, done.known, done.notices) == (3, 1, 2, ())
    assert shelf.column("pieces") == [1, 2, 123456]
    shelf.write(whole + "d,x,1,4,true\n" * 2)
    shelf.ingest()
    assert [line for line, _ in shelf.rejects()] == [5, 6]
    (shelf.folder / "a.csv").rename(shelf.folder / "b.csv")
    assert (shelf.ingest().rows_out, len(shelf.column("pieces"))) == (0, 3)


@pytest.mark.parametrize("names", [("a-1.csv", "a.csv"), ("a.csv.old.csv", "a.csv"), ("a.csv", "z.csv")])
def test_a_file_that_is_renamed_after_it_grew_goes_on_and_a_copy_is_another_file(shelf: Shelf, names: tuple[str, str]) -> None:
    old, new = names[::-1] if names[0] != "a.csv" else names
    shelf.source()
    shelf.write("shop,at\na,2026-02-03\n", old)
    shelf.ingest()
    (shelf.folder / old).rename(shelf.folder / new)
    shelf.write("shop,at\na,2026-02-03\nb,2026-02-03\n", new)
    shelf.write("shop,at\nc,2026-02-03\n", old)  # the next one, under the name of the first
    assert (shelf.ingest().rows_out, sorted(shelf.column("shop"))) == (2, ["a", "b", "c"])
    shelf.write("shop,at\na,2026-02-03\nd,2026-02-03\n", "another.csv")  # begins alike while the first is there still
    shelf.write("shop,at\na,2026-02-03\nb,2026-02-03\n", "copy.csv")
    assert (shelf.ingest().rows_out, sorted(shelf.column("shop"))) == (2, ["a", "a", "b", "c", "d"])


def test_a_finished_file_without_a_last_line_end_is_taken_when_it_is_told_or_old(shelf: Shelf) -> None:
    shelf.source()
    for name, final, age in (("a.csv", True, 0), ("b.csv", False, 7_200)):
        shelf.write(HEAD + f"{name},2026-02-03,1,1,true", name)
        os.utime(shelf.folder / name, (time.time() - age,) * 2)
        assert (shelf.ingest(final=final).rows_out, shelf.ingest().rows_out) == (1, 0)
    shelf.write(HEAD + "a.csv,2026-02-03,1,1,true\nc,2026-02-03,1,1,true\n")
    assert (shelf.ingest().rows_out, shelf.column("shop")) == (1, ["a.csv", "b.csv", "c"])


def test_a_line_that_was_taken_too_early_is_told_when_it_goes_on(shelf: Shelf) -> None:
    shelf.source(fields={"at": "timestamp", "pieces": "int"})
    shelf.write("at,pieces\n2026-02-03,123")
    assert shelf.ingest(final=True).rows_out == 1
    shelf.write("at,pieces\n2026-02-03,123456\n2026-02-03,7\n")
    assert (shelf.ingest().rejected, shelf.column("pieces")) == (1, [123, 7])
    assert "its line has gone on since" in shelf.rejects()[0][1]


def test_a_whole_object_without_a_line_end_does_not_wait(shelf: Shelf) -> None:
    shelf.source()
    shelf.write('{"shop": "a", "at": "2026-02-03"}\n{"shop": "b", "at": "2026-02-03"}', "a.jsonl")
    assert (shelf.ingest().rows_out, shelf.ingest().rows_out) == (2, 0)
    shelf.write('{"shop": "a", "at": "2026-02-03"}\n{"shop": "b", "at": "2026-02-03"}\r\n{"shop": "c", "at": "2026-', "a.jsonl")
    assert "no whole object and waits" in shelf.ingest().notices[-1]
    assert shelf.column("shop") == ["a", "b"]


def test_a_file_that_was_changed_before_its_end_doubles_nothing(shelf: Shelf, tmp_path: Path) -> None:
    first = HEAD + "a,2026-02-03,1,1,true\nb,2026-02-03,2,2,true\n"
    shelf.source()
    shelf.write(first)
    shelf.ingest()
    shelf.write(first.replace("b,", "B,"))
    with pytest.raises(InvalidInput, match=r"a\.csv was changed before the end of what was taken of it, and 1 of its rows are stored already"):
        shelf.ingest()
    assert shelf.column("shop") == ["a", "b"]
    shelf.write(HEAD + "c,2026-02-03,1,1,true\n")  # nothing of it is stored: as good as another file
    assert (shelf.ingest().rows_out, shelf.column("shop")) == (1, ["a", "b", "c"])
    (tmp_path / "with").mkdir()
    other = Shelf(tmp_path / "with")
    other.source(id_field="pieces")
    other.write(first)
    other.ingest()
    other.write(first.replace("b,", "B,"))
    assert (other.ingest().rows_out, other.column("shop")) == (1, ["a", "b", "B"])  # with an id it is a correction


def test_rows_are_of_the_headers_length(shelf: Shelf) -> None:
    shelf.source()
    shelf.write(HEAD + "a,2026-02-03,1,1,true\nb,2026-02-03\nc,2026-02-03,1,1,true,x\n")
    assert (shelf.ingest().rejected, shelf.column("shop")) == (2, ["a"])
    assert shelf.rejects() == [(3, "the row has 2 fields, the header 5"), (4, "the row has 6 fields, the header 5")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_they_like(shelf: Shelf, end: str) -> None:
    shelf.source()
    shelf.write(end.join(["shop,at", 'a,"2026-02-03"', "", '"b\r\nc\rd\n",2026-02-03', "e,soon", "f,2026-02-03\0", ""]))
    assert (shelf.ingest().rows_out, shelf.column("shop")) == (2, ["a", "b\r\nc\rd\n"])
    assert [line for line, _ in shelf.rejects()] == [8, 9]


def test_a_quote_by_mistake_does_not_stop_what_comes_after_it(shelf: Shelf) -> None:
    shelf.source()
    shelf.write('shop,at\n"a,2026-02-03\nb,2026-02-03\n"c"c,2026-02-03\nd,2026-02-03\n')
    assert (shelf.ingest().rejected, shelf.column("shop")) == (2, ["b", "d"])
    shelf.write('shop,at\ne,2026-02-03\n"f\nbegins here', "b.csv")
    assert "a quote that is opened on line 3 is not closed; what follows waits" in shelf.ingest().notices[-1]
    shelf.write('shop,at\ne,2026-02-03\n"f\nbegins here, and ends",2026-02-03\n', "b.csv")
    assert (shelf.ingest().rows_out, shelf.column("shop")[-1]) == (1, "f\nbegins here, and ends")


def test_a_file_that_cannot_be_taken_stops_no_other_and_is_named(shelf: Shelf) -> None:
    shelf.source()
    shelf.write("shop,at\na,2026-02-03\n", "1.csv")
    shelf.write("shop,when\nb,2026-02-03\n", "2.csv")
    shelf.write(gzip.compress(b"shop,at\nc,2026-02-03\n" * 1_000)[:40], "3.csv.gz")
    shelf.write("shop,at\nd,2026-02-03\n", "4.csv")
    message = r"2\.csv has no column 'at'.*nor were .*3\.csv\.gz.*2 rows were stored by this ingestion, and 2 of 4"
    with pytest.raises(InvalidInput, match=message) as failed:
        shelf.ingest()
    assert failed.value.facts["stored"] == 2
    assert shelf.column("shop") == ["a", "d"]


def test_what_is_empty_or_lacks_a_column_is_named(shelf: Shelf) -> None:
    shelf.source()
    shelf.write("", "1.csv")
    shelf.write(HEAD, "2.csv")
    shelf.write("\n\n", "3.jsonl")
    shelf.write("shop,at\na,2026-02-03\n", "4.csv")
    pl.DataFrame({"shop": ["b"], "at": ["2026-02-03"]}).write_parquet(shelf.folder / "5.parquet")
    notices = [each.removeprefix(f"{shelf.folder}/") for each in shelf.ingest().notices]
    lacks = "lacks the columns ['amount', 'open', 'pieces']; they are null in its rows"
    assert notices == ["1.csv: it is empty", "2.csv: it has a header and no rows", f"4.csv {lacks}", f"5.parquet {lacks}"]


def test_a_source_without_rows_is_never_fresh(shelf: Shelf) -> None:
    shelf.source()
    status = source_status.status(shelf.metadata, shelf.tables, source_status.get(shelf.metadata, "s"), DAY)
    assert (status.state, status.stale) == ("empty", "source 's' has no rows yet")
    shelf.write(HEAD + "a,2026-02-03,1,1,true\n")
    shelf.ingest()
    status = source_status.status(shelf.metadata, shelf.tables, source_status.get(shelf.metadata, "s"), DAY)
    assert (status.state, status.stale) == ("no freshness promised", "")


def test_a_file_that_grows_while_it_is_read_is_taken_as_it_was(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.source()
    shelf.write("shop,at\na,2026-02-03\n")
    chunks, grown = file_readers.chunks, []

    def growing(path: Path, *arguments: Any, **words: Any) -> Any:
        if not grown:
            grown.append(path.write_text(path.read_text() + "b,2026-02-03\n"))
        return chunks(path, *arguments, **words)

    monkeypatch.setattr(file_readers, "chunks", growing)
    assert (shelf.ingest().rows_out, shelf.column("shop")) == (1, ["a"])
    assert (shelf.ingest().rows_out, shelf.column("shop")) == (1, ["a", "b"])


def test_fields_that_were_read_off_the_first_rows_take_no_number_that_is_written_otherwise(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    rows = "".join(f"{number},2026-02-03,{number}\n" for number in range(1, 1_501))
    shelf.write(f"key,at,amount\n{rows}00123,2026-02-03,9\n+7,2026-02-03,9\n")
    shelf.source(fields={})
    made = shelf.ingest()
    assert (made.rows_out, made.rejected) == (1_500, 2)
    assert [line for line, _ in shelf.rejects()] == [1_502, 1_503]
    assert all("field 'key'" in reason and "would not come back as it is written" in reason for _, reason in shelf.rejects())


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_null_value_is_null_in_every_form_of_file_as_a_number_too(tmp_path: Path, form: str) -> None:
    shelf = Shelf(tmp_path)
    shelf.source(fields={"at": "timestamp", "amount": "float", "pieces": "int"}, null_values=["-999", "n/a"])
    frame = pl.DataFrame({"at": ["2026-02-03"] * 3, "amount": [-999.0, 0.5, -999.0], "pieces": [1, -999, 3]})
    match form:
        case "csv":
            shelf.write("at,amount,pieces\n2026-02-03,-999,1\n2026-02-03,0.5,-999\n2026-02-03,-999,3\n")
        case "jsonl":
            frame.write_ndjson(tmp_path / "a.jsonl")
        case _:
            frame.write_parquet(tmp_path / "a.parquet")
    assert shelf.ingest().rows_out == 3
    assert sorted(shelf.column("amount"), key=str) == [0.5, None, None]
    assert sorted(shelf.column("pieces"), key=str) == [1, 3, None]
