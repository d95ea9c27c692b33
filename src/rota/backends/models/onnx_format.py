"""ONNX models, predicted by onnxruntime on one thread.

Any model that a converter or an exporter wrote is taken when it answers one number a row: the probability of class 1 (an output
of two columns, or of maps by class, as skl2onnx writes them) or the predicted value (an output of one column). Weights in other
files are refused: onnxruntime would read the paths that the model names.
"""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import uses_external_data

from rota.backends.models import author_frames, onnx_checks
from rota.backends.models.envelope import bare, unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput
from rota.ports.models import AuthorRows, ModelInputs

_MAGIC = "rota-onnx"
_NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
_FLOATS = ("tensor(float)", "tensor(double)")
_MAPS = ("seq(map(int64,tensor(float)))", "seq(map(int64,tensor(double)))")
_PROBE_ROWS = 3
_PROBE_ROWS_OF_PARTS = (1, 3)


class OnnxFormat:
    """ModelFormat (port) for an onnx `ModelProto`, its bytes, or the path of an .onnx file."""

    name = "onnx"
    tolerance = 1e-6

    def accepts(self, model: Any) -> bool:
        if isinstance(model, Path):
            return model.suffix == ".onnx"
        if isinstance(model, bytes):
            return _is_onnx(model)
        return isinstance(model, onnx.ModelProto)

    def dumps(self, model: Any) -> bytes:
        return self.imported(self.kept(model))

    def imported(self, file: bytes) -> bytes:
        try:
            data = wrapped(_MAGIC, bare(_MAGIC, file))
            predictor = self.loads(data)
        except Corrupt as error:
            raise InvalidInput(f"this is no ONNX model that can be served: {error}") from error
        if predictor.width:
            predictor.predict(np.zeros((_PROBE_ROWS, predictor.width)))
        return data

    def loads(self, data: bytes) -> "OnnxPredictor":
        body = unwrapped(_MAGIC, data)
        _check_inside(body)
        try:
            session = onnxruntime.InferenceSession(body, _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a class of its own for each way in which a model can be wrong
            raise Corrupt(f"the ONNX model cannot be loaded: {str(error)[:500]}; export it again") from error
        return OnnxPredictor(session)

    def describe(self, data: bytes) -> ModelInputs:
        predictor = self.loads(data)
        return ModelInputs(predictor.width, predictor.names, {}, "classification" if predictor.classifies else None)

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("onnxruntime", "onnx", "numpy")}

    def held(self, data: bytes) -> Any:
        return unwrapped(_MAGIC, data)

    def author(self, model: Any) -> "OnnxAuthor":
        data = wrapped(_MAGIC, bare(_MAGIC, self.kept(model)))
        return OnnxAuthor(onnxruntime.InferenceSession(unwrapped(_MAGIC, data), _options(), providers=["CPUExecutionProvider"]), self.describe(data))

    def kept(self, model: Any) -> bytes:
        """The model's own bytes, whatever it answers."""
        if isinstance(model, Path):
            return model.read_bytes()
        return model if isinstance(model, bytes) else bytes(model.SerializeToString())


class OnnxAuthor:
    """AuthorModel (port): a session given arrays in the types of its inputs, as onnxruntime's users call it; its last output answers."""

    def __init__(self, session: Any, inputs: ModelInputs) -> None:
        self.inputs = inputs
        self._session = session

    def answers(self, rows: AuthorRows) -> np.ndarray:
        matrix, wanted = author_frames.array(rows), self._session.get_inputs()
        if any(_number(each) not in (np.float32, np.float64) for each in wanted) and not np.isfinite(matrix).all():
            raise InvalidInput("a null has no whole number to stand for it")
        if len(wanted) == 1:
            fed = {wanted[0].name: _as_fed(matrix, wanted[0])}
        else:
            fed = {each.name: _as_fed(matrix[:, place], each).reshape(-1, *[1] * (len(each.shape) - 1)) for place, each in enumerate(wanted)}
        answers = self._session.run(None, fed)[-1]
        if isinstance(answers, list):
            return np.array([row[max(row)] for row in answers], dtype=np.float64)
        return np.asarray(answers, dtype=np.float64).reshape(len(matrix), -1)[:, -1]


