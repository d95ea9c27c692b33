"""How the numbers of one answer are called where its model has no names for them: classes by their numbers, labels and targets by a letter."""

from rota.problems.problem_type import Outputs

LETTERS = {"multiclass": "", "multilabel": "l"}
"""What stands before the number, by the problem; "y" for every other one."""
NAMELESS = frozenset({"embedding"})
"""Problems whose answers are lists of numbers without names."""


def numbered(problem: str, count: int) -> Outputs:
    """Names of so many numbers of an answer to a problem; none where it is one number or a list.

    >>> numbered("regression", 2)
    ('y0', 'y1')
    """
    if count < 2 or problem in NAMELESS:
        return ()
    return tuple(f"{LETTERS.get(problem, 'y')}{place}" for place in range(count))


def named(problem: str, count: int, own: Outputs, author: Outputs) -> Outputs:
    """The names of so many numbers: the model's own; where it only numbers them, those of the author's signature, if it has as many."""
    if count < 2 or problem in NAMELESS:
        return ()
    has_own = len(own) == count and not any(own == numbered(each, count) for each in (problem, "regression", *LETTERS))
    if not has_own and len(author) == count:
        return author
    return own if has_own else numbered(problem, count)
