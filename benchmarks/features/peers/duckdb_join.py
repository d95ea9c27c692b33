"""The join of `benchmarks/features/join.py` as DuckDB's users write it: ASOF JOIN over rows of which row_number() has kept the one
created last. Run by an interpreter that has DuckDB: duckdb_join.py DIRECTORY."""

import json
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

SHAPES = (("clicks", 8, 24), ("orders", 6, 72), ("profile", 5, None))


def main(directory: Path) -> None:
    con = duckdb.connect()
    query = textbook(directory)
    started = time.perf_counter()
    answer = con.execute(query).to_arrow_table()
    seconds = time.perf_counter() - started
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    pq.write_table(answer, directory / "answer-duckdb.parquet")
    print(json.dumps({"seconds": seconds, "peak_gib": int(peak.split()[1]) / 2**20}))


def textbook(directory: Path) -> str:
    joins, columns = [], []
    for name, floats, ttl_h in SHAPES:
        ranked = f"SELECT *, row_number() OVER (PARTITION BY entity, event_timestamp ORDER BY created DESC) AS n FROM '{directory}/{name}.parquet'"
        on = f"l.entity = {name}.entity AND l.at >= {name}.event_timestamp"
        joins.append(f"ASOF LEFT JOIN (SELECT * FROM ({ranked}) WHERE n = 1) {name} ON {on}")
        alive = "TRUE" if ttl_h is None else f"l.at - {name}.event_timestamp <= INTERVAL {ttl_h} HOUR"
        columns += [f"CASE WHEN {alive} THEN {name}.{name}_{i} END AS {name}__{name}_{i}" for i in range(floats)]
    labels = f"(SELECT *, make_timestamptz(event_timestamp) AS at FROM '{directory}/labels.parquet') l"
    return f"SELECT l.row, l.entity, l.event_timestamp, {', '.join(columns)} FROM {labels} {' '.join(joins)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
