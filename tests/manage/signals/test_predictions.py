"""The prediction log: nothing acknowledged is lost, nothing counts twice."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap

import polars as pl
import pytest

from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import InvalidInput
from rota.manage.signals import prediction_log
from rota.records.signal import Prediction
from rota.records.time import DAY_US

NOON_US = 15_901 * DAY_US + DAY_US // 2  # 2013-07-15T12:00:00Z


@pytest.fixture
def journal(tmp_path):
    journal = SegmentJournal(tmp_path / "log")
    yield journal
    journal.close()


@pytest.fixture
def tables(tmp_path):
    return DeltaTables(tmp_path / "tables")


def prediction(id, *, at_us=NOON_US, role="stable", number=1, answer=0.25, error="", **features):
    features = features or {"weather__wind": 3.5, "request__carrier": "AA"}
    return Prediction(id, "delay", at_us, "flights", number, role, 4, f"unit-{id}", {"origin": "JFK"}, features, answer, 120, error)


def everything(tables, **options):
    return prediction_log.read(tables, "delay", 0, 2**62, **options)


def test_a_logged_prediction_reads_back_with_a_typed_column_for_each_feature(journal, tables):
    prediction_log.append(journal, "delay", [prediction("p1", f__x=2, f__flag=True, f__text="é", f__null=None)])
    assert prediction_log.flush(journal, tables, "delay") == 1
    row = {name: value for name, value in everything(tables).row(0, named=True).items() if not name.startswith("answer_")}
    assert row == {
        "prediction_id": "p1",
        "at_us": NOON_US,
        "day": "2013-07-15",
        "model": "flights",
        "number": 1,
        "role": "stable",
        "revision": 4,
        "unit": "unit-p1",
        "answer": 0.25,
        "latency_us": 120,
        "error": "",
        "request": '{"origin":"JFK"}',
        "missing": "",
        "group": None,
        "routed_by": None,
        "f__x": 2.0,
        "f__flag": 1.0,
        "f__text": "é",
    }
    assert everything(tables).schema["f__x"] == pl.Float64
    assert everything(tables, features=False).columns == list(prediction_log.COLUMNS)


def test_flushing_twice_moves_each_entry_once(journal, tables):
    assert prediction_log.flush(journal, tables, "delay") == 0
    prediction_log.append(journal, "delay", [prediction("p1"), prediction("p2")])
    assert prediction_log.flush(journal, tables, "delay") == 2
    assert prediction_log.flush(journal, tables, "delay") == 0
    prediction_log.append(journal, "delay", [prediction("p3", at_us=NOON_US + 1)])
    assert prediction_log.flush(journal, tables, "delay") == 1
    assert sorted(everything(tables)["prediction_id"]) == ["p1", "p2", "p3"]


def test_a_flush_that_died_between_table_and_journal_is_repeated_without_harm(journal, tables, tmp_path):
    prediction_log.append(journal, "delay", [prediction("p1")])
    journal.close()
    (kept := tmp_path / "kept").mkdir()
    segments = [path for path in (tmp_path / "log").rglob("*") if path.is_file()]
    for path in segments:
        (kept / path.name).write_bytes(path.read_bytes())
    later = SegmentJournal(tmp_path / "log")
    assert prediction_log.flush(later, tables, "delay") == 1
    for path in segments:  # as if the process had been killed before it dropped the segment
        path.write_bytes((kept / path.name).read_bytes())
    assert prediction_log.flush(later, tables, "delay") == 0
    assert tables.scan("predictions/delay").collect().height == 1
    later.close()


def test_a_finished_segment_is_removed_once_its_writer_is_gone(journal, tables, tmp_path):
    writer = SegmentJournal(tmp_path / "log")
    prediction_log.append(writer, "delay", [prediction("p1")])
    prediction_log.flush(journal, tables, "delay")
    assert list(journal.read("predictions/delay"))
    writer.close()
    prediction_log.flush(journal, tables, "delay")
    assert not list(journal.read("predictions/delay"))
    assert everything(tables).height == 1


def test_of_repeated_requests_with_one_id_the_first_counts(journal, tables):
    prediction_log.append(journal, "delay", [prediction("p1", at_us=NOON_US + 5, answer=0.9)])
    prediction_log.append(journal, "delay", [prediction("p1", answer=0.1)])
    prediction_log.flush(journal, tables, "delay")
    assert everything(tables)["answer"].to_list() == [0.1]


def test_a_failed_canary_the_answer_given_instead_and_the_shadow_are_kept_apart(journal, tables):
    rows = [prediction("p1", role="canary", number=2, answer=None, error="boom"), prediction("p1"), prediction("p1", role="shadow", number=3)]
    for _ in range(2):
        prediction_log.append(journal, "delay", rows)
    prediction_log.flush(journal, tables, "delay")
    assert everything(tables).select("role", "number", "error").rows() == [("stable", 1, ""), ("canary", 2, "boom"), ("shadow", 3, "")]
    assert prediction_log.find(tables, "p1").number == 1


def test_a_window_holds_its_start_and_not_its_end(journal, tables):
    prediction_log.append(journal, "delay", [prediction(f"p{second}", at_us=NOON_US + second) for second in range(4)])
    prediction_log.flush(journal, tables, "delay")
    assert prediction_log.read(tables, "delay", NOON_US + 1, NOON_US + 3)["prediction_id"].to_list() == ["p1", "p2"]


def test_an_endpoint_without_a_log_reads_as_empty(tables):
    assert everything(tables).height == 0
    assert everything(tables).columns == list(prediction_log.COLUMNS)
    assert prediction_log.find(tables, "p1") is None
    assert prediction_log.find(tables, "p1", endpoint="delay") is None


def test_a_prediction_is_found_by_its_id_in_one_log_or_in_all(journal, tables):
    prediction_log.append(journal, "other", [prediction("p0")])
    prediction_log.append(journal, "delay", [prediction("p1"), prediction("p2", answer=None, error="boom")])
    for endpoint in ("other", "delay"):
        prediction_log.flush(journal, tables, endpoint)
    assert prediction_log.find(tables, "p1", endpoint="delay") == prediction_log.find(tables, "p1") == prediction("p1")
    assert prediction_log.find(tables, "p2").error == "boom"
    assert prediction_log.find(tables, "p1", endpoint="other") is None


def test_versions_with_other_features_and_even_other_types_share_the_log(journal, tables):
    for number, features in enumerate([{"v__a": 1.0}, {"v__b": "x"}, {"v__a": "text now"}, {"v__b": 2.0}, {"v__c": 1.0, "v__d": None}], start=1):
        prediction_log.append(journal, "delay", [prediction(f"p{number}", **features)])
        prediction_log.flush(journal, tables, "delay")
    log = everything(tables).sort("prediction_id")
    assert log["v__a"].to_list() == [1.0, None, None, None, None]
    assert log["v__a:string"].to_list() == [None, None, "text now", None, None]
    assert log["v__b:float"].to_list() == [None, None, None, 2.0, None]
    assert log["v__c"].to_list()[-1] == 1.0


def test_an_entry_that_cannot_be_read_is_set_apart_and_holds_back_no_other(journal, tables):
    journal.append("predictions/delay", [b"not an entry"])
    prediction_log.append(journal, "delay", [prediction("p1")])
    assert prediction_log.flush(journal, tables, "delay") == 1
    assert [payload for chunk in journal.read("unread/predictions/delay") for payload in chunk.payloads] == [b"not an entry"]


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x" * 200])
def test_an_endpoint_name_never_becomes_a_path(journal, tables, name):
    with pytest.raises(InvalidInput):
        prediction_log.append(journal, name, [prediction("p1")])
    with pytest.raises(InvalidInput):
        prediction_log.flush(journal, tables, name)


def test_texts_of_any_kind_pass_through(journal, tables):
    hostile = "a\x00b'\"\\;--\u2028" + "é" * 5_000
    prediction_log.append(journal, "delay", [prediction("p1", v__text=hostile)])
    prediction_log.flush(journal, tables, "delay")
    assert everything(tables)["v__text"].item() == hostile


def test_every_prediction_acknowledged_before_kill_9_is_in_the_log(tmp_path, tables):
    program = textwrap.dedent(f"""
        import itertools, sys
        from pathlib import Path
        from rota.backends.storage.segment_journal import SegmentJournal
        from rota.manage.signals import prediction_log
        from rota.records.signal import Prediction
        journal = SegmentJournal(Path({str(tmp_path / "log")!r}))
        for n in itertools.count():
            rows = [Prediction(f"p{{n}}-{{k}}", "delay", {NOON_US}, "m", 1, "stable", 1, "", {{}}, {{"v__x": 1.0}}, 0.5, 1) for k in range(3)]
            prediction_log.append(journal, "delay", rows)
            print(n, flush=True)
    """)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    acknowledged = [int(line) for line in itertools.islice(child.stdout, 500)]
    os.kill(child.pid, signal.SIGKILL)
    acknowledged += [int(line) for line in child.stdout.read().split("\n")[:-1]]
    child.wait()
    child.stdout.close()
    journal = SegmentJournal(tmp_path / "log")
    prediction_log.flush(journal, tables, "delay")
    journal.close()
    found = set(everything(tables)["prediction_id"])
    assert len(acknowledged) >= 500
    assert {f"p{n}-{k}" for n in acknowledged for k in range(3)} <= found
