"""Taking a version out of service by a release, once prediction processes fell back from it, and returning it by a person's act.

(version out of service is)                    becomes
the candidate of a rollout under way           the rollout is aborted; its end is looked at again
routed while another one's rollout goes on     likewise: what it is compared with is not served
the stable version of an endpoint              a release of the endpoint's version before it, and the champion's alias follows
the only version that the endpoint ever had    nothing: the endpoint answers 503 until something is delivered or the version returned
"""

from contextlib import suppress

import msgspec

from rota.deploy import rollout_commands
from rota.deploy.releases import current_release, next_release
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.governance import readiness
from rota.manage.models import model_aliases, model_versions, out_of_service
from rota.manage.models.out_of_service import WITHDRAWAL
from rota.manage.repositories import Repositories
from rota.manage.signals import platform_alerts
from rota.ports.metadata import Batch, Metadata
from rota.records.condition import Condition
from rota.records.model import CHAMPION, Alias, ModelVersion
from rota.records.release import Endpoint, OutOfService, Release, Rollout, Route
from rota.records.signal import Event
from rota.records.time import Micros

PLATFORM = "rota"
"""The actor of what the platform does by itself."""


def withdrawals(repositories: Repositories, *, now_us: Micros) -> Batch:
    """What takes the versions that are out of service off every endpoint whose newest release routes them; empty when none does.

    Rollouts under way are asked to abort at once, which is harmless when repeated; the release follows when they have ended.
    """
    metadata, batch = repositories.metadata, Batch()
    out = out_of_service.standing(metadata)
    moved = set[str]()
    for endpoint in metadata.find(Endpoint) if out else []:
        release = current_release(metadata, endpoint.name)
        gone = [out[route.bundle] for route in release.routes if route.bundle in out] if release else []
        if release is None or not gone:
            continue
        why = out_of_service.told(gone[0], endpoint.name)
        if (rollout := _under_way(metadata, endpoint.name)) is not None:
            with suppress(Refused):  # it ended meanwhile, and its end is an event of its own
                rollout_commands.give(repositories, rollout.id, "abort", actor=PLATFORM, reason=why)
            continue
        _withdraw(batch, metadata, endpoint, release, out=out, now_us=now_us, moved=moved)
    return batch


def return_to_service(repositories: Repositories, model: str, number: int, *, actor: str, reason: str) -> tuple[OutOfService, list[Release]]:
    """Let a version be served again, and endpoints that were taken off it return to it: a governance act with a reason.

    Its approval must still hold. Returns the record and the releases made. Raises `NotFound` when the version is not out of service,
    `InvalidInput` without a reason, `Refused` when it may not be released.
    """
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    version = model_versions.live(metadata, model, number)
    if not reason.strip():
        raise InvalidInput(f"the return of {version.id} to service has no reason; say why, others will read it", version=version.id)
    found = metadata.get(OutOfService, version.bundle) if version.bundle else None
    if found is None or found.returned_us is not None:
        raise NotFound(f"{version.id} is not out of service, so there is nothing to return", version=version.id)
    readiness.check_ready(metadata, version, "a return to service", now_us=now_us)
    returned = msgspec.structs.replace(found, returned_us=now_us, returned_by=actor, reason=reason)
    batch = Batch()
    batch.put(returned, replacing=found)
    batch.audit(actor, "version.return", version.id, now_us, reason=reason, cause=found.cause)
    releases = _returned(batch, metadata, version, actor=actor, reason=reason, now_us=now_us)
    metadata.commit(batch)
    with suppress(Refused):  # who may release need not hold the permission to settle alerts: a worker does it within seconds
        well = Condition(out_of_service.condition_name(found), "well")
        platform_alerts.settle(metadata, [well], actor=actor, now_us=now_us)
    return returned, releases


def _withdraw(
    batch: Batch, metadata: Metadata, endpoint: Endpoint, release: Release, *, out: dict[str, OutOfService], now_us: Micros, moved: set[str]
) -> None:
    usable, reasons = out_of_service.usable(release, lambda: metadata.find(Release, {"endpoint": endpoint.name}, order="-revision"), out)
    reason = "; ".join(reasons)
    if usable is None:
        batch.audit(PLATFORM, "endpoint.withdraw", endpoint.name, now_us, to=None, reason=f"{reason}; the endpoint has no version before it")
        return
    gone = next(out[route.bundle] for route in release.routes if route.bundle in out)
    following = next_release(release, endpoint, usable.routes, now_us=now_us, rollout=f"{WITHDRAWAL}{gone.model}@{gone.number}")
    batch.create(following)
    stable = _stable(following)
    champion = metadata.get(Alias, stable.model, CHAMPION)
    if champion is not None and champion.number == _stable(release).number != stable.number and stable.model not in moved:
        moved.add(stable.model)
        alias = Alias(stable.model, CHAMPION, stable.number, now_us, reason)
        model_aliases.move(batch, metadata, alias, actor=PLATFORM, evidence={"out_of_service": gone.bundle, "endpoint": endpoint.name})
    _announce(batch, following, "endpoint.withdraw", f"back to version {stable.number}: {reason}", actor=PLATFORM)


def _returned(batch: Batch, metadata: Metadata, version: ModelVersion, *, actor: str, reason: str, now_us: Micros) -> list[Release]:
    """Releases of the version on the endpoints that still serve what it was replaced by when it was taken out of service as stable."""
    made = list[Release]()
    for endpoint in metadata.find(Endpoint):
        release = current_release(metadata, endpoint.name)
        before = metadata.get(Release, endpoint.name, release.revision - 1) if release is not None else None
        if release is None or before is None or release.rollout != f"{WITHDRAWAL}{version.id}" or _stable(before).bundle != version.bundle:
            continue
        if _under_way(metadata, endpoint.name) is not None:
            continue  # a rollout decides what is served next
        route = Route(version.model, version.number, version.bundle, "stable", 100)
        made.append(next_release(release, endpoint, (route,), now_us=now_us, rollout=f"return:{actor}"))
        batch.create(made[-1])
        _announce(batch, made[-1], "endpoint.return", f"again version {version.number}: {reason}", actor=actor)
    if made:
        alias = Alias(version.model, CHAMPION, version.number, now_us, reason)
        model_aliases.move(batch, metadata, alias, actor=actor, evidence={"returned": version.bundle})
    return made


def _announce(batch: Batch, release: Release, action: str, message: str, *, actor: str) -> None:
    batch.audit(actor, action, release.endpoint, release.since_us, to=_stable(release).number, reason=message)
    body = {"endpoint": release.endpoint, "state": "rolled_back" if actor == PLATFORM else "promoted", "message": message}
    batch.event(Event("rollout.changed", f"{action}.{release.endpoint}.{release.revision}", release.since_us, body))


def _under_way(metadata: Metadata, endpoint: str) -> Rollout | None:
    return next((rollout for rollout in metadata.find(Rollout, {"endpoint": endpoint}) if rollout.ended_us is None), None)


def _stable(release: Release) -> Route:
    return next(route for route in release.routes if route.role == "stable")
