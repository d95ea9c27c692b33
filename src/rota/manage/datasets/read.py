"""Reading a dataset version by its name, so that the run that reads it is known by it."""

import polars as pl

from rota.errors import NotFound
from rota.manage.datasets import build as datasets
from rota.manage.experiments import input_tracking
from rota.manage.repositories import Repositories
from rota.records.dataset import DatasetVersion
from rota.records.record import encode
from rota.records.tracking import RunInput


def read(repositories: Repositories, text: str) -> pl.DataFrame:
    """The rows of "NAME@NUMBER", or of the newest version of "NAME", in their order; `is_test` tells the side of the split."""
    version = _found(repositories, text)
    rows = datasets.read(repositories.tables, version)
    input_tracking.note(described(version))
    return rows


def described(version: DatasetVersion) -> RunInput:
    """A dataset version as the input of a run."""
    counts = {"rows": str(version.rows), "train_rows": str(version.train_rows), "test_rows": str(version.test_rows)}
    split = {"split": encode(version.split).decode()} if version.split is not None else {}
    return RunInput(version.name, version.digest, "rota_dataset", version.id, f"dataset_version:{version.id}", tags={**split, **counts})


def _found(repositories: Repositories, text: str) -> DatasetVersion:
    if "@" in text:
        return datasets.get(repositories.metadata, *datasets.parse(text))
    newest = repositories.metadata.page(DatasetVersion, {"name": text}, order="-number", limit=1).items
    if not newest:
        raise NotFound(f"dataset {text!r} has no version yet; `rota data build {text}` makes one, `rota data list` shows what exists", dataset=text)
    return newest[0]
