"""The point-in-time join: one training frame from three feature views, against Feast's DuckDB store and DuckDB's textbook query.

    python benchmarks/features/join.py                          # 16M feature rows, 1M labels, all engines
    python benchmarks/features/join.py --small                  # 1/20 of it
    python benchmarks/features/join.py --scale 3 --labels 2000000 --engines scan,compacted   # 48M rows

Views of 12M x 8, 3M x 6 and 1M x 5 floats, 100k entities, 30 days, 1 % corrections (a second row for the same entity and event
time, created later); time to live 24 h, 72 h, none. The values are float32 numbers; peers read them as float32 from Parquet
files written in the order of arrival, Rota keeps 64-bit floats in its own tables. Each engine runs in a child process:
seconds from the files to a table in memory without imports, and the peak of its resident memory. The answers are
compared column by column with each other, and for a sample of labels with a brute force over all rows.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peers.environment import python_of

from rota.backends.storage.delta_tables import DeltaTables
from rota.manage.features.join import point_in_time
from rota.manage.features.join.compaction import Sizes, cluster
from rota.manage.features.join.row_history import SourceSnapshot, layout_of
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source

HERE = Path(__file__).parent
HOUR_US = 3_600_000_000
START, SPAN = 1_700_000_000_000_000, 30 * 24 * HOUR_US
PEERS = {"feast": ("feast_join.py", "feast[duckdb]==0.67.0"), "duckdb": ("duckdb_join.py", "duckdb==2.0.0", "pyarrow")}


@dataclass(frozen=True)
class Shape:
    """One view: its rows at scale 1, its float features and its time to live."""

    name: str
    rows: int
    floats: int
    ttl_us: int | None

    @property
    def features(self) -> list[str]:
        return [f"{self.name}_{i}" for i in range(self.floats)]


SHAPES = (Shape("clicks", 12_000_000, 8, 24 * HOUR_US), Shape("orders", 3_000_000, 6, 72 * HOUR_US), Shape("profile", 1_000_000, 5, None))
ENGINES = ("scan", "compact", "compacted", "raw", "duckdb", "feast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times 16M feature rows")
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--small", action="store_true", help="1/20 of rows, labels and entities")
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each engine, in turns; the quickest counts")
    parser.add_argument("--directory", type=Path, help="where the data is made and kept (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(in_child(options.child, options.directory)))
        return
    if options.small:
        options.scale, options.labels, options.entities = options.scale / 20, options.labels // 20, options.entities // 20
    with tempfile.TemporaryDirectory() as temporary:
        directory = options.directory or Path(temporary)
        make(directory, options)
        runs = measure(directory, options.engines.split(","), options.rounds)
        report(directory, runs, options)


def make(directory: Path, options: argparse.Namespace) -> None:
    """The feature rows as Parquet and as Rota's raw tables, and the labels; kept where they are already."""
    if (directory / "labels.parquet").exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    tables = DeltaTables(directory / "tables")
    rng = np.random.default_rng(7)
    for shape in SHAPES:
        count = int(shape.rows * options.scale)
        late = count // 100
        entity = rng.integers(0, options.entities, count - late)
        event = START + np.sort(rng.integers(0, SPAN, count - late))
        again = rng.choice(count - late, late, replace=False)
        created = np.concatenate([event + 1_000_000, event[again] + 7_200_000_000])
        frame = pl.DataFrame({"entity": np.append(entity, entity[again]), "event_timestamp": np.append(event, event[again]), "created_us": created})
        values = {name: rng.normal(size=count).astype(np.float32) for name in shape.features}
        frame = frame.with_columns(**{name: pl.Series(column) for name, column in values.items()}).sort("created_us")
        times = (pl.col(name).cast(pl.Datetime("us", "UTC")) for name in ("event_timestamp", "created_us"))
        frame.with_columns(times).rename({"created_us": "created"}).write_parquet(directory / f"{shape.name}.parquet", row_group_size=250_000)
        wide = frame.with_columns(pl.col(shape.features).cast(pl.Float64))
        for start in range(0, count, 1_000_000):
            tables.append(f"sources/{shape.name}", wide[start : start + 1_000_000])
    asked = {"entity": rng.integers(0, int(options.entities * 1.01), options.labels)}
    asked["event_timestamp"] = START + rng.integers(0, SPAN // 1_000_000, options.labels) * 1_000_000
    pl.DataFrame(asked).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64)).write_parquet(directory / "labels.parquet")


