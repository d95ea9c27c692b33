"""Damage in the files of a table: what can be had again is set aside, what cannot is named, and other tables go on."""

from pathlib import Path

import polars as pl
import pytest

from rota.backends.storage.delta_tables import DeltaTables
from rota.errors import Corrupt, NotFound
from rota.testing.tables import FUTURE_US, ids_of


def filled(root: Path, count: int) -> DeltaTables:
    tables = DeltaTables(root)
    for number in range(count):
        tables.append("t", pl.DataFrame({"id": [number]}), batch=("w", number))
    return tables


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_damaged_checkpoint_is_set_aside_and_costs_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 42)
    checkpoint = tmp_path / "t" / "_delta_log" / f"{40:020d}.checkpoint.parquet"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    tables = DeltaTables(tmp_path)
    assert ids_of(tables.scan("t")) == list(range(42))
    assert tables.sequence("t", "w") == 41
    assert (tmp_path / "t" / "_damaged" / checkpoint.name).stat().st_size == 100
    assert tables.append("t", pl.DataFrame({"id": [42]})) == 42


def test_any_flipped_byte_of_a_commit_is_found_and_named(tmp_path: Path) -> None:
    filled(tmp_path, 3)
    commit = tmp_path / "t" / "_delta_log" / f"{2:020d}.json"
    whole = commit.read_bytes()
    body = whole[: whole.rfind(b"\n")]
    for at in range(0, len(body), 7):
        flipped(commit, at)
        with pytest.raises(Corrupt, match=commit.name):
            DeltaTables(tmp_path).scan("t").collect()
        commit.write_bytes(whole)
    assert ids_of(DeltaTables(tmp_path).scan("t")) == [0, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_byte_of_a_data_file_is_found_and_named(tmp_path: Path, share: float) -> None:
    tables = filled(tmp_path, 2)
    tables.append("other", pl.DataFrame({"id": [7]}))
    path = min((tmp_path / "t").glob("*.parquet"))
    flipped(path, int(share * path.stat().st_size))
    for reader in (tables, DeltaTables(tmp_path)):
        with pytest.raises(Corrupt, match=path.name):
            reader.scan("t")
        with pytest.raises(Corrupt, match=path.name):
            reader.compact("t")
        assert ids_of(reader.scan("other")) == [7]


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    tables = filled(tmp_path, 2)
    path = next((tmp_path / "t").glob("*.parquet"))
    path.unlink()
    with pytest.raises(Corrupt, match=f"{path.name} is missing"):
        tables.scan("t")


def test_a_reader_that_slept_through_a_vacuum_sees_what_came_since(tmp_path: Path) -> None:
    writer, reader = filled(tmp_path, 3), DeltaTables(tmp_path)
    assert ids_of(reader.scan("t")) == [0, 1, 2]
    for number in range(3, 45):
        writer.append("t", pl.DataFrame({"id": [number]}))
    writer.compact("t")
    writer.vacuum("t", keep={2}, before_us=FUTURE_US)
    assert ids_of(reader.scan("t")) == list(range(45))
    assert ids_of(reader.scan("t", version=2)) == [0, 1, 2]
    with pytest.raises(NotFound, match="given up"):
        reader.scan("t", version=1)
