"""Housekeeping of tables and journals on a real home: bytes counted, what is pinned spared, damage contained, named and alerted."""

import os
import random
from pathlib import Path

import msgspec
import polars as pl
import pytest
from deltalake import DeltaTable

from rota import wiring
from rota.backends.storage.segment_journal import SegmentJournal
from rota.errors import Corrupt, NotFound
from rota.manage.signals import business_outcomes, labels, prediction_log
from rota.manage.signals.alerts import open_alerts
from rota.ports.metadata import Batch
from rota.records.backup import Backup
from rota.records.condition import Condition
from rota.records.dataset import DatasetVersion
from rota.records.signal import Label, Outcome, Prediction
from rota.records.time import DAY_US
from rota.settings import Settings
from rota.testing import story


@pytest.fixture
def platform(tmp_path: Path):
    with wiring.opened(Settings(home=tmp_path, retention_grace_hours=0)) as platform:
        yield platform


def predictions(number: int, count: int) -> list[Prediction]:
    dice = random.Random(number)
    fixed = {"endpoint": "delay", "model": "m", "number": 1, "role": "stable", "revision": 1, "latency_us": 100, "error": ""}
    return [
        Prediction(
            prediction_id=f"p{number}-{each}",
            at_us=story.NOON_US + each,
            unit=f"u{each}",
            answer=dice.random(),
            request={"a": each},
            features={f"v__f{column}": dice.random() for column in range(6)},
            **fixed,
        )
        for each in range(count)
    ]


def store(metadata, record) -> None:
    batch = Batch()
    batch.put(record)
    metadata.commit(batch)


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def live_bytes(folder: Path) -> int:
    return int(pl.DataFrame(DeltaTable(folder).get_add_actions())["size_bytes"].sum())


def filled(platform: wiring.Platform, flushes: int, each: int) -> int:
    """Flush predictions in small parts, and give the bytes that the table's files took meanwhile, whatever became of them."""
    r, written, seen = platform.repositories, 0, set[str]()
    folder = platform.settings.home / "tables" / "predictions" / "delay"
    for number in range(flushes):
        prediction_log.append(r.journal, "delay", predictions(number, each))
        prediction_log.flush(r.journal, r.tables, "delay")
        for path in folder.glob("*.parquet"):
            written += 0 if path.name in seen else path.stat().st_size
            seen.add(path.name)
    return written


def ill(platform: wiring.Platform) -> list[Condition]:
    """What a round of housekeeping finds that is not well."""
    return [each for each in platform.housekeeping.run() if each.status != "well"]


def check_bytes(platform: wiring.Platform, flushes: int, each: int, *, rewrites: float) -> None:
    written = filled(platform, flushes, each)
    platform.repositories.journal.close()
    assert ill(platform) == []
    home = platform.settings.home
    live = live_bytes(home / "tables" / "predictions" / "delay")
    assert bytes_in(home / "tables") + bytes_in(home / "log") <= 2 * live
    assert written <= rewrites * live
    assert prediction_log.ids(platform.repositories.tables, "delay").collect().height == flushes * each


def test_small_flushes_leave_no_more_than_twice_their_live_size(platform):
    check_bytes(platform, 40, 600, rewrites=6)


@pytest.mark.slow
def test_200_000_predictions_in_400_flushes_leave_no_more_than_twice_their_live_size(platform):
    check_bytes(platform, 400, 500, rewrites=8)


def test_what_killed_processes_left_in_journals_days_ago_is_drained_without_a_monitor(platform):
    left = SegmentJournal(platform.settings.home / "log")
    prediction_log.append(left, "delay", predictions(1, 3))
    labels.append(left, "delay", [Label("p1-0", 1.0, 5)], 7)
    business_outcomes.append(left, "delay", [Outcome("p1-0", "sale", 1.0, 5)], 7)
    business_outcomes.append(left, "", [Outcome("p1-1", "sale", 2.0, 5)], 7)
    left.close()
    old = story.NOON_US / 1e6 - 5 * 86_400
    for path in (platform.settings.home / "log").rglob("*.seg"):
        os.utime(path, (old, old))
    assert ill(platform) == []
    assert platform.repositories.journal.streams() == []
    tables = platform.repositories.tables
    assert prediction_log.ids(tables, "delay").collect().height == 3
    assert labels.read(tables, "delay").height == 1
    assert business_outcomes.read(tables, "delay").height == 2


