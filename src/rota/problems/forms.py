"""Forms of answers and labels that problem types share: a number, numbers by name, a class with its probabilities, a list, a text, any JSON."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rota.errors import InvalidInput
from rota.problems.problem_type import AnswerForm, Floats, LabelForm, Outputs
from rota.records.values import measured, plain

MOST_LABEL_CHARS = 100_000
"""Characters of a label that is a text or any JSON."""
_UNKNOWN = math.nan


def one_number(_outputs: Outputs, values: Sequence[Any]) -> Floats:
    """Plain numbers as float64 (rows,); None is NaN."""
    return np.array([_UNKNOWN if value is None else value for value in values], dtype=np.float64)


def by_name(outputs: Outputs, values: Sequence[Any]) -> Floats:
    """Mappings of names to numbers as float64 (rows, outputs); a name that a row lacks is NaN."""
    return np.array([[value.get(name, _UNKNOWN) for name in outputs] for value in values], dtype=np.float64).reshape(len(values), len(outputs))


def objects(_outputs: Outputs, values: Sequence[Any]) -> NDArray[Any]:
    """Values as they are, an object array (rows,)."""
    made = np.empty(len(values), dtype=object)
    made[:] = list(values)
    return made


def class_positions(outputs: Outputs, values: Sequence[Any]) -> Floats:
    """Names of classes as their positions among the outputs, float64 (rows,); -1 for a class that the model does not know."""
    places = {name: float(place) for place, name in enumerate(outputs)}
    return np.array([places.get(value if type(value) is str else class_name(value), -1.0) for value in values], dtype=np.float64)


def number_label(_outputs: Outputs, value: Any) -> float:
    """A label that is one finite number."""
    found = _measured(value)
    if not math.isfinite(found):
        raise InvalidInput(f"{found} is not a finite number")
    return found


def class_name(value: Any) -> str:
    """The name of a class as models name them: a whole number without its fraction, a bool as Python writes it, a text as it is."""
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def class_label(outputs: Outputs, value: Any) -> str:
    """A label that names one of the outputs."""
    found = class_name(value)
    if value is None or (outputs and found not in outputs):
        raise InvalidInput(f"{value!r} is none of the classes {shown(outputs)}")
    return found


def named_numbers_label(outputs: Outputs, value: Any) -> dict[str, float]:
    """A label that gives numbers to some outputs by name, or to all of them as a list in their order."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) != len(outputs):
            raise InvalidInput(f"it has {len(value)} numbers, and an answer has {len(outputs)}: {shown(outputs)}")
        value = dict(zip(outputs, value, strict=True))
    if not isinstance(value, Mapping) or not value:
        raise InvalidInput(f"{str(value)[:100]!r} is no mapping of {shown(outputs)} to numbers, and no list of {len(outputs)} numbers")
    unknown = [str(name)[:100] for name in value if name not in outputs]
    if unknown:
        raise InvalidInput(f"it names {unknown}, and an answer has {shown(outputs)}")
    return {str(name): number_label(outputs, each) for name, each in value.items()}


def text_label(_outputs: Outputs, value: Any) -> str:
    """A label that is a text."""
    if not isinstance(value, str) or len(value) > MOST_LABEL_CHARS:
        raise InvalidInput(f"{str(value)[:100]!r} is no text of at most {MOST_LABEL_CHARS} characters")
    return value


def json_label(_outputs: Outputs, value: Any) -> Any:
    """A label that is any JSON."""
    try:
        written = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"it is no JSON: {error}") from None
    if len(written) > MOST_LABEL_CHARS:
        raise InvalidInput(f"it has {len(written)} characters as JSON, at most {MOST_LABEL_CHARS} are kept")
    return value


def shown(outputs: Outputs) -> list[str]:
    """The first of many names, for messages."""
    return [*outputs[:20], f"and {len(outputs) - 20} more"] if len(outputs) > 20 else list(outputs)


def wrong_probabilities(_outputs: Outputs, answers: NDArray[Any]) -> str:
    """What no probability may be."""
    if not answers.size or (answers.min() >= 0 and answers.max() <= 1):
        return ""
    beyond = answers[(answers < 0) | (answers > 1)]
    return f"{beyond[0]:.6g}, which is no probability" if beyond.size else ""


