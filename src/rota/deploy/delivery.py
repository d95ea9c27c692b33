"""Delivering approved versions: each endpoint of the model gets one rollout run, by its strategy or the reviewer's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rota.deploy import releases, rollout_commands, withdrawal
from rota.errors import NotFound, Refused
from rota.manage.governance import readiness
from rota.manage.models import model_versions, out_of_service, registered_models
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch
from rota.records.model import ModelVersion
from rota.records.record import plain
from rota.records.release import Endpoint, OutOfService, Release, Rollout
from rota.records.run import Run
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Starts rollouts and rolls back, as people ask for it."""

    repositories: Repositories

    def deliver(self, model: str, number: int, *, endpoint: str = "", actor: str = "owner") -> list[str]:
        """Start the rollouts of an approved version and return the ids of their runs."""
        version = model_versions.live(self.repositories.metadata, model, number)
        return [run.id for run in deliver(self.repositories, version, actor=actor, endpoint=endpoint)]

    def command(self, rollout: str, verb: str, *, actor: str, reason: str = "") -> Rollout:
        """Pause, resume or abort a rollout under way; see `rollout_commands.give`."""
        return rollout_commands.give(self.repositories, rollout, verb, actor=actor, reason=reason)

    def return_to_service(self, model: str, number: int, *, actor: str, reason: str) -> tuple[OutOfService, list[Release]]:
        """Let a version that is out of service be served again; see `withdrawal.return_to_service`."""
        return withdrawal.return_to_service(self.repositories, model, number, actor=actor, reason=reason)

    def roll_back(self, endpoint: str, *, actor: str, reason: str) -> Release:
        """Return an endpoint at once to its previous champion; see `releases.roll_back`."""
        metadata = self.repositories.metadata
        found = metadata.get(Endpoint, endpoint)
        if found is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        now_us = self.repositories.clock.now_us()
        return releases.roll_back(metadata, found, actor=actor, reason=reason, now_us=now_us)


def rollout_run(endpoint: Endpoint, version: ModelVersion, *, now_us: Micros, trigger: str = "", delivery: Mapping[str, Any] | None = None) -> Run:
    """The run that delivers a version to an endpoint, by its strategy or by `delivery` (a Canary as plain values).

    Its id makes delivering the same version twice impossible.
    """
    arguments: dict[str, Any] = {"endpoint": endpoint.name, "model": version.model, "number": version.number}
    if delivery:
        arguments["delivery"] = dict(delivery)
    return Run(f"rollout.{endpoint.name}.{version.number}", "rollout", endpoint.name, arguments, now_us, trigger or f"approval:{version.id}")


def deliver(repositories: Repositories, version: ModelVersion, *, actor: str, endpoint: str = "") -> list[Run]:
    """Start the rollouts of a version that may be released, on its endpoints or one of them, the way its reviewer chose.

    Raises `Refused` for a version that is not approved, cannot be served, or was delivered before; `NotFound` when there is no
    such endpoint.
    """
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    approval = readiness.check_ready(metadata, version, "a delivery", now_us=now_us)
    if not version.bundle:
        raise Refused(f"{version.id} cannot be served: {version.unservable or 'it has no bundle'}", version=version.id)
    out_of_service.check(metadata, version)
    targets = [each for each in registered_models.endpoints(metadata, version.model) if endpoint in ("", each.name)]
    if not targets:
        raise NotFound(f"model {version.model!r} has no endpoint{f' {endpoint!r}' if endpoint else ''}; declare one in the project and `rota apply`")
    delivery = plain(approval.delivery) if approval.delivery else None
    runs = [rollout_run(each, version, now_us=now_us, trigger=f"person:{actor}", delivery=delivery) for each in targets]
    started = [run for run in runs if repositories.runs.submit(run, _delivered(version, run, actor=actor))]
    if not started:
        raise Refused(
            f"{version.id} was delivered before, by {runs[0].id}; a version is delivered once, `rota rollback` returns to an earlier champion"
        )
    return started


def _delivered(version: ModelVersion, run: Run, *, actor: str) -> Batch:
    batch = Batch()
    batch.audit(actor, "version.deliver", version.id, run.created_us, run=run.id, endpoint=run.subject)
    return batch
