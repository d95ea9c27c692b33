"""Process 7 on the command line, the registry: which models and versions there are, what describes them, where aliases point."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli import adoption, cards, governance, lists, show
from rota.cli.opening import opened
from rota.deploy import online_results
from rota.errors import InvalidInput
from rota.manage.access import tokens
from rota.manage.experiments.search_grammar import parse_filter, parse_order
from rota.manage.governance import alias_moves, evidence, readiness, version_comparison
from rota.manage.governance import cards as model_cards
from rota.manage.models import model_search, model_versions, registered_models, signatures
from rota.records.access import Permission
from rota.records.filters import Query
from rota.records.model import Alias, Approval
from rota.records.record import plain
from rota.records.run import Evaluation
from rota.wiring import Platform

commands = typer.Typer()
models = typer.Typer(no_args_is_help=True, help="Models, versions and their governance: list, show, register, alias, review, approve, policy ...")
alias = typer.Typer(
    no_args_is_help=True, help="Where a model's aliases point, and pointed: set, remove, history.\n\nExample: rota models alias history flight-delay"
)
commands.add_typer(models, name="models")
models.add_typer(lists.models)
models.add_typer(governance.models)
models.add_typer(adoption.models)
models.add_typer(cards.models)
models.add_typer(alias, name="alias")

_SHOWN_APART = ("metrics", "parameters", "created_us", "updated_us", "classes", "parity", "engine", "signature")

Version = Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version by number or alias, for example churn@3 or churn@champion.")]
Model = Annotated[str, typer.Argument(help="Name of the model.")]
Thing = Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="A model, or one of its versions.")]
AliasName = Annotated[str, typer.Argument(metavar="MODEL@ALIAS", help="An alias of a model, for example churn@champion.")]
Reason = Annotated[str, typer.Option(help="Why, for the history and the audit log.")]


@models.command()
def search(
    ctx: typer.Context,
    filter: Annotated[str, typer.Argument(help="Conditions, for example \"metrics.auc > 0.8 and tags.team = 'ops'\".")] = "",
    order: Annotated[list[str] | None, typer.Option(help='A field to sort by, for example "metrics.auc DESC".', show_default=False)] = None,
    whole: Annotated[bool, typer.Option("--models", help="Find models instead of versions.")] = False,
    limit: show.Limit = 100,
    json: show.Json = False,
) -> None:
    """Find versions by name, tag, metric, parameter, owner, status, stage and alias; or models.

    Example: rota models search "metrics.roc_auc > 0.7 and alias = 'champion'" --order "metrics.roc_auc DESC"
    """
    with opened(ctx, "model.read") as platform:
        metadata = platform.repositories.metadata
        if whole:
            asked = Query(parse_filter(filter, "registered_model"), parse_order(order or [], "registered_model"), limit)
            found = model_search.models(metadata, asked).items
            columns = {"model": lambda m: m.name, "owner": lambda m: m.owner, "tags": lambda m: m.tags or "", "description": lambda m: m.description}
            show.listing(found, columns, as_json=json, empty="no model is like that")
            return
        asked = Query(parse_filter(filter, "model_version"), parse_order(order or [], "model_version"), limit)
        lists.show_versions(model_search.versions(metadata, asked), metadata.find(Alias), json=json)


@models.command("show")
def show_version(ctx: typer.Context, version: Version, json: show.Json = False) -> None:
    """Show a version: what it is, how it was judged, who decided, whether it may be released now.

    Example: rota models show flight-delay@champion
    """
    with opened(ctx, "model.read") as platform:
        metadata, now_us = platform.repositories.metadata, platform.repositories.clock.now_us()
        found = model_versions.resolve(metadata, version)
        approvals = readiness.decisions(metadata, found)
        standing = readiness.readiness(metadata, found, now_us=now_us)
        earned = evidence.earned(platform.repositories, found)
        online = online_results.of_version(metadata, found.model, found.number)
        scored = evidence.evaluations(platform.repositories, found).get("candidate") or Evaluation(found.id, found.dataset, 0, found.metrics)
        signature = signatures.of_version(platform.repositories.blobs, found)
        aliases = [a.alias for a in metadata.find(Alias, {"model": found.model}) if a.number == found.number]
    if json:
        told = {
            "approval_status": found.approval_status,
            "aliases": aliases,
            "released": standing.open,
            "missing": list(standing.missing),
            "outcomes": earned,
            "online": [plain(each) for each in online],
            "evaluation": plain(scored),
            "signature": signature,
        }
        show.write_json({"version": plain(found), "approvals": [plain(approval) for approval in approvals], **told})
        return
    named = {name: value for name, value in plain(found).items() if name not in _SHOWN_APART and value}
    named |= signatures.facts(signature)
    named |= {"an answer is": found.answer} if found.answer else {}
    named |= {"parity": found.parity.sentence} if found.parity else {}
    named |= {"engine": found.engine.sentence} if found.engine else {}
    named |= {"aliases": ", ".join(aliases), "may be released": "; ".join(standing.missing) or "yes", "created": show.when(found.created_us)}
    metrics = {f"metric {name}": model_cards.with_interval(value, scored.intervals.get(name)) for name, value in found.metrics.items()}
    parameters = {f"parameter {name}": value for name, value in found.parameters.items()}
    of_traffic = {f"online {each.rollout}": each.sentence for each in online}
    show.facts(named | metrics | of_traffic | parameters | _earned(earned) | _told(approvals), as_json=False)
    for grid in model_cards.evaluation_grids(scored):
        show.grid(grid.columns, grid.rows, grid.title)


@models.command()
def register(  # noqa: PLR0913, PLR0917 - what may be said of a version, each an option
    ctx: typer.Context,
    model: Model,
    run: Annotated[str, typer.Option(help="Id of the tracked run that made it.")] = "",
    artifact: Annotated[str, typer.Option(help="The run's folder or logged model that holds the files.")] = "model",
    file: Annotated[Path | None, typer.Option(help="Instead of a run: a model file, or a directory that MLflow wrote.", show_default=False)] = None,
    signature: Annotated[str, typer.Option(help="With --file: the columns that it reads, as JSON in MLflow's form.")] = "",
    example: Annotated[Path | None, typer.Option(help="With --file: a JSON file with example rows.", show_default=False)] = None,
    group: Annotated[str, typer.Option(help="With --file, of a model that ranks: the request's field that names the rows of one search.")] = "",
    json: show.Json = False,
) -> None:
    """Register the next version of a model, which is made when it is new: what a tracked run kept, or a file.

    Example: rota models register flight-delay --run 4f2c81 --artifact model
    """
    if bool(run) == (file is not None):
        raise typer.BadParameter("give either --run or --file", param_hint="--run / --file")
    with opened(ctx, "model.register") as platform:
        actor = platform.identity.name
        if file is not None:
            made = platform.models.register_file(model, file, signature=signature, example=example, group=group, actor=actor)
        else:
            made = platform.models.register_run(model, run=run, artifact=artifact, actor=actor)
    adoption.told(made, json=json)


@models.command()
def tag(
    ctx: typer.Context,
    thing: Thing,
    tags: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Tags to set.", show_default=False)] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Keys of tags to remove.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Set and remove tags of a model or a version.

    Example: rota models tag flight-delay@3 team=ops reviewed=yes --remove draft
    """
    _change(ctx, thing, {"tags": _pairs(tags or []), "removed_tags": remove or []}, json=json)


