"""Batch prediction: rows out == rows in, in order, with the version that made them."""

from datetime import UTC, datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from rota.errors import InvalidInput
from rota.manage.models.loading import load
from rota.serve.batch import Scorer, predict_batch, predict_chunks


@pytest.fixture
def model(world):
    return load(world.blobs, world.model_source.formats, world.bundle(100.0))


def features(rows):
    schema = {"request__x": pl.Float64, "request__carrier": pl.String, "key": pl.Int64}
    return pl.DataFrame({"request__x": [float(n) for n in range(rows)], "request__carrier": ["AA"] * rows, "key": range(rows)}, schema=schema)


def test_every_row_is_answered_in_its_place_whatever_the_chunks(model):
    whole = predict_batch(Scorer(model, 7), features(1_000))
    assert whole["answer"].to_list() == [100.0 + n for n in range(1_000)]
    assert whole.select("model", "version").unique().rows() == [("flights", 7)]
    assert whole["key"].to_list() == list(range(1_000))
    assert_frame_equal(predict_batch(Scorer(model, 7), features(1_000), chunk_rows=7), whole)
    assert max(model.predictor.calls) == 1_000
    assert model.predictor.calls[-1] == 1_000 % 7


def test_request_rows_are_completed_by_the_online_features(world, model):
    world.serve()
    frame = pl.DataFrame({"x": [1.0, None], "carrier": ["UA", None], "at": [datetime(2013, 7, 15, tzinfo=UTC)] * 2})
    scored = predict_batch(Scorer(model, 1, world.sources[0], world.clock.now_us()), frame)
    assert scored["answer"].to_list() == [102.0, 100.0]
    assert scored.columns == ["x", "carrier", "at", "answer", "model", "version"]


def test_a_frame_that_cannot_be_scored_says_what_is_missing(world, model):
    with pytest.raises(InvalidInput, match=r"request__x.*no online store"):
        predict_batch(Scorer(model, 1), pl.DataFrame({"x": [1.0], "carrier": ["UA"]}))
    world.serve()
    with pytest.raises(InvalidInput, match=r"request fields \['carrier'\]"):
        predict_batch(Scorer(model, 1, world.sources[0]), pl.DataFrame({"x": [1.0]}))
    with pytest.raises(InvalidInput, match="chunk_rows=0"):
        predict_batch(Scorer(model, 1), features(1), chunk_rows=0)


def test_an_empty_frame_stays_empty_with_all_its_columns(model):
    empty = predict_batch(Scorer(model, 1), features(0))
    assert empty.height == 0
    assert empty.schema == predict_batch(Scorer(model, 1), features(1)).schema


def test_chunks_are_scored_as_they_come(model):
    taken = []
    stream = predict_chunks(Scorer(model, 1), (taken.append(n) or features(n) for n in (1, 2, 3)))
    assert next(stream).height == 1
    assert taken == [1]
    assert [frame.height for frame in stream] == [2, 3]
