"""Python column functions: the escape hatch where SQL is clumsy. One body, computed over columns by numpy and over a row by Python.

A function's parameters are columns of its row and `xp`, in which the functions of numpy's names stand; its body is assignments
and one return. What is kept of it is its source, so a stored definition can be computed anywhere; therefore the source may hold
nothing but arithmetic, comparisons, `&`, `|`, `~` and calls of `xp`, and each of them is checked before it is run.

Numbers arrive as floats (a timestamp as its microseconds), bools and texts as they are. A null in any column gives null; a
result that is nan is null. Division and power follow IEEE 754 in both forms.
"""

import ast
import builtins
import inspect
import math
import operator
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import operators, scalar_functions
from rota.manage.features.expressions.operators import Term, Writer
from rota.records.data import Feature, PythonExpression
from rota.records.schema import Type
from rota.records.value_types import family, sql_type

_LONGEST, _MOST_NODES = 10_000, 2_000
_RESULTS: Mapping[str, Type] = {"float": "float", "bool": "bool", "int": "int"}


@dataclass(frozen=True, slots=True)
class ColumnFunction:
    """A checked function: the columns that it reads, the type that it yields, and its two forms."""

    name: str
    inputs: tuple[str, ...]
    type: Type
    row: Callable[..., Any]
    columns: Callable[..., Any]


def transform(function: Callable[..., Any]) -> Feature:
    """A feature that is a Python function of columns.

    >>> import rota
    >>> @rota.transform                                       # doctest: +SKIP
    ... def ratio(amount, distance, xp) -> float:
    ...     return xp.where(distance > 0, xp.log(amount / distance), xp.nan)
    """
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise InvalidInput(f"the source of {function!r} cannot be read; define it with `def` in a file or a notebook cell") from error
    with _readable(text):
        definition = ast.parse(text).body[0]
        if not isinstance(definition, ast.FunctionDef):
            raise InvalidInput(f"{text.splitlines()[0]!r} is no function; write `def name(column, ..., xp) -> float:`")
        definition.decorator_list = []
        source = ast.unparse(definition)
    parsed(source)
    return Feature(PythonExpression(source))


@lru_cache(maxsize=4_096)
def parsed(text: str) -> ColumnFunction:
    """The function of a source text; raises `InvalidInput` naming the line and what may stand there."""
    if len(text) > _LONGEST:
        raise InvalidInput(f"a column function has {len(text)} characters; at most {_LONGEST} are read", length=len(text))
    with _readable(text):
        tree = ast.parse(text)
        if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
            raise InvalidInput("a column function's text must be one `def` and nothing else")
        definition = tree.body[0]
        _Check(definition).function()
        inputs = tuple(argument.arg for argument in definition.args.args if argument.arg != "xp")
        yields = _RESULTS[ast.unparse(definition.returns or definition)]
        bare = ast.unparse(ast.fix_missing_locations(_Bare().visit(definition)))
        return ColumnFunction(definition.name, inputs, yields, _made(bare, definition.name, _OF_ROWS), _made(bare, definition.name, _OF_COLUMNS))


@contextmanager
def _readable(text: str) -> Iterator[None]:
    """What Python itself cannot read, or only in more steps than it takes, is refused in words."""
    try:
        yield
    except RecursionError:
        name = text.strip().partition("(")[0].removeprefix("def ")[:60]
        raise InvalidInput(f"column function {name!r} is nested too deeply; divide its long expression among assignments", function=name) from None
    except (SyntaxError, ValueError, MemoryError) as error:
        raise InvalidInput(f"a column function is not Python: {error}") from None


def term(text: str, columns: Mapping[str, Type], write: Writer) -> Term:
    """Both forms of a column function as a term, as the SQL expressions have them."""
    function = parsed(text)
    absent = [name for name in function.inputs if name not in columns]
    if absent:
        raise InvalidInput(
            f"column function {function.name!r} reads {absent}, which are no columns; the columns are {sorted(columns)}", column=absent[0]
        )
    operands = [_operand(name, columns[name], write) for name in function.inputs]
    _probe(function, [sql_type(columns[name]) for name in function.inputs])
    called = write.function(text, lambda *values: function.row(*values, xp=_ROW))
    code = f"{called}({', '.join(operand.code for operand in operands)})"
    made = pl.map_batches(
        [operand.column for operand in operands], _over(function), return_dtype=pl.Boolean if function.type == "bool" else pl.Float64
    )
    if function.type == "bool":
        return write.strict("bool", f"True if {code} else False", made, operands)
    result = write.strict("float", f"float({code})", made, operands)
    return operators.cast(write, result, "int") if function.type == "int" else result


