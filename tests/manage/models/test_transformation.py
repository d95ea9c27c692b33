"""The fitted transformation gives the same matrix offline and online."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.errors import InvalidInput
from rota.manage.models.transformation import RowsTransformer, fit, golden, matrix, matrix_of_golden, of_model
from rota.ports.models import ModelInputs
from rota.records.model import Transformation, TransformedColumn
from rota.records.record import decode, encode
from rota.records.time import from_datetime

TYPES = {"f": "float", "i": "int", "b": "bool", "t": "timestamp", "s": "string"}
SCHEMA = {"f": pl.Float64, "i": pl.Int64, "b": pl.Boolean, "t": pl.Int64, "s": pl.String}
TEXTS = st.text(alphabet="abü€𝄞\x00 ", max_size=3) | st.sampled_from(["JFK", ""])
ROWS = st.fixed_dictionaries(
    {
        "f": st.none() | st.floats(),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "b": st.none() | st.booleans(),
        "t": st.none() | st.integers(0, 2**52),
        "s": st.none() | TEXTS,
    }
)


@given(st.lists(ROWS, max_size=30), st.lists(ROWS, max_size=30))
def test_offline_and_online_agree_cell_for_cell(seen, rows):
    transformation = fit(TYPES, pl.DataFrame(seen, schema=SCHEMA))
    offline = matrix(transformation, pl.DataFrame(rows, schema=SCHEMA))
    online = RowsTransformer(transformation).matrix(rows)
    assert offline.dtype == online.dtype == np.float64
    assert offline.shape == online.shape == (len(rows), 5)
    np.testing.assert_array_equal(offline, online)


@given(st.lists(ROWS, min_size=1, max_size=30))
def test_a_text_that_a_model_reads_as_it_is_stays_one_offline_online_and_as_a_golden_row(rows):
    fitted = fit(TYPES, pl.DataFrame(rows, schema=SCHEMA))
    raw = Transformation(tuple(of_model(each, place, ModelInputs(free_texts={4: ()})) for place, each in enumerate(fitted.columns)))
    offline, online = matrix(raw, pl.DataFrame(rows, schema=SCHEMA)), RowsTransformer(raw).matrix(rows)
    assert offline.dtype == online.dtype == object
    assert online[:, 4].tolist() == offline[:, 4].tolist() == [row["s"] for row in rows]
    np.testing.assert_array_equal(online[:, :4].astype(float), matrix(fitted, pl.DataFrame(rows, schema=SCHEMA))[:, :4])
    again = matrix_of_golden(raw, golden(online))
    np.testing.assert_array_equal(again[:, :4].astype(float), online[:, :4].astype(float))
    assert again[:, 4].tolist() == online[:, 4].tolist()


def test_a_model_reads_its_own_texts_or_those_of_training_where_it_says_nothing():
    column = TransformedColumn("s", "string", ("seen", "in training"))
    assert of_model(column, 0, ModelInputs(texts={0: ("its", "own")})).vocabulary == ("its", "own")
    assert of_model(column, 1, ModelInputs(texts={0: ("its", "own")})) == column
    with pytest.raises(InvalidInput, match="'s' should be of type 'string' but is 3"):
        RowsTransformer(Transformation((TransformedColumn("s", "string", raw=True),))).matrix([{"s": 3}])


def test_every_type_becomes_the_number_that_was_promised():
    frame = pl.DataFrame({"f": [1.5, None], "i": [7, None], "b": [True, None], "t": [99, None], "s": ["x", None]}, schema=SCHEMA)
    cells = matrix(fit(TYPES, frame), frame)
    np.testing.assert_array_equal(cells, [[1.5, 7, 1, 99, 0], [np.nan] * 5])


def test_the_vocabulary_is_ordered_by_frequency_then_name_and_an_unseen_text_comes_after_it():
    transformation = fit({"s": "string"}, pl.DataFrame({"s": ["b", "c", "c", "a", None]}))
    assert transformation.columns[0].vocabulary == ("c", "a", "b")
    np.testing.assert_array_equal(
        RowsTransformer(transformation).matrix([{"s": text} for text in ("c", "a", "b", "new", None)])[:, 0], [0, 1, 2, 3, np.nan]
    )


def test_a_fitted_transformation_survives_its_encoding():
    transformation = fit(TYPES, pl.DataFrame([{"f": 1.0, "i": 1, "b": True, "t": 1, "s": "ü\x00"}], schema=SCHEMA))
    assert decode(encode(transformation), Transformation) == transformation


def test_moments_are_microseconds_in_every_form():
    moment = datetime(2013, 7, 15, 4, 0, 0, 1, tzinfo=UTC)
    transformation = Transformation((TransformedColumn("t", "timestamp"),))
    for kind in (pl.Datetime("us", "UTC"), pl.Datetime("ns", "UTC"), pl.Datetime("us")):
        assert matrix(transformation, pl.DataFrame({"t": [moment]}).cast(kind))[0, 0] == from_datetime(moment)
    assert RowsTransformer(transformation).matrix([{"t": moment}])[0, 0] == from_datetime(moment)


def test_a_feature_that_training_never_saw_a_value_of_is_unseen_for_every_text():
    transformation = fit({"s": "string"}, pl.DataFrame({"s": [None, None]}))
    np.testing.assert_array_equal(RowsTransformer(transformation).matrix([{"s": "x"}, {"s": None}])[:, 0], [0, np.nan])
    np.testing.assert_array_equal(matrix(transformation, pl.DataFrame({"s": ["x", None]}))[:, 0], [0, np.nan])


@pytest.mark.parametrize(("kind", "value"), [("float", "1.5"), ("string", 1), ("int", "x")])
def test_a_value_of_a_foreign_type_is_refused_by_name_on_both_sides(kind, value):
    transformation = Transformation((TransformedColumn("x", kind, ("1",)),))
    with pytest.raises(InvalidInput, match="'x'"):
        matrix(transformation, pl.DataFrame({"x": [value]}))
    with pytest.raises(InvalidInput, match="'x'"):
        RowsTransformer(transformation).matrix([{"x": value}])


def test_a_missing_feature_is_named():
    transformation = Transformation((TransformedColumn("x", "float"),))
    with pytest.raises(InvalidInput, match="'x'"):
        matrix(transformation, pl.DataFrame({"y": [1.0]}))
    with pytest.raises(InvalidInput, match="'x'"):
        RowsTransformer(transformation).matrix([{"y": 1.0}])


def test_no_rows_and_no_columns_are_matrices_too():
    assert RowsTransformer(Transformation((TransformedColumn("x", "float"),))).matrix([]).shape == (0, 1)
    assert RowsTransformer(Transformation(())).matrix([{}, {}]).shape == (2, 0)
    assert matrix(Transformation(()), pl.DataFrame({"y": [1.0, 2.0]})).shape == (2, 0)


def test_lists_of_a_fixed_size_are_lists_and_a_number_that_is_missing_is_refused_offline_and_online():
    frame = pl.DataFrame({"face": [[1.0, 2.5], None]}, schema={"face": pl.List(pl.Float64)})
    fitted = fit({"face": "float[2]"}, frame)
    for dtype in (pl.List(pl.Float64), pl.Array(pl.Float64, 2), pl.Array(pl.Float32, 2), pl.List(pl.Int64)):
        seen = frame.select(pl.col("face").cast(dtype))
        expected = [[1.0, 2.0 if dtype == pl.List(pl.Int64) else 2.5], [np.nan] * 2]
        np.testing.assert_array_equal(matrix(fitted, seen), expected)
    for wrong in ([1.0, None], [1.0]):
        with pytest.raises(InvalidInput, match=r"feature 'face' should be of type 'float\[2\]'"):
            matrix(fitted, pl.DataFrame({"face": [[1.0, 2.0], wrong]}))
        with pytest.raises(InvalidInput, match=r"feature 'face' should be of type 'float\[2\]'"):
            RowsTransformer(fitted).matrix([{"face": wrong}])
