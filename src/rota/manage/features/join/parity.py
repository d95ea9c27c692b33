"""Training == serving, cell by cell: the features that predictions were made with against the same features recomputed."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler
from rota.manage.features.expressions.equivalence_check import same
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.join.windows import AsOf
from rota.ports.tables import Tables
from rota.records.data import FeatureService
from rota.records.time import Micros


def parity(
    tables: Tables,
    service: FeatureService,
    served: pl.DataFrame,
    *,
    materialized: Mapping[str, Sequence[Micros]],
    as_of: AsOf = "served",
) -> pl.DataFrame:
    """The cells that differ, as (prediction_id, at_us, feature, served, recomputed); no rows means parity.

    `served` holds prediction_id, at_us, the request fields and the logged features. Flush the feed first: rows that are
    still in its journal were seen by serving. `materialized` says when ingested rows came online (`materialization_log.times`): without it
    every one of them would differ. Values must be equal to the last bit, except those of expressions with a logarithm,
    a power or another function whose last digits are the library's, and of Python functions: these may differ by 1e-9.
    """
    missing = [name for name in service.feature_names if name not in served.columns]
    if missing:
        raise InvalidInput(f"the served rows lack the logged features {missing}", columns=missing)
    again = historical(tables, service, served.drop(service.feature_names), timestamp="at_us", as_of=as_of, materialized=materialized)
    exact = _exact(service)
    cells = []
    for name in service.feature_names:
        for identity, at_us, old, new in zip(served["prediction_id"], served["at_us"], served[name].to_list(), again[name].to_list(), strict=True):
            if not _equal(old, new, exact=name in exact):
                cells.append((str(identity), at_us, name, _shown(old), _shown(new)))
    schema = {"prediction_id": pl.String, "at_us": pl.Int64, "feature": pl.String, "served": pl.String, "recomputed": pl.String}
    return pl.DataFrame(cells, schema=schema, orient="row")


def _exact(service: FeatureService) -> set[str]:
    """The features of which both forms answer the same bits."""
    return {f"{view.name}__{name}" for view in service.views for name, feature in view.features.items() if compiler.is_exact(feature.expression)}


def _equal(old: Any, new: Any, *, exact: bool) -> bool:
    if not exact and isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(lambda one, other: same(float(one), float(other), absolute=1e-9), old, new))
    if exact or not isinstance(old, float) or not isinstance(new, float):
        return bool(old == new)
    return same(old, new, absolute=1e-9)


def _shown(value: Any) -> str | None:
    return None if value is None else repr(value)
