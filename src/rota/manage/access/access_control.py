"""Access control of an open platform: whose secret is this, and what may its holder see."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rota.errors import Unavailable
from rota.manage.access import sessions, tokens
from rota.ports.clock import Clock
from rota.ports.metadata import Metadata
from rota.records.access import BrowserSession, Identity


class OwnerSecret(Protocol):
    """The token of whoever owns the home: one secret in a file that only its owner may read."""

    path: Path

    def make(self) -> str:
        """The token; made when there is none yet."""

    def renew(self) -> str:
        """Another secret in place of the old one, which opens nothing from the next request on."""

    def now(self) -> str:
        """The token; "" where there is none. Raises `Refused` for who may not read it."""


@dataclass(frozen=True, slots=True)
class AccessControl:
    """Recognises the holders of tokens. `wall` is the machine's clock, also where the platform follows a replayed one: tokens live and die by it."""

    metadata: Metadata
    owner_token: OwnerSecret
    wall: Clock
    environment: str

    def is_owner(self, secret: str) -> bool:
        """Whether this is the owner's token; asks no store."""
        return tokens.same(secret, self.owner_token.now())

    def recognise(self, secret: str) -> Identity | None:
        """Whose secret this is; asked of the store each time, so that a revoked token opens nothing from then on."""
        if self.is_owner(secret):
            return tokens.OWNER
        return tokens.recognise(self.metadata, secret, environment=self.environment, now_us=self.wall.now_us())

    def begin_session(self, identity: Identity, secret: str) -> str:
        """The id of a new session of who showed this token's secret: what a browser's cookie holds instead of it."""
        return sessions.begin(self.metadata, identity, secret, now_us=self.wall.now_us())[1]

    def recognise_session(self, key: str) -> Identity | None:
        """Whose session has this id; asked of the store each time, also whether its token still opens anything."""
        now_us = self.wall.now_us()
        return sessions.recognise(self.metadata, key, owner_secret=self.owner_token.now(), environment=self.environment, now_us=now_us)

    def end_session(self, key: str) -> None:
        """The session with this id opens nothing any more; an id that nobody has is no matter."""
        session = sessions.by_key(self.metadata, key)
        if session is not None:
            sessions.end(self.metadata, session.id, actor=session.holder, now_us=self.wall.now_us())

    def described_session(self, session: BrowserSession) -> dict[str, object]:
        """What may be shown of a session (see `sessions.described`)."""
        now_us = self.wall.now_us()
        return sessions.described(self.metadata, session, owner_secret=self.owner_token.now(), environment=self.environment, now_us=now_us)

    def may_monitor(self, secret: str) -> bool:
        """Whether counters may be shown with the names of endpoints; False while the store does not answer."""
        try:
            identity = self.recognise(secret)
        except Unavailable:  # counts without names are better than none
            return False
        return identity is not None and not identity.project and not identity.endpoint and identity.may("monitor.read")
