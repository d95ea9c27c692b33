"""Governance over HTTP: reviews, risk questions, decisions, policies; delivering an approved version and going back are acts too."""

from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from rota.deploy.rollout_states import Verb
from rota.manage.governance import decisions, evidence, policies, readiness, risk
from rota.manage.models import model_versions, registered_models
from rota.records.record import plain
from rota.records.release import Canary
from rota.server.access.permissions import actor_of, needs
from rota.server.wire import Number, body_as, listed, platform_of

router = APIRouter()


class ReviewComment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request for a review, or its withdrawal."""

    comment: str = ""


class ReviewVerdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision; who decides is whose token it is. `delivery` and `rollout` say how an approved version is delivered."""

    decision: Literal["approve", "reject", "request_changes"]
    reason: str
    delivery: Canary | None = None
    rollout: bool = True


class RiskAnswerText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer to a risk question."""

    question: str
    answer: str
    acceptable: bool = True


class PolicyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as the text of its file."""

    toml: str


class RollbackReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an endpoint goes back."""

    reason: str


class ExperimentStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The numbers of the versions that are compared with the champion."""

    versions: list[int]


class ReturnReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a version returns to service."""

    reason: str


class RolloutReason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is asked of a rollout; to resume one needs no reason."""

    reason: str = ""


@router.get("/v1/models/{model}/{number}/review", dependencies=needs("model.read"))
def review(request: Request, model: str, number: Number) -> dict[str, object]:
    """What a reviewer needs: what is open, the evidence, the questions with their answers, the decisions so far."""
    r = platform_of(request).repositories
    version = model_versions.get(r.metadata, model, number)
    standing = readiness.readiness(r.metadata, version, now_us=r.clock.now_us())
    answers = risk.answers(r.metadata, version)
    return {
        "version": plain(version),
        "approval_status": version.approval_status,
        "review": plain(decisions.review(r.metadata, version)),
        "released": standing.open,
        "missing": list(standing.missing),
        "obstacles": risk.obstacles(standing.policy, answers),
        "policy": plain(standing.policy),
        "answers": {question: plain(answer) for question, answer in answers.items()},
        "decisions": listed(readiness.decisions(r.metadata, version)),
        "evidence": plain(evidence.collect(r, version)),
    }


@router.post("/v1/models/{model}/{number}/review", dependencies=needs("model.register", takes=ReviewComment))
async def request_review(request: Request, model: str, number: Number) -> object:
    asked = await body_as(request, ReviewComment)
    r = platform_of(request).repositories
    return plain(await run_in_threadpool(decisions.request_review, r.metadata, model, number, comment=asked.comment, **_act(request)))


@router.delete("/v1/models/{model}/{number}/review", dependencies=needs("model.register", takes=ReviewComment))
async def withdraw(request: Request, model: str, number: Number) -> object:
    taken = await body_as(request, ReviewComment)
    r = platform_of(request).repositories
    return plain(await run_in_threadpool(decisions.withdraw, r.metadata, model, number, reason=taken.comment, **_act(request)))


@router.post("/v1/models/{model}/{number}/decision", dependencies=needs("model.approve", takes=ReviewVerdict))
async def decide(request: Request, model: str, number: Number) -> dict[str, object]:
    """Approve, reject, or ask for changes."""
    given = await body_as(request, ReviewVerdict)
    r = platform_of(request).repositories
    decision = decisions.ReviewDecision(given.decision, actor_of(request), given.reason, given.delivery, given.rollout)
    made = await run_in_threadpool(decisions.decide, r, model, number, decision)
    return {"version": plain(model_versions.get(r.metadata, model, number)), "approval": plain(made)}


@router.post("/v1/models/{model}/{number}/risk", dependencies=needs("model.approve", takes=RiskAnswerText))
async def answer(request: Request, model: str, number: Number) -> object:
    """Answer a risk question."""
    given = await body_as(request, RiskAnswerText)
    r = platform_of(request).repositories
    stored = await run_in_threadpool(
        risk.answer, r.metadata, model, number, given.question, text=given.answer, acceptable=given.acceptable, **_act(request)
    )
    return plain(stored)


@router.get("/v1/policies/{model}", dependencies=needs("model.read"))
def policy(request: Request, model: str) -> object:
    """The policy in force for a model ("*": for models without one of their own)."""
    return plain(registered_models.release_policy(platform_of(request).repositories.metadata, policies.check_model(model)))


@router.put("/v1/policies/{model}", dependencies=needs("model.approve", takes=PolicyText))
async def set_policy(request: Request, model: str) -> object:
    """Replace the policy of a model."""
    text = (await body_as(request, PolicyText)).toml
    wanted = policies.parse(text, policies.check_model(model), name="the request")
    return plain(await run_in_threadpool(policies.put, platform_of(request).repositories.metadata, wanted, **_act(request)))


@router.post("/v1/models/{model}/{number}/rollout", dependencies=needs("model.release"))
async def deploy(request: Request, model: str, number: Number) -> dict[str, object]:
    """Deliver an approved version to its endpoints."""
    platform = platform_of(request)
    return {"runs": await run_in_threadpool(platform.deliveries.deliver, model, number, actor=actor_of(request))}


@router.post("/v1/endpoints/{name}/experiments", dependencies=needs("model.release", takes=ExperimentStart))
async def start_experiment(request: Request, name: str) -> dict[str, object]:
    """Compare approved versions with the endpoint's champion by its experiment; POST /v1/rollouts/{rollout}/abort stops it."""
    wanted = await body_as(request, ExperimentStart)
    start = platform_of(request).deliveries.start_experiment
    return {"runs": [await run_in_threadpool(start, name, wanted.versions, actor=actor_of(request))]}


@router.post("/v1/models/{model}/{number}/return", dependencies=needs("model.release", takes=ReturnReason))
async def return_version(request: Request, model: str, number: Number) -> dict[str, object]:
    """Return a version to service that is out of it because it ended prediction processes; `releases` are those of endpoints that serve it again."""
    why = await body_as(request, ReturnReason)
    return_to_service = platform_of(request).deliveries.return_to_service
    returned, releases = await run_in_threadpool(return_to_service, model, number, actor=actor_of(request), reason=why.reason)
    return {"returned": plain(returned), "releases": [plain(release) for release in releases]}


@router.post("/v1/endpoints/{name}/rollback", dependencies=needs("model.release", takes=RollbackReason))
async def rollback(request: Request, name: str) -> object:
    """Return an endpoint at once to its previous champion."""
    why = await body_as(request, RollbackReason)
    roll_back = platform_of(request).deliveries.roll_back
    return plain(await run_in_threadpool(roll_back, name, actor=actor_of(request), reason=why.reason))


@router.post("/v1/rollouts/{rollout}/{verb}", dependencies=needs("model.release", takes=RolloutReason))
async def command_rollout(request: Request, rollout: str, verb: Verb) -> object:
    """Promote, abort, pause or resume a rollout under way (the answer is the rollout), retry one that ended (`runs`: what delivers its version again)
    or undo a promotion (the answer is the release that serves the version before)."""
    why = await body_as(request, RolloutReason)
    command = platform_of(request).deliveries.command
    asked = await run_in_threadpool(command, rollout, verb, actor=actor_of(request), reason=why.reason)
    return plain(asked.rollout or asked.release) if not asked.retried else {"runs": [asked.retried]}


def _act(request: Request) -> dict[str, Any]:
    return {"actor": actor_of(request), "now_us": platform_of(request).repositories.clock.now_us()}
