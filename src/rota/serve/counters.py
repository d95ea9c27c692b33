"""What a prediction process counts about itself, as Prometheus text."""

import threading
from collections import defaultdict
from collections.abc import Mapping

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
HELP: Mapping[str, str] = {
    "rota_requests_total": "Requests by endpoint and HTTP status.",
    "rota_predictions_total": "Predictions by the version that made them.",
    "rota_prediction_failures_total": "Predictions that a version failed to make.",
    "rota_predictions_unlogged_total": "Predictions answered although the log could not be written.",
    "rota_features_missing_total": "Feature values that were null or not to be trusted, by reason.",
    "rota_shadow_dropped_total": "Predictions no shadow scored, because it was behind.",
}
_LATENCY = "rota_prediction_seconds"
_PUBLIC = frozenset({"status", "reason"})
MetricLabels = tuple[tuple[str, str | int], ...]


class Counters:
    """Growing counts by name and labels, and the latency of each endpoint's requests. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, MetricLabels], int] = defaultdict(int)
        self._latencies: dict[str, list[float]] = {}

    def add(self, name: str, amount: int = 1, **labels: str | int) -> None:
        with self._lock:
            self._counts[name, tuple(labels.items())] += amount

    def value(self, name: str, **labels: str | int) -> int:
        """The sum of all counts of this name that have these labels."""
        with self._lock:
            return sum(count for (other, found), count in self._counts.items() if other == name and set(labels.items()) <= set(found))

    def observe(self, endpoint: str, seconds: float) -> None:
        """Count one request's latency."""
        with self._lock:
            row = self._latencies.setdefault(endpoint, [0.0] * (len(BUCKETS_S) + 2))
            row[next((index for index, bound in enumerate(BUCKETS_S) if seconds <= bound), len(BUCKETS_S))] += 1
            row[-1] += seconds

    def nameless(self) -> "Counters":
        """The same counts summed over everything that has a name here: only statuses are kept apart."""
        summed = Counters()
        with self._lock:
            for (name, labels), count in self._counts.items():
                summed._counts[name, tuple(label for label in labels if label[0] in _PUBLIC)] += count
            rows = list(self._latencies.values())
        if rows:
            summed._latencies[""] = [sum(column) for column in zip(*rows, strict=True)]
        return summed

    def text(self, gauges: Mapping[tuple[str, MetricLabels], float]) -> str:
        """Prometheus exposition format 0.0.4 of everything counted, and of `gauges` read just now."""
        with self._lock:
            counts = sorted(self._counts.items())
            latencies = sorted((endpoint, list(row)) for endpoint, row in self._latencies.items())
        lines: list[str] = []
        for name, meaning in HELP.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} counter"]
            lines += [f"{name}{_braces(labels)} {count}" for (other, labels), count in counts if other == name]
        lines += [f"# HELP {_LATENCY} Time from a request's rows to its answers.", f"# TYPE {_LATENCY} histogram"]
        for endpoint, row in latencies:
            lines += _histogram(endpoint, row)
        for name in sorted({name for name, _ in gauges}):
            lines.append(f"# TYPE {name} gauge")
            lines += [f"{name}{_braces(labels)} {value:g}" for (other, labels), value in sorted(gauges.items()) if other == name]
        return "\n".join(lines) + "\n"


def _histogram(endpoint: str, row: list[float]) -> list[str]:
    lines, reached = [], 0
    whose: MetricLabels = (("endpoint", endpoint),) if endpoint else ()
    for bound, count in zip((*BUCKETS_S, "+Inf"), row, strict=False):
        reached += int(count)
        labels: MetricLabels = (*whose, ("le", str(bound)))
        lines.append(f"{_LATENCY}_bucket{_braces(labels)} {reached}")
    suffix = _braces(whose)
    return [*lines, f"{_LATENCY}_sum{suffix} {row[-1]:.9g}", f"{_LATENCY}_count{suffix} {reached}"]


def _braces(labels: MetricLabels) -> str:
    if not labels:
        return ""
    escaped = ((name, str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
