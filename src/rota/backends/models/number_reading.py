"""How a matrix of numbers is read of which its model does not say what they are: two may be the probabilities of two classes, or two targets.

What the model says of itself decides, and before it the problem that it was registered with.
"""

from dataclasses import dataclass

import numpy as np

from rota.errors import InvalidInput
from rota.problems import output_names


@dataclass(frozen=True, slots=True)
class NumberReading:
    """An answer of `width` numbers as one number (of two classes the probability of the second) or as several with names."""

    width: int
    problem: str | None
    outputs: tuple[str, ...] = ()

    def taken(self, answers: np.ndarray, rows: int) -> np.ndarray:
        """Float64 (rows,) or (rows, width) of a model's array; `InvalidInput` when it is none of that shape."""
        if answers.shape[:1] != (rows,) or answers.size != rows * self.width:
            raise InvalidInput(
                f"the model answered {answers.shape} for {rows} rows; its first dimension must be free and count the rows, and a row has "
                f"{self.width} numbers"
            )
        found = np.ascontiguousarray(answers, dtype=np.float64).reshape(rows, self.width)
        if self.width == 1:
            return found[:, 0]
        return np.ascontiguousarray(found[:, 1]) if self.is_binary else found

    @property
    def is_binary(self) -> bool:
        """Whether two numbers are the probabilities of two classes."""
        return self.width == 2 and self.problem == "classification"

    def empty(self) -> np.ndarray:
        """The answers to no rows."""
        return np.empty(0 if self.width == 1 or self.is_binary else (0, self.width))


def read(width: int, registered: str | None, *, says: str | None = None, names: tuple[str, ...] = ()) -> NumberReading:
    """The reading of so many numbers. `says` is the problem by the model's own word, `names` are its names for the numbers."""
    if width == 1:
        return NumberReading(1, says)
    if says in ("classification", "multiclass"):
        says = "classification" if width == 2 else "multiclass"
    problem = registered or says or ("classification" if width == 2 else "regression")
    if width == 2 and problem == "classification":
        return NumberReading(width, problem)
    return NumberReading(width, problem, output_names.named(problem, width, names, ()))
