"""Process 4 on the command line, experiments: plan, start, watch and stop an A/B test or a bandit."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened
from rota.deploy import experiment_plan, rollout_states
from rota.errors import InvalidInput
from rota.records import check
from rota.records.check import CheckResult
from rota.records.record import plain
from rota.records.release import Rollout

commands = typer.Typer()
experiment = typer.Typer(no_args_is_help=True, help="A/B tests and bandits on live traffic: plan, start, list, show, stop.")
commands.add_typer(experiment, name="experiment")

ExperimentId = Annotated[str, typer.Argument(help="Id of the experiment; `rota experiment list` shows them.")]
OfEndpoint = Annotated[str, typer.Argument(help="Name of an endpoint whose rollout is a rota.ab_test or a rota.bandit.")]


@experiment.command()
def plan(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    arms: Annotated[int, typer.Option(min=1, max=20, help="Versions that are compared with the champion.")] = 1,
    json: show.Json = False,
) -> None:
    """Tell how many units an experiment takes and how long, by the endpoint's traffic, outcomes and labels of the last 28 days.

    Exits with 1 when it would be undecided when its time is over, and says what would decide.

    Example: rota experiment plan checkout
    """
    with opened(ctx, "model.read") as platform:
        found = platform.deliveries.experiment_plan(endpoint, arms=arms)
    facts = {
        "endpoint": found.endpoint,
        "design": found.design,
        "figure": f"{found.figure} {found.value:.6g}" if found.value is not None else found.figure,
        "spread of a unit": f"{found.spread:.6g}" if found.spread is not None else "not known",
        "explained by CUPED": f"{found.explained:.1%}" if found.explained else "nothing",
        "units a day": f"{found.units_a_day:,.1f} ({found.seen_units:,} in {found.days:.1f} days)",
        "smallest difference": f"{found.min_effect:.4g}" if found.min_effect else "not known",
        "units": f"{found.units:,}" if found.units else "not known",
        "takes": experiment_plan.told(found),
    }
    show.facts(facts, as_json=json, record=experiment_plan.as_plain(found))
    if not found.decides:
        raise typer.Exit(1)


@experiment.command()
def start(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    versions: Annotated[list[int], typer.Argument(help="Numbers of approved versions that are compared with the champion.")],
    json: show.Json = False,
) -> None:
    """Compare approved versions with an endpoint's champion; a version that is approved later starts one by itself.

    Example: rota experiment start checkout 4 5
    """
    with opened(ctx, "model.release") as platform:
        found = platform.deliveries.start_experiment(endpoint, versions, actor=platform.identity.name)
    if json:
        show.write_json({"runs": [found]})
    else:
        print(f"{found} is queued; follow it with `rota experiment show {found}`")


@experiment.command("list")
def list_experiments(ctx: typer.Context, endpoint: Annotated[str, typer.Option(help="Only this endpoint.")] = "", json: show.Json = False) -> None:
    """List experiments, newest first.

    Example: rota experiment list --endpoint checkout
    """
    with opened(ctx, "model.read") as platform:
        metadata = platform.repositories.metadata
        every = metadata.find(Rollout, {"endpoint": endpoint} if endpoint else {}, order="-started_us")
        found = [each for each in every if each.champion and each.strategy is not None and each.strategy.experiment is not None]
        states = {each.id: rollout_states.state_of(metadata, each) for each in found}
    columns = {
        "experiment": lambda e: e.id,
        "endpoint": lambda e: e.endpoint,
        "versions": lambda e: f"{', '.join(map(str, e.candidates))} against {e.champion}",
        "state": lambda e: states[e.id],
        "started": lambda e: show.when(e.started_us),
        "ended": lambda e: show.when(e.ended_us),
        "why": lambda e: e.reason or e.missing,
    }
    show.listing(found, columns, as_json=json, empty="no experiment began; `rota experiment start ENDPOINT VERSIONS` starts one")


@experiment.command("show")
def show_experiment(ctx: typer.Context, experiment: ExperimentId, json: show.Json = False) -> None:
    """Show an experiment: the split, each figure with its confidence sequence, and what it waits for.

    A confidence sequence covers the truth at every look at once, so it may be looked at whenever one likes. `rota rollout explain` computes each
    decision again.

    Example: rota experiment show experiment.checkout.1
    """
    with opened(ctx, "model.read") as platform:
        found = rollout_states.experiment(platform.repositories, experiment)
        state = rollout_states.state_of(platform.repositories.metadata, found.rollout)
    rollout = found.rollout
    if json:
        show.write_json({**plain(rollout), "phase": state, "split": {str(number): weight for number, weight in found.split.items()}})
        return
    facts = {
        "experiment": rollout.id,
        "endpoint": rollout.endpoint,
        "state": state,
        "split": ", ".join(f"version {number} {weight} %" for number, weight in found.split.items()) or "not set",
        "started": show.when(rollout.started_us),
        "ended": show.when(rollout.ended_us),
        "reason": rollout.reason,
        "still needed": rollout.missing,
        "expected": str(rollout.plan.get("message", "")),
    }
    show.facts({name: value for name, value in facts.items() if value}, as_json=False)
    print()
    newest = rollout.history[-1] if rollout.history else {"verdicts": []}
    columns = {
        "check": lambda r: " ".join(filter(None, (r.check, r.subject))),
        "outcome": lambda r: r.outcome,
        "estimate": lambda r: _number(r.observed),
        "lower": lambda r: _number(r.lower),
        "upper": lambda r: _number(r.upper),
        "units": lambda r: r.rows,
        "verdict": lambda r: r.message,
    }
    results: list[CheckResult] = [check.from_stored(each) for each in newest["verdicts"]]
    show.listing(results, columns, as_json=False, empty="not looked at yet")


@experiment.command()
def stop(
    ctx: typer.Context,
    experiment: ExperimentId,
    reason: Annotated[str, typer.Option(help="Why, for the audit log.")],
    json: show.Json = False,
) -> None:
    """Stop an experiment without a conclusion: all traffic returns to the champion.

    Example: rota experiment stop experiment.checkout.1 --reason "the campaign is over"
    """
    if not reason.strip():
        raise InvalidInput(f"stop of experiment {experiment!r} has no reason; say why, others will read it", experiment=experiment)
    with opened(ctx, "model.release") as platform:
        rollout_states.experiment(platform.repositories, experiment)
        asked = platform.deliveries.command(experiment, "abort", actor=platform.identity.name, reason=reason)
    show.facts(
        {"experiment": experiment, "state": "is being stopped", "reason": reason}, as_json=json, record=asked.rollout or {"runs": [experiment]}
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:+.6g}"
