"""Governance: who asked for a review, who decided, whether a version may be released now, and which aliases may move.

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
PendingManualApproval. `approved` says that people said yes; whether gates open is `standing`: enough approvals that have
not expired, and no risk question answered badly since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.governance import evidence, risk
from rota.manage.models import model_aliases, model_versions, registered_models
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata
from rota.records.model import CHAMPION, Alias, AliasMove, Approval, ModelVersion, ReleasePolicy, ReviewRequest
from rota.records.record import plain
from rota.records.release import Canary
from rota.records.signal import Event
from rota.records.time import Micros, iso, micros

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
class Decision:
    """What a reviewer says about a version. `delivery` and `rollout` are how it shall be released: not at all by itself, or in these steps."""

    word: DecisionWord
    reviewer: str
    reason: str
    delivery: Canary | None = None
    rollout: bool = True


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a version may be released at a moment: the approvals that count then, and what is missing (nothing: the gates are open)."""

    version: ModelVersion
    policy: ReleasePolicy
    approvals: tuple[Approval, ...]
    missing: tuple[str, ...]

    @property
    def open(self) -> bool:
        return not self.missing

    @property
    def delivery(self) -> Canary | None:
        """How the newest approval that chose one wants the version delivered."""
        return next((a.delivery for a in reversed(self.approvals) if a.delivery is not None), None)

    @property
    def expires_us(self) -> Micros | None:
        """When the approvals that count cease to be enough."""
        ends = sorted((a.expires_us for a in self.approvals if a.expires_us is not None), reverse=True)
        lasting = len(self.approvals) - len(ends)
        return None if lasting >= self.policy.approvals or not ends else ends[self.policy.approvals - lasting - 1]


def standing(metadata: Metadata, version: ModelVersion, *, now_us: Micros) -> Standing:
    """Whether a version may be released now, and if not, what to do."""
    policy = registered_models.release_policy(metadata, version.model)
    given = _counted(decisions(metadata, version))
    valid = tuple(a for a in given if a.expires_us is None or a.expires_us > now_us)
    missing = [f"{problem}; answer it again, or register a better version" for problem in risk.unacceptable(policy, risk.answers(metadata, version))]
    if version.status != "approved":
        missing.append(f"{version.id} is {version.status}; `rota models approve {version.id} --reason ...` decides")
    elif len(valid) < policy.approvals:
        missing.append(_too_few(version, policy, given, valid))
    return Standing(version, policy, valid, tuple(missing))


def check_released(metadata: Metadata, version: ModelVersion, act: str, *, now_us: Micros) -> Standing:
    """The standing of a version that may be released; `Refused` otherwise, saying what is missing for `act`."""
    found = standing(metadata, version, now_us=now_us)
    if found.missing:
        raise Refused(f"{act} needs an approved version: {'; '.join(found.missing)}", version=version.id, missing=list(found.missing))
    return found


def decisions(metadata: Metadata, version: ModelVersion) -> list[Approval]:
    """Every decision ever made on a version, oldest first."""
    return metadata.find(Approval, {"model": version.model, "number": version.number}, order="at_us", limit=registered_models.ALL)


def approval_node(approval: Approval) -> str:
    """The lineage node of a decision."""
    return f"approval:{approval.model}@{approval.number}@{approval.at_us}"


def review(metadata: Metadata, version: ModelVersion) -> ReviewRequest | None:
    """The newest request for a review of a version."""
    found = metadata.find(ReviewRequest, {"model": version.model, "number": version.number}, order="-at_us", limit=1)
    return found[0] if found else None


def request_review(metadata: Metadata, model: str, number: int, *, actor: str, now_us: Micros, comment: str = "") -> ReviewRequest:
    """Ask for a decision on a version; asking again after changes were requested opens it anew."""

    def request() -> ReviewRequest:
        version = model_versions.live(metadata, model, number)
        again = version.status == "approved" and not standing(metadata, version, now_us=now_us).open
        if version.status not in ("registered", "changes_requested") and not again:
            raise Refused(f"{version.id} is {version.status}; a review is asked for a version that nobody has decided on", version=version.id)
        at_us = max(now_us, version.updated_us + 1)
        made = ReviewRequest(model, number, at_us, actor, comment)
        batch = Batch()
        batch.put(_touched(version, at_us, "approved" if again else "in_review"), replacing=version)
        batch.create(made)
        batch.event(Event("review.requested", version.id, now_us, {"model": model, "number": number, "by": actor, "comment": comment}))
        batch.audit(actor, "review.request", version.id, now_us, before=version.status, comment=comment)
        metadata.commit(batch)
        return made

    return registered_models.retried(request)


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

    return registered_models.retried(take_back)


