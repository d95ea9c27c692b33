"""The same value by every way in: what docs/types.md promises is tried line by line, and drawn values against an oracle of exact numbers."""

import csv
import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.exceptions import PolarsError

from rota.backends.inputs.file_input import FileInput
from rota.backends.inputs.sql_input import SqlInput
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.errors import InvalidInput
from rota.manage.features.store import Store
from rota.manage.features.writer import Feed
from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes, label_domain, labels
from rota.manage.signals.label_domain import DeclaredProblem
from rota.ports.inputs import Inputs
from rota.records.data import Entity, Feature, FeatureView, OnDemandFeatureView, Source
from rota.records.schema import Type
from rota.records.time import parse_time
from rota.serve.requests import check_rows
from rota.testing import FakeClock

pytestmark = pytest.mark.filterwarnings("ignore::rota.records.early_times.DoubtfulTimes")
KINDS: tuple[Type, ...] = ("float", "int", "bool", "string", "timestamp")
MEASURED: tuple[Type, ...] = ("float[2]", "int[]", 'category["a","b"]', "decimal(6,2)", "bytes", "blob")
"""Types of the second table of values."""
NOON = parse_time("2013-07-15T12:00:00Z")
REFUSED = "refused"
WORDS = {
    "np": np, "pd": pd, "math": math, "Decimal": Decimal, "Fraction": Fraction, "UUID": UUID, "UTC": UTC, "datetime": datetime, "date": date,
    "time": time, "timedelta": timedelta,
}  # fmt: skip


def named(kind: Type) -> str:
    """A type as a part of a name."""
    return re.sub(r"\W", "_", kind)


class NotThisWay(Exception):
    """This way in has no form for such a value."""


