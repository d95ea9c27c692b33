"""Metrics that judge a logged model: a client names the model beside the metric, and the newest values are kept with the model."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from rota.ports.metadata import Batch, Metadata
from rota.records.tracking import LoggedModel, MetricPoint, ModelMetric
from rota.server.mlflow.wire import missing


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """A point that a run logged about a model, on the named data ("" = not said)."""

    model: str
    run: str
    dataset: str
    digest: str
    point: MetricPoint


def note(metadata: Metadata, batch: Batch, points: Iterable[ModelPoint]) -> None:
    """Put the points into their models' records; `Conflict` at commit when one was changed meanwhile."""
    by_model: dict[str, list[ModelPoint]] = {}
    for point in points:
        by_model.setdefault(point.model, []).append(point)
    for identity, its in by_model.items():
        before = metadata.get(LoggedModel, identity)
        if before is None or before.deleted_us is not None:
            raise missing(f"there is no logged model with id {identity!r}")
        after = msgspec.structs.replace(before, metrics=_newest(before.metrics, its))
        batch.put(after, replacing=before)


def _newest(known: tuple[ModelMetric, ...], points: list[ModelPoint]) -> tuple[ModelMetric, ...]:
    newest = {(each.key, each.dataset, each.digest): each for each in known}
    for each in points:
        point = each.point
        key = (point.key, each.dataset, each.digest)
        before = newest.get(key)
        later = before is None or (point.step, point.at_us, point.value) >= (before.step, before.at_us, before.value)
        if later and math.isfinite(point.value):
            newest[key] = ModelMetric(point.key, point.value, point.step, point.at_us, each.run, each.dataset, each.digest)
    return tuple(newest.values())
