"""Process 7 on the command line, the model side: registry, decisions, lineage, audit, events."""

from enum import StrEnum
from typing import Annotated, Literal

import typer

from rota.cli import show
from rota.cli.home import actor
from rota.cli.opening import opened
from rota.errors import Corrupt, NotFound
from rota.manage import chronicle, registry
from rota.manage import lineage as walking
from rota.ports.metadata import Batch
from rota.records.model import Alias, Approval, ModelVersion, ReleasePolicy
from rota.records.record import plain

commands = typer.Typer()
models = typer.Typer(no_args_is_help=True, help="The model registry: list, show, approve, reject, policy.")
lineage = typer.Typer(no_args_is_help=True, help="Where things come from: prediction, causes, effects.")
audit = typer.Typer(no_args_is_help=True, help="Who did what: list, verify.")
events = typer.Typer(no_args_is_help=True, help="What happened: list.")
for _name, _group in (("models", models), ("lineage", lineage), ("audit", audit), ("events", events)):
    commands.add_typer(_group, name=_name)

Version = Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version by number or alias, for example churn@3 or churn@champion.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]
Reviewer = Annotated[str, typer.Option(help="Who decides; otherwise the system's user name.", show_default=False)]
Node = Annotated[str, typer.Argument(help="A lineage node, for example model_version:churn@3 or run:ID.")]


class Level(StrEnum):
    """How a model's versions are released."""

    automatic = "automatic"
    semi_automatic = "semi-automatic"
    manual = "manual"


@models.command("list")
def list_models(
    ctx: typer.Context, model: Annotated[str, typer.Option(help="Only this model.")] = "", limit: show.Limit = 100, json: show.Json = False
) -> None:
    """List model versions, newest first, with status, aliases and metrics.

    Example: rota models list --model flight-delay
    """
    with opened(ctx) as platform:
        metadata = platform.repositories.metadata
        found = metadata.find(ModelVersion, {"model": model} if model else None, order="-created_us", limit=limit)
        named: dict[str, list[str]] = {}
        for alias in metadata.find(Alias):
            named.setdefault(f"{alias.model}@{alias.number}", []).append(alias.alias)
    columns = {
        "version": lambda v: v.id,
        "status": lambda v: v.status,
        "alias": lambda v: ", ".join(named.get(v.id, [])),
        "created": lambda v: show.when(v.created_us),
        "trigger": lambda v: v.trigger,
        "metrics": lambda v: show.headline(v.metrics),
    }
    show.listing(found, columns, as_json=json, empty="no model version yet; a training run that passes its gates registers one")


@models.command("show")
def show_model(ctx: typer.Context, version: Version, json: show.Json = False) -> None:
    """Show a version: what it is, how it was judged, who approved it.

    Example: rota models show flight-delay@champion
    """
    with opened(ctx) as platform:
        metadata = platform.repositories.metadata
        found = registry.resolve(metadata, version)
        approvals = metadata.find(Approval, {"model": found.model, "number": found.number})
    if json:
        show.write_json({"version": plain(found), "approvals": [plain(approval) for approval in approvals]})
        return
    decisions = {f"{a.decision} {show.when(a.at_us)}": f"{a.reviewer}: {a.reason}" for a in approvals}
    named = {name: value for name, value in plain(found).items() if name not in ("metrics", "parameters", "created_us")}
    metrics = {f"metric {name}": value for name, value in found.metrics.items()}
    parameters = {f"parameter {name}": value for name, value in found.parameters.items()}
    show.facts(named | {"created": show.when(found.created_us)} | metrics | parameters | decisions, as_json=False)


@models.command()
def approve(ctx: typer.Context, version: Version, reason: Reason, reviewer: Reviewer = "", json: show.Json = False) -> None:
    """Approve a registered version; unless the policy is manual, its rollout starts by itself.

    Example: rota models approve flight-delay@3 --reason "better on every carrier"
    """
    _decide(ctx, version, "approve", reviewer=reviewer, reason=reason, json=json)


@models.command()
def reject(ctx: typer.Context, version: Version, reason: Reason, reviewer: Reviewer = "", json: show.Json = False) -> None:
    """Reject a registered version for good.

    Example: rota models reject flight-delay@3 --reason "unfair to small carriers"
    """
    _decide(ctx, version, "reject", reviewer=reviewer, reason=reason, json=json)


