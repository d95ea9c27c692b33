"""A team's own metrics in the monitor: measured of every day and version, judged by their own days, and told where they could not be measured."""

import numpy as np
import pytest

from rota.cli import monitor as cli_monitor
from rota.manage.governance import cards, evidence
from rota.manage.models.own_metrics import PartMeasured
from rota.monitor import breaches, status
from rota.monitor.watch import OwnOfRun
from rota.records.own_metric import OwnMetric
from rota.records.release import Endpoint
from rota.records.run import Run
from rota.records.signal import Alert, Monitor, MonitorSlice
from rota.records.time import DAY_US

COST = OwnMetric("cost", "project:cost", higher_is_better=False, lowest=0.0)
MONITOR = Monitor(Endpoint("e", "m"), expected_days_between_false_alarms=30)
OWN = """
@rota.metric(higher_is_better=True, lowest=-1, highest=1)
def gain(truth, answers):
    return float(((truth > 0.5) == (answers > 0.5)).mean() * 2 - 1)


@rota.metric(higher_is_better=False)
def broken(rows):
    raise KeyError("price")


pipeline = rota.TrainingPipeline(
    "ice",
    metrics=[gain, broken],"""


def slices_of(values, *, labelled=50, failed=None):
    """Labelled days with a cost each; None: it was not measured."""
    return [
        MonitorSlice(
            "e",
            day * DAY_US,
            (day + 1) * DAY_US,
            labelled,
            labelled,
            {},
            {"all": {"labelled": float(labelled)} | ({} if value is None else {"cost": value})},
            {},
            not_measured={"cost": failed} if value is None else {},
        )
        for day, value in enumerate(values)
    ]


def usual(days):
    return list(np.random.default_rng(5).normal(10, 1, days))


@pytest.mark.parametrize(("higher", "last", "outcome"), [(False, 20, "fail"), (False, 10, "pass"), (False, 2, "pass"), (True, 2, "fail")])
def test_days_that_are_worse_than_usual_in_the_declared_direction_are_an_alert(higher, last, outcome):
    metric = OwnMetric("cost", "project:cost", higher_is_better=higher)
    found = breaches.of_own_metrics(MONITOR, slices_of([*usual(60), *[last + (each - 10) / 10 for each in usual(7)]]), [metric])
    assert [(result.check, result.subject, result.outcome) for result in found.results] == [("performance", "cost", outcome)]
    assert [(breach.kind, breach.subject) for breach in found.breaches] == ([("performance", "cost")] if outcome == "fail" else [])
    assert "usually" in found.results[0].message


def test_a_metric_that_failed_on_the_newest_labelled_day_cannot_be_judged_however_good_the_days_before():
    found = breaches.of_own_metrics(MONITOR, slices_of([*usual(60), None], failed="raised KeyError: 'price'"), [COST])
    (result,) = found.results
    assert (result.outcome, result.state) == ("inconclusive", "cannot")
    assert "on 1970-03-02 the metric raised KeyError: 'price'" in result.missing


def test_a_day_on_which_it_is_not_defined_is_told_and_the_others_are_judged():
    (result,) = breaches.of_own_metrics(MONITOR, slices_of([*usual(60), None], failed="gave NaN: it is not defined"), [COST]).results
    assert result.outcome == "pass"
    assert "on 1 labelled days it has no value" in result.message


def test_with_few_labelled_days_it_is_still_learning():
    (result,) = breaches.of_own_metrics(MONITOR, slices_of(usual(20)), [COST]).results
    assert (result.outcome, result.state, result.missing) == ("inconclusive", "learning", "20 of 44 days with 20 labels")


def test_a_metric_that_took_too_long_is_called_once_a_run():
    class Team:
        def __init__(self):
            self.asked = []

        def each(self, parts, *, but):
            self.asked.append(set(but))
            return [PartMeasured({}, {"slow": "took too long: it was ended after 300 s"}) for _ in parts]

    team = Team()
    own = OwnOfRun(team, set())
    own([None]), own([None])
    assert team.asked == [set(), {"slow"}]


