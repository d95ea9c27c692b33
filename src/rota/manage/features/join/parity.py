"""Training == serving, cell by cell: the features that predictions were made with against the same features recomputed."""

from typing import Any

import polars as pl

from rota.errors import InvalidInput
from rota.manage.features.expressions.equivalence_check import same
from rota.manage.features.join.point_in_time import historical
from rota.manage.features.join.windows import AsOf
from rota.ports.tables import Tables
from rota.records.data import FeatureService


def parity(tables: Tables, service: FeatureService, served: pl.DataFrame, *, as_of: AsOf = "served") -> pl.DataFrame:
    """The cells that differ, as (prediction_id, at_us, feature, served, recomputed); no rows means parity.

    `served` holds prediction_id, at_us, the request fields and the logged features. Flush the feed first: rows that are
    still in its journal were seen by serving. Floats may differ in their last digits (1e-9), in which sums over tiles and
    running sums differ.
    """
    missing = [name for name in service.feature_names if name not in served.columns]
    if missing:
        raise InvalidInput(f"the served rows lack the logged features {missing}", columns=missing)
    again = historical(tables, service, served.drop(service.feature_names), timestamp="at_us", as_of=as_of)
    cells = []
    for name in service.feature_names:
        for identity, at_us, old, new in zip(served["prediction_id"], served["at_us"], served[name], again[name], strict=True):
            if not _equal(old, new):
                cells.append((str(identity), at_us, name, _shown(old), _shown(new)))
    schema = {"prediction_id": pl.String, "at_us": pl.Int64, "feature": pl.String, "served": pl.String, "recomputed": pl.String}
    return pl.DataFrame(cells, schema=schema, orient="row")


def _equal(old: Any, new: Any) -> bool:
    if old is None or new is None or isinstance(old, str) or isinstance(new, str):
        return bool(old == new)
    return same(float(old), float(new), absolute=1e-9)


def _shown(value: Any) -> str | None:
    return None if value is None else repr(value)
