"""Statistics of the Open Inference Protocol, in Triton's form, made from what a prediction process counts anyway.

They are of the process that answers. Counts are of rows by version; times are counted of an endpoint's requests, so a version's are its share of
them by rows. Queue, input and output are part of that time, and are not counted apart.
"""

from collections.abc import Sequence
from typing import Any

from rota.serve.predicting import PredictionCore
from rota.serve.tensor_views import TensorView

_APART = ("queue", "compute_input", "compute_output", "cache_hit", "cache_miss")


def of(core: PredictionCore, views: Sequence[tuple[str, TensorView]]) -> dict[str, Any]:
    """The statistics of each version of these endpoints."""
    return {"model_stats": [_version(core, name, number) for name, view in views for number in sorted({r.number for r in view.served.routes})]}


def _version(core: PredictionCore, endpoint: str, number: int) -> dict[str, Any]:
    counters = core.counters
    rows = counters.value("rota_predictions_total", endpoint=endpoint, version=number)
    failed = counters.value("rota_prediction_failures_total", endpoint=endpoint, version=number)
    everything = counters.value("rota_predictions_total", endpoint=endpoint) + counters.value("rota_prediction_failures_total", endpoint=endpoint)
    share = (rows + failed) / everything if everything else 0.0
    ns = int(counters.seconds(endpoint) * 1e9 * share)
    executions = min(rows, counters.value("rota_batches_total", endpoint=endpoint))
    success = {"count": rows, "ns": int(ns * rows / (rows + failed)) if rows + failed else 0}
    nothing = {"count": 0, "ns": 0}
    return {
        "name": endpoint,
        "version": str(number),
        "last_inference": counters.last_us(endpoint) // 1_000 if rows else 0,
        "inference_count": rows,
        "execution_count": executions,
        "inference_stats": {
            "success": success,
            "fail": {"count": failed, "ns": ns - success["ns"]},
            "compute_infer": dict(success),
            **{name: dict(nothing) for name in _APART},
        },
        "batch_stats": [],
        "memory_usage": [],
    }
