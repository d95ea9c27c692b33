"""Alert sinks: the log, or a web hook."""

import logging
from typing import Any

from rota.backends.web_hooks import Target, post
from rota.errors import Refused, Unavailable
from rota.records.record import encode
from rota.records.signal import Alert

_logger = logging.getLogger("rota.monitor")
_RETRY = {408, 425, 429}


class LogSink:
    """AlertSink (port) that writes one line to the logger "rota.monitor": WARNING, or ERROR for a critical alert."""

    def deliver(self, alert: Alert) -> None:
        level = logging.ERROR if alert.severity == "critical" else logging.WARNING
        facts = {"action": "alert.raised", "alert": alert.id, "endpoint": alert.endpoint, "kind": alert.kind, "subject": alert.subject}
        _logger.log(level, "alert %s: %s", alert.id, alert.message, extra=facts)


class WebhookSink:
    """AlertSink (port) that posts the alert as JSON to `url` and expects a 2xx answer within `timeout_s`.

    No answer, 5xx, 408, 425 and 429 raise `Unavailable`; any other answer, redirects included, raises `Refused`, and so does an
    address to which nothing is sent (see `web_hooks`). Messages name the host only, for the rest of a web hook's URL is usually
    its secret.
    """

    def __init__(self, url: str, *, private: bool = False, timeout_s: float = 5.0) -> None:
        self._target = Target.of(url, private=private)
        self._timeout_s = timeout_s

    def deliver(self, alert: Alert) -> None:
        headers = {"content-type": "application/json", "user-agent": "rota", "idempotency-key": alert.id}
        try:
            status = post(self._target, encode(alert), headers, timeout_s=self._timeout_s)
        except Unavailable as error:
            message = f"web hook {self._target.shown} did not take alert {alert.id}: {error}; it may be retried"
            raise Unavailable(message, host=self._target.shown, alert=alert.id) from error
        if not 200 <= status < 300:
            raise self._answered(status, alert)

    def _answered(self, status: int, alert: Alert) -> Refused | Unavailable:
        host = self._target.shown
        facts: dict[str, Any] = {"host": host, "alert": alert.id, "status": status}
        if status >= 500 or status in _RETRY:
            return Unavailable(f"web hook {host} answered {status} to alert {alert.id}; it may be retried", **facts)
        return Refused(f"web hook {host} answered {status} to alert {alert.id}; check the setting alert_webhook", **facts)
