"""Clustered copies: whatever of a source is compacted, late, corrected or raw, a join answers the same as a brute force."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tables import MemoryTables
from rota.backends.storage.delta_tables import DeltaTables
from rota.manage.features.definitions import registration as registry
from rota.manage.features.expressions.equivalence_check import same
from rota.manage.features.join.compaction import Sizes, cluster, compact
from rota.manage.features.join.point_in_time import FAR_US, historical
from rota.manage.features.join.row_history import layout_of, snapshot
from rota.ports.tables import Tables
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.record import encode

MINUTE = 60_000_000
START = 1_373_860_800_000_000
FIELDS = {"id": "int", "shop": "string", "till": "int", "at": "timestamp", "amount": "float", "note": "string", "web": "bool"}
SCHEMA = {
    "id": pl.Int64, "shop": pl.String, "till": pl.Int64, "at": pl.Int64, "amount": pl.Float64, "note": pl.String, "web": pl.Boolean,
    "created_us": pl.Int64,
}  # fmt: skip
SMALL = Sizes(smallest=1, bucket=3, memory=6)
shop, till = Entity("shop", ["shop"]), Entity("till", ["shop", "till"])
AsOf = Literal["event", "served"]


def service_over(identity: str | None) -> FeatureService:
    sales = Source("sales", FIELDS, "at", id_field=identity)  # type: ignore[arg-type]
    scalar = {"amount": Feature("amount"), "note": Feature("note"), "none": Feature("amount is null")}
    newest = FeatureView("newest", [shop], sales, scalar, ttl="30m")
    by_till = FeatureView("by_till", [till], sales, {"web": Feature("web"), "late": Feature("at")})
    windows = FeatureView("windows", [shop], sales, {"sum": Feature("amount", "sum", "20m"), "n": Feature("1", "count", "1h")}, hop="15m", ttl="2h")
    return FeatureService("s", [newest, by_till, windows])


def keys_of(service: FeatureService) -> list[tuple[str, ...]]:
    return sorted({layout_of(view).keys for view in service.stored_views})


def append(tables: Tables, rows: list[dict[str, Any]]) -> None:
    tables.append("sources/sales", pl.DataFrame(rows, schema=SCHEMA))


def by_hand(
    rows: list[dict[str, Any]], identity: str | None, where: dict[str, Any], t: int | None, known_until: int, as_of: AsOf
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of an entity that stand at a moment (of each id the newest version there), and all that it ever had."""
    if t is None or None in where.values():
        return [], []
    there = [row for row in rows if row["created_us"] <= known_until]
    arrived = [row for row in there if as_of == "event" or max(row["at"], row["created_us"]) <= t]
    mine = [row for row in arrived if all(row[key] == value for key, value in where.items()) and row["at"] <= t]
    if identity is None:
        return mine, mine
    newest = {row[identity]: row for row in sorted(arrived, key=lambda row: row["created_us"])}
    return [row for row in mine if newest[row[identity]] is row], mine


