"""Terms: each operation of feature SQL written once, in both its forms: Python text for a row, a Polars expression for a column.

What a reader of a feature must know (the same online and offline, held by the registration gate):

| case | answer |
| --- | --- |
| null in arithmetic, comparison, function | null (three-valued AND / OR / NOT; a null condition counts as false) |
| int + - * beyond 64 bits, -(smallest int) | null |
| a / b | always a float: 5 / 2 = 2.5, 1 / 0 = inf, -1 / 0 = -inf, 0 / 0 = nan |
| a % b | sign of a: -5 % 3 = -2; ints: 5 % 0 = null; floats: nan |
| ln(0), log10(0) | -inf |
| ln(-1), log10(-1), sqrt(-1), power(-1, 0.5), sin(inf) | nan |
| exp(1000), power(10, 400) | inf |
| a comparison with nan | false, and `<>` true (IEEE 754) |
| least, greatest | ignore nulls; nan when any argument is nan |
| round(2.5), cast(2.5 as int) | 3: half away from zero; a cast that does not fit is null |
| floor, ceil, trunc, round of a float | a float; cast it for an int |
| concat | ignores nulls; `||` with a null is null |
| a feature that ends as nan | null |
| timestamps | integers of microseconds UTC; t1 - t2 is microseconds; dow Sunday = 0, isodow Monday = 1, weeks as in ISO 8601 |
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import scalar_functions
from rota.manage.features.expressions.column_arithmetic import by_numpy, divided, is_one_zero, positive_zero, raised
from rota.records.schema import Type
from rota.records.time import parse_time
from rota.records.value_types import decimal_type, family, list_type, sql_type

Kind = Type


class _Dtypes(dict[Type, pl.DataType]):
    """The Polars type of each type, made when it is first asked for; types come from definitions, so there are few."""

    def __missing__(self, kind: Type) -> pl.DataType:
        self[kind] = made = _measured_dtype(kind)
        return made


def _measured_dtype(kind: Type) -> pl.DataType:
    match family(kind):
        case "list":
            return pl.List(pl.Float64() if list_type(kind).element == "float" else pl.Int64())
        case "decimal":
            of = decimal_type(kind)
            return pl.Decimal(of.precision, of.scale)
        case "bytes":
            return pl.Binary()
        case _:
            return pl.String()


DTYPES = _Dtypes(
    {
        "float": pl.Float64(),
        "int": pl.Int64(),
        "bool": pl.Boolean(),
        "string": pl.String(),
        "timestamp": pl.Int64(),
        "null": pl.Float64(),
    }
)
_WHOLE = ("int", "timestamp")
_NUMBERS = ("float", *_WHOLE)
_WIDE_ZERO = pl.lit(0, dtype=pl.Int128)
_OF_ROWS = object()
_LARGEST = 5_000  # nodes of one Polars tree: nested comparisons repeat their operands, which would grow without bound


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression: `code` is a local name or a literal of the generated Python, `column` the Polars form."""

    type: Kind
    code: str
    column: pl.Expr
    nullable: bool = True
    size: int = 1
    literal: Any = None

    def never_null(self) -> "Term":
        return replace(self, nullable=False)


