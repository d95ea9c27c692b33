"""A model is served only when it proves to be the one that was registered."""

from importlib.metadata import version

import msgspec
import pytest

from rota.errors import Corrupt, NotFound, Refused
from rota.manage.models.loading import load
from rota.records.model import ModelBundle
from rota.records.record import decode, encode


def test_a_bundle_becomes_a_warm_predictor(world):
    model = load(world.blobs, world.model_source.formats, world.bundle(5.0))
    assert model.predictor.predict(model.transformer.matrix([{"request__x": 2.0, "request__carrier": "UA"}])).tolist() == [8.0]
    assert {1, 32} <= set(model.predictor.calls)


def test_a_model_that_does_not_answer_its_golden_rows_is_refused(world):
    with pytest.raises(Refused, match="1 of 1 differ"):
        load(world.blobs, world.model_source.formats, world.bundle(5.0, golden=6.0 + 1e-7))


def test_a_difference_within_rounding_is_no_difference(world):
    load(world.blobs, world.model_source.formats, world.bundle(1e6, golden=1e6 + 1 + 1e-6 * 0.5))


def test_a_format_that_is_not_installed_is_refused_by_name(world):
    with pytest.raises(Refused, match=r"install rota\[linear\]"):
        load(world.blobs, {}, world.bundle(5.0))


def test_missing_and_damaged_bundles_are_told_apart(world):
    with pytest.raises(NotFound):
        load(world.blobs, world.model_source.formats, "0" * 64)
    with pytest.raises(Corrupt):
        load(world.blobs, world.model_source.formats, world.blobs.put(b"{}"))
    blob = world.blobs.put(b"no model")
    bundle = msgspec.structs.replace(decode(world.blobs.get(world.bundle(5.0)), ModelBundle), blob=blob)
    with pytest.raises(Corrupt):
        load(world.blobs, world.model_source.formats, world.blobs.put(encode(bundle)))


def test_answers_that_are_not_numbers_do_not_pass_for_golden_ones(world):
    with pytest.raises(Refused):
        load(world.blobs, world.model_source.formats, world.bundle(float("nan"), golden=1.0))


def with_dependencies(world, dependencies, **changes):
    bundle = decode(world.blobs.get(world.bundle(5.0)), ModelBundle)
    return world.blobs.put(encode(msgspec.structs.replace(bundle, dependencies=dependencies, **changes)))


def test_a_package_that_is_missing_or_of_another_major_version_is_told_and_the_golden_rows_decide(world, caplog):
    odd = {"numpy": "1.26.4", "no-such-package": "2.0", "polars": version("polars")}
    load(world.blobs, world.model_source.formats, with_dependencies(world, odd))
    (record,) = [r for r in caplog.records if r.name == "rota.manage"]
    assert f"built with numpy 1.26.4, and {version('numpy')} is installed" in record.getMessage()
    assert "no-such-package 2.0 is not installed" in record.getMessage()
    assert "polars" not in record.getMessage()
    with pytest.raises(Refused, match=r"built with numpy 1\.26\.4"):
        load(world.blobs, world.model_source.formats, with_dependencies(world, odd, golden_answers=(99.0,)))


def test_a_bundle_says_how_closely_its_answers_repeat(world):
    near = with_dependencies(world, {}, golden_answers=(6.0 + 1e-7,), tolerance=1e-6)
    load(world.blobs, world.model_source.formats, near)
