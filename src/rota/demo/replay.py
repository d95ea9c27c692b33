"""A year of flights through the closed loop: predictions over HTTP, labels and feature events back, day by day."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rota
from rota.demo import data

NAME = "flight-delay"
PROJECT = Path(__file__).with_name("project.py")
START = data.moment(2013, 3, 1)
END = data.moment(2014, 1, 1)
FAST_END = data.moment(2013, 8, 1)
FAULT = (data.moment(2013, 7, 13), data.moment(2013, 7, 17))
DAY = 86_400 * data.US
QUIET_HOUR = DAY * 17 // 48
CHUNK = 5_000
Tell = Callable[[str, dict[str, Any]], None]


@dataclass
class Replay:
    """The applications' side of the year: asks, reports, and looks at what the loop does."""

    client: rota.Client
    year: data.Year
    tell: Tell
    end: int = END
    labels: list[dict[str, Any]] = field(default_factory=list)
    events_seen: int = 0
    answered: int = 0
    reported: int = 0
    rested: int = 0
    retrained: bool = False

    def prepare(self) -> None:
        """Ingest January and February, train version 1, approve it by policy and put it behind the endpoint."""
        arrivals, weather = self.year.until(START)
        self.client.push("planes", self.year.planes.to_dicts())
        for source, rows in (("weather", weather), ("arrivals", arrivals)):
            for chunk in _chunks(rows):
                self.client.push(source, chunk)
        self.tell("ingested", {"arrivals": len(arrivals), "weather": len(weather)})
        self.client.post(f"/v1/pipelines/{NAME}/runs")
        self.client.settle()
        self.look()

    def run(self) -> None:
        """Every day: its ticks, its labels, and time for the loop to do all it can."""
        for day in range(START, self.end, DAY):
            if day == FAULT[1]:
                self._repair()
            for tick in self.year.day(day):
                if tick.at_us > day + QUIET_HOUR and self.rested < day:
                    self._rest(day)
                self._tick(tick, broken=FAULT[0] <= tick.at_us < FAULT[1])
            if self.rested < day:
                self._rest(day)
        self._rest(self.end)

    def _rest(self, day: int) -> None:
        """In the quiet hour of the night labels are reported, and the loop finishes everything that is due."""
        self.rested = day
        self.client.advance(day + QUIET_HOUR)
        for chunk in _chunks(self.labels):
            self.reported += self.client.label(NAME, chunk)
        self.labels.clear()
        self.client.settle()
        if day > FAULT[1] and not self.retrained:
            self._retrain_once_healed()
        self.look()
        self.tell("day", {"date": data.date_of(day), "answered": self.answered})

    def _tick(self, tick: data.Tick, *, broken: bool) -> None:
        self.client.advance(tick.at_us)
        self.client.push("weather", data.celsius(tick.weather) if broken else tick.weather)
        self.client.push("arrivals", tick.arrivals)
        self.labels += [
            {"prediction_id": row["flight_id"], "value": float(row["arr_delay"] > 15), "at_us": row["published_at"]}
            for row in tick.arrivals
            if row["asked_at"] > START
        ]
        if tick.flights:
            answers = self.client.predict(NAME, tick.flights, ids=[flight["flight_id"] for flight in tick.flights])
            self.answered += sum(answer["answer"] is not None for answer in answers)

    def _repair(self) -> None:
        """The people who run the weather feed correct what it sent: the same observations again, in Fahrenheit."""
        rows = self.year.weather.filter(self.year.weather["observed_at"].is_between(FAULT[0] - 3_600 * data.US, FAULT[1])).to_dicts()
        for chunk in _chunks(rows):
            self.client.push("weather", chunk)
        self.tell("repaired", {"rows": len(rows)})

    def _retrain_once_healed(self) -> None:
        """When the data alerts are resolved, somebody starts the training that the gate had blocked."""
        alerts = self.client.get("/v1/alerts", endpoint=NAME, status="open")
        self.retrained = not any(alert["severity"] == "critical" for alert in alerts)
        if self.retrained:
            self.client.post(f"/v1/pipelines/{NAME}/runs")
            self.client.settle()

    def look(self) -> None:
        """Tell what happened since the last look."""
        while events := self.client.get("/v1/events", after=self.events_seen):
            for event in events:
                self.tell(event["kind"], event)
            self.events_seen = events[-1]["position"]


def report(replay: Replay, started: float) -> dict[str, Any]:
    """What the run produced, read back from the platform."""
    client = replay.client
    months = client.get(f"/v1/endpoints/{NAME}/compare", version=1)
    runs = [run for run in client.get("/v1/runs", workflow="train", limit=1_000) if run["subject"] == NAME]
    rollouts = client.get("/v1/rollouts", endpoint=NAME)
    versions = client.get("/v1/models", model=NAME)
    alerts = client.get("/v1/alerts", endpoint=NAME)
    chosen = _prediction_to_explain(replay, versions, rollouts)
    return {
        "months": months,
        "runs": [
            {"id": r["id"], "at": data.date_of(r["created_us"]), "trigger": r["trigger"], "status": r["status"], "reason": r["error"]}
            for r in reversed(runs)
        ],
        "rollouts": [
            {"version": r["candidate"], "champion": r["champion"], "state": r["state"], "from": data.date_of(r["started_us"]),
             "until": data.date_of(r["ended_us"]) if r["ended_us"] else "", "reason": r["reason"]}
            for r in reversed(rollouts)
        ],
        "alerts": [
            {"kind": a["kind"], "subject": a["subject"], "severity": a["severity"], "raised": data.date_of(a["raised_us"]),
             "status": a["status"], "message": a["message"]}
            for a in reversed(alerts)
        ],
        "parity": client.get(f"/v1/endpoints/{NAME}/parity"),
        "chain": [{"node": link["node"], "what": link["what"]} for link in client.get(f"/v1/lineage/prediction/{chosen}")],
        "acknowledged": {"predictions": replay.answered, "labels": replay.reported},
        "logged": client.get(f"/v1/endpoints/{NAME}/log"),
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def _prediction_to_explain(replay: Replay, versions: Sequence[dict[str, Any]], rollouts: Sequence[dict[str, Any]]) -> str:
    """A prediction of the newest version that an alert caused, else of the newest version that was promoted."""
    caused = {version["number"] for version in versions if version["trigger"].startswith("alert:")}
    promoted = [rollout for rollout in rollouts if rollout["state"] == "promoted" and rollout["ended_us"]]
    best = next((rollout for rollout in promoted if rollout["candidate"] in caused), promoted[0])
    flights = replay.year.flights.filter(replay.year.flights["asked_at"].is_between(START, replay.end - 1))
    later = flights.filter(flights["asked_at"] > best["ended_us"])
    return str((later if later.height else flights)["flight_id"][0])


def _chunks(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), CHUNK):
        yield list(rows[start : start + CHUNK])
