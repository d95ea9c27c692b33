"""Pages on which people act: a version's review, its card, and what they need to look at besides: the report and the audit log.

Forms are sent with the visitor's cookie; the guard lets them through only from our own pages (`rota.server.access.guard`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, get_args
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request, Response

from rota.errors import InvalidInput, RotaError
from rota.http_status import status_of
from rota.manage.governance import cards, decisions, evidence, readiness, reports, risk, version_comparison
from rota.manage.governance.decisions import DecisionWord, ReviewDecision
from rota.manage.lineage import audit_chain, audit_search
from rota.manage.models import model_aliases, model_versions, registered_models
from rota.manage.repositories import Repositories
from rota.records.model import CHAMPION, ModelVersion
from rota.records.release import Canary
from rota.server.access.permissions import actor_of, identity_of, needs
from rota.server.pages.answer import acted, form, page
from rota.server.wire import Number, Position, platform_of

router = APIRouter(include_in_schema=False)
SHOWN_ENTRIES = 100


@router.get("/models/{model}/{number}/review", dependencies=needs("model.read"))
def review(request: Request, model: str, number: Number) -> Response:
    """What a reviewer needs, with the forms for a decision where the caller may decide."""
    return _review(request, model, number)


@router.post("/models/{model}/{number}/review", dependencies=needs("model.register"))
async def ask(request: Request, model: str, number: Number) -> Response:
    """Ask for a review."""
    given, r = await form(request), platform_of(request).repositories
    act: dict[str, Any] = {"actor": actor_of(request), "now_us": r.clock.now_us(), "comment": given.get("comment", "")}
    return await _acted(request, model, number, given, lambda: decisions.request_review(r.metadata, model, number, **act))


@router.post("/models/{model}/{number}/risk", dependencies=needs("model.approve"))
async def answer(request: Request, model: str, number: Number) -> Response:
    """Answer a risk question."""
    given, r = await form(request), platform_of(request).repositories
    act: dict[str, Any] = {"actor": actor_of(request), "now_us": r.clock.now_us()}
    text, acceptable = given.get("answer", ""), given.get("acceptable") == "yes"

    def store() -> object:
        return risk.answer(r.metadata, model, number, given.get("question", ""), text=text, acceptable=acceptable, **act)

    return await _acted(request, model, number, given, store)


@router.post("/models/{model}/{number}/decision", dependencies=needs("model.approve"))
async def decide(request: Request, model: str, number: Number) -> Response:
    """Approve, reject, or ask for changes."""
    given, r = await form(request), platform_of(request).repositories
    reviewer = actor_of(request)

    def act() -> None:
        word = _word(given.get("decision", ""))
        delivery = _delivery(r, model, given) if word == "approve" else None
        made = ReviewDecision(word, reviewer, given.get("reason", ""), delivery, given.get("rollout", "yes") == "yes")
        decisions.decide(r, model, number, made)

    return await _acted(request, model, number, given, act)


@router.get("/models/{model}/{number}/card", dependencies=needs("model.read"))
def card(request: Request, model: str, number: Number) -> Response:
    """The model card."""
    return _card(request, model, number)


@router.post("/models/{model}/{number}/card", dependencies=needs("model.register"))
async def write(request: Request, model: str, number: Number) -> Response:
    """Write a section of the card."""
    given, r = await form(request), platform_of(request).repositories
    section, text = given.get("section", ""), given.get("text", "")
    act: dict[str, Any] = {"actor": actor_of(request), "now_us": r.clock.now_us()}
    edit = partial(cards.edit, r.metadata, model, number, section, text, **act)
    return await acted(edit, partial(_card, request, model, number), f"/models/{quote(model, safe='')}/{number}/card#{section}")


@router.get("/report", dependencies=needs("model.read"))
def report(request: Request) -> Response:
    """Every deployed model at a glance."""
    platform = platform_of(request)
    return page("report.html", platform, models=reports.models(platform.repositories))


@router.get("/audit", dependencies=needs("audit.read"))
def audit(request: Request, actor: str = "", action: str = "", subject: str = "", before: Position = 0, verify: bool = False) -> Response:
    """Who did what, newest first, and on demand whether the chain is whole."""
    platform = platform_of(request)
    metadata = platform.repositories.metadata
    wanted = {"actor": actor, "action": action, "subject": subject}
    return page(
        "audit.html",
        platform,
        asked=wanted,
        query={name: value for name, value in wanted.items() if value},
        trail=audit_search.newest(metadata, wanted, limit=SHOWN_ENTRIES, before=max(0, before)),
        head=audit_chain.head(metadata),
        check=audit_chain.verify_audit(metadata) if verify else None,
    )


def _review(request: Request, model: str, number: int, error: RotaError | None = None, typed: dict[str, str] | None = None) -> Response:
    platform = platform_of(request)
    r = platform.repositories
    version = model_versions.get(r.metadata, model, number)
    identity, standing = identity_of(request), readiness.readiness(r.metadata, version, now_us=r.clock.now_us())
    answers = risk.answers(r.metadata, version)
    obstacles = risk.obstacles(standing.policy, answers)
    endpoints = registered_models.endpoints(r.metadata, model)
    shown = page(
        "review.html",
        platform,
        version=version,
        problem=str(error) if error else "",
        review=decisions.review(r.metadata, version),
        standing=standing,
        open=[*standing.missing, *(each for each in obstacles if not any(each in told for told in standing.missing))],
        answers=answers,
        decisions=readiness.decisions(r.metadata, version),
        known=evidence.collect(r, version),
        tables=_tables(r, version),
        base=endpoints[0].rollout if endpoints else Canary(),
        endpoints=endpoints,
        may_answer=identity.may("model.approve") and version.status != "deleted",
        words=_words(standing) if identity.may("model.approve") else (),
        may_ask=identity.may("model.register") and version.status in ("registered", "changes_requested"),
        typed=typed or {},
    )
    shown.status_code = status_of(error) if error else 200
    return shown


def _card(request: Request, model: str, number: int, error: RotaError | None = None) -> Response:
    platform = platform_of(request)
    r = platform.repositories
    version = model_versions.get(r.metadata, model, number)
    may_write = identity_of(request).may("model.register") and version.status != "deleted"
    shown = page("card.html", platform, card=cards.card(r, version), may_write=may_write, problem=str(error) if error else "")
    shown.status_code = status_of(error) if error else 200
    return shown


def _words(standing: readiness.Readiness) -> tuple[DecisionWord, ...]:
    """What may still be decided about a version."""
    if standing.version.status in ("registered", "in_review") or (standing.version.status == "approved" and not standing.open):
        return ("approve", "request_changes", "reject")
    return ("reject",) if standing.version.status == "changes_requested" else ()


def _word(text: str) -> DecisionWord:
    try:
        word: DecisionWord = msgspec.convert(text, DecisionWord)
    except msgspec.ValidationError:
        raise InvalidInput(f"decision {text[:50]!r} is none; it is one of {list(get_args(DecisionWord))}") from None
    return word


def _tables(repositories: Repositories, version: ModelVersion) -> tuple[version_comparison.Table, ...]:
    """The version and the champion of today on the same rows, where they were scored on the same."""
    champion = model_aliases.aliased_version(repositories.metadata, version.model, CHAMPION)
    sides = {version.number: version} | ({champion.number: champion} if champion else {})
    return version_comparison.tables(repositories, list(sides.values()))


def _delivery(repositories: Repositories, model: str, given: dict[str, str]) -> Canary | None:
    """The endpoint's strategy with what the reviewer chose instead; None without a choice."""
    chosen = {name: given[name].strip() for name in ("steps", "hold", "shadow") if given.get(name, "").strip()}
    if not chosen:
        return None
    endpoints = registered_models.endpoints(repositories.metadata, model)
    base = endpoints[0].rollout if endpoints else Canary()
    try:
        steps = [int(step) for step in chosen["steps"].split(",")] if "steps" in chosen else base.steps
    except ValueError:
        raise InvalidInput(f"steps {chosen['steps'][:100]!r} are no list of percents; write for example 5,25,50") from None
    strategy = "canary" if "steps" in chosen else base.strategy
    hold, shadow = chosen.get("hold", base.hold), chosen.get("shadow", base.shadow)
    return msgspec.structs.replace(base, strategy=strategy, steps=steps, hold=hold, shadow=shadow)


async def _acted(request: Request, model: str, number: int, given: dict[str, str], act: Callable[[], object]) -> Response:
    """Do it and go back to the review; what stands in the way is said above the review."""
    return await acted(act, lambda error: _review(request, model, number, error, given), f"/models/{quote(model, safe='')}/{number}/review")
