"""The feed on a real Redis: what is pushed can be read there, survives kill -9, and materializes, as on the embedded store."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.settings import Settings
from rota.wiring import Platform, open_platform

SALES = Source("sales", {"id": "int", "shop": "string", "at": "timestamp", "amount": "float"}, "at", id_field="id")
SHOP = Entity("shop", ["shop"])
NEWEST = FeatureView("newest", [SHOP], SALES, {"amount": Feature("amount")})
WINDOWS = FeatureView("windows", [SHOP], SALES, {"n": Feature("amount", "count", "1h"), "sum": Feature("amount", "sum", "1h")})
SERVICE = FeatureService("sales", [NEWEST, WINDOWS])
FEATURES = ["newest:amount", "windows:n", "windows:sum"]


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(home=tmp_path / "home", online_url=redis_url, online_namespace=uuid.uuid4().hex)


@pytest.fixture
def platform(settings: Settings) -> Iterator[Platform]:
    opened = open_platform(settings)
    opened.feed.register([SERVICE])
    yield opened
    opened.close()


def serves(platform: Platform, shop: str = "a") -> tuple[Any, ...]:
    (row,) = platform.features.get_online_features(FEATURES, [{"shop": shop}]).rows()
    return tuple(row.values())[1:]


def sale(platform: Platform, id: int, amount: float, shop: str = "a") -> dict[str, Any]:
    return {"id": id, "shop": shop, "at": platform.repositories.clock.now_us() - 1_000_000 + id, "amount": amount}


def test_a_push_is_read_corrected_flushed_and_materialized(platform: Platform) -> None:
    assert serves(platform) == (None, None, None)
    first = [sale(platform, 1, 2.0), sale(platform, 2, 3.0)]
    platform.feed.pushes.push("sales", first)
    assert serves(platform) == (3.0, 2, 5.0)
    platform.feed.pushes.push("sales", first)
    assert serves(platform) == (3.0, 2, 5.0)
    platform.feed.pushes.push("sales", [{**first[1], "amount": 4.0}])
    assert serves(platform) == (4.0, 2, 6.0)
    platform.feed.pushes.flush("sales")
    for view in (NEWEST, WINDOWS):
        platform.feed.materializer.forget(view)
    assert serves(platform) == (None, None, None)
    platform.feed.materializer.materialize("windows")
    assert serves(platform) == (4.0, 2, 6.0)


def test_an_embedded_store_and_a_redis_hold_the_same_keys_and_bytes(platform: Platform, settings: Settings, redis_url: str, tmp_path: Path) -> None:
    redis = pytest.importorskip("redis").Redis.from_url(redis_url)
    embedded = open_platform(Settings(home=tmp_path / "embedded"))
    try:
        embedded.feed.register([SERVICE])
        rows = [sale(platform, number, 1.0, shop) for number, shop in enumerate(["a", "ü" * 300, "x" * 600])]
        for each in (platform, embedded):
            each.feed.pushes.push("sales", rows)
        start = settings.online_namespace.encode() + b":r:"
        keys = [key.removeprefix(start) for key in redis.scan_iter(match=start + b"v*")]
        assert len(keys) == 6
        here, there = platform.repositories.online.read(keys), embedded.repositories.online.read(keys)
        assert [_without_created(data) for data in here] == [_without_created(data) for data in there]
    finally:
        embedded.close()


def _without_created(data: bytes | None) -> bytes:
    """A row without the moment at which it was received, which differs."""
    assert data is not None
    return data[:9] + data[17:] if data[:1] == b"R" else data[:9]


CHILD = """
import sys
from rota.settings import load
from rota.wiring import open_platform
platform = open_platform(load(home=sys.argv[1], online_url=sys.argv[2], online_namespace=sys.argv[3]))
now_us = platform.repositories.clock.now_us()
for number in range(100_000):
    platform.feed.pushes.push("sales", [{"id": number, "shop": "a", "at": now_us, "amount": 1.0}])
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [1, 15])
def test_a_push_that_was_acknowledged_survives_kill_9(platform: Platform, settings: Settings, after: int) -> None:
    command = [sys.executable, "-c", CHILD, str(settings.home), settings.online_url, settings.online_namespace]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        acknowledged = 0
        for line in child.stdout:
            acknowledged = int(line) + 1
            if acknowledged == after:
                os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    platform.feed.pushes.recover()
    _, count, total = serves(platform)
    assert acknowledged <= count <= acknowledged + 1  # the push that was cut off may have got as far as the journal
    assert total == count
    platform.feed.materializer.materialize("windows")
    assert serves(platform) == (1.0, count, total)
    platform.feed.pushes.push("sales", [sale(platform, 200_000, 5.0)])
    assert serves(platform)[1:] == (count + 1, total + 5.0)
