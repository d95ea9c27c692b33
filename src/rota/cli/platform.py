"""The platform on the command line: bring it up, look at it, and see the whole loop close."""

import contextlib
import http.client
import importlib
import os
import select
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from rota.addresses import published
from rota.cli import show
from rota.cli.home import settings_of
from rota.cli.logs import configure
from rota.errors import InvalidInput, RotaError
from rota.settings import Settings
from rota.supervisor.processes import Supervisor
from rota.supervisor.shutdown import end_home

commands = typer.Typer()
UP_WITHIN_S = 60.0


@commands.command()
def up(ctx: typer.Context) -> None:
    """Run the whole platform on this machine.

    One supervisor with a control plane, workers and prediction processes; what dies is restarted.

    Example: rota up
    """
    settings = settings_of(ctx)
    configure("up")
    threading.Thread(target=_announce, args=(settings,), name="announce", daemon=True).start()
    Supervisor(settings).run()


@commands.command()
def down(ctx: typer.Context, json: show.Json = False) -> None:
    """Stop a running platform and wait until its processes are gone.

    Also ends the prediction processes of a supervisor that was killed: they go on answering until the next `rota up` or `rota down`.

    Example: rota down
    """
    settings = settings_of(ctx)
    ended = end_home(settings.home)
    if json:
        show.write_json({"home": str(settings.home.resolve()), "ended": ended.processes, "killed": ended.killed, "warnings": ended.warnings})
        return
    for warning in ended.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{settings.home.resolve()} is down")
    print("  ended   " + ", ".join(f"{name}{' (killed)' if name in ended.killed else ''}" for name in ended.processes))


@commands.command()
def demo(
    ctx: typer.Context,
    fast: Annotated[bool, typer.Option("--fast", help="A sample: about every eighth flight of March to July.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the platform up at the end, to look around.")] = False,
    home: Annotated[Path | None, typer.Option(help="Where to keep the demo's platform; otherwise a temporary directory.", show_default=False)] = None,
) -> None:
    """Close the whole loop on recorded data.

    The flights that left New York in 2013 are predicted, watched and learned from, day by day.

    Example: rota demo --fast
    """
    home = home or ctx.find_root().obj
    try:
        main = importlib.import_module("rota.demo.__main__").main
    except ModuleNotFoundError as error:
        raise InvalidInput(f"the demo needs {error.name}, which is not installed; `pip install 'rota[demo]'` brings it") from error
    main(fast=fast, as_json=json, keep=keep, home=home)


def _announce(settings: Settings) -> None:
    """Say where everything is, once both servers answer."""
    deadline = time.monotonic() + UP_WITHIN_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, RotaError, http.client.HTTPException):
            ports = published(settings.home)
            if ports["pid"] == os.getpid() and _answers(settings.host, ports["control"], "/healthz"):
                _say(settings, ports)
                return
        time.sleep(0.05)


def _say(settings: Settings, ports: Mapping[str, object]) -> None:
    """Where everything is, written at once or not at all: a pipe that nobody reads would keep this process from ending."""
    lines = [
        f"Rota is up on {settings.home.resolve()}",
        f"  pages and API   http://{settings.host}:{ports['control']}/enter?token={_shown_token(settings)}",
        f"  predictions     http://{settings.host}:{ports['prediction']}/v1/endpoints/NAME/predict",
        "  stop            Ctrl-C, or rota down",
    ]
    with contextlib.suppress(OSError, AttributeError):
        if select.select([], [sys.stdout], [], 1.0)[1]:
            os.write(sys.stdout.fileno(), "".join(f"{line}\n" for line in lines).encode())


def _shown_token(settings: Settings) -> str:
    """The owner's token on a screen; in a log, where others may read it, how to get it."""
    return (settings.home / "token").read_text().strip() if sys.stdout.isatty() else "TOKEN (`rota token --show` prints it)"


def _answers(host: str, port: object, path: str) -> bool:
    connection = http.client.HTTPConnection(host, int(str(port)), timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    finally:
        connection.close()
