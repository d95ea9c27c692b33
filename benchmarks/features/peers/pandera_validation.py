"""pandera on Polars: ranges, domains and columns of the expectations, lazily collected errors. Called by validation.py."""

import json
import re
import sys
import time
from pathlib import Path

import pandera.polars as pa
import polars as pl

path, told, rows, rounds = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3]), int(sys.argv[4])
TYPES = {"float": pl.Float64, "int": pl.Int64, "string": pl.String}


def column(one):
    checks = [] if one["low"] is None else [pa.Check.in_range(one["low"], one["high"])]
    checks += [] if one["domain"] is None else [pa.Check.isin(one["domain"])]
    most = one["null"]
    share = pa.Check(lambda data: data.lazyframe.select(pl.col(data.key).is_null().mean() <= most), ignore_na=False)
    return pa.Column(TYPES[one["type"]], [*checks, share], nullable=True)


schema = pa.DataFrameSchema({one["name"]: column(one) for one in told}, strict=True)
seconds, found = [], set()
for _ in range(rounds):
    begun = time.perf_counter()
    try:
        schema.validate(pl.scan_parquet(path).head(rows).collect(), lazy=True)
    except pa.errors.SchemaErrors as error:
        found = {str(each.schema.name or each.failure_cases) for each in error.schema_errors}
    seconds.append(time.perf_counter() - begun)
peak = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps({"seconds": min(seconds), "rows": rows, "found": sorted(found), "peak_mib": peak}))
