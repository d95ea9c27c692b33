"""Delivery times: from commit and from alert to production, how often a delivery is taken back, and how long a rollback leaves old answers.

The measures are those of DORA (Forsgren, Humble, Kim: Accelerate, 2018): lead time for changes, deployment frequency, change failure rate, time to
restore. They are computed from what was recorded, with nothing measured beside it: rollouts, approvals, runs, releases and the prediction log.
"""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.models import out_of_service
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log
from rota.ports.metadata import Metadata
from rota.records.model import Approval, ModelVersion
from rota.records.record import Record, plain
from rota.records.release import Endpoint, Release, Rollout
from rota.records.run import PipelineRelease, Run
from rota.records.signal import Alert
from rota.records.time import DAY_US, HOUR_US, Micros

DAYS = 90
"""How far back the report looks when nobody says otherwise."""
MOST_DAYS = 36_500
WATCHED_US = HOUR_US
"""How long after a rollback an answer of the version that was left still counts as one of it."""


class Delivered(Record, frozen=True):
    """One promotion and the moments that led to it, each None where nothing of the kind was recorded.

    `committed_us` is when the commit of the training release was made, `built_us` when that release was first built; `is_first` says that no
    version of the same release was promoted on this endpoint before, so that the lead time of the change ends here. `alert_us` is when the
    alert was raised that started the training.
    """

    rollout: str
    endpoint: str
    version: str
    promoted_us: Micros
    started_us: Micros
    registered_us: Micros
    approved_us: Micros | None = None
    trained_us: Micros | None = None
    alert: str = ""
    alert_us: Micros | None = None
    commit: str = ""
    committed_us: Micros | None = None
    built_us: Micros | None = None
    is_first: bool = False

    @property
    def lead_us(self) -> Micros | None:
        """From the commit, or the first build where no commit is known, to production; None unless the change reached production here."""
        begun = self.committed_us if self.committed_us is not None else self.built_us
        return self.promoted_us - begun if self.is_first and begun is not None else None

    @property
    def repair_us(self) -> Micros | None:
        """From the alert to the version that it caused, in production."""
        return None if self.alert_us is None else self.promoted_us - self.alert_us


class TakenBack(Record, frozen=True):
    """Traffic taken from versions: by a person ("rollback", "abort"), by the judge ("judge") or because they ended processes ("withdrawal").

    `asked_us` is the command or the decision, `released_us` the release that followed; `last_old_us` is the last logged answer of a version that
    was left, None when none answered after `asked_us`. `was_promoted` says that it had passed its rollout, as a change that failed in production.
    """

    endpoint: str
    revision: int
    by: str
    left: tuple[str, ...]
    asked_us: Micros
    released_us: Micros
    last_old_us: Micros | None = None
    was_promoted: bool = False

    @property
    def lasted_us(self) -> Micros:
        """From the command or decision to the last answer of a version that was left, at least to the release."""
        return max(self.released_us, self.last_old_us or 0) - self.asked_us


class DeliveryReport(Record, frozen=True):
    """Promotions and rollbacks since a moment, newest first, with the medians (None: none happened) and shares of them.

    `failure_rate` is the share of versions taken back, each once for an endpoint, among those whose rollout ended or that were taken back since
    then; None when there is none.
    """

    since_us: Micros
    until_us: Micros
    delivered: tuple[Delivered, ...] = ()
    taken_back: tuple[TakenBack, ...] = ()
    median_lead_us: Micros | None = None
    median_repair_us: Micros | None = None
    median_rollback_us: Micros | None = None
    promotions_a_week: float = 0.0
    failure_rate: float | None = None


def report(repositories: Repositories, *, days: float = DAYS, endpoint: str = "") -> DeliveryReport:
    """The delivery times of all endpoints, or of one, in the last days.

    Raises `InvalidInput` unless `days` is above 0, `NotFound` for an unknown endpoint.
    """
    if not 0 < days <= MOST_DAYS:
        raise InvalidInput(f"days={days:g}: the last days to report, above 0 and at most {MOST_DAYS}", days=days)
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    if endpoint and metadata.get(Endpoint, endpoint) is None:
        raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
    since_us = now_us - round(days * DAY_US)
    names = [each.name for each in metadata.find(Endpoint) if endpoint in ("", each.name)]
    rollouts = {each.id: each for name in names for each in metadata.find(Rollout, {"endpoint": name}, order="started_us")}
    delivered = [each for each in _deliveries(repositories, rollouts.values()) if each.promoted_us >= since_us]
    taken = [each for name in names for each in _taken_back(repositories, name, rollouts) if each.released_us >= since_us]
    failed = {(each.endpoint, version) for each in taken for version in each.left}
    ended = {
        (each.endpoint, f"{each.model}@{each.candidate}") for each in rollouts.values() if each.ended_us is not None and each.ended_us >= since_us
    }
    return DeliveryReport(
        since_us,
        now_us,
        tuple(sorted(delivered, key=lambda each: -each.promoted_us)),
        tuple(sorted(taken, key=lambda each: -each.released_us)),
        median_lead_us=_median(each.lead_us for each in delivered),
        median_repair_us=_median(each.repair_us for each in delivered),
        median_rollback_us=_median(each.lasted_us for each in taken),
        promotions_a_week=len(delivered) * 7 / days,
        failure_rate=len(failed) / len(ended | failed) if ended or failed else None,
    )


