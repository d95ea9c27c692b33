"""Who may use the prediction port: Host, Origin and content type of a request, and the token that it shows.

Predictions ask for the permission "predict", online features for "features". Health and /metrics are open: they tell nothing of
what is served to who shows no token. Refusals name what was expected, 401 and 403 with WWW-Authenticate (RFC 6750).
"""

from collections.abc import Collection, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from rota import http_origin
from rota.manage.access import tokens
from rota.records.access import Permission
from rota.serve.prediction_tokens import PredictionTokens

Scope = MutableMapping[str, Any]
ARROW = frozenset({"application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"})
CSV = "text/csv"
OTHER_KINDS = frozenset({"application/octet-stream", CSV, *ARROW})
"""Types of bodies beside JSON that some paths take; none of them is sent by a page of another site without asking first."""
UNRECOGNISED = (
    "a token is needed: send 'Authorization: Bearer TOKEN' (`rota token --show` prints the owner's, `rota token create --role application` makes "
    "one that predicts), or switch tokens off with prediction_tokens = false where the network is trusted"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer to a request that may not do what it asks."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class PortAccess:
    """The checks of one prediction process. Without `hosts` any name is answered to; without `tokens` the network is trusted."""

    hosts: Collection[str] = ()
    tokens: PredictionTokens | None = None

    def refused(self, scope: Scope) -> Refusal | None:
        """Why a request is not answered whatever it asks for: it is meant for another server, comes from another site, or is no JSON."""
        hosts, kinds, origin = _headers(scope, b"host", b"content-type", b"origin")
        address = (scope.get("server") or ("",))[0]
        if self.hosts and (why := http_origin.misdirected(hosts, self.hosts, address)):
            return Refusal(421, why)
        if origin and scope["method"] not in http_origin.READING and http_origin.is_foreign(origin[0], (*hosts, "")[0]):
            return Refusal(403, f"a page of {origin[0][:200]!r} may not ask for predictions here; programs send no origin")
        if scope["method"] == "POST" and kinds and not _is_json(kinds[0]) and kinds[0].partition(";")[0].strip().lower() not in OTHER_KINDS:
            return Refusal(415, f"the body has the type {kinds[0][:200]!r}; send JSON with 'Content-Type: application/json'")
        return None

    def holder(self, scope: Scope) -> str:
        """Whose token a request shows; "" when it shows none that is known."""
        (given,) = _headers(scope, b"authorization")
        token = self.tokens.find((*given, "")[0].partition(" ")[2].strip()) if self.tokens is not None else None
        return token.holder if token is not None else ""

    def unknown(self, scope: Scope) -> Refusal | None:
        """Why a request is answered by no list at all: it shows no token that is known. Others see in a list what they may ask."""
        refusal = self.lacking(scope, "predict")
        return refusal if refusal is not None and refusal.status == 401 else None

    def endpoints(self, scope: Scope, names: Collection[str]) -> list[str]:
        """Those of the endpoints that the token of a request may ask, in order."""
        return [name for name in sorted(names) if self.lacking(scope, "predict", name) is None]

    def lacking(self, scope: Scope, permission: Permission, endpoint: str = "") -> Refusal | None:
        """Why the token that a request shows, or the lack of one, does not open what it asks for."""
        if self.tokens is None:
            return None
        (given,) = _headers(scope, b"authorization")
        scheme, _, secret = (*given, "")[0].partition(" ")
        token = self.tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            error = b', error="invalid_token"' if given else b""
            why = f"this token opens nothing here: it is unknown, revoked, expired, or of another environment; {UNRECOGNISED}"
            return Refusal(401, why if given else UNRECOGNISED, _challenge(error))
        if self.tokens.may(token, permission, endpoint):
            return None
        limits = {"project": token.project, "endpoint": token.endpoint}
        limited = "".join(f", limited to {what} {name!r}" for what, name in limits.items() if name)
        what = f" of endpoint {endpoint[:200]!r}" if endpoint else ""
        why = f"{token.holder} ({token.role}{limited}) may not {permission!r}{what}; roles that may: {tokens.holders_of(permission)}"
        return Refusal(403, why, _challenge(b', error="insufficient_scope", scope="%s"' % permission.encode()))


def _headers(scope: Scope, *names: bytes) -> Sequence[list[str]]:
    found: dict[bytes, list[str]] = {name: [] for name in names}
    for name, value in scope["headers"]:
        if name in found:
            found[name].append(value.decode("latin-1"))
    return list(found.values())


def _is_json(kind: str) -> bool:
    name = kind.partition(";")[0].strip().lower()
    return name == "application/json" or (name.startswith("application/") and name.endswith("+json"))


def _challenge(error: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"www-authenticate", b'Bearer realm="rota"' + error),)
