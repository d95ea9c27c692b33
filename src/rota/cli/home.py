"""Which home a command works on, and who gives it; light, because `rota up` and `rota status` need no engine."""

import getpass
import os
from pathlib import Path

import typer

from rota import settings
from rota.server.processes import SUPERVISOR

LOG = "ROTA_LOG"
_NO_SETTINGS = (LOG, SUPERVISOR)
"""ROTA_* variables that say something about one process and nothing about the platform."""


def settings_of(ctx: typer.Context) -> settings.Settings:
    """The settings: `--home` beats ROTA_HOME beats rota.toml."""
    environ = {name: value for name, value in os.environ.items() if name not in _NO_SETTINGS}
    chosen: Path | None = ctx.find_root().obj
    return settings.load(environ=environ, home=chosen)


def actor() -> str:
    """Who gives this command, for the audit log."""
    return getpass.getuser()
