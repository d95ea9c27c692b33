"""Journal: the law over every journal, and what only files can get wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rota.backends.memory.journal import MemoryJournal
from rota.backends.storage import segment_journal
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import Unavailable
from rota.testing.journal import JournalContract, entries

HEADER_BYTES = 12


class TestSegmentJournal(JournalContract):
    @pytest.fixture
    def journal(self, tmp_path: Path) -> SegmentJournal:
        return SegmentJournal(tmp_path / "log")


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def journal(self) -> MemoryJournal:
        return MemoryJournal()


@pytest.fixture
def left(tmp_path: Path) -> tuple[SegmentJournal, Path, int]:
    """A journal, its one segment of entries one, two, three that nobody holds, and its size."""
    journal = SegmentJournal(tmp_path)
    segment, end = journal.append("log", [b"one", b"two", b"three"])
    journal.close()
    return journal, tmp_path / "log" / segment, end


def test_a_full_segment_is_left_for_a_new_one_and_can_be_dropped(tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path, segment_bytes=1_000)
    ends = dict(journal.append("log", [bytes([i]) * 300]) for i in range(10))
    assert len(ends) == 4
    assert entries(journal, "log") == [bytes([i]) * 300 for i in range(10)]
    assert [journal.drop("log", segment, end) for segment, end in sorted(ends.items())] == [True] * 3 + [False]


def test_every_tear_of_the_last_entry_hides_that_entry_only(left: tuple[SegmentJournal, Path, int]) -> None:
    journal, path, end = left
    for size in reversed(range(end - len(b"three") - HEADER_BYTES, end)):
        os.truncate(path, size)
        assert entries(journal, "log") == [b"one", b"two"], size


def test_a_torn_segment_is_dropped_at_its_last_whole_entry(left: tuple[SegmentJournal, Path, int]) -> None:
    journal, path, end = left
    os.truncate(path, end - 1)
    whole = list(journal.read("log"))[-1].end
    assert journal.drop("log", path.name, end - 1) is False
    assert journal.drop("log", path.name, whole) is True
    assert not path.exists()


def test_zeros_left_by_a_power_cut_are_a_torn_tail(left: tuple[SegmentJournal, Path, int]) -> None:
    journal, path, _ = left
    path.write_bytes(path.read_bytes() + b"\0" * 100_000)
    assert entries(journal, "log") == [b"one", b"two", b"three"]


def flipped(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("at", range(3 * HEADER_BYTES + 11))
def test_a_flipped_byte_costs_its_entry_alone_and_the_segment_is_set_apart(left: tuple[SegmentJournal, Path, int], at: int) -> None:
    journal, path, end = left
    whole = path.read_bytes()
    flipped(path, at)
    damaged = path.read_bytes()
    journal.append("log", [b"later"])
    number = 0 if at < HEADER_BYTES + 3 else 1 if at < 2 * HEADER_BYTES + 6 else 2
    assert entries(journal, "log") == [each for each in (b"one", b"two", b"three") if each != (b"one", b"two", b"three")[number]] + [b"later"]
    assert [(each.stream, each.segment, each.place) for each in journal.damaged()] == [("log", path.name, str(path))]
    last = end if number < 2 else end - len(b"three") - HEADER_BYTES
    assert journal.drop("log", path.name, last) is True
    (apart,) = SegmentJournal(path.parents[1]).damaged()
    assert (apart.stream, apart.segment) == ("log", path.name)
    assert "/damaged/" in apart.place
    assert Path(apart.place).read_bytes() == damaged != whole
    assert entries(journal, "log") == [b"later"]
    assert journal.streams() == ["log"]


def test_damage_in_a_segment_that_is_still_written_holds_back_nothing(tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path)
    segment, _ = journal.append("log", [b"one", b"two" * 1_000])
    with (tmp_path / "log" / segment).open("r+b") as file:
        file.seek(HEADER_BYTES)
        file.write(b"O")
    _, end = journal.append("log", [b"three"])
    assert entries(journal, "log") == [b"two" * 1_000, b"three"]
    assert journal.drop("log", segment, end) is False
    assert [each.place for each in journal.damaged()] == [str(tmp_path / "log" / segment)]


def test_a_segment_cut_behind_what_was_read_is_set_apart(left: tuple[SegmentJournal, Path, int]) -> None:
    journal, path, end = left
    os.truncate(path, 20)
    assert entries(journal, "log", {path.name: end}) == []
    assert "47 were read" in journal.damaged()[0].reason
    assert journal.drop("log", path.name, end) is True
    assert [each.segment for each in journal.damaged()] == [path.name]


def test_what_a_kill_leaves_is_no_damage_and_goes_when_its_writer_is_gone(left: tuple[SegmentJournal, Path, int]) -> None:
    journal, path, _ = left
    os.truncate(path, HEADER_BYTES + 1)
    assert entries(journal, "log") == []
    journal.append("log", [b"next"])
    assert not path.exists()
    assert journal.damaged() == []


def test_segments_that_others_drop_meanwhile_disturb_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, other = SegmentJournal(tmp_path), SegmentJournal(tmp_path)
    for number in range(3):
        other.append("log", [b"%d" % number])
        other.close()
    chunks = list(reader.read("log"))
    listed = segment_journal._segments

    def then_dropped(folder: Path) -> list[Path]:
        found = listed(folder)
        monkeypatch.undo()
        assert all(other.drop("log", chunk.segment, chunk.end) for chunk in chunks)
        return found

    monkeypatch.setattr(segment_journal, "_segments", then_dropped)
    reader.append("log", [b"acknowledged"])
    assert entries(reader, "log") == [b"acknowledged"]


def test_a_reader_in_another_handle_follows_a_living_writer(tmp_path: Path) -> None:
    writer, reader = SegmentJournal(tmp_path), SegmentJournal(tmp_path)
    after: dict[str, int] = {}
    for i in range(20):
        segment, end = writer.append("log", [str(i).encode()])
        chunks = list(reader.read("log", after))
        assert [(chunk.segment, chunk.end, chunk.payloads) for chunk in chunks] == [(segment, end, (str(i).encode(),))]
        assert reader.drop("log", segment, end) is False
        after[segment] = end


def test_a_forked_child_writes_its_own_segment(tmp_path: Path) -> None:
    journal = SegmentJournal(tmp_path)
    segment, _ = journal.append("log", [b"parent"])
    child = os.fork()
    if child == 0:
        own, _ = journal.append("log", [b"child"])
        os._exit(0 if own != segment else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert journal.append("log", [b"again"])[0] == segment
    assert sorted(entries(journal, "log")) == [b"again", b"child", b"parent"]


def test_empty_segments_of_the_dead_are_swept_when_a_new_one_opens(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    dead = tmp_path / "log" / "1700000000000000-1-00.seg"
    dead.touch()
    SegmentJournal(tmp_path).append("log", [b"x"])
    assert not dead.exists()


FILL = """
import resource, sys
from pathlib import Path
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import Unavailable
from rota.errors import Unavailable
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
journal = SegmentJournal(Path(sys.argv[1]))
stored = 0
for i in range(5):
    try:
        journal.append("log", [bytes([i]) * 400])
        stored += 1
    except Unavailable as error:
        print(error)