@models.command()
def describe(
    ctx: typer.Context,
    thing: Thing,
    text: Annotated[str | None, typer.Argument(help="What it is, for whom, what it is not for.", show_default=False)] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it from now on.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Say what a model or a version is, and who answers for it.

    Example: rota models describe flight-delay@3 "trained without the storm of July" --owner anna
    """
    _change(ctx, thing, {"description": text, "owner": owner}, json=json)


@models.command()
def rename(ctx: typer.Context, model: Model, name: Annotated[str, typer.Argument(help="The new name.")], json: show.Json = False) -> None:
    """Give a model another name; refused while an endpoint or a pipeline uses it.

    Example: rota models rename flight-delay departure-delay
    """
    with opened(ctx, "model.register") as platform:
        found = registered_models.rename(platform.repositories.metadata, model, name, **_act(platform), may_release=_may_release(platform))
    show.facts({"model": found.name}, as_json=json, record=found)


@models.command()
def delete(ctx: typer.Context, thing: Thing, reason: Reason, json: show.Json = False) -> None:
    """Delete a version, or a model with all of them; records stay for the audit, numbers are never used again.

    Example: rota models delete flight-delay@2 --reason "trained on the wrong month"
    """
    with opened(ctx, "model.register") as platform:
        metadata = platform.repositories.metadata
        if "@" in thing:
            found = model_versions.resolve(metadata, thing)
            model_versions.delete(metadata, found.model, found.number, **_act(platform), reason=reason)
            deleted = found.id
        else:
            registered_models.delete(metadata, thing, **_act(platform), reason=reason, may_release=_may_release(platform))
            deleted = thing
    show.facts({"deleted": deleted, "reason": reason}, as_json=json)


@models.command("return")
def return_(ctx: typer.Context, version: Version, reason: Reason, json: show.Json = False) -> None:
    """Return a version to service that is out of it because it ended prediction processes.

    An endpoint that was taken off it returns to it, unless something else was delivered since; its ends so far count no more. A rollout
    that was aborted is not begun again: a version is delivered once.

    Example: rota models return flight-delay@3 --reason "the machine's memory was faulty"
    """
    with opened(ctx, "model.release") as platform:
        found = model_versions.resolve(platform.repositories.metadata, version)
        returned, releases = platform.deliveries.return_to_service(found.model, found.number, actor=platform.identity.name, reason=reason)
    named = {
        "returned": found.id,
        "had ended": f"{returned.process} on endpoint {returned.endpoint} ({returned.cause}) at {show.when(returned.at_us)}",
        "serves it again": ", ".join(release.endpoint for release in releases) or "no endpoint by this; what is served now stays",
        "reason": reason,
    }
    record = {"returned": plain(returned), "releases": [plain(release) for release in releases]}
    show.facts(named, as_json=json, record=record)


@models.command()
def compare(
    ctx: typer.Context,
    model: Model,
    version: Annotated[list[int] | None, typer.Option(help="Only these numbers; otherwise every version.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Compare versions on the same test rows, over their trainings, and by their online results.

    Example: rota models compare flight-delay --version 3 --version 5
    """
    with opened(ctx, "model.read") as platform:
        found = version_comparison.compare(platform.repositories, model, version or [])
    if json:
        show.write_json(plain(found))
        return
    named = {number: name for name, number in found.aliases.items()}
    for table in found.tables:
        print(f"on the test rows of {table.dataset}")
        columns = {
            "version": lambda s: f"{s.number} {named.get(s.number, '')}",
            "rows": lambda s: s.rows,
            "metrics": lambda s: show.headline(s.metrics),
        }
        show.listing(table.scored, columns, as_json=False, empty="")
    over = {
        "version": lambda t: t.number,
        "trained": lambda t: show.when(t.at_us),
        "on": lambda t: t.dataset,
        "metrics": lambda t: show.headline(t.metrics),
    }
    show.listing(found.series, over, as_json=False, empty=f"model {model} has no version")
    for served in found.online:
        for endpoint, measured in served.performance.items():
            print(f"version {served.number} on {endpoint}: {show.headline(measured)}")
        for rollout in served.rollouts:
            print(f"version {served.number} on {rollout.endpoint}: {rollout.state}, {rollout.reason}")


@alias.command("set")
def set_alias(
    ctx: typer.Context,
    name: AliasName,
    number: Annotated[int, typer.Argument(min=1, help="Number of the version.")],
    reason: Reason,
    json: show.Json = False,
) -> None:
    """Point an alias at a version; a protected one only at an approved version.

    Example: rota models alias set flight-delay@candidate 4 --reason "for the analysts"
    """
    model, word = _alias_of(name)
    with opened(ctx, "model.read") as platform:
        tokens.require(platform.identity, _hands(platform, model, word))
        actor, may = platform.identity.name, _may_release(platform)
        made = alias_moves.move(platform.repositories, model, word, number, actor=actor, reason=reason, may_release=may)
    show.facts({"alias": name, "version": made.number, "reason": made.reason}, as_json=json, record=made)


@alias.command("remove")
def remove_alias(ctx: typer.Context, name: AliasName, reason: Reason, json: show.Json = False) -> None:
    """Remove an alias; its history stays.

    Example: rota models alias remove flight-delay@candidate --reason "no longer used"
    """
    model, word = _alias_of(name)
    with opened(ctx, "model.read") as platform:
        tokens.require(platform.identity, _hands(platform, model, word))
        alias_moves.remove(platform.repositories, model, word, actor=platform.identity.name, reason=reason, may_release=_may_release(platform))
    show.facts({"removed": name, "reason": reason}, as_json=json)


@alias.command("history")
def alias_history(
    ctx: typer.Context, name: Annotated[str, typer.Argument(metavar="MODEL[@ALIAS]", help="A model, or one of its aliases.")], json: show.Json = False
) -> None:
    """Show every move of a model's aliases: who, when, why, from which evidence.

    Example: rota models alias history flight-delay@champion
    """
    model, _, word = name.partition("@")
    with opened(ctx, "model.read") as platform:
        moves = alias_moves.history(platform.repositories.metadata, model, word)
    columns = {
        "alias": lambda m: m.alias,
        "#": lambda m: m.move,
        "at": lambda m: show.when(m.at_us),
        "from": lambda m: m.before or "",
        "to": lambda m: m.number or "removed",
        "by": lambda m: m.actor,
        "reason": lambda m: m.reason,
        "evidence": lambda m: ", ".join(m.evidence),
    }
    show.listing(moves, columns, as_json=json, empty=f"no alias of {name} ever moved")


def _change(ctx: typer.Context, thing: str, changes: dict[str, Any], *, json: bool) -> None:
    with opened(ctx, "model.register") as platform:
        metadata = platform.repositories.metadata
        if "@" in thing:
            version = model_versions.resolve(metadata, thing)
            changed = model_versions.update(metadata, version.model, version.number, **_act(platform), **changes)
            show.facts({"version": changed.id, **_described(changed)}, as_json=json, record=changed)
        else:
            model = registered_models.update(metadata, thing, **_act(platform), **changes)
            show.facts({"model": model.name, **_described(model)}, as_json=json, record=model)


def _described(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in ("owner", "description", "tags")}


def _earned(earned: dict[str, Any]) -> dict[str, object]:
    """Business outcomes by endpoint and name."""
    return {
        f"outcome {kpi['name']} on {endpoint}": f"{kpi['total']:.4g} of {kpi['count']}, {kpi['per_prediction']:.4g} a prediction"
        for endpoint, found in earned.items()
        for kpi in found["kpis"]
    }


def _told(approvals: list[Approval]) -> dict[str, object]:
    return {
        f"{a.decision} by {a.reviewer} {show.when(a.at_us)}": a.reason + (f" (until {show.when(a.expires_us)})" if a.expires_us else "")
        for a in approvals
    }


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidInput(f"tag {text!r} is not KEY=VALUE; write for example team=ops")
        pairs[key] = value
    return pairs


def _alias_of(name: str) -> tuple[str, str]:
    model, _, word = name.partition("@")
    if not model or not word:
        raise InvalidInput(f"alias {name!r} is not MODEL@ALIAS; for example churn@champion")
    return model, word


def _hands(platform: Platform, model: str, word: str) -> Permission:
    """The permission to move an alias."""
    return "model.release" if alias_moves.is_protected(platform.repositories.metadata, model, word) else "model.register"


def _may_release(platform: Platform) -> bool:
    return platform.identity.may("model.release")


def _act(platform: Platform) -> dict[str, Any]:
    return {"actor": platform.identity.name, "now_us": platform.repositories.clock.now_us()}
