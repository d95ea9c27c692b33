"""Where alerts go: the log, or a web hook."""

import http.client
import logging
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from rota.errors import InvalidInput, Refused, Unavailable
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

    No answer, 5xx, 408, 425 and 429 raise `Unavailable`; any other answer, redirects included, raises `Refused`. Messages name
    the host only, for the rest of a web hook's URL is usually its secret.
    """

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self._host = _checked_host(url)
        self._url = url
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def deliver(self, alert: Alert) -> None:
        headers = {"content-type": "application/json", "user-agent": "rota", "idempotency-key": alert.id}
        request = urllib.request.Request(self._url, data=encode(alert), headers=headers, method="POST")  # noqa: S310 - the scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout_s):
                return
        except urllib.error.HTTPError as answer:
            with answer:
                raise self._answered(answer.code, alert) from answer
        except (OSError, http.client.HTTPException) as error:
            message = f"web hook {self._host} did not take alert {alert.id}: {getattr(error, 'reason', error)}; it may be retried"
            raise Unavailable(message, host=self._host, alert=alert.id) from error

    def _answered(self, status: int, alert: Alert) -> Refused | Unavailable:
        facts: dict[str, Any] = {"host": self._host, "alert": alert.id, "status": status}
        if status >= 500 or status in _RETRY:
            return Unavailable(f"web hook {self._host} answered {status} to alert {alert.id}; it may be retried", **facts)
        return Refused(f"web hook {self._host} answered {status} to alert {alert.id}; check the setting alert_webhook", **facts)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its body, and perhaps at another host."""

    def redirect_request(self, *_: object) -> None:
        return None


def _checked_host(url: str) -> str:
    advice = "the web hook's URL must be written http://host/... or https://host/..."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInput(f"{advice}; it cannot be parsed") from error
    if parts.scheme not in {"http", "https"} or not host or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidInput(f"{advice}; its scheme is {parts.scheme!r} and its host {host!r}", scheme=parts.scheme, host=host)
    return host if port is None else f"{host}:{port}"