def as_plain(found: DeliveryReport) -> dict[str, Any]:
    """A report as JSON keeps it, each entry with the times that follow from its moments."""
    entries = {
        "delivered": [{**plain(each), "lead_us": each.lead_us, "repair_us": each.repair_us} for each in found.delivered],
        "taken_back": [{**plain(each), "lasted_us": each.lasted_us} for each in found.taken_back],
    }
    return {**plain(found), **entries}


def _median(values: Iterable[Micros | None]) -> Micros | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known)) if known else None


def _deliveries(repositories: Repositories, rollouts: Iterable[Rollout]) -> Iterator[Delivered]:
    """Every promotion, in the order in which the rollouts ended."""
    seen = set[tuple[str, str]]()
    promoted = [each for each in rollouts if each.state == "promoted" and each.ended_us is not None]
    for rollout in sorted(promoted, key=lambda each: each.ended_us or 0):
        version = repositories.metadata.get(ModelVersion, rollout.model, rollout.candidate)
        if version is None:  # it was deleted since
            continue
        yield _delivery(repositories, rollout, version, is_first=bool(version.release) and (rollout.endpoint, version.release) not in seen)
        seen.add((rollout.endpoint, version.release))


def _delivery(repositories: Repositories, rollout: Rollout, version: ModelVersion, *, is_first: bool) -> Delivered:
    metadata = repositories.metadata
    assert rollout.ended_us is not None
    run = repositories.runs.get(version.run) if version.run else None
    alert = _alert(metadata, run)
    code = metadata.get(PipelineRelease, version.release) if version.release else None
    approvals = metadata.find(Approval, {"model": version.model, "number": version.number})
    approved = [each.at_us for each in approvals if each.decision == "approve" and each.at_us <= rollout.started_us]
    return Delivered(
        rollout.id,
        rollout.endpoint,
        version.id,
        rollout.ended_us,
        rollout.started_us,
        version.created_us,
        approved_us=max(approved, default=None),
        trained_us=run.created_us if run else None,
        alert=alert.id if alert else "",
        alert_us=alert.raised_us if alert else None,
        commit=code.commit if code else "",
        committed_us=_committed(code),
        built_us=code.created_us if code else None,
        is_first=is_first,
    )


def _alert(metadata: Metadata, run: Run | None) -> Alert | None:
    if run is None or not run.trigger.startswith("alert:"):
        return None
    return metadata.get(Alert, run.trigger.removeprefix("alert:"))


def _committed(code: PipelineRelease | None) -> Micros | None:
    """When the commit was made; none later than its build, which only a clock that is replayed shows, and none of sources that differ from it."""
    return code.committed_us if code and not code.dirty and 0 < code.committed_us <= code.created_us else None


def _taken_back(repositories: Repositories, endpoint: str, rollouts: dict[str, Rollout]) -> Iterator[TakenBack]:
    """The releases of an endpoint that left versions without a better one having come."""
    releases = repositories.metadata.find(Release, {"endpoint": endpoint}, order="revision")
    logged = False
    for before, after in pairwise(releases):
        left = _left(before, after)
        found = _reason(left, after, rollouts)
        if found is None:
            continue
        if not logged:
            prediction_log.flush(repositories.journal, repositories.tables, endpoint)
            logged = True
        by, asked_us = found
        routes = [route for route in before.routes if route.number in left and route.role != "shadow"]
        yield TakenBack(
            endpoint,
            after.revision,
            by,
            tuple(f"{route.model}@{route.number}" for route in routes),
            asked_us,
            after.since_us,
            _last_answer(repositories, endpoint, left, asked_us, _returns(releases, after, left)),
            was_promoted=by in ("rollback", "withdrawal") and any(route.role == "stable" for route in routes),
        )


def _reason(left: set[int], after: Release, rollouts: dict[str, Rollout]) -> tuple[str, Micros] | None:
    """Who took traffic back with a release, and when that was asked or decided; None for a release that gave traffic."""
    if not left:
        return None
    for prefix, by in ((out_of_service.ROLLBACK, "rollback"), (out_of_service.WITHDRAWAL, "withdrawal")):
        if after.rollout.startswith(prefix):
            return by, after.since_us
    rollout = rollouts.get(after.rollout)
    if rollout is None or rollout.state != "rolled_back" or rollout.candidate not in left:
        return None
    aborts = [each.at_us for each in rollout.commands if each.verb == "abort" and each.at_us <= after.since_us]
    judged = [int(entry["at_us"]) for entry in rollout.history if "at_us" in entry and entry["at_us"] <= after.since_us]
    return ("abort", aborts[-1]) if aborts else ("judge", judged[-1] if judged else after.since_us)


def _left(before: Release, after: Release) -> set[int]:
    """The versions that answered before and answer no more."""
    answering = [{route.number for route in release.routes if route.role != "shadow"} for release in (before, after)]
    return answering[0] - answering[1]


def _returns(releases: Sequence[Release], after: Release, left: set[int]) -> Micros:
    """Until when an answer of the versions that were left is a late one: until a release gives one of them traffic again."""
    later = [each.since_us for each in releases if each.revision > after.revision and any(route.number in left for route in each.routes)]
    return min([after.since_us + WATCHED_US, *later])


def _last_answer(repositories: Repositories, endpoint: str, left: set[int], start_us: Micros, end_us: Micros) -> Micros | None:
    log = prediction_log.STREAM.scan(repositories.tables, endpoint, ["at_us", "number", "role"])
    at_us = pl.col("at_us")
    rows = log.filter((at_us > start_us) & (at_us < end_us) & (pl.col("role") != "shadow") & pl.col("number").is_in(sorted(left)))
    last: Micros | None = rows.select(at_us.max()).collect().item()
    return last
