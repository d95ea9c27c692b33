"""Feast's repository of the online benchmarks: as many views and entities as Rota's, filled through Feast's own call. Runs in Feast's environment."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64
from feast.value_type import ValueType

VIEWS, FEATURES = 3, 10
REFERENCES = [f"view{view}:f{feature}" for view in range(VIEWS) for feature in range(FEATURES)]


def repository(home: Path, entities: int) -> FeatureStore:
    """A store on SQLite in `home` with every entity's row in every view."""
    config = {
        "project": "peer",
        "provider": "local",
        "registry": str(home / "registry.db"),
        "online_store": {"type": "sqlite", "path": str(home / "online.db")},
        "entity_key_serialization_version": 3,
    }
    (home / "feature_store.yaml").write_text("\n".join([
        "project: peer", "provider: local", f"registry: {home / 'registry.db'}", "entity_key_serialization_version: 3",
        "online_store:", "  type: sqlite", f"  path: {home / 'online.db'}", "",
    ]))  # fmt: skip
    store = FeatureStore(config=RepoConfig(repo_path=home, **config))
    driver = Entity(name="driver", join_keys=["driver"], value_type=ValueType.INT64)
    now = datetime.now(UTC)
    draw = np.random.default_rng(7)
    rows = pd.DataFrame({"driver": np.arange(entities), "at": now} | {f"f{n}": draw.random(entities) for n in range(FEATURES)})
    rows["driver"] = rows["driver"].astype("int64")
    rows.to_parquet(home / "rows.parquet")
    views = [
        FeatureView(
            name=f"view{n}",
            entities=[driver],
            ttl=timedelta(hours=24),
            schema=[Field(name=f"f{i}", dtype=Float64) for i in range(FEATURES)],
            source=FileSource(name=f"source{n}", path=str(home / "rows.parquet"), timestamp_field="at"),
        )
        for n in range(VIEWS)
    ]
    store.apply([driver, *views])
    for view in views:
        store.write_to_online_store(view.name, rows)
    return store
