"""Releases that prediction processes will not serve, as conditions: by what each process answers to the newest release of an endpoint."""

from collections.abc import Collection

from rota.manage.models import out_of_service
from rota.ports.metadata import Metadata
from rota.records.condition import Condition
from rota.records.release import Endpoint, Release, Serving, Unloaded

PART = "release"
"""What the names of these conditions begin with."""


def conditions(metadata: Metadata, processes: Collection[str]) -> list[Condition]:
    """A condition for each endpoint whose newest release one of `processes` refuses: failed when it serves nothing instead.

    A release that waits for the history of its features, and one with a version that is out of service, have conditions of their own; an
    endpoint that somebody unloaded is as people want it.
    """
    out, unloaded = out_of_service.standing(metadata), {each.endpoint for each in metadata.find(Unloaded)}
    found = list[Condition]()
    for endpoint in metadata.find(Endpoint):
        if endpoint.name in unloaded:
            continue
        for release in metadata.page(Release, {"endpoint": endpoint.name}, order="-revision", limit=1).items:
            serving = [each for each in metadata.find(Serving, {"endpoint": endpoint.name}) if each.process in processes]
            refusing = [each for each in serving if _is_refusal(each, release)]
            if refusing and not any(route.bundle in out for route in release.routes):
                found.append(_condition(release, refusing))
    return found


def _is_refusal(serving: Serving, release: Release) -> bool:
    refused = f"revision {release.revision}"
    return serving.error.startswith(f"{refused}:") or (
        serving.revision == 0 and serving.error != "" and not serving.error.startswith(f"{refused} waits")
    )


def _condition(release: Release, refusing: list[Serving]) -> Condition:
    first, without = refusing[0], [each.process for each in refusing if each.revision == 0]
    instead = f"{', '.join(without)} serve nothing instead" if without else f"revision {first.revision} is served instead"
    message = (
        f"endpoint {release.endpoint!r}: revision {release.revision} is not served by {', '.join(each.process for each in refusing)}, {instead} "
        f"({first.error}); restore what is damaged from a backup, deliver another version, or `rota rollback {release.endpoint} --reason ...`"
    )
    evidence = {"endpoint": release.endpoint, "revision": release.revision, "processes": [each.process for each in refusing]}
    return Condition(f"{PART}:{release.endpoint}", "failed" if without else "degraded", message, evidence)
