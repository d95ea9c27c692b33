"""How trees and linear models of scikit-learn become ONNX operators in double, in place of skl2onnx's own, which compute in float32.

Forests and gradient boosting compare columns that were rounded to float32, histogram-based boosting compares doubles; a null goes where the
fitted tree sends it. skl2onnx's converters lose the nulls of forests without a word, and cannot write some attributes with protobuf 7.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from skl2onnx.proto import onnx_proto
from sklearn import ensemble, linear_model, tree
from sklearn.base import is_classifier

from rota.backends.models import onnx_tree_nodes
from rota.backends.models.onnx_tree_nodes import AVERAGE, SUM, NodeArrays
from rota.backends.models.onnx_writing import constant, doubles, identity, node
from rota.errors import InvalidInput

_TREES = (
    tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, tree.ExtraTreeClassifier, tree.ExtraTreeRegressor,
    ensemble.RandomForestClassifier, ensemble.RandomForestRegressor, ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor,
)  # fmt: skip
_BOOSTED = (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor)
_BINNED = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
_LINEAR = (
    linear_model.LinearRegression, linear_model.Ridge, linear_model.RidgeCV, linear_model.Lasso, linear_model.LassoCV, linear_model.ElasticNet,
    linear_model.ElasticNetCV, linear_model.BayesianRidge, linear_model.ARDRegression, linear_model.HuberRegressor, linear_model.Lars,
    linear_model.LassoLars, linear_model.SGDRegressor, linear_model.TheilSenRegressor, linear_model.QuantileRegressor,
    linear_model.PoissonRegressor, linear_model.GammaRegressor, linear_model.LogisticRegression, linear_model.LogisticRegressionCV,
)  # fmt: skip
_OF_EXPONENT = (linear_model.PoissonRegressor, linear_model.GammaRegressor)


def register() -> None:
    """Let skl2onnx write these estimators as this module does, in this process."""
    for kinds, write in ((_TREES, _write_forest), (_BOOSTED, _write_boosted), (_BINNED, _write_binned), (_LINEAR, _write_linear)):
        for kind in kinds:
            options = {"zipmap": [False], "nocl": [True, False], "raw_scores": [False]} if hasattr(kind, "predict_proba") else None
            update_registered_converter(kind, f"Rota{kind.__name__}", _shapes, write, overwrite=True, options=options)


def reads_trees(model: Any) -> bool:
    """Whether an estimator is one whose thresholds `thresholds` knows."""
    return isinstance(model, _TREES + _BOOSTED + _BINNED)


def thresholds(model: Any) -> dict[int, np.ndarray]:
    """The numbers at which the trees of an estimator split, by its columns."""
    found: dict[int, list[np.ndarray]] = {}
    for each in _trees_of(model):
        inner = each.left >= 0
        for column in np.unique(each.feature[inner]):
            found.setdefault(int(column), []).append(each.threshold[inner & (each.feature == column)])
    return {column: np.unique(np.concatenate(parts)) for column, parts in found.items()}


def _trees_of(model: Any) -> Iterator[NodeArrays]:
    if isinstance(model, _TREES):
        for each in getattr(model, "estimators_", [model]):
            yield _arrays(each.tree_, each.tree_.value[:, 0, 0])
    elif isinstance(model, _BOOSTED):
        for each in model.estimators_.ravel():
            yield _arrays(each.tree_, each.tree_.value[:, 0, 0])
    else:
        for stage in model._predictors:  # noqa: SLF001 - scikit-learn has no public way to its trees
            for each in stage:
                yield _binned_arrays(each.nodes, 0)


def _arrays(fitted: Any, value: np.ndarray, target: int = 0) -> NodeArrays:
    left = np.asarray(fitted.children_left)
    missing = np.asarray(fitted.missing_go_to_left)
    return NodeArrays(np.asarray(fitted.feature), np.asarray(fitted.threshold), left, np.asarray(fitted.children_right), missing, value, target)


def _binned_arrays(nodes: np.ndarray, target: int) -> NodeArrays:
    if (nodes["is_categorical"].astype(bool) & ~nodes["is_leaf"].astype(bool)).any():
        raise InvalidInput("its trees split by sets of categories, which are not converted; encode categories as numbers or one-hot")
    left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
    right = nodes["right"].astype(np.int64)
    return NodeArrays(nodes["feature_idx"], nodes["num_threshold"], left, right, nodes["missing_go_to_left"], nodes["value"], target)


def _shapes(operator: Any) -> None:
    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    if not is_classifier(model):
        operator.outputs[0].type = DoubleTensorType([rows, _targets(model)])
        return
    classes = model.classes_
    if isinstance(classes, list):
        raise InvalidInput(f"the {type(model).__name__} answers several labels, which are not converted")
    operator.outputs[0].type = StringTensorType([rows]) if classes.dtype.kind in "OUS" else Int64TensorType([rows])
    operator.outputs[1].type = DoubleTensorType([rows, len(classes)])


def _targets(model: Any) -> int:
    if isinstance(model, _LINEAR):
        return int(np.atleast_2d(model.coef_).shape[0])
    return int(getattr(model, "n_outputs_", 1))


def _write_forest(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    members = getattr(model, "estimators_", [model])
    if not is_classifier(model):
        targets = _targets(model)
        trees = [_arrays(each.tree_, each.tree_.value[:, target, 0], target) for each in members for target in range(targets)]
        found = _ensemble(scope, operator, container, _averaged(trees, len(members), targets), _as_float32)
        identity(container, found, operator.outputs[0])
        return
    classes = len(model.classes_)
    if classes == 2:  # the second is what the first leaves
        trees = [_arrays(each.tree_, each.tree_.value[:, 0, 1]) for each in members]
        second = _ensemble(scope, operator, container, _averaged(trees, len(members), 1), _as_float32)
        _write_classes(scope, operator, container, _of_two(scope, container, second))
        return
    trees = [_arrays(each.tree_, each.tree_.value[:, 0, target], target) for each in members for target in range(classes)]
    _write_classes(scope, operator, container, _ensemble(scope, operator, container, _averaged(trees, len(members), classes), _as_float32))


def _averaged(trees: Sequence[NodeArrays], members: int, targets: int) -> dict[str, Any]:
    """A mean over the members; where each has a tree for every target it is a sum of their parts, because the operator counts trees."""
    if targets == 1:
        return onnx_tree_nodes.attributes(trees, targets=1, aggregate=AVERAGE)
    shares = [NodeArrays(t.feature, t.threshold, t.left, t.right, t.missing_left, t.value / members, t.target) for t in trees]
    return onnx_tree_nodes.attributes(shares, targets=targets, aggregate=SUM)


def _write_boosted(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    if model.init_ != "zero" and not type(model.init_).__name__.startswith("Dummy"):
        raise InvalidInput(f"its first answers are those of a {type(model.init_).__name__}, which is not converted")
    start = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), dtype=np.float32)), dtype=np.float64)  # noqa: SLF001
    trees = [
        _arrays(each.tree_, each.tree_.value[:, 0, 0] * model.learning_rate, target)
        for stage in model.estimators_
        for target, each in enumerate(stage)
    ]
    targets = model.estimators_.shape[1]
    raw = _ensemble(scope, operator, container, onnx_tree_nodes.attributes(trees, targets=targets, aggregate=SUM), _as_float32)
    raw = _added(scope, container, raw, start.reshape(1, -1))
    if type(model._loss).__name__ == "ExponentialLoss":  # noqa: SLF001
        raw = node(scope, container, "Mul", [raw, constant(scope, container, np.array([[2.0]]))])
    _write_answers(scope, operator, container, raw, targets)


def _write_binned(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    trees = [_binned_arrays(each.nodes, target) for stage in model._predictors for target, each in enumerate(stage)]  # noqa: SLF001
    targets = int(model.n_trees_per_iteration_)
    raw = _ensemble(scope, operator, container, onnx_tree_nodes.attributes(trees, targets=targets, aggregate=SUM), lambda *given: given[2])
    raw = _added(scope, container, raw, np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1, -1))  # noqa: SLF001
    if not is_classifier(model) and type(model._loss.link).__name__ == "LogLink":  # noqa: SLF001
        raw = node(scope, container, "Exp", [raw])
    _write_answers(scope, operator, container, raw, targets)


def _write_linear(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    coefficients = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64)).T
    product = node(scope, container, "MatMul", [doubles(scope, operator, container), constant(scope, container, np.ascontiguousarray(coefficients))])
    start = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64).reshape(1, -1), (1, coefficients.shape[1]))
    raw = _added(scope, container, product, start)
    if isinstance(model, _OF_EXPONENT):
        raw = node(scope, container, "Exp", [raw])
    _write_answers(scope, operator, container, raw, coefficients.shape[1])


def _write_answers(scope: Any, operator: Any, container: Any, raw: str, targets: int) -> None:
    """What an estimator answers of its sums: itself of a regressor, of a classifier the probabilities."""
    if not is_classifier(operator.raw_operator):
        identity(container, raw, operator.outputs[0])
    elif targets == 1:
        _write_classes(scope, operator, container, _of_two(scope, container, node(scope, container, "Sigmoid", [raw])))
    else:
        _write_classes(scope, operator, container, node(scope, container, "Softmax", [raw], axis=1))


def _write_classes(scope: Any, operator: Any, container: Any, probabilities: str) -> None:
    """The likeliest class beside the probabilities, as skl2onnx's classifiers answer; what nobody asks for is cut off later."""
    identity(container, probabilities, operator.outputs[1])
    classes = np.asarray(operator.raw_operator.classes_)
    best = node(scope, container, "ArgMax", [probabilities], axis=1, keepdims=0)
    names = scope.get_unique_variable_name("classes")
    if classes.dtype.kind in "OUS":
        container.add_initializer(names, onnx_proto.TensorProto.STRING, [len(classes)], [str(each).encode() for each in classes])
    else:
        container.add_initializer(names, onnx_proto.TensorProto.INT64, [len(classes)], [int(each) for each in classes])
    container.add_node("Gather", [names, best], operator.outputs[0].full_name, name=scope.get_unique_operator_name("Gather"), op_version=13)


def _ensemble(scope: Any, operator: Any, container: Any, attributes: dict[str, Any], reading: Callable[[Any, Any, str], str]) -> str:
    given = reading(scope, container, doubles(scope, operator, container))
    found: str = scope.get_unique_variable_name("trees")
    name = scope.get_unique_operator_name("TreeEnsemble")
    container.add_node("TreeEnsemble", [given], [found], op_domain="ai.onnx.ml", op_version=1, name=name, **attributes)  # see `sklearn_onnx`
    return found


def _as_float32(scope: Any, container: Any, given: str) -> str:
    narrow = node(scope, container, "Cast", [given], to=onnx_proto.TensorProto.FLOAT)
    return node(scope, container, "Cast", [narrow], to=onnx_proto.TensorProto.DOUBLE)


def _of_two(scope: Any, container: Any, second: str) -> str:
    first = node(scope, container, "Sub", [constant(scope, container, np.array([[1.0]])), second])
    return node(scope, container, "Concat", [first, second], axis=1)


def _added(scope: Any, container: Any, given: str, numbers: np.ndarray) -> str:
    return node(scope, container, "Add", [given, constant(scope, container, np.ascontiguousarray(numbers))])
