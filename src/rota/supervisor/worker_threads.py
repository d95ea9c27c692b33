"""The threads of one worker process: one reacts to events, one executes runs, one keeps the home tidy."""

import logging
import threading
from collections.abc import Callable

from rota.durable.pacing import Pacing
from rota.errors import RotaError, Unavailable
from rota.wiring import Platform

logger = logging.getLogger("rota.supervisor")
IDLE_S = 2.0
"""The longest wait between two looks for work when there was none for a while."""


def run_worker(platform: Platform, name: str, stop: threading.Event) -> None:
    """React to events and execute runs until `stop` is set."""
    worker = platform.processes.worker(name)
    events, runs = threading.Event(), threading.Event()

    def repeat(act: Callable[[], bool], own: threading.Event, other: threading.Event) -> None:
        """Act until told to stop; what one thread did is usually work for the other, so it is woken at once."""
        pacing = Pacing(platform.settings.poll_s, slow_s=IDLE_S)
        while not stop.is_set():
            try:
                acted = act()
            except Unavailable as error:
                logger.warning("an engine did not answer: %s", error, extra={"action": "unavailable", "worker": name})
                acted = False
            wait_s = pacing.after(acted)
            if acted:
                other.set()
            else:
                own.wait(wait_s)
                own.clear()

    def tidied(act: Callable[[], object]) -> None:
        try:
            act()
        except RotaError as error:  # the next round tries again; what is left undone is only not yet tidy
            logger.warning("housekeeping: %s", error, extra={"action": "housekeeping", "worker": name})

    def keep_tidy() -> None:
        tidied(platform.housekeeping.upkeep.submit)  # predictions may be waiting for it
        while not stop.wait(platform.settings.housekeeping_s):
            tidied(platform.housekeeping.run)

    threads = [
        threading.Thread(target=repeat, args=(platform.loop.advance, events, runs), name="loop", daemon=True),
        threading.Thread(target=keep_tidy, name="housekeeping", daemon=True),
    ]
    for thread in threads:
        thread.start()
    repeat(worker.work_once, runs, events)
    for thread in threads:
        thread.join()
