"""The settings in force, and where each of them comes from."""

import sys
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from rota import settings
from rota.cli import show
from rota.errors import InvalidInput
from rota.rendering import settings_reference

commands = typer.Typer()
HIDDEN = "..."


@commands.command(name="settings")
def listed(
    ctx: typer.Context,
    json: show.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference of all settings instead, as Markdown.")] = False,
) -> None:
    """The settings in force here and where each comes from; secrets are not shown.

    Example: rota settings
    """
    if markdown:
        if json:
            raise InvalidInput("--markdown is the reference of all settings and --json the values in force; leave one of them out")
        sys.stdout.write(settings_reference.markdown())
        return
    home = ctx.find_root().obj
    values, origins, about = settings.load(home=home), settings.origins(home=home), settings.descriptions()
    rows = [
        {
            "name": name,
            "value": _shown(getattr(values, name), secret=about[name].secret),
            "origin": origins[name],
            "range": settings_reference.bounds(about[name]),
            "description": about[name].text,
        }
        for name in about
    ]
    columns = {"setting": itemgetter("name"), "value": itemgetter("value"), "from": itemgetter("origin"), "range": itemgetter("range")}
    show.listing(rows, columns, as_json=json, empty="")


def _shown(value: object, *, secret: bool) -> object:
    if isinstance(value, Path):
        return str(value)
    return HIDDEN if secret and value else value
