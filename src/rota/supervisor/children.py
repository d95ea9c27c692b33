"""What one process of a platform does from its start to its end: control plane, worker, or prediction process.

The supervisor starts each as a child of its own; several machines may run them without one.
"""

import logging
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from rota import wiring
from rota.errors import InvalidInput, Unavailable
from rota.server import app
from rota.server.access.guard import exposed
from rota.settings import Settings
from rota.supervisor import connections
from rota.supervisor.processes import end_with_supervisor
from rota.supervisor.worker_threads import run_worker

logger = logging.getLogger("rota.supervisor")
EXPOSED = "OTHER MACHINES CAN REACH THIS SERVER (host %s): it asks for tokens, but in clear text; put a proxy that encrypts before it"
UNGUARDED = "OTHER MACHINES CAN REACH THESE PREDICTIONS (host %s): they ask for no token; let a proxy decide who may ask"


def control_plane(settings: Settings, *, fd: int = -1) -> None:
    """Answer the HTTP API and show the pages until told to stop; `fd` is an inherited listening socket, -1 binds the configured port."""
    end_with_supervisor()
    signal.signal(signal.SIGTERM, _leave)
    with wiring.opened(settings) as platform:
        if exposed(settings):
            logger.warning(EXPOSED, settings.host, extra={"action": "exposed", "host": settings.host})
        platform.feed.pushes.recover()
        _listen(app.create(platform), _socket(fd, settings.host, settings.control_port), settings)


def worker(settings: Settings, name: str) -> None:
    """React to events and execute runs until told to stop."""
    end_with_supervisor()
    stop = threading.Event()
    for received in (signal.SIGTERM, signal.SIGINT):
        signal.signal(received, lambda *_: stop.set())
    with wiring.opened(settings) as platform:
        run_worker(platform, name, stop)
        platform.compute.close()
    logging.shutdown()
    os._exit(0)  # at once: a run's code that does not listen has lost its run, and nothing waits for it


def prediction_process(settings: Settings, name: str, *, fd: int = -1) -> None:
    """Answer predictions until told to stop; several may share one socket."""
    end_with_supervisor()
    signal.signal(signal.SIGTERM, _leave)
    if exposed(settings):
        logger.warning(EXPOSED if settings.prediction_tokens else UNGUARDED, settings.host, extra={"action": "exposed", "host": settings.host})
    with wiring.opened(settings) as platform:
        _listen(platform.processes.prediction_app(name), _socket(fd, settings.host, settings.prediction_port), settings)


def route_table() -> str:
    """Every route of the control plane with the permission that it asks for, as Markdown."""
    return app.route_table()


def _listen(application: Any, listener: socket.socket, settings: Settings) -> None:
    uvicorn.Server(connections.server_config(application, settings)).run(sockets=[listener])


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