class Writer:
    """Lines of one generated function; equal code is written once, so features share their common parts.

    With `nulls=False` they are the lines for a row in which no column is null: most rows, and twice as quick. `strict` refuses
    arguments that have no meaning.
    """

    def __init__(self, *, nulls: bool = True, strict: bool = False) -> None:
        self.refuses_unread = strict
        self.lines: list[str] = []
        self.columns: dict[str, str] = {}
        self._nulls = nulls
        self.functions: dict[str, Callable[..., Any]] = {}
        self._names: dict[str, str] = {}

    def function(self, identity: str, function: Callable[..., Any]) -> str:
        """The name under which generated code calls a function that belongs to this expression; equal identities share it."""
        name = self._names.get(identity)
        if name is None:
            name = self._names[identity] = f"{'f' if self._nulls else 'g'}{len(self._names)}"
            self.functions[name] = function
        return name

    def column(self, name: str, kind: Type) -> Term:
        """A column of the row; a category or a reference is a text here."""
        kind = sql_type(kind)
        if self._nulls:
            return Term(kind, self.value(f"get({name!r})"), pl.col(name))
        return Term(kind, self.columns.setdefault(name, f"c{len(self.columns)}"), pl.col(name), nullable=False)

    def value(self, code: str) -> str:
        name = self._names.get(code)
        if name is None:
            name = self._names[code] = f"v{len(self._names)}"
            self.lines.append(f"{name} = {code}")
        return name

    def term(self, kind: Kind, code: str, column: pl.Expr, operands: Sequence[Term], *, nullable: bool = False) -> Term:
        """An operation that sees its operands as they are, nulls included."""
        size = 1 + sum(operand.size for operand in operands)
        if size > _LARGEST:
            raise InvalidInput(f"an expression grows past {_LARGEST} operations; split it into several features")
        return Term(kind, self.value(code), column, nullable or any(operand.nullable for operand in operands), size)

    def strict(self, kind: Kind, code: str, column: pl.Expr, operands: Sequence[Term], *, nullable: bool = False) -> Term:
        """An operation that is null as soon as one operand is."""
        tests = " or ".join(dict.fromkeys(f"{operand.code} is None" for operand in operands if operand.nullable))
        return self.term(kind, f"None if {tests} else {code}" if tests else code, column, operands, nullable=nullable)


def constant(value: bool | float | str | None) -> Term:
    """A literal of the SQL text."""
    if value is None:
        return Term("null", "None", pl.lit(None, dtype=pl.Float64))
    if isinstance(value, int) and scalar_functions.whole(value) is None:
        raise InvalidInput(f"the integer {value} does not fit 64 bits", value=str(value))
    if isinstance(value, float) and not np.isfinite(value):
        raise InvalidInput("a number of the expression is too large for a float")
    kind: Kind = "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float" if isinstance(value, float) else "string"
    return Term(kind, repr(value), pl.lit(value, dtype=DTYPES[kind]), nullable=False, literal=value)


def arithmetic(write: Writer, operator: str, a: Term, b: Term) -> Term:
    """+ - * / %"""
    a, b = _number(a, operator), _number(b, operator)
    if operator == "/" or "float" in (a.type, b.type):
        return _float_arithmetic(write, operator, to_float(write, a), to_float(write, b))
    if operator == "%":
        return write.strict("int", f"whole_remainder({a.code}, {b.code})", _whole_remainder(a.column, b.column), (a, b), nullable=True)
    if a.literal is not None and b.literal is not None and a.type == b.type == "int":
        return constant(_FOLDED[operator](a.literal, b.literal))
    wide = _OPERATORS[operator](a.column.cast(pl.Int128), b.column.cast(pl.Int128))
    kind: Kind = "timestamp" if operator != "*" and (a.type == "timestamp") != (b.type == "timestamp") else "int"
    return write.strict(kind, f"whole({a.code} {operator} {b.code})", wide.cast(pl.Int64, strict=False), (a, b), nullable=True)


def negative(write: Writer, a: Term) -> Term:
    a = _number(a, "-")
    if a.literal is not None:
        return constant(-a.literal)
    if a.type == "float":
        return write.strict("float", f"-{a.code}", -a.column, (a,))
    return write.strict("int", f"whole(-{a.code})", (_WIDE_ZERO - a.column.cast(pl.Int128)).cast(pl.Int64, strict=False), (a,), nullable=True)


def compare(write: Writer, operator: str, a: Term, b: Term) -> Term:
    """= <> < <= > >= with Python's spelling of the operator."""
    _check_ordered(operator, (a, b))
    a, b = _comparable(write, a, b)
    column: pl.Expr = _OPERATORS[operator](a.column, b.column)
    # Polars orders nan above all numbers: against a literal that is wrong only where something is asked to be larger than it.
    if a.type == "float" and (b.literal is None or operator in (">", ">=")):
        unordered = (a.column.is_nan() | b.column.is_nan()) & a.column.is_not_null() & b.column.is_not_null()
        column = pl.when(unordered).then(pl.lit(operator == "!=")).otherwise(column)
        a = replace(a, size=3 * a.size)
        b = replace(b, size=3 * b.size)
    return write.strict("bool", f"{a.code} {operator} {b.code}", column, (a, b))


