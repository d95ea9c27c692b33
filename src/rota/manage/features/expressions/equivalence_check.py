"""The registration gate of an expression: its row form and its column form must agree, value for value."""

import itertools
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import polars as pl

from rota.errors import Refused
from rota.manage.features.expressions import compiler
from rota.manage.features.expressions.operators import DTYPES
from rota.records.data import Expression, text_of
from rota.records.schema import Type
from rota.records.value_types import decimal_type, domain, family, list_type
from rota.records.values import coerce

_MOST_EDGES = 2_000
_MOST_TEXTS = 20
_EDGES: dict[str, list[Any]] = {
    "float": [
        None,
        0.0,
        -0.0,
        math.nan,
        math.inf,
        -math.inf,
        -1.0,
        1.0,
        0.5,
        2.5,
        -2.5,
        0.1,
        0.3,
        0.6,
        7.0,
        1e-300,
        1e300,
        9.007199254740993e15,
        123.456,
    ],
    "int": [None, 0, -1, 1, 2, 5, -5, 1_000, 2**53 + 1, 2**63 - 1, -(2**63)],
    "bool": [None, True, False],
    "string": [
        None,
        "",
        " ",
        "a",
        "A b ",
        "ß",
        "İ",
        "ǰ",
        "\u1c89",
        "1",
        "-2.5",
        "+7",
        "1e400",
        "1_0",
        "nan",
        "it's",
        'quo"te',
        "new\nline",
        "日本語",
    ],
    "timestamp": [
        None,
        0,
        -1,
        1,
        2**63 - 1,
        -62_135_596_800_000_000,
        951_782_400_000_000,  # 2000-02-29, a leap day
        1_356_998_399_999_999,  # the last microsecond of 2012
        1_362_898_799_999_999,
        1_362_898_800_000_000,  # New York's clocks jump ahead on 10 March 2013
        1_364_691_599_999_999,
        1_364_691_600_000_000,  # Berlin's, on 31 March
        1_383_458_399_999_999,
        1_383_458_400_000_000,  # New York's fall back on 3 November
        1_365_256_800_000_000,  # Auckland's, on 7 April
    ],
}


def verify(expression: Expression, columns: Mapping[str, Type], sample: pl.DataFrame | None = None) -> int:
    """Compare both forms on the sampled rows and on an edge table; returns how many rows were compared.

    What is made of arithmetic, roundings and comparisons alone must agree to the last bit; logarithms and the like to 1e-9.

    Raises `Refused` with the first row on which they differ, `InvalidInput` for a text that is no expression.
    """
    compiler.check(expression, columns)
    used = {name: columns[name] for name in compiler.columns_of(expression, columns)}
    frames = [_edges(used)]
    if sample is not None and sample.height:
        frames.append(
            sample.select(pl.col(name).cast(DTYPES[kind]) for name, kind in used.items()) if used else sample.select(pl.lit(1).alias("row"))
        )
    rows = pl.concat(frames, how="vertical") if used else frames[0]
    offline = rows.select(compiler.column(expression, columns).alias("value"))["value"].to_list()
    compute = compiler.compile_values([expression], columns)
    exact = compiler.is_exact(expression)
    for row, expected in zip(rows.iter_rows(named=True), offline if len(offline) == rows.height else offline * rows.height, strict=True):
        (online,) = compute(row)
        if not (same(online, expected, relative=0.0, absolute=0.0) if exact else same(online, expected)):
            raise Refused(
                f"feature expression {text_of(expression)!r} is computed differently online and offline: "
                f"{online!r} against {expected!r} on the row {row}; "
                "write it another way, or compute it before the rows reach Rota",
                sql=text_of(expression),
                online=online,
                offline=expected,
            )
    return rows.height


def same(a: Any, b: Any, *, relative: float = 1e-9, absolute: float = 1e-12) -> bool:
    """Equal values; floats up to the last digits, in which mathematical libraries differ."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or math.isclose(a, b, rel_tol=relative, abs_tol=absolute) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


def _edges_of(kind: Type) -> list[Any]:
    """Edge values of a type."""
    match family(kind):
        case "list":
            return [None if values is None else coerce(kind, values) for values in _lists(kind)]
        case "category":
            return [None, *domain(kind)[:_MOST_TEXTS]]
        case "decimal":
            of = decimal_type(kind)
            digits = ("0", "1", "-1", "9" * of.precision, "-" + "9" * of.precision)
            return [None, *(Decimal(each).scaleb(-of.scale) for each in digits)]
        case "bytes":
            return [None, b"", b"a", bytes(range(256))]
        case "blob":
            return [None, "0" * 64, "f" * 64]
        case _:
            return _EDGES[kind]


def _lists(kind: Type) -> list[list[float] | None]:
    of = list_type(kind)
    numbers = [each for each in _EDGES[of.element] if each is not None and math.isfinite(each)]
    if of.length is None:
        return [None, [], [numbers[0]], numbers[:2], numbers, numbers[::-1]]
    turned = [list(itertools.islice(itertools.cycle(numbers[start:] + numbers[:start]), of.length)) for start in range(len(numbers))]
    return [None, [numbers[0]] * of.length, *turned]


def _edges(columns: Mapping[str, Type]) -> pl.DataFrame:
    """Combinations of edge values: all of them while they are few, else every value of each column beside shifting others."""
    choices = [_edges_of(kind) for kind in columns.values()]
    if not choices:
        return pl.DataFrame({"row": [1]})
    if math.prod(map(len, choices)) <= _MOST_EDGES:
        rows = list(itertools.product(*choices))
    else:
        rows = [tuple(values[(i * (1 + 2 * j) + i // len(values)) % len(values)] for j, values in enumerate(choices)) for i in range(_MOST_EDGES)]
    return pl.DataFrame(rows, schema={name: DTYPES[kind] for name, kind in columns.items()}, orient="row")
