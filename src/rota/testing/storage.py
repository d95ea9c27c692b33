"""The laws of the storage and compute ports as tests. Needs pytest.

A backend's test module subclasses a contract and gives its fixture. A law that a backend cannot keep is named in its
`gaps` with the reason: that test must then fail (strict), so a closed gap is noticed; one in `deadly` is not even run.
"""

import hashlib
import itertools
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from rota.errors import Corrupt, InvalidInput, NotFound, Refused, Unavailable
from rota.ports.blobs import Blobs
from rota.ports.compute import Compute
from rota.ports.journal import Journal
from rota.ports.models import ModelFormat
from rota.ports.online import Online
from rota.ports.tables import Tables

HOSTILE_NAMES = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../up",
    "a/../b",
    "a//b",
    "a/",
    "a b",
    "a\0b",
    "a\nb",
    ".hidden",
    "a\\b",
    "x" * 600,
    "a/_delta_log",
    None,
    7,
)


class Contract:
    """What every contract shares: gaps are declared, not skipped."""

    gaps: ClassVar[Mapping[str, str]] = {}
    deadly: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture(autouse=True)
    def _expect_gap(self, request: pytest.FixtureRequest) -> None:
        name = request.node.name.partition("[")[0]
        if name in self.gaps:
            request.applymarker(pytest.mark.xfail(reason=self.gaps[name], strict=True, run=name not in self.deadly))


