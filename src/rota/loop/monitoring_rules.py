"""Rules around monitoring: a monitor's schedule starts its run, an alert is sent to people."""

import logging

from rota.errors import RotaError
from rota.loop.context import LoopContext, Reaction
from rota.records.run import Run
from rota.records.signal import Alert, Event

logger = logging.getLogger("rota.loop")


def monitor_on_schedule(context: LoopContext, event: Event) -> Reaction:
    """A run of the monitor whose schedule fired."""
    room, _, endpoint = event.subject.partition("/")
    if room != "monitor":
        return Reaction()
    now_us = context.repositories.clock.now_us()
    cause = f"schedule:{event.subject}"
    return Reaction((Run(f"monitor.{endpoint}.{event.position}", "monitor", endpoint, {"endpoint": endpoint}, now_us, cause),))


def notify_sinks(context: LoopContext, event: Event) -> Reaction:
    """Send an alert to every sink."""
    alert = context.repositories.metadata.get(Alert, event.subject)
    for sink in context.sinks if alert else ():
        assert alert is not None
        try:
            sink.deliver(alert)
        except RotaError as error:  # the alert is stored and shown; a deaf receiver must not stop the loop
            logger.error("alert not delivered", extra={"action": "alert_not_delivered", "alert": alert.id, "error": str(error)})
    return Reaction()
