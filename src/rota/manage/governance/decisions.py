"""Reviews and decisions on model versions: who asked for a review, who approved, rejected or requested changes.

status                         act              -> status
registered, changes_requested  request review   -> in_review
in_review                      withdraw         -> registered
registered, in_review          approve          -> in_review until enough people did, then approved
registered, in_review          request changes  -> changes_requested
registered, in_review,
changes_requested              reject           -> rejected
approved, its gates closed     any decision     -> as from in_review; until then it stays approved
any                            delete           -> deleted (`rota.manage.models.model_versions`)

Every other act is refused. In SageMaker's words approved is Approved, rejected is Rejected, what is not decided
PendingManualApproval. Whether an approved version may be released at a moment is answered by `readiness`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.governance import evidence, readiness, risk
from rota.manage.governance.readiness import Readiness
from rota.manage.models import model_versions, strategies, version_sources
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.model import Approval, ModelVersion, ReviewRequest
from rota.records.record import check_person, plain
from rota.records.release import Canary
from rota.records.signal import Event
from rota.records.time import Micros, micros

DecisionWord = Literal["approve", "reject", "request_changes"]
AUTOMATIC = "policy:automatic"
"""The reviewer of a version that the policy itself approved."""
_WORDS: Mapping[DecisionWord, str] = {"approve": "approved", "reject": "rejected", "request_changes": "changes_requested"}
_OPEN: Mapping[DecisionWord, frozenset[str]] = {
    "approve": frozenset({"registered", "in_review"}),
    "reject": frozenset({"registered", "in_review", "changes_requested"}),
    "request_changes": frozenset({"registered", "in_review"}),
}


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """What a reviewer says about a version. `delivery` and `rollout` are how it shall be released: not at all by itself, or in these steps."""

    word: DecisionWord
    reviewer: str
    reason: str
    delivery: Canary | None = None
    rollout: bool = True


def review(metadata: Metadata, version: ModelVersion) -> ReviewRequest | None:
    """The newest request for a review of a version."""
    found = metadata.page(ReviewRequest, {"model": version.model, "number": version.number}, order="-at_us", limit=1).items
    return found[0] if found else None


def request_review(metadata: Metadata, model: str, number: int, *, actor: str, now_us: Micros, comment: str = "") -> ReviewRequest:
    """Ask for a decision on a version; asking again after changes were requested opens it again."""

    def request() -> ReviewRequest:
        version = model_versions.live(metadata, model, number)
        again = version.status == "approved" and not readiness.readiness(metadata, version, now_us=now_us).open
        if version.status not in ("registered", "changes_requested") and not again:
            raise Refused(f"{version.id} is {version.status}; a review is asked for a version that nobody has decided on", version=version.id)
        at_us = max(now_us, version.updated_us + 1)
        review_request = ReviewRequest(model, number, at_us, actor, comment)
        batch = Batch()
        batch.put(_touched(version, at_us, "approved" if again else "in_review"), replacing=version)
        batch.create(review_request)
        batch.event(Event("review.requested", version.id, now_us, {"model": model, "number": number, "by": actor, "comment": comment}))
        batch.audit(actor, "review.request", version.id, now_us, before=version.status, comment=comment)
        metadata.commit(batch)
        return review_request

    return transact(request)


def withdraw(metadata: Metadata, model: str, number: int, *, actor: str, now_us: Micros, reason: str = "") -> ReviewRequest:
    """Take back the open request for a review."""

    def take_back() -> ReviewRequest:
        version = model_versions.live(metadata, model, number)
        asked = review(metadata, version)
        if asked is None or asked.state != "open":
            raise NotFound(f"no review of {version.id} is open", version=version.id)
        at_us = max(now_us, version.updated_us + 1)
        taken = msgspec.structs.replace(asked, state="withdrawn")
        batch = Batch()
        batch.put(taken, replacing=asked)
        batch.put(_touched(version, at_us, "registered" if version.status == "in_review" else version.status), replacing=version)
        batch.audit(actor, "review.withdraw", version.id, now_us, asked_by=asked.requested_by, reason=reason)
        metadata.commit(batch)
        return taken

    return transact(take_back)


def decide(repositories: Repositories, model: str, number: int, decision: ReviewDecision) -> Approval:
    """Record a decision with everything known about the version as its evidence; `Refused` when policy or status forbid it."""

    def record() -> Approval:
        version = model_versions.live(repositories.metadata, model, number)
        made, batch = decided(repositories, version, decision, now_us=repositories.clock.now_us())
        repositories.metadata.commit(batch)
        return made

    return transact(record)


def decided(repositories: Repositories, version: ModelVersion, decision: ReviewDecision, *, now_us: Micros) -> tuple[Approval, Batch]:
    """The decision and the batch that records it. Of two decisions made at once on one state, one is a `Conflict` at commit."""
    metadata = repositories.metadata
    decision = replace(decision, reviewer=check_person("a reviewer", decision.reviewer))
    now = readiness.readiness(metadata, version, now_us=now_us)
    asked = review(metadata, version)
    _check_decision(now, decision, asked, risk.obstacles(now.policy, risk.answers(metadata, version)))
    if decision.word == "approve" and decision.delivery is not None:
        strategies.check_delivery(metadata, version.model, decision.delivery)
    status = _status_after(now, decision)
    at_us = max(now_us, version.updated_us + 1)
    expires_us = at_us + micros(now.policy.valid) if decision.word == "approve" and now.policy.valid else None
    known = evidence.collect(repositories, version)
    approval = Approval(
        version.model, version.number, decision.word, decision.reviewer, decision.reason.strip(), known, at_us, expires_us, decision.delivery
    )
    batch = Batch()
    batch.put(_touched(version, at_us, status), replacing=version)
    batch.create(approval)
    batch.audit(decision.reviewer, f"version.{decision.word}", version.id, now_us, reason=approval.reason, before=version.status, after=status)
    batch.link(readiness.approval_node(approval), [f"model_version:{version.id}"], now_us)
    if status == _WORDS[decision.word]:
        if asked is not None and asked.state == "open":
            batch.put(msgspec.structs.replace(asked, state=status), replacing=asked)
        if decision.word == "approve":
            batch.event(_approved(now, approval, rollout=decision.rollout))
    return approval, batch


def _check_decision(now: Readiness, decision: ReviewDecision, asked: ReviewRequest | None, obstacles: Sequence[str]) -> None:
    version = now.version
    if not decision.reason.strip():
        raise InvalidInput(f"the decision on {version.id} has no reason; say why, others will read it", version=version.id)
    if not decision.reviewer:
        raise InvalidInput(f"the decision on {version.id} has no reviewer", version=version.id)
    lapsed = version.status == "approved" and not now.open
    if version.status == "changes_requested" and decision.word != "reject":
        raise Refused(f"changes of {version.id} were requested; once they are made, `rota models request-review {version.id}` opens it again")
    if version.status not in _OPEN[decision.word] and not lapsed:
        raise Refused(f"{version.id} is already {version.status}; a decision is made once, register a new version instead", version=version.id)
    if decision.word == "approve":
        _check_approval(now, decision.reviewer, asked, obstacles)
        if decision.rollout:
            _check_servable(version)


def _check_approval(now: Readiness, reviewer: str, asked: ReviewRequest | None, obstacles: Sequence[str]) -> None:
    version, policy = now.version, now.policy
    if obstacles:
        raise Refused(
            f"{version.id} cannot be approved: {'; '.join(obstacles)}; `rota models risk answer {version.id} QUESTION ...`", version=version.id
        )
    own = {version.registered_by: "registered it", version.owner: "owns it", asked.requested_by if asked else "": "asked for its review"}
    if policy.four_eyes and reviewer in own and reviewer:
        raise Refused(f"{reviewer} cannot approve {version.id} and {own[reviewer]}; the policy wants four eyes: let another person decide")
    if any(approval.reviewer == reviewer for approval in now.approvals):
        raise Refused(f"{reviewer} approved {version.id} before; the {policy.approvals} approvals must come from different people")


def _check_servable(version: ModelVersion) -> None:
    """What shall be rolled out can be served, or its files were not read yet: a worker reads them, and the rollout follows."""
    unread = version.artifacts and version.unservable == version_sources.UNCONVERTED
    if version.bundle or unread:
        return
    raise Refused(
        f"{version.id} cannot be served: {version.unservable or 'it has no bundle'}; mend that and `rota models adopt {version.id}`, register "
        "another version, or approve it without a rollout (--no-rollout) where it is served elsewhere",
        version=version.id,
    )


def _status_after(now: Readiness, decision: ReviewDecision) -> Any:
    if decision.word != "approve":
        return _WORDS[decision.word]
    if len(now.approvals) + 1 >= now.policy.approvals:
        return "approved"
    return now.version.status if now.version.status == "approved" else "in_review"


def _approved(now: Readiness, approval: Approval, *, rollout: bool) -> Event:
    """What the loop starts the rollout from."""
    version = now.version
    delivery = approval.delivery or now.delivery
    body: dict[str, Any] = {"model": version.model, "number": version.number, "reviewer": approval.reviewer, "rollout": rollout}
    if delivery is not None:
        body["delivery"] = plain(delivery)
    return Event("version.approved", version.id, approval.at_us, body)


def _touched(version: ModelVersion, at_us: Micros, status: Any) -> ModelVersion:
    """The version with a new status and a later moment, so that a concurrent decision on the old state is a `Conflict`."""
    return msgspec.structs.replace(version, status=status, updated_us=at_us)
