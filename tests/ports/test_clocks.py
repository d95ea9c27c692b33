"""Clocks: real time, replayed time shared by processes, and the tests' own."""

import fcntl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rota.backends.clocks import ReplayClock, SystemClock
from rota.errors import Corrupt, InvalidInput, Refused
from rota.testing import FakeClock, FakeSeconds

MOMENT = 1_373_860_800_000_000

ADVANCE_MANY = """
import sys
from pathlib import Path
from rota.backends.clocks import ReplayClock
from rota.errors import InvalidInput
clock = ReplayClock(Path(sys.argv[1]))
for moment in range(int(sys.argv[2]), 20_001, 2):
    before = clock.now_us()
    try:
        clock.advance(moment)
    except InvalidInput:
        assert clock.now_us() > moment, (clock.now_us(), moment)
    assert clock.now_us() >= max(before, moment)
"""


def test_the_system_clock_follows_the_world() -> None:
    before = time.time_ns() // 1_000
    now = SystemClock().now_us()
    assert before <= now <= time.time_ns() // 1_000


def test_the_system_clock_waits_small_steps_back_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    now = clock.now_us()
    monkeypatch.setattr(time, "time_ns", lambda: (now - 10_000_000) * 1_000)
    assert clock.now_us() == now


def test_the_system_clock_follows_a_clock_that_is_set_back_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One look a year ahead must not stop time for a year."""
    clock = SystemClock()
    now, year = clock.now_us(), 365 * 86_400_000_000
    for at_us in (now + year, now, now + 1, now - 3_600_000_000):
        monkeypatch.setattr(time, "time_ns", lambda at_us=at_us: at_us * 1_000)
        assert clock.now_us() == at_us
    assert [record.action for record in caplog.records] == ["clock_set_back"] * 2


def test_the_system_clock_cannot_be_advanced() -> None:
    with pytest.raises(Refused, match="replay"):
        SystemClock().advance(MOMENT)


def test_a_replay_clock_stands_still_until_advanced(tmp_path: Path) -> None:
    clock = ReplayClock(tmp_path / "clock")
    assert clock.now_us() == 0
    assert not (tmp_path / "clock").exists()
    clock.advance(MOMENT)
    assert clock.now_us() == MOMENT
    clock.advance(MOMENT)
    clock.advance(MOMENT + 1)
    assert clock.now_us() == MOMENT + 1
    assert (tmp_path / "clock").stat().st_size == 8


def test_all_handles_of_a_home_see_one_time(tmp_path: Path) -> None:
    early, clock = ReplayClock(tmp_path / "clock"), ReplayClock(tmp_path / "clock")
    assert early.now_us() == 0
    clock.advance(MOMENT)
    assert early.now_us() == ReplayClock(tmp_path / "clock").now_us() == MOMENT
    early.advance(MOMENT + 5)
    assert clock.now_us() == MOMENT + 5


@pytest.mark.parametrize("to_us", [MOMENT - 1, 0, -1, 2**63])
def test_replayed_time_does_not_go_back(tmp_path: Path, to_us: int) -> None:
    clock = ReplayClock(tmp_path / "clock")
    clock.advance(MOMENT)
    with pytest.raises(InvalidInput):
        clock.advance(to_us)
    assert clock.now_us() == MOMENT


def test_processes_that_advance_together_never_move_time_back(tmp_path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", ADVANCE_MANY, str(tmp_path / "clock"), start]) for start in ("1", "2")]
    clock = ReplayClock(tmp_path / "clock")
    seen = [0]
    while any(child.poll() is None for child in children):
        now = clock.now_us()
        assert now >= seen[-1]
        if now > seen[-1]:
            seen.append(now)
    assert [child.returncode for child in children] == [0, 0]
    assert clock.now_us() == 20_000


def test_a_process_that_waits_its_turn_sees_what_the_faster_one_wrote(tmp_path: Path) -> None:
    clock = ReplayClock(tmp_path / "clock")
    clock.advance(MOMENT)
    with (tmp_path / "clock").open("r+b", buffering=0) as faster, ThreadPoolExecutor(1) as pool:
        fcntl.flock(faster, fcntl.LOCK_EX)
        slower = pool.submit(clock.advance, MOMENT + 1)
        with pytest.raises(TimeoutError):
            slower.result(timeout=0.1)
        faster.write((MOMENT + 10).to_bytes(8, sys.byteorder))
        fcntl.flock(faster, fcntl.LOCK_UN)
        with pytest.raises(InvalidInput, match="cannot go back"):
            slower.result(timeout=60)
    assert clock.now_us() == MOMENT + 10


def test_threads_that_advance_together_never_move_time_back(tmp_path: Path) -> None:
    clock = ReplayClock(tmp_path / "clock")

    def advance(moment: int) -> None:
        try:
            clock.advance(moment)
        except InvalidInput:
            assert clock.now_us() > moment

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(advance, range(400)))
    assert clock.now_us() == 399


def test_a_foreign_file_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "clock").write_bytes(b"not a clock")
    with pytest.raises(Corrupt, match="11 bytes"):
        ReplayClock(tmp_path / "clock").now_us()
    with pytest.raises(Corrupt, match="11 bytes"):
        ReplayClock(tmp_path / "clock").advance(MOMENT)
    assert (tmp_path / "clock").read_bytes() == b"not a clock"


def test_a_clock_whose_maker_was_killed_before_writing_stands_at_zero(tmp_path: Path) -> None:
    (tmp_path / "clock").touch()
    clock = ReplayClock(tmp_path / "clock")
    assert clock.now_us() == 0
    clock.advance(MOMENT)
    assert clock.now_us() == MOMENT


def test_a_fake_clock_obeys() -> None:
    clock = FakeClock(start=MOMENT)
    clock.advance(MOMENT + 7)
    assert clock.now_us() == MOMENT + 7
    with pytest.raises(InvalidInput):
        clock.advance(MOMENT)
    assert clock.now_us() == MOMENT + 7


def test_fake_seconds_pass_by() -> None:
    seconds = FakeSeconds(start=10)
    seconds.pass_by(2.5)
    assert seconds() == 12.5
