"""The fitted transformation: features become the model's float64 matrix, offline from a frame and online from rows alike.

A null is NaN, a bool is 0 or 1, a timestamp its microseconds, a text its index in the vocabulary seen in training, and a
text never seen there is len(vocabulary); a category is its place in its domain; a list of n numbers is n columns; a model that reads words is
given a matrix of objects with the text itself. Offline and online agree cell for cell, which the tests hold over drawn data.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
from msgspec.structs import replace

from rota.errors import InvalidInput
from rota.ports.models import ModelInputs
from rota.records.model import GoldenRow, Transformation, TransformedColumn
from rota.records.schema import Type
from rota.records.time import from_datetime
from rota.records.value_types import domain, family, list_type, width


def fit(service_types: Mapping[str, Type], frame: pl.DataFrame) -> Transformation:
    """The transformation of these features, in their order; `frame` is the training split and gives the vocabularies.

    A vocabulary is ordered by falling frequency, then by name, so that the frequent texts keep small indices; that of a category is its
    domain. Raises `InvalidInput` for a feature that is no number of columns, with the way out.
    """
    return Transformation(tuple(column for name, kind in service_types.items() for column in _columns(name, kind, frame)))


def matrix(transformation: Transformation, frame: pl.DataFrame) -> np.ndarray:
    """Matrix (rows, columns) of a frame that holds every feature; raises `InvalidInput` for a missing or foreign column."""
    cells = np.empty((frame.height, len(transformation.columns)), dtype=object if transformation.has_texts else np.float64)
    lists: dict[str, np.ndarray] = {}
    for index, column in enumerate(transformation.columns):
        if column.feature:
            if column.feature not in lists:
                lists[column.feature] = _lists(column, _series(frame, column.feature), transformation)
            cells[:, index] = lists[column.feature][:, column.place]
            continue
        if column.raw:
            cells[:, index] = _text(column.name, _series(frame, column.name)).to_numpy()
            continue
        cells[:, index] = _numbers(column, _series(frame, column.name)).cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return cells


def flat(transformation: Transformation, frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with one column for each column of the matrix, values as they are: a list of n numbers is n columns, a decimal a float."""
    made = []
    for column in transformation.columns:
        series = _series(frame, column.source)
        if column.feature:
            series = series.list.get(column.place, null_on_oob=True)
        made.append((_numbers(column, series) if isinstance(series.dtype, pl.Decimal) else series).alias(column.name))
    return pl.DataFrame(made)


def flattened(transformation: Transformation) -> Transformation:
    """The transformation of the frames that `flat` makes: each column by itself."""
    return Transformation(tuple(replace(column, feature="", place=0) for column in transformation.columns))


def golden(matrix: np.ndarray) -> tuple[GoldenRow, ...]:
    """Rows of a matrix as a bundle keeps them."""
    return tuple(tuple(None if isinstance(cell, float) and math.isnan(cell) else cell for cell in row) for row in matrix.tolist())


def matrix_of_golden(transformation: Transformation, rows: Sequence[GoldenRow]) -> np.ndarray:
    """The matrix of a bundle's golden rows: float64, or objects where the model reads texts as they are."""
    if not transformation.has_texts:
        return np.array(rows, dtype=np.float64)
    nulls = [None if column.raw else float("nan") for column in transformation.columns]
    cells = [[null if cell is None else cell for cell, null in zip(row, nulls, strict=True)] for row in rows]
    return np.array(cells, dtype=object).reshape(len(rows), len(nulls))


def of_model(column: TransformedColumn, place: int, inputs: ModelInputs) -> TransformedColumn:
    """A column as the model reads it at a place: with the texts that the model knows there, or as it is where the model reads words.

    A text of which the model says nothing keeps the vocabulary it has.
    """
    if column.type != "string":
        return column
    if place in inputs.free_texts:
        return TransformedColumn(column.name, column.type, raw=True)
    return TransformedColumn(column.name, column.type, inputs.texts.get(place, column.vocabulary))


