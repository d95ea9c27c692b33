"""Ten features over columns: feature SQL against the same features written by hand as Polars expressions.

    python benchmarks/features/transforms.py [--rows 5000000] [--rounds 5] [--json]

The features are those of on_demand.py. Rounds alternate; a ratio above 1 means that feature SQL is quicker.
"""

import argparse
import json
import statistics
import time

import numpy as np
import polars as pl
from on_demand import COLUMNS, KINDS, SQL

from rota.manage.features.expressions import compiler


def native() -> list[pl.Expr]:
    amount, kind = pl.col("amount"), pl.col("kind")
    bucket = pl.when(amount < 10).then(0).when(amount < 50).then(1).when(amount < 100).then(2).when(amount < 500).then(3).otherwise(4)
    lat1, lat2 = pl.col("lat1").radians(), pl.col("lat2").radians()
    half_lat, half_lon = (pl.col("lat2") - pl.col("lat1")).radians() / 2, (pl.col("lon2") - pl.col("lon1")).radians() / 2
    km = 2 * 6371 * (half_lat.sin().pow(2) + lat1.cos() * lat2.cos() * half_lon.sin().pow(2)).sqrt().arcsin()
    return [
        (amount / pl.col("distance")).alias("ratio"),
        (1 + amount).log().alias("log_amount"),
        bucket.alias("bucket"),
        km.alias("km"),
        *(pl.when(kind == name).then(1).otherwise(0).alias(f"is_{name}") for name in KINDS),
        (pl.col("at") // 3_600_000_000 % 24).alias("hour"),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=5_000_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    frame = drawn(asked.rows)
    forms = {"native": native(), "sql": [compiler.column(sql, COLUMNS).alias(name) for name, sql in SQL.items()]}  # type: ignore[arg-type]
    found = {name: frame.select(form) for name, form in forms.items()}
    for name in SQL:
        assert np.allclose(found["native"][name].to_numpy(), found["sql"][name].to_numpy(), rtol=1e-9), name
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(asked.rounds):
        for name, form in forms.items():
            begun = time.perf_counter()
            frame.select(form)
            times[name].append(time.perf_counter() - begun)
    native_s, sql_s = (statistics.median(times[name]) for name in ("native", "sql"))
    rates = {name: round(asked.rows / seconds / 1e6, 1) for name, seconds in (("native", native_s), ("sql", sql_s))}
    result = {"rows": asked.rows, "million_rows_per_s": rates, "ratio": round(native_s / sql_s, 2), "goal": "at least 0.8"}
    print(
        json.dumps(result)
        if asked.json
        else f"native {rates['native']} and SQL {rates['sql']} million rows/s: {native_s / sql_s:.2f} times (goal: 0.8)"
    )


def drawn(rows: int) -> pl.DataFrame:
    random = np.random.default_rng(7)
    return pl.DataFrame(
        {
            "amount": random.gamma(1.0, 100.0, rows),
            "distance": random.uniform(1, 100, rows),
            **{name: random.uniform(-60, 60, rows) for name in ("lat1", "lon1", "lat2", "lon2")},
            "kind": random.choice(np.array(KINDS), rows),
            "at": random.integers(0, 2_000_000_000_000_000, rows),
        }
    )


if __name__ == "__main__":
    main()
