"""What a project declares: features by short constructors, a pipeline by its training function."""

import functools

import pytest

import rota
from rota.errors import InvalidInput
from rota.records.data import Feature
from rota.records.record import decode, encode
from rota.records.run import TrainingPipeline

FLIGHTS = rota.Source("flights", {"origin": "string", "at": "timestamp", "delay": "float"}, timestamp_field="at")
DELAYS = rota.FeatureView("delays", [rota.Entity("airport", ["origin"])], FLIGHTS, {"mean_3h": rota.mean("delay", window="3h")})
DATASET = rota.DatasetDefinition(rota.FeatureService("late", [DELAYS]), FLIGHTS, rota.sql("delay > 15"), "at")


@rota.step
def fit(data):
    return data


def pipeline(train):
    return rota.TrainingPipeline("late", train, DATASET)


def test_features_are_written_by_what_they_compute():
    assert rota.sql("wind_speed") == Feature("wind_speed")
    assert rota.mean("delay", window="3h") == Feature("delay", "mean", "3h")
    assert rota.total("delay", window="1d") == Feature("delay", "sum", "1d")
    assert rota.share("delay > 15", window="24h") == Feature("delay > 15", "share", "24h")
    assert rota.count(window="15m") == Feature("1", "count", "15m")


@pytest.mark.parametrize("make", [lambda: rota.sql(" "), lambda: rota.mean("", window="3h"), lambda: rota.count(window="3 hours")])
def test_a_feature_that_means_nothing_is_refused(make):
    with pytest.raises(InvalidInput):
        make()


def test_a_training_function_is_kept_as_the_text_by_which_a_worker_finds_it():
    assert pipeline(fit).train == f"{__name__}:fit"
    assert pipeline("project:train").train == "project:train"


def test_a_pipeline_given_its_function_reads_back_as_it_was_written():
    assert decode(encode(pipeline(fit)), TrainingPipeline) == pipeline(fit)


def local():
    def inner(data):
        return data

    return inner


@pytest.mark.parametrize(
    "train", [lambda data: data, local(), functools.partial(fit, 1), None, 7], ids=["lambda", "inner", "partial", "none", "number"]
)
def test_what_a_worker_could_not_import_is_refused(train):
    with pytest.raises(InvalidInput, match=r"pipeline 'late': train=.* is no function at the top level"):
        pipeline(train)
