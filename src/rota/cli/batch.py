"""Process 5 on the command line, batch prediction: files, datasets and queries larger than memory."""

import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from rota import wiring
from rota.cli import progress, show
from rota.cli.opening import opened
from rota.deploy.releases import current_release
from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.manage.features.rows import file_readers
from rota.manage.features.rows.column_conversion import Raw
from rota.ports.inputs import WatermarkQuery
from rota.records.dataset import DatasetVersion
from rota.serve import batch_scoring
from rota.serve.batch_scoring import BatchJob

commands = typer.Typer(add_completion=False)


@commands.command("predict")
def batch(  # noqa: PLR0913, PLR0917 - options of a command, each by its name
    ctx: typer.Context,
    endpoint: Annotated[str, typer.Argument(help="Name of the endpoint.")],
    output: Annotated[Path, typer.Option(help="Where the answers go: .parquet, .csv or .jsonl, one row for each input row, in its order.")],
    input: Annotated[Path | None, typer.Option(help="A .parquet, .csv or .jsonl file, also packed (.gz, .zst).")] = None,
    dataset: Annotated[str, typer.Option(help="A dataset version with the endpoint's fields, NAME@NUMBER.")] = "",
    sql: Annotated[str, typer.Option(help="A query or table of a database.")] = "",
    url: Annotated[str, typer.Option(help="The database of --sql; ${NAME} stands for a variable of the environment.")] = "",
    order_by: Annotated[str, typer.Option(help="The whole-number or time column of --sql that orders its rows; rows without it are left out.")] = "",
    version: Annotated[int, typer.Option(min=0, help="Only this version answers; 0: the endpoint's traffic split.")] = 0,
    part_rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Rows of one part: what is scored again at most after a kill.")] = (
        batch_scoring.PART_ROWS
    ),
    restart: Annotated[bool, typer.Option("--restart", help="Forget the parts of a job that was begun, and replace the output.")] = False,
    json: show.Json = False,
) -> None:
    """Score a whole table with what an endpoint serves, logged and monitored as its online predictions are.

    Killed, the same command goes on where it was; its parts lie in OUTPUT.parts until all are there. A row that cannot be answered has its
    error in its output row.

    Example: rota predict batch flight-delay --input flights.parquet --output answers.parquet
    """
    if sum(map(bool, (input, dataset, sql))) != 1 or bool(sql) != bool(url and order_by):
        raise typer.BadParameter("give one of --input, --dataset, and --sql with --url and --order-by", param_hint="--input / --dataset / --sql")
    began = time.monotonic()
    with opened(ctx, "predict") as platform:
        release = current_release(platform.repositories.metadata, endpoint)
        if release is None:
            raise NotFound(f"endpoint {endpoint!r} has no release; `rota endpoints list` shows those that have", endpoint=endpoint)
        origin = str(input.resolve()) if input else f"dataset {dataset}" if dataset else f"{sql} ordered by {order_by} at {url}"
        job = batch_scoring.job_of(
            output, BatchJob(f"batch-{uuid.uuid4().hex[:16]}", endpoint, release.revision, version, origin, part_rows), restart=restart
        )
        core, source = platform.processes.batch_core()
        served = batch_scoring.loaded(source, job)
        query = WatermarkQuery(url, sql, order_by, "int") if sql else None
        total, chunks = _chunks(platform, input, dataset, query, part_rows)
        try:
            with progress.bar(f"scoring for {endpoint}") as told:
                found = batch_scoring.run(core, served, job, chunks, output, lambda done: told(done / total) if total else None)
        finally:
            core.close()
    seconds = time.monotonic() - began
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    told_ = {
        "endpoint": endpoint,
        "revision": job.revision,
        "rows": found.rows,
        "failed": found.failed,
        "resumed": found.resumed,
        "output": str(output),
        "seconds": round(seconds, 3),
        "rows_per_second": round((found.rows - found.resumed) / seconds, 1),
    }
    show.facts(told_, as_json=json, record=told_ | {"warnings": list(found.warnings)})


def _chunks(platform: wiring.Platform, input: Path | None, dataset: str, query: WatermarkQuery | None, rows: int) -> tuple[int, Iterator[Raw]]:
    """How many rows there are (0: not known before they are read), and the rows."""
    if input is not None:
        if not input.is_file():
            raise InvalidInput(f"there is no file {str(input)!r}", file=str(input))
        total = pl.scan_parquet(input, glob=False).select(pl.len()).collect().item() if input.suffix == ".parquet" else 0
        return total, file_readers.chunks(input, None, rows=rows)
    if query is not None:
        return 0, (Raw(frame) for frame in platform.inputs.databases.batches(query, rows=rows))
    found = datasets.get(platform.repositories.metadata, *datasets.parse(dataset))
    return found.rows, _dataset(platform, found, rows)


def _dataset(platform: wiring.Platform, version: DatasetVersion, rows: int) -> Iterator[Raw]:
    scan = platform.repositories.tables.scan(version.table, version=version.table_version).sort(datasets.ROW)
    return file_readers.even(scan.collect_batches(chunk_size=rows, maintain_order=True), rows)
