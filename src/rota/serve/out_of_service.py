"""Which versions of current releases are out of service because they ended prediction processes, as conditions of the platform."""

from pathlib import Path

from rota.ports.metadata import Metadata
from rota.records.condition import Condition
from rota.records.release import Endpoint, Release
from rota.serve.call_marks import Limits, barred, ends_of, in_service


def conditions(run_folder: Path, metadata: Metadata, limits: Limits) -> list[Condition]:
    """A condition for each version that the newest release of an endpoint names and no prediction process of this home calls any more.

    A version that no release names is none: it was rolled back or replaced. `run_folder` holds the ends that prediction processes wrote.
    """
    out = barred(ends_of(run_folder), limits)
    if not out:
        return []
    found: dict[str, Condition] = {}
    for endpoint in metadata.find(Endpoint):
        for release in metadata.page(Release, {"endpoint": endpoint.name}, order="-revision", limit=1).items:
            ended = [out[route.bundle] for route in release.routes if route.bundle in out]
            why = "; ".join(in_service(release, tuple, out)[1]) if ended else ""
            for end in ended:
                name = f"model:{end.model}@{end.number}"
                found[name] = Condition(name, "failed", why, {"endpoint": endpoint.name, "cause": end.cause})
    return list(found.values())
