"""A model inside another program, without a server: one file in, answers out.

The file is a ZIP archive, stored and not compressed, of `bundle.json` (the ModelBundle) and `model` (its bytes, checked by digest).
"""

import io
import zipfile
from collections.abc import Collection, Mapping, Sequence
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
from rota.problems import registry
from rota.records.model import ModelBundle
from rota.records.record import decode, digest, encode
from rota.serve import row_failures

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
        self._fields = row_failures.plain_fields(model.bundle)

    @property
    def features(self) -> tuple[str, ...]:
        """The feature names it needs, in the order of the model's matrix."""
        return self.model.bundle.transformation.features

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the numbers of one answer, in the order of `predict`'s columns; none where an answer is one number."""
        return self.model.bundle.outputs

    def answers(self, data: Frame | Sequence[Mapping[str, Any]]) -> list[Any]:
        """The answers as an endpoint gives them: a number, the class with its probabilities, numbers by name, a text or other JSON."""
        bundle = self.model.bundle
        found: list[Any] = registry.problem_type(bundle.problem).answer.plain(bundle.outputs, self.predict(data))
        return found

    def predict(self, data: Frame | Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Answers as an array: float64 (rows,) of the probability of the second class, or of the value; (rows, outputs) where there are several.

        `data` is a frame with a column for each feature (others are ignored) or a sequence of mappings from feature to value. A feature that
        is a field of the request as it is may be given by the field's name.
        """
        if isinstance(data, Sequence):
            return self.model.predictor.predict(self.model.transformer.matrix([self._by_feature(row) for row in data]))
        transformation = self.model.bundle.transformation
        given = {name: self._named(name, data.columns) for name in self.features}
        frame = data if isinstance(data, pl.DataFrame) else _polars(data, list(dict.fromkeys(given.values())))
        named = frame.select(pl.col(own).alias(name) for name, own in given.items() if own in frame.columns)
        return self.model.predictor.predict(matrix(transformation, named))

    def _by_feature(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        lacking = [name for name in self.features if name not in row and self._fields.get(name) in row]
        return {**row, **{name: row[self._fields[name]] for name in lacking}} if lacking else row

    def _named(self, feature: str, columns: Collection[str]) -> str:
        """The column that holds a feature: its own, or that of the field which it is."""
        field = self._fields.get(feature, feature)
        return field if feature not in columns and field in columns else feature


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


def _polars(data: Frame, names: Sequence[str]) -> pl.DataFrame:
    """The needed columns of another library's frame; its missing values (None, NaN, NaT, NA) become null."""
    present = set(data.columns)
    missing = [name for name in names if name not in present]
    if missing:
        raise InvalidInput(f"the frame has no columns {missing}, which the model needs", features=missing)
    return pl.DataFrame([pl.Series(name, [_value(value) for value in data[name]]) for name in names])


def _value(value: Any) -> Any:
    """A plain value; libraries mark missing ones by something unequal to itself or neither equal nor unequal. An array is its list."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    try:
        return value if bool(value == value) else None  # noqa: PLR0124 (NaN and NaT)
    except TypeError:  # pandas.NA
        return None
