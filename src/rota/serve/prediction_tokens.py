"""The tokens that the prediction port knows: hashes in memory, read again when something was committed, kept in a file for when metadata is away.

A request costs one SHA-256 and one look into a dict: it never asks a store. A revoked token opens nothing within a second; while
metadata does not answer, also after a restart, the last hashes that were read go on. The owner's token is read from its file.
"""

import logging
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
    """Recognises tokens in memory; each `look` brings it to what the store holds. Looks are one thread's; the rest is thread-safe."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._known = KnownTokens({})
        self._away = False
        self._read_at: tuple[str, str] | None = None
        self._is_asked = False

    def look(self) -> bool:
        """Read the tokens again if anything was committed since; while the store does not answer, those that were read last go on.

        Returns whether anybody has shown a token since the last look.
        """
        is_asked, self._is_asked = self._is_asked, False
        try:
            self._refresh()
        except Unavailable as error:
            self._go_on(error)
        return is_asked

    def _refresh(self) -> None:
        read_at = (self._source.metadata.mark(), self._owner_secret())
        if read_at == self._read_at:
            return
        fresh = self._read(read_at[1])
        self._away, self._read_at = False, read_at
        if fresh != self._known:
            self._known = fresh
            if self._source.cache is not None:
                self._source.cache.write(encode(fresh))

    def find(self, secret: str) -> KnownToken | None:
        """The token of a secret, or None when it opens nothing now; asks no store."""
        self._is_asked = True
        found = self._known.tokens.get(tokens.hash_of(secret)) if secret else None
        if found is None or (found.expires_us is not None and found.expires_us <= self._source.wall.now_us()):
            return None
        return found

    def may(self, token: KnownToken, permission: Permission, endpoint: str = "") -> bool:
        """Whether a token opens something, of this endpoint or ("") of none in particular."""
        if permission not in ROLES[token.role] or (token.endpoint and (token.endpoint != endpoint or permission not in tokens.OF_ENDPOINT)):
            return False
        return not (token.project and endpoint) or self._known.projects.get(endpoint) == token.project

    def _read(self, owner_secret: str) -> KnownTokens:
        source, now_us = self._source, self._source.wall.now_us()
        valid = [t for t in source.metadata.find(AccessToken) if tokens.state(t, now_us) == "valid" and t.environment in ("", source.environment)]
        known = {token.hash: KnownToken(token.holder, token.role, token.expires_us, token.project, token.endpoint) for token in valid}
        if owner_secret:
            known[tokens.hash_of(owner_secret)] = KnownToken(tokens.OWNER.name, tokens.OWNER.role)
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
