"""The spool: what was appended is found, in whatever state its process left it."""

import errno
import itertools
import math
import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tracking import MemoryTracking
from rota.develop import spool as spools
from rota.develop.spool import Header, Spool
from rota.develop.spool_recovery import drain
from rota.errors import InvalidInput, Refused, Unavailable
from rota.ports.tracking import Logged, RunChange
from rota.records.tracking import DEFAULT_EXPERIMENT, ExperimentRun

NOON_US = 1_373_889_600_000_000


@pytest.fixture
def tracking():
    made = MemoryTracking(MemoryMetadata())
    made.create_run(ExperimentRun("r1", DEFAULT_EXPERIMENT, "r1", "running", NOON_US))
    return made


def opened(folder, *, ends=True, now=None, full=lambda: None):
    now = now or map((NOON_US * 1_000 + 1).__add__, itertools.count(0, 1_000)).__next__
    return Spool(folder, Header("r1", 1_000, ends), now, full=full, forked=lambda: None)


def found(spool):
    return [point for piece in spool.pending() for point in piece]


def abandoned(spool):
    """As if the process had been killed: the lock goes, the files stay."""
    folder = spool.folder
    spool.close(remove=False)
    return folder


def test_points_come_back_in_order_with_name_value_step_and_moment(tmp_path):
    spool = opened(tmp_path)
    spool.append("loss", 0.5, 3)
    spool.append("auc", np.float32(0.25))
    spool.append("loss", -1, -(2**63))
    assert [(p.key, p.value, p.step, p.at_us - NOON_US) for p in found(spool)] == [
        ("loss", 0.5, 3, 0),
        ("auc", 0.25, 0, 1),
        ("loss", -1.0, -(2**63), 2),
    ]
    assert found(spool) == [], "what was taken is not given again"


def test_no_number_is_bent(tmp_path):
    spool = opened(tmp_path)
    values = [math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0]
    for value in values:
        spool.append("v", value)
    assert struct.pack("6d", *[point.value for point in found(spool)]) == struct.pack("6d", *values)


def test_segments_grow_and_go_when_they_are_stored(tmp_path):
    spool = opened(tmp_path)
    for step in range(100_000):
        spool.append("loss", step, step)
    sizes = [path.stat().st_size // 32 for path in sorted(spool.folder.glob("*.segment"))]
    assert sizes == [1_024, 4_096, 16_384, 65_536, 65_536]
    assert [point.step for point in found(spool)] == list(range(100_000))
    assert len(list(spool.folder.glob("*.segment"))) == 1
    spool.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_piece_that_was_not_stored_is_given_again(tmp_path):
    spool = opened(tmp_path)
    for step in range(40_000):
        spool.append("loss", step, step)
    pieces = spool.pending()
    first = next(pieces)
    pieces.close()  # the store did not answer
    assert [point.step for point in found(spool)] == list(range(40_000))
    assert first[0].step == 0


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 251, 7, None])
def test_a_name_that_cannot_be_shown_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput, match="cannot name a metric"):
        opened(tmp_path).append(name, 1.0)


@pytest.mark.parametrize(
    ("value", "step", "message"),
    [
        ("high", 0, "'high' is no number"),
        ("3", 0, "'3' is no number"),
        (None, 0, "None is no number"),
        (1.0, 2.5, "step 2.5"),
        (1.0, 2**63, "step 9223372036854775808"),
        (1.0, "a", "step 'a'"),
    ],
)
def test_what_is_no_point_is_refused_and_leaves_no_gap(tmp_path, value, step, message):
    spool = opened(tmp_path)
    spool.append("auc", 1.0)
    with pytest.raises(InvalidInput, match=message):
        spool.append("auc", value, step)
    spool.append("auc", 2.0)
    assert [point.value for point in found(spool)] == [1.0, 2.0]
    assert found(spool) == []


def test_nothing_is_taken_after_the_end(tmp_path):
    spool = opened(tmp_path)
    spool.append("auc", 1.0)
    spool.ending("finished", NOON_US)
    with pytest.raises(Refused, match="'r1' has finished"):
        spool.append("auc", 2.0)
    assert [point.value for point in found(spool)] == [1.0]