def _probe(function: ColumnFunction, kinds: Sequence[Type]) -> None:
    """Types that do not fit, such as a text in a sum, show on any row."""
    values = [{"string": "a", "bool": True}.get(kind, 1.5) for kind in kinds]
    try:
        function.row(*values, xp=_ROW)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InvalidInput(
            f"column function {function.name!r} cannot be computed over {dict(zip(function.inputs, kinds, strict=True))}: {error}",
            function=function.name,
        ) from None


def _operand(name: str, kind: Type, write: Writer) -> Term:
    found = write.column(name, kind)
    if family(found.type) in ("list", "bytes"):
        raise InvalidInput(
            f"a column function takes numbers, texts and bools; {name!r} is {kind}: write SQL over it, such as array_avg({name})", column=name
        )
    return found if found.type in ("bool", "string") else operators.cast(write, found, "float")


def _over(function: ColumnFunction) -> Callable[[Sequence[pl.Series]], pl.Series]:
    """The function over whole columns; where any of them is null, so is the result."""

    def over(columns: Sequence[pl.Series]) -> pl.Series:
        length = max((len(column) for column in columns), default=1)
        null = np.zeros(length, dtype=bool)
        arrays = []
        for column in columns:
            null |= column.is_null().to_numpy()
            blank: Any = {pl.String: "", pl.Boolean: False}.get(type(column.dtype), 0.0)
            arrays.append(column.fill_null(blank).to_numpy())
        with np.errstate(all="ignore"):
            found = np.broadcast_to(np.asarray(function.columns(*arrays, xp=_COLUMNS)), (length,))
        values = pl.Series(columns[0].name if columns else "", found.astype(bool if function.type == "bool" else np.float64))
        return values.to_frame("value").select(pl.when(~pl.Series(null)).then(pl.col("value")))["value"].alias(values.name)

    return over


def _made(source: str, name: str, namespace: Mapping[str, Any]) -> Callable[..., Any]:
    made: dict[str, Any] = {"__builtins__": {}, **namespace}
    exec(compile(source, "<column function>", "exec"), made)  # noqa: S102 - `_Check` has let nothing but arithmetic pass
    return cast("Callable[..., Any]", made[name])


class _Check:
    """What may stand in a column function; anything else is refused with its line."""

    def __init__(self, definition: ast.FunctionDef) -> None:
        self._definition = definition
        self._known = {argument.arg for argument in definition.args.args}

    def function(self) -> None:
        definition, arguments = self._definition, self._definition.args
        if sum(1 for _ in ast.walk(definition)) > _MOST_NODES:
            raise InvalidInput(f"column function {definition.name!r} is too large; split it into several features")
        extra = (arguments.posonlyargs, arguments.kwonlyargs, arguments.defaults, arguments.kw_defaults, arguments.vararg, arguments.kwarg)
        if any(extra) or definition.decorator_list or not arguments.args or arguments.args[-1].arg != "xp":
            raise self._refused(definition, "its parameters are columns and then `xp`, without defaults: `def name(amount, distance, xp) -> float:`")
        if not isinstance(definition.returns, ast.Name) or definition.returns.id not in _RESULTS:
            raise self._refused(definition, f"it needs the type that it yields: `-> {' or '.join(_RESULTS)}`")
        if len(arguments.args) < 2:
            raise self._refused(definition, "it reads no column")
        for name in (definition.name, *self._known):
            self._name(definition, name)
        *steps, last = definition.body
        if steps and isinstance(steps[0], ast.Expr) and isinstance(steps[0].value, ast.Constant) and isinstance(steps[0].value.value, str):
            steps = steps[1:]
        for step in steps:
            self._assignment(step)
        if not isinstance(last, ast.Return) or last.value is None:
            raise self._refused(last, "its last line is `return value`")
        self._expression(last.value)

    def _assignment(self, step: ast.stmt) -> None:
        if not isinstance(step, ast.Assign) or len(step.targets) != 1 or not isinstance(step.targets[0], ast.Name):
            raise self._refused(step, "its lines are assignments to a name and a return; write xp.where(condition, a, b) instead of `if`")
        self._name(step, step.targets[0].id)
        self._expression(step.value)
        self._known.add(step.targets[0].id)

    def _expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float | str | bool) or (isinstance(node.value, int) and abs(node.value) > 2**53):
                raise self._refused(node, "a constant is a number up to 2^53, a text or a truth")
        elif isinstance(node, ast.Name):
            if node.id == "xp" or node.id not in self._known:
                raise self._refused(node, f"{node.id!r} is neither a column nor a name given above")
        elif isinstance(node, ast.Attribute):
            self._member(node, _CONSTANTS)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, _OPERATORS):
            self._expression(node.left)
            self._expression(node.right)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd | ast.Invert):
            self._expression(node.operand)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], _COMPARISONS):
            self._expression(node.left)
            self._expression(node.comparators[0])
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.keywords:
            self._call(node, node.func)
        else:
            raise self._refused(
                node,
                f"{type(node).__name__} may not stand here: there are + - * / **, single comparisons, & | ~ (with brackets), and "
                f"xp.{', xp.'.join(sorted(_ARGUMENTS))}",
            )

    def _call(self, node: ast.Call, function: ast.Attribute) -> None:
        self._member(function, _ARGUMENTS)
        if len(node.args) != _ARGUMENTS[function.attr]:
            raise self._refused(node, f"xp.{function.attr} takes {_ARGUMENTS[function.attr]} arguments")
        for argument in node.args:
            self._expression(argument)

    def _member(self, node: ast.Attribute, members: Mapping[str, Any]) -> None:
        if not isinstance(node.value, ast.Name) or node.value.id != "xp" or node.attr not in members:
            raise self._refused(node, f"{ast.unparse(node)} is unknown; there are xp.{', xp.'.join(sorted(members))}")

    def _name(self, node: ast.AST, name: str) -> None:
        if name.startswith("_") or hasattr(builtins, name):
            raise self._refused(node, f"the name {name!r} is taken; choose another")

    def _refused(self, node: ast.AST, why: str) -> InvalidInput:
        line = getattr(node, "lineno", 1)
        return InvalidInput(f"column function {self._definition.name!r}, line {line}: {why}", function=self._definition.name, line=line)


