"""The report on deployed models: what serves, its metrics now against those at registration, and recent changes."""

from collections.abc import Mapping

from rota.manage.governance import evidence, readiness
from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes
from rota.ports.metadata import Metadata
from rota.records.model import CHAMPION, Alias, AliasMove, ModelVersion, RegisteredModel
from rota.records.record import Record
from rota.records.release import Endpoint, Release, Rollout
from rota.records.signal import Alert
from rota.records.time import DAY_US, Micros

QUALITY_DAYS = 7
"""The newest measured days that speak for "now"."""
INCIDENT_DAYS = 30


class Incident(Record, frozen=True):
    """Something that went wrong: an alert, or traffic taken back from a version."""

    at_us: Micros
    kind: str
    what: str


class DeployedModel(Record, frozen=True):
    """A model where it serves; `endpoint` is "" when only its champion alias says that it is in use.

    `registered` are the champion's metrics on its test rows, `measured` those of its newest labelled days. `expires_us` is when
    its approvals cease to be enough, `missing` what closes its gates already.
    """

    model: str
    endpoint: str
    owner: str
    champion: int
    since_us: Micros | None
    registered: Mapping[str, float] = {}
    measured: Mapping[str, float] = {}
    kpis: tuple[business_outcomes.Kpi, ...] = ()
    alerts: tuple[Alert, ...] = ()
    incidents: tuple[Incident, ...] = ()
    trained_us: Micros | None = None
    expires_us: Micros | None = None
    missing: tuple[str, ...] = ()


def models(repositories: Repositories) -> list[DeployedModel]:
    """Every model that an endpoint serves or that has a champion, by name."""
    metadata = repositories.metadata
    endpoints = metadata.find(Endpoint)
    champions = metadata.find(Alias)
    places = [(endpoint.model, endpoint.name) for endpoint in endpoints]
    served = {model for model, _ in places}
    places += [(alias.model, "") for alias in champions if alias.alias == CHAMPION and alias.model not in served]
    found = [_deployed(repositories, model, endpoint) for model, endpoint in sorted(places)]
    return [each for each in found if each is not None]


def _deployed(repositories: Repositories, model: str, endpoint: str) -> DeployedModel | None:
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    version, since_us = _champion(metadata, model, endpoint)
    if version is None:
        return None
    standing = readiness.readiness(metadata, version, now_us=now_us)
    alerts = metadata.find(Alert, {"endpoint": endpoint}, order="-raised_us") if endpoint else []
    earned = business_outcomes.of_version(repositories, endpoint, version.number) if endpoint else None
    return DeployedModel(
        model,
        endpoint,
        _owner(metadata, version),
        version.number,
        since_us,
        registered=version.metrics,
        measured=evidence.performance(metadata, endpoint, version.number, days=QUALITY_DAYS) if endpoint else {},
        kpis=earned.kpis if earned else (),
        alerts=tuple(alert for alert in alerts if alert.status != "resolved"),
        incidents=_incidents(metadata, model, endpoint, alerts, now_us - INCIDENT_DAYS * DAY_US),
        trained_us=_trained(metadata, model),
        expires_us=standing.expires_us,
        missing=standing.missing,
    )


def _champion(metadata: Metadata, model: str, endpoint: str) -> tuple[ModelVersion | None, Micros | None]:
    """The version that answers most, and since when: by the release of the endpoint, else by the alias."""
    alias = metadata.get(Alias, model, CHAMPION)
    releases = metadata.page(Release, {"endpoint": endpoint}, order="-revision", limit=1).items if endpoint else []
    stable = [route for release in releases for route in release.routes if route.role == "stable"]
    number = stable[0].number if stable else alias.number if alias else 0
    if not number:
        return None, None
    since_us = alias.since_us if alias is not None and alias.number == number else releases[0].since_us if releases else None
    return metadata.get(ModelVersion, model, number), since_us


def _owner(metadata: Metadata, version: ModelVersion) -> str:
    model = metadata.get(RegisteredModel, version.model)
    return (model.owner if model else "") or version.owner


def _trained(metadata: Metadata, model: str) -> Micros | None:
    newest = metadata.page(ModelVersion, {"model": model}, order="-created_us", limit=1).items
    return newest[0].created_us if newest else None


def _incidents(metadata: Metadata, model: str, endpoint: str, alerts: list[Alert], since_us: Micros) -> tuple[Incident, ...]:
    """Alerts, rollouts that were taken back and rollbacks by hand since a moment, newest first."""
    found = [Incident(a.raised_us, "alert", f"{a.kind.replace('_', ' ')} of {a.subject}") for a in alerts if a.raised_us >= since_us]
    rollouts = metadata.find(Rollout, {"endpoint": endpoint}, order="-started_us") if endpoint else []
    found += [
        Incident(r.ended_us or r.started_us, "rollback", f"version {r.candidate} was taken back: {r.reason}")
        for r in rollouts
        if r.state == "rolled_back" and (r.ended_us or r.started_us) >= since_us
    ]
    moves = metadata.find(AliasMove, {"model": model, "alias": CHAMPION}, order="-at_us")
    found += [
        Incident(m.at_us, "rollback", f"from version {m.before} to {m.number} by {m.actor}: {m.reason}")
        for m in moves
        if m.at_us >= since_us and endpoint and m.evidence.get("rollback") == endpoint
    ]
    return tuple(sorted(found, key=lambda incident: -incident.at_us))
