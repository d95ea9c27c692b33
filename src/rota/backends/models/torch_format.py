"""PyTorch models: weights as safetensors, and the graph that `torch.export` traced as a list of ATen operations.

torch's own archive (.pt2) is not loaded: its loader evaluates texts (sympy) and falls back to unpickling, so it would run code. Here
the graph is data, and only operations of the list below are ever called, each by its name in `torch.ops.aten`.
"""

import importlib.metadata
import json
import operator
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.torch
import torch

from rota.backends.models import author_frames, number_reading
from rota.backends.models.envelope import bare, unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput
from rota.ports.models import AuthorRows, ModelInputs
from rota.records.model import ModelTensor

_MAGIC = "rota-torch"
_FORM = 1
MOST_NUMBERS = 10_000
"""Numbers of an answer that are served."""
_DATATYPES = {torch.float32: "FP32", torch.float64: "FP64"}
_LENGTH = struct.Struct("<Q")
_PROBE_ROWS = (2, 3)
OPERATIONS = frozenset({
    "_softmax", "_log_softmax", "_to_copy", "abs", "add", "addmm", "alias", "amax", "amin", "arange", "argmax", "avg_pool1d", "avg_pool2d",
    "bmm", "cat", "ceil", "clamp", "clone", "convolution", "copy", "cos", "cumsum", "div", "elu", "embedding", "empty_like", "eq", "erf", "exp",
    "expand", "expm1", "eye", "fill", "flip", "floor", "fmod", "full", "full_like", "gather", "ge", "gelu", "gt", "hardtanh", "index",
    "index_select", "isinf", "isnan", "le", "leaky_relu", "log", "log10", "log1p", "log2", "logical_and", "logical_not", "logical_or",
    "logical_xor", "lt", "masked_fill", "max", "max_pool2d_with_indices", "maximum", "mean", "min", "minimum", "mm", "mul", "native_group_norm",
    "native_layer_norm", "_native_batch_norm_legit_no_training", "ne", "neg", "nonzero", "ones_like", "permute", "pow", "prod", "reciprocal",
    "relu", "remainder", "repeat", "round", "rsqrt", "rsub", "scalar_tensor", "scatter", "select", "sigmoid", "sign", "silu", "sin", "sinh",
    "slice", "sort", "split_with_sizes", "sqrt", "squeeze", "sub", "sum", "sym_size", "t", "tan", "tanh", "topk", "transpose", "tril", "triu",
    "trunc", "unsqueeze", "var", "var_mean", "view", "where", "zeros_like", "_unsafe_view", "reshape", "constant_pad_nd", "linear", "matmul",
    "softmax", "log_softmax", "layer_norm", "dropout", "flatten", "unbind", "softplus", "mish", "hardsigmoid", "hardswish", "selu", "celu",
})  # fmt: skip
_PLAIN = {"getitem": operator.getitem, "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv}


class TorchFormat:
    """ModelFormat and AmbiguousFormat (ports) for an `nn.Module` of one matrix input, or an exported program of one.

    A module is exported when it is kept: its first layer says how many columns it reads. One output column is the predicted
    value or a probability, whichever the module gives; two are taken for the two classes' probabilities, unless the problem is another; more
    are the classes or targets that the module's `output_names` name.
    """

    name = "torch"
    tolerance = 1e-6

    def __init__(self, problem: str | None = None) -> None:
        self._problem = problem

    def read_as(self, problem: str) -> "TorchFormat":
        return TorchFormat(problem)

    def accepts(self, model: Any) -> bool:
        return isinstance(model, torch.nn.Module | torch.export.ExportedProgram)

    def dumps(self, model: Any) -> bytes:
        program = model if isinstance(model, torch.export.ExportedProgram) else _exported(model)
        graph, weights = _written(program)
        head = json.dumps({"form": _FORM, **graph, "outputs": [str(name) for name in getattr(model, "output_names", ())]}).encode()
        data = wrapped(_MAGIC, _LENGTH.pack(len(head)) + head + safetensors.torch.save(weights))
        try:
            predictor = self.loads(data)
        except Corrupt as error:
            raise InvalidInput(f"the module cannot be served: {error}") from error
        for rows in _PROBE_ROWS:
            predictor.predict(np.zeros((rows, predictor.width)))
        return data

    def imported(self, file: bytes) -> bytes:
        """Only what `dumps` wrote: torch's own archives run code when they are read."""
        if not file.startswith(_MAGIC.encode()):
            raise InvalidInput("a .pt or .pt2 file runs code when it is read; register the module from the program that made it, or save it as ONNX")
        data = wrapped(_MAGIC, bare(_MAGIC, file))
        try:
            self.loads(data)
        except Corrupt as error:
            raise InvalidInput(f"this is no torch model: {error}") from error
        return data

    def loads(self, data: bytes) -> "TorchPredictor":
        body = unwrapped(_MAGIC, data)
        try:
            (length,) = _LENGTH.unpack_from(body)
            graph = json.loads(body[_LENGTH.size : _LENGTH.size + length])
            weights = safetensors.torch.load(body[_LENGTH.size + length :])
            _checked(graph["form"], (_FORM,))
            return TorchPredictor(graph, weights, self._problem)
        except Corrupt:
            raise
        except Exception as error:  # safetensors raises a class of its own, and a wrong graph may raise anything
            raise Corrupt(f"these bytes are no readable torch model ({type(error).__name__}: {error}); restore the blob") from error

    def describe(self, data: bytes) -> ModelInputs:
        predictor = self.loads(data)
        return ModelInputs(predictor.width, problem=predictor.reading.problem, outputs=predictor.reading.outputs, tensors=(predictor.tensor,))

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("torch", "safetensors", "numpy")}

    def held(self, data: bytes) -> Any:
        """None: the bytes hold operations and weights, the module is only in the program that made it."""
        self.loads(data)

    def author(self, model: Any) -> "TorchAuthor":
        return TorchAuthor(model, self.describe(self.dumps(model)))

    def kept(self, model: Any) -> bytes:
        """Only what is served: torch's own archives run code when they are read."""
        return self.dumps(model)


