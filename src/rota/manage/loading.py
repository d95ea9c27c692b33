"""Loading a model for serving: from the digest of its bundle to a predictor that has proved it answers as it did at registration."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rota.errors import Refused, RotaError
from rota.manage.transformation import RowsTransformer
from rota.ports.blobs import Blobs
from rota.ports.models import ModelFormat, Predictor
from rota.records.model import ModelBundle
from rota.records.record import decode

TOLERANCE = 1e-9
WARM_UP_ROWS = (1, 1, 32)
"""Rows of the calls made before traffic: the first call of an engine allocates, and one row and many may be different code."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to answer."""

    digest: str
    bundle: ModelBundle
    predictor: Predictor
    transformer: RowsTransformer


def load(blobs: Blobs, formats: Mapping[str, ModelFormat], digest: str) -> LoadedModel:
    """The model of a bundle; raises `Refused` when its format is not installed or a golden row gives another answer than at registration."""
    bundle = decode(blobs.get(digest), ModelBundle)
    return assemble(bundle, blobs.get(bundle.blob), formats, digest)


def assemble(bundle: ModelBundle, model: bytes, formats: Mapping[str, ModelFormat], digest: str) -> LoadedModel:
    """As `load`, from the bundle and the model's bytes."""
    if bundle.format not in formats:
        raise Refused(
            f"model {bundle.model!r} (bundle {digest[:12]}) has format {bundle.format!r}, which is not installed here; "
            f"installed are {sorted(formats)}, so install rota[{bundle.format}]",
            model=bundle.model,
            format=bundle.format,
        )
    predictor = formats[bundle.format].loads(model)
    try:
        _check_golden_rows(bundle, predictor, digest)
        _warm_up(bundle, predictor)
    except RotaError:
        raise
    except Exception as error:
        raise Refused(f"model {bundle.model!r} (bundle {digest[:12]}) cannot predict: {type(error).__name__}: {error}", bundle=digest) from error
    return LoadedModel(digest, bundle, predictor, RowsTransformer(bundle.transformation))


def _check_golden_rows(bundle: ModelBundle, predictor: Predictor, digest: str) -> None:
    if not bundle.golden_rows:
        return
    expected = np.array(bundle.golden_answers, dtype=np.float64)
    answers = predictor.predict(np.array(bundle.golden_rows, dtype=np.float64))
    right = (
        np.abs(answers - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected)) if answers.shape == expected.shape else np.zeros(1, dtype=bool)
    )
    if not right.all():
        raise Refused(
            f"model {bundle.model!r} (bundle {digest[:12]}) does not answer its golden rows as at registration: "
            f"{np.count_nonzero(~right)} of {len(expected)} differ by more than {TOLERANCE}; it was built with {dict(bundle.dependencies)}",
            model=bundle.model,
            bundle=digest,
        )


def _warm_up(bundle: ModelBundle, predictor: Predictor) -> None:
    row = bundle.golden_rows[0] if bundle.golden_rows else (None,) * len(bundle.transformation.columns)
    for rows in WARM_UP_ROWS:
        predictor.predict(np.array([row] * rows, dtype=np.float64))