def test_versions_that_somebody_reads_or_a_dataset_names_are_spared(platform):
    r = platform.repositories
    for number in range(60):
        r.tables.append("sources/flights", pl.DataFrame({"id": [number]}))
    r.tables.compact("sources/flights")
    wall_us = platform.access.wall.now_us()
    batch = Batch()
    noon = story.NOON_US
    batch.put(DatasetVersion("delay", 1, "a" * 64, "datasets/delay/1", 0, 9, 8, 1, noon, noon, noon, noon, run="r1", sources={"flights": 11}))
    r.metadata.commit(batch)
    backup = Backup("b1", "/backups", began_us=0, actor="owner", needed_until_us=wall_us + DAY_US)
    store(r.metadata, backup)
    platform.housekeeping.collect_garbage(actor="owner")
    assert r.tables.scan("sources/flights", version=23).collect().height == 24, "a backup that runs reads what was there when it began"
    store(r.metadata, msgspec.structs.replace(backup, needed_until_us=wall_us - 1))
    platform.housekeeping.collect_garbage(actor="owner")
    assert [r.tables.scan("sources/flights", version=version).collect().height for version in (11, 60)] == [12, 60]
    for gone in (12, 23, 31):
        with pytest.raises(NotFound, match="given up"):
            r.tables.scan("sources/flights", version=gone)
    assert r.tables.scan("sources/flights", version=11).collect().height == 12


def subjects(platform: wiring.Platform) -> set[str]:
    return {alert.subject for alert in open_alerts(platform.repositories.metadata, "")}


def test_a_flipped_byte_in_a_segment_costs_one_entry_and_is_told(platform):
    left = SegmentJournal(platform.settings.home / "log")
    segment, first = left.append("predictions/delay", [prediction_log.STREAM.codec.encode(predictions(1, 1), 0)])
    prediction_log.append(left, "delay", predictions(2, 1))
    left.close()
    path = platform.settings.home / "log" / "predictions" / "delay" / segment
    data = bytearray(path.read_bytes())
    data[first // 2] ^= 1
    path.write_bytes(data)
    labels.append(platform.repositories.journal, "delay", [Label("p2-0", 1.0, 5)], 7)
    platform.housekeeping.run()
    tables = platform.repositories.tables
    assert prediction_log.ids(tables, "delay").collect()["prediction_id"].to_list() == ["p2-0"]
    assert labels.read(tables, "delay").height == 1
    apart = platform.settings.home / "log" / "damaged" / "predictions" / "delay" / f"{segment}.damaged"
    assert apart.read_bytes() == bytes(data)
    assert subjects(platform) == {"journal damage:predictions/delay"}
    assert "damaged" in open_alerts(platform.repositories.metadata, "")[0].message
    apart.unlink()
    assert ill(platform) == []
    assert subjects(platform) == set()


def test_a_truncated_file_of_a_table_is_named_and_the_other_tables_go_on(platform):
    tables = platform.repositories.tables
    for name in ("sources/a", "sources/b"):
        tables.append(name, pl.DataFrame({"id": list(range(1_000))}))
    (path,) = (platform.settings.home / "tables" / "sources" / "a").glob("*.parquet")
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    found = ill(platform)
    assert [each.name for each in found] == ["table:sources/a"]
    assert path.name in found[0].message
    assert subjects(platform) == {"table:sources/a"}
    with pytest.raises(Corrupt, match=path.name):
        tables.scan("sources/a")
    assert tables.scan("sources/b").collect().height == 1_000
    path.write_bytes(whole)
    platform.housekeeping._vacuumed_us = 0
    assert ill(platform) == []
    assert subjects(platform) == set()
