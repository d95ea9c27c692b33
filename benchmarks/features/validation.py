"""Validation of a Parquet file, end to end: from its path to statistics and anomalies, beside pandera, Great Expectations and Evidently.

    python benchmarks/features/validation.py [--rows 10000000] [--peer-rows 10000000] [--rounds 3] [--peers pandera,gx,evidently] [--json]

20 columns: 12 floats, 3 whole numbers, 5 texts of 4 to 5,000 values, five of the numbers with 3 % nulls; a clean file, from whose
first million rows the schema is inferred, and a dirty one with six planted faults. Each engine runs in a process of its own
(peers in environments of their own, made on first use), is given the same ranges and domains, and is timed without its imports,
best of the rounds. Great Expectations and Evidently work on pandas in memory and get a tenth and a fiftieth of the rows; the ratio is per row.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from peers.environment import python_of

from rota.manage.datasets.schema_inference import batches, file_table, of_table
from rota.records.record import decode, encode
from rota.records.schema import Schema
from rota.stats.schema_validation import validate
from rota.stats.summarize import summarize

HERE = Path(__file__).parent
PEERS = {
    "pandera": (("pandera[polars]==0.35.0", "polars"), "pandera_validation.py", 1),
    "gx": (("great_expectations==1.24.1", "pyarrow"), "gx_validation.py", 10),
    "evidently": (("evidently==0.7.23", "pandas<3", "pyarrow"), "evidently_validation.py", 50),
}
SIZES = (4, 12, 50, 300, 5_000)
CHUNK = 1_000_000


def frame(rows: int, seed: int) -> pl.DataFrame:
    """Clean rows."""
    rng = np.random.default_rng(seed)
    columns: dict[str, pl.Series] = {}
    for i in range(12):
        values = pl.Series(rng.normal(i, 1 + i, rows))
        missing = pl.Series(rng.random(rows) < 0.03) if i < 5 else pl.Series(np.zeros(rows, bool))
        columns[f"n{i}"] = pl.select(pl.when(~missing).then(values)).to_series()
    for i in range(3):
        columns[f"i{i}"] = pl.Series(rng.integers(0, 10 ** (i + 2), rows))
    for size in SIZES:
        columns[f"t{size}"] = pl.Series([f"value-{n}" for n in range(size)]).gather(pl.Series(rng.integers(0, size, rows)))
    return pl.DataFrame(columns)


def spoiled(clean: pl.DataFrame) -> pl.DataFrame:
    """Six faults: a value too large, one too small, a flood of nulls, an unknown text, a column gone and one too many."""
    at = pl.int_range(pl.len())
    return clean.with_columns(
        n5=pl.when(at == 7).then(1e6).otherwise("n5"),
        i1=pl.when(at == 9).then(-5).otherwise("i1"),
        n6=pl.when(at % 3 > 0).then(pl.col("n6")),
        t12=pl.when(at < 3).then(pl.lit("value-X")).otherwise("t12"),
        extra=pl.lit(1.0),
    ).drop("n7")


def write(folder: Path, rows: int) -> None:
    """Both files in row groups; the dirty one is spoiled in its first part."""
    for name in ("clean", "dirty"):
        parts = folder / name
        parts.mkdir()
        for number, start in enumerate(range(0, rows, CHUNK)):
            part = frame(min(CHUNK, rows - start), number)
            if name == "dirty":
                part = spoiled(part)
            part.write_parquet(parts / f"{number:03}.parquet", row_group_size=250_000)
        pl.scan_parquet(parts / "*.parquet").sink_parquet(folder / f"{name}.parquet", row_group_size=250_000)


def expectations(schema: Schema, path: Path) -> None:
    """What every peer is told."""
    told = [
        {"name": c.name, "type": c.type, "null": c.max_null_share, "low": c.minimum, "high": c.maximum, "domain": c.domain} for c in schema.columns
    ]
    path.write_text(json.dumps(told))


def rota(folder: Path, rounds: int) -> dict[str, Any]:
    """Ours, in this process."""
    schema = decode((folder / "schema.json").read_bytes(), Schema)
    path, seconds, found = folder / "dirty.parquet", [], ()
    for _ in range(rounds):
        begun = time.perf_counter()
        seen = summarize(batches(file_table(path)), schema)
        found = validate(schema, seen)
        seen.statistics()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": min(seconds), "rows": seen.rows, "found": sorted({a.feature for a in found}), "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Highest resident memory of this process; unlike ru_maxrss it forgets the parent that started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def run(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--peer-rows", type=int, default=0, help="rows of the largest peer; 0: as many as ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(rota(given.child, given.rounds)))
        return
    with tempfile.TemporaryDirectory(prefix="rota-validation-") as name:
        folder = Path(name)
        write(folder, given.rows)
        schema = of_table("bench", pl.scan_parquet(folder / "clean.parquet").head(CHUNK))
        (folder / "schema.json").write_bytes(encode(schema))
        expectations(schema, folder / "expectations.json")
        results = {"Rota": run([sys.executable, __file__, "--child", str(folder), "--rounds", str(given.rounds)])}
        for peer in filter(None, given.peers.split(",")):
            requirements, script, share = PEERS[peer]
            rows = (given.peer_rows or given.rows) // share
            words = [str(folder / "dirty.parquet"), str(folder / "expectations.json"), str(rows), str(given.rounds)]
            results[peer] = run([str(python_of(*requirements)), str(HERE / "peers" / script), *words])
    show(results, as_json=given.json)


def show(results: dict[str, dict[str, Any]], *, as_json: bool) -> None:
    ours = results["Rota"]["rows"] / results["Rota"]["seconds"]
    for found in results.values():
        found["rows_per_s"] = found["rows"] / found["seconds"]
        found["ratio"] = ours / found["rows_per_s"]
    if as_json:
        print(json.dumps(results, indent=2))
        return
    print(f"{'engine':<12} {'rows':>11} {'s':>8} {'M rows/s':>9} {'M cells/s':>10} {'peak MiB':>9} {'ours / it':>10}  faulty columns named")
    for engine, found in results.items():
        rate = found["rows_per_s"] / 1e6
        line = f"{engine:<12} {found['rows']:>11,} {found['seconds']:>8.2f} {rate:>9.3f} {20 * rate:>10.1f}"
        line = f"{line} {found['peak_mib']:>9.0f} {found['ratio']:>9.1f}x"
        print(f"{line}  {len(found['found'])}: {', '.join(found['found'])}")


if __name__ == "__main__":
    main()
