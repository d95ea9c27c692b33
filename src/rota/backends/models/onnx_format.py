"""ONNX models, predicted by onnxruntime on one thread.

Any model that a converter or an exporter wrote is taken when it answers numbers: probabilities of classes (an output of columns, or of maps
by class, as skl2onnx writes them) or values (an output of columns, or several outputs). An input of texts is given them as they are; no null
stands in it. Weights in other files are refused: onnxruntime would read the paths that the model names.
"""

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import uses_external_data

from rota.backends.models import author_frames, onnx_answers, onnx_checks, onnx_tensors
from rota.backends.models.envelope import bare, unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput
from rota.ports.models import AuthorRows, ModelInputs

_MAGIC = "rota-onnx"
_CELLS = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}  # fmt: skip
"""What a cell of an input is, by the input's type; an object is a text."""
_PROBE_ROWS = 3
_PROBE_ROWS_OF_PARTS = (1, 3)


class OnnxFormat:
    """ModelFormat and AmbiguousFormat (ports) for an onnx `ModelProto`, its bytes, or the path of an .onnx file."""

    name = "onnx"
    tolerance = 1e-6

    def __init__(self, problem: str | None = None) -> None:
        self._problem = problem

    def read_as(self, problem: str) -> "OnnxFormat":
        return OnnxFormat(problem)

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
        if predictor.width and not predictor.texts:
            predictor.predict(np.zeros((_PROBE_ROWS, predictor.width)))
        return data

    def loads(self, data: bytes) -> "OnnxPredictor":
        body = unwrapped(_MAGIC, data)
        _check_inside(body)
        try:
            session = onnxruntime.InferenceSession(body, _options(), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a class of its own for each way in which a model can be wrong
            raise Corrupt(f"the ONNX model cannot be loaded: {str(error)[:500]}; export it again") from error
        return OnnxPredictor(session, onnx_answers.class_names(onnx.load_model_from_string(body).graph), self._problem)

    def describe(self, data: bytes) -> ModelInputs:
        predictor = self.loads(data)
        reading, answers = predictor.answers.reading, predictor.answers
        words = onnx_answers.texts(onnx.load_model_from_string(unwrapped(_MAGIC, data))) if predictor.texts else ()
        return ModelInputs(
            predictor.width,
            predictor.names,
            {},
            reading.problem,
            answers.classes,
            reading.outputs,
            free_texts=dict.fromkeys(predictor.texts, words),
            tensors=predictor.tensors,
            answer=predictor.answer,
        )

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("onnxruntime", "onnx", "numpy")}

    def held(self, data: bytes) -> Any:
        return unwrapped(_MAGIC, data)

    def author(self, model: Any) -> "OnnxAuthor":
        data = wrapped(_MAGIC, bare(_MAGIC, self.kept(model)))
        session = onnxruntime.InferenceSession(unwrapped(_MAGIC, data), _options(), providers=["CPUExecutionProvider"])
        return OnnxAuthor(session, self.describe(data))

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
        for place, each in enumerate(wanted):
            cells = matrix if len(wanted) == 1 else matrix[:, place]
            if not np.issubdtype(_cell(each), np.floating) and not all(isinstance(cell, str) or np.isfinite(cell) for cell in cells.flat):
                raise InvalidInput("a null has no whole number and no text to stand for it")
        if len(wanted) == 1:
            fed = {wanted[0].name: _as_fed(matrix, wanted[0])}
        else:
            fed = {each.name: _as_fed(matrix[:, place], each).reshape(-1, *[1] * (len(each.shape) - 1)) for place, each in enumerate(wanted)}
        answers = [each for each in self._session.run(None, fed) if isinstance(each, list) or each.dtype.kind == "f"]
        width = len(self.inputs.outputs)
        if isinstance(answers[-1], list):
            found = np.array([[row[key] for key in sorted(row)] for row in answers[-1]], dtype=np.float64)
        elif width == len(answers) > 1:
            found = np.column_stack([np.asarray(each, dtype=np.float64).reshape(len(matrix), -1)[:, -1] for each in answers])
        else:
            found = np.asarray(answers[-1], dtype=np.float64).reshape(len(matrix), -1)
        return found if width or self.inputs.problem == "embedding" else found[:, -1]


