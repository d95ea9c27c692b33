"""Feature expressions: scalar SQL read once into a tree of whitelisted nodes, and from there into row code and column expressions.

No part of a SQL text reaches the generated Python except numbers, quoted texts and column names, each written by `repr`.
`rota.manage.features.expressions.operators` has the table of what each operation answers.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import polars as pl
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from rota.errors import InvalidInput
from rota.manage.features.expressions import list_functions, operators, python_functions, scalar_functions, text_functions, time_functions
from rota.manage.features.expressions.list_functions import Read, Rule
from rota.manage.features.expressions.operators import Term, Writer
from rota.manage.features.expressions.syntax import Arguments
from rota.records.data import Expression, PythonExpression
from rota.records.schema import Type

Row = Mapping[str, Any]
_LONGEST = 10_000  # characters of one SQL text
_LONGEST_NUMBER = 400
"""Digits of a number, more than any float has; Python refuses to read some thousands."""
_MOST_KEPT = 2_048  # compiled expressions and row functions of a process: more than a feature repository has in use at a time
_OFFSET_ZONE = re.compile(r"(?:UTC|GMT)?[+-][0-9]{1,2}(?::?[0-9]{2})?", re.IGNORECASE)
_DEEPEST = 60  # levels of one expression: far beyond what a person writes, far below what a parser's stack takes


@dataclass(frozen=True, slots=True)
class Compiled:
    """One feature expression over columns of known types: the columns that it reads, the type that it yields, its form over whole columns."""

    columns: tuple[str, ...]
    type: Type
    column: pl.Expr


def compiled(expression: Expression, columns: Mapping[str, Type]) -> Compiled:
    """Compile a feature expression; equal expressions over columns of equal types is compiled once in a process.

    Raises `InvalidInput` for a text that is no feature expression. Thread-safe; the cache is bounded and keyed by content.
    """
    read = _columns_read(expression)
    if any(name not in columns for name in read):
        return _compile(expression, columns)  # raises, naming all the columns that there are
    try:
        return _cached(expression, tuple((name, columns[name]) for name in read))
    except InvalidInput:
        return _compile(expression, columns)


def check(expression: Expression, columns: Mapping[str, Type]) -> Type:
    """The type of an expression that somebody wants to register; raises `InvalidInput` also for an argument that has no meaning.

    What is stored is compiled without this: a view that an earlier release accepted goes on as it was read then.
    """
    kind = _read(expression, columns, Writer(strict=True)).type
    return "float" if kind == "null" else _declared(expression, columns, kind)


def column(expression: Expression, columns: Mapping[str, Type]) -> pl.Expr:
    """The expression over whole columns; the frame must hold them with the types of `operators.DTYPES`."""
    return compiled(expression, columns).column


def type_of(expression: Expression, columns: Mapping[str, Type]) -> Type:
    """The type that the expression yields; raises `InvalidInput` for a text that is no feature expression."""
    return compiled(expression, columns).type


def columns_of(expression: Expression, columns: Mapping[str, Type]) -> list[str]:
    """The columns that the expression reads, sorted; raises `InvalidInput` for a text that is no feature expression."""
    return list(compiled(expression, columns).columns)


def columns_of_all(expressions: Iterable[Expression], columns: Mapping[str, Type]) -> set[str]:
    """The columns that any of the expressions reads."""
    return {name for expression in expressions for name in compiled(expression, columns).columns}


def aliased(expressions: Mapping[str, Expression], columns: Mapping[str, Type]) -> list[pl.Expr]:
    """The expressions over whole columns, each named by its key."""
    return [compiled(expression, columns).column.alias(name) for name, expression in expressions.items()]


def compile_values(expressions: Sequence[Expression], columns: Mapping[str, Type]) -> Callable[[Row], tuple[Any, ...]]:
    """One Python function that computes all expressions of a row as a tuple in the order given: what the online store packs.

    The row must hold values of the declared types (see `coercion.check_events`); an absent column is null. Equal texts over
    columns of equal types are compiled once in a process; threads may share the function.
    """
    read = sorted(columns_of_all(expressions, columns))
    return _cached_function(tuple(expressions), tuple((name, columns[name]) for name in read))


@lru_cache(maxsize=_MOST_KEPT)
def _cached(expression: Expression, columns: tuple[tuple[str, Type], ...]) -> Compiled:
    return _compile(expression, dict(columns))


@lru_cache(maxsize=_MOST_KEPT)
def _cached_function(expressions: tuple[Expression, ...], columns: tuple[tuple[str, Type], ...]) -> Callable[[Row], tuple[Any, ...]]:
    return _function(expressions, dict(columns))


def _compile(expression: Expression, columns: Mapping[str, Type]) -> Compiled:
    term = _read(expression, columns, Writer())
    kind: Type = "float" if term.type == "null" else term.type
    kind = _declared(expression, columns, kind)
    made = term.column.cast(pl.Float64) if term.type == "null" else term.column
    if kind == "float":
        made = made.map_batches(_nan_is_null, return_dtype=pl.Float64, is_elementwise=True)
    if not made.meta.root_names():  # one value for all rows, which not every engine's function of one value is taken for
        made = pl.lit(pl.select(made).item(), dtype=operators.DTYPES[kind])
    return Compiled(_columns_read(expression), kind, made)


def _declared(expression: Expression, columns: Mapping[str, Type], kind: Type) -> Type:
    """The type of an expression: a column alone keeps its declared domain, which anything made of it has no more."""
    if kind != "string" or isinstance(expression, PythonExpression):
        return kind
    tree = _parse(expression)
    return columns[tree.name] if isinstance(tree, exp.Column) else kind


@lru_cache(maxsize=_MOST_KEPT)
def _columns_read(expression: Expression) -> tuple[str, ...]:
    if isinstance(expression, PythonExpression):
        return tuple(sorted(python_functions.parsed(expression.source).inputs))
    return tuple(sorted({node.name for node in _parse(expression).find_all(exp.Column)}))


def _nan_is_null(values: pl.Series) -> pl.Series:
    """As `fill_nan`, whose expression computes what it is given three times over."""
    values = values.cast(pl.Float64)
    nan = values.is_nan()
    return values.set(nan.fill_null(value=False), None) if nan.any() else values


def is_exact(expression: Expression) -> bool:
    """Whether both forms answer the same bits: without a logarithm, a power, an angle or another function whose last digit is the library's."""
    return not isinstance(expression, PythonExpression) and _parse(expression).find(*_INEXACT) is None


