"""Process 4 on the command line: deliver a version, watch its rollout, go back."""

from collections.abc import Callable
from typing import Annotated

import typer

from rota.cli import lists, show
from rota.cli.opening import opened
from rota.deploy import rollout_explanation, rollout_plan, rollout_states
from rota.manage.models import model_versions
from rota.records import check
from rota.records.release import Rollout

HELP = """Rollouts and their verdicts: plan, list, show, explain, promote, abort, pause, resume, retry, undo.

What each verb does in each state; a verb is refused in a state that is not named:

  promote   progressing, paused, held            becomes promoted: the rest is not judged
  abort     progressing, paused, held            becomes rolled_back
  pause     progressing, held                    becomes paused: the split stays, nothing is judged
  resume    paused, held                         goes on; held: waits for another max_duration
  retry     rolled_back, replaced, never_began   the version is delivered once more
  undo      promoted                             back to the version before
"""
commands = typer.Typer()
rollout = typer.Typer(no_args_is_help=True, help=HELP)
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
def promote(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Promote the candidate of a rollout now; the rest is not judged.

    Its approval must still hold. Who did it and why stands in the audit log and in the history of the alias.

    Example: rota rollout promote rollout.flight-delay.2 --reason "a week of night traffic says enough"
    """
    _command(ctx, rollout, "promote", reason, as_json=json)


@rollout.command()
def abort(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Abort a rollout: all traffic returns to the champion, and the rollout ends as rolled back with the reason.

    Example: rota rollout abort rollout.flight-delay.2 --reason "wrong training window"
    """
    _command(ctx, rollout, "abort", reason, as_json=json)


@rollout.command()
def pause(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Pause a rollout: the split of the traffic stays as it is, and nothing is judged until it is resumed.

    Example: rota rollout pause rollout.flight-delay.2 --reason "the label feed is late"
    """
    _command(ctx, rollout, "pause", reason, as_json=json)


@rollout.command()
def resume(ctx: typer.Context, rollout: RolloutId, json: show.Json = False) -> None:
    """Resume a paused rollout, which holds its stage for the time that was left, or let a held one wait for another max_duration.

    Example: rota rollout resume rollout.flight-delay.2
    """
    _command(ctx, rollout, "resume", "", as_json=json)


@rollout.command()
def retry(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Deliver the version of a rollout once more that ended without it, by the strategy of today, as a new rollout.

    Example: rota rollout retry rollout.flight-delay.2 --reason "the errors came from the gateway"
    """
    _command(ctx, rollout, "retry", reason, as_json=json)


@rollout.command()
def undo(ctx: typer.Context, rollout: RolloutId, reason: Reason, json: show.Json = False) -> None:
    """Undo a promotion: the endpoint returns at once to the champion before, as by `rota rollback`.

    Example: rota rollout undo rollout.flight-delay.2 --reason "complaints from the gate desk"
    """
    _command(ctx, rollout, "undo", reason, as_json=json)


def _command(ctx: typer.Context, rollout: str, verb: str, reason: str, *, as_json: bool) -> None:
    with opened(ctx, "model.release") as platform:
        asked = platform.deliveries.command(rollout, verb, actor=platform.identity.name, reason=reason)
    facts: dict[str, object] = {"rollout": asked.id, "state": _TOLD.get(verb, asked.becomes), "reason": reason}
    if asked.rollout is not None:
        facts |= {"endpoint": asked.rollout.endpoint, "stage": asked.rollout.state}
    if asked.retried:
        facts["delivered again by"] = asked.retried
    if asked.release is not None:
        facts |= {"endpoint": asked.release.endpoint, "serves": f"version {asked.release.routes[0].number}"}
    show.facts(facts, as_json=as_json, record=asked.rollout or asked.release or {"runs": [asked.retried]})


_TOLD = {"promote": "is being promoted", "abort": "is being aborted", "resume": "goes on", "undo": "replaced", "retry": "is delivered again"}


@rollout.command()
def plan(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="A model, or a version with the delivery that its reviewer chose.")],
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    json: show.Json = False,
) -> None:
    """Tell how long a rollout takes to decide, by the endpoint's traffic and labels of the last days.

    Exits with 1 when it would be undecided when its time is over, and says what would decide.

    Example: rota rollout plan flight-delay flight-delay
    """
    with opened(ctx, "model.read") as platform:
        found = platform.deliveries.plan(model, endpoint)
    if json:
        show.write_json(rollout_plan.as_plain(found))
    else:
        _print_plan(found)
    if not found.decides:
        raise typer.Exit(1)