class OnnxPredictor:
    """A session that takes the matrix as one input, or column by column where the model has an input for each."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = [(each.name, _number(each), len(each.shape)) for each in session.get_inputs()]
        many = len(self._inputs) > 1
        self.names = tuple(name for name, _, _ in self._inputs) if many else ()
        if many and any(each.shape[1:] not in ([], [1]) for each in session.get_inputs()):
            raise InvalidInput("the ONNX model has several inputs of several columns; give it one input (rows, columns), or one of a column each")
        shape = session.get_inputs()[0].shape
        self.width = len(self._inputs) if many else shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0
        self._output, self.classifies = _output(session.get_outputs())

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or (self.width and matrix.shape[1] != self.width):
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.width or 'columns'})", shape=matrix.shape)
        if not matrix.shape[0]:
            return np.empty(0)
        try:
            answers = self._session.run([self._output], self._fed(matrix))[0]
        except Exception as error:  # as in `loads`
            raise InvalidInput(f"the ONNX model cannot predict {matrix.shape[0]} rows: {str(error)[:500]}", shape=matrix.shape) from error
        return _one_number(answers, matrix.shape[0], classifies=self.classifies)

    def _fed(self, matrix: np.ndarray) -> dict[str, np.ndarray]:
        if not self.names:
            name, kind, _ = self._inputs[0]
            return {name: _typed(matrix, kind, name)}
        return {name: _typed(matrix[:, i] if rank == 1 else matrix[:, i : i + 1], kind, name) for i, (name, kind, rank) in enumerate(self._inputs)}


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _as_fed(cells: np.ndarray, entry: Any) -> np.ndarray:
    """Cells in the type of an input; what is beyond its range is infinite there."""
    with np.errstate(over="ignore"):
        return cells.astype(_number(entry))


def _number(entry: Any) -> Any:
    kind = _NUMBERS.get(entry.type)
    if kind is None:
        raise InvalidInput(f"the ONNX model's input {entry.name!r} is a {entry.type}; only numbers are served, so encode texts before it")
    return kind


def _typed(cells: np.ndarray, kind: Any, name: str) -> np.ndarray:
    """The cells in the type of an input; raises `InvalidInput` where it has whole numbers only and a cell is null or a fraction."""
    if np.issubdtype(kind, np.floating):
        return np.ascontiguousarray(cells, dtype=kind)
    with np.errstate(invalid="ignore"):
        found = np.ascontiguousarray(cells, dtype=kind)
    wrong = cells[found != cells]
    if wrong.size:
        seen = "null" if np.isnan(wrong.flat[0]) else repr(float(wrong.flat[0]))
        raise InvalidInput(f"the ONNX model's input {name!r} takes {np.dtype(kind).name}, and was given {seen}", field=name)
    return found


def _output(outputs: Any) -> tuple[str, bool]:
    """The output that answers, and whether it holds probabilities of classes."""
    maps = [each.name for each in outputs if each.type in _MAPS]
    if maps:
        return maps[0], True
    floats = [each for each in outputs if each.type in _FLOATS]
    named = [each for each in floats if "prob" in each.name.lower()] or floats
    if not named:
        raise InvalidInput(
            f"the ONNX model's outputs {[(each.name, each.type) for each in outputs]} hold no numbers to serve; "
            "export a classifier with its probabilities, a regressor with its value"
        )
    shape = named[0].shape
    return named[0].name, len(shape) == 2 and (shape[1] == 2 or len(outputs) > 1)


def _one_number(answers: Any, rows: int, *, classifies: bool) -> np.ndarray:
    if isinstance(answers, list):
        answers = np.array([[row[key] for key in sorted(row)] for row in answers])
    answers = np.asarray(answers, dtype=np.float64)
    if answers.shape[:1] != (rows,):
        raise InvalidInput(f"the ONNX model answered {answers.shape} for {rows} rows; its first dimension must be free and count the rows")
    width = int(np.prod(answers.shape[1:]))
    if width > 2 or (width == 2 and not classifies):
        raise InvalidInput(f"the ONNX model answers {width} numbers a row; only binary classifiers and regressors are served", outputs=width)
    flat = answers.reshape(rows, width)
    return np.ascontiguousarray(flat[:, width - 1])


def _is_onnx(data: bytes) -> bool:
    try:
        return bool(onnx.load_model_from_string(data).graph.node)
    except Exception:  # noqa: BLE001 - `accepts` never raises
        return False


def _check_inside(data: bytes) -> None:
    """Raise `Corrupt` unless the bytes are a model that is whole in itself."""
    try:
        model = onnx.load_model_from_string(data)
        outside = any(uses_external_data(tensor) for graph in onnx_checks.graphs(model) for tensor in _tensors(graph))
    except Exception as error:  # protobuf's decoder has no error class that all of its implementations share
        raise Corrupt(f"these bytes are no readable ONNX model: {error}; restore the blob") from error
    if outside:
        raise Corrupt("the ONNX model keeps weights in other files; save it as one file (save_as_external_data=False)")
    if not model.graph.node:
        raise Corrupt("these bytes are no ONNX model: there is no graph in them")
    try:
        onnx_checks.check_graph(model, _width_of)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise Corrupt(f"the ONNX model holds something that is not what it should be ({type(error).__name__}: {error}); export it again") from error


def _width_of(model: Any, node: Any) -> int:
    """How many columns a node is given: what the model's input says, else what comes out of the nodes before it for two different requests."""
    wanted = node.input[0]
    for given in model.graph.input:
        if given.name == wanted:
            dims = given.type.tensor_type.shape.dim
            return int(dims[1].dim_value) if len(dims) == 2 else 0
    needed = {wanted}
    before: list[Any] = []
    for other in reversed(model.graph.node):
        if needed & set(other.output):
            before.insert(0, other)
            needed |= {name for each in (other, *_inside(other)) for name in each.input}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(before)
    part.graph.output.append(onnx.ValueInfoProto(name=wanted))
    try:
        session = onnxruntime.InferenceSession(part.SerializeToString(), _options(), providers=["CPUExecutionProvider"])
        shapes = {np.shape(session.run([wanted], _probe(session, rows))[0])[1:] for rows in _PROBE_ROWS_OF_PARTS}
    except Exception:  # noqa: BLE001 - as in `loads`: onnxruntime raises many kinds
        return 0
    return int(shapes.pop()[0]) if len(shapes) == 1 and all(len(each) == 1 for each in shapes) else 0


def _inside(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            for inner in graph.node:
                yield inner
                yield from _inside(inner)


def _probe(session: Any, rows: int) -> dict[str, np.ndarray]:
    """Rows of the number `rows` in the types and shapes of a model's inputs."""
    found = {}
    for each in session.get_inputs():
        shape = [rows, *(side if isinstance(side, int) else 1 for side in each.shape[1:])]
        found[each.name] = np.full(shape, rows, dtype=_number(each))
    return found


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that a graph holds, sparse ones by their parts."""
    yield from getattr(graph, "initializer", ())
    sparse = list(getattr(graph, "sparse_initializer", ()))
    for attribute in onnx_checks.attributes(graph):
        yield attribute.t
        yield from attribute.tensors
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for each in sparse:
        yield each.values
        yield each.indices
