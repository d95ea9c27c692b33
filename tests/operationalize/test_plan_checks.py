"""Declarations that could never work are refused by `rota plan`, with the field and the value, and nothing is stored."""

import sys

import pytest

from rota.errors import InvalidInput
from rota.manage.models import strategies
from rota.operationalize import project as projects
from rota.records.data import Source
from rota.records.release import Canary, metric
from rota.settings import Settings
from rota.wiring import opened

TEXT = """
import rota
from rota.records.run import Gate, Trigger
from rota.records.release import Analysis

flights = rota.Source("flights", {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}, timestamp_field="at", id_field="id")
delays = rota.FeatureView("delays", [rota.Entity("airport", ["origin"])], flights, {"mean": rota.mean("delay", window="3h")})
service = rota.FeatureService("late", [delays])

def train(data, rounds=10):
    return data

@rota.metric(higher_is_better=True, lowest=0, highest=1)
def profit(truth, answers):
    return 0.5

@rota.metric(higher_is_better=False)
def brier(truth, answers):
    return 0.5

@rota.metric(higher_is_better=False)
def three(truth, answers, weights):
    return 0.5

class Trainer:
    pass

trainer = Trainer()

def dataset(**words):
    return rota.DatasetDefinition(service, flights, **({"label": rota.sql("delay > 15"), "timestamp": "at"} | words))

def pipeline(**words):
    return rota.TrainingPipeline("late", **({"train": train, "dataset": dataset()} | words))

def endpoint(**words):
    return rota.Endpoint("late", "late", rota.Canary(**words))

LOSS = [rota.metric("log_loss", margin=0.01)]
"""


@pytest.fixture
def load(tmp_path):
    def load_(declared):
        file = tmp_path / "project.py"
        file.write_text(f"{TEXT}\ndeclared = {declared}\n")
        return projects.load(file)

    return load_


