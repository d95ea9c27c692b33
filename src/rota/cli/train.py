"""Process 3 on the command line: start training."""

from typing import Annotated

import typer

from rota.cli import show
from rota.cli.opening import opened

commands = typer.Typer()


@commands.command()
def train(ctx: typer.Context, pipeline: Annotated[str, typer.Argument(help="Name of a deployed pipeline.")], json: show.Json = False) -> None:
    """Start a training run of a pipeline.

    The run is queued durably; a worker of `rota up` executes it. Refused while another one is active.

    Example: rota train flight-delay
    """
    with opened(ctx, "train.start") as platform:
        run = platform.pipelines.start(pipeline, actor=platform.identity.name)
    if json:
        show.write_json({"run": run})
    else:
        print(f"{run} is queued; follow it with `rota runs show {run}`")
