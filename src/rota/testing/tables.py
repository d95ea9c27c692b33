"""TablesContract: the law of `rota.ports.tables.Tables` as tests. Needs pytest."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from rota.errors import InvalidInput, NotFound
from rota.ports.tables import Tables
from rota.testing.contract import HOSTILE_NAMES, EngineContract

FUTURE_US = 4_102_444_800_000_000
"""Later than everything that a test stores."""


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


class TablesContract(EngineContract):
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

    def test_lists_come_back_with_their_nulls_and_empty_ones(self, tables: Tables) -> None:
        rows = pl.DataFrame(
            {"id": [1, 2, 3], "names": [["é", None], [], None], "values": [[0.5, None, float("inf")], None, []]},
            schema={"id": pl.Int64, "names": pl.List(pl.String), "values": pl.List(pl.Float64)},
        )
        tables.append("lists", rows)
        tables.append("lists", rows.select(pl.col("id") + 3))
        tables.compact("lists")
        stored = tables.scan("lists").collect()
        assert stored.schema == rows.schema
        assert stored.filter(pl.col("id") < 4).sort("id").equals(rows, null_equal=True)
        assert stored.filter(pl.col("id") > 3)["names"].null_count() == 3

    def test_bytes_and_decimals_come_back_exactly(self, tables: Tables) -> None:
        most = Decimal("9" * 36 + ".99")
        rows = pl.DataFrame(
            {"id": [1, 2, 3], "image": [b"\x00\xff", b"", None], "price": [Decimal("-0.01"), most, None]},
            schema={"id": pl.Int64, "image": pl.Binary, "price": pl.Decimal(38, 2)},
        )
        tables.append("exact", rows)
        tables.append("exact", rows.with_columns(pl.col("id") + 3))
        tables.compact("exact")
        stored = tables.scan("exact").collect()
        assert stored.schema == rows.schema
        assert stored.filter(pl.col("id") < 4).sort("id").equals(rows, null_equal=True)
        assert stored.filter(pl.col("price") == most).sort("id")["id"].to_list() == [2, 5]
        with pytest.raises(InvalidInput, match="price"):
            tables.append("exact", rows.with_columns(pl.col("price").cast(pl.Decimal(38, 3), strict=False)))

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

    @pytest.mark.parametrize(
        "dtype", [pl.Int32, pl.UInt64, pl.Datetime("us"), pl.Date, pl.Categorical, pl.List(pl.Date), pl.List(pl.List(pl.Int64)), pl.Null]
    )
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

    def test_a_vacuum_gives_up_old_versions_apart_from_those_to_keep(self, tables: Tables) -> None:
        assert tables.vacuum("none", before_us=FUTURE_US) == 0
        for i in range(45):
            tables.append("flights", flights(i), batch=("w", i))
        tables.compact("flights")
        newest = tables.compact("flights")
        assert tables.vacuum("flights", before_us=0) == 0
        assert ids_of(tables.scan("flights", version=7)) == list(range(8))
        tables.vacuum("flights", keep={5, 21}, before_us=FUTURE_US)
        for version in (5, 21, newest):
            assert ids_of(tables.scan("flights", version=version)) == list(range(min(version, 44) + 1))
        tables.vacuum("flights", keep={5, 7}, before_us=FUTURE_US)
        for gone in (0, 4, 6, 7, 21, 43):
            with pytest.raises(NotFound, match=f"version {gone} "):
                tables.scan("flights", version=gone)
        assert ids_of(tables.scan("flights", version=5)) == list(range(6))
        assert tables.vacuum("flights", keep={5}, before_us=FUTURE_US) == 0
        assert tables.sequence("flights", "w") == 44
        assert tables.append("flights", flights(45), batch=("w", 44)) == newest
        assert tables.append("flights", flights(45), batch=("w", 45)) == newest + 1
        assert ids_of(tables.scan("flights")) == list(range(46))

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
            lambda: tables.vacuum(name, before_us=0),
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
