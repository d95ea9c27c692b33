"""Each decision of a rollout computed again from what was stored: the prediction log, the labels known then, and the releases of that time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from rota.deploy import experiment_judge, judge, metric_hours
from rota.errors import NotFound
from rota.manage.models import delivery_stages
from rota.manage.repositories import Repositories
from rota.manage.signals import prediction_log
from rota.records.check import CheckResult, from_stored
from rota.records.release import Canary, Endpoint, Rollout
from rota.records.time import iso

NOT_OF_THE_LOG = ("convergence", "hold", "approval")
"""Results that say what prediction processes reported, what the strategy wants or what governance had: they are shown as stored, as are those of a
team's own metrics, which workers alone call."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One result of one look: as it was stored, and as it comes out again (None: it is not of the log)."""

    at_us: int
    stage: str
    stored: CheckResult
    again: CheckResult | None = None

    @property
    def agrees(self) -> bool:
        """Whether the look decides today as it decided then."""
        return self.again is None or self.again.outcome == self.stored.outcome

    @property
    def is_exact(self) -> bool:
        """Whether it does so on the same figures; they differ by what was logged at the very moment of the look, after it."""
        return self.again is None or (self.again.outcome, self.again.message) == (self.stored.outcome, self.stored.message)


@dataclass(frozen=True, slots=True)
class RolloutExplanation:
    """The decisions of a rollout, oldest first, what people asked of it, and how it ended; `notes` say what could not be looked at."""

    rollout: Rollout
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every decision comes out as it was."""
        return all(decision.agrees for decision in self.decisions)


def explain(repositories: Repositories, rollout: str) -> RolloutExplanation:
    """Compute every judgement of a rollout again; raises `NotFound` for an unknown one and one whose endpoint is gone."""
    metadata = repositories.metadata
    found = metadata.get(Rollout, rollout)
    endpoint = metadata.get(Endpoint, found.endpoint) if found is not None else None
    if found is None or endpoint is None:
        raise NotFound(f"there is no rollout {rollout!r} that began; `rota rollout list` shows them", rollout=rollout)
    notes = []
    strategy = found.strategy or endpoint.rollout
    if found.strategy is None:
        notes.append("it was begun by an older release, which kept no strategy: that of its endpoint today is taken")
    first_us, last_us = prediction_log.covered(repositories.tables, found.endpoint)
    if first_us > found.started_us or last_us < first_us:
        notes.append(f"the log holds nothing of before {iso(first_us)}: what was judged on older predictions comes out differently")
    if left_out := sum(int(entry.get("left_out", 0)) for entry in found.history):
        notes.append(f"{left_out} looks of a long wait, all inconclusive, were not kept")
    looks = [(entry, msgspec.structs.replace(found, history=found.history[:place])) for place, entry in enumerate(found.history)]
    decisions = [each for entry, then in looks for each in _again(repositories, endpoint, then, strategy, entry)]
    if own := {each.stored.subject for each in decisions if each.stored.check == "metric" and each.again is None}:
        notes.append(f"metrics of the team's own are shown as they were judged, and not called again: {', '.join(sorted(own))}")
    if moved := sum(each.agrees and not each.is_exact for each in decisions):
        notes.append(f"the figures of {moved} moved and its outcome did not: something was logged at the very moment of the look, after it")
    return RolloutExplanation(found, tuple(decisions), tuple(notes))


def as_plain(found: RolloutExplanation) -> dict[str, Any]:
    """An explanation as JSON keeps it, with what agrees."""
    decisions = [
        {
            "at_us": each.at_us,
            "stage": each.stage,
            "agrees": each.agrees,
            "is_exact": each.is_exact,
            "stored": msgspec.to_builtins(each.stored),
            "again": msgspec.to_builtins(each.again),
        }
        for each in found.decisions
    ]
    return {"rollout": msgspec.to_builtins(found.rollout), "agrees": found.agrees, "notes": list(found.notes), "decisions": decisions}


def _again(repositories: Repositories, endpoint: Endpoint, rollout: Rollout, strategy: Canary, entry: Mapping[str, Any]) -> list[Decision]:
    """The results of one look, each beside what comes of it now, matched by what was asked about what."""
    stored = [from_stored(verdict) for verdict in entry["verdicts"]]
    stage = next((each for each in delivery_stages.stages(strategy) if each.label == entry["stage"]), None)
    results: dict[tuple[str, str], CheckResult] = {}
    if strategy.experiment is not None:
        of_then = msgspec.structs.replace(endpoint, rollout=strategy)
        look = experiment_judge.examine(repositories, of_then, rollout, now_us=int(entry["at_us"]), revision=entry.get("revision"))
        results = {(result.check, result.subject): result for result in look.results}
    elif stage is not None and stage.is_judged:
        then = msgspec.structs.replace(rollout, state=stage.state)
        analyses = [each for each in stage.analyses or strategy.analysis if each.kind != "metric" or metric_hours.is_rotas(each.metric)]
        asked = msgspec.structs.replace(strategy, analysis=analyses)
        of_then = msgspec.structs.replace(endpoint, rollout=asked)
        judged = judge.examine(repositories, of_then, then, now_us=int(entry["at_us"]), revision=entry.get("revision"))
        results = {(result.check, result.subject): result for result in judged}
    return [
        Decision(int(entry["at_us"]), str(entry["stage"]), each, None if _is_stored_only(each) else results.get((each.check, each.subject)))
        for each in stored
    ]


def _is_stored_only(result: CheckResult) -> bool:
    return result.check in NOT_OF_THE_LOG or (result.check == "metric" and not metric_hours.is_rotas(result.subject))