def one_of(write: Writer, a: Term, options: Sequence[Term]) -> Term:
    """IN over literals."""
    pairs = [_comparable(write, a, option) for option in options]
    if any(option.literal is None for option in options):
        raise InvalidInput("IN (...) takes literals other than NULL; write OR for anything else")
    if any(pair[0].type == "float" for pair in pairs) and a.type != "float":
        a = to_float(write, a)
    values = [float(pair[1].literal) if a.type == "float" else pair[1].literal for pair in pairs]
    return write.strict(
        "bool", f"{a.code} in {{{', '.join(map(repr, values))}}}", a.column.is_in(pl.Series(values, dtype=DTYPES[a.type]).implode()), (a,)
    )


def and_(write: Writer, a: Term, b: Term) -> Term:
    a, b = _truth(a, "AND"), _truth(b, "AND")
    if _fixed(a) is False or _fixed(b) is False:
        return constant(value=False)
    unknown = f"None if {a.code} is None or {b.code} is None else True" if a.nullable or b.nullable else "True"
    return write.term("bool", f"False if {a.code} is False or {b.code} is False else {unknown}", a.column & b.column, (a, b))


def or_(write: Writer, a: Term, b: Term) -> Term:
    a, b = _truth(a, "OR"), _truth(b, "OR")
    if _fixed(a) is True or _fixed(b) is True:
        return constant(value=True)
    unknown = f"None if {a.code} is None or {b.code} is None else False" if a.nullable or b.nullable else "False"
    return write.term("bool", f"True if {a.code} is True or {b.code} is True else {unknown}", a.column | b.column, (a, b))


def negation(write: Writer, a: Term) -> Term:
    a = _truth(a, "NOT")
    return write.strict("bool", f"not {a.code}", ~a.column, (a,))


def is_null(write: Writer, a: Term) -> Term:
    return replace(write.term("bool", f"{_name(write, a)} is None", a.column.is_null(), (a,)), nullable=False)


def is_truth(write: Writer, a: Term, *, truth: bool) -> Term:
    a = _truth(a, "IS TRUE")
    column = (a.column if truth else ~a.column).fill_null(value=False)
    return replace(write.term("bool", f"{_name(write, a)} is {truth}", column, (a,)), nullable=False)


def choose(write: Writer, conditions: Sequence[Term], values: Sequence[Term], otherwise: Term) -> Term:
    """CASE: the value of the first true condition; every value is computed, none can fail."""
    conditions = [_truth(condition, "WHEN") for condition in conditions]
    *values, otherwise = unify(write, [*values, otherwise])
    branches = [(condition, value) for condition, value in zip(conditions, values, strict=True) if _fixed(condition) in (_OF_ROWS, True)]
    always = next((n for n, (condition, _) in enumerate(branches) if _fixed(condition) is True), None)
    if always is not None:
        otherwise, branches = branches[always][1], branches[:always]
    if not branches:
        return otherwise
    conditions, values = [condition for condition, _ in branches], [value for _, value in branches]
    code, column = otherwise.code, otherwise.column
    for condition, value in zip(reversed(conditions), reversed(values), strict=True):
        code = f"{value.code} if {condition.code} is True else ({code})" if condition.nullable else f"{value.code} if {condition.code} else ({code})"
        column = pl.when(condition.column).then(value.column).otherwise(column)
    made = write.term(otherwise.type, code, column, (*conditions, *values, otherwise))
    return replace(made, nullable=any(value.nullable for value in (*values, otherwise)))


def coalesce(write: Writer, values: Sequence[Term]) -> Term:
    values = [value for value in unify(write, values) if _fixed(value) is not None] or values[:1]
    certain = next((n for n, value in enumerate(values) if not value.nullable or _fixed(value) is not _OF_ROWS), len(values))
    values = values[: certain + 1]
    if len(values) == 1:
        return values[0]
    code = values[-1].code
    for value in reversed(values[:-1]):
        code = f"{value.code} if {value.code} is not None else ({code})" if value.nullable else value.code
    made = write.term(values[0].type, code, pl.coalesce([value.column for value in values]), values)
    return replace(made, nullable=all(value.nullable for value in values))


