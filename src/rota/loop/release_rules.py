"""Rules that follow a registered version: approval by policy, adoption of a foreign model, the rollout of what was approved."""

from collections.abc import Mapping
from typing import Any

from rota.deploy import abandoned, turns, withdrawal
from rota.deploy.delivery import rollout_run
from rota.loop.context import LoopContext, Reaction
from rota.manage.governance import decisions, evidence, risk
from rota.manage.models import model_versions, registered_models
from rota.ports.metadata import Batch
from rota.records.model import ModelVersion
from rota.records.run import Run
from rota.records.signal import Event
from rota.records.time import Micros


def approve_by_policy(context: LoopContext, event: Event) -> Reaction:
    """Approve a version whose policy leaves that to its gates; what stands in the way goes to the audit log."""
    metadata = context.repositories.metadata
    version = model_versions.get(metadata, str(event.body["model"]), int(event.body["number"]))
    policy = registered_models.release_policy(metadata, version.model)
    if policy.level != "automatic" or version.status != "registered" or not evidence.is_trained(context.repositories, version):
        return Reaction()  # no policy speaks for a version that no pipeline trained
    now_us = context.repositories.clock.now_us()
    obstacles = risk.obstacles(policy, risk.answers(metadata, version))
    if not evidence.passed_gates(context.repositories, version):
        obstacles = ["no gate of its training could judge it, so a person does", *obstacles]
    if obstacles:
        batch = Batch()
        batch.audit("rota", "review.wait", version.id, now_us, reason="; ".join(obstacles))
        return Reaction(batch=batch)
    decision = decisions.ReviewDecision("approve", decisions.AUTOMATIC, "both gates passed")
    return Reaction(batch=decisions.decided(context.repositories, version, decision, now_us=now_us)[1])


def adopt_foreign_model(context: LoopContext, event: Event) -> Reaction:
    """A version registered with a foreign model's files becomes one that can be served."""
    version = model_versions.get(context.repositories.metadata, str(event.body["model"]), int(event.body["number"]))
    if version.bundle or not version.artifacts:
        return Reaction()
    return Reaction((_adopting(version, event, now_us=context.repositories.clock.now_us()),))


def _adopting(version: ModelVersion, event: Event, *, now_us: Micros, approval: Mapping[str, Any] | None = None) -> Run:
    arguments: dict[str, Any] = {"model": version.model, "number": version.number}
    if approval:
        arguments["approval"] = dict(approval)
    return Run(f"adopt.{version.model}.{version.number}.{event.position}", "adopt", version.id, arguments, now_us, f"model_version:{version.id}")


def start_rollout(context: LoopContext, event: Event) -> Reaction:
    """A rollout run on each endpoint of the model; a foreign model is adopted first."""
    metadata = context.repositories.metadata
    version = model_versions.get(metadata, str(event.body["model"]), int(event.body["number"]))
    now_us = context.repositories.clock.now_us()
    if registered_models.release_policy(metadata, version.model).level == "manual" or not event.body.get("rollout", True):
        return Reaction()
    if not version.bundle and version.artifacts and not event.body.get("adopted"):
        return Reaction((_adopting(version, event, now_us=now_us, approval=event.body),))
    if not version.bundle:
        batch = Batch()
        batch.audit("rota", "rollout.skip", version.id, now_us, reason=version.unservable or "it has no bundle to serve")
        return Reaction(batch=batch)
    delivery = event.body.get("delivery")
    return Reaction(tuple(rollout_run(e, version, now_us=now_us, delivery=delivery) for e in registered_models.endpoints(metadata, version.model)))


def withdraw_version(context: LoopContext, event: Event) -> Reaction:  # noqa: ARG001 - whatever happened, all endpoints are looked at
    """What prediction processes fell back from is taken off its endpoints by a release; a rollout that routes it is aborted before."""
    r = context.repositories
    return Reaction(batch=withdrawal.withdrawals(r, now_us=r.clock.now_us()))


def end_rollout(context: LoopContext, event: Event) -> Reaction:
    """After a rollout's run: the next one of its endpoint has its turn; a rollout that the run left open is rolled back."""
    if event.body.get("workflow") != "rollout":
        return Reaction()
    r = context.repositories
    turns.wake_following(r, str(event.body["subject"]), event.subject)
    run = r.runs.get(event.subject)
    return Reaction(batch=abandoned.compensation(r, run, now_us=r.clock.now_us())) if run is not None else Reaction()