def expected(rows: list[dict[str, Any]], identity: str | None, question: dict[str, Any], known_until: int, as_of: AsOf) -> dict[str, Any]:
    t = question["t"]
    answer: dict[str, Any] = dict.fromkeys(service_over(identity).feature_names)
    standing, seen = by_hand(rows, identity, {"shop": question["shop"]}, t, known_until, as_of)
    if standing:
        row = max(standing, key=lambda row: (row["at"], row["created_us"]))
        if t - row["at"] <= 30 * MINUTE:
            answer |= {"newest__amount": row["amount"], "newest__note": row["note"], "newest__none": row["amount"] is None}
    had = standing if as_of == "event" else seen  # a window that was served goes on being served, with what is left in it
    if had and t - max(row["at"] for row in had) <= 120 * MINUTE:
        in_window = {width: [row for row in standing if row["at"] >= (t - width * MINUTE) // (15 * MINUTE) * (15 * MINUTE)] for width in (20, 60)}
        values = [row["amount"] for row in in_window[20] if row["amount"] is not None]
        answer |= {"windows__sum": sum(values) if values else None, "windows__n": len(in_window[60])}
    standing, _ = by_hand(rows, identity, {"shop": question["shop"], "till": question["till"]}, t, known_until, as_of)
    if standing:
        row = max(standing, key=lambda row: (row["at"], row["created_us"]))
        answer |= {"by_till__web": row["web"], "by_till__late": row["at"]}
    return answer


moments = st.integers(0, 20).map(lambda step: START + step * 10 * MINUTE) | st.integers(START, START + 200 * MINUTE)
shops, tills = st.sampled_from(["a", "b", "c", "d", "ä", "", None]), st.sampled_from([1, 2, -3, None])
row = st.fixed_dictionaries(
    {
        "id": st.integers(0, 8),
        "shop": shops,
        "till": tills,
        "at": moments,
        "amount": st.sampled_from([None, 0.0, 1.0, -2.5, 0.1]),
        "note": st.sampled_from([None, "", "x", "y" * 30]),
        "web": st.sampled_from([None, True, False]),
        "delay": st.sampled_from([-60, 0, 0, 0, 30, 100]),
    }
)


def received(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows created one after the other, mostly about when they happened, each at a moment of its own."""
    made = [{name: value for name, value in row.items() if name != "delay"} for row in rows]
    for index, (each, drawn) in enumerate(zip(made, rows, strict=True)):
        each["created_us"] = START + index + (index // 4 * 20 + drawn["delay"]) * MINUTE * 1
    return made


ask = st.fixed_dictionaries({"shop": shops, "till": tills, "t": st.none() | moments})


@given(
    rows=st.lists(row, max_size=24).map(received),
    asked=st.lists(ask, max_size=12),
    cuts=st.tuples(st.integers(0, 24), st.integers(0, 24)),
    known=st.sampled_from([FAR_US, START + 45 * MINUTE]),
    identity=st.sampled_from([None, "id"]),
    as_of=st.sampled_from(["event", "served"]),
)
def test_compacted_with_a_tail_or_raw_the_answers_are_the_brute_forces(
    rows: list[dict[str, Any]], asked: list[dict[str, Any]], cuts: tuple[int, int], known: int, identity: str | None, as_of: AsOf
) -> None:
    service, tables = service_over(identity), MemoryTables()
    first, second = sorted(cuts)
    spine = pl.DataFrame(asked, schema={"shop": pl.String, "till": pl.Int64, "t": pl.Int64})
    for part in (rows[:first], rows[first:second]):
        append(tables, part)
        cluster(tables, service.stored_views[0].source, keys_of(service), sizes=SMALL)
    append(tables, rows[second:])
    made = historical(tables, service, spine, timestamp="t", known_until_us=known, as_of=as_of, materialized={})
    raw = MemoryTables()
    append(raw, rows)
    assert made.columns == [*spine.columns, *service.feature_names]
    assert made.select(spine.columns).equals(spine)
    unclustered = historical(raw, service, spine, timestamp="t", known_until_us=known, as_of=as_of, materialized={})
    for question, answer, other in zip(asked, made.iter_rows(named=True), unclustered.iter_rows(named=True), strict=True):
        for name, value in expected(rows, identity, question, known, as_of).items():
            for got in (answer[name], other[name]):
                equal = got == value if not isinstance(value, float) or got is None else same(got, value, absolute=1e-9)
                assert equal, (name, question, answer, value)


def many_rows(count: int, *, start: int = 0) -> pl.DataFrame:
    """Every shop again and again, one row a minute."""
    numbers = pl.int_range(start, start + count, eager=True)
    at = START + numbers * MINUTE
    shops = (numbers % 97).cast(pl.String)
    return pl.DataFrame(
        {
            "id": numbers,
            "shop": shops,
            "till": numbers % 3,
            "at": at,
            "amount": numbers.cast(pl.Float64),
            "note": shops,
            "web": True,
            "created_us": at,
        }
    ).cast(SCHEMA)  # type: ignore[arg-type]


def asked_about(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select("shop", "till", t=pl.col("at") + MINUTE)


service = service_over("id")
source = service.stored_views[0].source
MIDDLE = Sizes(smallest=1, bucket=100, memory=250)


def test_a_join_reads_only_the_buckets_it_is_asked_about(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("sources/sales", many_rows(500))
    cluster(tables, source, [("shop",)], sizes=MIDDLE)
    layout = layout_of(service.stored_views[0])
    copy = layout.copies(tables)[-1]
    mine = pl.DataFrame({"shop": ["5"]}).select(layout.bucket(copy.buckets)).item()
    for bucket in set(range(copy.buckets)) - {mine}:
        tables.drop(layout.table(copy, bucket))
    spine = pl.DataFrame({"shop": ["5", "5"], "t": [START + 5 * MINUTE, START + 500 * MINUTE]})
    made = historical(tables, FeatureService("one", [service.stored_views[0]]), spine, timestamp="t")
    assert made["newest__amount"].to_list() == [5.0, 490.0]


def test_compaction_does_nothing_when_nothing_changed_and_keeps_the_copy_before() -> None:
    tables, done = MemoryTables(), []
    for part in range(3):
        tables.append("sources/sales", many_rows(300, start=300 * part))
        first = cluster(tables, source, keys_of(service), sizes=MIDDLE, progress=lambda *told: done.append(told))
        assert [each.written for each in first] == [True, True]
        assert [each.written for each in cluster(tables, source, keys_of(service), sizes=MIDDLE)] == [False, False]
    for view in service.stored_views[:2]:
        layout = layout_of(view)
        kept = {name.split("/")[3] for name in tables.tables(f"{layout.prefix}/v")}
        assert kept == {copy.place for copy in layout.copies(tables)[-2:]}
    assert done[2] == ("sales by shop", 3, 3)
    tables.append("sources/sales", many_rows(50, start=900))
    assert not any(each.written for each in cluster(tables, source, keys_of(service), sizes=MIDDLE, least_tail=0.1))
    assert tables.tables("history/sales/") != []
    cluster(tables, source, [("shop",)], sizes=MIDDLE)
    assert {name.split("/")[2] for name in tables.tables("history/")} == {layout_of(service.stored_views[0]).prefix.split("/")[2]}


def test_a_small_source_has_no_copy_and_an_absent_one_neither() -> None:
    tables = MemoryTables()
    assert cluster(tables, source, [("shop",)])[0].written is False
    tables.append("sources/sales", many_rows(10))
    assert cluster(tables, source, [("shop",)])[0].written is False
    assert tables.tables("history/") == []


def test_compact_copies_for_the_views_that_are_registered() -> None:
    metadata, tables = MemoryMetadata(), MemoryTables()
    tables.append("sources/sales", many_rows(300))
    registry.register(metadata, tables, [service])
    assert [each.keys for each in compact(tables, metadata, source, sizes=MIDDLE)] == [("shop",), ("shop", "till")]


def test_a_small_source_is_counted_once_for_each_version_by_who_asks_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata, tables, small = MemoryMetadata(), MemoryTables(), dict[str, tuple[int, int]]()
    tables.append("sources/sales", many_rows(10))
    registry.register(metadata, tables, [service])
    scans = list[str]()
    scan = tables.scan
    monkeypatch.setattr(tables, "scan", lambda table, **options: scans.append(table) or scan(table, **options))
    first = compact(tables, metadata, source, small=small)
    counted = len(scans)
    assert compact(tables, metadata, source, small=small) == first
    assert len(scans) == counted > 0
    tables.append("sources/sales", many_rows(10, start=10))
    assert [each.tail_rows for each in compact(tables, metadata, source, small=small)] == [20, 20]
    tables.append("sources/sales", many_rows(300, start=20))
    assert all(each.written for each in compact(tables, metadata, source, sizes=MIDDLE, small=small))


def test_a_copy_made_with_another_hash_is_not_read_but_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = MemoryTables()
    tables.append("sources/sales", many_rows(300))
    cluster(tables, source, [("shop",)], sizes=MIDDLE)
    layout = layout_of(service.stored_views[0])
    assert snapshot(tables, layout, 0, ["amount"]).copy is not None
    monkeypatch.setattr(pl, "__version__", "99.0")
    assert snapshot(tables, layout, 0, ["amount"]).copy is None
    assert cluster(tables, source, [("shop",)], sizes=MIDDLE)[0].written
    assert snapshot(tables, layout, 0, ["amount"]).copy is not None


def test_a_copy_without_a_new_field_is_not_read_for_it() -> None:
    tables = MemoryTables()
    tables.append("sources/sales", many_rows(300))
    cluster(tables, source, [("shop",)], sizes=MIDDLE)
    grown = Source("sales", FIELDS | {"size": "float"}, "at", id_field="id")
    tables.append("sources/sales", many_rows(1, start=300).with_columns(size=7.5))
    view = FeatureView("sizes", [shop], grown, {"size": Feature("size"), "amount": Feature("amount")})
    spine = pl.DataFrame({"shop": [str(300 % 97), "1"], "t": [START + 1_000 * MINUTE] * 2})
    for _ in range(2):
        made = historical(tables, FeatureService("grown", [view]), spine, timestamp="t")
        assert made.select("sizes__size", "sizes__amount").rows() == [(7.5, 300.0), (None, 292.0)]
        assert cluster(tables, grown, [("shop",)], sizes=MIDDLE)[0].written == (_ == 0)


def test_rows_created_earlier_than_the_copy_knew_of_are_not_missed() -> None:
    tables = MemoryTables()
    tables.append("sources/sales", many_rows(300))
    cluster(tables, source, [("shop",)], sizes=MIDDLE)
    tables.append(
        "sources/sales", many_rows(1, start=97 * 3).with_columns(id=pl.lit(1_000, pl.Int64), amount=-1.0, created_us=START + 97 * 3 * MINUTE + 1)
    )
    layout = layout_of(service.stored_views[0])
    state = snapshot(tables, layout, 1, ["amount"])
    assert state.tail is not None
    assert 1 < state.tail.rows < 100  # an hour back was enough
    spine = pl.DataFrame({"shop": ["0"], "t": [START + 97 * 3 * MINUTE]})
    assert historical(tables, FeatureService("one", [service.stored_views[0]]), spine, timestamp="t")["newest__amount"].item() == -1.0
    tables.append("sources/sales", many_rows(1).with_columns(id=pl.lit(1_001, pl.Int64), amount=-2.0, created_us=START - 90 * 24 * 60 * MINUTE))
    assert snapshot(tables, layout, 2, ["amount"]).copy is None


class Slow(MemoryTables):
    """Tables whose copies are renewed twice, and so dropped, after a reader has found them."""

    renew = False

    def scan(self, table: str, *, version: int | None = None, columns: Any = None) -> pl.LazyFrame:
        if self.renew and table.startswith("history/") and not table.endswith("/copies"):
            self.renew = False
            for part in (300, 400):
                self.append("sources/sales", many_rows(100, start=part))
                cluster(self, source, keys_of(service), sizes=MIDDLE)
        return super().scan(table, version=version, columns=columns)


def test_a_reader_whose_copy_was_dropped_meanwhile_still_answers() -> None:
    tables = Slow()
    tables.append("sources/sales", many_rows(300))
    cluster(tables, source, keys_of(service), sizes=MIDDLE)
    spine = asked_about(many_rows(300))
    before = historical(tables, service, spine, timestamp="t")
    tables.renew = True
    assert historical(tables, service, spine, timestamp="t").equals(before)
    assert not tables.renew


def test_two_compactors_at_once_leave_one_right_copy(tmp_path: Path) -> None:
    DeltaTables(tmp_path).append("sources/sales", many_rows(600))
    spine = asked_about(many_rows(600))
    raw = historical(DeltaTables(tmp_path), service, spine, timestamp="t")
    threads = [threading.Thread(target=cluster, args=(DeltaTables(tmp_path), source, keys_of(service)), kwargs={"sizes": MIDDLE}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables = DeltaTables(tmp_path)
    layout = layout_of(service.stored_views[0])
    copy = layout.copies(tables)[-1]
    assert sum(tables.scan(layout.table(copy, bucket)).collect().height for bucket in range(copy.buckets)) == 600
    assert historical(tables, service, spine, timestamp="t").equals(raw)


COMPACT = """
import sys
from pathlib import Path
from rota.backends.storage.delta_tables import DeltaTables
from rota.manage.features.join.compaction import Sizes, cluster
from rota.records.data import Source
from rota.records.record import decode
sizes = Sizes(smallest=1, bucket=100, memory=250)
said = lambda name, done, of: print(done, flush=True)
cluster(DeltaTables(Path(sys.argv[1])), decode(sys.argv[2], Source), [("shop",), ("shop", "till")], sizes=sizes, progress=said)
"""


def test_a_compaction_killed_anywhere_does_no_harm_and_the_next_one_ends_it(tmp_path: Path) -> None:
    tables = DeltaTables(tmp_path)
    tables.append("sources/sales", many_rows(600))
    spine = asked_about(many_rows(600))
    raw = historical(tables, service, spine, timestamp="t")
    for lines in (2, 9):
        child = subprocess.Popen([sys.executable, "-c", COMPACT, str(tmp_path), encode(source).decode()], stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(lines):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert historical(DeltaTables(tmp_path), service, spine, timestamp="t").equals(raw)
    cluster(tables, source, keys_of(service), sizes=MIDDLE)
    assert historical(DeltaTables(tmp_path), service, spine, timestamp="t").equals(raw)
    layout = layout_of(service.stored_views[0])
    assert {name.split("/")[3] for name in tables.tables(f"{layout.prefix}/v")} == {layout.copies(tables)[-1].place}


def test_a_row_dated_ahead_and_replaced_before_its_time_never_counts_below_zero() -> None:
    tables = MemoryTables()
    ahead = many_rows(1).with_columns(pl.col("at") + 60 * MINUTE)
    append(tables, ahead.to_dicts())
    append(tables, many_rows(1).with_columns(shop=pl.lit("other"), created_us=pl.col("created_us") + 10 * MINUTE).to_dicts())
    spine = pl.DataFrame({"shop": ["0"] * 2, "till": [0] * 2, "t": [START + 30 * MINUTE, START + 90 * MINUTE]})
    made = historical(tables, service, spine, timestamp="t", as_of="served", materialized={})
    assert made["windows__n"].to_list() == [None, 0]


@pytest.mark.parametrize("fault", ["bucket gone", "bucket cut off", "bucket overwritten", "copies gone", "copies cut off", "table set back"])
def test_copies_that_were_deleted_damaged_or_are_of_a_table_that_was_set_back_are_made_anew(tmp_path: Path, fault: str) -> None:
    """A copy is derived: a join answers without it, says so, and the next compaction makes it again."""
    tables, service = DeltaTables(tmp_path), service_over("id")
    rows = [
        {"id": i, "shop": f"s{i % 5}", "till": 1, "at": START + i * MINUTE, "amount": float(i), "note": "", "web": True, "created_us": START + i}
        for i in range(40)
    ]
    append(tables, rows[:20])
    shutil.copytree(tmp_path / "sources/sales", tmp_path / "older")
    append(tables, rows[20:])
    spine = pl.DataFrame({"shop": [f"s{i}" for i in range(5)], "till": [1] * 5, "at": [START + 60 * MINUTE] * 5})
    expected = historical(tables, service, spine, timestamp="at")
    cluster(tables, service.stored_views[0].source, keys_of(service), sizes=SMALL)
    history = tmp_path / "history/sales"
    assert historical(tables, service, spine, timestamp="at").equals(expected)
    if fault == "table set back":
        shutil.rmtree(tmp_path / "sources/sales")
        (tmp_path / "older").rename(tmp_path / "sources/sales")
        expected = historical(tables, service, spine, timestamp="at")
    else:
        pointers = sorted(history.rglob("copies"))
        buckets = sorted(path for path in history.rglob("v*/*") if path.is_dir() and path.name.isdecimal())
        for place in pointers if fault.startswith("copies") else buckets[:1] if fault.endswith("gone") else buckets:
            if fault.endswith("gone"):
                shutil.rmtree(place)
            for file in place.rglob("*.parquet"):
                os.truncate(file, file.stat().st_size // 2)
                if fault.endswith("overwritten"):
                    file.write_bytes(b"x" * 5_000)
    tables = DeltaTables(tmp_path)
    assert historical(tables, service, spine, timestamp="at").equals(expected)
    made = cluster(tables, service.stored_views[0].source, keys_of(service), sizes=SMALL)
    assert any(each.written for each in made)
    assert historical(tables, service, spine, timestamp="at").equals(expected)
    assert not any(each.written for each in cluster(tables, service.stored_views[0].source, keys_of(service), sizes=SMALL))