def test_threads_lose_nothing_while_a_reader_takes_away(tmp_path):
    spool, taken, stop = opened(tmp_path), [], threading.Event()

    def read():
        while not stop.is_set():
            taken.extend(found(spool))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=lambda w=w: [spool.append(f"m{w}", i, i) for i in range(20_000)]) for w in range(4)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    taken.extend(found(spool))
    assert {(point.key, point.step) for point in taken} == {(f"m{w}", i) for w in range(4) for i in range(20_000)}


def test_a_place_that_a_thread_has_taken_but_not_written_holds_up_nobody(tmp_path):
    spool = opened(tmp_path)
    spool.append("auc", 1.0)
    spool._segment.take()  # a thread that is interrupted here
    spool.append("auc", 3.0)
    assert [point.value for point in found(spool)] == [1.0, 3.0], "what lies behind the gap is given at once"
    assert [point.value for point in found(spool)] == [3.0], "and once more, as the gap may still be filled"
    spool.append("auc", 4.0)
    assert [point.value for point in found(spool)] == [4.0], "by then the segment was given up, and with it the gap"


@pytest.mark.parametrize("removed", [False, True])
def test_a_writer_that_is_overtaken_by_the_last_reading_writes_elsewhere(tmp_path, removed):
    taken, moments = [], itertools.count(NOON_US * 1_000, 1_000)

    def now():  # called between a writer's two steps: its place is taken, its record not yet written
        moment = next(moments)
        if moment == NOON_US * 1_000 + 1_000:
            segment = spool._segment
            segment.retired = True
            taken.extend(point for piece in spool._unstored(segment) for point in piece)
            if removed:
                spool._drop(segment)
            else:
                spool._segments.remove(segment)
        return moment

    spool = opened(tmp_path, now=now)
    for value in (1.0, 2.0, 3.0):
        spool.append("auc", value)
    assert [point.value for point in taken] == [1.0]
    assert [point.value for point in found(spool)] == [2.0, 3.0]


def test_an_abandoned_spool_is_drained_and_its_run_killed_at_its_last_sign_of_life(tmp_path, tracking):
    spool = opened(tmp_path)
    for step in range(3_000):
        spool.append("loss", step, step)
    spool.alive(NOON_US + 9_000_000)
    abandoned(spool)
    assert drain(tmp_path, tracking) == ["r1"]
    assert [point.step for point in tracking.history("r1", "loss")] == list(range(3_000))
    assert (tracking.run("r1").status, tracking.run("r1").ended_us) == ("killed", NOON_US + 9_000_000)
    assert list(tmp_path.iterdir()) == []
    assert drain(tmp_path, tracking) == []


def test_a_spool_whose_process_lives_is_left_alone(tmp_path, tracking):
    spool = opened(tmp_path)
    spool.append("loss", 1.0)
    assert drain(tmp_path, tracking) == []
    assert tracking.run("r1").status == "running"
    assert len(found(spool)) == 1


def test_a_record_that_was_torn_by_the_kill_is_not_read(tmp_path, tracking):
    spool = opened(tmp_path)
    for step in range(10):
        spool.append("loss", step, step)
    folder = abandoned(spool)
    with (folder / "00000001.segment").open("r+b") as file:
        file.seek(4 * 32 + 28)
        file.write(b"\0\0\0\0")  # the commit word of the fifth
        file.seek(10 * 32)
        file.write(struct.pack("<dqqI", 7.0, 10, 0, 0))  # all but the commit word
    (folder / "names").write_bytes((folder / "names").read_bytes() + b'"acc')
    drain(tmp_path, tracking)
    assert [point.step for point in tracking.history("r1", "loss")] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_a_run_that_had_ended_keeps_its_ending(tmp_path, tracking):
    spool = opened(tmp_path)
    spool.append("loss", 1.0)
    spool.ending("failed", NOON_US + 5)
    abandoned(spool)
    drain(tmp_path, tracking)
    assert (tracking.run("r1").status, tracking.run("r1").ended_us) == ("failed", NOON_US + 5)
    assert tracking.run("r1").metrics == {"loss": 1.0}


def test_a_forked_childs_spool_does_not_end_the_run(tmp_path, tracking):
    spool = opened(tmp_path, ends=False)
    spool.append("loss", 1.0)
    abandoned(spool)
    drain(tmp_path, tracking)
    assert (tracking.run("r1").status, tracking.run("r1").metrics) == ("running", {"loss": 1.0})


