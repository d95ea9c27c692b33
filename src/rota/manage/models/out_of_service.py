"""Versions out of service: which ended prediction processes too often, what an endpoint serves instead, and how one returns to service.

A process of its own accord serves nothing that is out of service (`usable`); the release that follows from it is made by the loop.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from rota.errors import Refused
from rota.ports.metadata import Metadata
from rota.records.condition import Condition
from rota.records.model import ModelVersion
from rota.records.release import OutOfService, Release, Route
from rota.records.time import iso

ROLLBACK = "rollback:"
"""How the `rollout` of a release begins with which a person left the version before."""
WITHDRAWAL = "withdrawal:"
"""How the `rollout` of a release begins that took a version out of service."""


def standing(metadata: Metadata) -> dict[str, OutOfService]:
    """The versions that are out of service, by bundle."""
    return {each.bundle: each for each in metadata.find(OutOfService) if each.returned_us is None}


def usable(release: Release, earlier: Callable[[], Sequence[Release]], out: Mapping[str, OutOfService]) -> tuple[Release | None, tuple[str, ...]]:
    """What is served of a release while versions are out of service, and why it is not the release itself.

    A canary or shadow is left out and its share goes to the stable version; for a stable version serves what `earlier` (releases, newest
    first) leads to, see `fallback`; None when there is nothing.
    """
    gone = [route for route in release.routes if route.bundle in out]
    if not gone:
        return release, ()
    why = tuple(told(out[route.bundle], release.endpoint) for route in gone)
    stable = next((route for route in release.routes if route.role == "stable"), None)
    if stable is None or stable.bundle in out:
        before = fallback(earlier(), out)
        if before is None:
            return None, why
        return msgspec.structs.replace(release, routes=(before,)), why
    kept = [route for route in release.routes if route.bundle not in out]
    lost = 100 - sum(route.weight for route in kept if route.role != "shadow")
    routes = tuple(msgspec.structs.replace(route, weight=route.weight + lost) if route is stable else route for route in kept)
    return msgspec.structs.replace(release, routes=routes), why


def fallback(earlier: Iterable[Release], out: Iterable[str]) -> Route | None:
    """The last stable version of an endpoint's releases (newest first) whose bundle is not `out`, with all traffic.

    What a person rolled back from is passed over: it did harm, if not to the process.
    """
    out, left, was_left = set(out), set[str](), False
    for release in earlier:
        stable = next((route for route in release.routes if route.role == "stable"), None)
        if stable is not None:
            if was_left:
                left.add(stable.bundle)
            if stable.bundle not in out | left:
                return msgspec.structs.replace(stable, weight=100)
        was_left = release.rollout.startswith(ROLLBACK)
    return None


def check(metadata: Metadata, version: ModelVersion) -> None:
    """Raises `Refused` for a version that is out of service."""
    found = metadata.get(OutOfService, version.bundle)
    if found is not None and found.returned_us is None:
        raise Refused(
            f"{version.id} is out of service since {iso(found.at_us)}: it ended prediction processes, last {found.process} ({found.cause}); "
            f"`rota models return {version.id} --reason ...` returns it",
            version=version.id,
        )


def told(end: OutOfService, endpoint: str) -> str:
    """Why a version is not served on an endpoint, and what to do."""
    return (
        f"version {end.number} of model {end.model!r} is out of service on endpoint {endpoint!r}: it ended prediction processes, last {end.process} "
        f"({end.cause}); deliver a mended version, or return this one with `rota models return {end.model}@{end.number} --reason ...`"
    )


def conditions(metadata: Metadata) -> list[Condition]:
    """A condition for each version that is or was out of service: well once it was returned, or replaced wherever it was served."""
    return [_condition(metadata, each) for each in metadata.find(OutOfService)]


def condition_name(end: OutOfService) -> str:
    """The name of the condition, which is the subject of the alert."""
    return f"model:{end.model}@{end.number}"


def _condition(metadata: Metadata, end: OutOfService) -> Condition:
    newest = metadata.page(Release, {"endpoint": end.endpoint}, order="-revision", limit=1).items
    if end.returned_us is not None or _replaced(newest, end):
        return Condition(condition_name(end), "well")
    evidence = {"endpoint": end.endpoint, "cause": end.cause, "process": end.process, "at": iso(end.at_us)}
    return Condition(condition_name(end), "failed", told(end, end.endpoint), evidence)


def _replaced(newest: Sequence[Release], end: OutOfService) -> bool:
    """Whether something else was delivered since, or somebody rolled back: then the endpoint is as people want it."""
    return any(
        release.since_us > end.at_us and not release.rollout.startswith(WITHDRAWAL) and all(route.bundle != end.bundle for route in release.routes)
        for release in newest
    )
