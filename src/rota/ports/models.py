"""ModelFormat: how a fitted model of one framework is kept as bytes and predicts again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rota.records.run import Problem


class Predictor(Protocol):
    """A loaded model. `predict` takes a float64 matrix (rows, columns), NaN = null, and returns float64 (rows,):
    the probability of class 1, or the predicted value. Thread-safe; the same matrix gives the same answer."""

    def predict(self, matrix: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What a model's bytes say of its columns, in their order; nothing is guessed.

    `width` 0 and empty `names` mean that the bytes do not say. `texts` holds the texts that the model knows in a column of
    texts, whose matrix cells are their positions (`len` of them: a text it does not know). `problem` is None when the bytes do not say.
    """

    width: int = 0
    names: tuple[str, ...] = ()
    texts: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    problem: Problem | None = None


class ModelFormat(Protocol):
    """One framework's serialisation. No format but a `SealedFormat` executes code on load.

    Law: `accepts` never raises; `loads(dumps(model))` predicts what the model predicts, to `tolerance` (1e-9 where the framework
    computes in float64, 1e-6 in float32, whose sums depend on how rows lie together); `loads` of foreign or damaged bytes raises `Corrupt`.
    `imported` gives the bytes of a file that the framework itself wrote, `InvalidInput` when it is no such file or no model that can
    be served. `describe` says what the bytes say of the model's columns. `libraries` names the packages and versions the bytes depend on.
    """

    name: str
    tolerance: float

    def accepts(self, model: Any) -> bool: ...

    def dumps(self, model: Any) -> bytes: ...

    def imported(self, file: bytes) -> bytes: ...

    def loads(self, data: bytes) -> Predictor: ...

    def describe(self, data: bytes) -> ModelInputs: ...

    def libraries(self) -> dict[str, str]: ...


class UnlockedFormat(ModelFormat, Protocol):
    """A format that loads bytes which were recognised; `held` is the very model in them."""

    def held(self, data: bytes) -> Any: ...


@runtime_checkable
class SealedFormat(Protocol):
    """A format whose bytes execute code when they are loaded: its own `loads` raises `Refused`, always.

    `sealed` signs bytes for a model by the platform's key, `unlocked` gives the format that loads exactly these bytes; both
    raise `Refused` unless somebody allowed the model to be kept so, and `unlocked` unless the seal is right. No byte is looked at before.
    """

    def sealed(self, model: str, data: bytes) -> str: ...

    def unlocked(self, model: str, data: bytes, seal: str) -> UnlockedFormat: ...


class Seals(Protocol):
    """Signs and recognises what may be loaded although it executes code; `Refused` when it may not."""

    def sign(self, model: str, digest: str) -> str: ...

    def check(self, model: str, digest: str, seal: str) -> None: ...