TWICE = 'rota.ColumnSchema("at", "timestamp")'
NEVER = [
    ('pipeline(triggers=[rota.cron("0 3 * * 1", cooldown="7 days")])', r"duration '7 days'"),
    ('pipeline(triggers=[Trigger("schedule", "0 3 * * 1", cooldown="7 days")])', r"triggers\[0\] cooldown: duration '7 days'"),
    ('pipeline(triggers=[rota.new_data(10, cooldown="weekly")])', r"duration 'weekly'"),
    ('pipeline(triggers=[Trigger("new_data", rows=10, cooldown="weekly")])', r"triggers\[0\] cooldown: duration 'weekly'"),
    ('pipeline(triggers=[Trigger("new_data", rows=0)])', r"triggers\[0\] new_data: rows = 0"),
    ('pipeline(triggers=[rota.cron("0 3 31 2 *")])', r"triggers\[0\] cron expression '0 3 31 2 \*' is not valid"),
    ('pipeline(triggers=[rota.on_alert("perfomance")])', r"no alert of an endpoint has the kind 'perfomance'; the kinds are .*'performance'"),
    ('pipeline(triggers=[Trigger("manual")])', r"triggers\[0\] kind = 'manual' starts nothing by itself"),
    ('pipeline(triggers=[rota.on_alert("drift"), rota.on_alert("drift", cooldown="1d")])', r"triggers\[1\] alert drift is there twice"),
    ("pipeline(triggers=[rota.new_data(10), rota.new_data(99)])", r"triggers\[1\] new_data is there twice"),
    (
        'pipeline(gates=[rota.at_least("auc", 0.6)])',
        r"gates\[0\] threshold: the metric 'auc' is unknown; a classification is measured by \['roc_auc'",
    ),
    ('pipeline(gates=[rota.at_most("rmse", 3)])', r"the metric 'rmse' belongs to regression"),
    ('pipeline(problem="regression", gates=[rota.per_slice("origin", "roc_auc", 0.6)])', r"slice: the metric 'roc_auc' belongs to classification"),
    ('pipeline(gates=[rota.not_worse_than_champion("logloss")])', r"champion: the metric 'logloss' is unknown"),
    ('pipeline(gates=[rota.at_least("log_loss", 0.1)])', r"better when it is smaller; write at_most\(\'log_loss\', 0.1\)"),
    ('pipeline(gates=[rota.at_most("roc_auc", 0.7)])', r"better when it is larger; write at_least"),
    ('pipeline(gates=[rota.at_least("roc_auc", float("nan"))])', r"gates\[0\].bound = nan is no finite number"),
    ('pipeline(gates=[rota.not_worse_than_champion("roc_auc", margin=float("inf"))])', r"gates\[0\].bound = inf"),
    ('pipeline(gates=[rota.at_least("roc_auc", 60)])', r"its bound 60 can never be met; the best that roc_auc can be is 1"),
    ('pipeline(gates=[rota.at_most("log_loss", -0.1)])', r"can never be met; the best that log_loss can be is 0"),
    ('pipeline(gates=[rota.per_slice("origin", "log_loss", -1)])', r"can never be met"),
    ('pipeline(gates=[rota.per_slice("origin", "roc_auc", 0.5, min_rows=0)])', r"min_rows = 0"),
    ("pipeline(max_runs_per_week=0)", r"max_runs_per_week = 0 lets no trigger"),
    ("pipeline(give_up_after=0)", r"give_up_after = 0 lets no trigger"),
    ('pipeline(parameters={"rounds": float("inf")})', r"parameters.rounds = inf"),
    ('pipeline(parameters={"rounds": object()})', r"parameters cannot be stored"),
    ('pipeline(parameters={"round": 10})', r"cannot be called as train\(data, round=...\): got an unexpected keyword argument 'round'"),
    ('pipeline(train="project:tarin")', r"train = 'project:tarin' cannot be imported: AttributeError"),
    ('pipeline(train="somewhere.else:train")', r"cannot be imported: ModuleNotFoundError"),
    ('pipeline(train="project:trainer")', r"is a Trainer, no function"),
    ('pipeline(train="__main__:train")', r"is defined in a script"),
    ('pipeline(problem="regression", gates=[], dataset=dataset(label=rota.sql("origin")))', r"label: 'origin' is a text, and a regression has"),
    ('pipeline(problem="regression", dataset=dataset(label=None))', r"it takes rows without a label, .* without them learn models of anomaly, clust"),
    ('pipeline(problem="ranking", gates=[])', r"group: a ranking is judged by groups of rows; name the field of the label source"),
    ('pipeline(problem="clasification")', r"problem = 'clasification' is unknown; known are classification \(one of two classes"),
    ('pipeline(dataset=dataset(label={"a": rota.sql("delay"), "b": rota.sql("delay")}))', r"label: it has the targets \['a', 'b'\]"),
    ('pipeline(dataset=dataset(label=rota.sql("dealy > 15")))', r"dealy"),
    ('pipeline(dataset=dataset(filter="delay"))', r"its filter 'delay' is float, not a condition"),
    ('pipeline(dataset=dataset(window="0d"))', r"window = '0d' holds no rows"),
    ('pipeline(dataset=dataset(window="7d", split=rota.TimeSplit(test="7d")))', r"test='7d'\) of window = '7d' leaves no rows for training"),
    ('pipeline(dataset=dataset(split=rota.TimeSplit(test="0s")))', r"leaves no rows for the test"),
    ('rota.Dataset("late", dataset(split=rota.GroupSplit(by="tail")))', r"split by 'tail', which is no field"),
    ("endpoint(patience=5, analysis=LOSS)", r"at least 30 hours with labels, but hold = '30m' with patience = 5 gives up after 3 hours"),
    ('endpoint(shadow="2h", hold="9d", patience=5, analysis=LOSS)', r"shadow = '2h' with patience = 5 gives up after 12 hours"),
    ("endpoint(steps=[], analysis=LOSS)", r"is never asked: there are no steps and no shadow"),
    (
        'endpoint(shadow="2d", analysis=[rota.metric("roc_auk", margin=0.1)])',
        r"analysis\[0\] metric: the metric 'roc_auk' is unknown; a rollout can be",
    ),
    ('endpoint(analysis=[rota.error_rate(margin=float("nan"))])', r"rollout.analysis\[0\].bound = nan"),
    ("endpoint(analysis=[rota.error_rate(margin=2)])", r"margin = 2 is a difference of shares"),
    ("endpoint(analysis=[rota.error_rate(ratio=0.5)])", r"ratio = 0.5 is how many times as often it may fail"),
    ("endpoint(analysis=[rota.error_rate(at_least=-1)])", r"at_least = -1 is a number of failures"),
    ("endpoint(analysis=[rota.latency_p95(ratio=0)])", r"ratio = 0 must be positive"),
    ('pipeline(gates=[rota.at_least("profit", 0.5)])', r"the metric 'profit' is unknown"),
    ('pipeline(metrics=[profit], gates=[rota.at_most("profit", 0.5)])', r"profit is better when it is larger; write at_least"),
    ('pipeline(metrics=[profit], gates=[rota.at_least("profit", 2)])', r"its bound 2 can never be met; the best that profit can be is 1"),
    ("pipeline(metrics=[profit, profit])", r"metrics\[1\]: 'profit' is there twice"),
    ("pipeline(metrics=[brier])", r"metrics\[0\]: 'brier' is the name of a metric of Rota's"),
    ("pipeline(metrics=[three])", r"takes 3 parameters"),
    ('pipeline(metrics=[{"name": "profit", "function": "nowhere:f", "higher_is_better": True}])', r"'nowhere:f' cannot be imported"),
    ("pipeline(metrics=[train])", r"is no metric; write @rota.metric"),
    ('pipeline(problem="quantiles", dataset=dataset(label={"a": rota.sql("delay"), "b": rota.sql("delay")}))', r"label: it has the targets"),
    ('endpoint(hold="0s", analysis=[rota.latency_p95()])', r"judged before it had any traffic"),
    ("endpoint(patience=-1)", r"patience = -1"),
    ('endpoint(patience=2, max_duration="1d")', r"patience = 2 rolls back .* leave patience out"),
    ('endpoint(patience=2, on_inconclusive="promote")', r"patience = 2 rolls back .* leave patience out"),
    ('endpoint(max_duration="1h")', r"max_duration = '1h' is over before its stages are"),
    ('endpoint(max_duration="soon")', r"duration 'soon' is not a number and a unit"),
    ('endpoint(on_inconclusive="wait")', r"on_inconclusive: invalid enum value 'wait'"),
    (
        'endpoint(max_duration="20h", on_inconclusive="roll_back", analysis=LOSS)',
        r"max_duration = '20h' gives up after 20 hours, so every version would be rolled back",
    ),
    ('endpoint(max_duration="20h", on_inconclusive="promote", analysis=LOSS)', r"so every version would be promoted unjudged"),
    ("rota.Monitor(endpoint(), reference_days=20)", r"reference_days = 20 could never judge drift"),
    ("rota.Monitor(endpoint(), gap_days=-1)", r"gap_days = -1"),
    ('rota.Monitor(endpoint(), schedule="0 3 31 2 *")', r"schedule: cron expression"),
    ('rota.FeatureView("v", [rota.Entity("airport", ["origin"])], flights, {"d": rota.sql("delay")}, ttl="0s")', r"ttl = '0s'"),
    ('rota.FeatureView("v", [rota.Entity("a", ["origin"])], flights, {"d": rota.mean("delay", window="0s")})', r"features.d: window = '0s'"),
    ('rota.Source("s", {"at": "timestamp"}, "at", contract=rota.Contract("me", freshness="0s"))', r"contract.freshness = '0s'"),
    ('rota.Endpoint("late", "no/model")', r"model: model name 'no/model' is not allowed"),
    ('pipeline(max_runs_per_week="many")', r"max_runs_per_week: expected `int`, got `str`"),
    ('pipeline(gates=[rota.at_least("roc_auc", "0.5")])', r"gates\[0\].bound: expected `float`, got `str`"),
    ('pipeline(gates=[rota.per_slice("origin", "roc_auc", 0.5, min_rows="many")])', r"gates\[0\].min_rows: expected `int`, got `str`"),
    ('pipeline(dataset=dataset(split="7d"))', r"dataset.split: expected `object`, got `str`"),
    ("endpoint(patience=2.5)", r"rollout.patience: expected `int | null`, got `float`"),
    ('endpoint(analysis=["error_rate"])', r"rollout.analysis\[0\]: expected `object`, got `str`"),
    ('rota.ReleasePolicy("late", "auto")', r"level: invalid enum value 'auto'"),
    ('pipeline(gates=rota.at_least("roc_auc", 0.5))', r"project.py', line 34, cannot be imported: TypeError: 'Gate' object is not iterable"),
    ('pipeline(dataset=dataset(label=rota.mean("delay", window="3h")))', r"its label is the mean of a window"),
    ('pipeline(dataset=dataset(label=rota.sql("at")))', r"its label 'at' is a time"),
    ('pipeline(dataset=dataset(label=rota.sql("true")))', r"its label 'true' reads no column"),
    ('pipeline(dataset=dataset(filter="1 = 2"))', r"its filter '1 = 2' reads no column"),
    ('pipeline(gates=[rota.not_worse_than_champion("roc_auc", margin=-1)])', r"its margin -1 can never be met; roc_auc lies between 0 and 1"),
    ('pipeline(gates=[rota.not_worse_than_champion("roc_auc", margin=2)])', r"its margin 2 can never refuse"),
    ("endpoint(analysis=[rota.error_rate(), rota.error_rate(margin=0.5)])", r"analysis error_rate is there twice"),
    ('rota.FeatureService("none", [])', r"views: it has none"),
    (
        f'rota.Source("s", {{"at": "timestamp"}}, "at", contract=rota.Contract("me", columns=({TWICE}, {TWICE})))',
        r"contract.columns: 'at' is there twice",
    ),
]


