"""The tokens that the prediction port knows: hashes in memory, read again every half second, kept in a file for when metadata is away.

A request costs one SHA-256 and one look into a dict: it never asks a store. A revoked token opens nothing within a second; while
metadata does not answer, also after a restart, the last hashes that were read go on. The owner's token is read from its file.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from rota.errors import Corrupt, Refused, RotaError, Unavailable
from rota.manage.access import tokens
from rota.manage.models import registered_models
from rota.ports.clock import Clock
from rota.ports.metadata import Metadata
from rota.records.access import ROLES, AccessToken, Permission, Role
from rota.records.record import Record, decode, encode
from rota.records.release import Endpoint
from rota.records.time import Micros

log = logging.getLogger("rota.serve")
LOOK_S = 0.5


class KnownToken(Record, frozen=True):
    """What the port must know of a token; `project` and `endpoint` limit it ("" = any)."""

    holder: str
    role: Role
    expires_us: Micros | None = None
    project: str = ""
    endpoint: str = ""


class KnownTokens(Record, frozen=True):
    """Tokens by the hashes of their secrets, and the projects of endpoints, as they were read."""

    tokens: Mapping[str, KnownToken]
    projects: Mapping[str, str] = {}


class TokenCache(Protocol):
    """A private file that only the owner of the home can read."""

    def read(self) -> bytes | None: ...

    def write(self, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where the tokens of this platform are read from. `owner_secret` gives the owner's ("": none here)."""

    metadata: Metadata
    owner_secret: Callable[[], str]
    wall: Clock
    environment: str
    cache: TokenCache | None = None


class PredictionTokens:
    """Recognises tokens in memory; `start` keeps it at what the store holds. Thread-safe."""

    def __init__(self, source: TokenSource, *, look_s: float = LOOK_S) -> None:
        self._source = source
        self._look_s = look_s
        self._known = KnownTokens({})
        self._away = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look now and from now on."""
        self.look()
        self._thread = threading.Thread(target=self._run, name="rota-tokens", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what is known stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> None:
        """Read the tokens again; while the store does not answer, those that were read last go on."""
        try:
            fresh = self._read()
        except Unavailable as error:
            self._go_on(error)
            return
        self._away = False
        if fresh != self._known:
            self._known = fresh
            if self._source.cache is not None:
                self._source.cache.write(encode(fresh))

    def find(self, secret: str) -> KnownToken | None:
        """The token of a secret, or None when it opens nothing now; asks no store."""
        found = self._known.tokens.get(tokens.hash_of(secret)) if secret else None
        if found is None or (found.expires_us is not None and found.expires_us <= self._source.wall.now_us()):
            return None
        return found

    def may(self, token: KnownToken, permission: Permission, endpoint: str = "") -> bool:
        """Whether a token opens something, of this endpoint or ("") of none in particular."""
        if permission not in ROLES[token.role] or (token.endpoint and (token.endpoint != endpoint or permission not in tokens.OF_ENDPOINT)):
            return False
        return not (token.project and endpoint) or self._known.projects.get(endpoint) == token.project

    def _run(self) -> None:
        while not self._stop.wait(self._look_s):
            try:
                self.look()
            except Exception:  # the thread must live on, or a revoked token would open this port for ever
                log.exception("reading tokens failed", extra={"action": "tokens"})

    def _read(self) -> KnownTokens:
        source, now_us = self._source, self._source.wall.now_us()
        valid = [t for t in source.metadata.find(AccessToken) if tokens.state(t, now_us) == "valid" and t.environment in ("", source.environment)]
        known = {token.hash: KnownToken(token.holder, token.role, token.expires_us, token.project, token.endpoint) for token in valid}
        if secret := self._owner_secret():
            known[tokens.hash_of(secret)] = KnownToken(tokens.OWNER.name, tokens.OWNER.role)
        limited = any(token.project for token in valid)
        return KnownTokens(known, _projects(source.metadata) if limited else {})

    def _owner_secret(self) -> str:
        try:
            return self._source.owner_secret()
        except Refused as error:  # it opens nothing until it is private again; the tokens of others do
            log.warning("the owner's token opens no prediction: %s", error, extra={"action": "tokens"})
            return ""

    def _go_on(self, error: Unavailable) -> None:
        if not self._away:
            log.warning("tokens cannot be read, those of the last look go on: %s", error, extra={"action": "tokens"})
        self._away = True
        if self._known.tokens or self._source.cache is None:
            return
        try:
            kept = self._source.cache.read()
            self._known = decode(kept, KnownTokens) if kept else self._known
        except Corrupt as damage:
            log.warning("the tokens kept for this case are damaged, none is known: %s", damage, extra={"action": "tokens"})


def _projects(metadata: Metadata) -> dict[str, str]:
    found = {}
    for endpoint in metadata.find(Endpoint):
        try:
            found[endpoint.name] = registered_models.get(metadata, endpoint.model).project
        except Unavailable:
            raise
        except RotaError:  # an endpoint without a model belongs to no project: no token of one opens it
            continue
    return found
