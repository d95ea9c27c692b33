"""Hand the data of a training to the process that fits a model: an uncompressed Arrow file, and the truth beside it."""

from pathlib import Path

import numpy as np
import polars as pl

from rota.records.model import Transformation
from rota.records.record import Record, decode, encode
from rota.train.training_data import Rows, TrainingData

_FRAME, _TRUTH, _WEIGHTS, _GROUPS, _PLAN = "frame.arrow", "truth.npy", "weights.npy", "groups.arrow", "plan.json"


class HandoffPlan(Record, frozen=True):
    """How the rows are read again."""

    transformation: Transformation
    target: str | tuple[str, ...] = "label"
    validates: bool = False


def save(folder: Path, data: TrainingData, fitted: Transformation) -> None:
    """Write what `load` reads; the matrix, which `fitted` makes, is not among it: it is made there when it is asked for."""
    for name, rows in (("train", data.train), ("validation", data.validation)):
        if rows is not None:
            _write(folder / name, rows)
    (folder / _PLAN).write_bytes(encode(HandoffPlan(fitted, data.target, data.validation is not None)))


def load(folder: Path) -> tuple[TrainingData, Transformation]:
    """The data of a training function, and the transformation that makes its matrix."""
    plan = decode((folder / _PLAN).read_bytes(), HandoffPlan)
    fitted = plan.transformation
    names = tuple(column.name for column in fitted.columns)
    categorical = tuple(place for place, column in enumerate(fitted.columns) if column.type == "string")
    validation = _read(folder / "validation", fitted) if plan.validates else None
    return TrainingData(_read(folder / "train", fitted), names, categorical, validation, plan.target), fitted


def _write(folder: Path, rows: Rows) -> None:
    """Nothing is compressed: the file lives for one training."""
    folder.mkdir()
    rows.write_frame(folder / _FRAME)
    np.save(folder / _TRUTH, rows.y)
    if rows.weight is not None:
        np.save(folder / _WEIGHTS, rows.weight)
    if rows.group is not None:
        pl.DataFrame({"group": rows.group.tolist()}).write_ipc(folder / _GROUPS, compression="uncompressed")


def _read(folder: Path, fitted: Transformation) -> Rows:
    weights, groups = folder / _WEIGHTS, folder / _GROUPS
    rows = Rows(
        frame=pl.scan_ipc(folder / _FRAME).collect(engine="in-memory"),
        y=np.load(folder / _TRUTH),
        weight=np.load(weights) if weights.exists() else None,
        group=pl.read_ipc(groups)["group"].to_numpy() if groups.exists() else None,
    )
    return rows.fitted_with(fitted)
