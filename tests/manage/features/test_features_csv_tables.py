"""CSV files that somebody names on the command line: declared columns are what they are declared, no date is read day first."""

from pathlib import Path

import polars as pl
import pytest
from polars.exceptions import PolarsError

from rota.errors import InvalidInput
from rota.manage.datasets.schema_inference import file_table
from rota.manage.features.rows import csv_tables
from rota.records.time import parse_time


def written(folder: Path, text: str) -> Path:
    file = folder / "a.csv"
    file.write_text(text)
    return file


def test_a_declared_column_is_its_cells_in_its_type(tmp_path: Path) -> None:
    file = written(tmp_path, "shop,at,n,ok,seen\n00123,2026-02-03T04:00+01:00,1001.0,1,2026-02-03\n,20260203,,,\n")
    made = csv_tables.read(file, {"shop": "string", "at": "timestamp", "n": "int", "ok": "bool"})
    assert made.select("shop", "n", "ok").rows() == [("00123", 1001, True), (None, None, None)]
    assert made["at"].dt.epoch("us").to_list() == [parse_time("2026-02-03T03:00Z"), parse_time("2026-02-03")]
    assert made["seen"].dt.epoch("us").to_list() == [parse_time("2026-02-03"), None]
    with pytest.raises(InvalidInput, match=r"row 0, column 'at' of .*a\.csv: 03/02/2026 is no timestamp; which number is its day"):
        csv_tables.read(written(tmp_path, "at\n03/02/2026\n"), {"at": "timestamp"})


def test_a_table_of_a_file_has_its_times_in_iso_8601_and_no_others(tmp_path: Path) -> None:
    table = file_table(written(tmp_path, "at,day,text\n2026-02-03T24:00,03/02/2026,2026-02-03\n2026-W06-2,04/02/2026,x\n")).collect()
    assert table.schema == {"at": pl.Datetime("us", "UTC"), "day": pl.String, "text": pl.String}
    assert table["at"].dt.epoch("us").to_list() == [parse_time("2026-02-04"), parse_time("2026-02-03")]
    late = written(tmp_path, "at\n" + "2026-02-03\n" * 1_000 + "soon\n")
    with pytest.raises((InvalidInput, PolarsError), match="'soon' is no timestamp"):
        file_table(late).collect()
