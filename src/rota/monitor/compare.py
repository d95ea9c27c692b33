"""Looking back over the log: what was answered, month by month, beside what another version would have answered."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from rota.errors import InvalidInput, NotFound
from rota.manage.features.expressions.operators import DTYPES
from rota.manage.features.join.parity import parity
from rota.manage.features.materialization import materialization_log
from rota.manage.features.materialization.push import Pushes
from rota.manage.features.rows import column_conversion
from rota.manage.models import loading, transformation
from rota.manage.repositories import Repositories
from rota.manage.signals import label_domain, labels, prediction_log
from rota.manage.signals.label_domain import DeclaredProblem
from rota.ports.models import ModelFormat
from rota.records.check import Judgement
from rota.records.data import FeatureService
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.time import Micros
from rota.records.value_types import family

PARITY_ROWS = 20_000


def by_month(repositories: Repositories, formats: Mapping[str, ModelFormat], endpoint: str, other: ModelVersion) -> list[dict[str, Any]]:
    """A row a month: labelled predictions, metrics of the answers given, and metrics of `other` on the very same logged features."""
    rows = _labelled(repositories, endpoint)
    loaded = loading.load(repositories.blobs, formats, other.bundle, name=other.model)
    seen = prediction_log.with_features(rows, loaded.bundle.features.feature_names)
    again = loaded.predictor.predict(transformation.matrix(loaded.bundle.transformation, seen))
    rows = rows.with_row_index("place").with_columns(pl.col("day").str.slice(0, 7).alias("month"))
    months = [(str(key[0]), part) for key, part in rows.partition_by("month", as_dict=True, maintain_order=True).items()]
    return [_compared(label_domain.of_bundle(loaded.bundle), name, part, again) for name, part in [*months, ("all", rows)]]


def counts(repositories: Repositories, endpoint: str) -> dict[str, int]:
    """Distinct predictions that were answered, and how many of them have a label: nothing acknowledged may be missing here."""
    rows = _answered(repositories, endpoint)
    return {"predictions": rows.height, "labels": int(rows["label_at_us"].count())}


@dataclass(frozen=True, slots=True)
class ParityCheck:
    """How many predictions and cells were recomputed, and the cells that differ (see `join.parity`).

    `not_compared` predictions were made by versions that are gone; `left_out` ones of the log were not looked at, because fewer were asked for.
    """

    rows: int
    cells: int
    differing: list[dict[str, Any]]
    not_compared: int
    left_out: int

    @property
    def outcome(self) -> Judgement:
        """Inconclusive without cells."""
        return "inconclusive" if not self.cells else "fail" if self.differing else "pass"


def check_parity(repositories: Repositories, pushes: Pushes, endpoint: str, *, rows: int = PARITY_ROWS, newest: bool = False) -> ParityCheck:
    """Recompute answered predictions by the features of the version that answered each, and find the cells that serving saw otherwise.

    `rows` predictions are taken evenly spread over the log, or its newest. What the journal holds is flushed before: serving saw it.
    """
    if rows < 1:
        raise InvalidInput(f"rows={rows}: at least one prediction is compared", rows=rows)
    prediction_log.flush(repositories.journal, repositories.tables, endpoint)
    logged = prediction_log.read(repositories.tables, endpoint, 0, _end(repositories))
    logged = logged.filter((pl.col("role") != "shadow") & (pl.col("error") == ""))
    sample = logged.tail(rows) if newest else logged.gather_every(max(1, logged.height // rows))
    compared, cells, differing = 0, 0, list[dict[str, Any]]()
    for (model, number), part in sample.partition_by("model", "number", as_dict=True, maintain_order=True).items():
        version = repositories.metadata.get(ModelVersion, str(model), int(number))
        if version is None:
            continue
        service = decode(repositories.blobs.get(version.bundle), ModelBundle).features
        for source in {view.source.name for view in service.stored_views}:
            pushes.flush(source)
        times = materialization_log.times(repositories.metadata, service)
        differing += parity(repositories.tables, service, _as_served(service, part), materialized=times).to_dicts()
        compared += part.height
        cells += part.height * len(service.feature_names)
    return ParityCheck(compared, cells, differing, sample.height - compared, logged.height - sample.height)


def _as_served(service: FeatureService, logged: pl.DataFrame) -> pl.DataFrame:
    """Rows of the log with their request fields and the features of a service."""
    kinds = service.request_fields
    written = {name: kind for name, kind in kinds.items() if family(kind) in ("decimal", "bytes")}  # as texts in JSON
    fields = pl.Struct({name: pl.String() if name in written else DTYPES[kind] for name, kind in kinds.items()})
    asked = logged.select("prediction_id", "at_us", pl.col("request").str.json_decode(fields)).unnest("request")
    if written:
        asked = asked.with_columns(column_conversion.conform(asked, written, what="the log's requests"))
    return asked.hstack(prediction_log.with_features(logged, service.feature_names).select(service.feature_names))


def _labelled(repositories: Repositories, endpoint: str) -> pl.DataFrame:
    rows = _answered(repositories, endpoint).filter(pl.col("label_at_us").is_not_null())
    if rows.is_empty():
        raise NotFound(f"endpoint {endpoint!r} has no labelled predictions yet; report labels first", endpoint=endpoint)
    return rows


def _answered(repositories: Repositories, endpoint: str) -> pl.DataFrame:
    prediction_log.flush(repositories.journal, repositories.tables, endpoint)
    labels.flush(repositories.journal, repositories.tables, endpoint)
    end_us = _end(repositories)
    rows = labels.joined(repositories.tables, endpoint, 0, end_us, known_until_us=end_us)
    return rows.filter((pl.col("role") != "shadow") & (pl.col("error") == "")).unique("prediction_id", keep="first", maintain_order=True)


def _compared(problem: DeclaredProblem, month: str, rows: pl.DataFrame, again: np.ndarray) -> dict[str, Any]:
    """Metrics of the declared problem on the rows whose label and answer it allows; how many others were set apart."""
    measured, served = label_domain.measured(rows, problem)
    other = replace(served, answers=again[measured["place"].to_numpy()])
    found = {"served": problem.kind.evaluate(served), "other": problem.kind.evaluate(other)}
    return {"month": month, "rows": measured.height, "set_apart": rows.height - measured.height, **found}


def _end(repositories: Repositories) -> Micros:
    return repositories.clock.now_us() + 1