def _function(expressions: Sequence[Expression], columns: Mapping[str, Type]) -> Callable[[Row], tuple[Any, ...]]:
    complete, careful = Writer(nulls=False), Writer()
    quick, slow = (_body(expressions, columns, write) for write in (complete, careful))
    lines = slow
    if complete.columns and quick != slow:
        fetched = [f"{name} = get({column!r})" for column, name in complete.columns.items()]
        present = " and ".join(f"{name} is not None" for name in complete.columns.values())
        lines = [*fetched, f"if {present}:", *(f"    {line}" for line in quick), *slow]
    body = "\n    ".join(["get = row.get", *lines])
    namespace: dict[str, Any] = {
        "__builtins__": {"float": float, "int": int, "str": str, "len": len, "abs": abs},
        **scalar_functions.FUNCTIONS,
        **time_functions.FUNCTIONS,
        **complete.functions,
        **careful.functions,
    }
    try:
        code = compile(f"def features(row):\n    {body}\n", "<feature expressions>", "exec")
    except (SyntaxError, RecursionError, MemoryError) as error:
        shown = ", ".join(_short(str(each)) for each in expressions[:3])
        raise InvalidInput(f"the feature expressions {shown} are nested too deeply ({error}); split them, or shorten a CASE") from None
    exec(code, namespace)  # noqa: S102 - only whitelisted nodes are in it
    return cast("Callable[[Row], tuple[Any, ...]]", namespace["features"])


def _body(expressions: Sequence[Expression], columns: Mapping[str, Type], write: Writer) -> list[str]:
    """The lines that compute all expressions and return their values as a tuple."""
    codes = [_finished(write, _read(expression, columns, write)) for expression in expressions]
    return [*write.lines, f"return ({''.join(f'{code}, ' for code in codes)})"]


def _finished(write: Writer, term: Term) -> str:
    if term.type != "float" or term.literal is not None:
        return term.code
    return write.value(f"None if {term.code} != {term.code} else {term.code}")


def _read(expression: Expression, columns: Mapping[str, Type], write: Writer) -> Term:
    if isinstance(expression, PythonExpression):
        return python_functions.term(expression.source, columns, write)
    sql = expression
    tree = _parse(sql)
    try:
        return _term(tree, columns, write, 0)
    except InvalidInput as error:
        raise InvalidInput(f"feature expression {_short(sql)}: {error}", sql=sql, **error.facts) from None


