"""Begin, recognise and end the sessions of browsers: a cookie holds a random id that opens nothing elsewhere, never the token itself.

A session opens what its token opens, asked of the store at each request, so that it ends with its token. Moments are the machine's.
"""

import secrets
import uuid
from typing import Literal

import msgspec

from rota.errors import Conflict, NotFound, Refused, Unavailable
from rota.manage.access import tokens
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.access import AccessToken, BrowserSession, Identity
from rota.records.time import DAY_US, HOUR_US, SECOND_US, Micros

IDLE_US = 12 * HOUR_US
"""Unused for so long, a session is over: a browser that was left open overnight asks for the token again."""
LONGEST_US = 30 * DAY_US
"""A session is over so long after its begin, however much it is used."""
COARSE_US = 300 * SECOND_US
"""The last use is written at most this often, because looking at a page should not write."""
OPEN_A_TOKEN = 50
"""Sessions of one token at a time; the oldest ends when another one begins."""
KEPT_US = 7 * DAY_US
"""How long a session that is over stays listed; the next sign-in removes it then."""
LISTED = 10_000
SessionState = Literal["valid", "ended", "idle", "expired", "token ended"]


def begin(metadata: Metadata, identity: Identity, secret: str, *, now_us: Micros) -> tuple[BrowserSession, str]:
    """A new session of who showed the secret of a token, and the id for the cookie, which is not stored and cannot be shown again."""
    key = secrets.token_urlsafe(32)
    session = BrowserSession(
        uuid.uuid4().hex[:12], tokens.hash_of(key), identity.token, identity.name, tokens.hash_of(secret), created_us=now_us, used_us=now_us
    )

    def store() -> None:
        batch = Batch()
        batch.create(session)
        for over in _to_remove(metadata, identity.token, now_us):
            batch.remove(over)
        batch.audit(identity.name, "session.begin", session.id, now_us, token=identity.token)
        metadata.commit(batch)

    transact(store)
    return session, key


def recognise(metadata: Metadata, key: str, *, owner_secret: str, environment: str, now_us: Micros) -> Identity | None:
    """Whose session has this id, in the role and limits that its token has now, or None when it opens nothing here."""
    session = by_key(metadata, key)
    if session is None or _state_by_time(session, now_us) != "valid":
        return None
    identity = _identity(metadata, session, owner_secret=owner_secret, environment=environment, now_us=now_us)
    if identity is not None and now_us - session.used_us >= COARSE_US:
        _note_use(metadata, session, now_us)
    return identity


def by_key(metadata: Metadata, key: str) -> BrowserSession | None:
    """The session with the id that a cookie holds, also one that is over."""
    found = metadata.page(BrowserSession, {"hash": tokens.hash_of(key)}, limit=1).items if key else []
    return found[0] if found else None


def end(metadata: Metadata, session_id: str, *, actor: str, now_us: Micros) -> BrowserSession:
    """From now on the session opens nothing; ending twice is the same."""
    session = metadata.get(BrowserSession, session_id)
    if session is None:
        raise NotFound(f"there is no session {session_id!r}; `rota token sessions list` shows them", session=session_id)
    if session.ended_us is not None:
        return session
    ended = msgspec.structs.replace(session, ended_us=now_us)
    batch = Batch()
    batch.put(ended)  # whatever noted a use meanwhile: it is over
    batch.audit(actor, "session.end", session.id, now_us, holder=session.holder, token=session.token)
    metadata.commit(batch)
    return ended


def sessions(metadata: Metadata, *, holder: str = "", limit: int = LISTED) -> list[BrowserSession]:
    """Sessions of everybody or of one holder, also those that are over and not removed yet, newest first."""
    found = [session for session in metadata.find(BrowserSession) if holder in ("", session.holder)]
    return sorted(found, key=lambda session: (-session.created_us, session.id))[:limit]


def described(metadata: Metadata, session: BrowserSession, *, owner_secret: str, environment: str, now_us: Micros) -> dict[str, object]:
    """What may be shown of a session: everything but the hashes, and whether it opens anything at this moment."""
    state = _state_by_time(session, now_us)
    if state == "valid" and _identity(metadata, session, owner_secret=owner_secret, environment=environment, now_us=now_us) is None:
        state = "token ended"
    shown = {name: value for name, value in msgspec.structs.asdict(session).items() if name not in ("hash", "entered_with")}
    return shown | {"expires_us": min(session.used_us + IDLE_US, session.created_us + LONGEST_US), "state": state}


def _identity(metadata: Metadata, session: BrowserSession, *, owner_secret: str, environment: str, now_us: Micros) -> Identity | None:
    if not session.token:
        return tokens.OWNER if owner_secret and tokens.same(session.entered_with, tokens.hash_of(owner_secret)) else None
    token = metadata.get(AccessToken, session.token)
    if token is None or not tokens.same(session.entered_with, token.hash):
        return None
    return tokens.identity_of(token, environment=environment, now_us=now_us)


def _state_by_time(session: BrowserSession, now_us: Micros) -> SessionState:
    if session.ended_us is not None:
        return "ended"
    if now_us - session.created_us >= LONGEST_US:
        return "expired"
    return "idle" if now_us - session.used_us >= IDLE_US else "valid"


def _note_use(metadata: Metadata, session: BrowserSession, now_us: Micros) -> None:
    """The use of a session; what keeps it from being written keeps nobody from reading a page."""
    batch = Batch()
    batch.put(msgspec.structs.replace(session, used_us=now_us), replacing=session)
    try:
        metadata.commit(batch)
    except (Conflict, Unavailable, Refused):  # another request noted it, it was ended, or the store takes no writes now
        return


def _to_remove(metadata: Metadata, token: str, now_us: Micros) -> list[BrowserSession]:
    """Sessions that have been over for long, and the oldest of a token that has too many."""
    found = metadata.find(BrowserSession)
    long_over = [session for session in found if now_us - _last_moment(session) >= KEPT_US]
    rest = [session for session in found if session.token == token and session not in long_over]
    surplus = max(0, len(rest) + 1 - OPEN_A_TOKEN)
    return long_over + sorted(rest, key=lambda session: (session.used_us, session.id))[:surplus]


def _last_moment(session: BrowserSession) -> Micros:
    ends = min(session.used_us + IDLE_US, session.created_us + LONGEST_US)
    return min(session.ended_us, ends) if session.ended_us is not None else ends
