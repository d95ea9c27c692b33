"""TrainingData: what a training function gets, as a frame with texts, nulls and moments as they are, and as a matrix of numbers."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.models import transformation
from rota.records.model import Transformation
from rota.records.schema import Type


class Rows:
    """Some rows of a training: their features as a frame and as a matrix, the truth, and the weight and group of each where they are declared.

    Made of a matrix or of a frame, whichever a test of a training function has at hand; the other one follows from it when it is asked for.

    - `x`: float64 (rows, columns), NaN = null; a text is its index in the vocabulary of the training rows, a category its place in its domain,
      a moment its microseconds, a list of n numbers n columns.
    - `y`: float64 (rows,), float64 (rows, targets) of several targets, or texts (rows,).
    - `frame`: a Polars frame of the features alone: numbers, texts, bools, moments as Datetime in UTC, lists as lists, nulls as nulls.
    - `flat`: the same with a column for each column of `x`: a list of n numbers is n columns, "name.1" to "name.n", a decimal a float.
    - `weight`: float64 (rows,), not negative; None where the pipeline has no `weight`.
    - `group`: (rows,), the values of the pipeline's `group` field; the rows of a group lie together. None where it has none.

    >>> rows = Rows(frame=pl.DataFrame({"size": [1.0, None], "kind": ["tub", "cone"]}), y=np.array([0.0, 1.0]))
    >>> rows.x.tolist()
    [[1.0, 1.0], [nan, 0.0]]
    """

    def __init__(
        self,
        x: np.ndarray | None = None,
        y: Any = (),
        *,
        frame: pl.DataFrame | pl.LazyFrame | None = None,
        weight: np.ndarray | None = None,
        group: np.ndarray | None = None,
    ) -> None:
        if x is None and frame is None:
            raise InvalidInput("rows are made of x, a matrix, or of frame; neither was given")
        self._x, self._frame = x, frame
        self._names: Sequence[str] = ()
        self._transformation: Transformation | None = None
        self.y = np.asarray(y)
        self.weight = weight
        self.group = group

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def x(self) -> np.ndarray:
        return self._x if self._x is not None else transformation.matrix(self._transformation or _own(self.frame), self.frame)

    @cached_property
    def frame(self) -> pl.DataFrame:
        if self._frame is not None:
            return self._frame.collect() if isinstance(self._frame, pl.LazyFrame) else self._frame
        names = self._names or [f"x{place}" for place in range(self.x.shape[1])]
        return pl.DataFrame(self.x, schema=list(names)).fill_nan(None)

    @cached_property
    def flat(self) -> pl.DataFrame:
        return transformation.flat(self._transformation or _own(self.frame), self.frame)

    @property
    def group_sizes(self) -> list[int]:
        """How many rows each group has, in the order of the rows: what rankers of LightGBM and XGBoost call `group`."""
        return [] if self.group is None else pl.Series(self.group).rle().struct.field("len").to_list()

    def to_pandas(self) -> Any:
        """The features as a pandas frame, a column for each of `flat`: texts are objects, null = None in them; a null number is NaN. Needs pandas."""
        pandas = _library("pandas", "to_pandas()")
        return pandas.DataFrame({column.name: _pandas_column(pandas, column) for column in self.flat})

    def to_arrow(self) -> Any:
        """The features as an Arrow table, without a copy where the types allow it. Needs pyarrow."""
        _library("pyarrow", "to_arrow()")
        return self.frame.to_arrow()

    def to_torch(self) -> Any:
        """The matrix `x` as a float32 tensor (rows, columns), NaN = null. Needs torch."""
        return _library("torch", "to_torch()").from_numpy(np.ascontiguousarray(self.x, dtype=np.float32))

    def write_frame(self, file: Path) -> None:
        """Write the frame as an uncompressed Arrow file; one that was not read yet is written as it is read."""
        if isinstance(self._frame, pl.LazyFrame):
            self._frame.sink_ipc(file, compression="uncompressed")
        else:
            self.frame.write_ipc(file, compression="uncompressed")

    def fitted_with(self, fitted: Transformation) -> "Rows":
        """These rows, whose matrix is made of the frame by this transformation."""
        self._transformation = fitted
        return self


@dataclass(frozen=True)
class TrainingData:
    """What a training function gets: the training rows, the features' names, and which of them are texts.

    `train` are the rows to train on; `validation` those held out of them by time for early stopping, None unless the pipeline says
    `validation=...`. `columns` are the names of the columns of `train.x` and `train.flat` in their order (those of the features, unless one
    is a list), `categorical` the places of texts among them, whose cells in `x` are codes. `target` is the name of the label's column in
    `frame`, or the names of several targets.
    """

    train: Rows
    columns: tuple[str, ...] = ()
    categorical: tuple[int, ...] = ()
    validation: Rows | None = None
    target: str | tuple[str, ...] = "label"

    def __post_init__(self) -> None:
        if not self.columns:
            object.__setattr__(self, "columns", tuple(self.train.flat.columns))
            object.__setattr__(self, "categorical", tuple(i for i, kind in enumerate(self.train.flat.dtypes) if kind == pl.String))
        for rows in (self.train, self.validation):
            if rows is not None:
                rows._names = self.columns  # noqa: SLF001 - rows of a matrix alone learn what its columns are called

    @property
    def features(self) -> list[str]:
        """The features' names, in their order."""
        return list(self.train.frame.columns)

    @property
    def frame(self) -> pl.DataFrame:
        """The training rows with their label: a column for each feature, and the column or columns of `target`."""
        names = [self.target] if isinstance(self.target, str) else list(self.target)
        labels = [self.train.y] if self.train.y.ndim == 1 else list(self.train.y.T)
        columns = (pl.Series(name, label.tolist() if label.dtype.kind == "U" else label) for name, label in zip(names, labels, strict=True))
        return self.train.frame.with_columns(columns)

    @property
    def class_weights(self) -> dict[Any, float]:
        """A weight for each class of the training rows by which all classes count alike, as scikit-learn's `class_weight="balanced"` has them.

        rows / (classes * rows of the class), with the rows' weights in place of their numbers where they have any.
        """
        classes, place = np.unique(self.train.y, return_inverse=True)
        counted = np.bincount(place, weights=self.train.weight, minlength=len(classes))
        return dict(zip(classes.tolist(), (counted.sum() / (len(classes) * counted)).tolist(), strict=True))


def _own(frame: pl.DataFrame) -> Transformation:
    """The transformation of a frame by itself, as a pipeline whose training rows it holds makes it."""
    return transformation.fit({column.name: _type(column) for column in frame}, frame)


def _type(column: pl.Series) -> Type:
    if isinstance(column.dtype, pl.List):
        length = column.list.len().max()
        return f"float[{length or 1!r}]"
    return "string" if column.dtype == pl.String else "float"


def _pandas_column(pandas: Any, column: pl.Series) -> Any:
    if column.dtype == pl.String or (column.dtype == pl.Boolean and column.null_count()):
        return pandas.Series(column.to_list(), dtype=object)
    if isinstance(column.dtype, pl.Datetime):
        return pandas.Series(column.dt.replace_time_zone(None).to_numpy()).dt.tz_localize("UTC")
    return pandas.Series(column.to_numpy())


def _library(name: str, wanted_by: str) -> Any:
    if importlib.util.find_spec(name) is None:
        raise InvalidInput(f"{wanted_by} needs {name}, which is not installed here; `pip install {name}`, and name it in the project's requirements")
    return importlib.import_module(name)
