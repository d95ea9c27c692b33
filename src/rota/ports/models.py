"""ModelFormat: how a fitted model of one framework is kept as bytes and predicts again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rota.records.model import ModelTensor
from rota.records.run import Problem
from rota.records.schema import Type


class Predictor(Protocol):
    """A loaded model. `predict` takes a float64 matrix (rows, columns), NaN = null, and returns float64 (rows,) where an answer is one number
    (the probability of the second of two classes, a value, a score), (rows, outputs) where it is several, an object array (rows,) for texts
    and other values. Thread-safe; the same matrix gives the same answer. A model with `ModelInputs.free_texts` is given an object matrix of
    floats and texts."""

    def predict(self, matrix: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """What a model's bytes say of its columns, in their order; nothing is guessed.

    `width` 0 and empty `names` mean that the bytes do not say. `texts` holds the texts that the model knows in a column of
    texts, whose matrix cells are their positions (`len` of them: a text it does not know). `problem` is None when the bytes do not say.
    `classes` are the two classes by name where the model has names for them: it answers the probability of the second. `outputs` names
    the numbers of an answer of several (classes, targets, levels), in their order; empty: an answer is one number. `unread` says of
    a column why the texts in it cannot be known. `free_texts` are columns whose texts are read as they are (words, no categories), with
    words to probe with: a predictor takes a matrix of objects then, with the text itself there, None = null. `thresholds` and `sentinels`
    are numbers at which answers may change, to probe with. `tensors` are the arrays that the bytes name, whose columns are those of the
    matrix, and `answer` the one that holds an answer.
    """

    width: int = 0
    names: tuple[str, ...] = ()
    texts: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    problem: Problem | None = None
    classes: tuple[str, ...] = field(default=(), compare=False)
    outputs: tuple[str, ...] = field(default=(), compare=False)
    unread: Mapping[int, str] = field(default_factory=dict, compare=False)
    thresholds: Mapping[int, tuple[float, ...]] = field(default_factory=dict, compare=False)
    sentinels: tuple[float, ...] = field(default=(), compare=False)
    free_texts: Mapping[int, tuple[str, ...]] = field(default_factory=dict, compare=False)
    tensors: tuple[ModelTensor, ...] = field(default=(), compare=False)
    answer: ModelTensor | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class AuthorRows:
    """Rows as the author of a model holds them: named columns with their types, a list of cells for each row, None = null.

    `narrow`: numbers are given as float32, as an author may have them.
    """

    names: tuple[str, ...]
    types: tuple[Type, ...]
    cells: Sequence[Sequence[Any]]
    narrow: bool = False


class AuthorModel(Protocol):
    """A fitted object of a framework, asked by the methods that its author calls: the oracle of what Rota serves of it.

    `answers` gives what a `Predictor` of it gives; it raises whatever the framework raises.
    """

    inputs: ModelInputs

    def answers(self, rows: AuthorRows) -> np.ndarray: ...


class ModelFormat(Protocol):
    """One framework's serialisation. No format but a `SealedFormat` executes code on load.

    Law: `accepts` never raises; `loads(dumps(model))` predicts what the model predicts, to `tolerance` (1e-9 where the framework
    computes in float64, 1e-6 in float32, whose sums depend on how rows lie together); `loads` of foreign or damaged bytes raises `Corrupt`.
    `imported` gives the bytes of a file that the framework itself wrote, `InvalidInput` when it is no such file or no model that can
    be served. `describe` says what the bytes say of the model's columns. `libraries` names the packages and versions the bytes depend on.
    `held` gives the framework's own object in the bytes anew (None: there is none), `author` asks such an object as its author does.
    `kept` gives a file that the framework itself reads, also of a model that cannot be served; `InvalidInput` when there is none.
    """

    name: str
    tolerance: float

    def accepts(self, model: Any) -> bool: ...

    def dumps(self, model: Any) -> bytes: ...

    def imported(self, file: bytes) -> bytes: ...

    def loads(self, data: bytes) -> Predictor: ...

    def describe(self, data: bytes) -> ModelInputs: ...

    def libraries(self) -> dict[str, str]: ...

    def held(self, data: bytes) -> Any: ...

    def author(self, model: Any) -> AuthorModel: ...

    def kept(self, model: Any) -> bytes: ...


@runtime_checkable
class SealedFormat(Protocol):
    """A format whose bytes execute code when they are loaded: its own `loads` raises `Refused`, always.

    `sealed` signs bytes for a model by the platform's key, `unlocked` gives the format that loads exactly these bytes; both
    raise `Refused` unless somebody allowed the model to be kept so, and `unlocked` unless the seal is right. No byte is looked at before.
    `signed_for` is the name that the model had when it was sealed ("": the same), `model` the one that it has now and is allowed by.
    """

    def sealed(self, model: str, data: bytes) -> str: ...

    def unlocked(self, model: str, data: bytes, seal: str, *, signed_for: str = "") -> ModelFormat: ...


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """The same model in a form that a faster engine runs, and for each column of numbers values near which its answers change."""

    data: bytes
    thresholds: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


@runtime_checkable
class ConvertibleFormat(Protocol):
    """A format whose models may be converted for a faster engine, the format called "converted".

    `converted` raises `InvalidInput` saying what cannot be converted. A conversion promises nothing: it answers what the model answers only where
    it was compared (`rota.manage.models.engine_gate`).
    """

    def converted(self, data: bytes) -> ConvertedModel: ...


@runtime_checkable
class AmbiguousFormat(Protocol):
    """A format some of whose objects can be read in two ways: two numbers may be the probabilities of two classes, or two targets.

    `read_as` gives the format that reads and asks such an object as one of a problem; what an object says of itself comes after it.
    """

    def read_as(self, problem: Problem) -> ModelFormat: ...


class Seals(Protocol):
    """Signs and recognises what may be loaded although it executes code; `Refused` when it may not."""

    def sign(self, model: str, digest: str) -> str: ...

    def check(self, model: str, digest: str, seal: str, *, signed_for: str = "") -> None: ...
