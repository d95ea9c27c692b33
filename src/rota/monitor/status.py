"""What an endpoint's monitor sees: the newest result of each of its checks, and in a few words what it cannot judge and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rota.manage.repositories import Repositories
from rota.records import check
from rota.records.breakdown import Breakdown
from rota.records.check import CheckResult
from rota.records.condition import Condition
from rota.records.platform_state import MonitorChecks
from rota.records.record import Record
from rota.records.run import RunQuery, RunStatus
from rota.records.signal import Monitor, MonitorSlice
from rota.records.time import Micros, iso
from rota.rendering.line_charts import ALL

ANSWER = "answer"
"""The subject of results on answers as a whole, and the beginning of the names of their columns."""
BASELINE = "baseline"
TRAFFIC = "traffic"
PART = "monitor"
"""The part of a platform's conditions that monitors are."""
SHOWN_LACKS = 3
DAYS_BACK = 30
"""Slices among which the newest labelled day is looked for."""
SUCCEEDED: tuple[RunStatus, ...] = ("succeeded",)
STEP = "judge"
"""The step of a monitor run whose result holds every check's newest result."""


class MeasuredDay(Record, frozen=True):
    """The newest day with labels: its metrics of all versions together, between which bounds each lies with 95 % (by the bootstrap over its hours),
    why a metric of the team's own has no value, and what lies behind them."""

    day: str
    labelled: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = {}
    not_measured: Mapping[str, str] = {}
    breakdown: Breakdown | None = None


class MonitorStatus(Record, frozen=True):
    """An endpoint's checks as its newest monitor run left them. `run` is "" before the first; `day` is the day that was examined last.

    `not_judged` tells in a line each what cannot be seen and why, and is never empty when nothing was judged.
    """

    endpoint: str
    monitored: bool
    run: str = ""
    at_us: Micros | None = None
    day: str = ""
    checks: tuple[CheckResult, ...] = ()
    not_judged: tuple[str, ...] = ()
    performance: MeasuredDay | None = None

    @property
    def states(self) -> Mapping[str, int]:
        """How many checks are watching, learning, cannot see, or are off."""
        return Counter(result.state for result in self.checks)

    @property
    def watches_nothing(self) -> bool:
        """Whether its newest run judged nothing but how much traffic there was."""
        return bool(self.checks) and not any(result.state == "watching" for result in self.checks if result.check != TRAFFIC)


def of_endpoint(repositories: Repositories, endpoint: str) -> MonitorStatus:
    """The status of an endpoint's monitor; without a monitor, or before its first run, it says so."""
    if repositories.metadata.get(Monitor, endpoint) is None:
        return MonitorStatus(endpoint, monitored=False, not_judged=("it has no monitor; add a rota.Monitor, or `rota monitor create`",))
    newest = repositories.runs.page(RunQuery("monitor", endpoint, SUCCEEDED), limit=1).items
    if not newest:
        return MonitorStatus(endpoint, monitored=True, not_judged=("its monitor has not run yet; it runs on its schedule, or `rota monitor run`",))
    (run,) = newest
    found = next((step.result for step in repositories.runs.journal(run.id) if step.name == STEP), None)
    if found is None:
        old = "its newest run was made by an older release, which kept no results of checks; `rota monitor run` makes them"
        return MonitorStatus(endpoint, monitored=True, run=run.id, at_us=run.ended_us, not_judged=(old,))
    results = tuple(check.from_stored(each) for each in found["checks"])
    lacking = tuple(summary(results)["not_judged"])
    return MonitorStatus(endpoint, True, run.id, run.ended_us, found.get("day", ""), results, lacking, _newest_labelled(repositories, endpoint))


def _newest_labelled(repositories: Repositories, endpoint: str) -> MeasuredDay | None:
    """Of the newest DAYS_BACK slices the last with labels."""
    found = repositories.metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=DAYS_BACK).items
    newest = next((s for s in found if s.labelled and ALL in s.performance), None)
    if newest is None:
        return None
    day, metrics = iso(newest.start_us)[:10], newest.performance[ALL]
    return MeasuredDay(day, newest.labelled, metrics, newest.intervals, newest.not_measured, newest.breakdown)


def results(repositories: Repositories, endpoint: str) -> tuple[CheckResult, ...]:
    """The newest results of an endpoint's checks."""
    return of_endpoint(repositories, endpoint).checks


def summary(found: Sequence[CheckResult]) -> dict[str, Any]:
    """How many checks are in each state, and what was not judged: checks that lack the same are one line."""
    lacking: dict[tuple[str, str, str, bool], list[str]] = {}
    for result in found:
        if result.outcome == "inconclusive":
            lacking.setdefault((result.check, result.state, result.missing, is_of_answers(result.subject)), []).append(result.subject)
    lines = [(state, f"{_subjects(name, subjects)}: {state}, {missing}") for (name, state, missing, _), subjects in lacking.items()]
    off = [line for state, line in lines if state == "off"]
    return {
        "checks": dict(Counter(result.state for result in found)),
        "not_judged": [line for state, line in lines if state != "off"] if found else ["nothing was checked"],
        **({"off": off} if off else {}),
    }


def conditions(repositories: Repositories) -> list[Condition]:
    """Of each monitor whether it sees anything: one that watches nothing would be silent whatever happens."""
    return [_condition(of_endpoint(repositories, monitor.endpoint.name)) for monitor in repositories.metadata.find(Monitor)]


def _condition(seen: MonitorStatus) -> Condition:
    name = f"{PART}:{seen.endpoint}"
    if not seen.watches_nothing:
        return Condition(name, "well")
    lacks = "; ".join(seen.not_judged[:SHOWN_LACKS]) + ("; ..." if len(seen.not_judged) > SHOWN_LACKS else "")
    why = lacks or "all of its checks are switched off"
    message = f"the monitor of {seen.endpoint!r} watches nothing: {why}; `rota monitor show {seen.endpoint}` tells what each check lacks"
    return Condition(name, "degraded", message, {"run": seen.run, "states": dict(seen.states)})


def counted(repositories: Repositories) -> list[MonitorChecks]:
    """How many checks of each kind are in which state, for every monitor."""
    found = []
    for monitor in repositories.metadata.find(Monitor):
        name = monitor.endpoint.name
        counts = Counter((result.check, result.state) for result in of_endpoint(repositories, name).checks)
        found += [MonitorChecks(name, kind, state, checks) for (kind, state), checks in sorted(counts.items())]
    return found


def is_of_answers(subject: str) -> bool:
    """Whether a result or an alert is about answers; a feature is named "view__feature"."""
    return subject == ANSWER or (subject.startswith(f"{ANSWER}.") and "__" not in subject)


def _subjects(name: str, subjects: Sequence[str]) -> str:
    told = name.replace("_", " ")
    if len(subjects) > 3:
        return f"{told} of {len(subjects)} {'numbers of the answers' if is_of_answers(subjects[0]) else 'features'}"
    return f"{told} of {', '.join(subjects)}" if any(subjects) else told
