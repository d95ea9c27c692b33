"""Create, recognise and revoke access tokens; what a role may do is the table in `rota.records.access`.

Moments are the machine's, never a replayed clock's: moving that one must neither revive a token nor end it.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from typing import Literal

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage import spellings
from rota.ports.metadata import Batch, Metadata
from rota.records.access import PERMISSIONS, ROLES, AccessToken, Identity, Permission, Role
from rota.records.record import check_name, folded
from rota.records.time import Micros, micros

OWNER = Identity("owner", "owner")
PREFIX = "rota_"
OF_ENDPOINT: frozenset[Permission] = frozenset({"predict", "label", "outcome.write"})
"""What a token that is limited to one endpoint opens there."""
RESERVED = frozenset({"owner", "rota", "judge"})
"""Names under which the owner's token and the platform itself stand in the audit log."""
LISTED = 10_000
_LIMITED = {"project": spellings.PROJECTS, "environment": spellings.ENVIRONMENTS, "endpoint": spellings.ENDPOINTS}
State = Literal["valid", "expired", "revoked"]


def create(  # noqa: PLR0913 - what a token is limited to, each by its name
    metadata: Metadata,
    holder: str,
    role: Role,
    *,
    actor: str,
    now_us: Micros,
    expires_us: Micros | None = None,
    project: str = "",
    environment: str = "",
    endpoint: str = "",
) -> tuple[AccessToken, str]:
    """A new token and its secret, which is not stored and cannot be shown again."""
    _check(metadata, holder, role, {"project": project, "environment": environment, "endpoint": endpoint})
    if expires_us is not None and expires_us <= now_us:
        raise InvalidInput("the token would be expired already; give a later moment", expires_us=expires_us)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = AccessToken(uuid.uuid4().hex[:12], holder, role, hash_of(secret), now_us, actor, expires_us, project, environment, endpoint=endpoint)
    batch = Batch()
    batch.create(token)
    limits = {"project": project, "environment": environment, "endpoint": endpoint}
    batch.audit(actor, "token.create", token.id, now_us, holder=holder, role=role, **limits, expires_us=expires_us)
    metadata.commit(batch)
    return token, secret


def revoke(metadata: Metadata, token_id: str, *, actor: str, now_us: Micros) -> AccessToken:
    """From now on the token opens nothing; revoking twice is the same."""
    token = metadata.get(AccessToken, token_id)
    if token is None:
        raise NotFound(f"there is no token {token_id!r}; `rota token list` shows them", token=token_id)
    if token.revoked_us is not None:
        return token
    revoked = msgspec.structs.replace(token, revoked_us=now_us)
    batch = Batch()
    batch.put(revoked, replacing=token)
    batch.audit(actor, "token.revoke", token.id, now_us, holder=token.holder)
    metadata.commit(batch)
    return revoked


def record_renewal(metadata: Metadata, *, actor: str, now_us: Micros) -> None:
    """Note in the audit log that the owner's token was replaced."""
    batch = Batch()
    batch.audit(actor, "token.renew", "owner", now_us)
    metadata.commit(batch)


def tokens(metadata: Metadata, *, holder: str = "", limit: int = LISTED) -> list[AccessToken]:
    """Tokens of everybody or of one holder, also those that open nothing any more, newest first."""
    found = metadata.find(AccessToken, {"holder": holder} if holder else None)
    return sorted(found, key=lambda token: (-token.created_us, token.id))[:limit]


def recognise(metadata: Metadata, secret: str, *, environment: str, now_us: Micros) -> Identity | None:
    """Whose secret this is, or None when it opens nothing here."""
    if not secret.startswith(PREFIX):
        return None
    found = metadata.page(AccessToken, {"hash": hash_of(secret)}, limit=1).items
    return identity_of(found[0], environment=environment, now_us=now_us) if found else None


def identity_of(token: AccessToken, *, environment: str, now_us: Micros) -> Identity | None:
    """Who acts with a token, or None when it opens nothing here and now."""
    if state(token, now_us) != "valid" or token.environment not in ("", environment):
        return None
    return Identity(token.holder, token.role, token.project, token.id, token.endpoint)


def require(identity: Identity, permission: Permission) -> None:
    """Raise `Refused` unless the identity's role holds the permission."""
    if not identity.may(permission):
        lacking = f"{identity.name} ({identity.role}) lacks the permission {permission!r} ({PERMISSIONS[permission]})"
        raise Refused(f"{lacking}; roles that have it: {holders_of(permission)}", permission=permission, role=identity.role)


def require_endpoint(identity: Identity, permission: Permission, endpoint: str) -> None:
    """Raise `Refused` when a token is limited to one endpoint and this is another one, or something that no such token opens."""
    if identity.endpoint and (permission not in OF_ENDPOINT or endpoint != identity.endpoint):
        raise Refused(
            f"the token of {identity.name} is limited to endpoint {identity.endpoint!r}, where it opens {sorted(OF_ENDPOINT)} as its role allows",
            permission=permission,
            endpoint=identity.endpoint,
        )


def holders_of(permission: Permission) -> list[Role]:
    """The roles that hold a permission."""
    return [role for role, held in ROLES.items() if permission in held]


def state(token: AccessToken, now_us: Micros) -> State:
    """Whether the token opens anything at this moment."""
    if token.revoked_us is not None:
        return "revoked"
    return "expired" if token.expires_us is not None and token.expires_us <= now_us else "valid"


def described(token: AccessToken, now_us: Micros) -> dict[str, object]:
    """What may be shown of a token: everything but the hash of its secret."""
    shown = {name: value for name, value in msgspec.structs.asdict(token).items() if name != "hash"}
    return shown | {"state": state(token, now_us)}


def expiry(lasts: str, now_us: Micros) -> Micros | None:
    """The moment at which a token that lasts so long ("90d", "12h") ends; None for "never"."""
    if lasts == "never":
        return None
    lasting_us = micros(lasts)
    if lasting_us <= 0:
        raise InvalidInput(f"a token cannot last {lasts!r}; give a positive duration like 90d, or never", lasts=lasts)
    return now_us + lasting_us


def table() -> str:
    """The one table of access as Markdown: each permission, what it allows, and the roles that hold it."""
    roles = list(ROLES)
    lines = [["permission", "allows to", *(role.replace("_", " ") for role in roles)]]
    lines += [[name, what, *("x" if name in ROLES[role] else "" for role in roles)] for name, what in PERMISSIONS.items()]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]])


def same(secret: str, other: str) -> bool:
    """Whether two secrets are equal, told in a time that does not depend on where they differ; an empty one equals none."""
    return bool(secret) and hmac.compare_digest(secret.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))


def hash_of(secret: str) -> str:
    """How a secret is stored; secrets are 256 random bits, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _check(metadata: Metadata, holder: str, role: str, limits: Mapping[str, str]) -> None:
    check_name("holder", holder)
    spellings.check(metadata, spellings.HOLDERS, holder)
    if folded(holder) in RESERVED:
        raise InvalidInput(
            f"nobody can hold a token as {holder!r}, the audit log uses this name for something else; give a person's or a program's name"
        )
    if role not in ROLES:
        raise InvalidInput(f"there is no role {role!r}; roles are {list(ROLES)}", role=role)
    for what, name in limits.items():
        if name:
            check_name(what, name)
            spellings.check(metadata, _LIMITED[what], name)
