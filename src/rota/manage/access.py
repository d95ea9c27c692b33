"""Access: tokens are made, recognised and revoked here; what a role may do is the table in `rota.records.access`."""

import hashlib
import secrets
import uuid

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.ports.metadata import Batch, Metadata
from rota.records.access import ROLES, AccessToken, Identity, Permission, Role
from rota.records.record import check_name
from rota.records.time import Micros

OWNER = Identity("owner", "owner")
PREFIX = "rota_"


def create(
    metadata: Metadata,
    holder: str,
    role: Role,
    *,
    actor: str,
    now_us: Micros,
    expires_us: Micros | None = None,
    project: str = "",
    environment: str = "",
) -> tuple[AccessToken, str]:
    """A new token and its secret, which is not stored and cannot be shown again."""
    check_name("holder", holder)
    if role not in ROLES:
        raise InvalidInput(f"there is no role {role!r}; roles are {list(ROLES)}", role=role)
    if expires_us is not None and expires_us <= now_us:
        raise InvalidInput("the token would be expired already; give a later moment", expires_us=expires_us)
    secret = PREFIX + secrets.token_urlsafe(32)
    token = AccessToken(uuid.uuid4().hex[:12], holder, role, hash_of(secret), now_us, actor, expires_us, project, environment)
    batch = Batch()
    batch.create(token)
    batch.audit(actor, "token.create", token.id, now_us, holder=holder, role=role, project=project, environment=environment)
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


def recognise(metadata: Metadata, secret: str, *, environment: str, now_us: Micros) -> Identity | None:
    """Whose secret this is, or None when it opens nothing here."""
    found = metadata.find(AccessToken, {"hash": hash_of(secret)}, limit=1)
    if not found or found[0].revoked_us is not None:
        return None
    token = found[0]
    if (token.expires_us is not None and token.expires_us <= now_us) or token.environment not in ("", environment):
        return None
    return Identity(token.holder, token.role, token.project, token.id)


def require(identity: Identity, permission: Permission) -> None:
    """Raise `Refused` unless the identity's role holds the permission."""
    if not identity.may(permission):
        holders = [role for role, held in ROLES.items() if permission in held]
        raise Refused(f"{identity.name} ({identity.role}) lacks the permission {permission!r}; roles that have it: {holders}", permission=permission)


def hash_of(secret: str) -> str:
    """How a secret is stored; secrets are 256 random bits, so a plain SHA-256 cannot be searched."""
    return hashlib.sha256(secret.encode()).hexdigest()
