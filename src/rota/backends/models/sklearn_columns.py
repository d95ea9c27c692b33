"""Which columns of its input a fitted scikit-learn estimator reads as texts, and how nulls must be given to it.

Columns are followed by their places through pipelines, column transformers and the estimators that wrap others, as far as steps leave
them as they are. What an encoder or imputer learnt decides; nothing is guessed from names.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Columns = Sequence[int | None]
"""The places in the model's input that a step's columns are, None for one that a step made."""
_WRAPPED = ("best_estimator_", "estimator_", "regressor_", "classifier_", "_preprocessor")
_VECTORIZERS = frozenset({"CountVectorizer", "HashingVectorizer", "TfidfVectorizer"})
MOST_WORDS = 64
"""Words of a vectorizer that are kept to probe with."""
_TELLS_TEXTS = "an encoder with categories (OneHotEncoder, OrdinalEncoder, TargetEncoder)"


@dataclass(slots=True)
class ColumnReading:
    """What was learnt of columns: the texts that encoders know, the columns whose nulls were None or NaN, steps that tell nothing,
    and the columns whose texts are read word by word, with some of the words. `encoders` are the encoders and imputers, with their columns."""

    texts: dict[int, list[str]] = field(default_factory=dict)
    none: set[int] = field(default_factory=set)
    nan: set[int] = field(default_factory=set)
    untold: dict[int, str] = field(default_factory=dict)
    words: dict[int, tuple[str, ...]] = field(default_factory=dict)
    encoders: list[tuple[Any, Columns]] = field(default_factory=list)

    @property
    def known_texts(self) -> dict[int, tuple[str, ...]]:
        """Each text once, in the order of the encoders."""
        return {column: tuple(dict.fromkeys(found)) for column, found in sorted(self.texts.items()) if found}


def read(model: Any, width: int) -> ColumnReading:
    """What a fitted estimator says of its columns."""
    reading = ColumnReading()
    _follow(model, list(range(max(width, 1))), type(model).__name__, reading)  # what reads texts as they are does not know its width
    return reading


def is_given_texts(part: Any) -> bool:
    """Whether an estimator was fitted on texts alone, a sequence of them in place of columns."""
    if hasattr(part, "steps"):
        return next((is_given_texts(each) for _, each in part.steps if each is not None and each != "passthrough"), False)
    if hasattr(part, "transformer_list"):
        return any(is_given_texts(each) for _, each in part.transformer_list)
    return _reads_words(part) or any(is_given_texts(each) for each, _ in _wrapped(part, [0]))


def _reads_words(part: Any) -> bool:
    """Whether a step makes columns of the words in a text."""
    return type(part).__name__ in _VECTORIZERS and type(part).__module__.startswith("sklearn.")


def _follow(part: Any, columns: Columns, step: str, reading: ColumnReading) -> Columns | None:
    """The columns behind a step; None when they cannot be followed any further."""
    if part is None or isinstance(part, str):
        return columns if part == "passthrough" else []
    if hasattr(part, "steps"):
        return _through(part.steps, columns, reading)
    indices: Mapping[str, Any] = getattr(part, "_transformer_to_input_indices", {})
    if indices:
        behind = [_follow(each, [columns[i] for i in indices[name]], _named(name, each), reading) for name, each, _ in part.transformers_]
        return _together(behind)
    if hasattr(part, "transformer_list"):
        return _together([_follow(each, columns, _named(name, each), reading) for name, each in part.transformer_list])
    inner = list(_wrapped(part, columns))
    if inner:
        for each, its_columns in inner:
            _follow(each, its_columns, _named(step, each), reading)
        return None
    return _single(part, columns, step, reading)


def _through(steps: Sequence[tuple[str, Any]], columns: Columns, reading: ColumnReading) -> Columns | None:
    left: Columns | None = columns
    for name, each in steps:
        left = _follow(each, left or [], _named(name, each), reading)
        if left is None:
            return None
    return left


def _single(part: Any, columns: Columns, step: str, reading: ColumnReading) -> Columns | None:
    """A step by itself: an imputer or a function that changes nothing keeps the columns, an encoder says what it learnt of them."""
    kind = type(part).__name__
    if _reads_words(part):
        learnt = getattr(part, "vocabulary_", {})
        reading.words.update((column, reading.words.get(column, tuple(map(str, learnt))[:MOST_WORDS])) for column in columns if column is not None)
        return None
    if kind == "FunctionTransformer" and part.func is None:
        return columns
    if kind == "SimpleImputer" and hasattr(part, "statistics_"):
        reading.encoders.append((part, columns))
        return _imputed(part, columns, reading)
    categories = getattr(part, "categories_", None)
    if categories is not None and len(categories) == len(columns):
        reading.encoders.append((part, columns))
        for column, learnt in zip(columns, categories, strict=True):
            if column is not None:
                _learn(column, learnt, reading)
        return None
    for column in columns:
        if column is not None:
            reading.untold.setdefault(column, f"the step {step} reads it and has no list of the texts that it knows; put {_TELLS_TEXTS} before it")
    return None


def _learn(column: int, learnt: Any, reading: ColumnReading) -> None:
    reading.texts.setdefault(column, []).extend(str(each) for each in learnt if isinstance(each, str))
    if any(each is None for each in learnt):
        reading.none.add(column)
    elif any(isinstance(each, float) and np.isnan(each) for each in learnt):
        reading.nan.add(column)


def _imputed(imputer: Any, columns: Columns, reading: ColumnReading) -> Columns:
    """Columns without any value in training are left out; indicators come behind the others."""
    if imputer.missing_values is None:
        reading.none.update(column for column in columns if column is not None)
    kept = [
        column
        for column, value in zip(columns, imputer.statistics_, strict=True)
        if imputer.keep_empty_features or imputer.strategy == "constant" or not (isinstance(value, float) and np.isnan(value))
    ]
    indicators = len(imputer.indicator_.features_) if imputer.add_indicator else 0
    return [*kept, *[None] * indicators]


def _wrapped(part: Any, columns: Columns) -> Iterator[tuple[Any, Columns]]:
    """The fitted estimators that read what a wrapping estimator reads, each with its columns."""
    if hasattr(part, "calibrated_classifiers_"):
        for each in part.calibrated_classifiers_:
            yield each.estimator, columns
        return
    for name in _WRAPPED:
        if vars(part).get(name) is not None:
            yield vars(part)[name], columns
            return
    members = vars(part).get("estimators_")
    if isinstance(members, list) and _reads_as_given(part):
        chosen = vars(part).get("estimators_features_") or [range(len(columns))] * len(members)
        for each, places in zip(members, chosen, strict=True):
            if not isinstance(each, str) and len(columns):
                yield each, [columns[int(i)] for i in places]


def _reads_as_given(part: Any) -> bool:
    """Whether the estimators inside read the columns as they came: of a vote, a stack, bags or one for each class, not of a forest of trees."""
    return hasattr(part, "named_estimators_") or "estimators_features_" in vars(part) or type(part).__name__ == "OneVsRestClassifier"


def _together(parts: Sequence[Columns | None]) -> Columns | None:
    found: list[int | None] = []
    for each in parts:
        if each is None:
            return None
        found.extend(each)
    return found


def _named(step: str, part: Any) -> str:
    return f"{step!r} ({type(part).__name__})"
