"""The runs that both stores of ../store.py hold, and what they are asked: plain values, the same in every environment."""

import os
import random
from collections.abc import Iterator
from typing import Any

METRICS = ("auc", "f1", "log_loss", "accuracy", "seconds")
MODELS = ("trees", "net", "linear", "forest", "svm")
STARTED_MS = 1_600_000_000_000
SEARCHES: dict[str, tuple[str, list[str]]] = {
    "search: metric and param filter, order by the metric": ("metrics.auc > 0.9 and params.model = 'trees'", ["metrics.auc DESC"]),
    "search: order by a metric": ("", ["metrics.auc DESC"]),
    "search: newest": ("", []),
    "search: a rare param": ("params.seed = '777'", []),
}
LEFT_OUT = os.environ.get("BENCH_WITHOUT", "")
"""A search to leave out: MLflow does not order 100,000 runs by a metric within its client's two minutes."""
SEARCHES.pop(LEFT_OUT, None)
PAGE = 100
LEAST, PATIENCE_S = 3, 15
"""A slow act is repeated this often at least, and no longer than this."""


def runs(count: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(7)
    for number in range(count):
        yield {
            "id": f"{number:032x}",
            "name": f"run {number}",
            "started_ms": STARTED_MS + number,
            "metrics": {key: draw.random() for key in METRICS},
            "params": {
                "model": draw.choice(MODELS),
                "depth": str(draw.randrange(10)),
                "learning_rate": draw.choice(("0.1", "0.01")),
                "seed": str(number),
                "data": "flights@3",
            },
            "tags": {"mlflow.runName": f"run {number}", "mlflow.user": "ada", "team": "ice"},
        }


def points(turn: int) -> list[tuple[str, float, int, int]]:
    """1,000 points of ten metrics: key, value, step, milliseconds."""
    return [(f"loss{number % 10}", 1 / (1 + number), turn * 100 + number // 10, STARTED_MS + number) for number in range(1_000)]
