"""Compensation of a rollout whose run ended without ending it: given up, cancelled, or failed. The candidate loses its share of the traffic."""

import msgspec

from rota.deploy import undecided
from rota.deploy.releases import current_release, next_release
from rota.manage.models import model_aliases
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch
from rota.records.release import Endpoint, Rollout, Route
from rota.records.run import Run
from rota.records.signal import Event
from rota.records.time import Micros, iso


def compensation(repositories: Repositories, run: Run, *, now_us: Micros) -> Batch:
    """What ends the rollout of a run that has ended: its record as rolled back with the run's error as the reason, all traffic to the champion.

    Empty when the run had ended its rollout itself or never began one; storing it twice is a `Conflict`.
    """
    batch, metadata = Batch(), repositories.metadata
    rollout = metadata.get(Rollout, run.id)
    if rollout is None or rollout.ended_us is not None:
        return batch
    reason = f"its run ended as {run.status}{run.error and f': {run.error}'}"
    over = undecided.go_on(batch, metadata, rollout, actor="rota", reason=reason, now_us=now_us)
    ended = msgspec.structs.replace(over, state="rolled_back", ended_us=now_us, reason=reason, missing="")
    batch.put(ended, replacing=rollout)
    batch.audit("rota", "rollout.rollback", rollout.id, now_us, version=rollout.candidate, to=rollout.champion, reason=reason)
    body = {"endpoint": rollout.endpoint, "state": "rolled_back", "message": f"version {rollout.candidate}: {reason}", "at": iso(now_us)}
    batch.event(Event("rollout.changed", rollout.id, now_us, body))
    _return_traffic(batch, repositories, rollout, now_us=now_us)
    return batch


def _return_traffic(batch: Batch, repositories: Repositories, rollout: Rollout, *, now_us: Micros) -> None:
    metadata = repositories.metadata
    endpoint, release = metadata.get(Endpoint, rollout.endpoint), current_release(metadata, rollout.endpoint)
    champion = model_aliases.aliased_version(metadata, rollout.model)
    if endpoint is None or release is None or release.rollout != rollout.id or champion is None:
        return  # what serves now is another's work
    routes = (Route(champion.model, champion.number, champion.bundle, "stable", 100),)
    batch.create(next_release(release, endpoint, routes, now_us=now_us, rollout=rollout.id))
    batch.link(f"release:{rollout.endpoint}@{release.revision + 1}", [f"run:{rollout.id}"], now_us)
