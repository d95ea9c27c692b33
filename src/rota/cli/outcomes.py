"""Process 6 on the command line, business value: what came of predictions, and what it is worth by model version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rota.cli import rows, show
from rota.cli.opening import opened
from rota.errors import InvalidInput, NotFound
from rota.manage.signals import business_outcomes
from rota.records.record import plain
from rota.records.release import Endpoint
from rota.records.schema import Type

commands = typer.Typer()
outcomes = typer.Typer(no_args_is_help=True, help="What came of predictions for the business: report, show.")
commands.add_typer(outcomes, name="outcomes")

OfEndpoint = Annotated[str, typer.Argument(help="Name of the endpoint.")]
BATCH_ROWS = 10_000
_FIELDS: Mapping[str, Type] = {"prediction_id": "string", "name": "string", "at": "timestamp", "at_us": "timestamp"}


@outcomes.command()
def report(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    file: Annotated[Path, typer.Option(help="A .csv, .jsonl or .parquet file with prediction_id, name, value and at (ISO) or at_us.")],
    name: Annotated[str, typer.Option(help="The figure's name, for a file without the column.")] = "",
    json: show.Json = False,
) -> None:
    """Report outcomes of predictions, all of the file or none; a later one of the same prediction and name replaces the earlier.

    Example: rota outcomes report flight-delay --file sales.csv --name sale
    """
    with opened(ctx, "outcome.write") as platform:
        taken = [_row(row, name) for row in rows.read(file, _FIELDS)]
        now_us = platform.repositories.clock.now_us()
        business_outcomes.from_rows(taken, now_us)  # the whole file is looked at before any of it is taken
        count = sum(platform.signals.outcome(endpoint, taken[start : start + BATCH_ROWS]) for start in range(0, len(taken), BATCH_ROWS))
    show.facts({"endpoint": endpoint, "outcomes": count}, as_json=json)


@outcomes.command("show")
def show_outcomes(
    ctx: typer.Context,
    endpoint: OfEndpoint,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Of the predictions of so many days.")] = business_outcomes.WINDOW_DAYS,
    json: show.Json = False,
) -> None:
    """Show outcomes by model version: how many, sum, mean, and per prediction.

    Example: rota outcomes show flight-delay --days 30
    """
    with opened(ctx, "monitor.read") as platform:
        if platform.repositories.metadata.get(Endpoint, endpoint) is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        found = business_outcomes.report(platform.repositories, endpoint, days=days)
    if json:
        show.write_json(plain(found))
        return
    columns = {
        "version": lambda row: row[0].number,
        "predictions": lambda row: row[0].predictions,
        "outcome": lambda row: row[1].name,
        "reported": lambda row: row[1].count,
        "sum": lambda row: row[1].total,
        "mean": lambda row: row[1].mean,
        "per prediction": lambda row: row[1].per_prediction,
    }
    lines = [(version, kpi) for version in found.versions for kpi in version.kpis]
    show.listing(lines, columns, as_json=False, empty=f"no outcome of a prediction of the last {days} days was reported for {endpoint}")
    if found.unmatched:
        print(f"{found.unmatched} outcomes have no prediction in the log")


def _row(row: dict[str, Any], name: str) -> dict[str, Any]:
    """A row of a file: ids that look like numbers are texts all the same, and columns without a value are absent."""
    given = {key: value for key, value in row.items() if value is not None}
    if name:
        if given.get("name", name) != name:
            raise InvalidInput(f"the file names the outcome {given['name']!r}, --name says {name!r}; leave out --name", name=name)
        given["name"] = name
    if "prediction_id" in given:
        given["prediction_id"] = str(given["prediction_id"])
    return given