class BlobsContract(Contract):
    """Give the fixture `blobs`, an empty store, and override `damage`, which changes a stored blob's bytes."""

    def damage(self, blobs: Any, digest: str) -> None:
        raise NotImplementedError

    @pytest.mark.parametrize("data", [b"", b"x", b"\0" * 100, os.urandom(3_000_000)], ids=["empty", "one byte", "zeros", "large"])
    def test_what_was_put_is_got_back_under_its_sha256(self, blobs: Blobs, data: bytes) -> None:
        digest = blobs.put(data)
        assert digest == hashlib.sha256(data).hexdigest()
        assert blobs.get(digest) == data
        assert blobs.exists(digest)

    def test_putting_twice_stores_once(self, blobs: Blobs) -> None:
        assert blobs.put(b"same") == blobs.put(b"same")
        assert list(blobs.digests()) == [hashlib.sha256(b"same").hexdigest()]

    def test_every_digest_is_listed(self, blobs: Blobs) -> None:
        assert list(blobs.digests()) == []
        assert sorted(blobs.digests()) == sorted(blobs.digests())
        assert set(map(blobs.put, (b"a", b"b", b"c"))) == set(blobs.digests())

    def test_an_unknown_digest_is_not_found(self, blobs: Blobs) -> None:
        unknown = "0" * 64
        with pytest.raises(NotFound, match=unknown):
            blobs.get(unknown)
        assert not blobs.exists(unknown)

    def test_deleting_removes_and_deleting_again_is_harmless(self, blobs: Blobs) -> None:
        digest = blobs.put(b"gone")
        blobs.delete(digest)
        blobs.delete(digest)
        assert not blobs.exists(digest)
        assert list(blobs.digests()) == []

    def test_a_damaged_blob_is_corrupt_until_it_is_put_again(self, blobs: Blobs) -> None:
        digest = blobs.put(b"precious")
        self.damage(blobs, digest)
        with pytest.raises(Corrupt, match=digest):
            blobs.get(digest)
        blobs.put(b"precious")
        assert blobs.get(digest) == b"precious"

    @pytest.mark.parametrize("digest", ["", "../../etc/passwd", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", "/" + "a" * 63, None])
    def test_a_text_that_is_no_digest_is_refused(self, blobs: Blobs, digest: Any) -> None:
        for verb in (blobs.get, blobs.stream, blobs.size, blobs.exists, blobs.delete, blobs.touched_us, lambda text: blobs.expire(text, 1)):
            with pytest.raises(InvalidInput):
                verb(digest)

    @pytest.mark.parametrize("sizes", [[], [0, 0], [1, 0, 2], [3_000_000, 1, 2_500_000], [20_000] * 300], ids=str)
    def test_a_stream_is_stored_like_the_bytes_it_carries(self, blobs: Blobs, sizes: list[int]) -> None:
        chunks = [os.urandom(size) for size in sizes]
        digest, size = blobs.put_stream(iter(chunks))
        data = b"".join(chunks)
        assert (digest, size) == (hashlib.sha256(data).hexdigest(), len(data))
        assert blobs.get(digest) == data
        assert blobs.size(digest) == len(data)
        pieces = list(blobs.stream(digest))
        assert b"".join(pieces) == data
        assert all(0 < len(piece) <= 16_000_000 for piece in pieces)
        assert list(blobs.digests()) == [digest]
        assert blobs.put(data) == digest

    def test_a_stream_that_breaks_off_leaves_nothing(self, blobs: Blobs) -> None:
        def breaking() -> Iterator[bytes]:
            yield b"x" * 10_000_000
            raise KeyError("the caller's own error")

        with pytest.raises(KeyError, match="the caller's own"):
            blobs.put_stream(breaking())
        assert list(blobs.digests()) == []

    def test_a_damaged_blob_is_noticed_at_the_end_of_its_stream_and_mended_by_another(self, blobs: Blobs) -> None:
        digest, _ = blobs.put_stream([b"precious"])
        self.damage(blobs, digest)
        with pytest.raises(Corrupt, match=digest):
            list(blobs.stream(digest))
        blobs.put_stream([b"prec", b"ious"])
        assert list(blobs.stream(digest)) == [b"precious"]

    def test_an_unknown_digest_has_no_stream_and_no_size(self, blobs: Blobs) -> None:
        for verb in (blobs.stream, blobs.size):
            with pytest.raises(NotFound, match="0" * 64):
                verb("0" * 64)

    def test_a_blob_expires_only_when_nobody_put_it_since(self, blobs: Blobs) -> None:
        digest = blobs.put(b"old")
        touched = blobs.touched_us(digest)
        assert abs(touched - time.time_ns() // 1_000) < 3_600_000_000
        assert blobs.expire(digest, touched) is False
        assert blobs.get(digest) == b"old"
        assert blobs.expire(digest, touched + 1) is True
        assert not blobs.exists(digest)
        assert blobs.expire(digest, touched + 1) is False
        with pytest.raises(NotFound, match=digest):
            blobs.touched_us(digest)

    def test_putting_again_makes_a_blob_young(self, blobs: Blobs) -> None:
        digest = blobs.put(b"same")
        touched = blobs.touched_us(digest)
        while blobs.touched_us(digest) == touched:  # a store may count in whole seconds
            assert blobs.put(b"same") == digest
        assert blobs.expire(digest, touched + 1) is False
        assert blobs.get(digest) == b"same"

    def test_threads_may_put_the_same_bytes_at_once(self, blobs: Blobs) -> None:
        data = os.urandom(200_000)
        with ThreadPoolExecutor(8) as pool:
            digests = set(pool.map(blobs.put, [data] * 32))
        assert len(digests) == 1
        assert blobs.get(digests.pop()) == data


def flights(*ids: int) -> pl.DataFrame:
    """A small frame with all four column types and nulls."""
    texts, numbers = [f"f{i}" for i in ids], [i / 4 for i in ids]
    schema = {"id": pl.Int64, "carrier": pl.String, "delay": pl.Float64, "late": pl.Boolean, "at_us": pl.Int64}
    return pl.DataFrame(
        {"id": list(ids), "carrier": texts, "delay": numbers, "late": [None if i % 2 else True for i in ids], "at_us": list(ids)}, schema=schema
    )


def ids_of(frame: pl.LazyFrame) -> list[int]:
    """The ids of a scanned table in order."""
    return sorted(frame.collect()["id"].to_list())


class TablesContract(Contract):
    """Give the fixture `tables`, an empty store."""

    def test_the_first_append_creates_version_0_and_each_next_one_counts(self, tables: Tables) -> None:
        assert tables.version("flights") is None
        assert [tables.append("flights", flights(i)) for i in range(3)] == [0, 1, 2]
        assert tables.version("flights") == 2

    def test_rows_come_back_with_their_types_and_nulls(self, tables: Tables) -> None:
        special = pl.DataFrame(
            {"id": [1, 2, -(2**63), 2**63 - 1], "x": [float("nan"), float("inf"), None, -0.0], "t": ["é\0\n", "", None, "😀" * 1_000]}
        ).with_columns(half=pl.Series([1.5, None, -0.0, 3.4e38], dtype=pl.Float32))
        tables.append("special", special)
        stored = tables.scan("special").collect()
        assert stored.schema == special.schema
        assert stored.sort("id").equals(special.sort("id"), null_equal=True)

    def test_an_older_version_stays_what_it_was(self, tables: Tables) -> None:
        tables.append("flights", flights(1, 2))
        older = tables.scan("flights")
        tables.append("flights", flights(3).with_columns(gate=pl.lit("A")))
        assert ids_of(tables.scan("flights", version=0)) == [1, 2]
        assert "gate" not in tables.scan("flights", version=0).collect_schema()
        assert ids_of(older) == [1, 2]
        assert ids_of(tables.scan("flights")) == [1, 2, 3]

    def test_only_asked_columns_come_back(self, tables: Tables) -> None:
        tables.append("flights", flights(1))
        assert tables.scan("flights", columns=["late", "id"]).collect().columns == ["late", "id"]
        with pytest.raises(InvalidInput, match="altitude"):
            tables.scan("flights", columns=["id", "altitude"])

    def test_a_new_column_is_null_in_older_rows_and_a_missing_one_in_newer(self, tables: Tables) -> None:
        tables.append("flights", flights(1))
        tables.append("flights", pl.DataFrame({"id": [2], "gate": ["A"]}))
        stored = tables.scan("flights").collect().sort("id")
        assert stored["gate"].to_list() == [None, "A"]
        assert stored["carrier"].to_list() == ["f1", None]

    @pytest.mark.parametrize("value", ["text", 1.5, True], ids=["text", "float", "bool"])
    def test_a_column_of_another_type_is_refused_by_name_and_nothing_is_stored(self, tables: Tables, value: object) -> None:
        tables.append("flights", flights(1))
        with pytest.raises(InvalidInput, match="at_us"):
            tables.append("flights", pl.DataFrame({"id": [2], "at_us": [value]}))
        assert tables.version("flights") == 0

    @pytest.mark.parametrize("dtype", [pl.Int32, pl.UInt64, pl.Datetime("us"), pl.Date, pl.Categorical, pl.List(pl.Int64), pl.Null])
    def test_a_type_that_is_not_stored_is_refused_by_name(self, tables: Tables, dtype: Any) -> None:
        with pytest.raises(InvalidInput, match="strange"):
            tables.append("flights", pl.DataFrame({"strange": pl.Series([None], dtype=dtype)}))
        assert tables.tables() == []

    @pytest.mark.parametrize("columns", [[], [""], ["a\nb"], ["x" * 300], ["Gate", "gate"]], ids=["none", "empty", "newline", "long", "case only"])
    def test_columns_no_engine_can_name_are_refused(self, tables: Tables, columns: list[str]) -> None:
        with pytest.raises(InvalidInput):
            tables.append("flights", pl.DataFrame({name: [1] for name in columns}))

    def test_a_batch_is_stored_once_however_often_it_is_sent(self, tables: Tables) -> None:
        assert tables.sequence("flights", "drain") == -1
        assert tables.append("flights", flights(1), batch=("drain", 7)) == 0
        assert tables.append("flights", flights(1), batch=("drain", 7)) == 0
        assert tables.append("flights", flights(9), batch=("drain", 3)) == 0
        assert tables.append("flights", flights(2), batch=("drain", 8)) == 1
        assert tables.append("flights", flights(3), batch=("other", 0)) == 2
        assert tables.sequence("flights", "drain") == 8
        assert ids_of(tables.scan("flights")) == [1, 2, 3]

    def test_an_empty_frame_creates_a_table_and_moves_the_sequence(self, tables: Tables) -> None:
        assert tables.append("flights", flights(), batch=("w", 1)) == 0
        assert tables.scan("flights").collect().schema == flights().schema
        tables.append("flights", flights(1))
        tables.append("flights", flights(), batch=("w", 2))
        assert tables.sequence("flights", "w") == 2
        assert ids_of(tables.scan("flights")) == [1]

    def test_compacting_changes_no_row_and_keeps_every_version(self, tables: Tables) -> None:
        for i in range(12):
            tables.append("flights", flights(i), batch=("w", i))
        before = tables.scan("flights").collect().sort("id")
        after = tables.compact("flights")
        assert after == tables.version("flights")
        assert tables.scan("flights").collect().sort("id").equals(before)
        assert [ids_of(tables.scan("flights", version=v)) for v in (0, 5, 11)] == [list(range(n)) for n in (1, 6, 12)]
        assert tables.sequence("flights", "w") == 11
        tables.compact("flights")
        assert ids_of(tables.scan("flights")) == list(range(12))

    def test_an_unknown_table_or_version_is_not_found(self, tables: Tables) -> None:
        for ask in (lambda: tables.scan("none"), lambda: tables.compact("none")):
            with pytest.raises(NotFound, match="none"):
                ask()
        tables.append("flights", flights(1))
        for version in (1, 99, -1):
            with pytest.raises(NotFound, match="flights"):
                tables.scan("flights", version=version)

    def test_a_dropped_table_is_gone_and_its_name_is_free(self, tables: Tables) -> None:
        tables.append("old/one", pl.DataFrame({"a": [1]}), batch=("writer", 3))
        tables.append("old/one/within", pl.DataFrame({"a": [5]}))
        tables.scan("old/one").collect()
        tables.drop("old/one")
        tables.drop("old/one")
        assert tables.version("old/one") is None
        assert tables.sequence("old/one", "writer") == -1
        assert tables.tables("old") == ["old/one/within"]
        with pytest.raises(NotFound):
            tables.scan("old/one")
        assert tables.append("old/one", pl.DataFrame({"b": ["x"]}), batch=("writer", 0)) == 0
        assert tables.scan("old/one").collect().to_dicts() == [{"b": "x"}]
        assert tables.scan("old/one/within").collect().to_dicts() == [{"a": 5}]

    def test_tables_are_listed_by_prefix_and_may_lie_within_each_other(self, tables: Tables) -> None:
        for name in ("sources/flights", "sources/flights/late", "sources/weather", "log"):
            tables.append(name, flights(len(name)))
        assert tables.tables() == ["log", "sources/flights", "sources/flights/late", "sources/weather"]
        assert tables.tables("sources/f") == ["sources/flights", "sources/flights/late"]
        assert ids_of(tables.scan("sources/flights")) == [len("sources/flights")]

    @pytest.mark.parametrize("name", HOSTILE_NAMES, ids=lambda name: repr(name)[:20])
    def test_a_hostile_name_is_refused(self, tables: Tables, name: Any) -> None:
        verbs: list[Callable[[], object]] = [
            lambda: tables.append(name, flights(1)),
            lambda: tables.scan(name),
            lambda: tables.version(name),
            lambda: tables.sequence(name, "w"),
            lambda: tables.compact(name),
        ]
        for verb in verbs:
            with pytest.raises(InvalidInput):
                verb()

    def test_writers_at_once_are_all_stored_even_when_they_create_the_table(self, tables: Tables) -> None:
        def write(writer: int) -> None:
            for i in range(5):
                tables.append("race", flights(writer * 10 + i), batch=(f"w{writer}", i))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        assert ids_of(tables.scan("race")) == [w * 10 + i for w in range(4) for i in range(5)]
        assert tables.version("race") == 19

    def test_the_same_batch_sent_at_once_is_stored_once(self, tables: Tables) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: tables.append("race", flights(1, 2), batch=("w", 0)), range(4)))
        assert ids_of(tables.scan("race")) == [1, 2]

    def test_compacting_at_once_and_beside_a_writer_doubles_nothing(self, tables: Tables) -> None:
        for i in range(6):
            tables.append("busy", flights(i))
        with ThreadPoolExecutor(3) as pool:
            for done in [pool.submit(tables.compact, "busy"), pool.submit(tables.compact, "busy"), pool.submit(tables.append, "busy", flights(6))]:
                done.result()
        assert ids_of(tables.scan("busy")) == list(range(7))


def _append(old: bytes | None, new: bytes) -> bytes:
    return (old or b"") + new


def _replace(old: bytes | None, new: bytes) -> bytes:  # noqa: ARG001 - the merge's shape
    return new


class OnlineContract(Contract):
    """Give the fixture `online`, an empty store of at most 20 MB."""

    def test_values_come_back_in_the_order_of_the_keys(self, online: Online) -> None:
        online.update([(b"a", b"1"), (b"b", b"")], _replace)
        assert online.read([b"b", b"none", b"a", b"a"]) == [b"", None, b"1", b"1"]
        assert online.read([]) == []

    def test_merge_sees_what_the_same_update_stored_before(self, online: Online) -> None:
        online.update([(b"k", b"1"), (b"j", b"x"), (b"k", b"2")], _append)
        online.update(iter([(b"k", b"3")]), _append)
        assert online.read([b"k", b"j"]) == [b"123", b"x"]

    def test_an_applied_position_is_never_applied_again(self, online: Online) -> None:
        assert online.position("pushes/flights") == -1
        assert online.update([(b"k", b"1")], _append, position=("pushes/flights", 5)) is True
        assert online.update([(b"k", b"1")], _append, position=("pushes/flights", 5)) is False
        assert online.update([(b"k", b"0")], _append, position=("pushes/flights", 4)) is False
        assert online.update([(b"k", b"2")], _append, position=("other", 0)) is True
        assert online.read([b"k"]) == [b"12"]
        assert (online.position("pushes/flights"), online.position("other")) == (5, 0)

    def test_a_position_is_no_row(self, online: Online) -> None:
        online.update([], _replace, position=("s", 1))
        assert online.read([b"s"]) == [None]
        assert online.delete(b"") == 0
        assert online.position("s") == 1

    def test_a_failing_merge_changes_nothing(self, online: Online) -> None:
        online.update([(b"a", b"1")], _replace)

        def fail(old: bytes | None, new: bytes) -> bytes:  # noqa: ARG001
            if new == b"bad":
                raise InvalidInput("cannot merge")
            return new

        with pytest.raises(InvalidInput, match="cannot merge"):
            online.update([(b"a", b"2"), (b"b", b"bad")], fail, position=("s", 1))
        assert online.read([b"a", b"b"]) == [b"1", None]
        assert online.position("s") == -1

    @pytest.mark.parametrize("key", [b"", b"x" * 501, b"x" * 600], ids=["empty", "501 bytes", "600 bytes"])
    def test_a_key_outside_1_to_500_bytes_is_refused(self, online: Online, key: bytes) -> None:
        with pytest.raises(InvalidInput):
            online.read([key])
        with pytest.raises(InvalidInput):
            online.update([(b"fine", b"1"), (key, b"1")], _replace)
        assert online.read([b"fine"]) == [None]
        with pytest.raises(InvalidInput):
            online.position("x" * 501)

    def test_the_longest_key_and_any_bytes_are_kept(self, online: Online) -> None:
        keys = [b"x" * 500, b"\0", b"\xff" * 400]
        online.update([(key, key) for key in keys], _replace)
        assert online.read(keys) == keys

    def test_delete_takes_a_prefix_and_counts(self, online: Online) -> None:
        online.update([(key, b"v") for key in (b"a", b"aa", b"ab", b"b", b"\xff\xff")], _replace)
        assert online.delete(b"a") == 3
        assert online.delete(b"a") == 0
        assert online.read([b"aa", b"b"]) == [None, b"v"]
        assert online.delete(b"\xff") == 1
        assert online.delete(b"") == 1

    def test_readers_see_all_of_an_update_or_nothing(self, online: Online) -> None:
        keys = [f"k{i}".encode() for i in range(50)]
        online.update([(key, b"0") for key in keys], _replace)
        stop = threading.Event()
        torn: list[set[bytes | None]] = []

        def read() -> None:
            while not stop.is_set():
                seen = set(online.read(keys))
                if len(seen) != 1:
                    torn.append(seen)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for i in range(1, 60):
            online.update([(key, str(i).encode()) for key in keys], _replace)
        stop.set()
        for reader in readers:
            reader.join()
        assert torn == []

    def test_writers_wait_for_each_other(self, online: Online) -> None:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: online.update([(b"count", b"x")], _append), range(120)))
        assert online.read([b"count"]) == [b"x" * 120]

    def test_a_full_store_says_so_and_keeps_what_it_has(self, online: Online) -> None:
        online.update([(b"kept", b"1")], _replace)
        with pytest.raises(Unavailable, match=r"online_size_mb"):
            online.update([(str(i).encode(), b"x" * 1_000_000) for i in range(40)], _replace, position=("s", 1))
        assert online.read([b"kept", b"0"]) == [b"1", None]
        assert online.position("s") == -1
        assert online.update([(b"next", b"1")], _replace)