def decide(repositories: Repositories, model: str, number: int, decision: Decision) -> Approval:
    """Record a decision with everything known about the version as its evidence; `Refused` when policy or status forbid it."""

    def record() -> Approval:
        version = model_versions.live(repositories.metadata, model, number)
        made, batch = decided(repositories, version, decision, now_us=repositories.clock.now_us())
        repositories.metadata.commit(batch)
        return made

    return registered_models.retried(record)


def decided(repositories: Repositories, version: ModelVersion, decision: Decision, *, now_us: Micros) -> tuple[Approval, Batch]:
    """The decision and the batch that records it. Of two decisions made at once on one state, one is a `Conflict` at commit."""
    metadata = repositories.metadata
    now = standing(metadata, version, now_us=now_us)
    asked = review(metadata, version)
    _check_decision(now, decision, asked, risk.obstacles(now.policy, risk.answers(metadata, version)))
    status = _status_after(now, decision)
    at_us = max(now_us, version.updated_us + 1)
    expires_us = at_us + micros(now.policy.valid) if decision.word == "approve" and now.policy.valid else None
    known = evidence.collect(repositories, version)
    made = Approval(
        version.model, version.number, decision.word, decision.reviewer, decision.reason.strip(), known, at_us, expires_us, decision.delivery
    )
    batch = Batch()
    batch.put(_touched(version, at_us, status), replacing=version)
    batch.create(made)
    batch.audit(decision.reviewer, f"version.{decision.word}", version.id, now_us, reason=made.reason, before=version.status, after=status)
    batch.link(approval_node(made), [f"model_version:{version.id}"], now_us)
    if status == _WORDS[decision.word]:
        if asked is not None and asked.state == "open":
            batch.put(msgspec.structs.replace(asked, state=status), replacing=asked)
        if decision.word == "approve":
            batch.event(_approved(now, made, rollout=decision.rollout))
    return made, batch


def move_alias(
    repositories: Repositories,
    model: str,
    alias: str,
    number: int,
    *,
    actor: str,
    reason: str,
    may_release: bool,
    evidence: Mapping[str, Any] | None = None,
) -> Alias:
    """Point an alias at a version. A protected alias moves for somebody who may release, to a version whose gates are open.

    Where an endpoint serves the model its champion is what the last rollout promoted, so a direct move is refused. Moving
    an alias to where it points is no change.
    """
    metadata = repositories.metadata
    model_aliases.check_name(alias)

    def move() -> Alias:
        version = model_versions.live(metadata, model, number)
        before = metadata.get(Alias, model, alias)
        if before is not None and before.number == number:
            return before
        now_us = repositories.clock.now_us()
        found = {**(evidence or {}), **_alias_gate(metadata, version, alias, reason, now_us=now_us, may_release=may_release)}
        moved = Alias(model, alias, number, now_us, reason)
        batch = Batch()
        batch.put(version, replacing=version)  # a version that is deleted or decided on meanwhile makes the commit a conflict
        model_aliases.move(batch, metadata, moved, actor=actor, evidence=found)
        metadata.commit(batch)
        return moved

    return registered_models.retried(move)


def remove_alias(repositories: Repositories, model: str, alias: str, *, actor: str, reason: str, may_release: bool) -> None:
    """Remove an alias; a protected one only by somebody who may release, and never the champion of an endpoint."""
    metadata = repositories.metadata

    def remove() -> None:
        found = metadata.get(Alias, model, alias)
        if found is None:
            raise NotFound(f"model {model!r} has no alias {alias!r}", model=model, alias=alias)
        _check_hands(metadata, model, alias, reason, may_release=may_release)
        batch = Batch()
        model_aliases.remove(batch, metadata, found, actor=actor, now_us=repositories.clock.now_us(), reason=reason)
        metadata.commit(batch)

    registered_models.retried(remove)


