"""The join of `benchmarks/features/join.py` by Feast's DuckDB offline store; run by Feast's own interpreter: feast_join.py DIRECTORY."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32

SHAPES = (("clicks", 8, timedelta(hours=24)), ("orders", 6, timedelta(hours=72)), ("profile", 5, timedelta(0)))


def main(directory: Path) -> None:
    store = applied(directory)
    labels = pd.read_parquet(directory / "labels.parquet")
    labels["event_timestamp"] = pd.to_datetime(labels["event_timestamp"], unit="us", utc=True)
    features = [f"{name}:{name}_{i}" for name, floats, _ in SHAPES for i in range(floats)]
    started = time.perf_counter()
    answer = store.get_historical_features(entity_df=labels, features=features, full_feature_names=True).to_arrow()
    seconds = time.perf_counter() - started
    peak = peak_gib()
    pq.write_table(answer, directory / "answer-feast.parquet")
    print(json.dumps({"seconds": seconds, "peak_gib": peak}))


def peak_gib() -> float:
    """The most this process has held: VmHWM, which unlike getrusage does not begin with what the parent held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def applied(directory: Path) -> FeatureStore:
    repository = directory / "feast"
    repository.mkdir(exist_ok=True)
    (repository / "feature_store.yaml").write_text(
        "project: bench\nprovider: local\nregistry: registry.db\noffline_store:\n  type: duckdb\nonline_store:\n  type: sqlite\n  path: online.db\n"
        "entity_key_serialization_version: 3\n"
    )
    store = FeatureStore(str(repository))
    entity = Entity(name="entity", join_keys=["entity"], value_type=ValueType.INT64)
    views = []
    for name, floats, ttl in SHAPES:
        source = FileSource(
            name=f"{name}_source", path=str(directory / f"{name}.parquet"), timestamp_field="event_timestamp", created_timestamp_column="created"
        )
        schema = [Field(name=f"{name}_{i}", dtype=Float32) for i in range(floats)]
        views.append(FeatureView(name=name, entities=[entity], ttl=ttl, schema=schema, source=source))
    store.apply([entity, *views])
    return store


if __name__ == "__main__":
    main(Path(sys.argv[1]))
