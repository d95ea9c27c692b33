"""The records of a command's home, and who gives the command; light, because what lists records needs no other engine."""

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import typer

from rota import record_engines
from rota.cli.home import settings_of
from rota.errors import Refused
from rota.manage.access import tokens
from rota.manage.access.access_control import AccessControl
from rota.records.access import Identity, Permission
from rota.settings import secret


@contextmanager
def reading(ctx: typer.Context, needs: Permission) -> Iterator[record_engines.RecordStores]:
    """The stores of records of the command's home for somebody whose role holds the permission, closed at the end of the command."""
    settings = settings_of(ctx)
    stores = record_engines.record_stores(settings)
    try:
        access = AccessControl(stores.metadata, record_engines.owner_token(settings), record_engines.wall(), settings.environment)
        tokens.require(caller(access), needs)
        yield stores
    finally:
        stores.close()


def caller(access: AccessControl, environ: Mapping[str, str] = os.environ) -> Identity:
    """Who gives a command: the holder of the token in ROTA_TOKEN, else the system's user, who owns a home that this user can read."""
    given = secret("token", environ)
    if not given:
        access.owner_token.now()
        return Identity(user(), "owner")
    found = access.recognise(given)
    if found is None:
        raise Refused("the token in ROTA_TOKEN opens nothing here: it is unknown, revoked, expired, or of another environment")
    for what, name in (("endpoint", found.endpoint), ("project", found.project)):
        if name:
            raise Refused(f"the token in ROTA_TOKEN is limited to {what} {name!r}; such a token works over HTTP only", **{what: name})
    return found


def user() -> str:
    """The system's name of who gives a command."""
    return getpass.getuser()
