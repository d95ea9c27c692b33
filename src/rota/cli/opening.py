"""The open platform of a command; importing this imports every engine."""

from contextlib import AbstractContextManager

import typer

from rota import wiring
from rota.cli.home import settings_of


def opened(ctx: typer.Context) -> AbstractContextManager[wiring.Platform]:
    """The platform of the command's home, closed at the end of the command."""
    return wiring.opened(settings_of(ctx))
