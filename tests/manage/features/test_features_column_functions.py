"""Python column functions: one body, the same over a row and over columns, and nothing in it but arithmetic."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rota
from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler, equivalence_check, python_functions
from rota.records.data import PythonExpression
from rota.records.schema import Type

COLUMNS: dict[str, Type] = {"amount": "float", "distance": "float", "seats": "int", "weekend": "bool", "carrier": "string", "at": "timestamp"}


@rota.transform
def ratio(amount: float, distance: float, xp) -> float:
    """Cost of a mile, logarithmic."""
    rate = amount / distance
    return xp.where((distance > 0) & (rate > 0), xp.log(rate), xp.nan)


@rota.transform
def weekend_aa(carrier, weekend, xp) -> bool:
    return (carrier == "AA") & ~weekend | (carrier == "UA")


@rota.transform
def half_full(seats, xp) -> int:
    return seats / 2


def test_the_feature_holds_the_source_without_decorator_and_reads_its_parameters() -> None:
    assert isinstance(ratio, rota.Feature)
    assert ratio.text.startswith("def ratio(amount: float, distance: float, xp) -> float:")
    assert "@" not in ratio.text
    assert compiler.columns_of(ratio.expression, COLUMNS) == ["amount", "distance"]
    assert [compiler.type_of(feature.expression, COLUMNS) for feature in (ratio, weekend_aa, half_full)] == ["float", "bool", "int"]


def test_row_and_column_compute_the_same_values_with_nulls_where_any_input_is_null() -> None:
    rows = [
        {"amount": math.e * 2, "distance": 2.0, "seats": 5, "weekend": False, "carrier": "AA"},
        {"amount": 1.0, "distance": 0.0, "seats": None, "weekend": None, "carrier": "UA"},
        {"amount": None, "distance": 1.0, "seats": -3, "weekend": True, "carrier": "UA"},
        {"amount": -1.0, "distance": 1.0, "seats": 2**53, "weekend": True, "carrier": None},
    ]
    features = {"ratio": ratio.expression, "aa": weekend_aa.expression, "half": half_full.expression, "plain": "amount + 1"}
    compute = compiler.compile_values(list(features.values()), COLUMNS)
    online = [dict(zip(features, compute(row), strict=True)) for row in rows]
    frame = pl.DataFrame(rows, schema_overrides={"seats": pl.Int64, "weekend": pl.Boolean})
    offline = frame.select(compiler.column(sql, COLUMNS).alias(name) for name, sql in features.items()).to_dicts()
    assert online == offline
    assert [row["ratio"] for row in online] == [1.0, None, None, None]
    assert [row["aa"] for row in online] == [True, None, True, None]
    assert [row["half"] for row in online] == [3, None, -2, 2**52]


@pytest.mark.parametrize("feature", [ratio, weekend_aa, half_full], ids=["float", "bool", "int"])
def test_the_gate_holds_both_forms_against_the_edge_table(feature: rota.Feature) -> None:
    assert equivalence_check.verify(feature.expression, COLUMNS) > 10


def test_every_function_of_xp_passes_the_gate() -> None:
    columns: dict[str, Type] = {"x": "float", "y": "float", "z": "float"}
    for name, arguments in python_functions._ARGUMENTS.items():
        inputs = list(columns)[:arguments]
        condition = [f"{inputs[0]} > 0", *inputs[1:]] if name == "where" else inputs
        yields = "bool" if name.startswith("is") else "float"
        source = f"def f({', '.join(inputs)}, xp) -> {yields}:\n    return xp.{name}({', '.join(condition)})"
        assert equivalence_check.verify(PythonExpression(source), columns)


def test_a_view_with_a_column_function_is_keyed_by_its_source() -> None:
    """The text is what the online rows follow from, so a changed body is another definition."""
    assert ratio.expression != python_functions.transform(other_ratio).expression


def other_ratio(amount, distance, xp) -> float:
    return amount / distance


@pytest.mark.parametrize(
    ("body", "line", "reason"),
    [
        ("return open('/etc/passwd')", 2, "Call may not stand here"),
        ("return x.__class__", 2, "x.__class__ is unknown"),
        ("return xp.__dict__", 2, "xp.__dict__ is unknown"),
        ("return xp.load(x)", 2, "xp.load is unknown"),
        ("return xp.where(x > 0, x)", 2, "takes 3 arguments"),
        ("return xp", 2, "'xp' is neither a column"),
        ("return other + x", 2, "'other' is neither a column"),
        ("return [x for x in ()]", 2, "ListComp may not stand here"),
        ("return x if x > 0 else 1", 2, "IfExp may not stand here"),
        ("return 0 < x < 1", 2, "Compare may not stand here"),
        ("return (lambda: x)()", 2, "Call may not stand here"),
        ("return 99999999999999999999 + x", 2, r"up to 2\^53"),
        ("y = x\n    if y > 0:\n        return y\n    return x", 3, r"xp\.where"),
        ("import os\n    return x", 2, "assignments"),
        ("__import__ = x\n    return x", 2, "is taken"),
        ("y = x", 2, "its last line is `return value`"),
        ("return x @ x", 2, "BinOp may not stand here"),
    ],
)
def test_what_is_not_arithmetic_is_refused_with_its_line(body: str, line: int, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        python_functions.parsed(f"def f(x, xp) -> float:\n    {body}")
    assert refused.value.facts["line"] == line


@pytest.mark.parametrize(
    "head", ["def f(x, xp):", "def f(xp) -> float:", "def f(x) -> float:", "def f(x, y=1, *, xp) -> float:", "def f(x, xp) -> list:"]
)
def test_a_signature_that_says_too_little_is_refused(head: str) -> None:
    with pytest.raises(InvalidInput, match="column function 'f', line 1"):
        python_functions.parsed(f"{head}\n    return x")


def test_deep_huge_and_explosive_sources_end_in_an_error_or_a_number() -> None:
    for text in ("x" + " + x" * 3_000, "-" * 5_000 + "x", "(" * 400 + "x" + ")" * 400):
        with pytest.raises(InvalidInput):
            python_functions.parsed(f"def f(x, xp) -> float:\n    return {text}")
    function = python_functions.parsed("def f(x, xp) -> float:\n    return x + 9 ** 9 ** 9 ** 9")
    assert function.row(1.0, xp=python_functions._ROW) == math.inf
    with np.errstate(over="ignore"):
        assert function.columns(np.array([1.0]), xp=python_functions._COLUMNS)[0] == math.inf


def test_types_that_do_not_fit_and_columns_that_are_not_there_are_named() -> None:
    with pytest.raises(InvalidInput, match="cannot be computed over"):
        compiler.type_of(PythonExpression("def f(carrier, xp) -> float:\n    return carrier + 1"), COLUMNS)
    with pytest.raises(InvalidInput, match=r"reads \['speed'\], which are no columns"):
        compiler.type_of(PythonExpression("def f(speed, xp) -> float:\n    return speed + 1"), COLUMNS)


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, width=64), st.sampled_from([0.0, -0.0, math.inf, -math.inf]))
TEXTS = st.recursive(
    st.sampled_from(["x", "y", "2", "0.5", "xp.pi", "-1"]),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/"]), inner),
        st.builds("xp.{}({})".format, st.sampled_from(["abs", "floor", "sqrt", "exp", "log", "arctan", "sign"]), inner),
        st.builds("xp.{}({}, {})".format, st.sampled_from(["minimum", "maximum", "arctan2"]), inner, inner),
        st.builds("xp.where({} {} {}, {}, {})".format, inner, st.sampled_from(["<", ">=", "==", "!="]), inner, inner, inner),
    ),
    max_leaves=8,
)


@given(text=TEXTS, rows=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6))
def test_any_function_means_the_same_online_and_offline(text: str, rows: list[tuple[float | None, float | None]]) -> None:
    source = PythonExpression(f"def f(x, y, xp) -> float:\n    return {text} + 0 * x + 0 * y")
    columns: dict[str, Type] = {"x": "float", "y": "float"}
    compute = compiler.compile_values([source], columns)
    frame = pl.DataFrame(rows, schema={"x": pl.Float64, "y": pl.Float64}, orient="row")
    offline = frame.select(compiler.column(source, columns)).to_series().to_list()
    for (x, y), expected in zip(rows, offline, strict=True):
        (found,) = compute({"x": x, "y": y})
        assert equivalence_check.same(found, expected) or _chaotic(found, expected), (text, x, y)


def _chaotic(a: float | None, b: float | None) -> bool:
    """Last digits of huge cancelled numbers may differ between libraries; nothing else may."""
    return a is not None and b is not None and math.isfinite(a) and math.isfinite(b) and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)


@pytest.mark.parametrize("terms", [400, 900])
def test_a_function_of_very_many_terms_is_refused_in_words_or_computed(terms: int) -> None:
    source = f"def f(amount, xp) -> float:\n    return {' + '.join(['amount'] * terms)}"
    try:
        kind = compiler.type_of(PythonExpression(source), COLUMNS)
    except InvalidInput as error:
        assert "nested too deeply" in str(error) or "too large" in str(error)  # noqa: PT017 - either is right, another error is not
    else:
        assert kind == "float"


def test_a_function_nested_beyond_what_python_reads_is_refused_in_words() -> None:
    nested = "xp.abs(" * 120 + "amount" + ")" * 120
    for text in (nested, " + ".join(["amount"] * 1_500), "-" * 900 + "amount"):
        try:
            compiler.type_of(PythonExpression(f"def f(amount, xp) -> float:\n    return {text}"), COLUMNS)
        except InvalidInput as error:
            assert "column function" in str(error)  # noqa: PT017 - either is right, another error is not
