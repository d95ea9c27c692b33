"""Which format keeps a fitted model, and what is kept of one that cannot be served.

To be served, a model is kept by the first format that accepts it and runs no code when it is loaded, or as a pickle where that is allowed.
Tracking keeps every model that can be written at all, as its framework writes it or as a pickle, and says why it cannot be served.
"""

import importlib.metadata
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rota.errors import InvalidInput
from rota.manage.models import pickle_signing
from rota.ports.models import ModelFormat, SealedFormat

PICKLE = "pickle"


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model's file as tracking keeps it. `unservable` says why it cannot be served as it is; `hopeless`: also not once pickle is allowed."""

    format: str
    data: bytes
    libraries: Mapping[str, str] = field(default_factory=dict)
    unservable: str = ""
    hopeless: bool = False
    keeper: ModelFormat | None = None


def servable(model: Any, formats: Mapping[str, ModelFormat], *, allowed: bool) -> tuple[ModelFormat, bytes]:
    """The format that keeps a model to be served, and its bytes; `allowed`: also as a pickle. Raises `InvalidInput` saying what hinders."""
    refusal: InvalidInput | None = None
    for format_ in _accepting(model, formats, pickled=allowed):
        try:
            return format_, format_.dumps(model)
        except InvalidInput as error:
            refusal = refusal or error
    if refusal is None:
        refusal = _pickle_refusal(model, formats)
    elif not allowed and _is_unsafe(refusal) and _pickle_would_do(model, formats):
        refusal = InvalidInput(f"{refusal}; or {pickle_signing.ALLOW}", **refusal.facts)
    raise refusal or InvalidInput(
        f"a {_class(model)} can be kept by none of the installed formats {sorted(formats)} without running code when it is loaded; "
        f"{pickle_signing.advice(model, formats)}",
        model=type(model).__name__,
    )


def kept(model: Any, formats: Mapping[str, ModelFormat]) -> KeptModel:
    """What tracking keeps of any model; raises `InvalidInput` when it cannot be written at all."""
    try:
        keeper, data = servable(model, formats, allowed=False)
        return KeptModel(keeper.name, data, keeper.libraries(), keeper=keeper)
    except InvalidInput as error:
        why, unsafe = str(error), _is_unsafe(error)
    if not unsafe or not _pickle_would_do(model, formats):
        for format_ in _accepting(model, formats, pickled=False):
            try:
                return KeptModel(format_.name, format_.kept(model), format_.libraries(), why, hopeless=True)
            except InvalidInput:
                continue
    return _pickled(model, formats, why)


def _accepting(model: Any, formats: Mapping[str, ModelFormat], *, pickled: bool) -> Iterator[ModelFormat]:
    return (each for each in formats.values() if (pickled or not isinstance(each, SealedFormat)) and each.accepts(model))


def _is_unsafe(refusal: InvalidInput) -> bool:
    """Whether a safe format refused a model for the types it holds, which a pickle may hold."""
    return "unknown" in refusal.facts


def _pickle_would_do(model: Any, formats: Mapping[str, ModelFormat]) -> bool:
    """Whether the model could be served as a pickle, once that is allowed."""
    return any(_accepting(model, {name: each for name, each in formats.items() if isinstance(each, SealedFormat)}, pickled=True)) and (
        _pickle_refusal(model, formats) is None
    )


def _pickle_refusal(model: Any, formats: Mapping[str, ModelFormat]) -> InvalidInput | None:
    """What hinders a pickle of the model to be served, beside the allowance."""
    for each in formats.values():
        if isinstance(each, SealedFormat) and each.accepts(model):
            try:
                each.dumps(model)
            except InvalidInput as error:
                return error
    return None


def _pickled(model: Any, formats: Mapping[str, ModelFormat], why: str) -> KeptModel:
    """By the installed format, which also takes functions and a project's own classes; else by Python's own pickle."""
    hopeless = not _pickle_would_do(model, formats)
    found = next((each for each in formats.values() if isinstance(each, SealedFormat)), None)
    if found is not None:
        return KeptModel(PICKLE, found.kept(model), found.libraries(), why, hopeless=hopeless)
    try:
        data = pickle.dumps(model)
    except Exception as error:
        raise InvalidInput(f"a {_class(model)} cannot be kept: {type(error).__name__}: {error}; install 'rota[pickle]', or log its file") from error
    return KeptModel(PICKLE, data, {"numpy": importlib.metadata.version("numpy")}, why, hopeless=hopeless)


def _class(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"
