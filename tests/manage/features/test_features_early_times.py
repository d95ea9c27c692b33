"""Seconds and milliseconds that were taken for microseconds are told of where the rows came in, and nothing else is."""

import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import rota
from rota.records import early_times
from rota.records.early_times import DoubtfulTimes
from rota.records.time import parse_time

NOW = datetime.now(UTC)
SECONDS = int(NOW.timestamp())
SOURCE = rota.PushSource("rides", timestamp_field="at", fields={"driver": int, "at": "timestamp", "seen": "timestamp", "fare": float})
VIEW = rota.FeatureView("stats", [rota.Entity("driver")], SOURCE, {"fare": rota.sql("fare")})
SENTENCE = r"field 'at': every time is a number before 1980, the latest .* is 1970-01-.*: a number is microseconds since 1970"


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with rota.FeatureStore(tmp_path / "home") as opened:
        opened.apply([VIEW])
        yield opened


def row(at: Any, **more: Any) -> dict[str, Any]:
    return {"driver": 1, "at": at, "fare": 1.0, **more}


def test_a_push_of_seconds_or_milliseconds_is_taken_and_warned_of(store: Any) -> None:
    with pytest.warns(DoubtfulTimes, match=SENTENCE):
        assert store.push("rides", [row(SECONDS), row(SECONDS + 1)]) == 2
    with pytest.warns(DoubtfulTimes, match=SENTENCE):
        store.push("rides", [row(float(SECONDS * 1_000))])
    with pytest.warns(DoubtfulTimes, match="field 'seen'"):
        store.push("rides", [row(NOW, seen=0)])


def test_what_is_no_number_or_not_all_of_it_early_is_not_told_of(store: Any) -> None:
    quiet = [row(NOW), row(SECONDS * 1_000_000), row("1970-01-02"), row(datetime(1971, 1, 1, tzinfo=UTC)), row(-86_400_000_000), row(NOW, seen=None)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for each in quiet:
            store.push("rides", [each])
        store.push("rides", [row(SECONDS), row(NOW)])
        store.get_historical_features([{"driver": 1, "event_timestamp": "1970-01-02"}], ["stats:fare"])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "table"])
def test_an_ingestion_says_it_once(store: Any, tmp_path: Path, form: str) -> None:
    frame = pl.DataFrame({"driver": [1, 2], "at": [SECONDS, SECONDS + 1], "seen": pl.Series([None, None], dtype=pl.String), "fare": [1.0, 2.0]})
    file = tmp_path / f"rides.{form}"
    given = {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}.get(form)
    if given is not None:
        given(file)
    (notice,) = store.ingest("rides", str(file) if given is not None else frame).notices
    assert notice.startswith("field 'at': every time is a number before 1980")
    later = frame.with_columns(at=pl.lit(SECONDS * 1_000_000))
    assert store.ingest("rides", later).notices == ()
    assert store.ingest("rides", later.with_columns(at=pl.lit("1970-01-05"))).notices == ()


def test_days_of_cells_are_no_numbers(store: Any, tmp_path: Path) -> None:
    (tmp_path / "rides.csv").write_text("driver,at,seen,fare\n1,19700105,,1\n")
    assert store.ingest("rides", tmp_path / "rides.csv").notices == ()


@pytest.mark.parametrize("moments", [[SECONDS], [SECONDS, None], [float(SECONDS)]], ids=["one", "with a null", "a float"])
def test_the_moments_of_an_entity_frame_are_warned_of(store: Any, moments: list[Any]) -> None:
    with pytest.warns(DoubtfulTimes, match="field 'event_timestamp'"):
        store.get_historical_features([{"driver": 1, "event_timestamp": moment} for moment in moments], ["stats:fare"])


def test_a_platform_whose_clock_stands_in_1970_has_such_times() -> None:
    assert early_times.of_rows({"at": "timestamp"}, [{"at": 5}], now_us=1_000_000) == []
    assert len(early_times.of_rows({"at": "timestamp"}, [{"at": 5}], now_us=parse_time("1980-01-01"))) == 1
    assert early_times.of_rows({"at": "timestamp"}, [{"at": None}, {}], now_us=parse_time("2013-07-15")) == []
    assert parse_time("1980-01-01") == early_times.EARLY_US
