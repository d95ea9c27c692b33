"""CatBoost models in CatBoost's own binary form (.cbm), asked through its Python package with categories and texts as they are.

The form keeps hashes of categories and no names, so a model says which of its columns hold texts and not which texts it knows. Its parser
reads past the arrays of a damaged file (of 1,500 that were damaged at random 16 ended the process, CatBoost 1.2.10), and what it holds cannot be
checked from outside: so only bytes that `dumps` wrote are taken, behind their checksum, as for PyTorch; a .cbm file from elsewhere is loaded by
its owner and registered as a model.
"""

import importlib.metadata
import json
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import catboost
import numpy as np

from rota.backends.models import author_frames
from rota.backends.models.envelope import unwrapped, wrapped
from rota.errors import Corrupt, InvalidInput
from rota.ports.models import AuthorRows, ModelInputs
from rota.problems import output_names
from rota.problems.forms import class_name

_MAGIC, _HEAD = "rota-catboost", b"CBM1"
_SIZE = struct.Struct("<I")
_TYPES = {"CatBoost", "CatBoostClassifier", "CatBoostRegressor", "CatBoostRanker"}
_PROBLEMS = {
    "Logloss": "classification", "CrossEntropy": "classification", "MultiClass": "multiclass", "MultiLogloss": "multilabel",
    "MultiCrossEntropy": "multilabel", "Poisson": "count", "Tweedie": "positive", "MultiQuantile": "quantiles", "MultiRMSE": "regression",
    "YetiRank": "ranking", "YetiRankPairwise": "ranking", "PairLogit": "ranking", "PairLogitPairwise": "ranking", "QueryRMSE": "ranking",
    "QuerySoftMax": "ranking", "StochasticRank": "ranking", "LambdaMart": "ranking",
}  # fmt: skip
"""Problems by losses; every other loss of one number is a regression's."""
_ANSWERS = {"classification": "Probability", "multiclass": "Probability", "multilabel": "Probability", "count": "Exponent", "positive": "Exponent"}
"""CatBoost's prediction types by problems; the others are answered by the sum of the trees."""
_REFUSED = {
    "MultiClassOneVsAll": "answers each class by itself, and these numbers do not add up to 1; train it with loss_function='MultiClass'",
    "RMSEWithUncertainty": "answers a mean and the logarithm of a variance; train it with loss_function='RMSE', or 'MultiQuantile' for an interval",
    "Cox": "answers risks, which have no problem here; train it with loss_function='RMSE' or 'Tweedie'",
    "SurvivalAft": "answers times with a spread, which have no problem here; train it with loss_function='RMSE' or 'Tweedie'",
}
_NAN = float("nan")


class CatBoostFormat:
    """ModelFormat (port) for models of any loss whose answers are served, as CatBoost, CatBoostClassifier, CatBoostRegressor or CatBoostRanker."""

    name = "catboost"
    tolerance = 1e-9

    def accepts(self, model: Any) -> bool:
        return any(base.__module__.partition(".")[0] == "catboost" and base.__name__ in _TYPES for base in type(model).__mro__)

    def dumps(self, model: Any) -> bytes:
        data = wrapped(_MAGIC, self.kept(model))
        self.loads(data)
        return data

    def imported(self, file: bytes) -> bytes:
        """Only what `dumps` wrote: the parser of CatBoost's own files ends the process at a damaged one."""
        if not file.startswith(_MAGIC.encode()):
            raise InvalidInput(
                "a .cbm file is not read, for a damaged one would end the process; load it with CatBoost().load_model(...) in a program of yours and "
                "give the model: rota.register_model(name, model=..., input_example=...)"
            )
        try:
            self.loads(file)
        except Corrupt as error:
            raise InvalidInput(f"this is no CatBoost model that can be served: {error}", **error.facts) from error
        return file

    def loads(self, data: bytes) -> "CatBoostPredictor":
        return CatBoostPredictor(_opened(unwrapped(_MAGIC, data)))

    def describe(self, data: bytes) -> ModelInputs:
        return self.loads(data).inputs

    def held(self, data: bytes) -> Any:
        return _opened(unwrapped(_MAGIC, data))

    def author(self, model: Any) -> "CatBoostAuthor":
        return CatBoostAuthor(model, self.describe(self.dumps(model)))

    def kept(self, model: Any) -> bytes:
        """CatBoost's own file, whatever it answers."""
        if not model.is_fitted():
            raise InvalidInput(f"the {type(model).__name__} is not fitted; call fit before it is registered")
        with tempfile.TemporaryDirectory(prefix="rota-catboost-") as folder:
            file = Path(folder) / "model.cbm"
            model.save_model(str(file), format="cbm")
            return file.read_bytes()

    def libraries(self) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in ("catboost", "numpy")}


