"""What a worker and a prediction process do from their start to their end; the control plane, which loads much more, stands beside.

The supervisor starts each as a child of its own; several machines may run them without one.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import NoReturn

from rota import wiring
from rota.addresses import exposed
from rota.errors import InvalidInput, Unavailable
from rota.settings import Settings
from rota.supervisor import connections, freed_memory, reporting
from rota.supervisor.http_server import QuietServer
from rota.supervisor.processes import end_with_supervisor
from rota.supervisor.socket_handover import HandoverPoint
from rota.supervisor.watchdog import write_stack_on_signal
from rota.supervisor.worker_threads import run_worker

logger = logging.getLogger("rota.supervisor")
READY_WITHIN_S = 2.0
"""How long a prediction process that cannot serve everything yet lets callers wait before it tells them why."""
EXPOSED = "OTHER MACHINES CAN REACH THIS SERVER (host %s): it asks for tokens, but in clear text; put a proxy that encrypts before it"
UNGUARDED = "OTHER MACHINES CAN REACH THESE PREDICTIONS (host %s): they ask for no token; let a proxy decide who may ask"


def worker(settings: Settings, name: str, *, lifeline: int = -1) -> None:
    """React to events and execute runs until told to stop."""
    freed_memory.keep_few_arenas()
    end_with_supervisor(lifeline)
    stop = threading.Event()
    for received in (signal.SIGTERM, signal.SIGINT):
        signal.signal(received, lambda *_: stop.set())
    with wiring.opened(settings) as platform:
        run_worker(platform, name, stop)
        platform.compute.close()
    logging.shutdown()
    os._exit(0)  # at once: a run's code that does not listen has lost its run, and nothing waits for it


def prediction_process(settings: Settings, name: str, *, fd: int = -1, patient: bool = False) -> None:
    """Answer predictions until told to stop; several may share one socket.

    It does not end with its supervisor: whoever starts the home again finds it, and its socket, by a `HandoverPoint`. A `patient` one accepts
    nothing before it is ready, because others answer on the same socket; any other waits for that a moment only.
    """
    freed_memory.keep_few_arenas()
    signal.signal(signal.SIGTERM, leave)
    stacks = write_stack_on_signal(settings.home, name)
    if exposed(settings):
        logger.warning(EXPOSED if settings.prediction_tokens else UNGUARDED, settings.host, extra={"action": "exposed", "host": settings.host})
    listener = listening_socket(fd, settings.host, settings.prediction_port)
    with wiring.opened_for_serving(settings) as platform:
        application = platform.processes.prediction_app(name)
        handover = HandoverPoint(settings.home, name, listener, lambda: {"ready": application.is_ready})
        patience_s = float("inf") if patient else READY_WITHIN_S
        server = QuietServer(
            application,
            opened=handover.open,
            is_ready=lambda: application.is_ready,
            patience_s=patience_s,
            told_to_end=application.leave,
            **connections.limited(settings),
        )

        def figures() -> Mapping[str, float]:
            return {**application.health.figures(), **reporting.server_figures(server)}

        reporter = platform.processes.reporter("prediction process", name, application.health.conditions, figures)
        try:
            with reporting.ReportingThread(reporter):
                server.run(sockets=[listener])
        finally:
            handover.close()
            if stacks is not None:
                stacks.close()


def listening_socket(fd: int, host: str, port: int) -> socket.socket:
    """The supervisor's socket, or one of our own."""
    try:
        if fd >= 0:
            return socket.socket(fileno=fd)
        return socket.create_server((host, port), backlog=1_024)
    except OSError as error:
        if fd >= 0:
            raise InvalidInput(f"--fd {fd} is no socket ({error.strerror}); `rota up` passes one, leave it out otherwise", fd=fd) from error
        raise Unavailable(f"port {port} on {host} cannot be used ({error.strerror}); end what uses it, or choose another port") from error


def leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    """uvicorn raises the signal again after its graceful end; leaving this way closes the engines too."""
    sys.exit(0)
