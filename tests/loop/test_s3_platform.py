"""A platform whose blobs and tables lie in a bucket: two processes share one home and see each other's rows, versions and releases."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rota import wiring
from rota.errors import InvalidInput
from rota.manage.datasets import build as datasets
from rota.ports.metadata import Batch
from rota.records.data import FeatureService, Source, sql
from rota.records.dataset import DatasetDefinition, DatasetVersion, TimeSplit
from rota.records.time import HOUR_US
from rota.settings import Settings, load

PROJECT = """
import rota

shop = rota.Entity("shop", ["shop"])
weather = rota.Source("weather", fields={"shop": "string", "at": "timestamp", "temp": "float"}, timestamp_field="at", id_field=None)
sales = rota.Source(
    "sales", fields={"id": "string", "shop": "string", "at": "timestamp", "sold": "float"}, timestamp_field="at", id_field="id"
)
shop_weather = rota.FeatureView("shop_weather", [shop], weather, ttl="3h", features={"temp": rota.sql("temp * 2")})
features = rota.FeatureService("ice", [shop_weather])
"""

CHILD = """
import json, sys
from rota import wiring
from rota.manage.datasets import build as datasets
from rota.manage.experiments.frame_digest import digest_of
from rota.records.dataset import DatasetVersion
with wiring.opened() as platform:
    r = platform.repositories
    version = r.metadata.get(DatasetVersion, "ice", 1)
    rows = datasets.read(r.tables, version)
    platform.features.push("sales", json.loads(sys.argv[1]))
    platform.feed.pushes.flush("sales")
    print(json.dumps({"rows": rows.to_dicts(), "digest": digest_of(rows), "blobs": sorted(r.blobs.digests()), "tables": r.tables.tables()}))
"""


def test_features_and_datasets_of_a_bucket_are_the_same_for_two_processes(s3_env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROTA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ROTA_STORAGE_URL", s3_env.url())
    project = tmp_path / "project.py"
    project.write_text(PROJECT)
    with wiring.opened(load()) as platform:
        r = platform.repositories
        platform.projects.apply(project)
        start = r.clock.now_us() - 5 * HOUR_US
        platform.features.push("weather", [{"shop": "a", "at": start + hour * HOUR_US, "temp": 10.0 + hour} for hour in range(5)])
        platform.features.push("sales", [{"id": f"s{hour}", "shop": "a", "at": start + hour * HOUR_US, "sold": float(hour)} for hour in range(5)])
        assert platform.feed.pushes.flush("weather") == platform.feed.pushes.flush("sales") == 5
        assert platform.feed.materializer.materialize("shop_weather") == 1
        service, sales = r.metadata.get(FeatureService, "ice"), r.metadata.get(Source, "sales")
        definition = DatasetDefinition(service, labels=sales, label=sql("sold"), timestamp="at", window="7d", split=TimeSplit(test="1h"))
        built = datasets.build(r.tables, "ice", 1, definition, now_us=r.clock.now_us())
        batch = Batch()
        batch.create(built.version)
        r.metadata.commit(batch)
        more = [{"id": "late", "shop": "a", "at": start, "sold": 9.0}]
        child = subprocess.run([sys.executable, "-c", CHILD, json.dumps(more)], capture_output=True, text=True, check=False)
        assert child.returncode == 0, child.stderr
        seen = json.loads(child.stdout)
        assert seen["digest"] == built.version.digest
        assert seen["rows"] == datasets.read(r.tables, built.version).to_dicts()
        assert [row["shop_weather__temp"] for row in seen["rows"]] == [20.0, 22.0, 24.0, 26.0, 28.0]
        assert seen["blobs"] == sorted(r.blobs.digests())
        assert len(seen["blobs"]) >= 1  # the release
        assert r.tables.scan("sources/sales").collect().height == 6
        assert datasets.digest_of(datasets.read(r.tables, r.metadata.get(DatasetVersion, "ice", 1))) == built.version.digest
    assert not (tmp_path / "home" / "blobs").exists()
    assert not (tmp_path / "home" / "tables").exists()
    for file in (tmp_path / "home").rglob("*"):
        assert not file.is_file() or s3_env.env["AWS_SECRET_ACCESS_KEY"].encode() not in file.read_bytes()


def test_a_storage_address_that_is_none_is_refused_when_the_platform_is_opened(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="s3://BUCKET"):
        wiring.open_platform(Settings(home=tmp_path, storage_url="gs://bucket"))