def is_protected(metadata: Metadata, model: str, alias: str) -> bool:
    """Whether moving an alias takes the permission to release."""
    return alias in registered_models.release_policy(metadata, model).protected


def history(metadata: Metadata, model: str, alias: str = "") -> list[AliasMove]:
    """Every move of a model's aliases, or of one alias, oldest first."""
    where: dict[str, str | int] = {"model": model, "alias": alias} if alias else {"model": model}
    return sorted(metadata.find(AliasMove, where, limit=registered_models.ALL), key=lambda move: (move.at_us, move.alias, move.move))


def _counted(made: Sequence[Approval]) -> list[Approval]:
    """Approvals since the last decision that was none, the newest of each reviewer, oldest first."""
    counted: dict[str, Approval] = {}
    for decision in made:
        if decision.decision == "approve":
            counted.pop(decision.reviewer, None)
            counted[decision.reviewer] = decision
        else:
            counted.clear()
    return list(counted.values())


def _too_few(version: ModelVersion, policy: ReleasePolicy, given: Sequence[Approval], valid: Sequence[Approval]) -> str:
    expired = [a for a in given if a not in valid]
    if expired:
        ended = ", ".join(f"that of {a.reviewer} at {iso(a.expires_us or 0)}" for a in expired)
        return f"approvals of {version.id} expired ({ended}); let it be approved again: `rota models approve {version.id} --reason ...`"
    return (
        f"{version.id} has {len(valid)} of the {policy.approvals} approvals that its policy demands; `rota models approve {version.id} --reason ...`"
    )


def _check_decision(now: Standing, decision: Decision, asked: ReviewRequest | None, obstacles: Sequence[str]) -> None:
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


def _check_approval(now: Standing, reviewer: str, asked: ReviewRequest | None, obstacles: Sequence[str]) -> None:
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


def _status_after(now: Standing, decision: Decision) -> Any:
    if decision.word != "approve":
        return _WORDS[decision.word]
    if len(now.approvals) + 1 >= now.policy.approvals:
        return "approved"
    return now.version.status if now.version.status == "approved" else "in_review"


def _approved(now: Standing, made: Approval, *, rollout: bool) -> Event:
    """What the loop starts the rollout from."""
    version = now.version
    delivery = made.delivery or now.delivery
    body: dict[str, Any] = {"model": version.model, "number": version.number, "reviewer": made.reviewer, "rollout": rollout}
    if delivery is not None:
        body["delivery"] = plain(delivery)
    return Event("version.approved", version.id, made.at_us, body)


def _touched(version: ModelVersion, at_us: Micros, status: Any) -> ModelVersion:
    """The version with a status and a later moment: whoever decides on what it was before finds it changed."""
    return msgspec.structs.replace(version, status=status, updated_us=at_us)


def _alias_gate(metadata: Metadata, version: ModelVersion, alias: str, reason: str, *, now_us: Micros, may_release: bool) -> dict[str, Any]:
    """The evidence of a protected move; `Refused` when its gate is closed."""
    protected = _check_hands(metadata, version.model, alias, reason, may_release=may_release)
    if not protected:
        return {}
    found = check_released(metadata, version, f"the protected alias {alias!r}", now_us=now_us)
    return {"approvals": [approval_node(a) for a in found.approvals], "reviewers": [a.reviewer for a in found.approvals]}


def _check_hands(metadata: Metadata, model: str, alias: str, reason: str, *, may_release: bool) -> bool:
    """Whether an alias is protected; `Refused` when it is not moved by hand here, or not by this caller."""
    served = [endpoint.name for endpoint in registered_models.endpoints(metadata, model)]
    if alias == CHAMPION and served:
        raise Refused(
            f"alias {CHAMPION!r} of {model!r} follows the rollouts of endpoints {served} and is not moved by hand: "
            f"approve a version and `rota deploy {model}@NUMBER`, or `rota rollback {served[0]} --reason ...`",
            model=model,
        )
    if not is_protected(metadata, model, alias):
        return False
    if not may_release:
        raise Refused(f"alias {alias!r} of {model!r} is protected: moving it needs the permission 'model.release'", model=model, alias=alias)
    if not reason.strip():
        raise InvalidInput(f"the move of the protected alias {alias!r} has no reason; say why, others will read it", model=model)
    return True
