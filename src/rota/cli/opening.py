"""The open platform of a command; importing this imports every engine. What only reads records takes `rota.cli.reading`."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from rota import wiring
from rota.cli.home import settings_of
from rota.cli.reading import caller
from rota.manage.access import tokens
from rota.records.access import Permission


@contextmanager
def opened(ctx: typer.Context, needs: Permission) -> Iterator[wiring.Platform]:
    """The platform of the command's home for somebody whose role holds the permission, closed at the end of the command."""
    with wiring.opened(settings_of(ctx)) as platform:
        identity = caller(platform.access)
        tokens.require(identity, needs)
        if identity.role == "owner":
            platform.identity = identity
            yield platform
        else:
            yield platform.acting(identity)
