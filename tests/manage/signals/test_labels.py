"""Labels: late, repeated, corrected and unknown ones, joined to predictions as of a moment."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.tables import MemoryTables
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.signals import labels, prediction_log
from rota.records.signal import Label, Prediction


@pytest.fixture
def journal(tmp_path):
    journal = SegmentJournal(tmp_path / "log")
    yield journal
    journal.close()


@pytest.fixture
def tables(tmp_path):
    return DeltaTables(tmp_path / "tables")


def log(journal, tables, *ids, role="stable"):
    rows = [Prediction(each, "delay", at_us, "m", 1, role, 1, "", {}, {"v__x": 1.0}, 0.5, 9) for at_us, each in enumerate(ids)]
    prediction_log.append(journal, "delay", rows)
    prediction_log.flush(journal, tables, "delay")


def label(journal, tables, id, value, *, at_us, received_us=0):
    labels.append(journal, "delay", [Label(id, value, at_us)], received_us)
    labels.flush(journal, tables, "delay")


def joined(tables, *, known_until_us=10**9, start_us=0, end_us=10**9):
    rows = labels.joined(tables, "delay", start_us, end_us, known_until_us=known_until_us)
    return rows.select("prediction_id", "label", "label_at_us").rows()


def test_a_label_meets_its_prediction(journal, tables):
    log(journal, tables, "p1", "p2")
    label(journal, tables, "p1", 1.0, at_us=50)
    assert joined(tables) == [("p1", 1.0, 50), ("p2", None, None)]


def test_without_any_label_every_prediction_is_there_unlabelled(journal, tables):
    log(journal, tables, "p1")
    assert joined(tables) == [("p1", None, None)]
    assert labels.read(tables, "delay").is_empty()
    assert labels.joined(tables, "nowhere", 0, 1, known_until_us=1).is_empty()


def test_the_latest_label_counts_and_among_equal_ones_the_last_received(journal, tables):
    log(journal, tables, "p1")
    label(journal, tables, "p1", 1.0, at_us=50, received_us=100)
    label(journal, tables, "p1", 0.0, at_us=40, received_us=200)
    assert joined(tables) == [("p1", 1.0, 50)]
    label(journal, tables, "p1", 0.0, at_us=50, received_us=300)
    assert joined(tables) == [("p1", 0.0, 50)]


def test_what_was_known_at_a_moment_is_what_had_been_received_by_then_whatever_it_is_dated(journal, tables):
    log(journal, tables, "p1")
    label(journal, tables, "p1", 1.0, at_us=50, received_us=500)
    label(journal, tables, "p1", 0.0, at_us=70, received_us=700)
    label(journal, tables, "p1", 2.0, at_us=60, received_us=900)
    assert joined(tables, known_until_us=499) == [("p1", None, None)]
    assert joined(tables, known_until_us=500) == [("p1", 1.0, 50)]
    assert joined(tables, known_until_us=699) == [("p1", 1.0, 50)]
    assert joined(tables, known_until_us=700) == joined(tables) == [("p1", 0.0, 70)]
    assert labels.read(tables, "delay", known_until_us=600)["value"].to_list() == [1.0]


reports = st.lists(st.tuples(st.sampled_from(["p0", "p1", "p2"]), st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), max_size=12)


@given(reported=reports, moment=st.integers(0, 7), own=st.lists(st.integers(0, 7), min_size=3, max_size=3))
def test_known_labels_are_those_of_the_rule(reported, moment, own):
    tables = MemoryTables()
    if reported:
        tables.append(
            "labels/delay",
            pl.DataFrame(reported, schema=["prediction_id", "value", "at_us", "received_us"], orient="row").cast({"value": pl.Float64}),
        )

    def counting(until):
        known = {}
        for id_, value, at_us, received_us in reported:
            if received_us <= until[id_]:
                known[id_] = max(known.get(id_, (-1, -1, -1.0)), (at_us, received_us, float(value)))
        return {id_: best[2] for id_, best in known.items()}

    read = labels.read(tables, "delay", known_until_us=moment)
    assert dict(zip(read["prediction_id"], read["value"], strict=True)) == counting(dict.fromkeys(("p0", "p1", "p2"), moment))
    asked = pl.LazyFrame({"prediction_id": ["p0", "p1", "p2"], "known_until_us": own})
    read = labels.read(tables, "delay", of=asked)
    assert dict(zip(read["prediction_id"], read["value"], strict=True)) == counting(dict(zip(("p0", "p1", "p2"), own, strict=True)))


def test_the_window_is_over_the_predictions_not_over_the_labels(journal, tables):
    log(journal, tables, "p0", "p1", "p2")
    for each in ("p0", "p1", "p2"):
        label(journal, tables, each, 1.0, at_us=900)
    assert joined(tables, start_us=1, end_us=2) == [("p1", 1.0, 900)]


def test_a_label_of_an_unknown_prediction_waits_without_harm(journal, tables):
    label(journal, tables, "not-yet", 1.0, at_us=5)
    log(journal, tables, "p1")
    assert joined(tables) == [("p1", None, None)]
    log(journal, tables, "not-yet")
    assert ("not-yet", 1.0, 5) in joined(tables)


def test_a_shadow_row_gets_the_same_truth(journal, tables):
    log(journal, tables, "p1")
    log(journal, tables, "p1", role="shadow")
    label(journal, tables, "p1", 1.0, at_us=5)
    assert joined(tables) == [("p1", 1.0, 5), ("p1", 1.0, 5)]


def test_many_labels_flush_once_in_one_go(journal, tables):
    labels.append(journal, "delay", [Label(f"p{n}", float(n % 2), n) for n in range(10_000)], 1)
    assert labels.flush(journal, tables, "delay") == 10_000
    assert labels.flush(journal, tables, "delay") == 0
    assert labels.read(tables, "delay").height == 10_000


def test_an_entry_that_cannot_be_read_is_set_apart_and_holds_back_no_other(journal, tables):
    journal.append("labels/delay", [b"\x01"])
    labels.append(journal, "delay", [Label("p1", 1.0, 5)], 7)
    assert labels.flush(journal, tables, "delay") == 1
    assert [payload for chunk in journal.read("unread/labels/delay") for payload in chunk.payloads] == [b"\x01"]