def _fixed(a: Term) -> Any:
    """The value of a term that is one for all rows, else `_OF_ROWS`.

    What is decided without looking at a row is decided here. Polars would do it too, and compute on with one value where a column was
    expected, by other arithmetic (see `column_arithmetic`).
    """
    if a.literal is not None:
        return a.literal
    return _OF_ROWS if a.column.meta.root_names() else pl.select(a.column).item()


def nullif(write: Writer, a: Term, b: Term) -> Term:
    equal = compare(write, "==", a, b)
    column = pl.when(equal.column).then(pl.lit(None, dtype=DTYPES[a.type])).otherwise(a.column)
    return write.term(a.type, f"None if {equal.code} is True else {a.code}", column, (equal, a), nullable=True)


def least_greatest(write: Writer, name: str, values: Sequence[Term]) -> Term:
    """LEAST and GREATEST."""
    _check_ordered(name, values)
    values = unify(write, values)
    columns = [value.column for value in values]
    column = pl.min_horizontal(columns) if name == "least" else pl.max_horizontal(columns)
    if values[0].type == "float":
        unordered = pl.any_horizontal([column.is_nan().fill_null(value=False) for column in columns])
        column = pl.when(unordered).then(pl.lit(float("nan"))).otherwise(positive_zero(column))
    if values[0].type == "bool":
        raise InvalidInput(f"{name} takes numbers, texts or timestamps, not bool")
    return write.term(
        values[0].type, f"{name}({', '.join(value.code for value in values)})", column, [replace(value, size=2 * value.size) for value in values]
    )


def function(write: Writer, name: str, a: Term) -> Term:
    """LN, LOG10, LOG2, EXP, SQRT, CBRT, TANH, the trigonometric ones, SIGN, FLOOR, CEIL, TRUNC and ABS."""
    a = _number(a, name)
    if a.type in _WHOLE and name in ("floor", "ceil", "trunc"):
        return a
    if name == "abs":
        if a.type == "float":
            return write.strict("float", f"abs({a.code})", a.column.abs(), (a,))
        return write.strict("int", f"whole(abs({a.code}))", a.column.cast(pl.Int128).abs().cast(pl.Int64, strict=False), (a,), nullable=True)
    a = to_float(write, a)
    return write.strict("float", _INLINE.get(name, name + "({0})").format(a.code), _FUNCTIONS[name](a.column), (a,))


def power(write: Writer, a: Term, b: Term) -> Term:
    a, b = to_float(write, _number(a, "power")), to_float(write, _number(b, "power"))
    if b.literal == 2:
        return write.strict("float", f"{a.code} * {a.code}", a.column * a.column, (replace(a, size=2 * a.size),))
    return write.strict("float", f"power({a.code}, {b.code})", by_numpy(raised, a.column, b.column), (a, b))


def angle(write: Writer, a: Term, b: Term) -> Term:
    """ATAN2(y, x)."""
    a, b = to_float(write, _number(a, "atan2")), to_float(write, _number(b, "atan2"))
    return write.strict("float", f"atan2({a.code}, {b.code})", pl.arctan2(a.column, b.column), (a, b))


def rounded(write: Writer, a: Term, digits: Term | None) -> Term:
    """ROUND(x) and ROUND(x, digits)."""
    a = _number(a, "round")
    places = 0 if digits is None else digits.literal
    if not isinstance(places, int) or isinstance(places, bool) or not 0 <= places <= 15:
        raise InvalidInput("round(x, digits) takes a literal number of digits between 0 and 15")
    if a.type in _WHOLE:
        return a
    scaled = a.column * 10.0**places
    rounded = divided(scaled.round(0, mode="half_away_from_zero"), 10.0**places)
    column = pl.when(scaled.is_finite()).then(rounded).otherwise(a.column)
    return write.strict("float", f"round_half_away({a.code}, {places})", column, (replace(a, size=3 * a.size),))


