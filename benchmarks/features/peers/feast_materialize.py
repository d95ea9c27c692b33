"""Feast's `materialize` on SQLite over a Parquet file; prints {"rows_per_s": ...} in its last line. Runs in Feast's environment."""

import json
import sqlite3
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType


def main() -> None:
    data, home = Path(sys.argv[1]), Path(sys.argv[2])
    config = {
        "project": "peer",
        "provider": "local",
        "registry": str(home / "registry.db"),
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite", "path": str(home / "online.db")},
        "entity_key_serialization_version": 3,
    }
    store = FeatureStore(config=RepoConfig(repo_path=home, **config))
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    source = FileSource(name="drives", path=str(data), timestamp_field="at")
    schema = [Field(name=f"f{i}", dtype=Float64) for i in range(10)]
    store.apply([driver, FeatureView(name="v", entities=[driver], ttl=timedelta(days=30), schema=schema, source=source)])
    now = datetime.now(UTC)
    began = time.perf_counter()
    store.materialize(now - timedelta(days=2), now)
    took = time.perf_counter() - began
    with sqlite3.connect(home / "online.db") as online:
        (rows,) = online.execute("select count(distinct entity_key) from peer_v").fetchone()
    print(json.dumps({"rows_per_s": rows / took, "rows": rows, "seconds": took}))


if __name__ == "__main__":
    main()
