"""The watch of a prediction process over the metadata store: its one thread that looks all the time, so that the others wait to be woken.

A look reads the store's mark and the owner's token, which costs some microseconds; records are read when somebody has committed.
"""

import logging
import threading

from rota.errors import RotaError
from rota.ports.metadata import Metadata
from rota.serve.prediction_tokens import PredictionTokens

log = logging.getLogger("rota.serve")
LOOK_S = 0.5
"""Time between two looks while tokens are shown."""
IDLE_LOOK_S = 0.95
"""Time between two looks while nobody asks: a token that was revoked opens nothing within a second."""


class StoreWatch:
    """Keeps the tokens at what the store holds, and sets `committed` when somebody has committed, or the store does not answer any more."""

    def __init__(self, metadata: Metadata, tokens: PredictionTokens | None, committed: threading.Event) -> None:
        self._metadata, self._tokens, self._committed = metadata, tokens, committed
        self._mark = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look now and from now on."""
        self.look()
        self._thread = threading.Thread(target=self._run, name="rota-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is known stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> float:
        """Look once; returns the seconds until the next time."""
        is_asked = self._tokens is not None and self._tokens.look()
        try:
            mark = self._metadata.mark()
        except RotaError as error:  # the poller meets it too, and tells
            mark = str(error)
        if mark != self._mark:
            self._mark = mark
            self._committed.set()
        return LOOK_S if is_asked else IDLE_LOOK_S

    def _run(self) -> None:
        wait_s = LOOK_S
        while not self._stop.wait(wait_s):
            try:
                wait_s = self.look()
            except Exception:  # the thread must live on, or a revoked token would open this port for ever
                log.exception("looking at the metadata store failed", extra={"action": "watch"})