class CatBoostAuthor:
    """AuthorModel (port): a model with a pandas frame, as CatBoost's users ask it; a classifier by predict_proba, a plain CatBoost by its loss."""

    def __init__(self, model: Any, inputs: ModelInputs) -> None:
        self.inputs = inputs
        self._model, self._whole = model, sorted(_coded(model))

    def answers(self, rows: AuthorRows) -> np.ndarray:
        given = self._frame(rows) if self.inputs.names else _with_whole(author_frames.array(rows), self._whole)
        kind = _ANSWERS.get(self.inputs.problem or "", "RawFormulaVal")
        if hasattr(type(self._model), "predict_proba"):
            found = self._model.predict_proba(given, thread_count=1)
        elif type(self._model).__name__ == "CatBoostRegressor":
            found = self._model.predict(given, thread_count=1)  # by its loss: a regressor of counts gives their expectation
        else:
            found = self._model.predict(given, prediction_type=kind, thread_count=1)
        return _numbers(found, len(rows.cells), self.inputs)

    def _frame(self, rows: AuthorRows) -> Any:
        """A frame whose categories are texts or whole numbers, as CatBoost demands of them."""
        frame = author_frames.frame(rows, self.inputs.names)
        for name in (self.inputs.names[place] for place in self._whole):
            if frame[name].dtype.kind == "f":
                frame[name] = frame[name].astype("int64")
        return frame


class CatBoostPredictor:
    """A loaded model. A category that it was not trained with is one of no rows, as for CatBoost's own package; a null text is refused."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.inputs = _described(model)
        self._whole = sorted(_coded(model))
        self._kind = _ANSWERS.get(self.inputs.problem or "", "RawFormulaVal")

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim != 2 or matrix.shape[1] != self.inputs.width:
            raise InvalidInput(f"the matrix has shape {matrix.shape}; the model needs (rows, {self.inputs.width})", shape=matrix.shape)
        rows, outputs = len(matrix), self.inputs.outputs
        if not rows:
            return np.empty((0, len(outputs)) if outputs else 0)
        given = _with_whole(matrix, self._whole, self.inputs.names) if self._whole else np.ascontiguousarray(matrix, dtype=np.float64)
        try:
            found = self._model.predict(given, prediction_type=self._kind, thread_count=1)
        except (catboost.CatBoostError, TypeError, ValueError) as error:
            raise InvalidInput(f"the CatBoost model cannot predict {rows} rows: {str(error)[:500]}", shape=matrix.shape) from error
        return _numbers(found, rows, self.inputs)


def _with_whole(matrix: np.ndarray, places: Sequence[int], names: tuple[str, ...] = ()) -> np.ndarray:
    """The matrix as objects, with a whole number in each cell of a category that is no text; `InvalidInput` for a null or a fraction there."""
    cells = matrix.astype(object)
    for place in places:
        for row, cell in enumerate(cells[:, place]):
            if isinstance(cell, str):
                continue
            if cell is None or not float(cell).is_integer():
                seen = "null" if cell is None or np.isnan(cell) else repr(float(cell))
                name = names[place] if names else place
                raise InvalidInput(
                    f"column {name!r} of the CatBoost model holds texts or whole numbers, and was given {seen}; give a null a text of its own, as in "
                    "coalesce(plan, 'none')",
                    field=str(name),
                )
            cells[row, place] = int(cell)
    return cells


def _opened(file: bytes) -> Any:
    """The model of a file of CatBoost's; raises `Corrupt` unless it is whole."""
    if file[:4] != _HEAD or len(file) < 8 or _SIZE.unpack_from(file, 4)[0] > len(file) - 8:
        raise Corrupt("these bytes are no CatBoost model in its binary form, or they are cut off; save it with format='cbm'")
    model = catboost.CatBoost()
    try:
        model.load_model(blob=file, format="cbm")
    except Exception as error:  # its parser raises several kinds
        raise Corrupt(f"the CatBoost model cannot be read: {str(error)[:500]}; restore its blob") from error
    return model


