"""How encoders and imputers of scikit-learn become ONNX operators over doubles: texts are codes by then, and a null is NaN.

One comparison makes all columns of an encoder at once, where skl2onnx writes a chain of operators for each column.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType
from skl2onnx.proto import onnx_proto
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from rota.backends.models.onnx_writing import constant, doubles, identity, node
from rota.errors import InvalidInput


def register() -> None:
    """Let skl2onnx write these estimators as this module does, in this process."""
    for kind, width, write in (
        (SimpleImputer, _imputed_width, _write_imputer),
        (OneHotEncoder, _one_hot_width, _write_one_hot),
        (OrdinalEncoder, _ordinal_width, _write_ordinal),
    ):
        update_registered_converter(kind, f"Rota{kind.__name__}", _shape(width), write, overwrite=True)


def _shape(width: Any) -> Any:
    def found(operator: Any) -> None:
        operator.outputs[0].type = DoubleTensorType([operator.inputs[0].get_first_dimension(), width(operator.raw_operator)])

    return found


def _imputed_width(imputer: Any) -> int:
    return len(_kept(imputer)) + (len(imputer.indicator_.features_) if imputer.add_indicator else 0)


def _kept(imputer: Any) -> list[int]:
    """The columns that come out: those without any value in training do not, unless they are kept."""
    empty = np.isnan(np.asarray(imputer.statistics_, dtype=np.float64))
    return [place for place, is_empty in enumerate(empty) if imputer.keep_empty_features or imputer.strategy == "constant" or not is_empty]


def _write_imputer(scope: Any, operator: Any, container: Any) -> None:
    imputer, given = operator.raw_operator, doubles(scope, operator, container)
    missing = imputer.missing_values
    if isinstance(missing, float) and np.isnan(missing):
        is_missing = node(scope, container, "IsNaN", [given])
    elif isinstance(missing, int | float):
        is_missing = node(scope, container, "Equal", [given, constant(scope, container, np.array([[float(missing)]]))])
    else:
        raise InvalidInput(f"its SimpleImputer takes {missing!r} for missing, which is not converted")
    learnt = np.asarray(imputer.statistics_, dtype=np.float64).reshape(1, -1)
    if imputer.keep_empty_features:
        learnt = np.nan_to_num(learnt)
    filled = node(scope, container, "Where", [is_missing, constant(scope, container, learnt), given])
    kept = _kept(imputer)
    if len(kept) < learnt.shape[1]:
        filled = _columns(scope, container, filled, kept)
    if imputer.add_indicator:
        told = node(scope, container, "Cast", [is_missing], to=onnx_proto.TensorProto.DOUBLE)
        filled = node(scope, container, "Concat", [filled, _columns(scope, container, told, imputer.indicator_.features_.tolist())], axis=1)
    identity(container, filled, operator.outputs[0])


def _one_hot_width(encoder: Any) -> int:
    return sum(len(each) for each in _shown(encoder))


def _shown(encoder: Any) -> list[np.ndarray]:
    """The places of the categories of each column that get a column: those that were not dropped."""
    if getattr(encoder, "_infrequent_enabled", False):
        raise InvalidInput("its OneHotEncoder joins infrequent categories, which is not converted")
    dropped = [None] * len(encoder.categories_) if encoder.drop_idx_ is None else list(encoder.drop_idx_)
    return [np.array([i for i in range(len(each)) if i != gone]) for each, gone in zip(encoder.categories_, dropped, strict=True)]


def _write_one_hot(scope: Any, operator: Any, container: Any) -> None:
    encoder = operator.raw_operator
    shown = _shown(encoder)
    places = [column for column, each in enumerate(shown) for _ in each]
    values = np.concatenate([_numbers(each)[chosen] for each, chosen in zip(encoder.categories_, shown, strict=True)])
    identity(container, _matches(scope, container, doubles(scope, operator, container), places, values), operator.outputs[0])


def _ordinal_width(encoder: Any) -> int:
    return len(encoder.categories_)


def _write_ordinal(scope: Any, operator: Any, container: Any) -> None:
    encoder, given = operator.raw_operator, doubles(scope, operator, container)
    if getattr(encoder, "_infrequent_enabled", False):
        raise InvalidInput("its OrdinalEncoder joins infrequent categories, which is not converted")
    learnt = [_numbers(each) for each in encoder.categories_]
    places = [column for column, each in enumerate(learnt) for _ in each]
    matches = _matches(scope, container, given, places, np.concatenate(learnt))
    codes, known = np.zeros((len(places), len(learnt))), np.zeros((len(places), len(learnt)))
    row = 0
    for column, each in enumerate(learnt):
        codes[row : row + len(each), column], known[row : row + len(each), column] = np.arange(len(each)), 1.0
        row += len(each)
    found = node(scope, container, "MatMul", [matches, constant(scope, container, codes)])
    if encoder.handle_unknown == "use_encoded_value":
        is_known = node(scope, container, "Cast", [node(scope, container, "MatMul", [matches, constant(scope, container, known)])], to=_BOOL)
        found = node(scope, container, "Where", [is_known, found, constant(scope, container, np.array([[float(encoder.unknown_value)]]))])
    nulls = np.array([[float(np.isnan(each).any()) for each in learnt]])
    if nulls.any():
        is_null = node(scope, container, "IsNaN", [given])
        as_null = np.where(nulls > 0, float(encoder.encoded_missing_value), float(encoder.unknown_value or 0.0))
        found = node(scope, container, "Where", [is_null, constant(scope, container, as_null), found])
    identity(container, found, operator.outputs[0])


_BOOL = onnx_proto.TensorProto.BOOL


def _matches(scope: Any, container: Any, given: str, places: Sequence[int], values: np.ndarray) -> str:
    """1.0 where a column holds a category, else 0.0: a column for each category."""
    spread = _columns(scope, container, given, places)
    same = node(scope, container, "Equal", [spread, constant(scope, container, values.reshape(1, -1))])
    if np.isnan(values).any():
        wanted = scope.get_unique_variable_name("nulls")
        container.add_initializer(wanted, _BOOL, [1, len(values)], np.isnan(values).astype(int).tolist())
        same = node(scope, container, "Or", [same, node(scope, container, "And", [node(scope, container, "IsNaN", [spread]), wanted])])
    return node(scope, container, "Cast", [same], to=onnx_proto.TensorProto.DOUBLE)


def _numbers(categories: Any) -> np.ndarray:
    try:
        return np.asarray([float("nan") if each is None else float(each) for each in categories], dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInput(f"an encoder learnt categories that are no numbers and have no codes: {list(categories)[:3]}") from None


def _columns(scope: Any, container: Any, given: str, places: Sequence[int]) -> str:
    chosen = scope.get_unique_variable_name("places")
    container.add_initializer(chosen, onnx_proto.TensorProto.INT64, [len(places)], [int(each) for each in places])
    return node(scope, container, "Gather", [given, chosen], axis=1)