class TorchAuthor:
    """AuthorModel (port): a module in evaluation mode, called with a tensor of its weights' type."""

    def __init__(self, model: Any, inputs: ModelInputs) -> None:
        self.inputs = inputs
        self._module = model.module() if isinstance(model, torch.export.ExportedProgram) else model
        self._dtype = next((each.dtype for each in self._module.parameters()), torch.float32)

    def answers(self, rows: AuthorRows) -> np.ndarray:
        training = self._module.training
        if not isinstance(self._module, torch.fx.GraphModule):  # an exported program's module is always in evaluation mode
            self._module.eval()
        try:
            with torch.inference_mode():
                found = self._module(torch.from_numpy(author_frames.array(rows)).to(self._dtype)).to(torch.float64).numpy()
        finally:
            if not isinstance(self._module, torch.fx.GraphModule):
                self._module.train(training)
        answers = np.ascontiguousarray(found.reshape(len(rows.cells), -1))
        return answers if self.inputs.outputs or self.inputs.problem == "embedding" else np.ascontiguousarray(answers[:, -1])


class TorchPredictor:
    """Runs the operations one by one, on the processor, in the thread that asks; how many numbers a row is answered by is seen from two rows."""

    def __init__(self, graph: Mapping[str, Any], weights: Mapping[str, torch.Tensor], problem: str | None = None) -> None:
        self.width = int(graph["width"])
        self._input = str(graph["input"])
        self._dtype = getattr(torch, _checked(graph["dtype"], ("float32", "float64")))
        self.tensor = ModelTensor(self._input, _DATATYPES[self._dtype], (-1, self.width))
        self._constants = {name: weights[key] for name, key in graph["weights"].items()}
        self._steps = [(step["name"], _operation(step["op"]), step["args"], step["kwargs"]) for step in graph["steps"]]
        self._output = str(graph["output"])
        answers = self._numbers(np.zeros((_PROBE_ROWS[0], self.width)))
        if answers.shape[1] > MOST_NUMBERS:
            raise InvalidInput(f"the torch model answers {answers.shape[1]} numbers a row; {MOST_NUMBERS} are served", outputs=answers.shape[1])
        self.reading = number_reading.read(answers.shape[1], problem, names=tuple(map(str, graph.get("outputs", ()))))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.width})", shape=matrix.shape)
        return self.reading.taken(self._numbers(matrix), len(matrix)) if len(matrix) else self.reading.empty()

    def _numbers(self, matrix: np.ndarray) -> np.ndarray:
        """All numbers that the module gives, float64 (rows, numbers)."""
        rows = matrix.shape[0]
        try:
            with torch.inference_mode():
                answers = self._run(torch.from_numpy(np.array(matrix, order="C")).to(self._dtype)).to(torch.float64).numpy()
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError) as error:
            raise InvalidInput(f"the torch model cannot predict {rows} rows: {error}", shape=matrix.shape) from error
        if answers.shape[:1] != (rows,) or not answers.size:
            raise InvalidInput(f"the torch model answered {answers.shape} for {rows} rows; its first dimension must be free and count the rows")
        return np.ascontiguousarray(answers.reshape(rows, -1))

    def _run(self, given: torch.Tensor) -> torch.Tensor:
        values: dict[str, Any] = {**self._constants, self._input: given}
        for name, call, args, kwargs in self._steps:
            values[name] = call(*_read(args, values), **{key: _read(value, values) for key, value in kwargs.items()})
        found: torch.Tensor = values[self._output]
        return found


