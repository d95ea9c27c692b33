"""The loss of each logged answer by the problem that its version declares: what experiments compare, unit by unit."""

import numpy as np
import polars as pl

from rota.deploy import unit_figures
from rota.errors import InvalidInput
from rota.manage.repositories import Repositories
from rota.manage.signals import label_domain
from rota.manage.signals.label_domain import DeclaredProblem
from rota.problems import registry
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode
from rota.records.release import Rollout


def losses(repositories: Repositories, rollout: Rollout, rows: pl.DataFrame, loss: str) -> pl.Series:
    """The loss of each row's answer; null without a label that the problem allows, and of versions that are not compared.

    Raises `InvalidInput` for an unknown loss, and one that does not belong to the problem of a version.
    """
    if loss not in registry.loss_names():
        raise InvalidInput(f"metric {loss!r} is no loss; an experiment can be decided by {registry.loss_names()}", metric=loss)
    found = np.full(rows.height, np.nan)
    placed = rows.with_row_index("place").filter(pl.col("error") == "")
    for number in (*rollout.candidates, rollout.champion):
        version = repositories.metadata.get(ModelVersion, rollout.model, number)
        known = DeclaredProblem(registry.loss_problems(loss)[0])  # of a version whose bundle is gone
        if version is not None and version.bundle and repositories.blobs.exists(version.bundle):
            known = label_domain.of_bundle(decode(repositories.blobs.get(version.bundle), ModelBundle))
        if loss not in known.kind.losses:
            raise InvalidInput(
                f"version {number} of {rollout.model!r} solves a {known.problem}, which is not compared by {loss!r}; its losses are "
                f"{list(known.kind.losses)}",
                version=number,
                metric=loss,
            )
        measured, scored = label_domain.measured(placed.filter(pl.col("number") == number), known)
        found[measured["place"].to_numpy()] = known.kind.losses[loss](scored)
    return pl.Series(unit_figures.loss_column(loss), found).fill_nan(None)