def cast(write: Writer, a: Term, kind: Type) -> Term:
    """CAST to float, int, text; of a text literal to timestamp."""
    if a.type in (kind, "null"):
        return _typed_null(a, kind)
    if kind == "timestamp" and isinstance(a.literal, str):
        return replace(constant(parse_time(a.literal)), type="timestamp")
    if family(a.type) == "decimal" and kind in ("float", "string"):
        text = a.column.cast(pl.String)  # by its digits: a quotient of two floats would be rounded twice
        name, made_of = ("float", text.cast(pl.Float64)) if kind == "float" else ("str", text)
        return write.strict(kind, f"{name}({a.code})", made_of, (a,))
    if kind == "float" and a.type in (*_NUMBERS, "bool"):
        return to_float(write, a)
    made = _CASTS.get((a.type, kind))
    if made is None:
        raise InvalidInput(f"a cast from {a.type} to {kind} does not exist; casts lead to float, int or text")
    code, column = made
    return write.strict(kind, code.format(a.code), column(a.column), (a,), nullable=True)


def to_float(write: Writer, a: Term) -> Term:
    """The term as a float, for mixed arithmetic."""
    if a.type in ("float", "null"):
        return _typed_null(a, "float")
    if a.literal is not None:
        return constant(float(a.literal))
    return write.strict("float", f"float({a.code})", a.column.cast(pl.Float64), (a,))


def unify(write: Writer, terms: Sequence[Term]) -> list[Term]:
    """The terms with one common type, as the branches of a CASE need."""
    kinds = {term.type for term in terms} - {"null"}
    if kinds == {"int", "float"}:
        return [to_float(write, term) for term in terms]
    if len(kinds) > 1:
        raise InvalidInput(f"values of the types {sorted(kinds)} cannot stand beside each other; cast them to one type", types=sorted(kinds))
    kind = next(iter(kinds), "float")
    return [_typed_null(term, kind) for term in terms]


def _check_ordered(name: str, terms: Sequence[Term]) -> None:
    for term in terms:
        if term.type != "null" and family(term.type) in ("list", "bytes"):
            way = "compare numbers of it: array_length(x), x[1], l2_distance(x, y)" if family(term.type) == "list" else "bytes have no order"
            raise InvalidInput(f"{name} takes no {term.type}; {way}")


def _typed_null(a: Term, kind: Any) -> Term:
    return replace(a, type=kind, column=pl.lit(None, dtype=DTYPES[kind])) if a.type == "null" else a


def _float_arithmetic(write: Writer, operator: str, a: Term, b: Term) -> Term:
    if operator == "/":
        code = f"{a.code} / {b.code}" if b.literal else f"{a.code} / {b.code} if {b.code} else divide({a.code}, {b.code})"
        return write.strict("float", code, divided(a.column, b.column), (a, b))
    if operator == "%":
        return write.strict("float", f"remainder({a.code}, {b.code})", by_numpy(np.fmod, a.column, b.column), (a, b))
    if operator != "*" and (is_one_zero(a.column, a.literal) or is_one_zero(b.column, b.literal)):
        return write.strict("float", f"{a.code} {operator} {b.code}", by_numpy(_BY_NUMPY[operator], a.column, b.column), (a, b))
    return write.strict("float", f"{a.code} {operator} {b.code}", _OPERATORS[operator](a.column, b.column), (a, b))