def _print_plan(found: rollout_plan.RolloutPlan) -> None:
    seen = found.traffic
    labels = f"{seen.labelled:.0%}, nine in ten after {rollout_plan.duration(seen.label_delay_hours)}" if seen.labelled else "none"
    facts = {
        "endpoint": found.endpoint,
        "traffic": f"{seen.rows_an_hour:,.1f} predictions an hour in the last {seen.days:.1f} days, {seen.error_rate:.2%} failed",
        "labels": labels,
    }
    show.facts(facts, as_json=False)
    print()
    columns: dict[str, Callable[[rollout_plan.Need], object]] = {
        "stage": lambda n: n.stage,
        "analysis": lambda n: n.analysis,
        "counts": lambda n: n.counted,
        "an hour": lambda n: f"{n.an_hour:,.1f}",
        "an equal one passes at": lambda n: f"{n.clears:,}" if n.clears else "never",
        "a bad one is found at": lambda n: f"{n.finds:,}" if n.finds else "",
        "takes": lambda n: f"{'at least ' if n.is_least else ''}{rollout_plan.duration(n.hours)}",
        "note": lambda n: n.note,
    }
    show.listing(found.needs, columns, as_json=False, empty="nothing is judged: no analysis is declared, a step passes once the candidate answered")
    print()
    print(rollout_plan.told(found))


@rollout.command()
def explain(ctx: typer.Context, rollout: RolloutId, json: show.Json = False) -> None:
    """Compute each decision of a rollout again from the log and the labels of its time, beside what was stored.

    Exits with 1 when a decision comes out differently.

    Example: rota rollout explain rollout.flight-delay.2
    """
    with opened(ctx, "model.read") as platform:
        found = platform.deliveries.explain(rollout)
    if json:
        show.write_json(rollout_explanation.as_plain(found))
    else:
        _print_explanation(found)
    if not found.agrees:
        raise typer.Exit(1)


def _print_explanation(found: rollout_explanation.RolloutExplanation) -> None:
    columns: dict[str, Callable[[rollout_explanation.Decision], object]] = {
        "at": lambda d: show.when(d.at_us),
        "stage": lambda d: d.stage,
        "analysis": lambda d: " ".join(filter(None, (d.stored.check, d.stored.subject))),
        "stored": lambda d: d.stored.outcome,
        "again": lambda d: "as stored" if d.again is None else d.again.outcome if d.is_exact else f"{d.again.outcome}: {d.again.message}",
        "verdict": lambda d: d.stored.message,
    }
    show.listing(found.decisions, columns, as_json=False, empty="nothing was judged yet")
    for command in found.rollout.commands:
        print(f"{show.when(command.at_us)} {command.verb} by {command.actor}{command.reason and f': {command.reason}'}")
    ended = (
        f"{found.rollout.state}: {found.rollout.reason}" if found.rollout.ended_us is not None else f"{found.rollout.phase} {found.rollout.missing}"
    )
    print("\n".join([ended.strip(), *found.notes]))
    print("every decision comes out as it was" if found.agrees else "not every decision comes out as it was")


@rollout.command("show")
def show_(ctx: typer.Context, rollout: RolloutId, json: show.Json = False) -> None:
    """Show a rollout: each judged step with the figures of its verdicts.

    Example: rota rollout show rollout.flight-delay.2
    """
    with opened(ctx, "model.read") as platform:
        standing = rollout_states.standing(platform.repositories, rollout)
    found = standing.rollout
    if found is None:
        show.facts({"rollout": rollout, "state": standing.state, "reason": standing.run.error if standing.run else ""}, as_json=json)
        return
    named = {
        "rollout": found.id,
        "endpoint": found.endpoint,
        "candidate": f"{found.model}@{found.candidate}",
        "champion": found.champion or "none",
        "state": _state(found, standing.state),
        "started": show.when(found.started_us),
        "ended": show.when(found.ended_us),
        "reason": found.reason,
        "still needed": found.missing,
        "expected": str(found.plan.get("message", "")),
    }
    show.facts({name: value for name, value in named.items() if value or name not in ("still needed", "expected")}, as_json=json, record=found)
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


def _state(rollout: Rollout, state: rollout_states.State) -> str:
    if rollout.paused:
        return f"{rollout.state}, paused by {rollout.paused.actor}: {rollout.paused.reason}"
    if state == "held":
        return f"{rollout.state}, held undecided since {show.when(rollout.held_us)}"
    return rollout.state if rollout.ended_us is None else state
