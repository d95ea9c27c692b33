"""Process 7 on the command line, governance: reviews, risk questions, decisions, policies."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.errors import InvalidInput
from rota.manage.governance import decisions, evidence, policies, readiness, risk
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_versions, registered_models
from rota.records.model import ReleasePolicy
from rota.records.record import plain
from rota.records.release import Canary
from rota.wiring import Platform

models = typer.Typer()
risks = typer.Typer(no_args_is_help=True, help="Risk questions about a version: list, answer.\n\nExample: rota models risk list flight-delay@3")
models.add_typer(risks, name="risk")

Version = Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version by number or alias, for example churn@3 or churn@champion.")]
Reason = Annotated[str, typer.Option(help="Why; others will read it.")]


class PolicyLevel(StrEnum):
    """How a model's versions are released."""

    automatic = "automatic"
    semi_automatic = "semi-automatic"
    manual = "manual"


@models.command()
def review(ctx: typer.Context, version: Version, json: show.Json = False) -> None:
    """Show what a reviewer needs: what is open, the evidence, the answers, the decisions so far.

    Example: rota models review flight-delay@3
    """
    with opened(ctx, "model.read") as platform:
        r = platform.repositories
        found = model_versions.resolve(r.metadata, version)
        standing = readiness.readiness(r.metadata, found, now_us=r.clock.now_us())
        asked, obstacles = decisions.review(r.metadata, found), risk.obstacles(standing.policy, risk.answers(r.metadata, found))
        known = evidence.collect(r, found)
    told: dict[str, Any] = {
        "version": found.id,
        "status": found.status,
        "approval_status": found.approval_status,
        "review": plain(asked) if asked else None,
        "open": [*standing.missing, *(o for o in obstacles if not any(o in m for m in standing.missing))],
        "approvals": [plain(approval) for approval in standing.approvals],
        "policy": plain(standing.policy),
    }
    if json:
        show.write_json(told | {"evidence": known})
        return
    asked_by = f"{asked.requested_by} at {show.when(asked.at_us)}, {asked.state}: {asked.comment}" if asked else "nobody asked"
    lines = {name: told[name] for name in ("version", "status", "approval_status")} | {"review": asked_by, "level": standing.policy.level}
    lines |= {f"open {number}": text for number, text in enumerate(told["open"], 1)}
    lines |= {f"approved by {a.reviewer}": f"{a.reason} (until {show.when(a.expires_us) or 'further notice'})" for a in standing.approvals}
    show.facts(lines | _evidence_lines(known), as_json=False)


@models.command("request-review")
def request_review(
    ctx: typer.Context, version: Version, comment: Annotated[str, typer.Option(help="What the reviewer should know.")] = "", json: show.Json = False
) -> None:
    """Ask for a decision on a version.

    Example: rota models request-review flight-delay@3 --comment "better in winter, see run 4f2c81"
    """
    with opened(ctx, "model.register") as platform:
        found = model_versions.resolve(platform.repositories.metadata, version)
        made = decisions.request_review(platform.repositories.metadata, found.model, found.number, **_act(platform), comment=comment)
    show.facts({"version": found.id, "review": made.state, "asked by": made.requested_by}, as_json=json, record=made)


@models.command()
def withdraw(ctx: typer.Context, version: Version, reason: Reason = "", json: show.Json = False) -> None:
    """Take back the request for a review.

    Example: rota models withdraw flight-delay@3 --reason "found a leak in the labels"
    """
    with opened(ctx, "model.register") as platform:
        found = model_versions.resolve(platform.repositories.metadata, version)
        made = decisions.withdraw(platform.repositories.metadata, found.model, found.number, **_act(platform), reason=reason)
    show.facts({"version": found.id, "review": made.state}, as_json=json, record=made)


@models.command()
def approve(
    ctx: typer.Context,
    version: Version,
    reason: Reason,
    steps: Annotated[str, typer.Option(help="Percent of traffic, step by step, for example 5,25,50; otherwise as the endpoint says.")] = "",
    hold: Annotated[str, typer.Option(help="How long each step is held, for example 30m.")] = "",
    shadow: Annotated[str, typer.Option(help="How long the version only mirrors before, for example 1h.")] = "",
    rollout: Annotated[bool, typer.Option(help="Start the rollout once approved; under a manual policy `rota deploy` starts it.")] = True,
    json: show.Json = False,
) -> None:
    """Approve a version; unless the policy is manual, its rollout starts by itself.

    Example: rota models approve flight-delay@3 --reason "better on every carrier" --steps 5,25,50 --hold 30m --shadow 1h
    """
    with opened(ctx, "model.approve") as platform:
        found = model_versions.resolve(platform.repositories.metadata, version)
        delivery = _delivery(platform, found.model, steps=steps, hold=hold, shadow=shadow)
        _decide(platform, version, ReviewDecision("approve", platform.identity.name, reason, delivery, rollout), json=json)


@models.command()
def reject(ctx: typer.Context, version: Version, reason: Reason, json: show.Json = False) -> None:
    """Reject a version for good.

    Example: rota models reject flight-delay@3 --reason "unfair to small carriers"
    """
    with opened(ctx, "model.approve") as platform:
        _decide(platform, version, ReviewDecision("reject", platform.identity.name, reason), json=json)


@models.command("request-changes")
def request_changes(ctx: typer.Context, version: Version, reason: Reason, json: show.Json = False) -> None:
    """Send a version back: something about it must be done before it is decided on.

    Example: rota models request-changes flight-delay@3 --reason "describe what it is not for"
    """
    with opened(ctx, "model.approve") as platform:
        _decide(platform, version, ReviewDecision("request_changes", platform.identity.name, reason), json=json)