@models.command()
def policy(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    level: Annotated[Level | None, typer.Argument(help="The new level; without it the present one is shown.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Show or set how a model's versions are released: automatic, semi-automatic or manual.

    Example: rota models policy flight-delay semi-automatic
    """
    with opened(ctx) as platform:
        metadata = platform.repositories.metadata
        found = registry.policy(metadata, model)
        if level is not None:
            batch = Batch()
            before, found = found, ReleasePolicy(model, level.value)
            batch.put(found)
            batch.audit(actor(), "policy.set", model, platform.repositories.clock.now_us(), before=before.level, after=found.level)
            metadata.commit(batch)
    show.facts({"model": found.model, "level": found.level}, as_json=json, record=found)


@lineage.command()
def prediction(ctx: typer.Context, id: Annotated[str, typer.Argument(help="Prediction id, as the caller got it.")], json: show.Json = False) -> None:
    """Explain one prediction: release, version, approval, run, data, code, and the alert behind the run.

    Example: rota lineage prediction 6d2c1a
    """
    with opened(ctx) as platform:
        r = platform.repositories
        chain = walking.prediction_chain(r.metadata, r.runs, r.tables, id)
    if json:
        show.write_json([{"node": link.node, "what": link.what, "facts": plain(link.facts)} for link in chain])
    else:
        show.facts({link.node: link.what for link in chain}, as_json=False)


@lineage.command()
def causes(ctx: typer.Context, node: Node, json: show.Json = False) -> None:
    """Walk from a node to everything it came from, nearest first.

    Example: rota lineage causes model_version:flight-delay@3
    """
    _walk(ctx, node, "causes", json=json)


@lineage.command()
def effects(ctx: typer.Context, node: Node, json: show.Json = False) -> None:
    """Walk from a node to everything that came from it, nearest first.

    Example: rota lineage effects dataset_version:flight-delay@3
    """
    _walk(ctx, node, "effects", json=json)


@audit.command("list")
def list_audit(
    ctx: typer.Context,
    after: Annotated[int, typer.Option(help="Only entries after this position.")] = 0,
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """List audit entries, oldest first.

    Example: rota audit list --after 100
    """
    with opened(ctx) as platform:
        found = platform.repositories.metadata.audit(after, limit=limit)
    columns = {
        "#": lambda e: e.position,
        "at": lambda e: show.when(e.at_us),
        "actor": lambda e: e.actor,
        "action": lambda e: e.action,
        "subject": lambda e: e.subject,
        "body": lambda e: e.body or "",
        "hash": lambda e: e.hash[:12],
    }
    show.listing(found, columns, as_json=json, empty="no audit entry there")


@audit.command()
def verify(ctx: typer.Context, json: show.Json = False) -> None:
    """Recompute the hash chain of the audit log; exits with 1 and the position where it breaks.

    Example: rota audit verify
    """
    with opened(ctx) as platform:
        check = chronicle.verify_audit(platform.repositories.metadata)
    if json:
        show.write_json(plain(check))
    if check.broken_at:
        raise Corrupt(f"the audit log breaks at position {check.broken_at}: {check.reason}; the {check.entries} entries before it are sound")
    if not json:
        print(f"{check.entries} entries, the chain is whole")


@events.command("list")
def list_events(ctx: typer.Context, limit: show.Limit = 50, json: show.Json = False) -> None:
    """List the newest events, newest first.

    Example: rota events list --limit 20
    """
    with opened(ctx) as platform:
        found = chronicle.newest_events(platform.repositories.metadata, limit=limit)
    columns = {
        "#": lambda e: e.position,
        "at": lambda e: show.when(e.at_us),
        "event": lambda e: e.kind,
        "subject": lambda e: e.subject,
        "body": lambda e: show.figures(e.body),
    }
    show.listing(found, columns, as_json=json, empty="nothing happened yet")


def _decide(ctx: typer.Context, version: str, decision: Literal["approve", "reject"], *, reviewer: str, reason: str, json: bool) -> None:
    with opened(ctx) as platform:
        metadata = platform.repositories.metadata
        found = registry.resolve(metadata, version)
        platform.decide(found.model, found.number, decision, reviewer=reviewer or actor(), reason=reason)
        found = registry.get(metadata, found.model, found.number)
    show.facts({"version": found.id, "status": found.status}, as_json=json, record=found)


def _walk(ctx: typer.Context, node: str, direction: Literal["causes", "effects"], *, json: bool) -> None:
    with opened(ctx) as platform:
        found = walking.walk(platform.repositories.metadata, node, direction)
    if not found and not json:
        raise NotFound(f"node {node!r} has no {direction}; nodes are written kind:key, for example model_version:churn@3", node=node)
    columns = {"effect": lambda e: e.effect, "came from": lambda e: e.cause, "at": lambda e: show.when(e.at_us)}
    show.listing(found, columns, as_json=json, empty="")
