"""What a control-plane process does from its start to its end; apart from the others, which need none of what it loads."""

import logging
import signal
from collections.abc import Mapping

from rota import wiring
from rota.addresses import exposed
from rota.manage.signals.process_reports import Lasting
from rota.server import app
from rota.settings import Settings
from rota.supervisor import connections, freed_memory, reporting
from rota.supervisor.children import EXPOSED, leave, listening_socket
from rota.supervisor.http_server import QuietServer
from rota.supervisor.processes import end_with_supervisor

logger = logging.getLogger("rota.supervisor")


def control_plane(settings: Settings, name: str = "server", *, fd: int = -1, lifeline: int = -1) -> None:
    """Answer the HTTP API and show the pages until told to stop; `fd` is an inherited listening socket, -1 binds the configured port."""
    freed_memory.keep_few_arenas()
    end_with_supervisor(lifeline)
    signal.signal(signal.SIGTERM, leave)
    with wiring.opened(settings) as platform:
        if exposed(settings):
            logger.warning(EXPOSED, settings.host, extra={"action": "exposed", "host": settings.host})
        platform.feed.pushes.recover()
        application = app.create(platform)
        server = QuietServer(application, **connections.limited(settings))

        lasting = Lasting()

        def figures() -> Mapping[str, float]:
            answers = {f"answers_{hundreds}xx": float(application.state.answers[hundreds]) for hundreds in (2, 3, 4, 5)}
            return {**answers, **reporting.server_figures(server)}

        reporter = platform.processes.reporter("control plane", name, lambda: lasting.of(platform.readiness.conditions()), figures)
        with reporting.ReportingThread(reporter, settles=True, now_us=platform.repositories.clock.now_us):
            server.run(sockets=[listening_socket(fd, settings.host, settings.control_port)])


def route_table() -> str:
    """Every route of the control plane with the permission that it asks for, as Markdown."""
    return app.route_table()
