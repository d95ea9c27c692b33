"""Feature SQL against a third engine: where both speak the same SQL, DuckDB's answer is the oracle for the row form and the column form.

The registration gate compares our two forms with each other; a fault that both share is seen only here. Where Rota differs from DuckDB
on purpose, the text stands in DIFFERENT with the reason, and in the table of docs/features.md.
"""

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from sqlglot import exp

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler
from rota.manage.features.expressions.operators import DTYPES, Writer
from rota.manage.features.expressions.syntax import _DIALECT_MARKS
from rota.records.schema import Type

duckdb = pytest.importorskip("duckdb", reason="pip install duckdb")

COLUMNS: Mapping[str, Type] = {
    "f": "float", "g": "float", "i": "int", "j": "int", "b": "bool", "c": "bool", "s": "string", "t": "string", "u": "timestamp",
}  # fmt: skip
SQL_TYPES = {"float": "DOUBLE", "int": "BIGINT", "bool": "BOOLEAN", "string": "VARCHAR", "timestamp": "TIMESTAMP"}
VALUES: Mapping[str, Sequence[Any]] = {
    "float": [None, 0.0, 0.1, 0.3, -0.6, 7.0, 2.5, -2.5, 20.5, -1e15, 123.456],
    "int": [None, 0, 1, -1, 3, -7, 10, 2**53 + 1, 2**63 - 1],
    "bool": [None, True, False],
    "string": [None, "", "a", "ab", "A b", "Aß", " a ", "a%b", "x_y", "12", "-2.5"],
    "timestamp": [None, 0, 951_782_400_000_000, 1_356_998_399_999_999, 1_362_898_799_999_999, 1_383_458_400_000_001],
}
SAME = [
    *[f"{a} {op} {b}" for op in ("+", "-", "*") for a, b in (("f", "g"), ("i", "j"), ("f", "i"), ("f", "10"), ("3", "f"), ("i", "2"))],
    *[f"{a} / {b}" for a, b in (("f", "10"), ("f", "3"), ("f", "0.1"), ("f", "g"), ("i", "j"), ("i", "7"), ("1", "f"), ("f", "(2 + 1)"))],
    *[f"{a} % {b}" for a, b in (("i", "3"), ("i", "j"), ("f", "0.3"), ("f", "10"), ("10.5", "g"))],
    "mod(i, 3)", "mod(f, 3)", "i % 0", "f % 0.0",
    *[f"{a} {op} {b}" for op in ("=", "<>", "<", "<=", ">", ">=") for a, b in (("f", "g"), ("i", "j"), ("f", "i"), ("s", "t"), ("s", "'a'"))],
    *[f"s {negated}like '{pattern}'" for negated in ("", "not ") for pattern in ("a%", "%b", "_", "%", "a_%", "A b", "", "%a%")],
    "not s like 'a%'", "not (s not like 'a%')", "s in ('a', 'ab')", "s not in ('a', 'ab')", "i in (1, 3)", "i not in (1, 3)", "not i in (1)",
    "f between -1 and 3", "f not between -1 and 3", "not f between -1 and 3", "i between j and 10", "s between 'a' and 'b'",
    "b and c", "b or c", "not b", "not (b and c)", "b and not c", "b is null", "b is not null", "b is true", "b is not true", "b is false",
    "b is not false", "f is null", "f is not null", "not f is null",
    "case when f > 1 then 'x' when b then 'y' else s end", "case when f > 1 then i end", "case i when 1 then 'one' when 3 then 'three' end",
    "case s when 'a' then 1 else i end", "case when f > 1 then 1 else 2.5 end", "coalesce(f, g)", "coalesce(f, i, 1)", "coalesce(s, t, 'none')",
    "nullif(i, 1)", "nullif(s, 'a')", "nullif(f, 0)", "least(f, g)", "greatest(f, g)", "least(i, j)", "greatest(i, j, 2)", "least(f, i)",
    "least(s, t)", "greatest(s, 'b')",
    "abs(f)", "abs(i)", "-f", "-i", "- (f - g)", "sign(f)", "floor(f)", "ceil(f)", "ceiling(f)", "trunc(f)", "round(f)", "floor(f / 0.1)",
    "floor(i / 7)", "exp(f / 100)", "ln(abs(f) + 1)", "log10(abs(f) + 1)", "log2(abs(f) + 1)", "sqrt(abs(f))", "cbrt(f)", "power(f, 2)",
    "power(abs(f), 0.5)", "pi() * f", "sin(f)", "cos(f)", "tan(g)", "atan(f)", "atan2(f, g)", "asin(f / 1e16)", "acos(f / 1e16)",
    "radians(f)", "degrees(f)",
    "lower(s)", "round(f, 1)", "round(f, 2)", "length(s)", "char_length(s)", "trim(s)", "left(s, 1)", "left(s, 0)", "right(s, 1)", "right(s, 2)",
    "substring(s, 1, 2)", "substring(s, 2)", "substring(s from 2 for 1)", "substr(s, 1, 1)", "replace(s, 'a', 'z')", "replace(s, 'ab', '')",
    "starts_with(s, 'a')", "starts_with(s, '')", "concat(s, t)", "concat(s, '-', t)", "s || t", "s || '-' || t",
    *[f"extract({part} from u)" for part in ("year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "hour", "minute", "epoch")],
    *[f"date_trunc('{unit}', u)" for unit in ("second", "minute", "hour", "day", "week", "month", "quarter", "year")],
    "date_part('hour', u)", "u > timestamp '2013-01-01 00:00:00'", "u between timestamp '2000-01-01 00:00:00' and timestamp '2013-01-01 00:00:00'",
    "cast(i as float)", "cast(b as int)", "cast(i as text)", "cast(b as text)", "i::text", "try_cast(s as double)",
    "try_cast(replace(s, '.', 'x') as bigint)",
]  # fmt: skip
DIFFERENT: Mapping[str, str] = {
    "cast(f as int)": "half away from zero; DuckDB rounds half to even",
    "extract(second from u)": "with its fraction; DuckDB gives whole seconds",
    "left(s, -1)": "refused; in PostgreSQL all but the last character",
    "upper(s)": "Unicode's full mapping, as Python has it: 'ß' becomes 'SS'",
    "try_cast(s as bigint)": "null for '-2.5': the text of an int is digits",
}
REFUSED = [
    "trunc(1.29, 1)", "floor(f, 1)", "ceil(f, 1)", "round(f, 2, 1)", "left(s, 1, 2)", "length(s, 'x')", "date_trunc('day', u, 'America/New_York')",
    "i between symmetric 3 and 1", "cast(1.239 as decimal(10, 2))", "cast(s as varchar(3))", "f::numeric(10)", "replace(s, 'a')", "replace(s)",
    "s like 'a!%' escape '!'", "trim(both 'x' from s)", "trim(leading from s)", "abs(distinct f)", "lower(s collate \"C\")",
    "extract(hour from u, 1)", "floor(f to day)", "substring(s)", "left(s)", "nullif(i)", "power(f)", "atan2(f)",
    "case when b then 1 else 2 end over ()",
    "i in (select 1)", "i = any(array[1])", "coalesce(f, g) filter (where b)", "s similar to 'a'", "starts_with(s)", "log(3, f)", "count(f)",
]  # fmt: skip


def rows_of(sql: str, *, most: int = 150) -> pl.DataFrame:
    """Every combination of values of the columns that the text reads, or an even sample of them."""
    used = compiler.columns_of(sql, COLUMNS)
    combined = list(itertools.product(*(VALUES[COLUMNS[name]] for name in used))) if used else [()]
    chosen = combined if len(combined) <= most else random.Random(0).sample(combined, most)
    whole = {name: [row[used.index(name)] if name in used else None for row in chosen] for name in COLUMNS}
    return pl.DataFrame(whole, schema={name: DTYPES[kind] for name, kind in COLUMNS.items()})


def of_duckdb(tried: str, rows: pl.DataFrame) -> list[Any]:
    """DuckDB's answers. TRY(...) in the text makes an error null, as overflow is with us."""
    with duckdb.connect() as connection:
        declared = ", ".join(f"{name} {SQL_TYPES[kind]}" for name, kind in COLUMNS.items())
        connection.execute(f"CREATE TABLE rows (n INT, {declared})")
        values = [
            (n, *(_moment(value) if COLUMNS[name] == "timestamp" else value for name, value in row.items())) for n, row in enumerate(rows.to_dicts())
        ]
        connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * (len(COLUMNS) + 1))})", values)
        found = connection.execute(f"SELECT {tried} FROM rows ORDER BY n").fetchall()
    return [value for (value,) in found]


