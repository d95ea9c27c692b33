"""Feature expressions: scalar SQL read once into a tree of whitelisted nodes, and from there into row code and column expressions.

No part of a SQL text reaches the generated Python except numbers, quoted texts and column names, each written by `repr`.
`rota.manage.features.expressions.operators` has the table of what each operation answers.
"""

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import polars as pl
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from rota.errors import InvalidInput
from rota.manage.features.expressions import operators, python_functions, scalar_functions, text_functions, time_functions
from rota.manage.features.expressions.operators import Term, Writer
from rota.records.data import Expression, PythonExpression
from rota.records.schema import Type

Row = Mapping[str, Any]
_LONGEST = 10_000  # characters of one SQL text
_MOST_KEPT = 2_048  # compiled expressions and row functions of a process: more than a feature repository has in use at a time
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
    made = term.column.cast(pl.Float64) if term.type == "null" else term.column
    if kind == "float":
        made = made.map_batches(_nan_is_null, return_dtype=pl.Float64, is_elementwise=True)
    return Compiled(_columns_read(expression), kind, made)


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
    exec(compile(f"def features(row):\n    {body}\n", "<feature expressions>", "exec"), namespace)  # noqa: S102 - only whitelisted nodes are in it
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

    rule = _RULES.get(type(node))
    if rule is None:
        name = node.name if isinstance(node, exp.Anonymous) else node.sql_name() if isinstance(node, exp.Func) else type(node).__name__
        near = difflib.get_close_matches(name.lower(), WHITELIST, n=1, cutoff=0.75)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise InvalidInput(f"{name.lower()} is unknown{meant}; there are: {', '.join(WHITELIST)}", function=name)
    return rule(write, node, read)


def _column(node: exp.Column, columns: Mapping[str, Type], write: Writer) -> Term:
    if node.table or node.name not in columns:
        written = ".".join(part.name for part in node.parts)
        raise InvalidInput(f"there is no column {written!r}; the columns are {sorted(columns)}", column=written)
    return write.column(node.name, columns[node.name])


Read = Callable[[exp.Expr | None], Term]
Rule = Callable[[Writer, Any, Read], Term]


def _constant(node: exp.Literal | exp.Boolean | exp.Null) -> Term:
    if not isinstance(node, exp.Literal):
        return operators.constant(bool(node.this) if isinstance(node, exp.Boolean) else None)
    if node.is_string:
        return operators.constant(_text(node.name))
    return operators.constant(int(node.name) if node.name.isdecimal() else float(node.name))


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("a text of the expression is not valid Unicode") from None
    return value


def _is(write: Writer, node: exp.Is, read: Read) -> Term:
    value = read(node.this)
    if isinstance(node.expression, exp.Null):
        made = operators.is_null(write, value)
    elif isinstance(node.expression, exp.Boolean):
        made = operators.is_truth(write, value, truth=bool(node.expression.this))
    else:
        raise InvalidInput("IS takes NULL, TRUE or FALSE")
    return operators.negation(write, made) if node.args.get("negate") else made


def _in(write: Writer, node: exp.In, read: Read) -> Term:
    if not node.expressions or node.args.get("query"):
        raise InvalidInput("IN takes a list of literals, not a query")
    return operators.one_of(write, read(node.this), [read(option) for option in node.expressions])


def _between(write: Writer, node: exp.Between, read: Read) -> Term:
    value = read(node.this)
    return operators.and_(
        write, operators.compare(write, ">=", value, read(node.args["low"])), operators.compare(write, "<=", value, read(node.args["high"]))
    )


def _case(write: Writer, node: exp.Case, read: Read) -> Term:
    branches = node.args["ifs"]
    subject = read(node.this) if node.this is not None else None
    conditions = [read(branch.this) if subject is None else operators.compare(write, "==", subject, read(branch.this)) for branch in branches]
    return operators.choose(write, conditions, [read(branch.args["true"]) for branch in branches], read(node.args.get("default")))


def _log(write: Writer, node: exp.Log, read: Read) -> Term:
    base, value = (node.this, node.expression) if node.expression is not None else (None, node.this)
    if base is not None and base.name not in ("2", "10"):
        raise InvalidInput("logarithms are ln(x), log10(x) and log2(x); write ln(x) / ln(base) for another base")
    return operators.function(write, "log2" if base is not None and base.name == "2" else "log10", read(value))


def _trim(write: Writer, node: exp.Trim, read: Read) -> Term:
    if node.args.get("position") or node.expression is not None:
        raise InvalidInput("trim(text) removes spaces from both ends and takes nothing else")
    return text_functions.text(write, "trim", read(node.this))


def _extract(write: Writer, node: exp.Extract, read: Read) -> Term:
    return time_functions.part(write, node.name.lower(), read(node.expression))


def _truncated(write: Writer, node: exp.TimestampTrunc, read: Read) -> Term:
    return time_functions.truncated(write, node.args["unit"].name.lower(), read(node.this))


def _at_zone(write: Writer, node: exp.AtTimeZone, read: Read) -> Term:
    zone = node.args["zone"]
    if not isinstance(zone, exp.Literal) or not zone.is_string:
        raise InvalidInput("AT TIME ZONE takes a literal name, for example 'America/New_York'")
    return time_functions.at_zone(write, read(node.this), zone.name)


