"""Optimistic transactions: read, decide, commit, and again when somebody else was faster."""

import threading
from pathlib import Path

import pytest

from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.errors import Conflict, NotFound
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.signal import Cursor


def increment(metadata: Metadata) -> int:
    before = metadata.get(Cursor, "count")
    after = Cursor("count", before.position + 1 if before else 1)
    batch = Batch()
    batch.put(after, replacing=before)
    metadata.commit(batch)
    return after.position


def test_contending_threads_on_sqlite_lose_no_change(tmp_path: Path):
    metadata, results, conflicts = SqlMetadata(open_engine(tmp_path / "metadata.db")), list[int](), list[bool]()
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for _ in range(20):
            results.append(transact(lambda: increment(metadata), attempts=10_000, on_conflict=lambda: conflicts.append(True)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == list(range(1, 121))
    assert metadata.get(Cursor, "count") == Cursor("count", 120)
    assert conflicts, "nobody met anybody: this test has shown nothing"
    metadata.close()


def test_a_conflict_is_tried_again_on_what_is_there_then():
    seen: list[int] = []

    def act() -> str:
        seen.append(len(seen))
        if len(seen) < 3:
            raise Conflict("somebody was faster")
        return "done"

    assert transact(act, attempts=3) == "done"
    assert seen == [0, 1, 2]


def test_who_never_comes_through_hears_why():
    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        raise Conflict("record changed", name="r")

    with pytest.raises(Conflict, match=r"^record changed$"):
        transact(act, attempts=4)
    assert len(calls) == 4
    with pytest.raises(Conflict, match=r"^others keep at it; try again \(4 attempts in a row met another change\)$") as caught:
        transact(act, attempts=4, busy="others keep at it; try again")
    assert caught.value.facts == {"name": "r"}


def test_any_other_error_ends_it_at_once():
    calls: list[int] = []

    def act() -> None:
        calls.append(1)
        raise NotFound("nothing there")

    with pytest.raises(NotFound):
        transact(act)
    assert calls == [1]
