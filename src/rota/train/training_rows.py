"""The rows of a dataset version as a training takes them: which are trained on and which validate, with their weights, groups and labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.manage.datasets import build as datasets
from rota.manage.features.definitions import catalog
from rota.manage.features.expressions import compiler
from rota.records.run import TrainingPipeline
from rota.records.time import Micros, micros
from rota.train.training_data import Rows, TrainingData

_MOMENT = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Parts:
    """The rows that a model is fitted on, and those held out of them by time from a moment on (None: the pipeline holds none out)."""

    train: pl.DataFrame
    validation: pl.DataFrame | None = None
    validation_from_us: Micros = 0


def parts(definition: TrainingPipeline, rows: pl.DataFrame) -> Parts:
    """Divide training rows in the order of time. Rows of a group lie together, and all on the side of the group's first row.

    Raises `InvalidInput` where a side would be empty or a row has no group.
    """
    first = pl.col(datasets.AT)
    if definition.group:
        lacking = rows[definition.group].null_count()
        if lacking:
            raise InvalidInput(
                f"pipeline {definition.name!r}: {lacking} of {rows.height} training rows have no {definition.group!r}, by which it groups; leave "
                f"them out with the dataset's filter, {definition.group + ' IS NOT NULL'!r}",
                pipeline=definition.name,
            )
        first = first.min().over(definition.group)
        rows = rows.sort([first, definition.group, datasets.ROW])
    if not definition.validation:
        return Parts(rows)
    begins = rows.select(first)[datasets.AT]
    from_us = _validation_from(definition.validation, begins)
    held = begins >= from_us
    if held.sum() in (0, rows.height):
        raise InvalidInput(
            f"pipeline {definition.name!r}: validation = {definition.validation!r} holds out {held.sum()} of {rows.height} training rows; both sides "
            "need rows, so hold out another part",
            pipeline=definition.name,
        )
    return Parts(rows.filter(~held), rows.filter(held), from_us)


def data(definition: TrainingPipeline, scan: pl.LazyFrame) -> TrainingData:
    """What a training function gets of a dataset version's rows, whose features are read when they are asked for, where their order allows it."""
    names = definition.dataset.features.feature_names
    training = scan.filter(~pl.col(datasets.TEST))
    narrow = training.select(pl.exclude(names)).collect()
    if definition.group or not narrow[datasets.ROW].is_sorted():
        divided = parts(definition, training.collect().sort(datasets.ROW))
        train, validation = divided.train.lazy(), None if divided.validation is None else divided.validation.lazy()
    else:
        divided, at = parts(definition, narrow), pl.col(datasets.AT)
        train = training if divided.validation is None else training.filter(at < divided.validation_from_us)
        validation = None if divided.validation is None else training.filter(at >= divided.validation_from_us)
    return TrainingData(
        _rows(definition, divided.train, train),
        tuple(names),
        validation=None if divided.validation is None or validation is None else _rows(definition, divided.validation, validation),
        target=target(definition),
    )


def weights(definition: TrainingPipeline, rows: pl.DataFrame) -> NDArray[np.float64] | None:
    """The weight of each row, None where the pipeline declares none; raises `InvalidInput` for one that is null, negative or not finite."""
    if definition.weight is None:
        return None
    column = compiler.column(definition.weight.expression, definition.dataset.labels.fields)
    found = rows.select(column.cast(pl.Float64).alias("weight"))["weight"].fill_null(float("nan")).to_numpy()
    wrong = ~(np.isfinite(found) & (found >= 0))
    if wrong.any() or (len(found) and not found.any()):
        told = f"{int(wrong.sum())} of {len(found)} rows have one that is null, negative or infinite" if wrong.any() else "it is 0 for every row"
        raise InvalidInput(
            f"pipeline {definition.name!r}: weight {definition.weight.text!r}: {told}; leave such rows out with the dataset's filter, or write "
            "coalesce(...)",
            pipeline=definition.name,
        )
    return found


def groups(definition: TrainingPipeline, rows: pl.DataFrame) -> NDArray[Any] | None:
    """The group of each row, None where the pipeline declares none."""
    return rows[definition.group].to_numpy() if definition.group else None


def labels(definition: TrainingPipeline, rows: pl.DataFrame) -> NDArray[Any]:
    """The labels as a training function gets them: float64 (rows,), (rows, targets) of several, or texts (rows,).

    A number that is not known is NaN, a text "".
    """
    found = datasets.labels(rows, definition.dataset)
    if found.dtype == pl.List:
        return np.array(found.to_list(), dtype=np.float64)
    return found.fill_null("").to_numpy().astype(str) if found.dtype == pl.String else found.cast(pl.Float64).to_numpy()


def features(definition: TrainingPipeline, rows: pl.LazyFrame) -> pl.LazyFrame:
    """A column for each feature with its values as they are; moments, which datasets keep as microseconds, as Datetime in UTC."""
    service = definition.dataset.features
    moments = {
        f"{view.name}__{name}" for view in service.views for name, feature in view.features.items() if catalog.type_of(view, feature) == "timestamp"
    }
    return rows.select(pl.col(name).cast(_MOMENT) if name in moments else pl.col(name) for name in service.feature_names)


def target(definition: TrainingPipeline) -> str | tuple[str, ...]:
    """The name of the label's column, or those of several targets."""
    return tuple(f"{datasets.LABEL}.{name}" for name in definition.dataset.targets) or datasets.LABEL


def _rows(definition: TrainingPipeline, part: pl.DataFrame, whole: pl.LazyFrame) -> Rows:
    return Rows(frame=features(definition, whole), y=labels(definition, part), weight=weights(definition, part), group=groups(definition, part))


def _validation_from(validation: float | str, begins: pl.Series) -> int:
    """The moment from which on rows validate: so long before the newest, or the one behind which the share of rows lies."""
    if isinstance(validation, str):
        return int(begins.max()) + 1 - micros(validation)  # type: ignore[arg-type]
    kept = min(len(begins) - 1, round(len(begins) * (1 - validation)))
    return int(begins.sort()[kept])
