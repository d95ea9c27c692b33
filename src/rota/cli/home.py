"""Which home a command works on; light, because `rota up` and `rota status` need no engine."""

from pathlib import Path

import typer

from rota import settings

LOG = "ROTA_LOG"


def settings_of(ctx: typer.Context) -> settings.Settings:
    """The settings: `--home` beats ROTA_HOME beats rota.toml."""
    chosen: Path | None = ctx.find_root().obj
    return settings.load(home=chosen)
