"""Metrics of a team's own: declared above a function, named in gates, measured in every evaluation, of slices too."""

import sys

import numpy as np
import pytest

import rota
from rota.backends.inline_compute import InlineCompute
from rota.backends.local_processes import LocalProcesses
from rota.errors import Interrupted, InvalidInput, Refused
from rota.manage.models import own_metrics
from rota.problems.problem_type import ScoredRows
from rota.records.record import decode, encode
from rota.records.release import Analysis
from rota.records.run import Deployed, Evaluation, TrainingPipeline
from rota.train import gates

OWN = """
@rota.metric(higher_is_better=True, lowest=-1, highest=1)
def gain(truth, answers):
    return float(((truth > 0.5) == (answers > 0.5)).mean() * 2 - 1)


@rota.metric(higher_is_better=False, lowest=0)
def rows_of(rows):
    return len(rows)


pipeline = rota.TrainingPipeline(
    "ice",
    metrics=[gain, rows_of],"""
GATES = 'gates=[rota.at_least("gain", {bound}), rota.at_most("rows_of", 1_000), rota.per_slice("kind", "gain", -1, min_rows=1), '


def declared(world, tmp_path, *, bound: float = 0.0) -> None:
    text = (tmp_path / "project" / "project.py").read_text()
    text = text.replace('pipeline = rota.TrainingPipeline(\n    "ice",', OWN).replace("gates=[", GATES.format(bound=bound))
    (tmp_path / "project" / "project.py").write_text(text)
    world.platform.projects.apply(tmp_path / "project" / "project.py")


def test_a_metric_of_ones_own_is_measured_and_gates_ask_it(world, tmp_path):
    declared(world, tmp_path)
    world.history(4)
    run = world.train()
    assert run.status == "succeeded", run.error
    (version,) = world.versions()
    found = decode(world.platform.repositories.blobs.get(version.evaluation), dict)["candidate"]
    assert version.metrics["gain"] == pytest.approx(2 * version.metrics["accuracy"] - 1)
    assert version.metrics["rows_of"] == found["rows"]
    slices = found["slices"]["kind"]
    assert sum(each["rows_of"] for each in slices.values()) == found["rows"]
    assert all(each["gain"] == pytest.approx(2 * each["accuracy"] - 1) for each in slices.values())


def test_a_gate_of_ones_own_metric_refuses(world, tmp_path):
    declared(world, tmp_path, bound=0.99)
    world.history(4)
    run = world.train()
    assert run.status == "blocked"
    assert "gain" in run.error
    assert "needed at least 0.99" in run.error


ROWS = ScoredRows(np.array([0.0, 1.0]), np.array([0.25, 0.5]), weights=np.array([1.0, 3.0]))


def module(tmp_path, body: str) -> None:
    (tmp_path / "ours.py").write_text(f"import rota\n\n\n@rota.metric(higher_is_better=True, highest=1)\n{body}")


def calls(tmp_path, body: str) -> dict[str, float]:
    module(tmp_path, body)
    metric = own_metrics.OwnMetric("score", "ours:score", True, None, 1.0)
    found, _ = own_metrics.MetricCalls(InlineCompute(), tmp_path, 60, lambda: False).measured([metric], ROWS, {})
    return found


def test_a_function_of_one_parameter_gets_the_rows_with_their_weights(tmp_path):
    found = calls(tmp_path, "def score(rows):\n    return float(rows.answers @ rows.weights) / 10\n")
    assert found == {"score": pytest.approx(0.175)}


def test_a_metric_that_is_not_defined_is_left_out(tmp_path):
    assert calls(tmp_path, "def score(truth, answers):\n    return float('nan')\n") == {}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def score(truth, answers):\n    return 'good'\n", "which is no number"),
        ("def score(truth, answers):\n    return 1.5\n", "declared to lie between -inf and 1"),
        ("def score(truth, answers):\n    return float('-inf')\n", "to be finite"),
        ("def score(truth, answers):\n    raise KeyError('price')\n", "price"),
    ],
)
def test_what_a_metric_does_wrong_reaches_its_author(tmp_path, body, reason):
    with pytest.raises(Refused, match=reason):
        calls(tmp_path, body)


PARTS = [ROWS, ROWS.at(np.array([0]))]
REFUSED = {
    "def score(truth, answers):\n    raise KeyError('price')\n": "raised KeyError: 'price'",
    "def score(truth, answers):\n    return float('nan')\n": "gave NaN: it is not defined on these 2 rows",
    "def score(truth, answers):\n    return 1.5\n": "declared to lie between -inf and 1",
    "def score(truth, answers):\n    return None\n": "which is no number",
    "def other(truth, answers):\n    return 1.0\n": "cannot be called: AttributeError",
    "def score(truth, answers):\n    import os\n\n    os._exit(3)\n": "its process ended before it answered",
}
FINE = own_metrics.OwnMetric("fine", "fine:fine", higher_is_better=True)


