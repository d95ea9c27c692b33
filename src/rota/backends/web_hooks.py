"""Post to a configured URL without opening a way into this network (server-side request forgery).

Encrypted to public addresses, or plain to this machine. The name is resolved once and the connection made to the address
that was checked, so a name that changes its mind in between gains nothing; redirects are not followed, proxies not asked.
"""

import http.client
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

from rota.errors import InvalidInput, Refused, Unavailable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NEVER = frozenset(map(ipaddress.ip_address, ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")))
"""Where clouds answer questions about their machines and hand out keys, beside the link-local addresses."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ADVICE = "the web hook's URL must be written https://host/... (or http://localhost/...)"


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL; its path, which usually is a secret, is not shown. `private`: private networks and plain http are allowed."""

    host: str
    port: int
    encrypted: bool
    path: str = field(repr=False)
    private: bool
    shown: str

    @classmethod
    def of(cls, url: str, *, private: bool = False) -> Self:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(f"{_ADVICE}; it cannot be parsed") from error
        if parts.scheme not in {"http", "https"} or not host or not url.isascii() or not url.isprintable() or " " in url:
            raise InvalidInput(f"{_ADVICE}; its scheme is {parts.scheme!r} and its host {host!r}", scheme=parts.scheme, host=host)
        if parts.username is not None:
            raise InvalidInput(f"{_ADVICE}; a name or password before the host is not sent, put the secret into the path", host=host)
        encrypted = parts.scheme == "https"
        if not encrypted and not private and not _is_loopback(host):
            raise InvalidInput(f"{_ADVICE}; plain http to {host!r} would show alerts to the network (alert_private = true allows it)", host=host)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(host, port or (443 if encrypted else 80), encrypted, path, private, host if port is None else f"{host}:{port}")


def post(target: Target, body: bytes, headers: dict[str, str], *, timeout_s: float) -> int:
    """The status of the answer; `Unavailable` when there is none, `Refused` when nothing may be sent to where the name leads."""
    try:
        address = resolve(target)
        connection = _Encrypted(target, address, timeout_s) if target.encrypted else _Plain(target, address, timeout_s)
        try:
            connection.request("POST", target.path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(str(error) or type(error).__name__, host=target.shown) from error


def resolve(target: Target) -> str:
    """The one address to connect to. Every address of the name must be allowed, or none is used."""
    found = [str(entry[4][0]) for entry in socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)]
    for address in found:
        if not allowed(ipaddress.ip_address(address.partition("%")[0]), local=_is_loopback(target.host), private=target.private):
            raise Refused(
                f"web hook {target.shown} leads to {address}, where nothing is sent; a private network is allowed by alert_private = true, "
                "link-local and metadata addresses never are",
                host=target.shown,
                address=address,
            )
    return found[0]


def allowed(address: Address, *, local: bool, private: bool) -> bool:
    """Whether something may be sent to an address; `local`: the URL itself says that it is this machine."""
    address = _inner(address)
    if address in NEVER or address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if address.is_loopback:
        return local
    if address.is_global:
        return True
    return private and (address.is_private or address in ipaddress.ip_network("100.64.0.0/10")) and not address.is_reserved


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Plain(http.client.HTTPConnection):
    """Speaks to the checked address in the name of the host."""

    def __init__(self, target: Target, address: str, timeout_s: float) -> None:
        super().__init__(target.host, target.port, timeout=timeout_s)
        self._address = address

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _Encrypted(http.client.HTTPSConnection):
    """Speaks to the checked address, whose certificate must be the host's."""

    def __init__(self, target: Target, address: str, timeout_s: float) -> None:
        self._pinned = ssl.create_default_context()
        super().__init__(target.host, target.port, timeout=timeout_s, context=self._pinned)
        self._address = address

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        try:
            self.sock = self._pinned.wrap_socket(plain, server_hostname=self.host)
        except OSError:
            plain.close()
            raise
