"""What live traffic said of a model version: each rollout and experiment in which it was compared, how that ended, and its last verdicts."""

from rota.deploy import rollout_states
from rota.manage.models import registered_models
from rota.ports.metadata import Metadata
from rota.records.check import CheckResult, from_stored
from rota.records.record import Record
from rota.records.release import Rollout
from rota.records.time import Micros

NEWEST = 20
"""Comparisons of a version that are told, the newest."""


class LiveComparison(Record, frozen=True):
    """One rollout or experiment of a version, by the state that it has now. `against` are the other versions, the champion of then first."""

    rollout: str
    endpoint: str
    strategy: str
    state: str
    against: tuple[int, ...]
    started_us: Micros
    ended_us: Micros | None
    reason: str
    verdicts: tuple[CheckResult, ...]

    @property
    def sentence(self) -> str:
        """The result in a line."""
        others = f" against version {', '.join(map(str, self.against))}" if self.against else ""
        return f"{self.strategy}{others} at {self.endpoint}: {self.state}{self.reason and f', {self.reason}'}"


def of_version(metadata: Metadata, model: str, number: int) -> list[LiveComparison]:
    """The comparisons in which a version was a candidate, newest first."""
    found = [
        each
        for endpoint in registered_models.endpoints(metadata, model)
        for each in metadata.find(Rollout, {"endpoint": endpoint.name}, order="-started_us")
        if each.model == model and number in each.candidates
    ]
    found.sort(key=lambda each: each.started_us, reverse=True)
    return [_result(metadata, each, number) for each in found[:NEWEST]]


def _result(metadata: Metadata, rollout: Rollout, number: int) -> LiveComparison:
    others = tuple(each for each in (rollout.champion, *rollout.candidates) if each not in (0, number))
    lost = rollout.state == "promoted" and rollout.candidate != number
    verdicts = tuple(map(from_stored, rollout.history[-1]["verdicts"])) if rollout.history else ()
    return LiveComparison(
        rollout.id,
        rollout.endpoint,
        rollout.strategy.strategy if rollout.strategy is not None else "canary",
        f"version {rollout.candidate} won" if lost else rollout_states.state_of(metadata, rollout),
        others,
        rollout.started_us,
        rollout.ended_us,
        rollout.reason or rollout.missing,
        verdicts,
    )