found = [payload for chunk in journal.read("log") for payload in chunk.payloads]
print(stored, len(found), {len(payload) for payload in found})
"""


def test_a_full_disk_is_unavailable_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True).stdout.splitlines()
    assert all("limit is reached" in line and "free space" in line for line in said[:-1])
    assert said[-1] == "4 4 {400}"


def taken_away(how: str, root: Path, segment: str) -> None:
    path = root / "log" / segment
    if how == "the journal is removed":
        shutil.rmtree(root)
    elif how == "the segment is moved":
        path.rename(path.with_suffix(".old"))
    elif how == "the segment is cut":
        os.truncate(path, HEADER_BYTES + 1)
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["the journal is removed", "the segment is moved", "the segment is cut", "the segment is emptied as logrotate does"])
def test_what_is_acknowledged_after_a_segment_was_taken_away_is_there_and_it_is_told(tmp_path: Path, how: str) -> None:
    root = tmp_path / "home" / "journal"
    writer, reader = SegmentJournal(root), SegmentJournal(root)
    segment, end = writer.append("log", [b"before"])
    taken_away(how, root, segment)
    for number in range(3):
        writer.append("log", [b"after %d" % number])
    assert entries(reader, "log", {segment: end}) == [b"after 0", b"after 1", b"after 2"]
    told = [each.reason for each in reader.damaged() if each.segment == segment]
    assert any("while it was written" in reason and "lost unless it is put back" in reason for reason in told), told
    assert reader.streams() == ["log"]


def test_a_home_that_was_moved_while_it_is_up_is_not_begun_a_second_time(tmp_path: Path) -> None:
    writer = SegmentJournal(tmp_path / "home" / "journal")
    writer.append("log", [b"before"])
    (tmp_path / "home").rename(tmp_path / "moved")
    with pytest.raises(Unavailable, match="journal"):
        writer.append("log", [b"after"])
    assert not (tmp_path / "home").exists()
    (tmp_path / "moved").rename(tmp_path / "home")
    writer.append("log", [b"after"])
    assert entries(SegmentJournal(tmp_path / "home" / "journal"), "log") == [b"before", b"after"]
