"""Prometheus' text exposition format, version 0.0.4: metrics with their help, kind and samples, written in one place for both ports."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MetricLabels = tuple[tuple[str, str | int], ...]


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric: its samples are values by labels, and by suffix ("" but for the parts of a histogram).

    `total` says how samples become one where labels may not be shown: their sum, or the largest of them.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    samples: Sequence[tuple[str, MetricLabels, float]]
    total: Literal["sum", "max"] = "sum"

    @classmethod
    def of(
        cls,
        name: str,
        kind: Literal["counter", "gauge"],
        meaning: str,
        samples: Mapping[MetricLabels, float],
        *,
        total: Literal["sum", "max"] = "sum",
    ) -> "MetricFamily":
        """A counter or a gauge by labels."""
        return cls(name, kind, meaning, [("", labels, value) for labels, value in samples.items()], total)


def nameless(metrics: Sequence[MetricFamily], *, public: Collection[str]) -> list[MetricFamily]:
    """The same metrics with only the labels that tell no name of anything; what becomes equal is summed, or the largest is taken."""
    found = []
    for metric in metrics:
        values: dict[tuple[str, MetricLabels], list[float]] = defaultdict(list)
        for suffix, labels, value in metric.samples:
            values[suffix, tuple(label for label in labels if label[0] in public)].append(value)
        join = sum if metric.total == "sum" else max
        found.append(replace(metric, samples=[(suffix, labels, join(several)) for (suffix, labels), several in values.items()]))
    return found


def text(metrics: Sequence[MetricFamily]) -> str:
    """The exposition; metrics without samples keep their help and kind."""
    lines: list[str] = []
    for metric in metrics:
        lines += [f"# HELP {metric.name} {_escaped(metric.meaning)}", f"# TYPE {metric.name} {metric.kind}"]
        lines += [f"{metric.name}{suffix}{_braces(labels)} {_number(value)}" for suffix, labels, value in metric.samples]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else f"{value:.9g}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _braces(labels: MetricLabels) -> str:
    if not labels:
        return ""
    escaped = ((name, _escaped(str(value)).replace('"', '\\"')) for name, value in labels)
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
