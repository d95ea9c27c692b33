"""Small makers for serving: a linear model whose answers are known, features out of the request, a platform in memory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.tables import MemoryTables
from rota.errors import Corrupt, InvalidInput
from rota.manage.features.online.view_history import ViewHistory
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle, Transformation, TransformedColumn
from rota.records.record import encode
from rota.records.release import Endpoint, Release, Route
from rota.serve.predicting import PredictionCore
from rota.serve.release_poller import ModelSource, OpenedFeatures, ReleasePoller
from rota.testing.clock import FakeClock

NOON_US = 1_373_889_600_000_000
SERVICE = FeatureService(
    "delay", [OnDemandFeatureView("request", {"x": "float", "carrier": "string"}, {"x": Feature("x"), "carrier": Feature("carrier")})]
)
TRANSFORMATION = Transformation((TransformedColumn("request__x", "float"), TransformedColumn("request__carrier", "string", ("AA", "UA"))))


class LinearFormat:
    """A ModelFormat of JSON coefficients: answer = offset + sum of the row, NaN as 0; x = -666 breaks it, -555 is refused, -999 gives NaN."""

    name = "linear"

    def accepts(self, model: Any) -> bool:
        return isinstance(model, dict)

    def dumps(self, model: Any) -> bytes:
        return json.dumps(model).encode()

    def loads(self, data: bytes) -> "LinearPredictor":
        try:
            return LinearPredictor(json.loads(data)["offset"])
        except (ValueError, KeyError) as error:
            raise Corrupt("not a linear model") from error

    def libraries(self) -> dict[str, str]:
        return {}


@dataclass
class LinearPredictor:
    offset: float
    calls: list[int] = field(default_factory=list)
    broken: bool = False

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        self.calls.append(len(matrix))
        if self.broken or (matrix[:, 0] == -666).any():
            raise RuntimeError("the model broke")
        if (matrix[:, 0] == -555).any():
            raise InvalidInput("that x is not taken")
        answers = self.offset + np.nansum(matrix, axis=1)
        return np.where(matrix[:, 0] == -999, np.nan, answers)


class RequestVectors:
    """Online features that come from the request alone."""

    waits = False

    def __init__(self) -> None:
        self.calls = 0
        self.warnings: tuple[str, ...] = ()
        self.noted: dict[str, list[str | None] | None] = {}

    def look_up(self, rows, now_us) -> tuple[list[Mapping[str, Any]], "RequestVectors"]:
        self.calls += 1
        return [{"request__x": row["x"], "request__carrier": row["carrier"]} for row in rows], self

    def reasons(self) -> Mapping[str, Any]:
        return self.noted


@dataclass
class World:
    """A platform in memory with one prediction process."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON_US))
    metadata: MemoryMetadata = field(default_factory=MemoryMetadata)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    tables: MemoryTables = field(default_factory=MemoryTables)
    sources: list[RequestVectors] = field(default_factory=list)
    histories: dict[bytes, ViewHistory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.core = PredictionCore(self.journal, self.clock)
        self.model_source = ModelSource(
            self.metadata, self.blobs, {"linear": LinearFormat()}, lambda service: OpenedFeatures(self._source(service), lambda: self.histories)
        )
        self.poller = ReleasePoller(self.core, self.model_source, clock=self.clock, process="host-0", retry_s=0.0)

    def _source(self, service: FeatureService) -> RequestVectors:
        self.sources.append(RequestVectors())
        return self.sources[-1]

    def bundle(self, offset: float, *, service: FeatureService = SERVICE, golden: float | None = None, group: str = "") -> str:
        blob = self.blobs.put(LinearFormat().dumps({"offset": offset}))
        answer = offset + 1.0 if golden is None else golden
        problem = "ranking" if group else "regression"
        bundle = ModelBundle("flights", "linear", blob, problem, service, TRANSFORMATION, ((1.0, None),), (answer,), group=group)
        return self.blobs.put(encode(bundle))

    def route(self, number: int, role: str = "stable", weight: int = 100, **options: Any) -> Route:
        """Version n answers 100 n + x + the carrier's code."""
        return Route("flights", number, self.bundle(100.0 * number, **options), role, weight)

    def route_of(self, name: str, installed: Any, model: Any) -> Route:
        """Version 1, a real model of another format that reads the same columns."""
        data = installed.dumps(model)
        golden = ((1.0, 0.0),)
        answers = tuple(installed.loads(data).predict(np.array(golden)).tolist())
        self.model_source.formats[name] = installed
        bundle = ModelBundle("flights", name, self.blobs.put(data), "regression", SERVICE, TRANSFORMATION, golden, answers)
        return Route("flights", 1, self.blobs.put(encode(bundle)), "stable", 100)

    def release(self, *routes: Route, revision: int = 1, endpoint: str = "delay", unit: str = "", salt: str = "s", headers: Any = ()) -> Release:
        release = Release(endpoint, revision, routes or (self.route(1),), unit, self.clock.now_us(), salt=salt, headers=tuple(headers))
        batch = Batch()
        batch.put(Endpoint(endpoint, "flights"))
        batch.put(release)
        self.metadata.commit(batch)
        return release

    def serve(self, *routes: Route, **options: Any) -> None:
        self.release(*routes, **options)
        self.poller.poll()

    def predictor(self, number: int, endpoint: str = "delay") -> LinearPredictor:
        served = self.core.served[endpoint]
        return next(loaded.model.predictor for loaded in served.routes.values() if loaded.route.number == number)

    def log(self, endpoint: str = "delay") -> list[dict[str, Any]]:
        prediction_log.flush(self.journal, self.tables, endpoint)
        return prediction_log.read(self.tables, endpoint, 0, 2**62).to_dicts()


@pytest.fixture
def world():
    world = World()
    yield world
    world.core.close()
