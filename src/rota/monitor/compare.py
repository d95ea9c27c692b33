"""Looking back over the log: what was answered, month by month, beside what another version would have answered."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from rota.errors import NotFound
from rota.manage.features.join.parity import parity
from rota.manage.features.materialization import materialization_log
from rota.manage.models import loading, transformation
from rota.manage.repositories import Repositories
from rota.manage.signals import label_domain, labels, prediction_log
from rota.ports.models import ModelFormat
from rota.records.check import Judgement
from rota.records.model import ModelVersion
from rota.records.record import decode
from rota.records.run import Problem
from rota.records.time import Micros
from rota.stats.metrics import evaluate

PARITY_ROWS = 20_000


def by_month(repositories: Repositories, formats: Mapping[str, ModelFormat], endpoint: str, other: ModelVersion) -> list[dict[str, Any]]:
    """A row a month: labelled predictions, metrics of the answers given, and metrics of `other` on the very same logged features."""
    rows = _labelled(repositories, endpoint)
    loaded = loading.load(repositories.blobs, formats, other.bundle, name=other.model)
    seen = prediction_log.with_features(rows, loaded.bundle.features.feature_names)
    again = loaded.predictor.predict(transformation.matrix(loaded.bundle.transformation, seen))
    rows = rows.with_columns(pl.Series("again", again), pl.col("day").str.slice(0, 7).alias("month"))
    months = [(str(key[0]), part) for key, part in rows.partition_by("month", as_dict=True, maintain_order=True).items()]
    return [_compared(loaded.bundle.problem, name, part) for name, part in [*months, ("all", rows)]]


def counts(repositories: Repositories, endpoint: str) -> dict[str, int]:
    """Distinct predictions that were answered, and how many of them have a label: nothing acknowledged may be missing here."""
    rows = _answered(repositories, endpoint)
    return {"predictions": rows.height, "labels": int(rows["label"].is_not_null().sum())}


def check_parity(repositories: Repositories, formats: Mapping[str, ModelFormat], endpoint: str, *, rows: int = PARITY_ROWS) -> dict[str, Any]:
    """Recompute the features of predictions of the newest version, evenly spread over its log, and count the cells that serving saw otherwise.

    `not_compared` predictions are those of other versions, which may have read other features; `outcome` is inconclusive without cells.
    """
    logged = prediction_log.read(repositories.tables, endpoint, 0, _end(repositories))
    logged = logged.filter((pl.col("role") != "shadow") & (pl.col("error") == ""))
    if logged.is_empty():
        raise NotFound(f"endpoint {endpoint!r} has no logged predictions yet", endpoint=endpoint)
    newest = int(logged["number"][-1])
    version = repositories.metadata.get(ModelVersion, logged["model"][-1], newest)
    if version is None:
        raise NotFound(f"the log names version {newest}, which the registry does not know", endpoint=endpoint)
    same = logged.filter(pl.col("number") == newest)
    sample = same.gather_every(max(1, same.height // rows))
    service = loading.load(repositories.blobs, formats, version.bundle, name=version.model).bundle.features
    requests = pl.DataFrame([_request(text, service.request_fields) for text in sample["request"].to_list()], infer_schema_length=None)
    served = prediction_log.with_features(sample, service.feature_names).select("prediction_id", "at_us", *service.feature_names).hstack(requests)
    differing = parity(repositories.tables, service, served, materialized=materialization_log.times(repositories.metadata, service))
    cells = served.height * len(service.feature_names)
    outcome: Judgement = "inconclusive" if not cells else "fail" if differing.height else "pass"
    return {
        "rows": served.height,
        "cells": cells,
        "different": differing.height,
        "outcome": outcome,
        "not_compared": logged.height - same.height,
        "examples": differing.head(10).to_dicts(),
    }


def _labelled(repositories: Repositories, endpoint: str) -> pl.DataFrame:
    rows = _answered(repositories, endpoint).filter(pl.col("label").is_not_null())
    if rows.is_empty():
        raise NotFound(f"endpoint {endpoint!r} has no labelled predictions yet; report labels first", endpoint=endpoint)
    return rows


def _answered(repositories: Repositories, endpoint: str) -> pl.DataFrame:
    prediction_log.flush(repositories.journal, repositories.tables, endpoint)
    labels.flush(repositories.journal, repositories.tables, endpoint)
    end_us = _end(repositories)
    rows = labels.joined(repositories.tables, endpoint, 0, end_us, known_until_us=end_us)
    return rows.filter((pl.col("role") != "shadow") & (pl.col("error") == "")).unique("prediction_id", keep="first", maintain_order=True)


def _compared(problem: Problem, month: str, rows: pl.DataFrame) -> dict[str, Any]:
    """Metrics of the declared problem on the rows whose label and answer it allows; how many others were set apart."""
    measured = rows.filter(label_domain.allowed(problem))
    truth, given, again = (measured[name].to_numpy() for name in ("label", "answer", "again"))
    found = {"served": evaluate(problem, truth, given), "other": evaluate(problem, truth, again)}
    return {"month": month, "rows": measured.height, "set_apart": rows.height - measured.height, **found}


def _request(text: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    row = decode(text, dict[str, Any])
    return {name: row.get(name) for name in fields}


def _end(repositories: Repositories) -> Micros:
    return repositories.clock.now_us() + 1
