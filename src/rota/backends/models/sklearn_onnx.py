"""Convert a fitted scikit-learn estimator into one ONNX graph over Rota's matrix: doubles in, texts as their codes, doubles out.

Encoders and imputers that learnt texts are given their codes in a copy of the estimator, so that a graph has one input of numbers. What cannot
be converted raises `InvalidInput`; whether a conversion is exact is for the engine gate to say.
"""

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from skl2onnx import _parse, _supported_operators, convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.base import is_classifier, is_regressor

from rota.backends.models import sklearn_answers, sklearn_columns, sklearn_onnx_columns, sklearn_onnx_operators
from rota.backends.models.converted_format import ANSWER, ConvertedFormat
from rota.errors import InvalidInput
from rota.ports.models import ConvertedModel, ModelInputs

OPSETS = {"": 21, "ai.onnx.ml": 3}
"""Versions of operators that skl2onnx writes; TreeEnsemble is one of version 5 of its domain, to which a graph without older trees is raised."""
_TREES_OPSET = 5
_OLDER_TREES = {"TreeEnsembleClassifier", "TreeEnsembleRegressor"}
_INPUT = "rows"
_REGISTERING = threading.Lock()
"""skl2onnx keeps its converters in one place for the whole process."""
_BISECTIONS = 66
"""Halvings after which two neighbouring doubles are left, whatever the range."""
_FARTHEST = 1e12
MOST_THRESHOLDS = 40
"""Thresholds of one column that are looked for in the raw values."""