class _Bare(ast.NodeTransformer):
    """Without annotations and docstring, which are not run, and with functions in place of the operators that Python and numpy answer differently."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        if isinstance(node.body[0], ast.Expr):
            node.body = node.body[1:]
        self.generic_visit(node)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(float(node.value)) if type(node.value) is int else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        name = {ast.Div: "divide", ast.Pow: "power"}.get(type(node.op))
        return ast.Call(ast.Name(name, ast.Load()), [node.left, node.right], []) if name else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("negate", ast.Load()), [node.operand], []) if isinstance(node.op, ast.Invert) else node


def _clip(value: float, low: float, high: float) -> float:
    return _least(_greatest(value, low), high)


def _least(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else min(a, b)


def _greatest(a: float, b: float) -> float:
    return math.nan if math.isnan(a) or math.isnan(b) else max(a, b)


_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.BitAnd, ast.BitOr)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_CONSTANTS = {"pi": math.pi, "e": math.e, "nan": math.nan, "inf": math.inf}
_FORMS: Mapping[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "where": (3, lambda condition, yes, no: yes if condition else no, np.where),
    "abs": (1, abs, np.abs),
    "sign": (1, scalar_functions.sign, np.sign),
    "exp": (1, scalar_functions.exp, np.exp),
    "log": (1, scalar_functions.ln, np.log),
    "log2": (1, scalar_functions.log2, np.log2),
    "log10": (1, scalar_functions.log10, np.log10),
    "sqrt": (1, scalar_functions.sqrt, np.sqrt),
    "cbrt": (1, math.cbrt, np.cbrt),
    "power": (2, scalar_functions.power, np.power),
    "sin": (1, scalar_functions.sin, np.sin),
    "cos": (1, scalar_functions.cos, np.cos),
    "tan": (1, scalar_functions.tan, np.tan),
    "tanh": (1, math.tanh, np.tanh),
    "arcsin": (1, scalar_functions.asin, np.arcsin),
    "arccos": (1, scalar_functions.acos, np.arccos),
    "arctan": (1, math.atan, np.arctan),
    "arctan2": (2, math.atan2, np.arctan2),
    "hypot": (2, math.hypot, np.hypot),
    "radians": (1, math.radians, np.radians),
    "degrees": (1, math.degrees, np.degrees),
    "floor": (1, scalar_functions.floor, np.floor),
    "ceil": (1, scalar_functions.ceil, np.ceil),
    "trunc": (1, scalar_functions.trunc, np.trunc),
    "fmod": (2, scalar_functions.remainder, np.fmod),
    "minimum": (2, _least, np.minimum),
    "maximum": (2, _greatest, np.maximum),
    "clip": (3, _clip, np.clip),
    "isnan": (1, math.isnan, np.isnan),
    "isfinite": (1, math.isfinite, np.isfinite),
}
_ARGUMENTS = {name: arguments for name, (arguments, _, _) in _FORMS.items()}
_ROW = SimpleNamespace(**_CONSTANTS, **{name: row for name, (_, row, _) in _FORMS.items()})
_COLUMNS = SimpleNamespace(**_CONSTANTS, **{name: columns for name, (_, _, columns) in _FORMS.items()})
_OF_ROWS = {"divide": scalar_functions.divide, "power": scalar_functions.power, "negate": operator.not_}
_OF_COLUMNS = {"divide": np.divide, "power": np.power, "negate": np.logical_not}
