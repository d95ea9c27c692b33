"""Readiness is what was seen: each store that is away, a full disk and a silent worker are a reason, and nothing else is."""

import shutil
import sqlite3
from functools import partial

import pytest

from rota import record_engines, wiring
from rota.manage.signals import free_space
from rota.manage.signals.platform_readiness import PlatformReadiness
from rota.ports.metadata import Batch
from rota.records.condition import ProcessReport
from rota.settings import Settings


@pytest.fixture
def platform(tmp_path):
    with wiring.opened(Settings(home=tmp_path / "home")) as opened:
        yield opened


def reasons(platform):
    """A look that no earlier one answers."""
    r = platform.repositories
    check_layout = partial(record_engines.checked_layout, platform.settings)
    looked = PlatformReadiness(platform.settings.home, r.metadata, r.blobs, platform.access.wall, check_layout)
    return {each.name for each in looked.conditions() if each.status == "failed"}


def heard(platform, seconds_ago=0):
    now_us = platform.access.wall.now_us()
    batch = Batch()
    batch.put(ProcessReport("worker-0", "worker", "host", 1, now_us, now_us - seconds_ago * 1_000_000))
    platform.repositories.metadata.commit(batch)


def test_a_platform_with_a_worker_is_ready_and_keeps_nothing_of_the_look(platform):
    heard(platform)
    assert reasons(platform) == set()
    assert list(platform.repositories.blobs.digests()) == []


def test_a_worker_that_is_silent_or_was_never_there_is_a_reason(platform):
    assert reasons(platform) == {"worker"}
    heard(platform, seconds_ago=31)
    assert reasons(platform) == {"worker"}
    heard(platform, seconds_ago=20)
    assert reasons(platform) == set()


def test_a_report_of_before_the_clock_was_set_back_does_not_stand_for_a_worker(platform):
    heard(platform, seconds_ago=-3_600)
    assert reasons(platform) == {"worker"}


def test_blobs_that_cannot_be_written_are_a_reason(platform):
    heard(platform)
    folder = platform.settings.home / "blobs"
    shutil.rmtree(folder)
    folder.write_bytes(b"no folder")
    assert reasons(platform) == {"blobs"}


def test_a_store_of_another_version_is_a_reason(platform):
    heard(platform)
    with sqlite3.connect(platform.settings.home / "metadata.db") as store:
        store.execute("UPDATE rota_schema SET version = 1000")
    store.close()
    assert reasons(platform) == {"metadata:layout"}


def test_a_full_disk_is_a_reason(platform, monkeypatch):
    heard(platform)
    monkeypatch.setattr(free_space, "LOW_BYTES", 10**18)
    assert reasons(platform) == {"disk"}