def _substring(write: Writer, node: exp.Substring, read: Read) -> Term:
    places = [read(place) for place in (node.args.get("start"), node.args.get("length")) if place is not None]
    return text_functions.cut(write, "substring", read(node.this), *places)


def _cast(write: Writer, node: exp.Cast, read: Read) -> Term:
    name = node.to.this.name
    if name not in _CAST_TYPES:
        raise InvalidInput(f"a cast to {name.lower()} does not exist; casts lead to float, int or text")
    return operators.cast(write, read(node.this), _CAST_TYPES[name])


def _arithmetic(operator: str) -> Rule:
    return lambda write, node, read: operators.arithmetic(write, operator, read(node.this), read(node.expression))


def _comparison(operator: str) -> Rule:
    return lambda write, node, read: operators.compare(write, operator, read(node.this), read(node.expression))


def _function_of_one(name: str) -> Rule:
    return lambda write, node, read: operators.function(write, name, read(node.this))


def _text_function(name: str) -> Rule:
    return lambda write, node, read: text_functions.text(write, name, read(node.this))


def _least_greatest(name: str) -> Rule:
    return lambda write, node, read: operators.least_greatest(write, name, [read(value) for value in (node.this, *node.expressions)])


_CAST_TYPES: dict[str, Type] = {
    "FLOAT": "float", "DOUBLE": "float", "DECIMAL": "float", "INT": "int", "BIGINT": "int",
    "TEXT": "string", "VARCHAR": "string", "TIMESTAMP": "timestamp", "TIMESTAMPTZ": "timestamp",
}  # fmt: skip
_RULES: dict[type[exp.Expr], Rule] = {
    exp.Neg: lambda write, node, read: operators.negative(write, read(node.this)),
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
    exp.And: lambda write, node, read: operators.and_(write, read(node.this), read(node.expression)),
    exp.Or: lambda write, node, read: operators.or_(write, read(node.this), read(node.expression)),
    exp.Not: lambda write, node, read: operators.negation(write, read(node.this)),
    exp.Is: _is,
    exp.In: _in,
    exp.Between: _between,
    exp.Case: _case,
    exp.If: lambda write, node, read: operators.choose(write, [read(node.this)], [read(node.args["true"])], read(node.args.get("false"))),
    exp.Coalesce: lambda write, node, read: operators.coalesce(write, [read(value) for value in (node.this, *node.expressions)]),
    exp.Nullif: lambda write, node, read: operators.nullif(write, read(node.this), read(node.expression)),
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
    exp.Atan2: lambda write, node, read: operators.angle(write, read(node.this), read(node.expression)),
    exp.Radians: _function_of_one("radians"),
    exp.Degrees: _function_of_one("degrees"),
    exp.Sign: _function_of_one("sign"),
    exp.Trunc: _function_of_one("trunc"),
    exp.Pi: lambda _write, _node, _read: operators.constant(math.pi),
    exp.Pow: lambda write, node, read: operators.power(write, read(node.this), read(node.expression)),
    exp.Round: lambda write, node, read: operators.rounded(
        write, read(node.this), read(node.args["decimals"]) if node.args.get("decimals") else None
    ),
    exp.Extract: _extract,
    exp.TimestampTrunc: _truncated,
    exp.AtTimeZone: _at_zone,
    exp.Left: lambda write, node, read: text_functions.cut(write, "left", read(node.this), read(node.expression)),
    exp.Right: lambda write, node, read: text_functions.cut(write, "right", read(node.this), read(node.expression)),
    exp.Substring: _substring,
    exp.Replace: lambda write, node, read: text_functions.replaced(write, read(node.this), read(node.expression), read(node.args["replacement"])),
    exp.StartsWith: lambda write, node, read: text_functions.begins(write, read(node.this), read(node.expression)),
    exp.Like: lambda write, node, read: text_functions.like(write, read(node.this), read(node.expression)),
    exp.Lower: _text_function("lower"),
    exp.Upper: _text_function("upper"),
    exp.Length: _text_function("length"),
    exp.Trim: _trim,
    exp.Concat: lambda write, node, read: text_functions.concat(write, [read(value) for value in node.expressions], strict=False),
    exp.DPipe: lambda write, node, read: text_functions.concat(write, [read(node.this), read(node.expression)], strict=True),
    exp.Cast: _cast,
    exp.TryCast: _cast,
}
WHITELIST = (
    "+", "-", "*", "/", "%", "=", "<>", "<", "<=", ">", ">=", "and", "or", "not", "is null", "in", "between", "like", "case", "if", "coalesce",
    "nullif", "least", "greatest", "abs", "sign", "ln", "log10", "log2", "exp", "sqrt", "cbrt", "power", "mod", "pi", "floor", "ceil", "round",
    "trunc", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "tanh", "radians", "degrees", "extract", "date_trunc", "at time zone",
    "lower", "upper", "length", "trim", "left", "right", "substring", "replace", "starts_with", "concat", "||", "cast", "try_cast",
)  # fmt: skip
