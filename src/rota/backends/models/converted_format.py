"""Models that Rota converted at registration: one ONNX graph in doubles, run by onnxruntime on one thread, with nothing else imported.

The graph comes out of `sklearn_onnx` or another converter of Rota, never from outside; its envelope shows damage.
"""

import importlib.metadata
from typing import Any

import numpy as np
import onnxruntime

from rota.backends.models.envelope import unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput
from rota.ports.models import AuthorModel, ModelInputs

_MAGIC = "rota-converted"
ANSWER = "rota.answer"
"""Metadata of a graph that tells which column of its output is the answer: "second", "one" or "all" of them."""
_KINDS = {"tensor(double)": np.float64, "tensor(float)": np.float32}
_NEVER = "a converted model is only made beside a registered one"


class ConvertedFormat:
    """ModelFormat (port) of conversions; it accepts no object, and keeps none."""

    name = "converted"
    tolerance = 1e-5

    def accepts(self, model: Any) -> bool:  # noqa: ARG002 - the port's signature
        return False

    def dumps(self, model: Any) -> bytes:
        raise InvalidInput(f"{_NEVER}; register the {type(model).__name__} itself")

    def imported(self, file: bytes) -> bytes:
        raise InvalidInput(f"{_NEVER}; a file of {len(file)} bytes is registered as onnx")

    def kept(self, model: Any) -> bytes:
        return self.dumps(model)

    def author(self, model: Any) -> AuthorModel:
        raise InvalidInput(f"{_NEVER}; ask the {type(model).__name__} itself")

    def held(self, data: bytes) -> Any:
        unwrapped(_MAGIC, data)

    def packed(self, graph: bytes) -> bytes:
        """A graph in its envelope."""
        return wrapped(_MAGIC, graph)

    def loads(self, data: bytes) -> "ConvertedPredictor":
        body = unwrapped(_MAGIC, data)
        try:
            return ConvertedPredictor(onnxruntime.InferenceSession(body, _options(), providers=["CPUExecutionProvider"]))
        except InvalidInput:
            raise
        except Exception as error:  # onnxruntime raises a class of its own for each way in which a graph can be wrong
            raise Corrupt(f"the converted model cannot be loaded: {str(error)[:300]}") from error

    def describe(self, data: bytes) -> ModelInputs:
        return ModelInputs(self.loads(data).width)

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("onnxruntime", "numpy")}


class ConvertedPredictor:
    """A session with one input (rows, columns) and one output (rows, numbers)."""

    def __init__(self, session: Any) -> None:
        given, answer = session.get_inputs(), session.get_outputs()
        if len(given) != 1 or len(answer) != 1 or given[0].type not in _KINDS:
            raise InvalidInput("a converted model has one input of floats and one output")
        self._run, self._names, self._input = session.run, [answer[0].name], given[0].name
        self._kind = _KINDS[given[0].type]
        self._take = session.get_modelmeta().custom_metadata_map.get(ANSWER, "all")
        self.width = int(given[0].shape[1])

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.width})", shape=matrix.shape)
        answers: np.ndarray = self._run(self._names, {self._input: np.ascontiguousarray(matrix, dtype=self._kind)})[0]
        if self._take == "second":
            answers = answers[:, 1]
        elif self._take == "one":
            answers = answers.reshape(len(matrix))
        return answers if answers.dtype == np.float64 else answers.astype(np.float64)


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options