def _exported(module: torch.nn.Module) -> Any:
    width = next((p.shape[1] for p in module.parameters() if p.ndim == 2), 0)
    if not width:
        raise InvalidInput(
            "the module's first layer does not say how many columns it reads; give torch.export.export(module, (example,), ...) instead"
        )
    kind = next(module.parameters()).dtype
    rows = torch.export.Dim("rows", min=1)
    training = module.training
    try:
        return torch.export.export(module.eval(), (torch.zeros(2, width, dtype=kind),), dynamic_shapes=({0: rows},))
    except Exception as error:  # tracing runs the module's code, which may raise anything
        raise InvalidInput(f"the module cannot be exported: {type(error).__name__}: {str(error)[:300]}") from error
    finally:
        module.train(training)


def _written(program: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The program's graph as data, and its weights."""
    program = program.run_decompositions()
    signature = program.graph_signature
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
        raise InvalidInput(f"the module has {len(signature.user_inputs)} inputs and {len(signature.user_outputs)} outputs; it must have one of each")
    keys = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    held = {**program.state_dict, **program.constants}
    given = next(node for node in program.graph.nodes if node.name == signature.user_inputs[0]).meta["val"]
    if given.ndim != 2 or not isinstance(given.shape[1], int):
        raise InvalidInput(f"the module reads a tensor of shape {tuple(given.shape)}; it must be a matrix (rows, columns)")
    steps = [
        {"name": node.name, "op": _named(node.target), "args": _plain(list(node.args)), "kwargs": {k: _plain(v) for k, v in node.kwargs.items()}}
        for node in program.graph.nodes
        if node.op == "call_function" and not _named(node.target).startswith("aten._assert")
    ]
    graph = {
        "width": int(given.shape[1]),
        "dtype": str(given.dtype).removeprefix("torch."),
        "input": signature.user_inputs[0],
        "output": signature.user_outputs[0],
        "weights": keys,
        "steps": steps,
    }
    for step in steps:
        _operation(str(step["op"]))
    return graph, {key: held[key].detach().clone().contiguous() for key in set(keys.values())}


def _named(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 - torch has no public name for its type
        return str(target)
    return f"python.{getattr(target, '__name__', str(target))}"


def _operation(name: str) -> Any:
    """The operation of a name; raises `Corrupt` unless it is one of the list."""
    parts = str(name).split(".")
    if parts[0] == "python" and len(parts) == 2 and parts[1] in _PLAIN:
        return _PLAIN[parts[1]]
    if len(parts) != 3 or parts[0] != "aten" or parts[1] not in OPERATIONS:
        raise InvalidInput(f"the torch model calls {name!r}, which is no operation that is served; save it as ONNX", operation=name)
    return getattr(getattr(torch.ops.aten, parts[1]), parts[2])


def _plain(value: Any) -> Any:
    """An argument as JSON: a node by its name, a type of torch by its word."""
    if isinstance(value, torch.fx.Node):
        return {"node": value.name}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, torch.dtype | torch.device | torch.memory_format | torch.layout):
        return {"torch": type(value).__name__, "is": str(value).removeprefix("torch.")}
    if isinstance(value, float) and not np.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InvalidInput(f"the torch model has an argument of type {type(value).__name__}, which is not kept; save it as ONNX")


def _read(value: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_read(each, values) for each in value]
    if not isinstance(value, dict):
        return value
    if "node" in value:
        return values[value["node"]]
    if "float" in value:
        return float(_checked(value["float"], ("inf", "-inf", "nan")))
    if value["torch"] == "device":
        return torch.device("cpu")
    kinds = {"dtype": torch.dtype, "memory_format": torch.memory_format, "layout": torch.layout}
    found = getattr(torch, str(value["is"]))
    if not isinstance(found, kinds[value["torch"]]):
        raise Corrupt(f"the torch model names {value['is']!r} for a {value['torch']}; restore the blob")
    return found


def _checked(value: Any, known: Sequence[Any]) -> str:
    if value not in known:
        raise Corrupt(f"the torch model says {value!r} where this version reads {list(known)}; restore the blob, or register the model again")
    return str(value)
