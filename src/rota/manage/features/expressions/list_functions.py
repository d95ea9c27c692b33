"""Feature SQL over lists of numbers: each function is one Python function, which both forms call value by value, so that they agree.

| function | answer |
| --- | --- |
| array_length(x), cardinality(x) | how many numbers |
| x[2] | the second number; null where the list is shorter |
| array_sum(x), array_avg(x) | the sum (of an empty list 0) and the mean; exactly rounded, whatever their order |
| array_min(x), array_max(x) | the smallest and the largest number |
| l2_norm(x) | the length of the vector |
| inner_product(x, y), l2_distance(x, y), cosine_similarity(x, y) | of two vectors of one length; null where their lengths differ |

The mean and the ends of an empty list are null, so are an integer sum beyond 64 bits and the cosine with a vector of zeros.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from sqlglot import exp

from rota.errors import InvalidInput
from rota.manage.features.expressions import scalar_functions
from rota.manage.features.expressions.operators import DTYPES, Kind, Term, Writer
from rota.manage.features.expressions.syntax import Arguments
from rota.records.value_types import family, list_type

Numbers = Sequence[float]
Read = Callable[[exp.Expr | None], Term]
Rule = Callable[[Writer, Arguments, Read], Term]


def of_one(write: Writer, name: str, a: Term) -> Term:
    """A function of one list."""
    element = _element(a, name)
    function, kind = _OF_ONE[name]
    if name == "array_sum" and element == "int":
        function = _whole_sum
    return _called(write, f"{name} of {element}", function, kind or element, (a,))


def of_two(write: Writer, name: str, a: Term, b: Term) -> Term:
    """A function of two lists."""
    _element(a, name), _element(b, name)
    lengths = [list_type(term.type).length for term in (a, b)]
    if None not in lengths and lengths[0] != lengths[1]:
        raise InvalidInput(f"{name} takes two lists of one length, not {a.type} and {b.type}")
    return _called(write, name, _OF_TWO[name], "float", (a, b))


def element(write: Writer, a: Term, place: int) -> Term:
    """One number of a list; places count from 1."""
    kind, length = _element(a, "[...]"), list_type(a.type).length
    if place < 1 or (length is not None and place > length):
        raise InvalidInput(f"[{place}] is no place of a {a.type}; places count from 1")
    return _called(write, f"element {place}", lambda values: values[place - 1] if place <= len(values) else None, kind, (a,))


def _called(write: Writer, name: str, function: Callable[..., Any], kind: Kind, operands: tuple[Term, ...]) -> Term:
    called = write.function(f"list {name}", function)
    dtype = DTYPES[kind]

    def column(columns: Sequence[pl.Series]) -> pl.Series:
        rows = zip(*(each.to_list() for each in columns), strict=True)
        return pl.Series(columns[0].name, [None if None in row else function(*row) for row in rows], dtype=dtype)

    code = f"{called}({', '.join(operand.code for operand in operands)})"
    made = pl.map_batches([operand.column for operand in operands], column, return_dtype=dtype, is_elementwise=True)
    return write.strict(kind, code, made, operands, nullable=True)


def _element(a: Term, name: str) -> Kind:
    if a.type == "null" or family(a.type) != "list":
        raise InvalidInput(f"{name} takes a list of numbers, not {a.type}")
    return list_type(a.type).element


def _whole_sum(values: Sequence[int]) -> int | None:
    return scalar_functions.whole(sum(values))


def _total(values: Numbers) -> float:
    """The sum, rounded once; beyond a float's range as adding one by one has it."""
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values)


def _mean(values: Numbers) -> float | None:
    return _total(values) / len(values) if values else None


def _inner(a: Numbers, b: Numbers) -> float | None:
    return _total([x * y for x, y in zip(a, b, strict=True)]) if len(a) == len(b) else None


def _distance(a: Numbers, b: Numbers) -> float | None:
    return math.dist(a, b) if len(a) == len(b) else None


def _cosine(a: Numbers, b: Numbers) -> float | None:
    product, lengths = _inner(a, b), math.hypot(*a) * math.hypot(*b)
    return None if product is None or not lengths else product / lengths


_OF_ONE: dict[str, tuple[Callable[[Any], Any], Kind | None]] = {
    "array_length": (len, "int"),
    "array_sum": (_total, None),
    "array_avg": (_mean, "float"),
    "array_min": (lambda values: min(values, default=None), None),
    "array_max": (lambda values: max(values, default=None), None),
    "l2_norm": (lambda values: math.hypot(*values), "float"),
}
_OF_TWO: dict[str, Callable[[Numbers, Numbers], Any]] = {"inner_product": _inner, "l2_distance": _distance, "cosine_similarity": _cosine}


def _rule_of_one(name: str) -> Rule:
    return lambda write, node, read: of_one(write, name, read(node.need("this")))


def _length(write: Writer, node: Arguments, read: Read) -> Term:
    dimension = node.take("expression")
    if dimension is not None and dimension.name != "1":
        raise InvalidInput("a list has one dimension: array_length(x)")
    return of_one(write, "array_length", read(node.need("this")))


def _place(write: Writer, node: Arguments, read: Read) -> Term:
    places = node.many()
    node.take("offset")
    if len(places) != 1 or not isinstance(places[0], exp.Literal) or not places[0].name.isdecimal():
        raise InvalidInput("x[1] takes one literal place, counted from 1")
    return element(write, read(node.need("this")), int(places[0].name) + 1)  # the parser counts from 0


def _rule_by_name(name: str) -> Rule:
    def rule(write: Writer, node: Arguments, read: Read) -> Term:
        node.take("this")
        terms = [read(value) for value in node.many()]
        wanted = 2 if name in _OF_TWO else 1
        if len(terms) != wanted:
            raise InvalidInput(f"{name} takes {wanted} list{'s' if wanted > 1 else ''}, not {len(terms)}")
        return of_two(write, name, *terms) if wanted == 2 else of_one(write, name, *terms)

    return rule


RULES: Mapping[type[exp.Expr], Rule] = {
    exp.ArraySize: _length,
    exp.ArraySum: _rule_of_one("array_sum"),
    exp.ArrayMin: _rule_of_one("array_min"),
    exp.ArrayMax: _rule_of_one("array_max"),
    exp.Bracket: _place,
}
NAMED: Mapping[str, Rule] = {
    "cardinality": _rule_by_name("array_length"),
    **{name: _rule_by_name(name) for name in ("array_avg", "l2_norm", *_OF_TWO)},
}
"""Functions that the parser knows by their name only."""
