"""Which Host and Origin headers a server answers to: a page of another site must neither read it nor act through a visitor's browser."""

from collections.abc import Collection
from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def answered_hosts(host: str, allowed_hosts: str) -> frozenset[str]:
    """The names to which a server answers: its own, loopback, and the further ones of a setting, separated by commas."""
    further = (name.strip().lower() for name in allowed_hosts.split(","))
    return LOOPBACK | {host.lower()} | {name for name in further if name}


def misdirected(given: Collection[str], hosts: Collection[str], address: str) -> str:
    """Why a request with these Host headers is not ours (DNS rebinding), or ""; `address` is the one that the connection was made to."""
    first = next(iter(given), "")
    host = host_of(first) if len(given) == 1 else ""
    if host and (host in hosts or host == address):
        return ""
    return f"this server does not answer to the host {first[:200]!r}; add the name to ROTA_ALLOWED_HOSTS if it is its own"


def is_foreign(origin: str, host: str) -> bool:
    """Whether a request's Origin header names another site than the one that its Host header names."""
    return netloc_of(origin) != host.lower()


def host_of(header: str) -> str:
    """The name in a Host header without its port; "" when it is malformed."""
    if header.startswith("["):
        name, closed, port = header[1:].partition("]")
        return name.lower() if closed and (not port or (port[0] == ":" and port[1:].isdigit())) else ""
    name, colon, port = header.partition(":")
    return name.lower() if not colon or port.isdigit() else ""


def netloc_of(origin: str) -> str:
    """Host and port of an http or https origin; a text that is no host for any other."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return "?"
    return parts.netloc.lower() if parts.scheme in ("http", "https") else "?"
