"""Files with a line, a header or a number of rows beyond all measure: refused with the limit, without holding them in memory."""

import gzip
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.features.rows import file_readers, text_files
from rota.records.file_format import FileFormat
from rota.records.limits import LONGEST_LINE

HUGE = 300_000_000


def rows(path: Path) -> int:
    return sum(chunk.frame.height for chunk in file_readers.chunks(path, None))


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_line_without_end_is_refused_before_it_is_held(tmp_path: Path, name: str) -> None:
    with gzip.open(tmp_path / name, "wb", compresslevel=1) as file:
        file.write(b"id\n1\n" if "csv" in name else b'{"id":1}\n')
        for _ in range(HUGE // 10_000_000):
            file.write(b"9" * 10_000_000)
    assert (tmp_path / name).stat().st_size < HUGE / 100
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=rf"the line that begins at byte [59] has more than {LONGEST_LINE} bytes"):
            rows(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < HUGE / 2
    finally:
        tracemalloc.stop()


def test_a_line_of_the_longest_length_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"id":1}\n{"id":"' + b"a" * (LONGEST_LINE - 10) + b'"}\n{"id":2}\n')
    assert rows(tmp_path / "a.jsonl") == 3


def test_lines_are_measured_across_pieces() -> None:
    def bounded(*pieces: bytes) -> bytes:
        return b"".join(text_files.lines_bounded(iter(pieces)))

    half = b"a" * (LONGEST_LINE // 2)
    assert len(bounded(half, half, b"\n" + half, half + b"\r", half)) == 5 * len(half) + 2
    for pieces in ((half, half, b"a\n"), (b"x\n" + half, half, b"a"), (half + half + b"a\n",)):
        with pytest.raises(InvalidInput, match="the line that begins at byte"):
            bounded(*pieces)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_more_columns_than_a_file_may_have_are_refused(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({f"c{number}": [1] for number in range(10_001)})
    {"a.csv": frame.write_csv, "a.jsonl": frame.write_ndjson, "a.parquet": frame.write_parquet}[name](tmp_path / name)
    with pytest.raises(InvalidInput, match="10001 columns, at most 10000"):
        rows(tmp_path / name)


def test_json_lines_of_ever_other_fields_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f'{{"a{n}":1,"b{n}":2}}\n' for n in range(6_000)))
    with pytest.raises(InvalidInput, match="12000 columns, at most 10000"):
        rows(tmp_path / "a.jsonl")


def test_a_parquet_file_of_more_nulls_than_anybody_reads_is_refused_by_its_footer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_readers, "MOST_ROWS", 1_000_000)
    pl.select(pl.repeat(None, 50_000_000, dtype=pl.Int64).alias("a")).write_parquet(tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    for wanted in (None, ("a",), ()):
        with pytest.raises(InvalidInput, match="50000000 rows, at most 1000000"):
            next(file_readers.chunks(tmp_path / "a.parquet", wanted))


def test_the_encoding_of_a_file_does_not_hide_its_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n" + "1" * (LONGEST_LINE + 5), encoding="utf-16")
    with pytest.raises(InvalidInput, match="has more than"):
        list(file_readers.chunks(tmp_path / "a.csv", None, form=FileFormat(encoding="utf-16")))