class World:
    """A platform in memory with a source, a view and a request view of each type, and the ways by which a value comes in."""

    def __init__(self, folder: Path) -> None:
        metadata = MemoryMetadata()
        self.tables, self._folder, self._numbers = MemoryTables(), folder, count()
        stores = (metadata, self.tables, MemoryOnline(), MemoryJournal(), FakeClock(NOON))
        self._feed = Feed(*stores, inputs=Inputs(FileInput(), SqlInput({})))
        repositories = Repositories(
            metadata, MemoryRuns(metadata), MemoryBlobs(), self.tables, stores[2], stores[3], stores[4], MemoryTracking(metadata)
        )
        self.store = Store(repositories, self._feed)
        self._database_file = self._file(".db")
        for kind in (*KINDS, *MEASURED):
            with closing(sqlite3.connect(self._database_file)) as connection, connection:
                connection.execute(f"DROP TABLE IF EXISTS t_{named(kind)}")
                connection.execute(f"CREATE TABLE t_{named(kind)} (k INTEGER, at TEXT, x)")
            words = {"url": f"sqlite:///{self._database_file}", "query": f"t_{named(kind)}", "watermark": "k"}
            self._feed.register([Source(f"d_{named(kind)}", {"k": "int", "at": "timestamp", "x": kind}, "at", **words)])
            source = Source(f"s_{named(kind)}", {"k": "int", "at": "timestamp", "x": kind}, "at")
            view = FeatureView(f"v_{named(kind)}", [Entity("k", ["k"])], source, {"x": Feature("x")})
            self.store.apply([view, OnDemandFeatureView(f"r_{named(kind)}", {"x": kind}, {"x": Feature("x")})])
        self.store.apply([OnDemandFeatureView("asked", {"event_timestamp": "timestamp"}, {"x": Feature("event_timestamp")})])
        self.ways: Mapping[str, Callable[[Type, Any], Any]] = {
            "push": self._push,
            "push of a pandas frame": lambda kind, value: self._push(kind, value, lambda row: pd.DataFrame([row])),
            "table of dicts": lambda kind, value: self._ingest(kind, [self._row(value)]),
            "table of columns": lambda kind, value: self._ingest(kind, {name: [each, each] for name, each in self._row(value).items()}),
            "polars": lambda kind, value: self._ingest(kind, self._polars(value)),
            "pandas": lambda kind, value: self._ingest(kind, pd.DataFrame([self._row(value)])),
            "pandas with a missing value": lambda kind, value: self._ingest(kind, pd.DataFrame([self._row(value), self._row(None)])),
            "pandas objects": lambda kind, value: self._ingest(kind, pd.DataFrame({**self._row(0), "x": pd.Series([value], dtype=object)})),
            "Parquet": self._parquet,
            "JSON lines": self._json,
            "JSON lines among others": lambda kind, value: self._json(kind, value, [0.5, "text", [1], 10**30]),
            "database": self._database,
            "entity frame of dicts": lambda kind, value: self._join(kind, [{"event_timestamp": NOON, "x": value}]),
            "entity frame of pandas": lambda kind, value: self._join(kind, pd.DataFrame([{"event_timestamp": NOON, "x": value}])),
            "entity frame of polars": lambda kind, value: self._join(kind, self._polars(value).select(pl.col("at").alias("event_timestamp"), "x")),
            "online read": lambda kind, value: self._online(kind, [{"x": value}]),
            "online read of columns": lambda kind, value: self._online(kind, {"x": [value, None]}),
            "online read of pandas": lambda kind, value: self._online(kind, pd.DataFrame({"x": pd.Series([value, None], dtype=object)})),
            "online read of polars": lambda kind, value: self._online(kind, self._polars(value)),
            "request row": self._request,
            "undeclared beside": self._beside,
            "label": self._label,
            "outcome": self._outcome,
            "moment of a label": lambda kind, value: self._moment(kind, value, self._label_at),
            "moment of an outcome": lambda kind, value: self._moment(kind, value, self._outcome_at),
            "moment of an entity frame": lambda kind, value: self._moment(kind, value, self._asked_at),
        }

    def cells(self, kind: Type, texts: Sequence[str]) -> list[Any]:
        """What the cells of a CSV file become."""
        with self._file(".csv").open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["k", "at", "x"], *([place, "2013-07-15", text] for place, text in enumerate(texts))])
        done = self.store.ingest(f"s_{named(kind)}", file.name)
        kept = iter(self.tables.scan(f"sources/s_{named(kind)}").collect()["x"].tail(done.rows_out).to_list())
        refused = {each.row for each in done.rejections}
        return [REFUSED if place in refused else next(kept) for place, _ in enumerate(texts, start=1)]

    def _row(self, value: Any) -> dict[str, Any]:
        return {"k": next(self._numbers), "at": NOON, "x": value}

    def _polars(self, value: Any) -> pl.DataFrame:
        try:
            return pl.DataFrame([pl.Series("k", [next(self._numbers)]), pl.Series("at", [NOON]), pl.Series("x", [value])])
        except (PolarsError, TypeError, ValueError, OverflowError, UnicodeEncodeError):
            raise NotThisWay from None

    def _file(self, ending: str) -> Path:
        return self._folder / f"{next(self._numbers)}{ending}"

    def _push(self, kind: Type, value: Any, form: Callable[[dict[str, Any]], Any] = lambda row: [row]) -> Any:
        row = self._row(value)
        self.store.push(f"s_{named(kind)}", form(row))
        (online,) = self.store.get_online_features([f"v_{named(kind)}:x"], [{"k": row["k"]}]).rows()
        self._feed.pushes.flush(f"s_{named(kind)}")
        assert same(online[f"v_{named(kind)}__x"], self._stored(kind)), "online and history differ"
        return online[f"v_{named(kind)}__x"]

    def _ingest(self, kind: Type, rows: Any) -> Any:
        """The value of the first of the rows."""
        done = self.store.ingest(f"s_{named(kind)}", rows)
        first = [each for each in done.rejections if each.row == 1]
        if first:
            assert "field 'x': " in first[0].reason
            return REFUSED
        return self._stored(kind, -done.rows_out)

    def _stored(self, kind: Type, place: int = -1) -> Any:
        return self.tables.scan(f"sources/s_{named(kind)}").collect()["x"].to_list()[place]

    def _parquet(self, kind: Type, value: Any) -> Any:
        file = self._file(".parquet")
        try:
            self._polars(value).write_parquet(file)
        except (PolarsError, pl.exceptions.PanicException):
            raise NotThisWay from None
        return self._ingest(kind, str(file))

    def _json(self, kind: Type, value: Any, others: Any = ()) -> Any:
        if not isinstance(value, bool | int | float | str | list | None) or "NaN" in (text := json.dumps(value)) or "Infinity" in text:
            raise NotThisWay
        if (isinstance(value, int) and abs(value) > 2**64) or (isinstance(value, str) and not value.isascii()):
            raise NotThisWay
        file = self._file(".jsonl")
        file.write_text("\n".join(json.dumps(self._row(each)) for each in [value, *others]))
        return self._ingest(kind, str(file))

    def _database(self, kind: Type, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | str | bytes) or (isinstance(value, int) and not -(2**63) <= value < 2**63):
            raise NotThisWay
        if isinstance(value, str) and not value.isascii():
            raise NotThisWay
        with closing(sqlite3.connect(self._database_file)) as connection, connection:
            connection.execute(f"INSERT INTO t_{named(kind)} VALUES (?, '2013-07-15 12:00:00', ?)", (next(self._numbers), value))
        done = self.store.ingest(f"d_{named(kind)}")
        return REFUSED if done.rejected else self.tables.scan(f"sources/d_{named(kind)}").collect()["x"].to_list()[-1]

    def _join(self, kind: Type, frame: Any) -> Any:
        return (
            self.store.get_historical_features(frame, [f"r_{named(kind)}:x"], full_feature_names=True).to_polars()[f"r_{named(kind)}__x"].to_list()[0]
        )

    def _online(self, kind: Type, rows: Any) -> Any:
        return self.store.get_online_features([f"r_{named(kind)}:x"], rows).rows()[0][f"r_{named(kind)}__x"]

    def _request(self, kind: Type, value: Any) -> Any:
        self._finite(value)
        return check_rows([{"x": value}], {"x": kind})[0]["x"]

    def _beside(self, kind: Type, value: Any) -> Any:
        """An undeclared field keeps the type that its value has."""
        if isinstance(value, Decimal | Fraction | UUID | date | time | timedelta | np.datetime64 | bytes | list | tuple | np.ndarray):
            raise NotThisWay
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise NotThisWay
        self._finite(value)
        kept = check_rows([{"x": value}], {})[0]["x"]
        if type(kept) is not {"float": float, "int": int, "bool": bool, "string": str}.get(kind):
            raise NotThisWay
        return kept

    def _finite(self, value: Any) -> None:
        if isinstance(value, float) and math.isinf(value):
            raise NotThisWay

    def _label(self, kind: Type, value: Any) -> Any:
        def accepted() -> Any:
            given = labels.from_rows([{"prediction_id": "p", "value": value}], NOON)
            return label_domain.checked(DeclaredProblem("regression"), given, endpoint="e")[0].value

        return self._measured(kind, value, accepted)

    def _outcome(self, kind: Type, value: Any) -> Any:
        if isinstance(value, int | float) and abs(value) > 1e100:
            raise NotThisWay
        row = {"prediction_id": "p", "name": "sale", "value": value}
        return self._measured(kind, value, lambda: business_outcomes.from_rows([row], NOON)[0].value)

    def _measured(self, kind: Type, value: Any, action: Callable[[], Any]) -> Any:
        """Values of labels and outcomes are finite floats, bools among them, and never null."""
        if kind != "float" or isinstance(value, bool | np.bool_):
            raise NotThisWay
        self._finite(value)
        try:
            return action()
        except InvalidInput as error:
            if "value is null" in str(error):
                return None
            raise

    def _moment(self, kind: Type, value: Any, action: Callable[[Any], Any]) -> Any:
        if kind != "timestamp":
            raise NotThisWay
        try:
            return action(value)
        except InvalidInput as error:
            if "no moment between 1970" in str(error):  # of labels and outcomes
                raise NotThisWay from None
            raise

    def _label_at(self, value: Any) -> Any:
        taken = labels.from_rows([{"prediction_id": "p", "value": 1, "at_us": value}], -1)[0].at_us
        return None if taken == -1 else taken

    def _outcome_at(self, value: Any) -> Any:
        taken = business_outcomes.from_rows([{"prediction_id": "p", "name": "sale", "value": 1, "at": value}], -1)[0].at_us
        return None if taken == -1 else taken

    def _asked_at(self, value: Any) -> Any:
        """The moment for which a join answers, found by an on-demand feature over the same column."""
        return self.store.get_historical_features([{"event_timestamp": value}], ["asked:x"]).to_polars()["asked__x"].to_list()[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other and (not isinstance(one, float) or math.copysign(1, one) == math.copysign(1, other))


def check(world: World, kind: Type, value: Any, right: Any, *, ways: Iterable[str]) -> None:
    """Each of the ways in gives the right value, or refuses where that is right."""
    for name in ways:
        way = world.ways[name]
        try:
            found = way(kind, value)
        except NotThisWay:
            continue
        except InvalidInput:
            found = REFUSED
        assert same(found, right), f"{value!r} as {kind} by {name}: {found!r} instead of {right!r}"


def promised(root: Path, title: str) -> Iterator[list[str]]:
    """The rows of the table below a heading of docs/types.md."""
    section = (root / "docs" / "types.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    for line in lines[1:]:
        yield [
            part[1:-1] if part.startswith("`") else part for part in (part.removeprefix(" ").removesuffix(" ") for part in line.strip("|").split("|"))
        ]


def meant(text: str, kind: Type) -> Any:
    if text in ("no", "null"):
        return REFUSED if text == "no" else None
    return parse_time(text) if kind == "timestamp" else eval(text, dict(WORDS))


THROUGH_PANDAS = ("push of a pandas frame", "pandas", "pandas with a missing value", "entity frame of pandas")


QUICK = (
    "push", "online read", "online read of columns", "request row", "undeclared beside", "label", "outcome", "moment of a label",
    "moment of an outcome",
)  # fmt: skip
"""Ways that take a millisecond or less: always tried. The others take turns where not all of them are tried."""


def exact_ways(world: World, value: Any) -> list[str]:
    """All ways but those on which pandas changes the value before Rota sees it: an integer beside a missing one becomes a float."""
    changed = THROUGH_PANDAS if isinstance(value, int) and abs(value) >= 2**53 else ()
    return [name for name in world.ways if name not in changed]


def promised_values(root: Path) -> Iterator[tuple[Any, Type, Any]]:
    for title, kinds in (("Values", KINDS), ("Values of types with measures", MEASURED)):
        for text, *results in promised(root, title):
            for kind, result in zip(kinds, results, strict=True):
                yield eval(text, dict(WORDS)), kind, meant(result, kind)


def test_every_line_of_the_table_of_values_holds(world: World, root: Path) -> None:
    lines = list(promised_values(root))
    assert len(lines) > 35 * len(KINDS)
    turn = count()
    for value, kind, right in lines:
        ways = exact_ways(world, value)
        others = [name for name in ways if name not in QUICK]
        check(world, kind, value, right, ways=[*QUICK, others[next(turn) % len(others)]])


@pytest.mark.slow
def test_every_line_of_the_table_of_values_holds_by_every_way_in(world: World, root: Path) -> None:
    for value, kind, right in promised_values(root):
        check(world, kind, value, right, ways=exact_ways(world, value))


def test_every_line_of_the_table_of_times_holds(world: World, root: Path) -> None:
    lines = list(promised(root, "Times as texts"))
    assert len(lines) > 25
    written = [line for line in lines if not line[0].isdigit()]  # digits alone are a number in a cell
    assert world.cells("timestamp", [text for text, _ in written]) == [meant(result, "timestamp") for _, result in written]
    others, turn = [name for name in world.ways if name not in QUICK], count()
    for text, result in lines:
        right = meant(result, "timestamp")
        check(world, "timestamp", f"{text}\n", right, ways=QUICK)
        check(world, "timestamp", text, right, ways=[*QUICK, *(others[next(turn) % len(others)] for _ in range(3))])


@pytest.mark.slow
def test_every_line_of_the_table_of_times_holds_by_every_way_in(tmp_path: Path, root: Path) -> None:
    for text, result in promised(root, "Times as texts"):
        world = World(tmp_path)  # an ingestion takes the longer, the more there were
        for written in (text, f" {text}\n"):
            check(world, "timestamp", written, meant(result, "timestamp"), ways=world.ways)


def test_every_line_of_the_table_of_cells_holds(world: World, root: Path) -> None:
    lines = list(promised(root, "Cells of CSV"))
    assert len(lines) > 15
    for place, kind in enumerate(KINDS, start=1):
        for line, found in zip(lines, world.cells(kind, [line[0] for line in lines]), strict=True):
            assert same(found, meant(line[place], kind)), f"the cell {line[0]!r} as {kind}: {found!r} instead of {line[place]}"


numbers = (
    st.sampled_from([0, 1, -1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 0.0, -0.0, 1.0, 1001.0, 2.0**53, math.inf, math.nan, 1e300])
    | st.integers(-(2**64), 2**64)
    | st.floats(width=32)
    | st.floats()
)
of_numpy = st.floats(width=32).map(np.float32) | st.integers(-(2**31), 2**31 - 1).map(np.int32) | st.integers(0, 2**64 - 1).map(np.uint64)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.none() | st.just(UTC))  # noqa: DTZ001
texts = st.sampled_from(["", "7", "1.5", "true", "NA", "null", "nan", "00123", "2013-07-15", "yesterday", "03/02/2026", "ü"]) | st.text(max_size=5)
drawn = numbers | of_numpy | st.booleans() | st.none() | moments | moments.map(datetime.isoformat) | moments.map(datetime.date) | texts


def expected(kind: Type, value: Any) -> Any:
    """The oracle: exact rationals for numbers, Python's own calendar for times."""
    if value is None or (isinstance(value, float | np.float32) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return value if kind == "bool" else REFUSED
    if isinstance(value, str):
        if kind == "string":
            return value
        return since_1970(value) if kind == "timestamp" else REFUSED
    if isinstance(value, date):
        return since_1970(value.isoformat()) if kind == "timestamp" else REFUSED
    return expected_number(kind, value if isinstance(value, int) else int(value) if isinstance(value, np.integer) else float(value))


def since_1970(text: str) -> Any:
    """Microseconds of the texts that are drawn here, which Python's reader takes where they are times."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return REFUSED
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def expected_number(kind: Type, value: float) -> Any:
    if kind in ("float", "string"):
        return REFUSED if kind == "string" else float(value)
    if isinstance(value, float) and (math.isinf(value) or abs(value) > 2**53 - 1):
        return REFUSED
    exact = Fraction(value)
    first, last = {"int": (-(2**63), 2**63 - 1), "bool": (0, 1), "timestamp": (-62_135_596_800_000_000, 253_402_300_799_999_999)}[kind]
    if exact.denominator != 1 or not first <= exact <= last:
        return REFUSED
    return bool(exact) if kind == "bool" else exact.numerator


@pytest.fixture(scope="module")
def one_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("one"))


@given(st.sampled_from(KINDS), drawn, st.randoms(use_true_random=False))
def test_a_drawn_value_is_the_same_by_every_way_in(one_world: World, kind: Type, value: Any, random: Any) -> None:
    others = [name for name in exact_ways(one_world, value) if name not in QUICK]
    check(one_world, kind, value, expected(kind, value), ways=[*QUICK, *random.sample(others, 2)])


@pytest.mark.parametrize("value", [10**5_000, 1 + 2j, np.array([1.0]), object()], ids=["long", "complex", "array", "object"])
def test_what_can_hardly_be_shown_is_refused_by_every_way_in(one_world: World, value: Any) -> None:
    by_other_libraries = ("JSON", "Parquet", "database", "polars", "table of columns", "pandas")
    ways = [name for name in one_world.ways if not any(each in name for each in by_other_libraries) and name != "undeclared beside"]
    for kind in KINDS:
        check(one_world, kind, value, REFUSED, ways=ways)


@pytest.mark.slow
@given(st.sampled_from(KINDS), drawn)
def test_a_drawn_value_is_the_same_by_all_ways_in(tmp_path_factory: pytest.TempPathFactory, kind: Type, value: Any) -> None:
    world = World(tmp_path_factory.mktemp("world"))
    check(world, kind, value, expected(kind, value), ways=exact_ways(world, value))
