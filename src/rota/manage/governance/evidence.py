"""Evidence for a decision about a version: offline (gates, champion on the same data) and online (rollouts, measured days, business outcomes)."""

from collections.abc import Mapping
from typing import Any

from rota.errors import NotFound
from rota.manage.governance import risk
from rota.manage.models import registered_models
from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes
from rota.ports.metadata import Metadata
from rota.records import check
from rota.records.check import CheckResult
from rota.records.model import ModelVersion
from rota.records.record import decode, plain
from rota.records.release import Endpoint, Rollout
from rota.records.run import Evaluation
from rota.records.signal import MonitorSlice

GATE_STEP = "validate_model"
"""The step of a training run whose result holds the gates' answers."""
DAYS = 400


def collect(repositories: Repositories, version: ModelVersion) -> dict[str, Any]:
    """Everything known about a version that bears on its release, as plain values: "offline", "online" and "risk"."""
    metadata = repositories.metadata
    answered = {
        question: {"answer": a.answer, "acceptable": a.acceptable, "answered_by": a.answered_by, "at_us": a.at_us}
        for question, a in risk.answers(metadata, version).items()
    }
    served = online(metadata, version) | {"outcomes": earned(repositories, version)}
    return {"offline": offline(repositories, version), "online": served, "risk": answered}


def offline(repositories: Repositories, version: ModelVersion) -> dict[str, Any]:
    """Metrics, gates with what they saw, and the champion of that time scored on the same rows."""
    scored = evaluations(repositories, version)
    return {
        "run": version.run or version.experiment_run,
        "dataset": version.dataset,
        "metrics": dict(version.metrics),
        "evaluation": version.evaluation,
        "gates": plain(gates(repositories, version)),
        "champion": plain(scored["champion"]) if "champion" in scored else None,
    }


def online(metadata: Metadata, version: ModelVersion) -> dict[str, Any]:
    """The rollouts that delivered the version, with every verdict, and what monitoring measured while it served."""
    endpoints = registered_models.endpoints(metadata, version.model)
    return {
        "rollouts": [_told(r) for e in endpoints for r in rollouts(metadata, e, version)],
        "performance": {e.name: performance(metadata, e.name, version.number) for e in endpoints},
    }


def earned(repositories: Repositories, version: ModelVersion) -> dict[str, Any]:
    """Business outcomes of the version's predictions by endpoint, where any were reported."""
    names = [endpoint.name for endpoint in registered_models.endpoints(repositories.metadata, version.model)]
    found = {name: business_outcomes.of_version(repositories, name, version.number) for name in names}
    return {name: plain(earned) for name, earned in found.items() if earned is not None}


def evaluations(repositories: Repositories, version: ModelVersion) -> dict[str, Evaluation]:
    """The stored evaluations of a training: "candidate" is the version itself, "champion" the one it was compared with."""
    if not version.evaluation:
        return {}
    try:
        return decode(repositories.blobs.get(version.evaluation), dict[str, Evaluation])
    except NotFound:  # collected as garbage: the version's own metrics are still there
        return {}


def gates(repositories: Repositories, version: ModelVersion) -> list[CheckResult]:
    """What the gates of the run that trained the version saw; none for a version that no pipeline trained."""
    steps = repositories.runs.journal(version.run) if version.run else []
    return next(([check.from_stored(each) for each in step.result["gates"]] for step in steps if step.name == GATE_STEP), [])


def is_trained(repositories: Repositories, version: ModelVersion) -> bool:
    """Whether a pipeline trained the version, and its gates did not refuse it."""
    steps = repositories.runs.journal(version.run) if version.run else []
    return any(step.name == GATE_STEP and not step.result["refused"] for step in steps)


def passed_gates(repositories: Repositories, version: ModelVersion) -> bool:
    """Whether a pipeline trained the version, none of its gates refused it, and one at least could judge it."""
    return is_trained(repositories, version) and any(result.passed for result in gates(repositories, version))


def rollouts(metadata: Metadata, endpoint: Endpoint, version: ModelVersion) -> list[Rollout]:
    """The rollouts of a version on an endpoint, oldest first."""
    found = metadata.find(Rollout, {"endpoint": endpoint.name}, order="started_us")
    return [r for r in found if (r.model, r.candidate) == (version.model, version.number)]


def performance(metadata: Metadata, endpoint: str, number: int, *, days: int = DAYS) -> dict[str, float]:
    """Metrics of a version's labelled predictions in the newest `days` slices, weighted by labels; "labelled" and "slices" say of how many."""
    found = metadata.page(MonitorSlice, {"endpoint": endpoint}, order="-start_us", limit=days).items
    measured = [s.performance[str(number)] for s in found if s.performance.get(str(number), {}).get("labelled")]
    labelled = sum(m["labelled"] for m in measured)
    if not labelled:
        return {}
    names = sorted({name for m in measured for name in m} - {"labelled"})
    return {name: _mean(measured, name) for name in names} | {"labelled": labelled, "slices": float(len(measured))}


def _mean(measured: list[Mapping[str, float]], name: str) -> float:
    known = [(m[name], m["labelled"]) for m in measured if name in m]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)


def _told(rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "endpoint": rollout.endpoint,
        "champion": rollout.champion,
        "state": rollout.state,
        "reason": rollout.reason,
        "steps": [_step(step) for step in rollout.history],
    }


def _step(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [plain(check.from_stored(each)) for each in value] if name == "verdicts" else value for name, value in entry.items()}
