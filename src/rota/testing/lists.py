"""ListsContract: what `rota.ports.metadata.Metadata` promises of `find` and `page`, as tests; a part of `MetadataContract`. Needs pytest."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from rota.errors import InvalidInput
from rota.ports.metadata import MAX_PAGE, Batch, Metadata
from rota.records.model import Alias
from rota.records.schema import Schema
from rota.testing.records import alias, pushed, store

TOO_LARGE = 2**63
MANY = 1_105


class ListsContract:
    """`find` gives everything, `page` some of it."""

    # --- find ---

    def test_find_filters_by_key_and_index_fields(self, metadata: Metadata) -> None:
        store(metadata, alias("a", since_us=1), alias("b", since_us=2), alias("a", model="other", since_us=2))
        assert metadata.find(Alias, {"model": "flights"}) == [alias("a", since_us=1), alias("b", since_us=2)]
        assert metadata.find(Alias, {"model": "flights", "since_us": 2}) == [alias("b", since_us=2)]
        assert metadata.find(Alias, {"model": "nobody"}) == []

    def test_find_by_a_number_in_the_key(self, metadata: Metadata) -> None:
        store(metadata, Schema("flights", 2, ()), Schema("flights", 10, ()))
        assert metadata.find(Schema, {"version": 10}) == [Schema("flights", 10, ())]

    @pytest.mark.parametrize("field", ["number", "reason", "nonsense", "", "since_us; --"])
    def test_other_fields_are_refused(self, metadata: Metadata, field: str) -> None:
        with pytest.raises(InvalidInput, match="cannot be found"):
            metadata.find(Alias, {field: 1})
        if field:
            with pytest.raises(InvalidInput, match="cannot be found"):
                metadata.find(Alias, order=field)

    def test_a_value_of_the_wrong_type_is_refused(self, metadata: Metadata) -> None:
        for where in ({"since_us": "1"}, {"model": 1}, {"since_us": True}, {"model": None}):
            with pytest.raises(InvalidInput, match="looked up"):
                metadata.find(Alias, where)  # type: ignore[arg-type]

    def test_numbers_order_as_numbers_and_the_default_order_is_the_key(self, metadata: Metadata) -> None:
        store(metadata, *(Schema("flights", version, ()) for version in (10, 9, 100, 1)))
        assert [schema.version for schema in metadata.find(Schema)] == [1, 9, 10, 100]
        assert [schema.version for schema in metadata.find(Schema, order="-version")] == [100, 10, 9, 1]

    def test_ties_are_broken_by_the_key_and_minus_is_the_exact_reverse(self, metadata: Metadata) -> None:
        store(metadata, *(alias(name, since_us=since) for name, since in (("c", 1), ("a", 1), ("Z", 1), ("ä", 1), ("b", 0))))
        names = [found.alias for found in metadata.find(Alias, order="since_us")]
        assert names == ["b", "Z", "a", "c", "ä"]
        assert [found.alias for found in metadata.find(Alias, order="-since_us")] == names[::-1]

    def test_an_absent_value_orders_first(self, metadata: Metadata) -> None:
        store(metadata, Schema("a", 1, (), frozen_us=5), Schema("b", 1, ()), Schema("c", 1, (), frozen_us=-5))
        assert [schema.name for schema in metadata.find(Schema, order="frozen_us")] == ["b", "c", "a"]
        assert [schema.name for schema in metadata.find(Schema, order="-frozen_us")] == ["a", "c", "b"]

    def test_find_gives_every_record_however_many_there_are(self, metadata: Metadata) -> None:
        store(metadata, *(alias(f"a{number:05}", number) for number in range(MANY)))
        assert [found.number for found in metadata.find(Alias)] == list(range(MANY))
        assert len(metadata.find(Alias, {"model": "flights"}, order="-since_us")) == MANY

    # --- page ---

    @pytest.mark.parametrize("order", ["", "frozen_us", "-frozen_us", "version", "-version", "-name"])
    @pytest.mark.parametrize("limit", [1, 3, 8, 100])
    def test_pages_together_are_what_find_gives(self, metadata: Metadata, order: str, limit: int) -> None:
        frozen = (None, 5, 5, -5, None, 7, 5, None)
        store(metadata, *(Schema(f"s{number % 3}", number, (), frozen_us=at_us) for number, at_us in enumerate(frozen)))
        pages = list(_walk(metadata, limit, order=order))
        assert [schema for page in pages for schema in page] == metadata.find(Schema, order=order)
        assert {len(page) for page in pages[:-1]} <= {limit}
        assert pages[-1]
        wanted = {"name": "s1"}
        assert [schema for page in _walk(metadata, limit, wanted, order=order) for schema in page] == metadata.find(Schema, wanted, order=order)

    def test_an_empty_list_is_one_empty_page(self, metadata: Metadata) -> None:
        page = metadata.page(Alias)
        assert (page.items, page.next) == ([], "")

    @pytest.mark.parametrize("order", ["", "since_us", "-since_us"])
    def test_records_that_come_and_go_during_a_walk_move_no_other_onto_two_pages_or_none(self, metadata: Metadata, order: str) -> None:
        there = [alias(f"m{number:02}", since_us=number // 2) for number in range(12)]
        store(metadata, *there, alias("zz", since_us=3))
        seen, token = [], ""
        for turn in range(100):
            page = metadata.page(Alias, order=order, after=token, limit=3)
            seen += page.items
            token = page.next
            store(metadata, alias(f"a{turn}", since_us=0), alias(f"n{turn}", since_us=turn), alias(f"z{turn}", since_us=99 if turn < 3 else 0))
            if turn == 0:
                batch = Batch()
                batch.remove(alias("zz", since_us=3))
                metadata.commit(batch)
            if not token:
                break
        assert [record for record in seen if record in there] == [record for record in metadata.find(Alias, order=order) if record in there]
        assert len({record.alias for record in seen}) == len(seen)

    def test_a_page_of_another_list_and_a_forged_one_are_refused(self, metadata: Metadata) -> None:
        store(metadata, *(Schema("flights", version, (), frozen_us=version) for version in range(1, 5)))
        token = metadata.page(Schema, order="frozen_us", limit=1).next
        for other in ({"order": "-frozen_us"}, {"order": ""}, {"where": {"name": "flights"}, "order": "frozen_us"}):
            with pytest.raises(InvalidInput, match="another list"):
                metadata.page(Schema, **other, after=token)
        fingerprint, *values = json.loads(base64.urlsafe_b64decode(token))
        forged: tuple[object, ...] = (
            [fingerprint],
            [fingerprint, TOO_LARGE, *values[1:]],
            [fingerprint, "x", *values[1:]],
            {},
            7,
            [fingerprint, True, *values[1:]],
            [fingerprint, values[0], "\ud800", values[2]],
            [fingerprint, *values[:-1], None],
        )
        for content in forged:
            with pytest.raises(InvalidInput, match="none that this list gave"):
                metadata.page(Schema, order="frozen_us", after=base64.urlsafe_b64encode(json.dumps(content).encode()).decode())
        for text in ("x", "ä", token[:-3], "[" * 20_000):
            with pytest.raises(InvalidInput, match="page token"):
                metadata.page(Schema, order="frozen_us", after=text)

    @pytest.mark.parametrize("limit", [-1, 0, MAX_PAGE + 1, TOO_LARGE])
    def test_a_page_holds_one_item_to_the_most(self, metadata: Metadata, limit: int) -> None:
        with pytest.raises(InvalidInput, match="ask for 1 to 10000"):
            metadata.page(Alias, limit=limit)

    # --- numbers ---

    def test_limit_bounds_every_reader(self, metadata: Metadata) -> None:
        batch = Batch()
        for number in range(5):
            batch.put(alias(f"a{number}"))
            batch.event(pushed(f"a{number}"))
            batch.audit("ada", "promote", f"a{number}", number)
        metadata.commit(batch)
        for limit in (0, 3):
            assert len(metadata.events(0, limit=limit)) == len(metadata.audit(limit=limit)) == limit
        assert len(metadata.page(Alias, limit=3).items) == 3
        for read in (lambda: metadata.events(0, limit=-1), lambda: metadata.audit(limit=-1), lambda: metadata.events(0, limit=TOO_LARGE)):
            with pytest.raises(InvalidInput, match="limit"):
                read()

    def test_a_number_beyond_64_bits_is_refused_wherever_it_is_asked_for(self, metadata: Metadata) -> None:
        for number in (TOO_LARGE, -TOO_LARGE, 10**30):
            for read in (
                lambda number=number: metadata.events(number),
                lambda number=number: metadata.audit(number),
                lambda number=number: metadata.forget_events(number),
                lambda number=number: metadata.find(Alias, {"since_us": number}),
                lambda number=number: metadata.page(Alias, {"since_us": number}),
            ):
                with pytest.raises(InvalidInput, match="64 bits"):
                    read()
        assert not metadata.events(TOO_LARGE - 1)
        assert not metadata.audit(TOO_LARGE - 1)


def _walk(metadata: Metadata, limit: int, where: Any = None, *, order: str) -> Iterator[list[Schema]]:
    page = metadata.page(Schema, where, order=order, limit=limit)
    yield page.items
    while page.next:
        page = metadata.page(Schema, where, order=order, after=page.next, limit=limit)
        yield page.items