class RowsTransformer:
    """A transformation made ready for single rows: vocabularies as dictionaries. Immutable, so threads may share it."""

    def __init__(self, transformation: Transformation) -> None:
        self._has_lists = any(column.feature for column in transformation.columns)
        self._columns = tuple((column.name, _cell(column)) for column in transformation.columns if not column.feature)
        self._parts = tuple(_parts(transformation)) if self._has_lists else ()
        self._width = len(transformation.columns)
        self._dtype: type = object if transformation.has_texts else np.float64

    def matrix(self, vectors: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Matrix (rows, columns) of online feature vectors; raises `InvalidInput` naming the feature that is missing or has another type."""
        try:
            if self._has_lists:
                cells = [[cell for name, part in self._parts for cell in part(vector[name])] for vector in vectors]
            else:
                cells = [[cell(vector[name]) for name, cell in self._columns] for vector in vectors]
        except KeyError as error:
            raise InvalidInput(
                f"a feature vector lacks the feature {error.args[0]!r}, which the model's transformation needs", feature=error.args[0]
            ) from None
        return np.array(cells, dtype=self._dtype).reshape(len(vectors), self._width)


def _columns(name: str, kind: Type, frame: pl.DataFrame) -> Iterator[TransformedColumn]:
    match family(kind):
        case "string":
            yield TransformedColumn(name, "string", _vocabulary(frame, name))
        case "category":
            yield TransformedColumn(name, "string", domain(kind))
        case "list":
            for place in range(_width(name, kind)):
                yield TransformedColumn(f"{name}.{place + 1}", list_type(kind).element, feature=name, place=place)
        case "decimal":
            yield TransformedColumn(name, "float")
        case _:
            _width(name, kind)
            yield TransformedColumn(name, kind)


def _width(name: str, kind: Type) -> int:
    try:
        return width(kind)
    except InvalidInput as error:
        raise InvalidInput(f"feature {name!r}: {error}", feature=name, **error.facts) from None


def _lists(column: TransformedColumn, series: pl.Series, transformation: Transformation) -> np.ndarray:
    """Matrix (rows, numbers of a list), NaN for null."""
    length = sum(each.feature == column.feature for each in transformation.columns)
    if series.dtype == pl.Null or not series.len():
        return np.full((series.len(), length), np.nan)
    if isinstance(series.dtype, pl.Array) and len(series.dtype.shape) == 1:
        series = series.arr.to_list()
    lengths = series.list.len() if isinstance(series.dtype, pl.List) else None
    if lengths is None or (lengths != length).any():
        seen = series.dtype if lengths is None else f"a list of {lengths.filter(lengths != length)[0]} numbers"
        raise _foreign(column.feature, f"{column.type}[{length}]", seen)
    filled = series.fill_null(pl.Series([[None] * length], dtype=series.dtype)) if series.null_count() else series
    numbers = filled.explode().cast(pl.Float64)
    if numbers.null_count() > series.null_count() * length:
        raise _foreign(column.feature, f"{column.type}[{length}]", "a list with a null in it")
    return numbers.fill_null(float("nan")).to_numpy().reshape(series.len(), length)


def _parts(transformation: Transformation) -> Iterator[tuple[str, Callable[[Any], Sequence[Any]]]]:
    """The matrix's row in parts: of each feature, what makes its cells; several of a list that lie together at once."""
    for feature, columns in groupby(transformation.columns, key=lambda column: column.feature or column.name):
        group = list(columns)
        yield feature, _cells_of_list(group, transformation) if group[0].feature else _one_cell(_cell(group[0]))


def _one_cell(cell: Callable[[Any], Any]) -> Callable[[Any], Sequence[Any]]:
    return lambda value: (cell(value),)


def _cells_of_list(columns: Sequence[TransformedColumn], transformation: Transformation) -> Callable[[Any], Sequence[Any]]:
    first = columns[0]
    length = sum(each.feature == first.feature for each in transformation.columns)
    places = [column.place for column in columns]
    whole, nulls = places == list(range(length)), [float("nan")] * len(places)

    def cells(value: Any) -> Sequence[Any]:
        if value is None:
            return nulls
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != length:
            raise _foreign(first.feature, f"{first.type}[{length}]", value)
        try:
            return list(map(float, value)) if whole else [float(value[place]) for place in places]
        except (TypeError, ValueError):  # a number of it is missing, or none
            raise _foreign(first.feature, f"{first.type}[{length}]", value) from None

    return cells


def _vocabulary(frame: pl.DataFrame, name: str) -> tuple[str, ...]:
    texts = _text(name, _series(frame, name)).drop_nulls()
    counts = texts.rename("text").value_counts(name="count")
    return tuple(counts.sort(["count", "text"], descending=[True, False])["text"].to_list())


def _series(frame: pl.DataFrame, name: str) -> pl.Series:
    if name not in frame.columns:
        raise InvalidInput(f"the frame has no column {name!r}, which the transformation needs; it has {frame.columns}", feature=name)
    return frame[name]


def _numbers(column: TransformedColumn, series: pl.Series) -> pl.Series:
    if column.type == "string":
        codes = pl.DataFrame({"text": column.vocabulary, "code": range(len(column.vocabulary))}, schema={"text": pl.String, "code": pl.Float64})
        texts = _text(column.name, series).alias("text").to_frame()
        coded = texts.join(codes, on="text", how="left", maintain_order="left")
        return coded.select(pl.when(pl.col("text").is_not_null()).then(pl.col("code").fill_null(len(column.vocabulary))))["code"]
    if isinstance(series.dtype, pl.Datetime):
        return series.dt.timestamp("us")
    if isinstance(series.dtype, pl.Decimal):  # by its digits: a quotient of two floats would be rounded twice
        return series.cast(pl.String).cast(pl.Float64)
    if not (series.dtype.is_numeric() or series.dtype in (pl.Boolean, pl.Null)):
        raise _foreign(column.name, column.type, series.dtype)
    return series


def _text(name: str, series: pl.Series) -> pl.Series:
    if series.dtype not in (pl.String, pl.Null) and not isinstance(series.dtype, pl.Categorical | pl.Enum):
        raise _foreign(name, "string", series.dtype)
    return series.cast(pl.String)


def _cell(column: TransformedColumn) -> Callable[[Any], Any]:
    nan = float("nan")
    codes = {text: float(code) for code, text in enumerate(column.vocabulary)}
    unseen = float(len(codes))

    def text(value: Any) -> float:
        if value is None:
            return nan
        if not isinstance(value, str):
            raise _foreign(column.name, column.type, value)
        return codes.get(value, unseen)

    def number(value: Any) -> float:
        if type(value) is float:  # nearly always: requests and stores hold their features in their types
            return value
        if value is None:
            return nan
        if isinstance(value, datetime):
            return float(from_datetime(value))
        if isinstance(value, str | bytes):
            raise _foreign(column.name, column.type, value)
        return float(value)

    def raw(value: Any) -> str | None:
        if value is not None and not isinstance(value, str):
            raise _foreign(column.name, column.type, value)
        return value

    return raw if column.raw else text if column.type == "string" else number


def _foreign(name: str, expected: Type, seen: object) -> InvalidInput:
    return InvalidInput(
        f"feature {name!r} should be of type {expected!r} but is {seen!r}; give the type the model was trained with", feature=name, seen=str(seen)
    )
