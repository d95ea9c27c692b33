"""Windowed features: the point-in-time join, an online read, the update of an entity's tiles, and a rebuild of all tiles.

    python benchmarks/features/windows.py                    # 1M rows of 2,000 entities, 200k labels
    python benchmarks/features/windows.py --small --values whole,cents,wide,sentinel

One view: count, sum and mean of a column over 1 h and 24 h, tiles of 15 minutes. `--values` are the kinds of numbers in the column:
whole numbers, amounts with two decimals, values between 1e-6 and 1e6, amounts of which one in a thousand is the largest float32.
To compare two versions of Rota, run both in turns, the other one with PYTHONPATH=ITS/src. The quickest of the rounds counts.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from rota import count, mean, total
from rota.backends.memory.tables import MemoryTables
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.materialization import backfill
from rota.manage.features.materialization.online_update import DeduplicationIndex
from rota.manage.features.online import tiles
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows.source_table import CREATED
from rota.records.data import Entity, FeatureService, FeatureView, Source

START, HOUR_US = 1_700_000_000_000_000, 3_600_000_000
SOURCE = Source("sales", {"shop": "int", "at": "timestamp", "x": "float"}, "at")
FEATURES = {f"{each.__name__}_{window}": each("x", window=window) for window in ("1h", "24h") for each in (total, mean)}
FEATURES |= {f"count_{window}": count(window=window) for window in ("1h", "24h")}
VIEW = FeatureView("v", [Entity("shop", ["shop"])], SOURCE, FEATURES)
LARGEST = 3.4028234663852886e38


def values(kind: str, rows: int) -> np.ndarray:
    """A column of numbers."""
    draw = np.random.default_rng(7)
    cents = np.round(draw.gamma(2.0, 20.0, rows), 2)
    return {
        "whole": draw.integers(0, 500, rows).astype(np.float64),
        "cents": cents,
        "wide": 10.0 ** draw.uniform(-6, 6, rows),
        "sentinel": np.where(draw.random(rows) < 0.001, LARGEST, cents),
    }[kind]


def measured(kind: str, rows: int, labels: int, entities: int, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each part; read and update in microseconds for one call, one row."""
    draw = np.random.default_rng(11)
    found = pl.DataFrame(
        {"shop": draw.integers(0, entities, rows), "at": START + np.sort(draw.integers(0, 240 * HOUR_US, rows)), "x": values(kind, rows)}
    )
    found = found.with_columns((pl.col("at") + draw.integers(0, 5 * HOUR_US // 60, rows)).alias(CREATED)).sort(CREATED)
    tables = MemoryTables()
    tables.append("sources/sales", found)
    asked = pl.DataFrame({"shop": draw.integers(0, entities, labels), "t": START + draw.integers(0, 240 * HOUR_US, labels)})
    service, view = FeatureService("s", [VIEW]), WindowView(VIEW)
    updates = view.tile_updates([(row[CREATED], row) for row in found.filter(pl.col("shop") == 0).to_dicts()])
    record = tiles.changed(view.layout, [(None, update) for update in updates], None)
    newest_us = int(found["at"].max())  # type: ignore[arg-type]
    rows_of_one = [(row[CREATED], row) for row in found.filter(pl.col("shop") == 0).tail(40).to_dicts()]

    def pushed() -> None:
        data = record
        for each in rows_of_one:
            data = tiles.changed(view.layout, [(None, view.tile_updates([each])[0])], data)

    parts: dict[str, tuple[Callable[[], Any], int]] = {
        "join, by event": (lambda: historical(tables, service, asked, timestamp="t"), 0),
        "join, as served": (lambda: historical(tables, service, asked, timestamp="t", as_of="served", materialized={}), 0),
        "read, us": (lambda: [view.decode(record, newest_us) for _ in range(2_000)], 2_000),
        "update, us": (pushed, len(rows_of_one)),
        "rebuild": (lambda: backfill.rebuilt(DeduplicationIndex(SOURCE, [view]), [view], found), 0),
    }
    best = {name: float("inf") for name in parts}
    for _ in range(rounds):
        for name, (act, calls) in parts.items():
            began = clock()
            act()
            took = clock() - began
            best[name] = min(best[name], took / calls * 1e6 if calls else took)
    return {name: round(took, 3) for name, took in best.items()} | {"bytes": len(record)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=200_000)
    parser.add_argument("--entities", type=int, default=2_000)
    parser.add_argument("--small", action="store_true", help="a tenth of it")
    parser.add_argument("--values", default="whole,cents,wide,sentinel")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="seconds of the processor instead of the clock, for a machine that others use")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    clock = time.process_time if options.cpu else time.perf_counter
    share = 10 if options.small else 1
    for kind in options.values.split(","):
        took = measured(kind, options.rows // share, options.labels // share, options.entities // share, options.rounds, clock)
        print(
            json.dumps({"values": kind} | took) if options.json else f"{kind:9}" + "  ".join(f"{name} {each}" for name, each in took.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