@pytest.fixture(scope="module")
def processes():
    compute = LocalProcesses()
    yield compute
    compute.close()


@pytest.mark.parametrize("body", REFUSED)
def test_in_a_process_of_its_own_what_a_metric_does_wrong_is_told_and_spoils_no_other(processes, tmp_path, body):
    module(tmp_path, body)
    (tmp_path / "fine.py").write_text("def fine(rows):\n    return len(rows)\n")
    metric = own_metrics.OwnMetric("score", "ours:score", True, None, 1.0)
    found = own_metrics.MetricCalls(processes, tmp_path, 120, lambda: False).each([metric, FINE], PARTS)
    assert [part.values for part in found] == [{"fine": 2.0}, {"fine": 1.0}]
    assert REFUSED[body] in found[0].failed["score"]
    assert "ours" not in sys.modules


def test_a_metric_that_hangs_is_ended_and_the_others_are_measured(processes, tmp_path):
    module(tmp_path, "def score(truth, answers):\n    while True:\n        pass\n")
    (tmp_path / "fine.py").write_text("def fine(rows):\n    return len(rows)\n")
    hanging, fine = (own_metrics.MetricCalls(processes, tmp_path, limit_s, lambda: False) for limit_s in (0.5, 120))
    metric = own_metrics.OwnMetric("score", "ours:score", True, None, 1.0)
    found = hanging.each([metric], PARTS)
    assert {part.failed["score"] for part in found} == {"took too long: it was ended after 0.5 s"}
    assert [part.values for part in fine.each([FINE], PARTS)] == [{"fine": 2.0}, {"fine": 1.0}]


def test_a_part_on_which_a_metric_fails_spoils_no_other_part(tmp_path):
    module(tmp_path, "def score(truth, answers):\n    return float(truth[1] - answers[1])\n")
    metric = own_metrics.OwnMetric("score", "ours:score", True)
    first, second = own_metrics.MetricCalls(InlineCompute(), tmp_path, 60, lambda: False).each([metric], PARTS)
    assert first.values == {"score": 0.5}
    assert second.is_faulty("score")
    assert second.failed["score"].startswith("raised IndexError")


def test_a_stopped_worker_ends_the_call_and_blames_no_metric(processes, tmp_path):
    module(tmp_path, "def score(truth, answers):\n    while True:\n        pass\n")
    metric = own_metrics.OwnMetric("score", "ours:score", True)
    with pytest.raises(Interrupted, match="was stopped"):
        own_metrics.MetricCalls(processes, tmp_path, 120, lambda: True).each([metric], PARTS)


def test_objects_reach_a_metric_as_they_are(tmp_path):
    rows = ScoredRows(np.array(["a", "b"], dtype=object), np.array([{"x": [1]}, {"x": [2]}], dtype=object))
    module(tmp_path, "def score(truth, answers):\n    return float(truth[1] == 'b' and answers[0] == {'x': [1]})\n")
    metric = own_metrics.OwnMetric("score", "ours:score", True)
    assert own_metrics.MetricCalls(InlineCompute(), tmp_path, 60, lambda: False).measured([metric], rows, {})[0] == {"score": 1.0}


@rota.metric(higher_is_better=False, lowest=0)
def worst(truth, answers):
    return abs(truth - answers).max()


def test_the_name_of_a_loss_is_an_analysis_of_a_rollout_and_a_function_stays_a_function():
    assert rota.metric("brier", margin=0.01) == Analysis("metric", 0.01, "brier")
    assert worst(np.ones(2), np.zeros(2)) == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda: rota.metric("brier"), "give its margin"),
        (lambda: rota.metric("brier", margin=0.1, higher_is_better=True), "nothing else"),
        (rota.metric, "higher_is_better=True"),
        (lambda: rota.metric(higher_is_better=True)(lambda truth, answers: 1), "top level"),
        (lambda: rota.metric(higher_is_better=True, lowest=1, highest=1)(worst), "holds no values"),
        (lambda: TrainingPipeline("p", "m:f", None, metrics=[len]), "no metric"),
    ],
)
def test_a_declaration_that_is_none_is_refused(wrong, reason):
    with pytest.raises(InvalidInput, match=reason):
        wrong()


def test_a_pipeline_with_metrics_of_its_own_is_stored_and_read(world, tmp_path):
    declared(world, tmp_path)
    (deployed,) = world.metadata.find(Deployed)
    assert [metric.name for metric in deployed.definition.metrics] == ["gain", "rows_of"]
    again = decode(encode(deployed.definition), TrainingPipeline)
    assert again == deployed.definition
    assert again.metrics[1].ends == (0, float("inf"))


def test_an_evaluation_without_the_metric_cannot_be_judged_by_it():
    (result,) = gates.judge([rota.at_least("worst", 1)], Evaluation("m", "d@1", 5, {}), None, own=[worst.__rota_metric__])
    assert result.outcome == "inconclusive"
