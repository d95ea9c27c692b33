"""JournalContract: the law of `rota.ports.journal.Journal` as tests. Needs pytest."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rota.errors import InvalidInput
from rota.ports.journal import Journal
from rota.testing.contract import HOSTILE_NAMES, EngineContract


def entries(journal: Journal, stream: str, after: dict[str, int] | None = None, **options: int) -> list[bytes]:
    """Everything a stream holds after the offsets."""
    return [payload for chunk in journal.read(stream, after, **options) for payload in chunk.payloads]


class JournalContract(EngineContract):
    """Give the fixture `journal`, an empty one whose segments rotate only on close."""

    def test_entries_are_read_back_in_order(self, journal: Journal) -> None:
        journal.append("log", [b"a", b"", b"\0" * 50])
        journal.append("log", [os.urandom(100_000)], sync=True)
        journal.append("log", [b"z"])
        found = entries(journal, "log")
        assert found[:3] == [b"a", b"", b"\0" * 50]
        assert len(found[3]) == 100_000
        assert found[4] == b"z"

    def test_an_offset_continues_where_the_last_read_ended(self, journal: Journal) -> None:
        segment, end = journal.append("log", [b"a", b"b"])
        journal.append("log", [b"c"])
        assert entries(journal, "log", {segment: end}) == [b"c"]
        last = list(journal.read("log"))[-1]
        assert entries(journal, "log", {last.segment: last.end}) == []

    def test_chunks_are_bounded_and_follow_each_other(self, journal: Journal) -> None:
        journal.append("log", [bytes([i]) * 10 for i in range(30)] + [b"L" * 100, b"s"])
        chunks = list(journal.read("log", max_bytes=25))
        assert [payload for chunk in chunks for payload in chunk.payloads] == entries(journal, "log")
        assert all(sum(map(len, chunk.payloads)) <= 25 or len(chunk.payloads) == 1 for chunk in chunks)
        assert all(earlier.end == later.start for earlier, later in itertools.pairwise(chunks))
        assert all(entries(journal, "log", {c.segment: c.start}, max_bytes=25)[: len(c.payloads)] == list(c.payloads) for c in chunks)

    def test_streams_are_apart_and_listed(self, journal: Journal) -> None:
        assert journal.streams() == []
        journal.append("predictions/flights", [b"p"])
        journal.append("predictions", [b"q"])
        assert journal.streams() == ["predictions", "predictions/flights"]
        assert entries(journal, "predictions") == [b"q"]
        assert entries(journal, "nothing") == []

    def test_a_held_segment_is_not_dropped_and_a_left_one_is(self, journal: Journal) -> None:
        segment, end = journal.append("log", [b"a"])
        assert journal.drop("log", segment, end) is False
        journal.close()
        assert journal.drop("log", segment, end - 1) is False
        assert journal.drop("log", segment, end + 1) is False
        assert journal.drop("log", segment, 0) is False
        assert journal.drop("log", segment, end) is True
        assert journal.drop("log", segment, end) is False
        assert entries(journal, "log") == []

    def test_after_close_a_new_segment_is_written(self, journal: Journal) -> None:
        first, _ = journal.append("log", [b"a"])
        journal.close()
        second, _ = journal.append("log", [b"b"])
        assert first != second
        assert entries(journal, "log") == [b"a", b"b"]

    def test_segments_are_listed_with_their_sizes(self, journal: Journal) -> None:
        assert journal.segments("log") == {}
        first, end = journal.append("log", [b"a", b"bc"])
        journal.append("other", [b"a"])
        assert journal.segments("log") == {first: end}
        journal.close()
        second, end_of_second = journal.append("log", [b"d"])
        assert journal.segments("log") == {first: end, second: end_of_second}
        assert journal.drop("log", first, end)
        assert journal.segments("log") == {second: end_of_second}

    def test_threads_lose_nothing_and_keep_a_call_together(self, journal: Journal) -> None:
        def write(writer: int) -> None:
            for i in range(50):
                journal.append("log", [f"{writer} {i} {part}".encode() for part in range(3)])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        found = entries(journal, "log")
        assert len(found) == len(set(found)) == 600
        assert all(found[at].rsplit(b" ", 1)[0] == found[at + 1].rsplit(b" ", 1)[0] for at in range(0, 600, 3))

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name)[:20])
    def test_a_hostile_name_is_refused(self, journal: Journal, name: Any) -> None:
        verbs: list[Callable[[], object]] = [
            lambda: journal.append(name, [b"x"]),
            lambda: list(journal.read(name)),
            lambda: journal.drop(name, "x", 0),
            lambda: journal.drop("log", f"../{name}", 0),
        ]
        for verb in verbs:
            with pytest.raises(InvalidInput):
                verb()