def measure(directory: Path, engines: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """The quickest run of each engine; the engines take turns, so that a slow minute of the machine meets them all."""
    best: dict[str, dict[str, Any]] = {}
    if "compact" in engines or not (directory / "tables" / "history").exists():
        best["compact"] = child("compact", directory)
    for turn in range(rounds):
        for engine in engines:
            if engine == "compact":
                continue
            run = child(engine, directory)
            print(f"round {turn + 1}: {engine:10} {run['seconds']:7.2f} s  {run['peak_gib']:.2f} GiB", file=sys.stderr, flush=True)
            if engine not in best or run["seconds"] < best[engine]["seconds"]:
                best[engine] = run
    return best


def child(engine: str, directory: Path) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", engine, "--directory", str(directory)]
    if engine in PEERS:
        script, *requirements = PEERS[engine]
        command = [str(python_of(*requirements)), str(HERE / "peers" / script), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def in_child(engine: str, directory: Path) -> dict[str, Any]:
    """Run one engine in this process."""
    runners: dict[str, Callable[[Path], pl.DataFrame | None]] = {
        "scan": scan, "compact": compacting, "compacted": rota_join, "raw": lambda there: rota_join(there, raw=True),
    }  # fmt: skip

    started = time.perf_counter()
    made = runners[engine](directory)
    seconds = time.perf_counter() - started
    peak = peak_gib()
    if made is not None:
        made.write_parquet(directory / f"answer-{engine}.parquet")
    return {"seconds": seconds, "peak_gib": peak}


def peak_gib() -> float:
    """The most this process has held: VmHWM, which unlike getrusage does not begin with what the parent held."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def view_of(shape: Shape) -> FeatureView:
    source = Source(shape.name, {"entity": "int", "event_timestamp": "timestamp"} | dict.fromkeys(shape.features, "float"), "event_timestamp")
    ttl = None if shape.ttl_us is None else f"{shape.ttl_us // HOUR_US}h"
    return FeatureView(shape.name, [Entity("entity", ["entity"])], source, {name: Feature(name) for name in shape.features}, ttl=ttl)


def compacting(directory: Path) -> None:
    for shape in SHAPES:
        cluster(DeltaTables(directory / "tables"), view_of(shape).source, [("entity",)], sizes=Sizes(smallest=1))


def scan(directory: Path) -> None:
    """The lower bound: the copies' files read, the columns of the join only, nothing done with them."""
    tables = DeltaTables(directory / "tables")
    for shape in SHAPES:
        layout = layout_of(view_of(shape))
        copy = layout.copies(tables)[-1]
        for bucket in range(copy.buckets):
            tables.scan(layout.table(copy, bucket), columns=["entity", "event_timestamp", *shape.features]).collect()


def rota_join(directory: Path, *, raw: bool = False) -> pl.DataFrame:
    tables = DeltaTables(directory / "tables")
    if raw:
        point_in_time.snapshot = lambda _tables, layout, version, _fields: SourceSnapshot(layout, version, None, None)
    service = FeatureService("all", [view_of(shape) for shape in SHAPES])
    return point_in_time.historical(tables, service, pl.read_parquet(directory / "labels.parquet"), timestamp="event_timestamp")


def report(directory: Path, runs: dict[str, dict[str, Any]], options: argparse.Namespace) -> None:
    reference = runs.get("compacted")
    answers = {engine: directory / f"answer-{engine}.parquet" for engine in runs if (directory / f"answer-{engine}.parquet").exists()}
    wrong = {engine: brute_force(directory, path) for engine, path in answers.items()}
    print(f"{sum(int(s.rows * options.scale) for s in SHAPES):,} feature rows, {options.labels:,} labels, {options.entities:,} entities")
    print(f"{'engine':12}{'seconds':>9}{'/ compacted':>13}{'peak GiB':>10}{'wrong cells':>13}{'rows':>10}  checksum")
    for engine, run in runs.items():
        ratio = f"{run['seconds'] / reference['seconds']:.2f}" if reference else "-"
        run["ratio"], run["wrong_cells"] = ratio, wrong.get(engine)
        told = checksum(answers[engine]) if engine in answers else ""
        print(f"{engine:12}{run['seconds']:9.2f}{ratio:>13}{run['peak_gib']:10.2f}{wrong.get(engine, '-')!s:>13}{told}")
    if reference and "scan" in runs:
        print(f"compacted join / scan of the same files: {reference['seconds'] / runs['scan']['seconds']:.2f}")
    if options.json:
        options.json.write_text(json.dumps(runs, indent=1))


def checksum(answer: Path) -> str:
    found = pl.scan_parquet(answer)
    names = [f"{shape.name}__{name}" for shape in SHAPES for name in shape.features]
    rows, total, nulls = (
        found.select(pl.len(), pl.sum_horizontal(pl.col(names).cast(pl.Float64).sum()), n=pl.sum_horizontal(pl.col(names).null_count()))
        .collect()
        .row(0)
    )
    return f"{rows:>10}  sum {total:.3f}, nulls {nulls}"


def brute_force(directory: Path, answer: Path, sample: int = 400) -> int:
    """Wrong cells among those of a sample of labels, every row of their entities looked at."""
    labels = pl.read_parquet(directory / "labels.parquet")
    picked = labels.sample(min(sample, labels.height), seed=1).sort("row")
    got = pl.scan_parquet(answer).filter(pl.col("row").is_in(picked["row"].implode())).sort("row").collect()
    if got.height != picked.height:
        return -1
    wrong = 0
    for shape in SHAPES:
        file = pl.scan_parquet(directory / f"{shape.name}.parquet")
        mine = file.filter(pl.col("entity").is_in(picked["entity"].unique().implode())).collect()
        rows = mine.with_columns(pl.col("event_timestamp", "created").dt.epoch("us"))
        by_entity = {key[0]: frame for key, frame in rows.partition_by("entity", as_dict=True).items()}
        for index, (entity, at) in enumerate(picked.select("entity", "event_timestamp").iter_rows()):
            there = by_entity.get(entity, rows.clear()).filter(pl.col("event_timestamp") <= at).sort("event_timestamp", "created")
            newest = there.row(-1, named=True) if there.height else None
            if newest is not None and shape.ttl_us is not None and at - newest["event_timestamp"] > shape.ttl_us:
                newest = None
            for name in shape.features:
                want, have = newest and newest[name], got[f"{shape.name}__{name}"].fill_nan(None)[index]
                wrong += want != have
    return wrong


if __name__ == "__main__":
    main()
