"""Batch prediction: a whole frame scored in chunks by one model version, for files and tables rather than callers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl

from rota.errors import InvalidInput
from rota.manage.models.loading import LoadedModel
from rota.manage.models.transformation import matrix
from rota.records.time import Micros
from rota.serve.requests import check_rows
from rota.serve.scoring import Vectors

CHUNK_ROWS = 50_000
"""Rows scored at a time: large enough that calls cost nothing, small enough that the matrix of a wide model stays below 100 MB."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model version that scores frames; `source` completes request rows with online features as of `now_us`."""

    model: LoadedModel
    number: int
    source: Vectors | None = None
    now_us: Micros = 0


def predict_batch(scorer: Scorer, frame: pl.DataFrame, *, chunk_rows: int = CHUNK_ROWS) -> pl.DataFrame:
    """The frame with `answer`, `model` and `version` columns added; row order stays, and rows out == rows in.

    A frame that holds every feature is scored as it is; one with the request fields is completed from the online store.
    """
    if chunk_rows < 1:
        raise InvalidInput(f"chunk_rows={chunk_rows}: a chunk needs at least one row", chunk_rows=chunk_rows)
    chunks = list(predict_chunks(scorer, frame.iter_slices(chunk_rows)))
    return pl.concat(chunks) if chunks else _answered(scorer, frame, pl.Series("answer", [], pl.Float64))


def predict_chunks(scorer: Scorer, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """As `predict_batch`, frame by frame, for data larger than memory."""
    for frame in frames:
        answers = _answers(scorer, frame)
        yield _answered(scorer, frame, pl.Series("answer", answers, pl.Float64))


def _answers(scorer: Scorer, frame: pl.DataFrame) -> pl.Series:
    if frame.is_empty():
        return pl.Series([], dtype=pl.Float64)
    if _form(scorer, frame) == "features":
        cells = matrix(scorer.model.bundle.transformation, frame)
    else:
        assert scorer.source is not None
        rows = check_rows(_plain_times(frame).to_dicts(), scorer.model.bundle.features.request_fields)
        cells = scorer.model.transformer.matrix(scorer.source.vectors(rows, scorer.now_us))
    return pl.Series(scorer.model.predictor.predict(cells))


def _form(scorer: Scorer, frame: pl.DataFrame) -> Literal["features", "rows"]:
    bundle = scorer.model.bundle
    missing = [column.name for column in bundle.transformation.columns if column.name not in frame.columns]
    if not missing:
        return "features"
    lacking = [name for name in bundle.features.request_fields if name not in frame.columns]
    if lacking or scorer.source is None:
        raise InvalidInput(
            f"model {bundle.model!r} cannot score this frame: it lacks the features {missing}"
            + (f" and the request fields {lacking}" if lacking else ", and no online store was given to look them up"),
            model=bundle.model,
            features=missing,
            fields=lacking,
        )
    return "rows"


def _plain_times(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.Datetime).dt.timestamp("us"))


def _answered(scorer: Scorer, frame: pl.DataFrame, answers: pl.Series) -> pl.DataFrame:
    return frame.with_columns(answers, model=pl.lit(scorer.model.bundle.model), version=pl.lit(scorer.number, pl.Int64))
