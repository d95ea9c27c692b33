"""The same model without a server."""

import zipfile

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rota.errors import Corrupt, InvalidInput, NotFound, Refused
from rota.manage.models.loading import load
from rota.serve import embedded

ANSWERS = [102.0, 103.0, 100.0]


@pytest.fixture
def model(world):
    return embedded.EmbeddedModel(load(world.blobs, world.model_source.formats, world.bundle(100.0)))


def test_frames_of_any_library_and_rows_give_the_same_answers(model):
    frame = pl.DataFrame({"request__carrier": ["UA", "new", None], "request__x": [1.0, 1.0, None], "other": [1, 2, 3]})
    rows = frame.to_dicts()
    pandas = pd.DataFrame({"request__carrier": ["UA", "new", None], "request__x": [1.0, 1.0, float("nan")]})
    nullable = pandas.astype({"request__carrier": "string", "request__x": "Float64"})
    for data in (frame, rows, pandas, nullable):
        assert model.predict(data).tolist() == ANSWERS
    assert model.features == ("request__x", "request__carrier")


def test_a_feature_that_is_a_field_of_the_request_may_have_its_name(model):
    frame = pl.DataFrame({"carrier": ["UA", "new", None], "x": [1.0, 1.0, None]})
    for data in (frame, frame.to_dicts(), pd.DataFrame(frame.to_dict(as_series=False)), frame.with_columns(request__x=pl.col("x"), x=pl.lit(99.0))):
        assert model.predict(data).tolist() == ANSWERS


def test_arrays_in_a_frame_of_another_library_are_lists():
    frame = pd.DataFrame({"face": [np.array([1.0, 2.0]), None, [3.0, 4.0]]})
    assert embedded._polars(frame, ["face"])["face"].to_list() == [[1.0, 2.0], None, [3.0, 4.0]]


def test_a_missing_feature_is_named(model):
    for data in (pl.DataFrame({"request__x": [1.0]}), [{"request__x": 1.0}], pd.DataFrame({"request__x": [1.0]})):
        with pytest.raises(InvalidInput, match="request__carrier"):
            model.predict(data)


def test_a_saved_file_predicts_alike_elsewhere(world, tmp_path):
    path = tmp_path / "flights.rota"
    embedded.save(path, world.blobs, world.bundle(100.0))
    again = embedded.open_file(path, world.model_source.formats)
    assert again.predict([{"request__x": 1.0, "request__carrier": "UA"}]).tolist() == [102.0]
    assert again.model.digest == world.bundle(100.0)


def test_a_damaged_or_foreign_file_is_refused(world, tmp_path):
    path = tmp_path / "flights.rota"
    with pytest.raises(NotFound):
        embedded.open_file(path, world.model_source.formats)
    embedded.save(path, world.blobs, world.bundle(100.0))
    good = path.read_bytes()
    for damaged in (b"", b"hello", good[:100], good[:40] + b"XXXX" + good[44:]):
        path.write_bytes(damaged)
        with pytest.raises(Corrupt):
            embedded.open_file(path, world.model_source.formats)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("bundle.json", world.blobs.get(world.bundle(100.0)))
        archive.writestr("model", b'{"offset": 7.0}')
    with pytest.raises(Corrupt, match="digest"):
        embedded.open_file(path, world.model_source.formats)


def test_an_embedded_model_is_held_to_its_golden_rows_too(world):
    with pytest.raises(Refused, match="golden"):
        embedded.EmbeddedModel(load(world.blobs, world.model_source.formats, world.bundle(100.0, golden=0.0)))
