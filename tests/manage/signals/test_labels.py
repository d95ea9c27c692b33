"""Labels: late, repeated, corrected and unknown ones, joined to predictions as of a moment."""

import pytest

from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import Corrupt
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


def test_what_was_known_at_a_moment_can_be_asked_again(journal, tables):
    log(journal, tables, "p1")
    label(journal, tables, "p1", 1.0, at_us=50)
    label(journal, tables, "p1", 0.0, at_us=70)
    assert joined(tables, known_until_us=49) == [("p1", None, None)]
    assert joined(tables, known_until_us=50) == [("p1", 1.0, 50)]
    assert joined(tables, known_until_us=70) == [("p1", 0.0, 70)]


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


def test_a_foreign_entry_is_reported(journal, tables):
    journal.append("labels/delay", [b"\x01"])
    with pytest.raises(Corrupt, match="label journal"):
        labels.flush(journal, tables, "delay")
