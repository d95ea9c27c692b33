"""Materialize end to end against Feast's on SQLite: read the offline table, newest row of each entity, encode, put, synced.

    python benchmarks/features/materialize.py                                  # 2M rows of 1M entities, Feast on 100k of 50k
    python benchmarks/features/materialize.py --rows 100000 --peer-rows 20000  # small
    python benchmarks/features/materialize.py --no-peer

One view of ten float features. Both are given Parquet files with two rows for each entity, shuffled; rates are rows of the
online store written per second. The reference of the same run is encoding and putting the same rows, without reading them.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))

from peers.environment import python_of

from rota.backends.clocks import SystemClock
from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.sql.engine import open_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.features.online.reader import merge
from rota.manage.features.online.row_codec import RowView
from rota.manage.features.online.row_codec_batch import RowBatches
from rota.manage.features.rows.source_table import CREATED
from rota.manage.features.writer import Feed
from rota.records.data import Entity, Feature, FeatureView, Source

PEER = "feast[duckdb]==0.67.0"
COLUMNS = [f"f{i}" for i in range(10)]
SOURCE = Source("drives", {"driver": "int", "at": "timestamp", **dict.fromkeys(COLUMNS, "float")}, "at")
VIEW = FeatureView("v", [Entity("driver", ["driver"])], SOURCE, {name: Feature(name) for name in COLUMNS})


def rows(count: int) -> pl.DataFrame:
    """Two rows for each entity within the last day, shuffled."""
    draw = np.random.default_rng(7)
    now_us = time.time_ns() // 1_000
    made = {"driver": draw.permutation(count) // 2, "at": now_us - draw.integers(1_000_000, 86_400_000_000, count)}
    return pl.DataFrame(made | {name: draw.random(count, dtype=np.float32).astype(np.float64) for name in COLUMNS})


def ours(count: int, directory: Path | None) -> tuple[float, float]:
    """(rows per second materialized, rows per second only encoded and put)."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        home = Path(folder)
        tables, online = DeltaTables(home / "tables"), LmdbOnline(home / "online", size_mb=16_384, sync=True)
        feed = Feed(SqlMetadata(open_engine(home / "metadata.db")), tables, online, SegmentJournal(home / "log"), SystemClock())
        feed.register([VIEW])
        found = rows(count)
        for number, part in enumerate(found.iter_slices(1_000_000)):
            tables.append("sources/drives", part.with_columns(pl.lit(number, dtype=pl.Int64).alias(CREATED)))
        began = time.perf_counter()
        written = feed.materializer.materialize("v")
        took = time.perf_counter() - began
        again = feed.materializer.materialize_incremental("v")
        online.close()
        assert (written, again) == ((count + 1) // 2, 0)
        bare = LmdbOnline(home / "bare", size_mb=16_384, sync=True)
        newest = found.sort("at").unique("driver", keep="last").with_columns(pl.lit(0, dtype=pl.Int64).alias(CREATED))
        began = time.perf_counter()
        pairs = RowBatches(RowView(VIEW)).pairs(newest)
        for start in range(0, len(pairs), 100_000):
            bare.update(pairs[start : start + 100_000], merge)
        bare_took = time.perf_counter() - began
        bare.close()
    return written / took, written / bare_took


def peer(count: int) -> float:
    """Feast's rows per second."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.parquet"
        rows(count).with_columns(pl.from_epoch("at", "us").dt.replace_time_zone("UTC")).write_parquet(data)
        program = Path(__file__).parent / "peers" / "feast_materialize.py"
        said = subprocess.run([str(python_of(PEER)), str(program), str(data), folder], check=True, capture_output=True, text=True).stdout
    return float(json.loads(said.splitlines()[-1])["rows_per_s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--directory", type=Path, default=None, help="where the stores are made (default: the temporary directory)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rate, bare = ours(options.rows, options.directory)
    results = {"rows_per_s": round(rate), "bare_put_per_s": round(bare), "share_of_bare_put": round(rate / bare, 2)}
    if not options.no_peer:
        feast = peer(options.peer_rows)
        results |= {"feast_per_s": round(feast), "ratio": round(rate / feast, 1)}
    if options.json:
        print(json.dumps(results))
        return
    print(f"materialize {rate:12,.0f} rows/s   bare put {bare:12,.0f}   share {rate / bare:.2f} (goal 0.5)")
    if not options.no_peer:
        print(f"Feast sqlite {feast:11,.0f} rows/s   ratio {rate / feast:.1f} (goal 20)")


if __name__ == "__main__":
    main()