def _parse(sql: str) -> exp.Expr:
    if len(sql) > _LONGEST:
        raise InvalidInput(f"a feature expression has {len(sql)} characters; at most {_LONGEST} are read", length=len(sql))
    try:
        trees = sqlglot.parse(sql, read="postgres")
    except RecursionError:
        raise InvalidInput(f"feature expression {_short(sql)} is nested too deeply; at most {_DEEPEST} levels are read", sql=_short(sql)) from None
    except SqlglotError as error:
        raise InvalidInput(f"feature expression {_short(sql)} is not SQL: {str(error).splitlines()[0]}", sql=_short(sql)) from None
    if len(trees) != 1 or trees[0] is None:
        raise InvalidInput(f"feature expression {_short(sql)} must be exactly one expression, not {len(trees)}", sql=_short(sql))
    return trees[0]


def _short(sql: str) -> str:
    return repr(sql if len(sql) <= 200 else sql[:200] + "...")


def _term(node: exp.Expr, columns: Mapping[str, Type], write: Writer, depth: int) -> Term:
    if depth > _DEEPEST:
        raise InvalidInput(f"nested too deeply; at most {_DEEPEST} levels are read")
    if isinstance(node, exp.Column):
        return _column(node, columns, write)
    if isinstance(node, exp.Literal | exp.Boolean | exp.Null):
        return _constant(node)
    if isinstance(node, exp.Paren):
        return _term(node.this, columns, write, depth + 1)

    def read(child: exp.Expr | None) -> Term:
        return _term(child, columns, write, depth + 1) if child is not None else operators.constant(None)

    rule = list_functions.NAMED.get(node.name.lower()) if isinstance(node, exp.Anonymous) else _RULES.get(type(node))
    if rule is None:
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else type(node).__name__
        near = difflib.get_close_matches(name.lower(), WHITELIST, n=1, cutoff=0.75)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise InvalidInput(f"{name.lower()} is unknown{meant}; there are: {', '.join(WHITELIST)}", function=name)
    arguments = Arguments(node)
    made = rule(write, arguments, read)
    _close(write, arguments)
    return made


def _close(write: Writer, arguments: Arguments) -> None:
    """Everything that means something was taken."""
    if write.refuses_unread:
        arguments.check_all_read()


def _column(node: exp.Column, columns: Mapping[str, Type], write: Writer) -> Term:
    if node.table or node.name not in columns:
        written = ".".join(part.name for part in node.parts)
        raise InvalidInput(f"there is no column {written!r}; the columns are {sorted(columns)}", column=written)
    column = Arguments(node)
    name = Arguments(column.need("this"))
    name.take("this")
    _close(write, name)
    _close(write, column)
    return write.column(node.name, columns[node.name])


def _constant(node: exp.Literal | exp.Boolean | exp.Null) -> Term:
    if not isinstance(node, exp.Literal):
        return operators.constant(bool(node.this) if isinstance(node, exp.Boolean) else None)
    if node.is_string:
        return operators.constant(_text(node.name))
    if len(node.name) > _LONGEST_NUMBER:
        raise InvalidInput(f"the number {node.name[:20]}... has {len(node.name)} digits; at most {_LONGEST_NUMBER} are read", digits=len(node.name))
    return operators.constant(int(node.name) if node.name.isdecimal() else float(node.name))


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("a text of the expression is not valid Unicode") from None
    return value


def _is(write: Writer, node: Arguments, read: Read) -> Term:
    value, state = read(node.need("this")), node.need("expression")
    if isinstance(state, exp.Null):
        made = operators.is_null(write, value)
    elif isinstance(state, exp.Boolean):
        made = operators.is_truth(write, value, truth=bool(state.this))
    else:
        raise InvalidInput("IS takes NULL, TRUE or FALSE")
    return _negated(write, node, made)


def _negated(write: Writer, node: Arguments, made: Term) -> Term:
    """NOT before LIKE, IN, BETWEEN and the word behind IS, which the parser may keep as a flag of the node."""
    return operators.negation(write, made) if node.take("negate") else made


def _in(write: Writer, node: Arguments, read: Read) -> Term:
    options = node.many()
    if not options or node.take("query"):
        raise InvalidInput("IN takes a list of literals, not a query")
    return _negated(write, node, operators.one_of(write, read(node.need("this")), [read(option) for option in options]))


def _between(write: Writer, node: Arguments, read: Read) -> Term:
    value = read(node.need("this"))
    low, high = operators.compare(write, ">=", value, read(node.need("low"))), operators.compare(write, "<=", value, read(node.need("high")))
    return _negated(write, node, operators.and_(write, low, high))


def _like(write: Writer, node: Arguments, read: Read) -> Term:
    return _negated(write, node, text_functions.like(write, read(node.need("this")), read(node.need("expression"))))