@risks.command("list")
def list_risks(ctx: typer.Context, version: Version, json: show.Json = False) -> None:
    """List the risk questions of a version's policy with their answers.

    Example: rota models risk list flight-delay@3
    """
    with opened(ctx, "model.read") as platform:
        metadata = platform.repositories.metadata
        found = model_versions.resolve(metadata, version)
        given, policy = risk.answers(metadata, found), registered_models.release_policy(metadata, found.model)
    rows = [plain(q) | {"given": plain(given[q.id]) if q.id in given else None} for q in policy.questions]
    columns = {
        "id": lambda q: q["id"],
        "category": lambda q: q["category"],
        "required": lambda q: "yes" if q["required"] else "no",
        "question": lambda q: q["text"],
        "answer": lambda q: q["given"]["answer"] if q["given"] else "open",
        "acceptable": lambda q: ("yes" if q["given"]["acceptable"] else "no") if q["given"] else "",
        "by": lambda q: q["given"]["answered_by"] if q["given"] else "",
    }
    show.listing(rows, columns, as_json=json, empty=f"the policy of {found.model} asks nothing; add [[questions]] to its file")


@risks.command("answer")
def answer_risk(
    ctx: typer.Context,
    version: Version,
    question: Annotated[str, typer.Argument(help="Id of the question.")],
    text: Annotated[str, typer.Argument(help="What was examined and found.")],
    acceptable: Annotated[bool, typer.Option("--acceptable/--unacceptable", help="Whether the risk can be taken.")] = True,
    json: show.Json = False,
) -> None:
    """Answer a risk question about a version; the newest answer counts.

    Example: rota models risk answer flight-delay@3 bias "compared by carrier and airport, no group is worse by 2 points"
    """
    with opened(ctx, "model.approve") as platform:
        metadata = platform.repositories.metadata
        found = model_versions.resolve(metadata, version)
        made = risk.answer(metadata, found.model, found.number, question, text=text, acceptable=acceptable, **_act(platform))
    show.facts({"version": found.id, "question": question, "acceptable": made.acceptable, "by": made.answered_by}, as_json=json, record=made)


@models.command()
def policy(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help='Name of the model; "*" for every model without a policy of its own.')],
    level: Annotated[PolicyLevel | None, typer.Argument(help="The new level; without it the present policy is shown.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="A policy.toml that replaces the policy.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Show or set how a model's versions are released: level, people, expiry, questions, protected aliases.

    Example: rota models policy flight-delay --file policy.toml
    """
    if level is not None and file is not None:
        raise InvalidInput("give either a level or a file; a file says the level too")
    with opened(ctx, "model.read" if level is None and file is None else "model.approve") as platform:
        metadata = platform.repositories.metadata
        found = registered_models.release_policy(metadata, policies.check_model(model))
        if file is not None:
            found = policies.put(metadata, policies.read(file, model), **_act(platform))
        elif level is not None:
            found = policies.put(metadata, msgspec.structs.replace(found, level=level.value), **_act(platform))
    show.facts(_policy_lines(found), as_json=json, record=found)


def _decide(platform: Platform, version: str, decision: ReviewDecision, *, json: bool) -> None:
    found = model_versions.resolve(platform.repositories.metadata, version)
    made = decisions.decide(platform.repositories, found.model, found.number, decision)
    found = model_versions.get(platform.repositories.metadata, found.model, found.number)
    lines = {"version": found.id, "status": found.status, "until": show.when(made.expires_us)}
    show.facts(lines, as_json=json, record=found)


def _delivery(platform: Platform, model: str, *, steps: str, hold: str, shadow: str) -> Canary | None:
    """The endpoint's strategy with what the reviewer chose instead; None without a choice."""
    if not (steps or hold or shadow):
        return None
    endpoints = registered_models.endpoints(platform.repositories.metadata, model)
    base = endpoints[0].rollout if endpoints else Canary()
    try:
        wanted = [int(step) for step in steps.split(",")] if steps else base.steps
    except ValueError:
        raise InvalidInput(f"--steps {steps!r} is not a list of percents; write for example 5,25,50") from None
    return msgspec.structs.replace(
        base, strategy="canary" if steps else base.strategy, steps=wanted, hold=hold or base.hold, shadow=shadow or base.shadow
    )


def _evidence_lines(known: dict[str, Any]) -> dict[str, object]:
    lines: dict[str, object] = {f"gate {gate['check']}": gate["message"] for gate in known["offline"]["gates"]}
    if known["offline"]["champion"]:
        lines["champion then"] = show.headline(known["offline"]["champion"]["metrics"])
    lines |= {"metrics": show.headline(known["offline"]["metrics"])}
    lines |= {f"rollout {rollout['id']}": f"{rollout['state']}: {rollout['reason']}" for rollout in known["online"]["rollouts"]}
    lines |= {f"measured on {name}": show.headline(found) for name, found in known["online"]["performance"].items() if found}
    return lines | {f"risk {question}": f"{a['answer']} ({a['answered_by']})" for question, a in known["risk"].items()}


def _policy_lines(found: ReleasePolicy) -> dict[str, object]:
    lines: dict[str, object] = {name: getattr(found, name) for name in ("model", "level", "four_eyes", "approvals")}
    lines |= {"valid": found.valid or "for good", "protected": ", ".join(found.protected)}
    return lines | {f"question {q.id}": f"{q.text} ({q.category}{', required' if q.required else ''})" for q in found.questions}


def _act(platform: Platform) -> dict[str, Any]:
    return {"actor": platform.identity.name, "now_us": platform.repositories.clock.now_us()}
