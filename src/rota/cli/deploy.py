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
rollout = typer.Typer(no_args_is_help=True, help="Progressive deliveries and their verdicts: list, show, pause, resume, abort.")
commands.add_typer(rollout, name="rollout")
rollout.add_typer(lists.rollout)


RolloutId = Annotated[str, typer.Argument(help="Id of the rollout; `rota rollout list` shows them.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]


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
    reason: Reason,
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


@rollout.command()
def pause(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Pause a rollout: the split of the traffic stays as it is, and nothing is judged until it is resumed.

    Example: rota rollout pause rollout.flight-delay.2 --reason "the label feed is late"
    """
    _command(ctx, rollout, "pause", reason, as_json=json)


@rollout.command()
def resume(ctx: typer.Context, rollout: RolloutId, json: show.Json = False) -> None:
    """Resume a paused rollout: its stage is held for the time that was left of it.

    Example: rota rollout resume rollout.flight-delay.2
    """
    _command(ctx, rollout, "resume", "", as_json=json)


@rollout.command()
def abort(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Abort a rollout: all traffic returns to the champion, and the rollout ends as rolled back with the reason.

    Example: rota rollout abort rollout.flight-delay.2 --reason "wrong training window"
    """
    _command(ctx, rollout, "abort", reason, as_json=json)


def _command(ctx: typer.Context, rollout: str, verb: str, reason: str, *, as_json: bool) -> None:
    with opened(ctx, "model.release") as platform:
        found = platform.deliveries.command(rollout, verb, actor=platform.identity.name, reason=reason)
    state = "paused" if found.paused else "is being aborted" if verb == "abort" else "goes on"
    show.facts({"rollout": found.id, "endpoint": found.endpoint, "state": f"{found.state}, {state}", "reason": reason}, as_json=as_json, record=found)


@rollout.command("show")
def show_(ctx: typer.Context, rollout: RolloutId, json: show.Json = False) -> None:
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
        "state": f"{found.state}, paused by {found.paused.actor}: {found.paused.reason}" if found.paused else found.state,
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
