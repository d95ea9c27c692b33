"""Which model version answers which unit: sticky, and growing a canary's share never takes a unit away from it."""

import hashlib
from collections.abc import Iterable

from rota.errors import InvalidInput
from rota.records.release import HeaderMatch, Release, Route

_POINTS = 1 << 64


def choose(release: Release, unit: str) -> Route:
    """The answering route of a unit: always the same for one (salt, unit) as long as the weights stay.

    The unit's point in [0, 100) is a hash; canaries take the lowest points in the release's order, so a growing weight only adds
    units to its canary. With several canaries, one that is listed later gives units up when an earlier one grows.
    """
    answering = answering_routes(release)
    if len(answering) == 1:
        return answering[0]
    point = _point(release.salt, unit)
    reached = 0
    for route in answering:
        reached += route.weight
        if point < reached:
            return route
    return answering[-1]


def by_header(release: Release, headers: Iterable[tuple[bytes, bytes]]) -> tuple[Route, HeaderMatch] | None:
    """The route of the first header rule that a request's headers (names in lower case) meet, with the rule; None: the weights decide."""
    if not release.headers:
        return None
    sent = {(name, value.strip()) for name, value in headers}
    for rule in release.headers:
        if (rule.match.header.encode(), rule.match.value.encode()) in sent:
            return next(route for route in release.routes if route.number == rule.number and route.role != "shadow"), rule.match
    return None


def answering_routes(release: Release) -> tuple[Route, ...]:
    """The routes whose answer the caller may get, canaries first."""
    return tuple(sorted((route for route in release.routes if route.role != "shadow" and route.weight > 0), key=lambda route: route.role == "stable"))


def shadows(release: Release) -> tuple[Route, ...]:
    """The routes that score the same requests without being heard."""
    return tuple(route for route in release.routes if route.role == "shadow")


def stable(release: Release) -> Route:
    """The route that answers when another fails."""
    return next(route for route in release.routes if route.role == "stable")


def check(release: Release) -> None:
    """Raises `InvalidInput` for a release that cannot be served."""
    heard = [route for route in release.routes if route.role != "shadow"]
    total = sum(route.weight for route in heard)
    if lost := [rule for rule in release.headers if rule.number not in {route.number for route in heard}]:
        raise InvalidInput(
            f"release {release.revision} of endpoint {release.endpoint!r} routes {lost[0].match} to version {lost[0].number}, which it does not have",
            endpoint=release.endpoint,
            revision=release.revision,
        )
    stables = sum(route.role == "stable" for route in release.routes)
    if total != 100 or stables != 1 or any(route.weight < 0 for route in release.routes):
        raise InvalidInput(
            f"release {release.revision} of endpoint {release.endpoint!r} has {stables} stable routes and answering weights that sum to {total}; "
            "it needs one stable route and a sum of 100",
            endpoint=release.endpoint,
            revision=release.revision,
        )


def _point(salt: str, unit: str) -> float:
    """Keyed BLAKE2b: a checksum such as CRC-32 would send the same units to every rollout's canary, whatever its salt."""
    seed = hashlib.blake2b(salt.encode(), digest_size=16).digest()
    return int.from_bytes(hashlib.blake2b(unit.encode(), digest_size=8, key=seed).digest()) / _POINTS * 100
