"""MetadataContract: the law of `rota.ports.metadata.Metadata` as tests. Needs pytest.

A backend's test module subclasses it and gives the fixture `metadata`: an empty store. Where a store outlives its
handle, give `reopened` too: a function that opens a second handle on the same store.
"""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import msgspec
import pytest

from rota.errors import Conflict, InvalidInput
from rota.ports.metadata import Batch, Metadata
from rota.records.model import Alias, ModelVersion
from rota.records.record import Record, encode
from rota.records.release import Endpoint
from rota.records.signal import AuditEntry, Cursor, Event, Monitor
from rota.testing.lists import ListsContract
from rota.testing.records import alias, pushed, store, version


class MetadataContract(ListsContract):
    @pytest.fixture
    def metadata(self) -> Metadata:
        raise NotImplementedError("give a fixture `metadata` that returns an empty store")

    @pytest.fixture
    def reopened(self, metadata: Metadata) -> Callable[[], Metadata]:
        return lambda: metadata

    # --- records ---

    def test_a_missing_key_is_none_and_an_empty_store_has_nothing(self, metadata: Metadata) -> None:
        assert metadata.get(Alias, "flights", "champion") is None
        assert metadata.find(Alias) == []
        assert metadata.events(0) == []
        assert list(metadata.audit()) == []
        assert metadata.edges([], "causes") == metadata.edges(["run:r1"], "effects") == []

    def test_a_record_reads_back_as_it_was_written(self, metadata: Metadata) -> None:
        kept = version(parameters={"deep": {"list": [1, 2.5, None, True]}}, metrics={"auc": 0.1}, description="tür ☕ '\" ; DROP TABLE")
        store(metadata, kept)
        assert metadata.get(ModelVersion, "flights", 1) == kept

    def test_a_key_may_lie_inside_the_record(self, metadata: Metadata) -> None:
        monitor = Monitor(Endpoint("flights", "delay"))
        store(metadata, monitor)
        assert metadata.get(Monitor, "flights") == monitor
        assert metadata.find(Monitor, {"endpoint.name": "flights"}) == [monitor]

    def test_the_last_put_stays(self, metadata: Metadata) -> None:
        store(metadata, alias(number=1), alias(number=2))
        store(metadata, alias(number=3))
        assert metadata.find(Alias) == [alias(number=3)]

    def test_what_the_caller_changes_later_does_not_change_the_store(self, metadata: Metadata) -> None:
        parameters = {"rate": 0.1}
        store(metadata, version(parameters=parameters))
        parameters["rate"] = 9.9
        read = metadata.get(ModelVersion, "flights", 1)
        assert read is not None
        assert read.parameters == {"rate": 0.1}

    def test_a_large_record_is_kept_whole(self, metadata: Metadata) -> None:
        large = version(tags={f"tag{number}": "x" * 1_000 for number in range(2_000)})
        store(metadata, large)
        assert metadata.get(ModelVersion, "flights", 1) == large

    def test_what_would_not_read_back_is_refused_and_nothing_is_written(self, metadata: Metadata) -> None:
        hostile: list[Record] = [
            version(metrics={"loss": float("nan")}),
            version(parameters={"model": object()}),
            version(description="half a character \ud800"),
            version(owner="nul \x00"),
            version(created_us=2**63),
            version(status="exploded"),
        ]
        for record in hostile:
            batch = Batch()
            batch.put(alias())
            batch.put(record)
            with pytest.raises(InvalidInput):
                metadata.commit(batch)
        assert metadata.find(ModelVersion) == []
        assert metadata.find(Alias) == []

    def test_only_registered_kinds_are_kept(self, metadata: Metadata) -> None:
        with pytest.raises(InvalidInput, match="Event"):
            store(metadata, pushed("abc"))
        with pytest.raises(InvalidInput, match="Event"):
            metadata.get(Event, "abc")
        with pytest.raises(InvalidInput, match="named by"):
            metadata.get(Alias, "flights")

    # --- compare and swap ---

    def test_create_needs_a_free_key(self, metadata: Metadata) -> None:
        first, second = Batch(), Batch()
        first.create(alias(number=1))
        metadata.commit(first)
        second.create(alias("other"))
        second.create(alias(number=2))
        with pytest.raises(Conflict, match="flights@champion"):
            metadata.commit(second)
        assert metadata.find(Alias) == [alias(number=1)]

    def test_create_twice_in_one_batch_conflicts(self, metadata: Metadata) -> None:
        batch = Batch()
        batch.create(alias())
        batch.create(alias())
        with pytest.raises(Conflict):
            metadata.commit(batch)
        assert metadata.find(Alias) == []

    def test_replacing_the_stored_value_succeeds_once(self, metadata: Metadata) -> None:
        store(metadata, alias(number=1))
        batch = Batch()
        batch.put(alias(number=2), replacing=alias(number=1))
        metadata.commit(batch)
        with pytest.raises(Conflict):
            metadata.commit(batch)
        assert metadata.get(Alias, "flights", "champion") == alias(number=2)

    def test_replacing_what_is_gone_or_another_record_conflicts(self, metadata: Metadata) -> None:
        store(metadata, alias("other"))
        for replacing in (alias(), alias("other"), Endpoint("flights", "delay")):
            batch = Batch()
            batch.put(alias(number=2), replacing=replacing)
            with pytest.raises(Conflict):
                metadata.commit(batch)
        assert metadata.find(Alias) == [alias("other")]

    def test_values_are_compared_not_their_spelling(self, metadata: Metadata) -> None:
        written, same = version(tags={"b": "1", "a": "2"}), version(tags={"a": "2", "b": "1"})
        store(metadata, written)
        batch = Batch()
        batch.put(msgspec.structs.replace(same, status="approved"), replacing=same)
        metadata.commit(batch)
        read = metadata.get(ModelVersion, "flights", 1)
        assert read is not None
        assert read.status == "approved"

    def test_a_conflict_writes_nothing_of_the_batch(self, metadata: Metadata) -> None:
        store(metadata, alias(number=1))
        batch = Batch()
        batch.put(alias("other"))
        batch.event(pushed("abc"))
        batch.link("b", ["a"], 1)
        batch.audit("ada", "promote", "flights", 1)
        batch.put(alias(number=3), replacing=alias(number=2))
        with pytest.raises(Conflict):
            metadata.commit(batch)
        assert metadata.find(Alias) == [alias(number=1)]
        assert metadata.events(0) == []
        assert metadata.edges(["b"], "causes") == []
        assert list(metadata.audit()) == []

    def test_of_many_that_replace_the_same_value_one_wins(self, metadata: Metadata) -> None:
        store(metadata, alias(number=0))

        def attempt(number: int) -> bool:
            batch = Batch()
            batch.put(alias(number=number), replacing=alias(number=0))
            try:
                metadata.commit(batch)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(attempt, range(1, 17)))
        assert won.count(True) == 1
        assert metadata.find(Alias) == [alias(number=1 + won.index(True))]

    def test_threads_that_count_together_lose_nothing(self, metadata: Metadata) -> None:
        store(metadata, Cursor("reader", 0))

        def count(_: int) -> None:
            while True:
                old = metadata.get(Cursor, "reader")
                assert old is not None
                batch = Batch()
                batch.put(Cursor("reader", old.position + 1), replacing=old)
                batch.event(pushed("tick"))
                try:
                    return metadata.commit(batch)
                except Conflict:
                    continue

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, range(40)))
        assert metadata.get(Cursor, "reader") == Cursor("reader", 40)
        assert len(metadata.events(0)) == 40

    # --- removals ---

    def test_a_removed_record_is_gone_and_its_key_is_free_again(self, metadata: Metadata) -> None:
        store(metadata, alias("a"), alias("b"))
        removal = Batch()
        removal.remove(alias("a"))
        metadata.commit(removal)
        assert metadata.get(Alias, "flights", "a") is None
        assert metadata.find(Alias) == [alias("b")]
        again = Batch()
        again.create(alias("a", 2))
        metadata.commit(again)
        assert metadata.find(Alias) == [alias("a", 2), alias("b")]

    def test_what_changed_or_is_gone_is_not_removed_and_nothing_of_the_batch_happens(self, metadata: Metadata) -> None:
        store(metadata, alias("a", 2), alias("b"))
        for wrong in (alias("a", 1), alias("never"), Endpoint("a", "flights")):
            batch = Batch()
            batch.put(alias("c"))
            batch.remove(alias("b"))
            batch.remove(wrong)
            batch.audit("ada", "collect", "flights", 1)
            with pytest.raises(Conflict):
                metadata.commit(batch)
        assert metadata.find(Alias) == [alias("a", 2), alias("b")]
        assert list(metadata.audit()) == []

    def test_a_record_is_removed_once(self, metadata: Metadata) -> None:
        store(metadata, alias())
        twice = Batch()
        twice.remove(alias())
        twice.remove(alias())
        with pytest.raises(Conflict, match="is gone"):
            metadata.commit(twice)
        assert metadata.find(Alias) == [alias()]

    def test_removals_come_after_the_puts_of_their_batch(self, metadata: Metadata) -> None:
        store(metadata, alias(number=1))
        batch = Batch()
        batch.remove(alias(number=2))
        batch.put(alias(number=2), replacing=alias(number=1))
        metadata.commit(batch)
        assert metadata.find(Alias) == []

    def test_a_value_to_remove_is_compared_not_its_spelling(self, metadata: Metadata) -> None:
        store(metadata, version(tags={"b": "1", "a": "2"}))
        batch = Batch()
        batch.remove(version(tags={"a": "2", "b": "1"}))
        metadata.commit(batch)
        assert metadata.find(ModelVersion) == []

    def test_what_cannot_be_kept_cannot_be_removed(self, metadata: Metadata) -> None:
        for hostile in (alias("nul \x00"), pushed("abc")):
            batch = Batch()
            batch.put(alias("a"))
            batch.remove(hostile)
            with pytest.raises(InvalidInput):
                metadata.commit(batch)
        assert metadata.find(Alias) == []

    def test_of_many_that_remove_the_same_record_one_wins(self, metadata: Metadata) -> None:
        store(metadata, alias())

        def attempt(_: int) -> bool:
            batch = Batch()
            batch.remove(alias())
            try:
                metadata.commit(batch)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(attempt, range(16))).count(True) == 1
        assert metadata.find(Alias) == []

    # --- events ---

    def test_events_get_growing_positions_in_commit_order(self, metadata: Metadata) -> None:
        for subjects in (("a", "b"), ("c",)):
            batch = Batch()
            for subject in subjects:
                batch.event(pushed(subject))
            metadata.commit(batch)
        events = metadata.events(0)
        assert [event.subject for event in events] == ["a", "b", "c"]
        assert all(first.position < second.position for first, second in pairwise(events))
        assert events[0] == msgspec.structs.replace(pushed("a"), position=events[0].position)
        assert metadata.events(events[1].position) == events[2:]
        assert metadata.events(events[2].position) == []

    def test_forgotten_events_are_gone_and_their_positions_are_not_given_again(self, metadata: Metadata) -> None:
        for subject in ("a", "b", "c"):
            batch = Batch()
            batch.event(pushed(subject))
            metadata.commit(batch)
        a, b, c = metadata.events(0)
        assert metadata.forget_events(b.position) == 2
        assert metadata.events(0) == metadata.events(a.position) == [c]
        assert metadata.forget_events(b.position) == metadata.forget_events(0) == 0
        assert metadata.forget_events(c.position) == 1
        assert metadata.events(0) == []
        batch = Batch()
        batch.event(pushed("d"))
        metadata.commit(batch)
        assert [(event.subject, event.position > c.position) for event in metadata.events(0)] == [("d", True)]
        assert [event.subject for event in metadata.events(c.position)] == ["d"]

    def test_a_reader_never_misses_an_event_below_what_it_saw(self, metadata: Metadata) -> None:
        seen: list[int] = []
        stop = threading.Event()

        def write(writer: int) -> None:
            for number in range(25):
                batch = Batch()
                batch.event(pushed(f"{writer}/{number}"))
                metadata.commit(batch)

        def follow() -> None:
            while True:
                last_round = stop.is_set()
                seen.extend(event.position for event in metadata.events(seen[-1] if seen else 0))
                if last_round:
                    return

        with ThreadPoolExecutor(5) as pool:
            follower = pool.submit(follow)
            for writer in [pool.submit(write, writer) for writer in range(4)]:
                writer.result()
            stop.set()
            follower.result()
        assert seen == [event.position for event in metadata.events(0)]
        assert len(seen) == 100

    # --- lineage ---

    def test_edges_are_read_both_ways_and_only_one_hop(self, metadata: Metadata) -> None:
        batch = Batch()
        batch.link("run", ["release", "snapshot"], 1)
        batch.link("model", ["run"], 2)
        metadata.commit(batch)
        assert [edge.cause for edge in metadata.edges(["run"], "causes")] == ["release", "snapshot"]
        assert [edge.effect for edge in metadata.edges(["run"], "effects")] == ["model"]
        assert {(edge.cause, edge.effect) for edge in metadata.edges(["model", "run"], "causes")} == {
            ("run", "model"),
            ("release", "run"),
            ("snapshot", "run"),
        }

    def test_a_repeated_edge_is_stored_once(self, metadata: Metadata) -> None:
        batch = Batch()
        batch.link("b", ["a", "a"], 1)
        metadata.commit(batch)
        again = Batch()
        again.link("b", ["a"], 9)
        metadata.commit(again)
        assert [(edge.cause, edge.effect, edge.at_us) for edge in metadata.edges(["a"], "effects")] == [("a", "b", 1)]

    def test_thousands_of_nodes_at_once(self, metadata: Metadata) -> None:
        batch = Batch()
        for number in range(2_500):
            batch.link(f"effect{number}", ["cause"], 1)
        metadata.commit(batch)
        assert len(metadata.edges([f"effect{number}" for number in range(2_500)], "causes")) == 2_500
        assert len(metadata.edges(["cause"], "effects")) == 2_500

    # --- audit ---

    def test_audit_entries_are_numbered_without_a_gap_and_chained(self, metadata: Metadata) -> None:
        for number in range(5):
            batch = Batch()
            batch.audit("ada", "promote", "flights", number, number=number, why={"b": 1.0, "a": [None]})
            if number == 3:
                batch.put(alias(), replacing=alias(number=7))  # a conflict, so this entry must leave no hole
                with pytest.raises(Conflict):
                    metadata.commit(batch)
            else:
                metadata.commit(batch)
        entries = list(metadata.audit())
        assert [entry.position for entry in entries] == [1, 2, 3, 4]
        assert [entry.at_us for entry in entries] == [0, 1, 2, 4]
        previous = ""
        for entry in entries:
            assert entry.previous == previous
            assert entry.hash == hashlib.sha256(previous.encode() + encode(msgspec.structs.replace(entry, hash=""))).hexdigest()
            previous = entry.hash
        assert list(metadata.audit(2)) == entries[2:]

    def test_forged_numbers_and_hashes_are_replaced(self, metadata: Metadata) -> None:
        metadata.commit(Batch(audits=[AuditEntry("eve", "promote", "flights", 1, position=99, previous="x", hash="y")]))
        entry = metadata.audit()[0]
        assert (entry.position, entry.previous) == (1, "")
        assert len(entry.hash) == 64

    def test_the_chain_holds_when_many_write(self, metadata: Metadata) -> None:
        def act(number: int) -> None:
            batch = Batch()
            batch.audit("ada", "promote", f"subject{number}", number)
            metadata.commit(batch)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(act, range(40)))
        entries = metadata.audit()
        assert [entry.position for entry in entries] == list(range(1, 41))
        assert [entry.previous for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]

    # --- the store as a whole ---

    def test_an_empty_batch_changes_nothing(self, metadata: Metadata) -> None:
        metadata.commit(Batch())
        assert metadata.events(0) == []

    def test_the_mark_changes_with_each_commit_of_any_handle_and_with_nothing_else(
        self, metadata: Metadata, reopened: Callable[[], Metadata]
    ) -> None:
        other = reopened()
        marks = [metadata.mark()]
        for number, handle in enumerate((metadata, other, metadata), 1):
            store(handle, alias(number=number))
            metadata.get(Alias, "flights", "champion")
            metadata.find(Alias)
            metadata.events(0)
            marks += [metadata.mark(), metadata.mark()]
        assert marks[1::2] == marks[2::2]
        assert len(set(marks)) == 4
        other.close()

    def test_a_second_handle_sees_what_was_committed(self, metadata: Metadata, reopened: Callable[[], Metadata]) -> None:
        batch = Batch()
        batch.put(alias())
        batch.event(pushed("abc"))
        batch.link("b", ["a"], 1)
        batch.audit("ada", "promote", "flights", 1)
        metadata.commit(batch)
        other = reopened()
        assert other.get(Alias, "flights", "champion") == alias()
        assert other.events(0) == metadata.events(0)
        assert other.edges(["a"], "effects") == metadata.edges(["a"], "effects")
        assert other.audit() == metadata.audit()
        other.close()
