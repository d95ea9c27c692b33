"""Two of the processes that `rota up` starts, and that several machines run by themselves: worker and serve."""

from typing import Annotated

import typer

from rota.cli.home import settings_of
from rota.cli.logs import configure
from rota.supervisor import children

commands = typer.Typer()
Fd = Annotated[int, typer.Option(help="An inherited listening socket; -1 binds the configured port.", show_default=False)]
Lifeline = Annotated[int, typer.Option(help="A pipe that the supervisor holds open: the process ends with it.", hidden=True)]
Name = Annotated[str, typer.Option(help="Name of the process in leases and logs.")]
Patient = Annotated[bool, typer.Option("--patient", help="Accept nothing before every endpoint is served.", hidden=True)]


@commands.command()
def worker(ctx: typer.Context, name: Name = "worker-0", lifeline: Lifeline = -1) -> None:
    """Run one worker process.

    It reacts to events and executes runs.

    Example: rota worker --name worker-7
    """
    configure(name)
    children.worker(settings_of(ctx), name, lifeline=lifeline)


@commands.command()
def serve(ctx: typer.Context, fd: Fd = -1, name: Name = "serve-0", patient: Patient = False) -> None:
    """Run one prediction process.

    Several may share one socket.

    Example: rota serve --name serve-7
    """
    configure(name)
    children.prediction_process(settings_of(ctx), name, fd=fd, patient=patient)
