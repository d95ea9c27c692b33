"""AlertSink: how a raised alert reaches people."""

from typing import Protocol

from rota.records.signal import Alert


class AlertSink(Protocol):
    """Delivers one alert; at-least-once, so a receiver de-duplicates by `alert.id`. Raises `Unavailable` when it may be retried."""

    def deliver(self, alert: Alert) -> None: ...
