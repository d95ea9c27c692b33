"""Releases: what an endpoint serves, revision by revision, and whether the prediction processes really serve it."""

import time
from collections.abc import Mapping
from typing import Any

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.models import model_aliases, model_versions, out_of_service
from rota.ports.metadata import Batch, Metadata
from rota.records.model import CHAMPION, Alias
from rota.records.release import Endpoint, HeaderRoute, Release, Rollout, Route, Serving
from rota.records.signal import Event
from rota.records.time import Micros, iso

CONVERGE_S = 30.0
"""How long a rollout waits for prediction processes to serve a release."""
LOOK_S = 0.02


def current_release(metadata: Metadata, endpoint: str) -> Release | None:
    """The newest release of an endpoint."""
    newest = metadata.page(Release, {"endpoint": endpoint}, order="-revision", limit=1).items
    return newest[0] if newest else None


def next_release(
    before: Release | None,
    endpoint: Endpoint,
    routes: tuple[Route, ...],
    *,
    now_us: Micros,
    rollout: str,
    headers: tuple[HeaderRoute, ...] = (),
    salt: str = "",
) -> Release:
    """The release after `before`; raises `InvalidInput` when the answering weights do not sum to 100."""
    total = sum(route.weight for route in routes if route.role != "shadow")
    if total != 100:
        raise InvalidInput(f"endpoint {endpoint.name!r}: the weights of {len(routes)} routes sum to {total}, they must sum to 100")
    revision = before.revision + 1 if before else 1
    salt = salt or (before.salt if before else endpoint.name)
    return Release(endpoint.name, revision, routes, endpoint.rollout.unit, now_us, rollout, salt, headers)


def await_convergence(metadata: Metadata, release: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """Wait until the prediction processes serve a release, at most CONVERGE_S; `refused` says why a process would not load it."""
    endpoint, revision = str(release["endpoint"]), int(release["revision"])
    deadline = time.monotonic() + CONVERGE_S
    while True:
        serving = metadata.find(Serving, {"endpoint": endpoint})
        # A process that refuses keeps serving, and reporting, the revision before; its error begins with the one it refused.
        if refused := next((s for s in serving if s.error.startswith(f"revision {revision}:")), None):
            return {"converged": False, "processes": [], "refused": f"prediction process {refused.process} refused {refused.error}"}
        there = [s.process for s in serving if s.revision >= revision]
        if len(there) >= processes or time.monotonic() > deadline:
            return {"converged": len(there) >= processes, "processes": sorted(there), "refused": ""}
        time.sleep(LOOK_S)


def roll_back(metadata: Metadata, endpoint: Endpoint, *, actor: str, reason: str, now_us: Micros) -> Release:
    """Return an endpoint at once to the version that was champion before the current one: a governance act with a reason.

    It needs no approval, an expired one does not stand in its way: what served before is safer than what harms now.
    """
    if not reason.strip():
        raise InvalidInput(f"the rollback of endpoint {endpoint.name!r} has no reason; say why, others will read it", endpoint=endpoint.name)
    current = current_release(metadata, endpoint.name)
    if current is None:
        raise NotFound(f"endpoint {endpoint.name!r} has no release yet, so there is nothing to roll back", endpoint=endpoint.name)
    rollouts = metadata.find(Rollout, {"endpoint": endpoint.name}, order="-started_us")
    active = [rollout for rollout in rollouts if rollout.ended_us is None]
    if active:
        raise Refused(f"rollout {active[0].id} of endpoint {endpoint.name!r} is under way; `rota rollout abort {active[0].id}` ends it first")
    out = out_of_service.standing(metadata)
    champions = [rollout.champion for rollout in rollouts if rollout.state == "promoted" and rollout.champion]
    versions = (model_versions.get(metadata, endpoint.model, number) for number in champions)
    version = next((each for each in versions if each.bundle not in out), None)
    stable = next(route.number for route in current.routes if route.role == "stable")
    champion = metadata.get(Alias, endpoint.model, CHAMPION)
    if version is not None and version.number == stable and champion is not None and champion.number == stable:
        raise Refused(
            f"a rollback of endpoint {endpoint.name!r} would move nothing: it serves version {stable}, the champion before the last promotion, "
            f"since {iso(current.since_us)} ({current.rollout}); `rota rollout retry` delivers another version",
            endpoint=endpoint.name,
            version=stable,
        )
    if version is None:
        others = " that is in service" if champions else ""
        raise NotFound(f"endpoint {endpoint.name!r} never had another champion{others} to return to", endpoint=endpoint.name)
    batch = Batch()
    release = next_release(
        current,
        endpoint,
        (Route(version.model, version.number, version.bundle, "stable", 100),),
        now_us=now_us,
        rollout=f"{out_of_service.ROLLBACK}{actor}",
    )
    batch.create(release)
    evidence = {"rollback": endpoint.name, "from": [route.number for route in current.routes if route.role == "stable"]}
    moved = Alias(version.model, CHAMPION, version.number, now_us, reason)
    model_aliases.move(batch, metadata, moved, actor=actor, evidence=evidence)
    batch.audit(actor, "endpoint.rollback", endpoint.name, now_us, to=version.number, reason=reason)
    body = {"endpoint": endpoint.name, "state": "rolled_back", "message": f"back to version {version.number}: {reason}"}
    batch.event(Event("rollout.changed", f"rollback.{endpoint.name}.{release.revision}", now_us, body))
    metadata.commit(batch)
    return release