def convert(model: Any, inputs: ModelInputs) -> ConvertedModel:
    """The graph of an estimator that was made ready for the matrix (`EstimatorPredictor`); `inputs` are its own words of its columns."""
    _check(model, inputs)
    coded = copy.deepcopy(model)
    reading = sklearn_columns.read(coded, inputs.width)
    for part, columns in reading.encoders:
        _give_codes(part, columns, inputs)
    options = {id(coded): {"zipmap": False}} if is_classifier(coded) else None
    try:
        with _own_converters():
            graph = convert_sklearn(coded, initial_types=[(_INPUT, DoubleTensorType([None, inputs.width]))], options=options, target_opset=OPSETS)
        wanted = [each.name for each in graph.graph.output][1 if is_classifier(coded) else 0]
        graph = select_model_inputs_outputs(graph, [wanted])
        if is_classifier(coded):
            _keep_between_0_and_1(graph)
        _raise_opset(graph)
        take = "all" if inputs.outputs else "second" if is_classifier(coded) else "one"
        onnx.helper.set_model_props(graph, {ANSWER: take})
        data = graph.SerializeToString()
    except InvalidInput:
        raise
    except Exception as error:  # skl2onnx raises a class of its own for each thing that it cannot write, and others beside
        raise InvalidInput(f"skl2onnx cannot convert it: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    return ConvertedModel(ConvertedFormat().packed(data), _raw_thresholds(coded, inputs))


@contextmanager
def _own_converters() -> Iterator[None]:
    """skl2onnx with the converters of these modules for the time of one conversion: what a training function converts itself is written by
    skl2onnx's own."""
    registries = (_supported_operators.sklearn_operator_name_map, _parse.sklearn_parsers_map)
    with _REGISTERING:
        before = [dict(each) for each in registries]
        try:
            sklearn_onnx_operators.register()
            sklearn_onnx_columns.register()
            yield
        finally:
            for registry, known in zip(registries, before, strict=True):
                registry.clear()
                registry.update(known)


def _check(model: Any, inputs: ModelInputs) -> None:
    if inputs.free_texts:
        raise InvalidInput("it reads texts word by word, which is not converted")
    if not inputs.width:
        raise InvalidInput("it does not say how many columns it reads")
    if not (is_classifier(model) or is_regressor(model)):
        raise InvalidInput("scores of anomalies and names of clusters are not converted; classifiers and regressors are")
    if sklearn_answers.of(model).problem == "multilabel":
        raise InvalidInput("a classifier of several labels is not converted")


def _give_codes(part: Any, columns: Sequence[int | None], inputs: ModelInputs) -> None:
    """What an encoder or imputer learnt of texts as their codes, a null as NaN."""
    texts = {place: inputs.texts[column] for place, column in enumerate(columns) if column is not None and column in inputs.texts}
    if not texts:
        return
    if hasattr(part, "categories_"):
        part.categories_ = [
            np.array([_code(each, texts[place]) for each in learnt]) if place in texts else learnt for place, learnt in enumerate(part.categories_)
        ]
        if set(texts) != set(range(len(part.categories_))):
            part.categories_ = [np.asarray(each, dtype=np.float64) for each in part.categories_]
        return
    part.statistics_ = np.array([_code(each, texts.get(place, ())) for place, each in enumerate(part.statistics_)])
    part.missing_values, part.strategy, part.fill_value = np.nan, "most_frequent", None
    part._fit_dtype = np.dtype(np.float64)  # noqa: SLF001 - the type that it says it was fitted on


def _code(value: Any, texts: Sequence[str]) -> float:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return float("nan")
    if isinstance(value, str):
        return float(texts.index(value)) if value in texts else float(len(texts))
    return float(value)


def _keep_between_0_and_1(graph: Any) -> None:
    """Shares of trees that add up to a little more than one, as sums of doubles do, are one."""
    output = graph.graph.output[0]
    bounds = [onnx.helper.make_tensor(name, onnx.TensorProto.DOUBLE, [], [value]) for name, value in (("least", 0.0), ("most", 1.0))]
    graph.graph.initializer.extend(bounds)
    kept = f"{output.name}_kept"
    graph.graph.node.append(onnx.helper.make_node("Clip", [output.name, "least", "most"], [kept]))
    output.name = kept


def _raise_opset(graph: Any) -> None:
    kinds = {node.op_type for node in graph.graph.node}
    if "TreeEnsemble" in kinds:
        if kinds & _OLDER_TREES:
            raise InvalidInput(f"it holds trees of a kind that is converted in float32 only ({sorted(kinds & _OLDER_TREES)})")
        del graph.opset_import[:]
        graph.opset_import.extend([onnx.helper.make_opsetid("", OPSETS[""]), onnx.helper.make_opsetid("ai.onnx.ml", _TREES_OPSET)])
        graph.ir_version = min(graph.ir_version, 10)


def _raw_thresholds(model: Any, inputs: ModelInputs) -> Mapping[int, tuple[float, ...]]:
    """Raw values on both sides of the numbers at which trees split, found by halving intervals through the steps before the trees."""
    last = sklearn_answers.final(model)
    if not sklearn_onnx_operators.reads_trees(last):
        return {}
    found = {column: _some(each) for column, each in sklearn_onnx_operators.thresholds(last).items()}
    if last is model:
        return {column: tuple(map(float, each)) for column, each in found.items()}
    if not hasattr(model, "steps") or model.steps[-1][1] is not last:
        return {}
    return _through(model[:-1], inputs, found)


def _through(front: Any, inputs: ModelInputs, found: Mapping[int, np.ndarray]) -> dict[int, tuple[float, ...]]:
    """Of each number column the values at which a column behind `front` crosses its thresholds; columns that others come of as well have none."""
    base = np.zeros((1, inputs.width))
    low, high = np.full((1, inputs.width), -1e3), np.full((1, inputs.width), 1e3)
    before = np.asarray(_transformed(front, base))
    raw: dict[int, tuple[float, ...]] = {}
    for column in set(range(inputs.width)) - set(inputs.texts):
        moved = [base.copy(), base.copy()]
        moved[0][0, column], moved[1][0, column] = low[0, column], high[0, column]
        behind = [place for place in np.flatnonzero((_transformed(front, np.vstack(moved)) != before).any(axis=0)) if int(place) in found]
        if behind:
            wanted = np.concatenate([found[int(place)] for place in behind])
            places = np.concatenate([np.full(len(found[int(place)]), int(place)) for place in behind])
            raw[column] = _crossings(front, base, column, places, wanted)
    return raw


def _crossings(front: Any, base: np.ndarray, column: int, places: np.ndarray, wanted: np.ndarray) -> tuple[float, ...]:
    left, right, rows = np.full(len(wanted), -_FARTHEST), np.full(len(wanted), _FARTHEST), np.arange(len(wanted))
    for _ in range(_BISECTIONS):
        middle = (left + right) / 2
        given = np.repeat(base, len(wanted), axis=0)
        given[:, column] = middle
        below = _transformed(front, given)[rows, places] <= wanted
        left, right = np.where(below, middle, left), np.where(below, right, middle)
    sides = np.unique(np.concatenate([left, right]))
    return tuple(float(each) for each in sides if abs(each) < _FARTHEST / 2)


def _transformed(front: Any, given: np.ndarray) -> np.ndarray:
    answer = front.transform(given)
    return np.asarray(answer.toarray() if hasattr(answer, "toarray") else answer, dtype=np.float64)


def _some(each: np.ndarray) -> np.ndarray:
    if len(each) <= MOST_THRESHOLDS:
        return each
    found: np.ndarray = each[np.linspace(0, len(each) - 1, MOST_THRESHOLDS, dtype=int)]
    return found