def _described(model: Any) -> ModelInputs:
    """What a model says of its columns and its answers."""
    if model.get_embedding_feature_indices():
        raise InvalidInput("the CatBoost model reads embeddings, lists of numbers in one column, which are not served; give their numbers columns")
    loss, parameters = _loss(model)
    if loss in _REFUSED:
        raise InvalidInput(f"the CatBoost model's loss is {loss}: it {_REFUSED[loss]}", loss=loss)
    problem = _PROBLEMS.get(loss, "regression")
    names, width = tuple(map(str, model.feature_names_)), len(model.feature_names_)
    classes = _classes(model) if problem in ("classification", "multiclass") else ()
    outputs = () if problem == "classification" else classes or _outputs(problem, model, parameters)
    return ModelInputs(
        width,
        () if names == tuple(map(str, range(width))) else names,
        {},
        problem,
        classes=classes if problem == "classification" and classes != ("0", "1") else (),
        outputs=outputs,
        free_texts=dict.fromkeys(sorted(_coded(model)), ()),
    )


def _coded(model: Any) -> set[int]:
    """The places of categories and of texts."""
    return {*map(int, model.get_cat_feature_indices()), *map(int, model.get_text_feature_indices())}


def _loss(model: Any) -> tuple[str, Mapping[str, Any]]:
    """The loss that a model was fitted by, with its parameters, by its own word; "" where it has none."""
    try:
        found = json.loads(model.get_metadata()["params"])["loss_function"]
        return str(found["type"]), dict(found.get("params", {}))
    except (KeyError, ValueError, TypeError):
        return "", {}


def _classes(model: Any) -> tuple[str, ...]:
    names = [str(bool(each)) if isinstance(each, bool | np.bool_) else class_name(each) for each in np.asarray(model.classes_).tolist()]
    return tuple(names) if len(set(names)) == len(names) > 1 else ()


def _outputs(problem: str, model: Any, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of several numbers: levels by the loss, else numbered."""
    count = len(model.get_leaf_values()) // max(int(np.sum(model.get_tree_leaf_counts())), 1) or 1
    levels = tuple(str(float(level)) for level in str(parameters.get("alpha", "")).split(",")) if problem == "quantiles" else ()
    return levels if len(levels) == count > 1 else output_names.numbered(problem, count)


def _numbers(found: Any, rows: int, inputs: ModelInputs) -> np.ndarray:
    answers = np.asarray(found, dtype=np.float64).reshape(rows, -1)
    if answers.shape[1] == max(len(inputs.outputs), 1):
        return np.ascontiguousarray(answers if inputs.outputs else answers[:, 0])
    if inputs.problem == "classification" and answers.shape[1] == 2:
        return np.ascontiguousarray(answers[:, 1])
    raise InvalidInput(f"the CatBoost model answered {answers.shape[1]} numbers a row, and {max(len(inputs.outputs), 1)} are expected of it")
