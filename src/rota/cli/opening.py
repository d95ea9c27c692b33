"""The open platform of a command, and who gives the command; importing this imports every engine."""

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from rota import wiring
from rota.cli.home import settings_of
from rota.errors import Refused
from rota.manage.access import tokens
from rota.records.access import Identity, Permission
from rota.settings import secret


@contextmanager
def opened(ctx: typer.Context, needs: Permission) -> Iterator[wiring.Platform]:
    """The platform of the command's home for somebody whose role holds the permission, closed at the end of the command."""
    settings = settings_of(ctx)
    with wiring.opened(settings) as platform:
        platform.identity = caller(platform)
        tokens.require(platform.identity, needs)
        yield platform


def caller(platform: wiring.Platform, environ: Mapping[str, str] = os.environ) -> Identity:
    """Who gives a command: the holder of the token in ROTA_TOKEN, else the system's user: whoever can read a home owns it."""
    given = secret("token", environ)
    if not given:
        platform.access.owner_token.now()
        return Identity(getpass.getuser(), "owner")
    found = platform.access.recognise(given)
    if found is None:
        raise Refused("the token in ROTA_TOKEN opens nothing here: it is unknown, revoked, expired, or of another environment")
    if found.project:
        raise Refused(f"the token in ROTA_TOKEN is limited to project {found.project!r}; such a token works over HTTP only", project=found.project)
    return found
