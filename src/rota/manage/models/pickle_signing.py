"""Allow and sign pickled models: refused unless a person allowed it for the model, loaded only with this platform's signature.

A pickle runs code when it is loaded, so two things must hold, and both are checked before a byte of it is looked at. A person
with the permission model.unsafe allowed it for the model (`rota models allow-pickle`), which is on the audit log and can be
withdrawn; and the bundle carries a seal, HMAC-SHA256 by the platform's key over the model's name and the digest of its bytes, so that
bytes which somebody slipped into a store, or into another model's place, are not loaded.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rota.errors import InvalidInput, Refused
from rota.manage.models import registered_models
from rota.ports.metadata import Batch, Metadata
from rota.ports.models import ModelFormat, SealedFormat
from rota.records.model import PickleAllowance
from rota.records.record import check_name
from rota.records.time import Micros


class PlatformSeals:
    """Seals (port) by the platform's key, which is read when it is first needed."""

    def __init__(self, metadata: Metadata, key: Callable[[], bytes]) -> None:
        self._metadata = metadata
        self._key = key

    def sign(self, model: str, digest: str) -> str:
        self._check_allowed(model)
        return self._seal(model, digest)

    def check(self, model: str, digest: str, seal: str, *, signed_for: str = "") -> None:
        """A model that was renamed keeps the seal of its first name; whether it is allowed is asked of the name that it has now."""
        self._check_allowed(model)
        if not hmac.compare_digest(self._seal(signed_for or model, digest).encode(), seal.encode()):
            raise Refused(
                f"the pickle {digest[:12]} of model {model!r} has {'another seal' if seal else 'no seal'} of this platform: it was not registered "
                "here, or with another signing key (ROTA_SIGNING_KEY must be the same on every host); register the model again",
                model=model,
            )

    def _seal(self, model: str, digest: str) -> str:
        return hmac.new(self._key(), f"rota-pickle\n{model}\n{digest}".encode(), hashlib.sha256).hexdigest()

    def _check_allowed(self, model: str) -> None:
        if not is_allowed(self._metadata, model):
            raise Refused(refusal(model), model=model)


class ParentVerifiedSeals:
    """Seals (port) in a child process: the parent verified allowance and signature before it handed the pickle over; signs nothing."""

    def sign(self, model: str, digest: str) -> str:
        raise Refused(f"the pickle {digest[:12]} of model {model!r} is sealed by the platform, not here", model=model)

    def check(self, model: str, digest: str, seal: str, *, signed_for: str = "") -> None:
        """No-op: the parent verified the signature."""


def is_allowed(metadata: Metadata, model: str) -> bool:
    """Whether versions of a model may be kept as pickle now."""
    found = metadata.get(PickleAllowance, model)
    return found is not None and found.withdrawn_us is None


def refusal(model: str) -> str:
    """Why a pickle of this model is not taken, and what to do."""
    return (
        f"model {model!r} is kept as pickle, which runs code when it is loaded, and nobody allowed that for it; "
        f"a reviewer or the owner may: `rota models allow-pickle {model} --reason ...`"
    )


ALLOW = "let somebody allow it as pickle: `rota models allow-pickle MODEL --reason ...`"


def advice(model: Any, formats: Mapping[str, ModelFormat]) -> str:
    """What to do with a model that no safe format keeps: the allowance only where a pickle of it could be served."""
    pickled = next((each for each in formats.values() if isinstance(each, SealedFormat)), None)
    if pickled is None:
        return "install the extra of its framework (or 'rota[pickle]', for any object with predict or predict_proba), or return another model"
    if not pickled.accepts(model):
        return "give a fitted object with predict or predict_proba: a function, a class or plain data cannot be served, also as a pickle"
    return f"install the extra of its framework, give another model, or {ALLOW}"


def allow(metadata: Metadata, model: str, *, actor: str, reason: str, now_us: Micros) -> PickleAllowance:
    """Allow that versions of a model are kept as pickle; allowing it again is the same."""
    check_name("model", model)
    registered_models.check_spelling(metadata, model)
    if not reason.strip():
        raise InvalidInput(f"allowing pickle for model {model!r} needs a reason; it is kept on the audit log", model=model)
    before = metadata.get(PickleAllowance, model)
    if before is not None and before.withdrawn_us is None:
        return before
    made = PickleAllowance(model, actor, reason, now_us)
    batch = Batch()
    batch.put(made, replacing=before)
    batch.audit(actor, "pickle.allow", model, now_us, reason=reason)
    metadata.commit(batch)
    return made


def forbid(metadata: Metadata, model: str, *, actor: str, reason: str, now_us: Micros) -> PickleAllowance:
    """Withdraw the allowance: no process loads a pickle of this model any more, and one that serves it stops at its next look."""
    before = metadata.get(PickleAllowance, model)
    if before is None or before.withdrawn_us is not None:
        raise Refused(f"pickle is not allowed for model {model!r}; there is nothing to withdraw", model=model)
    made = msgspec.structs.replace(before, withdrawn_us=now_us)
    batch = Batch()
    batch.put(made, replacing=before)
    batch.audit(actor, "pickle.forbid", model, now_us, reason=reason)
    metadata.commit(batch)
    return made
