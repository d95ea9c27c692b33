"""One on-demand row of ten features: the compiled SQL, null and domain guards included, against Python written by hand.

    python benchmarks/features/on_demand.py [--rounds 7] [--json]

Ratio, logarithm, bucket, great-circle distance, one-hot of five, hour of the day; a dict of typed values in, a tuple of ten numbers out.
Rounds alternate between the two, so that a change of the machine's speed hits both; the ratio is that of their medians.
"""

import argparse
import json
import math
import statistics
import timeit
from collections.abc import Callable, Mapping
from typing import Any

from rota.manage.features.expressions import compiler

COLUMNS = {
    "amount": "float", "distance": "float", "lat1": "float", "lon1": "float", "lat2": "float", "lon2": "float", "kind": "string", "at": "timestamp",
}  # fmt: skip
KINDS = ("air", "bus", "car", "rail", "ship")
SQL = {
    "ratio": "amount / distance",
    "log_amount": "ln(1 + amount)",
    "bucket": "case when amount < 10 then 0 when amount < 50 then 1 when amount < 100 then 2 when amount < 500 then 3 else 4 end",
    "km": "2 * 6371 * asin(sqrt(power(sin(radians(lat2 - lat1) / 2), 2)"
    " + cos(radians(lat1)) * cos(radians(lat2)) * power(sin(radians(lon2 - lon1) / 2), 2)))",
    **{f"is_{kind}": f"case when kind = '{kind}' then 1 else 0 end" for kind in KINDS},
    "hour": "extract(hour from at)",
}
ROW = {"amount": 63.5, "distance": 12.0, "lat1": 40.64, "lon1": -73.78, "lat2": 33.94, "lon2": -118.4, "kind": "rail", "at": 1_373_893_323_000_000}


def by_hand(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What an engineer would write for rows that are complete and sane."""
    amount, kind = row["amount"], row["kind"]
    half_lat, half_lon = math.radians(row["lat2"] - row["lat1"]) / 2, math.radians(row["lon2"] - row["lon1"]) / 2
    inner = math.sin(half_lat) ** 2 + math.cos(math.radians(row["lat1"])) * math.cos(math.radians(row["lat2"])) * math.sin(half_lon) ** 2
    return (
        amount / row["distance"],
        math.log(1 + amount),
        0 if amount < 10 else 1 if amount < 50 else 2 if amount < 100 else 3 if amount < 500 else 4,
        2 * 6371 * math.asin(math.sqrt(inner)),
        1 if kind == "air" else 0,
        1 if kind == "bus" else 0,
        1 if kind == "car" else 0,
        1 if kind == "rail" else 0,
        1 if kind == "ship" else 0,
        row["at"] // 3_600_000_000 % 24,
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    compiled = compiler.compile_values(list(SQL.values()), COLUMNS)  # type: ignore[arg-type]
    expected = by_hand(ROW)
    assert all(math.isclose(value, wanted, rel_tol=1e-12) for value, wanted in zip(compiled(ROW), expected, strict=True))
    times: dict[str, list[float]] = {"by hand": [], "compiled": []}
    for _ in range(asked.rounds):
        for name, function in (("by hand", by_hand), ("compiled", compiled)):
            times[name].append(_microseconds(function))
    hand, ours = (statistics.median(times[name]) for name in ("by hand", "compiled"))
    found = {"by_hand_us": round(hand, 3), "compiled_us": round(ours, 3), "ratio": round(ours / hand, 2), "goal": "at most 2"}
    print(json.dumps(found) if asked.json else f"by hand {hand:.2f} us, compiled SQL {ours:.2f} us: {ours / hand:.2f} times (goal: at most 2)")


def _microseconds(function: Callable[[Mapping[str, Any]], Any]) -> float:
    return min(timeit.repeat(lambda: function(ROW), number=20_000, repeat=3)) / 20_000 * 1e6


if __name__ == "__main__":
    main()
