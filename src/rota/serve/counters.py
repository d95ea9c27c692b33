"""What a prediction process counts about itself, as metrics for Prometheus."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

from rota.records.time import Micros
from rota.rendering.exposition import MetricFamily, MetricLabels

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
HELP: Mapping[str, str] = {
    "rota_requests_total": "Requests by endpoint and HTTP status.",
    "rota_predictions_total": "Predictions by the version that made them.",
    "rota_prediction_failures_total": "Predictions that a version failed to make.",
    "rota_batches_total": "Batches of requests that were answered together.",
    "rota_predictions_unlogged_total": "Predictions answered although the log could not be written.",
    "rota_features_missing_total": "Feature values that were null or not to be trusted, by reason.",
    "rota_shadow_dropped_total": "Predictions no shadow scored, because it was behind.",
}
_LATENCY = "rota_prediction_seconds"
PUBLIC = frozenset({"status", "reason", "le"})
"""Labels that name nothing of the platform."""


class Counters:
    """Growing counts by name and labels, and the latency of each endpoint's requests. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, MetricLabels], int] = defaultdict(int)
        self._latencies: dict[str, list[float]] = {}
        self._last_us: dict[str, Micros] = {}

    def add(self, name: str, amount: int = 1, **labels: str | int) -> None:
        with self._lock:
            self._counts[name, tuple(labels.items())] += amount

    def value(self, name: str, **labels: str | int) -> int:
        """The sum of all counts of this name that have these labels."""
        with self._lock:
            return sum(count for (other, found), count in self._counts.items() if other == name and set(labels.items()) <= set(found))

    def observe(self, endpoint: str, seconds: float, requests: int = 1) -> None:
        """Count the latency of requests that were answered together."""
        with self._lock:
            row = self._latencies.get(endpoint)
            if row is None:
                row = self._latencies[endpoint] = [0.0] * (len(BUCKETS_S) + 2)
            row[bisect_left(BUCKETS_S, seconds)] += requests
            row[-1] += seconds * requests

    def batch(self, endpoint: str, at_us: Micros) -> None:
        """Count one batch of an endpoint's requests."""
        with self._lock:
            self._counts["rota_batches_total", (("endpoint", endpoint),)] += 1
            self._last_us[endpoint] = at_us

    def last_us(self, endpoint: str) -> Micros:
        """When the last batch of an endpoint was answered; 0 before the first."""
        return self._last_us.get(endpoint, 0)

    def seconds(self, endpoint: str) -> float:
        """The seconds that all requests of an endpoint took together."""
        with self._lock:
            return self._latencies.get(endpoint, (0.0,))[-1]

    def metrics(self) -> list[MetricFamily]:
        """Everything that was counted."""
        with self._lock:
            counts = sorted(self._counts.items())
            latencies = sorted((endpoint, list(row)) for endpoint, row in self._latencies.items())
        by_name: dict[str, dict[MetricLabels, float]] = {name: {} for name in HELP}
        for (name, labels), count in counts:
            by_name[name][labels] = count
        found = [MetricFamily.of(name, "counter", HELP[name], samples) for name, samples in by_name.items()]
        parts = [sample for endpoint, row in latencies for sample in _histogram(endpoint, row)]
        return [*found, MetricFamily(_LATENCY, "histogram", "Time from a request's rows to its answers.", parts)]


def _histogram(endpoint: str, row: list[float]) -> list[tuple[str, MetricLabels, float]]:
    samples: list[tuple[str, MetricLabels, float]] = []
    reached = 0
    whose: MetricLabels = (("endpoint", endpoint),)
    for bound, count in zip((*BUCKETS_S, "+Inf"), row, strict=False):
        reached += int(count)
        samples.append(("_bucket", (*whose, ("le", str(bound))), reached))
    return [*samples, ("_sum", whose, row[-1]), ("_count", whose, reached)]