def _whole_remainder(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    rest = a.cast(pl.Int128).abs() % b.cast(pl.Int128).abs()
    return pl.when(a < 0).then(_WIDE_ZERO - rest).otherwise(rest).cast(pl.Int64)


def _comparable(write: Writer, a: Term, b: Term) -> tuple[Term, Term]:
    if "timestamp" in (a.type, b.type):
        a, b = (cast(write, term, "timestamp") if isinstance(term.literal, str) else term for term in (a, b))
        a, b = (replace(term, type="int") if term.type == "timestamp" else term for term in (a, b))
    a, b = unify(write, [a, b])
    return a, b


def _number(a: Term, operator: str) -> Term:
    if a.type == "null":
        return _typed_null(a, "float")
    if a.type not in _NUMBERS:
        way = "write what you want of its numbers: array_sum(x), x[1]" if family(a.type) == "list" else "cast the value first"
        raise InvalidInput(f"{operator} takes numbers, not {a.type}; {way}", operator=operator)
    return a


def _truth(a: Term, operator: str) -> Term:
    if a.type == "null":
        return _typed_null(a, "bool")
    if a.type != "bool":
        raise InvalidInput(f"{operator} takes true or false, not {a.type}; compare the value with something", operator=operator)
    return a


def as_text(a: Term, operator: str) -> Term:
    if a.type == "null":
        return _typed_null(a, "string")
    if a.type != "string":
        raise InvalidInput(f"{operator} takes texts, not {a.type}; write cast(... as text)", operator=operator)
    return a


def _name(write: Writer, a: Term) -> str:
    return a.code if a.literal is None else write.value(a.code)


def _by_value(function: Callable[[Any], Any], dtype: type[pl.DataType]) -> Callable[[pl.Expr], pl.Expr]:
    """A column made value by value with the row form's own function, where Polars has another last digit or spelling."""

    def values(column: pl.Series) -> pl.Series:
        return pl.Series(column.name, [None if value is None else function(value) for value in column], dtype=dtype)

    return lambda column: column.map_batches(values, return_dtype=dtype())


_FOLDED: dict[str, Callable[[int, int], int]] = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
_OPERATORS: dict[str, Callable[[Any, Any], pl.Expr]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
_BY_NUMPY: dict[str, Callable[..., np.ndarray]] = {"+": np.add, "-": np.subtract}
_FUNCTIONS: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "ln": lambda a: a.log(),
    "log10": _by_value(scalar_functions.log10, pl.Float64),
    "log2": _by_value(scalar_functions.log2, pl.Float64),
    "exp": lambda a: a.exp(),
    "sqrt": lambda a: a.sqrt(),
    "cbrt": lambda a: a.cbrt(),
    "tanh": lambda a: a.tanh(),
    "sin": lambda a: a.sin(),
    "cos": lambda a: a.cos(),
    "tan": lambda a: a.tan(),
    "asin": lambda a: a.arcsin(),
    "acos": lambda a: a.arccos(),
    "atan": lambda a: a.arctan(),
    "radians": lambda a: a.radians(),
    "degrees": lambda a: a.degrees(),
    "sign": lambda a: pl.when(a.is_nan()).then(a).otherwise(a.sign()),
    "floor": lambda a: a.floor(),
    "ceil": lambda a: a.ceil(),
    "trunc": lambda a: pl.when(a < 0).then(a.ceil()).otherwise(a.floor()),
}
_INLINE = {
    "ln": "math_log({0}) if 0 < {0} else ln({0})",
    "sqrt": "math_sqrt({0}) if 0 <= {0} else sqrt({0})",
    "sin": "math_sin({0}) if -1e300 < {0} < 1e300 else sin({0})",
    "cos": "math_cos({0}) if -1e300 < {0} < 1e300 else cos({0})",
    "asin": "math_asin({0}) if -1 <= {0} <= 1 else asin({0})",
    "acos": "math_acos({0}) if -1 <= {0} <= 1 else acos({0})",
}
"""Where the argument is tame the library is called directly; the guarded function costs a second call."""
_CASTS: dict[tuple[str, str], tuple[str, Callable[[pl.Expr], pl.Expr]]] = {
    ("float", "int"): ("to_int({})", lambda a: a.round(0, mode="half_away_from_zero").cast(pl.Int64, strict=False)),
    ("bool", "int"): ("int({})", lambda a: a.cast(pl.Int64)),
    ("timestamp", "int"): ("{}", lambda a: a),
    ("string", "float"): (
        "text_to_float({})",
        lambda a: pl.when(a.str.contains(scalar_functions.NUMBER)).then(a).str.strip_prefix("+").cast(pl.Float64, strict=False),
    ),
    ("string", "int"): (
        "text_to_int({})",
        lambda a: pl.when(a.str.contains(scalar_functions.INTEGER)).then(a).str.strip_prefix("+").cast(pl.Int64, strict=False),
    ),
    ("int", "string"): ("str({})", lambda a: a.cast(pl.String)),
    ("bool", "string"): ("('true' if {} else 'false')", lambda a: a.cast(pl.String)),
    ("float", "string"): ("float_to_text({})", _by_value(scalar_functions.float_to_text, pl.String)),
    ("timestamp", "string"): ("time_to_text({})", _by_value(scalar_functions.time_to_text, pl.String)),
}
