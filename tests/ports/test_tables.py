"""Tables: the law over every store, and what only Delta can get wrong."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from rota.backends.memory.tables import MemoryTables
from rota.backends.storage import delta_tables
from rota.backends.storage.delta_tables import DeltaTables
from rota.errors import Corrupt, InvalidInput
from rota.testing.tables import TablesContract, flights, ids_of


class TestDeltaTables(TablesContract):
    @pytest.fixture
    def tables(self, tmp_path: Path) -> DeltaTables:
        return DeltaTables(tmp_path / "tables")


class TestMemoryTables(TablesContract):
    @pytest.fixture
    def tables(self) -> MemoryTables:
        return MemoryTables()


def test_a_version_stays_readable_past_checkpoints_that_keep_opening_quick(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    thousand = flights(*range(1_000))
    log = tmp_path / "log" / "_delta_log"
    for i in range(120):
        tables.append("log", thousand, batch=("drain", i))
        # Without checkpoints an append slows down with each commit (3.7 ms -> 65 ms in 300): there is always one not far back.
        newest = max((int(path.name[:20]) for path in log.glob("*.checkpoint*")), default=0)
        assert i - newest <= 20
    assert [tables.scan("log", version=v).select(pl.len()).collect().item() for v in (0, 33, 119)] == [1_000, 34_000, 120_000]


def test_other_engines_read_the_table_and_their_commits_are_seen(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("shared/flights", flights(1))
    write_deltalake(tmp_path / "shared" / "flights", flights(2), mode="append")
    tables.append("shared/flights", flights(3))
    assert ids_of(tables.scan("shared/flights")) == [1, 2, 3]
    assert DeltaTable(tmp_path / "shared" / "flights").version() == 2


def test_a_foreign_table_with_a_type_we_do_not_keep_is_refused_by_name(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "foreign", pl.DataFrame({"day": pl.Series([0], dtype=pl.Date)}))
    with pytest.raises(InvalidInput, match="day"):
        DeltaTables(tmp_path).scan("foreign")
    with pytest.raises(InvalidInput, match="day"):
        DeltaTables(tmp_path).append("foreign", flights(1))


def test_a_drop_that_dies_while_deleting_leaves_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = DeltaTables(tmp_path)
    for i in range(4):
        tables.append("t", flights(i))
    deleted: list[Path] = []

    def dies_at_the_second(path: Path) -> None:
        if deleted:
            raise SystemExit
        deleted.append(path)
        unlink(path)

    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", dies_at_the_second)
    with pytest.raises(SystemExit):
        tables.drop("t")
    monkeypatch.undo()
    assert len(deleted) == 1
    assert (tables.version("t"), tables.tables()) == (None, [])
    assert tables.append("t", flights(9)) == 0
    assert ids_of(tables.scan("t")) == [9]


def test_a_table_that_was_dropped_and_made_again_elsewhere_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    here, there = DeltaTables(tmp_path), DeltaTables(tmp_path)
    here.append("t", flights(1))
    assert ids_of(here.scan("t")) == [1]
    there.drop("t")
    there.append("t", flights(2))
    assert ids_of(here.scan("t")) == [2]


def test_what_a_killed_creator_was_about_to_put_in_place_is_no_table(tmp_path: Path) -> None:
    log = tmp_path / "t" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020d}.json#1").write_text("half")
    tables = DeltaTables(tmp_path)
    assert (tables.version("t"), tables.tables()) == (None, [])
    assert tables.append("t", flights(1)) == 0


@pytest.mark.parametrize(
    "configuration", [{"delta.enableDeletionVectors": "true"}, {"delta.columnMapping.mode": "name"}], ids=lambda c: next(iter(c))
)
def test_a_foreign_table_whose_files_are_not_its_rows_is_refused_by_name(tmp_path: Path, configuration: dict[str, str]) -> None:
    write_deltalake(tmp_path / "foreign", flights(1), configuration=configuration)
    with pytest.raises(InvalidInput, match=r"deletionVectors|columnMapping"):
        DeltaTables(tmp_path).scan("foreign")


WRITE = """
import sys
from pathlib import Path
import polars as pl
from rota.backends.storage.delta_tables import DeltaTables
for i in range(8):
    DeltaTables(Path(sys.argv[1])).append("race", pl.DataFrame({"id": [int(sys.argv[2]) * 100 + i]}), batch=(sys.argv[2], i))
"""


def test_processes_that_create_and_fill_one_table_lose_and_double_nothing(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path), str(number)]) for number in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert ids_of(DeltaTables(tmp_path).scan("race")) == [number * 100 + i for number in range(3) for i in range(8)]


def test_an_unreadable_commit_is_corrupt_and_named(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("flights", flights(1))
    (tmp_path / "flights" / "_delta_log" / f"{0:020d}.json").write_text("{not json")
    with pytest.raises(Corrupt, match=rf"flights/_delta_log/{0:020d}.json"):
        DeltaTables(tmp_path).scan("flights")


FILL = """
import resource, sys
from pathlib import Path
import numpy as np, polars as pl
from rota.backends.storage.delta_tables import DeltaTables
from rota.errors import Unavailable
tables = DeltaTables(Path(sys.argv[1]))
tables.append("t", pl.DataFrame({"x": [1.0]}))
large = pl.DataFrame({"x": np.random.default_rng(0).random(200_000)})
sys.dont_write_bytecode = True
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    tables.append("t", large)
except Unavailable as error:
    print(error)
print(sorted(path.name.partition("-")[0] for path in Path(sys.argv[1], "t").iterdir()))
print(tables.version("t"), tables.scan("t").collect().height)
"""


def test_a_full_disk_is_unavailable_and_the_old_version_stays(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert "'t'" in said[0]
    assert "the file size limit is reached" in said[0]
    assert "file system" in said[0]
    assert said[-2:] == ["['_delta_log', '_rota.lock', 'part']", "0 1"]


def test_how_far_a_writer_came_is_looked_up_once_for_each_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, looked = DeltaTables(tmp_path), list[str]()
    look = delta_tables._sequence
    monkeypatch.setattr(delta_tables, "_sequence", lambda delta, writer: looked.append(writer) or look(delta, writer))
    tables.append("log/a", pl.DataFrame({"x": [1]}), batch=("w", 3))
    looked.clear()
    assert [tables.sequence("log/a", "w") for _ in range(10)] == [3] * 10
    assert tables.sequence("log/a", "other") == -1
    assert looked == ["w", "other"]
    DeltaTables(tmp_path).append("log/a", pl.DataFrame({"x": [2]}), batch=("w", 5))
    assert tables.sequence("log/a", "w") == 5
