"""The control plane as a process of its own: server."""

import typer

from rota.cli.children import Fd, Lifeline
from rota.cli.home import settings_of
from rota.cli.logs import configure
from rota.supervisor import control_plane

commands = typer.Typer()


@commands.command()
def server(ctx: typer.Context, fd: Fd = -1, lifeline: Lifeline = -1) -> None:
    """Run one control-plane process.

    It answers the HTTP API and shows the pages.

    Example: rota server
    """
    configure("server")
    control_plane.control_plane(settings_of(ctx), fd=fd, lifeline=lifeline)