@pytest.mark.parametrize(("declared", "message"), NEVER)
def test_what_could_never_work_is_refused_with_its_field_and_value(load, declared, message):
    with pytest.raises(InvalidInput, match=message):
        load(declared)


FINE = [
    'pipeline(gates=[rota.at_least("roc_auc", 1.0), rota.at_most("log_loss", 0.5), rota.not_worse_than_champion("brier", margin=0.0)])',
    'pipeline(problem="regression", gates=[rota.at_least("r2", -3), rota.at_most("rmse", 1e9), rota.per_slice("origin", "mae", 5)])',
    'pipeline(triggers=[rota.cron("0 3 * * 1"), rota.cron("0 4 * * 2"), rota.on_alert("drift"), rota.on_alert("performance")])',
    'pipeline(parameters={"rounds": 5})',
    'pipeline(train="project:train")',
    'endpoint(shadow="5h", analysis=LOSS)',
    'endpoint(hold="5h", analysis=LOSS)',
    "endpoint(steps=[])",
    "rota.Monitor(endpoint(), reference_days=30, gap_days=0)",
]


@pytest.mark.parametrize("declared", FINE)
def test_what_can_work_is_taken(load, declared):
    assert load(declared).records


def test_every_fault_of_a_project_is_listed_at_once(load):
    with pytest.raises(InvalidInput) as caught:
        load('[pipeline(gates=[rota.at_least("auc", 1)], max_runs_per_week=0)][0]')
    assert "\n  1. TrainingPipeline 'late': " in str(caught.value)
    assert "\n  2. TrainingPipeline 'late': " in str(caught.value)


