"""Numbers that stand for lists, bytes, decimals and texts: in frames, in schemas that are inferred, and in days that are held against them."""

from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.manage.datasets import build as datasets
from rota.manage.datasets import daily_slices, schema_inference
from rota.manage.signals.label_domain import DeclaredProblem
from rota.monitor import breaches, measure
from rota.records.schema import Bins
from rota.records.time import DAY_US
from rota.stats import sketches

WORDS = ["parcel", "late", "broken", "refund", "invoice", "wrong", "driver", "battery", "screen", "lost"]
OTHERS = ["посылка", "опоздала", "сломан", "возврат", "счет"]


@given(st.lists(st.none() | st.lists(st.floats(-1e6, 1e6), max_size=5), min_size=1, max_size=6))
def test_lists_are_their_norm_mean_and_length(lists: list[list[float] | None]) -> None:
    made = sketches.sketched(pl.DataFrame({"x": lists}, schema={"x": pl.List(pl.Float64)}))
    for row, value in zip(made.iter_rows(named=True), lists, strict=True):
        if value is None:
            assert (row["x:norm"], row["x:mean"], row["x:length"]) == (None, None, None)
            continue
        assert row["x:norm"] == pytest.approx(np.linalg.norm(value))
        assert row["x:mean"] == (pytest.approx(np.mean(value)) if value else None)
        assert row["x:length"] == len(value)


def test_what_needs_no_sketches_is_the_frame_itself() -> None:
    plain = pl.DataFrame({"a": [1.0], "b": ["x"], "c": [True]})
    assert sketches.sketched(plain) is plain
    assert sketches.replaced(plain) is plain


def test_sketches_stand_in_place_of_what_they_are_of() -> None:
    frame = pl.DataFrame({"e": [[3.0, 4.0], None], "h": [[1], [1, 2]], "b": [b"abc", None], "d": [Decimal("0.1"), None], "n": [None, None]})
    assert sketches.names(frame, frame.columns) == ["e:norm", "e:mean", "h:norm", "h:mean", "h:length", "b:length", "d", "n"]
    made = sketches.replaced(frame, expected=["e:norm", "n:norm", "d"])
    assert made.to_dict(as_series=False) == {"d": [0.1, None], "e:norm": [5.0, None], "n:norm": [None, None]}
    assert sketches.vector_names(sketches.names(frame, frame.columns)) == ["e"]
    np.testing.assert_array_equal(sketches.vectors(frame, "e"), [[3.0, 4.0]])
    assert sketches.vectors(frame, "h").size == sketches.vectors(frame, "absent").size == 0
    assert [sketches.base(name) for name in ("e:norm", "h:length", "t:unknown", "e", "e:float")] == ["e", "h", "t", "e", "e:float"]


def rows(words: list[str], *, days: int = 40, seed: int = 0, first: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(words, size=random.integers(2, 6))) for _ in range(days * 40)]
    at = [(first + place // 40) * DAY_US for place in range(len(texts))]
    return pl.DataFrame({"v__text": texts, datasets.AT: at, datasets.TEST: False})


def test_texts_that_are_read_are_watched_by_length_script_and_unknown_words() -> None:
    training = rows(WORDS)
    schema = schema_inference.of_features(training, ["v__text"], "m")
    columns = {column.name: column for column in schema.columns}
    assert list(columns) == ["v__text:characters", "v__text:script", "v__text:unknown", "v__text"]
    assert columns["v__text"].domain is None
    assert columns["v__text:characters"].maximum is None
    assert {b.name: b.values for b in schema.bins} == {
        "v__text:characters": (), "v__text:script": ("LATIN",), "v__text:unknown": tuple(sorted(WORDS))
    }  # fmt: skip
    usual, strange = (
        each.with_columns(error=pl.lit(""), label_at_us=pl.lit(None, pl.Int64)) for each in (rows(WORDS, days=1, seed=1), rows(OTHERS, days=1))
    )
    for day in (usual, strange):
        assert [result.outcome for result in breaches.of_schema(schema, day.select("v__text")).results] == ["pass"]
    script = next(b for b in schema.bins if b.name == "v__text:script")
    known = sketches.sketched(usual, bins=schema.bins)["v__text:script"].to_list()
    assert set(known) == {1.0}
    other = sketches.sketched(strange, bins=schema.bins)
    assert other["v__text:script"].max() == 0.0
    assert other["v__text:unknown"].min() == 1.0
    assert script.edges == sketches.SHARES


def test_a_text_that_was_null_all_day_is_no_missing_column() -> None:
    schema = schema_inference.of_features(rows(WORDS), ["v__text"], "m")
    today = breaches.of_schema(schema, pl.DataFrame({"v__text": [None, None]}))
    assert today.results[0].message == "column 'v__text': 100.0% of the values are missing, at most 5.0% are expected"


def test_names_and_declared_categories_are_no_texts_to_read() -> None:
    training = rows(WORDS)
    assert [b.name for b in schema_inference.of_features(training, ["v__text"], "m", categories=["v__text"]).bins] == ["v__text"]
    named = training.with_columns(pl.lit("id").add(pl.int_range(pl.len()).cast(pl.String)).alias("v__text"))
    assert [b.name for b in schema_inference.of_features(named, ["v__text"], "m").bins] == ["v__text"]


def test_days_of_another_language_drift_in_script_and_words() -> None:
    schema = schema_inference.of_features(rows(WORDS), ["v__text"], "m")
    both = pl.concat([rows(WORDS), rows(OTHERS, days=7, first=40, seed=3)])
    days = daily_slices.cut(sketches.sketched(both, bins=schema.bins), datasets.AT, schema.bins, newest=0)
    script = days.counts["v__text:script"]
    assert (script[:40, 1:].argmax(axis=1) == script[0, 1:].argmax()).all()
    assert (script[40:, 1:].argmax(axis=1) != script[0, 1:].argmax()).all()


def test_a_day_counts_its_texts_on_the_bins_of_the_sketches() -> None:
    bins = [Bins("v__text:characters", "float", edges=(5.0, 10.0))]
    frame = pl.DataFrame({"v__text": ["abc", "abcdefgh", None], "error": "", "label_at_us": pl.Series([None] * 3, dtype=pl.Int64)})
    given_rows = sketches.sketched(measure.answered(frame), bins=bins)
    assert measure._column(given_rows, bins[0]).to_list() == [3.0, 8.0, None]
    assert DeclaredProblem("classification").problem == "classification"