def wrong_sums(outputs: Outputs, answers: NDArray[Any]) -> str:
    """Probabilities of classes of which one is true add up to one."""
    if found := wrong_probabilities(outputs, answers):
        return found
    sums = answers @ np.ones(answers.shape[1])
    off = sums[np.abs(sums - 1) > 1e-3]
    return f"probabilities that add up to {off[0]:.6g}" if off.size else ""


def _numbers(_outputs: Outputs, array: NDArray[Any]) -> list[Any]:
    found: list[Any] = array.tolist()
    return found


def _named(outputs: Outputs, array: NDArray[Any]) -> list[Any]:
    return [dict(zip(outputs, row, strict=True)) for row in array.tolist()]


def _with_class(outputs: Outputs, array: NDArray[Any]) -> list[Any]:
    likeliest = array.argmax(axis=1).tolist()
    return [
        {"class": outputs[place], "probabilities": dict(zip(outputs, row, strict=True))} for place, row in zip(likeliest, array.tolist(), strict=True)
    ]


def _probabilities(outputs: Outputs, values: Sequence[Any]) -> Floats:
    """A class that was not kept, because the answer had many, shares what is left of 1 with the others."""
    found = by_name(outputs, [value["probabilities"] for value in values])
    missing = np.isnan(found)
    if missing.any():
        left = np.clip(1 - np.nansum(found, axis=1), 0, 1) / np.maximum(missing.sum(axis=1), 1)
        found = np.where(missing, left[:, None], found)
    return found


def lists(_outputs: Outputs, values: Sequence[Any]) -> Floats:
    """Lists of numbers as float64 (rows, numbers); one of another length than most is NaN."""
    lengths = Counter(map(len, values))
    usual = lengths.most_common(1)[0][0] if lengths else 0
    unknown = [_UNKNOWN] * usual
    return np.array([value if len(value) == usual else unknown for value in values], dtype=np.float64).reshape(len(values), usual)


def list_label(outputs: Outputs, value: Any) -> list[float]:
    """A label that is a list of finite numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or not value:
        raise InvalidInput(f"{str(value)[:100]!r} is no list of numbers")
    return [number_label(outputs, each) for each in value]


def _measured(value: Any) -> float:
    found = measured(value)
    if found is None:
        raise InvalidInput("it is null; leave out what is not known")
    return found


def is_number(value: Any) -> bool:
    """Whether a kept value is one number."""
    return isinstance(value, float | int) and not isinstance(value, bool)


def is_named(value: Any) -> bool:
    """Whether a kept value is a mapping of names to numbers."""
    return isinstance(value, dict) and "probabilities" not in value


def is_number_or_text(value: Any) -> bool:
    """Whether a kept value is one number or a text, as the names of classes are reported."""
    return isinstance(value, str) or is_number(value)


def _is_class(value: Any) -> bool:
    return isinstance(value, dict) and "probabilities" in value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_there(value: Any) -> bool:
    return value is not None


NUMBER = AnswerForm("a number", _numbers, one_number, is_number)
PROBABILITY = AnswerForm("a probability", _numbers, one_number, is_number, wrong_probabilities, are_probabilities=True)
NAMED_NUMBERS = AnswerForm("a number for each name", _named, by_name, is_named)
NAMED_PROBABILITIES = AnswerForm("a probability for each name", _named, by_name, is_named, wrong_probabilities, are_probabilities=True)
CLASS = AnswerForm("the likeliest class and the probability of each", _with_class, _probabilities, _is_class, wrong_sums, are_probabilities=True)
NUMBER_LIST = AnswerForm("a list of numbers", _numbers, lists, _is_list, is_list=True)
TEXT = AnswerForm("a text", _numbers, objects, _is_text, are_texts=True)
ANY_JSON = AnswerForm("any JSON", _numbers, objects, _is_there, are_texts=True)

NUMBER_LABEL = LabelForm("a number", "the finite numbers", number_label, one_number, is_number)
CLASS_LABEL = LabelForm("a class", "the names of the classes", class_label, class_positions, is_number_or_text)
NAMED_NUMBERS_LABEL = LabelForm(
    "a number for each name", "numbers by the names of the outputs", named_numbers_label, by_name, is_named, is_partial=True
)
LIST_LABEL = LabelForm("a list of numbers", "lists of finite numbers, as long as an answer", list_label, lists, _is_list)
TEXT_LABEL = LabelForm("a text", "texts", text_label, objects, _is_text)
JSON_LABEL = LabelForm("any JSON", "any JSON", json_label, objects, _is_there)
