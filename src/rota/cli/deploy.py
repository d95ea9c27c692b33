"""Process 4 on the command line: deliver a version, watch its rollout, go back."""

from typing import Annotated

import typer

from rota.cli import lists, show
from rota.cli.opening import opened
from rota.errors import NotFound
from rota.manage.models import model_versions
from rota.records import check
from rota.records.release import Rollout

commands = typer.Typer()
rollout = typer.Typer(no_args_is_help=True, help="Progressive deliveries and their verdicts: list, show.")
commands.add_typer(rollout, name="rollout")
rollout.add_typer(lists.rollout)


@commands.command()
def deploy(
    ctx: typer.Context,
    version: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="An approved version, by number or alias.")],
    endpoint: Annotated[str, typer.Option(help="Only this endpoint; otherwise every endpoint of the model.")] = "",
    json: show.Json = False,
) -> None:
    """Deliver an approved version to its endpoints.

    The strategy that the reviewer chose is followed, else that of each endpoint: shadow, canary steps, promotion or rollback.

    Example: rota deploy flight-delay@3
    """
    with opened(ctx, "model.release") as platform:
        found = model_versions.resolve(platform.repositories.metadata, version)
        started = platform.deliveries.deliver(found.model, found.number, endpoint=endpoint, actor=platform.identity.name)
    if json:
        show.write_json({"runs": started})
    else:
        print("\n".join(f"{run} is queued; follow it with `rota rollout show {run}`" for run in started))


@commands.command()
def rollback(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    json: show.Json = False,
) -> None:
    """Return an endpoint at once to its previous champion.

    A governance act: who did it and why stands in the audit log.

    Example: rota rollback flight-delay --reason "complaints from the gate desk"
    """
    with opened(ctx, "model.release") as platform:
        release = platform.deliveries.roll_back(endpoint, actor=platform.identity.name, reason=reason)
    named = {"endpoint": release.endpoint, "revision": release.revision, "serves": f"version {release.routes[0].number}", "reason": reason}
    show.facts(named, as_json=json, record=release)


@rollout.command("show")
def show_(ctx: typer.Context, rollout: Annotated[str, typer.Argument(help="Id of the rollout.")], json: show.Json = False) -> None:
    """Show a rollout: each judged step with the figures of its verdicts.

    Example: rota rollout show rollout.flight-delay.2
    """
    with opened(ctx, "model.read") as platform:
        found = platform.repositories.metadata.get(Rollout, rollout)
    if found is None:
        raise NotFound(f"there is no rollout {rollout!r}; `rota rollout list` shows them", rollout=rollout)
    named = {
        "rollout": found.id,
        "endpoint": found.endpoint,
        "candidate": f"{found.model}@{found.candidate}",
        "champion": found.champion or "none",
        "state": found.state,
        "started": show.when(found.started_us),
        "ended": show.when(found.ended_us),
        "reason": found.reason,
    }
    show.facts(named, as_json=json, record=found)
    if json:
        return
    print()
    verdicts = [(entry, verdict) for entry in found.history for verdict in map(check.from_stored, entry["verdicts"])]
    columns = {
        "at": lambda v: show.when(v[0]["at_us"]),
        "stage": lambda v: v[0]["stage"],
        "outcome": lambda v: v[1].outcome,
        "analysis": lambda v: " ".join(filter(None, (v[1].check, v[1].subject))),
        "rows": lambda v: v[1].rows,
        "verdict": lambda v: v[1].message,
    }
    show.listing(verdicts, columns, as_json=False, empty="nothing was judged yet")
