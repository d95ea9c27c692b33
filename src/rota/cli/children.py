"""The processes that `rota up` starts, and that several machines run by themselves: server, worker, serve."""

import logging
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
import uvicorn

from rota import wiring
from rota.cli.home import settings_of
from rota.cli.logs import configure
from rota.errors import InvalidInput, Unavailable
from rota.server import app
from rota.server.access.guard import exposed
from rota.supervisor.processes import end_with_supervisor

commands = typer.Typer()
FINISH_WITHIN_S = 3
EXPOSED = "OTHER MACHINES CAN REACH THIS CONTROL PLANE (host %s): it asks for tokens, but in clear text; put a proxy that encrypts before it"
UNGUARDED = "OTHER MACHINES CAN REACH THESE PREDICTIONS (host %s): they ask for no token; let a proxy decide who may ask"
logger = logging.getLogger("rota.server")
Fd = Annotated[int, typer.Option(help="An inherited listening socket; -1 binds the configured port.", show_default=False)]
Name = Annotated[str, typer.Option(help="Name of the process in leases and logs.")]


@commands.command()
def server(ctx: typer.Context, fd: Fd = -1) -> None:
    """Run one control-plane process.

    It answers the HTTP API and shows the pages.

    Example: rota server
    """
    configure("server")
    end_with_supervisor()
    signal.signal(signal.SIGTERM, _leave)
    settings = settings_of(ctx)
    with wiring.opened(settings) as platform:
        if exposed(settings):
            logger.warning(EXPOSED, settings.host, extra={"action": "exposed", "host": settings.host})
        platform.feed.recover()
        _listen(app.create(platform), _socket(fd, settings.host, settings.control_port))


@commands.command()
def worker(ctx: typer.Context, name: Name = "worker-0") -> None:
    """Run one worker process.

    It reacts to events and executes runs.

    Example: rota worker --name worker-7
    """
    configure(name)
    end_with_supervisor()
    settings = settings_of(ctx)
    stop = threading.Event()
    for received in (signal.SIGTERM, signal.SIGINT):
        signal.signal(received, lambda *_: stop.set())
    with wiring.opened(settings) as platform:
        wiring.work(platform, name, stop)


@commands.command()
def serve(ctx: typer.Context, fd: Fd = -1, name: Name = "serve-0") -> None:
    """Run one prediction process.

    Several may share one socket.

    Example: rota serve --name serve-7
    """
    configure(name)
    end_with_supervisor()
    signal.signal(signal.SIGTERM, _leave)
    settings = settings_of(ctx)
    if exposed(settings):
        logger.warning(UNGUARDED, settings.host, extra={"action": "exposed", "host": settings.host})
    with wiring.opened(settings) as platform:
        _listen(platform.prediction_app(name), _socket(fd, settings.host, settings.prediction_port))


def _listen(application: Any, listener: socket.socket) -> None:
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        lifespan="auto",
        access_log=False,
        server_header=False,
        log_config=None,
        timeout_graceful_shutdown=FINISH_WITHIN_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


def _socket(fd: int, host: str, port: int) -> socket.socket:
    """The supervisor's socket, or one of our own."""
    try:
        if fd >= 0:
            return socket.socket(fileno=fd)
        return socket.create_server((host, port), backlog=1_024)
    except OSError as error:
        if fd >= 0:
            raise InvalidInput(f"--fd {fd} is no socket ({error.strerror}); `rota up` passes one, leave it out otherwise", fd=fd) from error
        raise Unavailable(f"port {port} on {host} cannot be used ({error.strerror}); end what uses it, or choose another port") from error


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """uvicorn raises the signal again after its graceful end; leaving this way closes the engines too."""
    sys.exit(0)
