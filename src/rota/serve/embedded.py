"""A model inside another program, without a server: one file in, answers out.

The file is a ZIP archive, stored and not compressed, of `bundle.json` (the ModelBundle) and `model` (its bytes, checked by digest).
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl

from rota import foreign_archives
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.manage.models.loading import LoadedModel, assemble
from rota.manage.models.transformation import matrix
from rota.ports.blobs import Blobs
from rota.ports.models import ModelFormat
from rota.records.model import ModelBundle, Transformation
from rota.records.record import decode, digest, encode

LARGEST_MODEL = 2_000_000_000
"""Bytes of a file that is opened, unpacked."""
_BUNDLE, _MODEL = "bundle.json", "model"


class Frame(Protocol):
    """What a frame of Polars, pandas or alike has in common: named columns that can be gone through."""

    @property
    def columns(self) -> Any: ...

    def __getitem__(self, name: str, /) -> Any: ...


class EmbeddedModel:
    """A loaded model that predicts from feature columns or feature rows. Thread-safe."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model

    @property
    def features(self) -> tuple[str, ...]:
        """The feature names it needs, in the order of the model's matrix."""
        return tuple(column.name for column in self.model.bundle.transformation.columns)

    def predict(self, data: Frame | Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Float64 answers, one for each row: the probability of class 1, or the predicted value.

        `data` is a frame with a column for each feature (others are ignored) or a sequence of mappings from feature to value.
        """
        if isinstance(data, Sequence):
            return self.model.predictor.predict(self.model.transformer.matrix(data))
        transformation = self.model.bundle.transformation
        frame = data if isinstance(data, pl.DataFrame) else _polars(data, transformation)
        return self.model.predictor.predict(matrix(transformation, frame))


def save(path: Path, blobs: Blobs, bundle: str) -> None:
    """Write the bundle with this digest and its model into one file."""
    record = blobs.get(bundle)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_BUNDLE), record)
        archive.writestr(zipfile.ZipInfo(_MODEL), blobs.get(decode(record, ModelBundle).blob))
    path.write_bytes(buffer.getvalue())


def open_file(path: Path, formats: Mapping[str, ModelFormat]) -> EmbeddedModel:
    """The model of a file that `save` wrote; raises `Corrupt` when it is damaged and `Refused` when it does not answer as registered."""
    try:
        with foreign_archives.opened(path, repr(str(path)), most_bytes=LARGEST_MODEL) as archive:
            record, model = archive.read(_BUNDLE), archive.read(_MODEL)
    except FileNotFoundError:
        raise NotFound(f"there is no model file {str(path)!r}; write one with `rota models export`", path=str(path)) from None
    except (KeyError, OSError) as error:
        raise Corrupt(f"{str(path)!r} is not a model file: {error}", path=str(path)) from error
    bundle = decode(record, ModelBundle)
    if digest(model) != bundle.blob:
        raise Corrupt(
            f"the model in {str(path)!r} has digest {digest(model)[:12]}, its bundle names {bundle.blob[:12]}; export it again", path=str(path)
        )
    return EmbeddedModel(assemble(bundle, model, formats, digest(encode(bundle))))


def _polars(data: Frame, transformation: Transformation) -> pl.DataFrame:
    """The needed columns of another library's frame; its missing values (None, NaN, NaT, NA) become null."""
    present = set(data.columns)
    missing = [column.name for column in transformation.columns if column.name not in present]
    if missing:
        raise InvalidInput(f"the frame has no columns {missing}, which the model needs", features=missing)
    return pl.DataFrame([pl.Series(column.name, [_value(value) for value in data[column.name]]) for column in transformation.columns])


def _value(value: Any) -> Any:
    """A plain value; libraries mark missing ones by something unequal to itself or neither equal nor unequal."""
    try:
        return value if bool(value == value) else None  # noqa: PLR0124 (NaN and NaT)
    except TypeError:  # pandas.NA
        return None
