"""Process 5 on the command line: what is served, and predictions for one row or a file."""

import json as jsonlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli import rows, show
from rota.cli.home import settings_of
from rota.cli.opening import opened
from rota.client import Client
from rota.deploy.releases import current_release
from rota.errors import InvalidInput
from rota.manage.models import endpoints as declaring
from rota.records.record import plain
from rota.records.release import Endpoint, Release

commands = typer.Typer()
endpoints = typer.Typer(no_args_is_help=True, help="What each endpoint serves: list, create.")
commands.add_typer(endpoints, name="endpoints")
BATCH_ROWS = 500


@commands.command()
def predict(
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    row: Annotated[str, typer.Option(help="One row as a JSON object.")] = "",
    input: Annotated[Path | None, typer.Option(help="Rows in a .jsonl, .csv or .parquet file.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write the answers (.jsonl, .csv, .parquet); otherwise JSON lines on stdout.")] = None,
) -> None:
    """Ask a running endpoint, for one row or a file; score whole tables: batch.

    Prints one JSON object a row: prediction_id, answer, model, version, and in `missing` the features that had no value and why; warnings
    go to standard error. In a .csv file an answer of several numbers has a column for each, answer.NAME, beside the class that is likeliest.

    `rota predict batch` scores files, datasets and queries that are larger than memory, and needs no running endpoint.

    Example: rota predict flight-delay --input flights.parquet --output answers.parquet
    """
    if bool(row) == (input is not None):
        raise typer.BadParameter("give either --row or --input", param_hint="--row / --input")
    asked = rows.read(input) if input is not None else [rows.one(row)]
    if not asked:
        raise InvalidInput(f"{input} holds no rows", file=str(input))
    settings = settings_of(ctx)
    client = Client(settings.home, host=settings.host)
    answers: list[dict[str, Any]] = []
    warnings: dict[str, None] = {}
    try:
        for start in range(0, len(asked), BATCH_ROWS):
            answered = client.predict(endpoint, asked[start : start + BATCH_ROWS])
            answers += answered
            warnings |= dict.fromkeys(answered.warnings)
    finally:
        client.close()
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if output is not None:
        rows.write(output, [_flat(answer) for answer in answers] if output.suffix == ".csv" else answers)
        print(f"{len(answers)} answers in {output}")
        return
    for answer in answers:
        print(jsonlib.dumps(answer))


def _flat(answered: Mapping[str, Any]) -> dict[str, Any]:
    """An answered row with plain cells only: numbers by name in columns answer.NAME, anything else that is nested as JSON."""
    answer, others = answered.get("answer"), {name: value for name, value in answered.items() if name != "answer"}
    named = answer if isinstance(answer, dict) else {}
    if isinstance(named.get("probabilities"), dict):
        answer, named = named["class"], named["probabilities"]
    elif named:
        answer = None
    cells = others | {"answer": answer} | {f"answer.{name}": value for name, value in named.items()}
    return {name: jsonlib.dumps(value) if isinstance(value, dict | list) else value for name, value in cells.items()}


@endpoints.command("list")
def list_(ctx: typer.Context, json: show.Json = False) -> None:
    """List endpoints with the traffic split they serve now.

    Example: rota endpoints list
    """
    with opened(ctx, "model.read") as platform:
        metadata = platform.repositories.metadata
        found = [(endpoint, current_release(metadata, endpoint.name)) for endpoint in metadata.find(Endpoint)]
    if json:
        show.write_json([{"endpoint": plain(endpoint), "release": plain(release)} for endpoint, release in found])
        return
    columns = {
        "endpoint": lambda e: e[0].name,
        "model": lambda e: e[0].model,
        "revision": lambda e: e[1].revision if e[1] else "",
        "traffic": lambda e: split(e[1]),
        "since": lambda e: show.when(e[1].since_us) if e[1] else "",
        "rollout": lambda e: e[1].rollout if e[1] else "",
    }
    show.listing(
        found,
        columns,
        as_json=False,
        empty="no endpoint is declared; add a rota.Endpoint to the project and `rota apply`, or `rota endpoints create`",
    )


@endpoints.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    model: Annotated[str, typer.Option(help="The registered model that it answers with.")],
    steps: Annotated[str, typer.Option(help="Percent of traffic that a new version gets step by step; empty: all at once.")] = "5,25,50",
    hold: Annotated[str, typer.Option(help="How long each step is held and judged.")] = "30m",
    shadow: Annotated[str, typer.Option(help="How long a new version only mirrors before its first step.")] = "0s",
    unit: Annotated[str, typer.Option(help="The request field that traffic is split by; empty: each prediction by itself.")] = "",
    json: show.Json = False,
) -> None:
    """Declare an endpoint of a registered model, for one that no project here declares.

    Example: rota endpoints create churn --model churn --steps 10,50 --hold 1h
    """
    with opened(ctx, "pipeline.deploy") as platform:
        r = platform.repositories
        wanted = Endpoint(name, model, declaring.strategy(steps=steps, hold=hold, shadow=shadow, unit=unit))
        made = declaring.create(r.metadata, wanted, actor=platform.identity.name, now_us=r.clock.now_us())
    show.facts({"endpoint": made.name, "model": made.model, "steps": ", ".join(map(str, made.rollout.steps))}, as_json=json, record=made)


def split(release: Release | None) -> str:
    """The traffic split of a release in one line."""
    if release is None:
        return "no release yet"
    return ", ".join(
        f"v{route.number} {route.role} {route.weight} %" if route.role != "shadow" else f"v{route.number} shadow" for route in release.routes
    )