def test_a_running_monitor_measures_each_day_by_them_and_late_labels_measure_it_again(world, tmp_path):
    text = (tmp_path / "project" / "project.py").read_text()
    (tmp_path / "project" / "project.py").write_text(text.replace('pipeline = rota.TrainingPipeline(\n    "ice",', OWN.replace(", broken]", "]")))
    world.platform.projects.apply(tmp_path / "project" / "project.py")
    world.history(10)
    assert world.train().status == "succeeded"
    (tmp_path / "project" / "project.py").write_text(text.replace('pipeline = rota.TrainingPipeline(\n    "ice",', OWN))
    world.platform.projects.apply(tmp_path / "project" / "project.py")
    ids = world.live()
    (day,) = world.metadata.find(MonitorSlice, {"endpoint": "ice"})
    for of_version in (day.performance["all"], day.performance["1"]):
        assert of_version["gain"] == pytest.approx(2 * of_version["accuracy"] - 1)
    assert day.not_measured == {"broken": "raised KeyError: 'price'"}
    world.platform.signals.label("ice", [{"prediction_id": each, "value": 1.0} for each in ids])
    world.live()
    again, _ = world.metadata.find(MonitorSlice, {"endpoint": "ice"}, order="start_us")
    assert again.revisions == 1
    assert again.performance["all"]["gain"] == pytest.approx(2 * again.performance["all"]["accuracy"] - 1)
    found = {(c.check, c.subject): c for c in status.of_endpoint(world.platform.repositories, "ice").checks}
    assert found["performance", "gain"].missing == "2 of 44 days with 20 labels"
    assert found["performance", "broken"].state == "cannot"
    assert not world.metadata.find(Alert, {"kind": "performance"})
    runs = world.platform.repositories.runs
    assert all(run.status == "succeeded" for run in map(runs.get, {day.run, again.run}) if isinstance(run, Run))


def test_a_day_has_the_bounds_of_its_metrics_and_what_lies_behind_them_and_the_command_line_shows_both(world, capsys):
    world.history(10)
    assert world.train().status == "succeeded"
    world.live()
    (day,) = world.metadata.find(MonitorSlice, {"endpoint": "ice"})
    low, high = day.intervals["accuracy"]
    assert low <= day.performance["all"]["accuracy"] <= high
    assert low < high
    assert np.sum(day.breakdown.confusion) == day.labelled
    shown = status.of_endpoint(world.platform.repositories, "ice").performance
    assert (shown.labelled, shown.metrics, shown.intervals) == (day.labelled, day.performance["all"], day.intervals)
    cli_monitor._print_performance(shown)
    printed = capsys.readouterr().out
    assert f"accuracy                    {cards.with_interval(day.performance['all']['accuracy'], (low, high))}" in printed
    assert "true \\ answered" in printed
    assert "calibration" in printed


def test_an_evaluation_has_intervals_of_slices_too_and_the_card_and_the_gates_show_them(world, tmp_path):
    text = (tmp_path / "project" / "project.py").read_text()
    (tmp_path / "project" / "project.py").write_text(
        text.replace("gates=[", 'gates=[rota.per_slice("kind", "brier", 0.9, min_rows=1), ')
        .replace('test="12h"', 'test="5d"')
        .replace('"2d"', '"9d"', 1)
    )
    world.platform.projects.apply(tmp_path / "project" / "project.py")
    world.history(10)
    run = world.train()
    assert run.status == "succeeded", run.error
    (version,) = world.versions()
    scored = evidence.evaluations(world.platform.repositories, version)["candidate"]
    assert scored.slice_intervals["kind"].keys() == {"cone", "tub"}
    low, high = scored.slice_intervals["kind"]["tub"]["brier"]
    assert low <= scored.slices["kind"]["tub"]["brier"] <= high
    per_slice, roc_auc, *_ = evidence.gates(world.platform.repositories, version)
    assert (roc_auc.lower, roc_auc.upper) == scored.intervals["roc_auc"]
    assert "(95 %: " in roc_auc.message
    assert per_slice.lower is not None
    offline = next(section for section in cards.card(world.platform.repositories, version).sections if section.id == "offline")
    assert offline.facts["brier"] == cards.with_interval(version.metrics["brier"], scored.intervals["brier"])
    assert [grid.title for grid in offline.grids] == ["by kind", "one by one", "confusion, in rows", "calibration"]
    assert "(95 %: " in offline.grids[0].rows[0][1]