def _moment(at_us: int | None) -> datetime | None:
    return None if at_us is None else datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(tzinfo=None, microsecond=at_us % 1_000_000)


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        whole = value.replace(tzinfo=UTC)
        return int(whole.timestamp()) * 1_000_000 + whole.microsecond
    if is_nan(value):
        return None  # a feature that ends as nan is null
    return value


def close(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None or isinstance(ours, str | bool) or isinstance(theirs, str | bool):
        return ours is theirs or (type(ours) is type(theirs) and ours == theirs)
    if math.isinf(ours) or math.isinf(theirs):
        return float(ours) == float(theirs)
    return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12)


def check(sql: str, rows: pl.DataFrame, *, tried: str = "") -> None:
    expected = [_plain(value) for value in of_duckdb(tried or f"TRY({sql})", rows)]
    offline = rows.select(compiler.column(sql, COLUMNS).alias("value"))["value"]
    offline = offline.to_list() if len(offline) == rows.height else offline.to_list() * rows.height
    online = [compiler.compile_values([sql], COLUMNS)(row)[0] for row in rows.to_dicts()]
    for row, right, column, single in zip(rows.to_dicts(), expected, offline, online, strict=True):
        shown = (
            f"{sql} on { ({name: row[name] for name in compiler.columns_of(sql, COLUMNS)}) }: DuckDB {right!r}, columns {column!r}, row {single!r}"
        )
        assert close(column, right), shown
        assert close(single, right), shown