def _case(write: Writer, node: Arguments, read: Read) -> Term:
    branches = [Arguments(branch) for branch in node.many("ifs")]
    value = node.take("this")
    subject = read(value) if value is not None else None
    asked = [read(branch.need("this")) for branch in branches]
    conditions = asked if subject is None else [operators.compare(write, "==", subject, each) for each in asked]
    values = [read(branch.need("true")) for branch in branches]
    for branch in branches:
        _close(write, branch)
    return operators.choose(write, conditions, values, read(node.take("default")))


def _if(write: Writer, node: Arguments, read: Read) -> Term:
    return operators.choose(write, [read(node.need("this"))], [read(node.need("true"))], read(node.take("false")))


def _log(write: Writer, node: Arguments, read: Read) -> Term:
    first, second = node.need("this"), node.take("expression")
    if second is not None and first.name not in ("2", "10"):
        raise InvalidInput("logarithms are ln(x), log10(x) and log2(x); write ln(x) / ln(base) for another base")
    return operators.function(write, "log2" if second is not None and first.name == "2" else "log10", read(first if second is None else second))


def _trim(write: Writer, node: Arguments, read: Read) -> Term:
    if node.take("position") or node.take("expression") is not None:
        raise InvalidInput("trim(text) removes spaces from both ends and takes nothing else")
    return text_functions.text(write, "trim", read(node.need("this")))


def _extract(write: Writer, node: Arguments, read: Read) -> Term:
    return time_functions.part(write, node.word("this").lower(), read(node.need("expression")))


def _truncated(write: Writer, node: Arguments, read: Read) -> Term:
    return time_functions.truncated(write, node.word("unit").lower(), read(node.need("this")))


def _at_zone(write: Writer, node: Arguments, read: Read) -> Term:
    zone = node.need("zone")
    if not isinstance(zone, exp.Literal) or not zone.is_string:
        raise InvalidInput("AT TIME ZONE takes a literal name, for example 'America/New_York'")
    if write.refuses_unread:
        _check_zone(node, zone.name)
    return time_functions.at_zone(write, read(node.need("this")), zone.name)


def _check_zone(node: Arguments, zone: str) -> None:
    """A time that clocks show is kept as a timestamp too: to bring one back would need a type of its own, and would shift it once more."""
    if node.need("this").find(exp.AtTimeZone) is not None:
        raise InvalidInput(
            f"AT TIME ZONE {zone!r} of what is local time already is refused: local times have no type of their own here, so it would be shifted "
            "twice; compare and truncate local times as they are"
        )
    if _OFFSET_ZONE.fullmatch(zone):
        raise InvalidInput(f"AT TIME ZONE {zone!r}: the sign of a bare offset means two things in SQL; name a zone, for example 'Europe/Berlin'")


def _substring(write: Writer, node: Arguments, read: Read) -> Term:
    places = [read(place) for place in (node.need("start"), node.take("length")) if place is not None]
    return text_functions.cut(write, "substring", read(node.need("this")), *places)


def _cast(write: Writer, node: Arguments, read: Read) -> Term:
    kind = Arguments(node.need("to"))
    name = kind.take("this").name
    if name not in _CAST_TYPES:
        raise InvalidInput(f"a cast to {name.lower()} does not exist; casts lead to float, int or text")
    _close(write, kind)
    return operators.cast(write, read(node.need("this")), _CAST_TYPES[name])


def _round(write: Writer, node: Arguments, read: Read) -> Term:
    digits = node.take("decimals")
    return operators.rounded(write, read(node.need("this")), None if digits is None else read(digits))


def _of_two(function: Callable[[Writer, Term, Term], Term]) -> Rule:
    return lambda write, node, read: function(write, read(node.need("this")), read(node.need("expression")))


def _of_several(function: Callable[[Writer, list[Term]], Term]) -> Rule:
    return lambda write, node, read: function(write, [read(value) for value in (node.need("this"), *node.many())])


def _arithmetic(operator: str) -> Rule:
    return _of_two(lambda write, a, b: operators.arithmetic(write, operator, a, b))


def _comparison(operator: str) -> Rule:
    return _of_two(lambda write, a, b: operators.compare(write, operator, a, b))


def _function_of_one(name: str) -> Rule:
    return lambda write, node, read: operators.function(write, name, read(node.need("this")))


def _text_function(name: str) -> Rule:
    return lambda write, node, read: text_functions.text(write, name, read(node.need("this")))


def _least_greatest(name: str) -> Rule:
    return _of_several(lambda write, values: operators.least_greatest(write, name, values))


