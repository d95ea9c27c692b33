"""Push rate through `Feed.pushes.push`, acknowledged after fsync, on the embedded stores (SQLite, Delta, LMDB, journal files).

    python benchmarks/features/push.py                  # 200 batches of 1,000
    python benchmarks/features/push.py --batches 20     # small

Stories: a source with three scalar views of ten features, with and without row ids; one with a view of two windows (1 h, 24 h; hop 15 min) with and
without row ids. The reference of the same run is the same rows as MessagePack in one fsynced file: what durability alone costs.
"""

import argparse
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rota.backends.clocks import SystemClock
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source

COLUMNS = [f"f{i}" for i in range(10)]
entity = Entity("user", ["user"])


def scalar(*, ids: bool) -> FeatureService:
    fields = {"user": "int", "at": "timestamp", **dict.fromkeys(COLUMNS, "float")} | ({"id": "int"} if ids else {})
    source = Source("events", fields, "at", id_field="id" if ids else None)
    return FeatureService("s", [FeatureView(f"v{n}", [entity], source, {name: Feature(name) for name in COLUMNS}) for n in range(3)])


def windowed(*, ids: bool) -> FeatureService:
    source = Source("events", {"id": "int", "user": "int", "at": "timestamp", "amount": "float"}, "at", id_field="id" if ids else None)
    features = {f"{kind}_{window}": Feature("amount", kind, window) for kind in ("count", "sum", "mean") for window in ("1h", "24h")}  # type: ignore[arg-type]
    return FeatureService("s", [FeatureView("w", [entity], source, features)])


def batches(service: FeatureService, count: int, users: int, size: int) -> Iterator[list[dict[str, Any]]]:
    draw = random.Random(7)
    fields, number = service.stored_views[0].source.fields, 0
    for _ in range(count):
        made, now_us = [], time.time_ns() // 1_000
        for _ in range(size):
            row: dict[str, Any] = {name: draw.random() for name, kind in fields.items() if kind == "float"}
            late = draw.randrange(1_800_000_000) if draw.random() < 0.05 else 0
            row |= {"user": draw.randrange(users), "at": now_us - late}
            if "id" in fields:
                row["id"] = number
            number += 1
            made.append(row)
        yield made


def pushed(service: FeatureService, options: argparse.Namespace) -> tuple[float, float]:
    """(events per second pushed, events per second of the reference)."""
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        home = Path(folder)
        online = LmdbOnline(home / "online", sync=True)
        feed = Feed(SqlMetadata(open_engine(home / "metadata.db")), DeltaTables(home / "tables"), online, SegmentJournal(home / "log"), SystemClock())
        feed.register([service])
        spent = reference = 0.0
        with (home / "reference").open("ab") as file:
            for number, rows in enumerate(batches(service, options.batches + 2, options.users, options.batch)):
                began = time.perf_counter()
                feed.pushes.push("events", rows, sync=True)
                between = time.perf_counter()
                file.write(b"".join(map(msgspec.msgpack.encode, rows)))
                file.flush()
                os.fsync(file.fileno())
                if number >= 2:
                    spent += between - began
                    reference += time.perf_counter() - between
        online.close()
    events = options.batches * options.batch
    return events / spent, events / reference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--users", type=int, default=3_000)
    parser.add_argument("--directory", type=Path, default=None, help="where the stores are made (default: the temporary directory)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    stories = {
        "3 scalar views x 10": scalar(ids=False),
        "3 scalar views, with ids": scalar(ids=True),
        "2 windows": windowed(ids=False),
        "2 windows, rows with ids": windowed(ids=True),
    }
    results = {}
    for name, service in stories.items():
        rate, reference = pushed(service, options)
        results[name] = {"events_per_s": round(rate), "reference_per_s": round(reference), "ratio": round(reference / rate, 2)}
        if not options.json:
            print(f"{name:28} {rate:10,.0f} events/s   reference {reference:10,.0f}   ratio {reference / rate:.2f}   goal 25,000/s")
    if options.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