@pytest.mark.parametrize("sql", SAME)
def test_both_forms_answer_as_duckdb_does(sql: str) -> None:
    check(sql, rows_of(sql))


@pytest.mark.parametrize("sql", REFUSED)
def test_an_argument_that_is_not_read_or_is_absent_is_refused(sql: str) -> None:
    with pytest.raises(InvalidInput):
        compiler.check(sql, COLUMNS)


def test_no_argument_that_the_parser_knows_is_ignored() -> None:
    """Every optional argument of every node that may stand in a feature expression is set in turn: it changes the meaning or is refused."""
    ignored = set()
    for sql in SAME:
        for place, node in enumerate(compiler._parse(sql).walk()):
            for name in node.arg_types:
                tree = compiler._parse(sql)
                twin = next(itertools.islice(tree.walk(), place, None))
                if name == "this" or twin.args.get(name) or name in _DIALECT_MARKS.get(type(node), ()):
                    continue
                word = exp.Literal.string("x")
                twin.set(name, True if name in FLAGS else [word] if name == "expressions" else word)
                if meaning(tree) == meaning(compiler._parse(sql)):
                    ignored.add(f"{type(node).__name__}.{name}")
    assert ignored == set()


FLAGS = {"negate", "symmetric", "safe", "distinct", "nested"}


def meaning(tree: Any) -> Any:
    """The lines that a tree is compiled into, or the refusal."""
    write = Writer(strict=True)
    try:
        term = compiler._term(tree, COLUMNS, write, 0)
    except InvalidInput as error:
        return str(error)
    return write.lines, term.code, term.type


def test_what_an_earlier_release_stored_is_still_compiled() -> None:
    assert compiler.type_of("cast(f as decimal(5, 2))", COLUMNS) == "float"
    assert compiler.compile_values(["trunc(f, 1)"], COLUMNS)({"f": 1.29}) == (1.0,)


@pytest.mark.parametrize("sql", DIFFERENT)
def test_what_differs_from_duckdb_on_purpose_still_does(sql: str) -> None:
    with pytest.raises((AssertionError, InvalidInput)):
        check(sql, rows_of(sql))


@pytest.mark.slow
def test_random_expressions_answer_as_duckdb_does() -> None:
    """A fixed budget of random trees over the texts above; a difference prints the text, the row and the three answers."""
    pick = random.Random(20261130)
    numeric = [sql for sql in SAME if compiler.type_of(sql, COLUMNS) in ("float", "int") and not re.search("exp|cast|% 0", sql)]
    numeric = [sql for sql in numeric if not any(is_nan(value) for value in of_duckdb(f"TRY({sql})", rows_of(sql)))]
    truths = [sql for sql in SAME if compiler.type_of(sql, COLUMNS) == "bool"]
    shapes = ["({a}) + ({b})", "case when {c} then {a} else {b} end", "coalesce({a}, {b})", "least({a}, {b})", "({a}) * 0.5", "({a}) >= ({b})"]
    for _ in range(600):
        shape, parts = pick.choice(shapes), {"a": pick.choice(numeric), "b": pick.choice(numeric), "c": pick.choice(truths)}
        sql = shape.format(**parts)
        check(sql, rows_of(sql, most=60), tried=f"TRY({shape.format(**{name: f'TRY({part})' for name, part in parts.items()})})")
