"""Online reads of 3 views x 10 float features: what the public call costs beside the bare store, a dict, and Feast's SQLite SDK.

    python benchmarks/features/online.py [--entities 30000] [--calls 20000] [--no-peer] [--json]

Every engine answers the same entities in the same order; microseconds per call, median and 99th percentile, for 1 and 100 entity
rows. The dict is the limit: keys made, looked up, decoded, nothing else. Feast runs in an environment of its own (697 MiB), by the same
loop (peers/feast_online.py); its call and ours both end in `to_dict()`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.environment import python_of

from rota.manage.features.online.reader import OnlineFeatures, merge, stored_view, upserts
from rota.ports.online import Online
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.settings import Settings
from rota.wiring import Platform, opened

LIMIT = "dict + decode (limit)"
PEER = "feast[duckdb]==0.67.0"
VIEWS, FEATURES = 3, 10


def service() -> FeatureService:
    fields = {"driver": "int", "at": "timestamp"} | {f"f{i}": "float" for i in range(FEATURES)}
    features = {f"f{i}": Feature(f"f{i}") for i in range(FEATURES)}
    driver = Entity("driver", ["driver"])
    views = [FeatureView(f"view{n}", [driver], Source(f"source{n}", fields, "at"), features, ttl="24h") for n in range(VIEWS)]
    return FeatureService("drivers", views)


def filled(online: Online, features: FeatureService, entities: int, now_us: int) -> None:
    draw = random.Random(7)
    for view in features.stored_views:
        compiled = stored_view(view)
        for start in range(0, entities, 10_000):
            rows = [
                {"driver": i, "at": now_us} | {f"f{n}": draw.random() for n in range(FEATURES)} for i in range(start, min(start + 10_000, entities))
            ]
            online.update(upserts(compiled, rows, now_us), merge)


def percentiles(call: Callable[[list[dict[str, int]]], object], asked: list[list[dict[str, int]]]) -> tuple[float, float]:
    """Median and 99th percentile of one call, in microseconds."""
    for rows in asked[:200]:
        call(rows)
    took = []
    for rows in asked:
        began = time.perf_counter_ns()
        call(rows)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    return took[len(took) // 2] / 1_000, took[len(took) * 99 // 100] / 1_000


def engines(platform: Platform, features: FeatureService, entities: int) -> dict[str, Callable[[list[dict[str, int]]], object]]:
    online, now_us = platform.repositories.online, time.time_ns() // 1_000
    platform.feed.register([features])
    filled(online, features, entities, now_us)
    views = [stored_view(view) for view in features.stored_views]
    known = {key: online.read([key])[0] for view in views for i in range(entities) if (key := view.key_of(i))}
    reader, store = OnlineFeatures(online, features), platform.features
    references = [name.replace("__", ":") for name in features.feature_names]

    def limit(rows: list[dict[str, int]]) -> object:
        return [view.decode(known[view.prefix + b"i%d;" % row["driver"]], now_us) for row in rows for view in views]

    def bare(rows: list[dict[str, int]]) -> object:
        keys = [view.prefix + b"i%d;" % row["driver"] for row in rows for view in views]
        return [view.decode(data, now_us) for view, data in zip(views * len(rows), online.read(keys), strict=True)]

    assert store.get_online_features(references, [{"driver": 0}]).statuses()["view2__f9"] == ["PRESENT"]
    return {
        LIMIT: limit,
        "LMDB + decode": bare,
        "Rota, public call": lambda rows: store.get_online_features(references, rows).to_dict(),
        "Rota, OnlineFeatures.read": lambda rows: reader.read(rows, now_us).to_dict(),
        "Rota, vectors for predictions": lambda rows: reader.vectors(rows, now_us),
    }


def peer(entities: int, calls: int, rows: int) -> tuple[float, float]:
    script = Path(__file__).parent / "peers" / "feast_online.py"
    command = [str(python_of(PEER)), str(script), "--entities", str(entities), "--calls", str(calls), "--rows", str(rows)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return tuple(json.loads(out.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entities", type=int, default=30_000)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as home, opened(Settings(home=Path(home))) as platform:
        compared = engines(platform, service(), options.entities)
        for rows in (1, 100):
            draw = random.Random(11)
            calls = max(options.calls // rows, 200)
            asked = [[{"driver": draw.randrange(options.entities)} for _ in range(rows)] for _ in range(calls)]
            for name, call in [*compared.items(), ("dict + decode, again", compared[LIMIT])]:
                p50, p99 = percentiles(call, asked)
                results.append({"engine": name, "rows": rows, "p50_us": p50, "p99_us": p99})
            if not options.no_peer:
                p50, p99 = peer(options.entities, max(calls // 20, 100), rows)
                results.append({"engine": "Feast SDK, SQLite", "rows": rows, "p50_us": p50, "p99_us": p99})
    show(results, as_json=options.json)


def show(results: list[dict[str, Any]], *, as_json: bool) -> None:
    for each in results:
        same = {other["engine"]: other["p50_us"] for other in results if other["rows"] == each["rows"]}
        each["of_limit"] = each["p50_us"] / same[LIMIT]
        each["of_public_call"] = each["p50_us"] / same["Rota, public call"]
    if as_json:
        json.dump(results, sys.stdout, indent=1)
        return
    print(f"{'engine':32}{'rows':>6}{'p50 us':>10}{'p99 us':>10}{'x limit':>9}{'x public':>10}")
    for each in results:
        print(
            f"{each['engine']:32}{each['rows']:>6}{each['p50_us']:>10.1f}{each['p99_us']:>10.1f}{each['of_limit']:>9.2f}{each['of_public_call']:>10.2f}"
        )


if __name__ == "__main__":
    main()