_INEXACT = (
    exp.Ln, exp.Log, exp.Exp, exp.Pow, exp.Sin, exp.Cos, exp.Tan, exp.Asin, exp.Acos, exp.Atan, exp.Atan2, exp.Tanh, exp.Cbrt,
    exp.Radians, exp.Degrees,
)  # fmt: skip
_CAST_TYPES: dict[str, Type] = {
    "FLOAT": "float", "DOUBLE": "float", "DECIMAL": "float", "INT": "int", "BIGINT": "int",
    "TEXT": "string", "VARCHAR": "string", "TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamp",
}  # fmt: skip
_RULES: dict[type[exp.Expr], Rule] = {
    exp.Neg: lambda write, node, read: operators.negative(write, read(node.need("this"))),
    exp.Add: _arithmetic("+"),
    exp.Sub: _arithmetic("-"),
    exp.Mul: _arithmetic("*"),
    exp.Div: _arithmetic("/"),
    exp.Mod: _arithmetic("%"),
    exp.EQ: _comparison("=="),
    exp.NEQ: _comparison("!="),
    exp.LT: _comparison("<"),
    exp.LTE: _comparison("<="),
    exp.GT: _comparison(">"),
    exp.GTE: _comparison(">="),
    exp.And: _of_two(operators.and_),
    exp.Or: _of_two(operators.or_),
    exp.Not: lambda write, node, read: operators.negation(write, read(node.need("this"))),
    exp.Is: _is,
    exp.In: _in,
    exp.Between: _between,
    exp.Case: _case,
    exp.If: _if,
    exp.Coalesce: _of_several(operators.coalesce),
    exp.Nullif: _of_two(operators.nullif),
    exp.Least: _least_greatest("least"),
    exp.Greatest: _least_greatest("greatest"),
    exp.Abs: _function_of_one("abs"),
    exp.Ln: _function_of_one("ln"),
    exp.Log: _log,
    exp.Exp: _function_of_one("exp"),
    exp.Sqrt: _function_of_one("sqrt"),
    exp.Sin: _function_of_one("sin"),
    exp.Cos: _function_of_one("cos"),
    exp.Floor: _function_of_one("floor"),
    exp.Ceil: _function_of_one("ceil"),
    exp.Cbrt: _function_of_one("cbrt"),
    exp.Tanh: _function_of_one("tanh"),
    exp.Tan: _function_of_one("tan"),
    exp.Asin: _function_of_one("asin"),
    exp.Acos: _function_of_one("acos"),
    exp.Atan: _function_of_one("atan"),
    exp.Atan2: _of_two(operators.angle),
    exp.Radians: _function_of_one("radians"),
    exp.Degrees: _function_of_one("degrees"),
    exp.Sign: _function_of_one("sign"),
    exp.Trunc: _function_of_one("trunc"),
    exp.Pi: lambda _write, _node, _read: operators.constant(math.pi),
    exp.Pow: _of_two(operators.power),
    exp.Round: _round,
    exp.Extract: _extract,
    exp.TimestampTrunc: _truncated,
    exp.AtTimeZone: _at_zone,
    exp.Left: _of_two(lambda write, a, n: text_functions.cut(write, "left", a, n)),
    exp.Right: _of_two(lambda write, a, n: text_functions.cut(write, "right", a, n)),
    exp.Substring: _substring,
    exp.Replace: lambda write, node, read: text_functions.replaced(
        write, read(node.need("this")), read(node.need("expression")), read(node.need("replacement"))
    ),
    exp.StartsWith: _of_two(text_functions.begins),
    exp.Like: _like,
    exp.Lower: _text_function("lower"),
    exp.Upper: _text_function("upper"),
    exp.Length: _text_function("length"),
    exp.Trim: _trim,
    exp.Concat: lambda write, node, read: text_functions.concat(write, [read(value) for value in node.many()], strict=False),
    exp.DPipe: _of_two(lambda write, a, b: text_functions.concat(write, [a, b], strict=True)),
    exp.Cast: _cast,
    exp.TryCast: _cast,
    **list_functions.RULES,
}
WHITELIST = (
    "+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">=", "and", "or", "not", "is null", "in", "between", "like", "case", "if", "coalesce",
    "nullif", "least", "greatest", "abs", "sign", "ln", "log10", "log2", "exp", "sqrt", "cbrt", "power", "mod", "pi", "floor", "ceil", "round",
    "trunc", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "tanh", "radians", "degrees", "extract", "date_trunc", "at time zone",
    "lower", "upper", "length", "trim", "left", "right", "substring", "replace", "starts_with", "concat", "||", "cast", "try_cast",
    "[]", "array_length", "array_sum", "array_min", "array_max", *list_functions.NAMED,
)  # fmt: skip