def entries(journal: Journal, stream: str, after: dict[str, int] | None = None, **options: int) -> list[bytes]:
    """Everything a stream holds after the offsets."""
    return [payload for chunk in journal.read(stream, after, **options) for payload in chunk.payloads]


class JournalContract(Contract):
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


STEPS = """
import json, os, sys, time
LOADED = os.urandom(8).hex()
def echo(arguments): return arguments
def where(arguments): return {"pid": os.getpid(), "path": sys.path[0], "loaded": LOADED}
def fail(arguments): raise KeyError("no such airport: " + arguments["airport"])
def leave(arguments): sys.exit(3)
def chatter(arguments):
    print("to standard output"); sys.stderr.write("to standard error"); os.write(1, b'{"result": "forged"}'); return "calm"
def unspeakable(arguments): return {1, 2}
def die(arguments): os._exit(7)
def slow(arguments): time.sleep(arguments["seconds"]); return "late"
def big(arguments): return "x" * arguments["size"]
"""


class ComputeContract(Contract):
    """Give the fixture `compute`."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        """A folder with a module of user code."""
        (tmp_path / "contract_steps.py").write_text(textwrap.dedent(STEPS))
        return tmp_path

    @pytest.mark.parametrize("value", [None, {}, [1, "é\n", {"a": [None, True]}], 0.1, -0.0, float("inf")], ids=repr)
    def test_arguments_arrive_and_results_return_as_json_values(self, compute: Compute, project: Path, value: object) -> None:
        assert compute.run("contract_steps:echo", {"value": value}, path=project) == {"value": value}

    def test_the_path_comes_first(self, compute: Compute, project: Path) -> None:
        assert compute.run("contract_steps:where", {}, path=project)["path"] == str(project)

    def test_without_a_path_installed_modules_run(self, compute: Compute) -> None:
        assert compute.run("json:dumps", {"a": 1}) == '{"a": 1}'

    def test_large_values_pass_both_ways(self, compute: Compute, project: Path) -> None:
        text = "y" * 3_000_000
        assert compute.run("contract_steps:echo", {"text": text}, path=project) == {"text": text}
        assert len(compute.run("contract_steps:big", {"size": 3_000_000}, path=project)) == 3_000_000

    def test_an_exception_is_refused_with_type_message_and_traceback(self, compute: Compute, project: Path) -> None:
        with pytest.raises(Refused, match=r"KeyError: 'no such airport: XYZ'") as caught:
            compute.run("contract_steps:fail", {"airport": "XYZ"}, path=project)
        assert "in fail" in str(caught.value)
        assert caught.value.facts["type"] == "KeyError"
        assert compute.run("contract_steps:echo", {}, path=project) == {}

    @pytest.mark.parametrize(
        ("function", "type_"),
        [("contract_steps:leave", "SystemExit"), ("contract_steps:none", "AttributeError"), ("no_such_module:x", "ModuleNotFoundError")],
    )
    def test_leaving_and_missing_names_are_exceptions_too(self, compute: Compute, project: Path, function: str, type_: str) -> None:
        with pytest.raises(Refused, match=type_):
            compute.run(function, {}, path=project)

    def test_prints_do_not_disturb_the_answer(self, compute: Compute, project: Path) -> None:
        assert compute.run("contract_steps:chatter", {}, path=project) == "calm"

    def test_what_is_not_json_is_refused_either_way(self, compute: Compute, project: Path) -> None:
        with pytest.raises(InvalidInput, match="arguments"):
            compute.run("contract_steps:echo", {"set": {1}}, path=project)
        with pytest.raises(Refused, match="set"):
            compute.run("contract_steps:unspeakable", {}, path=project)

    @pytest.mark.parametrize("function", ["", "module", ":name", "module:", "a b:c", "a:b.c", "../a:b", "os:system('x')"])
    def test_a_function_not_written_module_name_is_refused(self, compute: Compute, function: str) -> None:
        with pytest.raises(InvalidInput):
            compute.run(function, {})

    def test_changed_code_is_the_code_that_runs(self, compute: Compute, project: Path) -> None:
        module = project / "edited.py"
        module.write_text("def answer(arguments): return 1\n")
        assert compute.run("edited:answer", {}, path=project) == 1
        module.write_text("def answer(arguments): return 'two'\n")
        assert compute.run("edited:answer", {}, path=project) == "two"

    def test_paths_with_modules_of_the_same_name_are_apart(self, compute: Compute, tmp_path: Path) -> None:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "twin.py").write_text(f"def who(arguments): return {name!r}\n")
        assert [compute.run("twin:who", {}, path=tmp_path / name) for name in ("first", "second", "first")] == ["first", "second", "first"]

    def test_threads_may_run_at_once(self, compute: Compute, project: Path) -> None:
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda i: compute.run("contract_steps:echo", {"i": i}, path=project)["i"], range(9))) == list(range(9))

    def test_a_passed_timeout_ends_the_function(self, compute: Compute, project: Path) -> None:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="contract_steps:slow"):
            compute.run("contract_steps:slow", {"seconds": 3}, path=project, timeout_s=0.5)
        assert time.monotonic() - began < 2.5
        assert compute.run("contract_steps:echo", {}, path=project) == {}

    def test_a_dead_process_is_unavailable_and_the_next_run_works(self, compute: Compute, project: Path) -> None:
        with pytest.raises(Unavailable, match="7"):
            compute.run("contract_steps:die", {}, path=project)
        assert compute.run("contract_steps:echo", {}, path=project) == {}


class ModelFormatContract(Contract):
    """Give the fixtures `format` and `fitted`: a list of (model, matrix, answers the model itself gives)."""

    def test_the_loaded_model_predicts_what_the_model_predicts(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        for model, matrix, answers in fitted:
            predictor = format.loads(format.dumps(model))
            found = predictor.predict(matrix)
            assert found.dtype == np.float64, type(model)
            assert found.shape == (len(matrix),), type(model)
            np.testing.assert_allclose(found, answers, rtol=0, atol=format.tolerance, err_msg=str(model))

    def test_one_row_at_a_time_gives_the_same_answers(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        for model, matrix, answers in fitted:
            predictor = format.loads(format.dumps(model))
            found = [predictor.predict(matrix[i : i + 1]) for i in range(20)]
            assert all(row.shape == (1,) for row in found)
            np.testing.assert_allclose(np.concatenate(found), answers[:20], rtol=0, atol=format.tolerance)

    def test_no_rows_give_no_answers_and_any_memory_layout_is_read(
        self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]
    ) -> None:
        model, matrix, answers = fitted[0]
        predictor = format.loads(format.dumps(model))
        assert predictor.predict(matrix[:0]).shape == (0,)
        np.testing.assert_allclose(predictor.predict(np.asfortranarray(matrix)), answers, atol=format.tolerance)
        np.testing.assert_allclose(predictor.predict(matrix[::-1]), answers[::-1], atol=format.tolerance)

    def test_a_matrix_of_another_width_is_refused(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        model, matrix, _ = fitted[0]
        predictor = format.loads(format.dumps(model))
        for wrong in (matrix[:1, :-1], matrix[:5, :1], matrix[0], np.hstack([matrix, matrix])[:3]):
            with pytest.raises(InvalidInput):
                predictor.predict(wrong)

    def test_threads_get_their_own_answers(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        model, matrix, answers = fitted[0]
        predictor = format.loads(format.dumps(model))

        def ask(seed: int) -> float:
            picks = np.random.default_rng(seed).integers(0, len(matrix), 200)
            return max(abs(float(predictor.predict(matrix[i : i + 1])[0]) - float(answers[i])) for i in picks)

        with ThreadPoolExecutor(4) as pool:
            assert max(pool.map(ask, range(8))) < format.tolerance

    def test_foreign_and_damaged_bytes_are_corrupt(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        data = format.dumps(fitted[0][0])
        middle = len(data) // 2
        damaged = [b"", b"\0" * 100, b"hello", os.urandom(1_000), data[:middle], data[:-100], data[:middle] + b"????" + data[middle + 4 :]]
        for found in damaged:
            with pytest.raises(Corrupt):
                format.loads(found)

    @pytest.mark.parametrize("thing", [None, 3, "text", object(), dict, np.zeros(3)], ids=lambda thing: type(thing).__name__)
    def test_accepts_says_no_without_raising(self, format: ModelFormat, thing: object) -> None:
        assert format.accepts(thing) is False

    def test_accepts_its_own_and_names_its_libraries(self, format: ModelFormat, fitted: list[tuple[Any, np.ndarray, np.ndarray]]) -> None:
        assert all(format.accepts(model) is True for model, _, _ in fitted)
        assert all(version[0].isdigit() for version in format.libraries().values())
        assert format.name