def test_a_regression_is_not_judged_by_a_loss_of_probabilities(load):
    load('pipeline(problem="regression"); served = endpoint(shadow="2d", analysis=[rota.metric("squared_error", margin=1.0)])')
    with pytest.raises(InvalidInput, match=r"'log_loss' belongs to classification, .*the model's problem is regression; use \['squared_error'"):
        load('pipeline(problem="regression"); served = endpoint(shadow="2d", analysis=LOSS)')


def test_a_module_that_the_release_does_not_hold_is_refused(tmp_path):
    (tmp_path / "elsewhere.py").write_text("ROUNDS = 3\n")
    folder = tmp_path / "flights"
    folder.mkdir()
    (folder / "neighbour.py").symlink_to(tmp_path / "elsewhere.py")
    file = folder / "project.py"
    file.write_text(f"from neighbour import ROUNDS\n{TEXT}\ndeclared = pipeline()\n")
    with pytest.raises(InvalidInput, match=r"imports the module 'neighbour' from .*neighbour.py', which a release does not hold"):
        projects.load(file)
    assert "neighbour" not in sys.modules
    (folder / "neighbour.py").unlink()
    (folder / "neighbour.py").write_text("ROUNDS = 3\n")
    assert projects.load(file).pipelines


def test_a_delivery_that_could_only_be_rolled_back_is_no_choice():
    endpoint = Canary(shadow="2d", analysis=[metric("log_loss", margin=0.01)])
    assert strategies.faults(endpoint, "classification") == []
    assert strategies.faults(strategies.chosen(endpoint, Canary(steps=[50], hold="1h")), None) == [], "it waits for its hours"
    quick = strategies.chosen(endpoint, Canary(steps=[50], hold="1h", patience=5))
    assert "gives up after 6 hours" in strategies.faults(quick, None)[0]
    assert strategies.faults(strategies.chosen(endpoint, Canary(steps=[])), None, at_once=True) == []


def test_plan_refuses_what_apply_refuses_and_stores_nothing(tmp_path):
    file = tmp_path / "project.py"
    view = 'rota.FeatureView("v", [rota.Entity("a", ["origin"])], flights, {"d": rota.sql("floor(delay, 1)")})'
    file.write_text(f"{TEXT}\ndeclared = {view}\n")
    with opened(Settings(home=tmp_path / "home")) as platform:
        for act in (platform.projects.plan, platform.projects.apply):
            with pytest.raises(InvalidInput, match="floor"):
                act(file)
        assert platform.repositories.metadata.find(Source) == []