class OnnxPredictor:
    """A session that takes the matrix as one input, or column by column where the model has an input for each."""

    def __init__(self, session: Any, classes: tuple[str, ...] = (), problem: str | None = None) -> None:
        self._session = session
        self._inputs = [(each.name, _cell(each), len(each.shape)) for each in session.get_inputs()]
        many = len(self._inputs) > 1
        self.names = tuple(name for name, _, _ in self._inputs) if many else ()
        if many and any(each.shape[1:] not in ([], [1]) for each in session.get_inputs()):
            raise InvalidInput("the ONNX model has several inputs of several columns; give it one input (rows, columns), or one of a column each")
        shape = session.get_inputs()[0].shape
        self.width = len(self._inputs) if many else shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0
        places = range(self.width if not many and self._inputs[0][1] is np.object_ else len(self._inputs))
        self.texts = tuple(place for place in places if self._inputs[place if many else 0][1] is np.object_)
        if self._inputs[0][1] is np.object_ and not places:
            raise InvalidInput("the ONNX model's input of texts does not say how many columns it has; give it a shape (rows, columns)")
        chosen = onnx_answers.chosen(session.get_outputs())
        self.answers = onnx_answers.read(chosen, self._width_of(chosen), classes, problem)
        self.tensors = onnx_tensors.taken(session.get_inputs(), self.width)
        self.answer = onnx_tensors.answered(session.get_outputs(), chosen.names)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or (self.width and matrix.shape[1] != self.width):
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.width or 'columns'})", shape=matrix.shape)
        if not matrix.shape[0]:
            return self.answers.reading.empty()
        try:
            answers = self._session.run(list(self.answers.names), self._fed(matrix))
        except Exception as error:  # as in `loads`
            raise InvalidInput(f"the ONNX model cannot predict {matrix.shape[0]} rows: {str(error)[:500]}", shape=matrix.shape) from error
        return self.answers.taken(answers, matrix.shape[0])

    def _width_of(self, chosen: onnx_answers.Chosen) -> int:
        """How many numbers the outputs give a row: by their shapes, else by what they answer to two rows."""
        if chosen.width:
            return chosen.width
        try:
            answers = self._session.run(list(chosen.names), _probe(self._session, 2))
        except Exception as error:  # as in `loads`
            raise InvalidInput(f"the ONNX model cannot predict 2 rows: {str(error)[:500]}; its first dimension must be free") from error
        return onnx_answers.counted(answers, 2)

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
        return cells.astype(_cell(entry))


def _cell(entry: Any) -> Any:
    kind = _CELLS.get(entry.type)
    if kind is None:
        raise InvalidInput(
            f"the ONNX model's input {entry.name!r} is a {entry.type}; numbers and texts are served, so make it one of {sorted(_CELLS)}"
        )
    return kind


def _typed(cells: np.ndarray, kind: Any, name: str) -> np.ndarray:
    """The cells in the type of an input; raises `InvalidInput` where it has texts or whole numbers only, and a cell is null or a fraction."""
    if kind is np.object_:
        if not all(isinstance(cell, str) for cell in cells.flat):
            raise InvalidInput(f"the ONNX model's input {name!r} takes texts, and was given null; fill it before the model", field=name)
        return np.ascontiguousarray(cells)
    if cells.dtype == object:
        cells = cells.astype(np.float64)
    if np.issubdtype(kind, np.floating):
        return np.ascontiguousarray(cells, dtype=kind)
    with np.errstate(invalid="ignore"):
        found = np.ascontiguousarray(cells, dtype=kind)
    wrong = cells[found != cells]
    if wrong.size:
        seen = "null" if np.isnan(wrong.flat[0]) else repr(float(wrong.flat[0]))
        raise InvalidInput(f"the ONNX model's input {name!r} takes {np.dtype(kind).name}, and was given {seen}", field=name)
    return found


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
        kind = _cell(each)
        found[each.name] = np.full(shape, str(rows) if kind is np.object_ else rows, dtype=kind)
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
