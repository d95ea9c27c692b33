"""Every writer of storage on a real file system that is full: it says which, and what a reader trusts is whole."""

import os
import threading
from pathlib import Path

import polars as pl
import pytest

from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.delta_places import Directory
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import Unavailable
from rota.testing.journal import entries
from rota.testing.tables import ids_of


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while file.write(b"\0" * 4_096):
            pass


def test_a_full_disk_is_named_by_every_writer_and_nothing_half_is_trusted(small_disk: Path) -> None:
    journal, blobs = SegmentJournal(small_disk / "log"), BlobDirectory(small_disk / "blobs")
    tables = DeltaTables(Directory(small_disk / "tables", sync=True))
    journal.append("log", [b"kept"], sync=True)
    kept = blobs.put(b"kept")
    for number in range(3):
        tables.append("t", pl.DataFrame({"id": [number]}))
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        fill(filler)
    large = os.urandom(1_000_000)
    writes = [
        lambda: journal.append("log", [large], sync=True),
        lambda: journal.append("other", [large], sync=True),
        lambda: blobs.put(large),
        lambda: blobs.put_stream([large[:500_000], large[500_000:]]),
        lambda: tables.append("t", pl.DataFrame({"id": list(range(100_000))}).sample(fraction=1.0, shuffle=True, seed=1), batch=("w", 1)),
        lambda: tables.append("new", pl.DataFrame({"id": [1]})),
        lambda: tables.compact("t"),
    ]
    for write in writes:
        with pytest.raises(Unavailable, match=f"the disk is full .the file system at {small_disk}"):
            write()
    assert entries(journal, "log") == [b"kept"]
    assert list(blobs.digests()) == [kept]
    assert ids_of(tables.scan("t")) == [0, 1, 2]
    assert tables.tables() == ["t"]
    filler.unlink()
    assert journal.append("log", [b"later"], sync=True)
    assert tables.append("t", pl.DataFrame({"id": [3]}), batch=("w", 1)) == 3
    assert tables.append("new", pl.DataFrame({"id": [1]})) == 0
    tables.compact("t")
    assert ids_of(tables.scan("t")) == [0, 1, 2, 3]
    assert entries(journal, "log") == [b"kept", b"later"]
    assert not [path for path in (small_disk / "tables").rglob(".*") if path.is_file()]


def test_who_waits_in_vain_for_a_table_is_told_who_holds_it(tmp_path: Path) -> None:
    holder, waiting = DeltaTables(Directory(tmp_path)), DeltaTables(Directory(tmp_path, turn_s=0.05))
    holder.append("t", pl.DataFrame({"id": [1]}))
    place, entered, leave = Directory(tmp_path), threading.Event(), threading.Event()

    def hold() -> None:
        with place.turn("t"):
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(60)
    try:
        with pytest.raises(Unavailable, match=rf"process {os.getpid()} has held {tmp_path}/t/_rota.lock for 0.05 s"):
            waiting.append("t", pl.DataFrame({"id": [2]}))
        assert ids_of(waiting.scan("t")) == [1]
    finally:
        leave.set()
        thread.join()
    assert waiting.append("t", pl.DataFrame({"id": [2]})) == 1