def test_draining_again_what_was_drained_half_changes_nothing(tmp_path, tracking):
    spool = opened(tmp_path)
    for step in range(100):
        spool.append("loss", step, step)
    tracking.log("r1", Logged(metrics=next(spool.pending())))  # stored, and killed before the spool knew
    abandoned(spool)
    drain(tmp_path, tracking)
    assert len(tracking.history("r1", "loss")) == 100


def test_a_spool_of_a_run_that_is_gone_is_discarded_and_a_foreign_folder_is_left(tmp_path, tracking, caplog):
    abandoned(opened(tmp_path))
    tracking.purge_runs(["r1"])
    (tmp_path / "x.notes").mkdir()
    (tmp_path / "x.broken").mkdir()
    (tmp_path / "x.broken" / "owner").write_bytes(b"\0\0\0\0\0\0\0\0{}")
    (tmp_path / ".gone-r9.x").mkdir()
    assert drain(tmp_path, tracking) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.broken", "x.notes"]
    assert "cannot be read" in caplog.text


def test_a_deleted_runs_spool_waits_for_the_run_to_be_restored(tmp_path, tracking):
    spool = opened(tmp_path)
    spool.append("loss", 1.0)
    abandoned(spool)
    tracking.change_run("r1", RunChange(deleted_us=NOON_US))
    assert drain(tmp_path, tracking) == []
    tracking.change_run("r1", RunChange(deleted_us=0))
    assert drain(tmp_path, tracking) == ["r1"]
    assert tracking.run("r1").metrics == {"loss": 1.0}


def test_a_full_disk_is_an_error_of_the_call_and_costs_nothing_that_was_logged(tmp_path, monkeypatch):
    spool = opened(tmp_path)
    for step in range(1_024):
        spool.append("loss", step, step)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        with pytest.raises(Unavailable, match=r"cannot grow.*No space left"):
            spool.append("loss", 1_024, 1_024)
    spool.append("loss", 1_025, 1_025)
    assert [point.step for point in found(spool)] == [*range(1_024), 1_025]


def test_half_a_name_is_taken_back(tmp_path, tracking, monkeypatch):
    spool, write = opened(tmp_path), os.write
    spool.append("loss", 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
        with pytest.raises(Unavailable, match="No space left"):
            spool.append("accuracy", 2.0)
    spool.append("auc", 3.0)
    abandoned(spool)
    drain(tmp_path, tracking)
    assert tracking.run("r1").metrics == {"loss": 1.0, "auc": 3.0}


def test_a_spool_without_its_names_is_left_for_somebody_to_look_at(tmp_path, tracking, caplog):
    spool = opened(tmp_path)
    spool.append("loss", 1.0)
    folder = abandoned(spool)
    for content, fault in ((b"", "name is not in the spool"), (b"loss\n", "no JSON")):
        (folder / "names").write_bytes(content)
        assert drain(tmp_path, tracking) == []
        assert fault in caplog.text
    assert folder.exists()


def test_a_store_that_does_not_answer_holds_the_writer_up_and_then_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "MOST_SEGMENTS", 2)
    monkeypatch.setattr(spools, "WAIT_S", 0.05)
    woken = []
    spool = opened(tmp_path, full=lambda: woken.append(1))
    for step in range(1_024 + 4_096):
        spool.append("loss", step, step)
    with pytest.raises(Unavailable, match="2 segments of run 'r1' wait"):
        spool.append("loss", 0.0)
    assert woken == [1]
    assert [point.step for point in found(spool)] == list(range(1_024 + 4_096))
    spool.append("loss", 1.0)


def test_a_writer_that_waits_goes_on_when_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "MOST_SEGMENTS", 2)
    taken, full = [], threading.Event()
    spool = opened(tmp_path, full=full.set)

    def store():
        assert full.wait(60)
        taken.extend(found(spool))

    reader = threading.Thread(target=store)
    reader.start()
    for step in range(8_000):
        spool.append("loss", step, step)
    reader.join()
    taken.extend(found(spool))
    assert [point.step for point in taken] == list(range(8_000))


@pytest.mark.slow
def test_memory_stays_bounded_over_a_million_points(tmp_path):
    spool = opened(tmp_path, now=lambda: NOON_US)
    for step in range(1_000_000):
        spool.append("loss", 0.5, step)
    tracemalloc.start()
    pieces = spool.pending()
    total = sum(len(next(pieces)) for _ in range(8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30_000_000
    assert total + sum(len(piece) for piece in pieces) == 1_000_000
    assert len(list(spool.folder.glob("*.segment"))) == 1
