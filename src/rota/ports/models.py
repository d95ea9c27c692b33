"""ModelFormat: how a fitted model of one framework is kept as bytes and predicts again."""

from typing import Any, Protocol

import numpy as np


class Predictor(Protocol):
    """A loaded model. `predict` takes a float64 matrix (rows, columns), NaN = null, and returns float64 (rows,):
    the probability of class 1, or the predicted value. Thread-safe; the same matrix gives the same answer."""

    def predict(self, matrix: np.ndarray) -> np.ndarray: ...


class ModelFormat(Protocol):
    """One framework's safe serialisation: no pickle, no code execution on load.

    Law: `accepts` never raises; `loads(dumps(model))` predicts what the model predicts, to 1e-9; `loads` of foreign or damaged
    bytes raises `Corrupt`. `libraries` names the packages and versions the bytes depend on.
    """

    name: str

    def accepts(self, model: Any) -> bool: ...

    def dumps(self, model: Any) -> bytes: ...

    def loads(self, data: bytes) -> Predictor: ...

    def libraries(self) -> dict[str, str]: ...
