"""The monitor: a day is examined once, late labels refresh its slice, an alert is raised once, touched, and resolved."""

import pytest
from msgspec.structs import replace

from rota.errors import InvalidInput
from rota.manage.signals import labels, prediction_log
from rota.monitor import breaches, measure, status
from rota.monitor.watch import MonitorWorkflow
from rota.records.record import plain
from rota.records.run import Run
from rota.records.signal import Alert, Label, MonitorSlice, Prediction
from rota.records.time import DAY_US

START_US = 1_372_636_800_000_000  # the first day of the world's history


@pytest.fixture
def served(world):
    """A world with version 1 behind the endpoint."""
    world.history(10)
    assert world.train().status == "succeeded"
    return world


def slices(world):
    return world.metadata.find(MonitorSlice, {"endpoint": "ice"}, order="start_us")


def monitor(world, name):
    """One more monitor run by hand; its result."""
    runs = world.platform.repositories.runs
    runs.submit(Run(name, "monitor", "ice", {"endpoint": "ice"}, world.clock.now_us()))
    world.settle()
    run = runs.get(name)
    assert run.status == "succeeded", run.error
    return run.result


def test_each_complete_day_is_examined_once(served):
    for _ in range(3):
        served.live()
    assert [(s.rows, s.labelled) for s in slices(served)] == [(160, 160)] * 3
    assert len({s.start_us for s in slices(served)}) == 3
    again = monitor(served, "again")
    assert (again["days"], again["alerts"], again["measured_again"]) == (0, [], 0)
    assert again["not_judged"]  # and so the result never reads as if all were well
    assert len(slices(served)) == 3


def test_days_that_were_missed_are_caught_up_oldest_first(served):
    settle, served.settle = served.settle, lambda: None
    for _ in range(4):
        served.live()
    served.settle = settle
    served.settle()
    assert [s.rows for s in slices(served)] == [160] * 4
    assert len({s.run for s in slices(served)}) == 1


def test_labels_that_come_late_refresh_the_slice_of_their_day(served):
    label, served.platform.signals.label = served.platform.signals.label, lambda endpoint, rows: 0
    ids = served.live()
    assert [s.labelled for s in slices(served)] == [0]
    served.platform.signals.label = label
    served.live()
    label("ice", [{"prediction_id": each, "value": 1.0} for each in ids[:50]])
    served.live()
    assert [s.labelled for s in slices(served)] == [50, 160, 160]


def test_an_alert_is_raised_once_touched_while_it_lasts_and_resolved_when_over(served):
    for _ in range(32):
        served.live()
    served.celsius = True
    served.live()
    served.live()
    (raised,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    served.live()
    (touched,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    assert touched.raised_us == raised.raised_us
    assert touched.last_seen_us == raised.last_seen_us + DAY_US
    served.celsius = False
    for _ in range(3):
        served.live()
    (over,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    assert over.status == "resolved"
    raised_events = [event for event in served.metadata.events(0, limit=100_000) if event.kind == "alert.raised" and event.subject == raised.id]
    assert len(raised_events) == 1
    assert plain(over.evidence)["fault"] == "Fahrenheit read as Celsius"


def test_failed_and_mirrored_predictions_do_not_count(served):
    ids = served.live()
    log = [
        Prediction(each, "ice", START_US + 10 * DAY_US, "ice", 1, role, 1, "", {}, {}, None if error else 0.5, 1, error)
        for each, role, error in ((ids[0], "shadow", ""), ("failed", "stable", "broken"))
    ]
    prediction_log.append(served.platform.repositories.journal, "ice", log)
    label = {"prediction_id": "failed", "value": 1.0}
    served.platform.signals.label("ice", [label])
    served.live()  # measures the day before again
    assert [(s.rows, s.labelled) for s in slices(served)] == [(160, 160)] * 2


def brute_brier(world, day):
    """Brier loss of a day's answered predictions with their newest label, read row by row without the code under test."""
    tables = world.platform.repositories.tables
    newest = {}
    for row in tables.scan("labels/ice").collect().iter_rows(named=True):
        if row["prediction_id"] not in newest or row["at_us"] >= newest[row["prediction_id"]][0]:
            newest[row["prediction_id"]] = (row["at_us"], row["value"])
    answers = {
        row["prediction_id"]: row["answer"]
        for row in tables.scan("predictions/ice").collect().iter_rows(named=True)
        if row["role"] != "shadow" and not row["error"] and day <= row["at_us"] < day + DAY_US
    }
    losses = [(answer - newest[name][1]) ** 2 for name, answer in answers.items() if name in newest and newest[name][1] in (0.0, 1.0)]
    return len(losses), sum(losses) / len(losses) if losses else None


def test_labels_of_any_age_and_corrections_measure_the_day_again_and_only_that_day(served):
    label, served.platform.signals.label = served.platform.signals.label, lambda endpoint, rows: 0
    first = served.live()
    for _ in range(12):
        served.live()
    assert [s.labelled for s in slices(served)] == [0] * 13
    label("ice", [{"prediction_id": each, "value": 1.0} for each in first[:90]])
    assert monitor(served, "late")["measured_again"] == 1
    served.clock.advance(served.clock.now_us() + 30 * DAY_US)
    label("ice", [{"prediction_id": each, "value": 0.0} for each in first[:30]])  # corrected, a month later
    assert monitor(served, "corrected")["measured_again"] == 1
    assert monitor(served, "nothing")["measured_again"] == 0
    old, *others = slices(served)
    assert (old.labelled, old.performance["all"]["brier"]) == (90, pytest.approx(brute_brier(served, old.start_us)[1]))
    assert (old.revisions, old.run) == (2, "corrected")
    assert old.revised_us > old.end_us + 12 * DAY_US
    assert {(s.labelled, s.revisions) for s in others} == {(0, 0)}


def test_labels_known_after_seven_days_count_for_every_day(served):
    label, served.platform.signals.label = served.platform.signals.label, lambda endpoint, rows: 0
    asked = []
    for day in range(12):
        asked.append(served.live())
        if day >= 7:
            label("ice", [{"prediction_id": each, "value": float(place % 2)} for place, each in enumerate(asked[day - 7])])
    monitor(served, "last")
    assert [(s.labelled, s.revisions) for s in slices(served)] == [(160, 1)] * 5 + [(0, 0)] * 7
    for s in slices(served)[:5]:
        assert s.performance["all"]["brier"] == pytest.approx(brute_brier(served, s.start_us)[1])


def test_a_label_beyond_zero_and_one_is_refused_at_the_door_and_one_that_is_stored_already_is_set_apart(served):
    ids = served.live()
    with pytest.raises(InvalidInput, match=r"label 1: value of prediction .*: 2.0 is outside \{0, 1\}.*[Ee]ndpoint 'ice' serves a classification"):
        served.platform.signals.label("ice", [{"prediction_id": ids[0], "value": 1.0}, {"prediction_id": ids[1], "value": 2.0}])
    now_us = served.clock.now_us()
    labels.append(served.platform.repositories.journal, "ice", [Label(ids[0], 2.0, now_us)], now_us)  # as an older release took it
    served.live()
    first, second = slices(served)
    assert (first.labelled, first.set_apart, second.labelled) == (159, 1, 160)
    assert first.performance["all"]["brier"] == pytest.approx(brute_brier(served, first.start_us)[1])
    assert "rmse" not in first.performance["all"]
    (performance,) = [c for c in status.results(served.platform.repositories, "ice") if c.check == "performance"]
    assert "1 labelled rows set apart" in performance.message


def test_every_feature_and_kind_has_a_state_and_what_it_lacks(served):
    for _ in range(2):
        served.live()
    found = status.of_endpoint(served.platform.repositories, "ice")
    states = {(c.check, c.subject): (c.outcome, c.state, c.missing) for c in found.checks}
    assert states["schema_skew", ""] == ("pass", "watching", "")
    assert states["traffic", ""][0] == "pass"
    assert states["drift", "shop_weather__temp"][:2] == ("inconclusive", "learning")
    assert "0 of 30 reference days" in states["drift", "shop_weather__temp"][2]
    assert states["distribution_skew", "request__kind"][1] == "learning"
    assert states["performance", ""] == ("inconclusive", "learning", "2 of 44 days with 20 labels")
    result = served.platform.repositories.runs.get(found.run).result
    assert result["checks"] == {"watching": 2, "learning": 6}
    assert "0 of 30 reference days" in states["drift", "answer"][2]
    assert any(line.startswith("performance: learning, 2 of 44") for line in result["not_judged"])


def test_a_day_without_predictions_is_told_and_its_checks_are_not_called_well(served):
    served.live()
    served.clock.advance(served.clock.now_us() + 3 * DAY_US)
    result = monitor(served, "quiet")
    assert result["days"] == 0
    assert any("no prediction on 2013-07-14; the newest examined day is 2013-07-11" in line for line in result["not_judged"])


def test_what_a_monitor_cannot_see_any_more_stays_open(served):
    for _ in range(32):
        served.live()
    served.celsius = True
    served.live()
    served.live()
    (raised,) = served.metadata.find(Alert, {"kind": "distribution_skew"})
    served.celsius = False
    served.clock.advance(START_US + served.day * DAY_US + 8 * 3_600_000_000)
    served.core.predict("ice", [{"shop": "s0", "kind": "cone"}], ["lonely"])  # one row a day says nothing
    served.day += 1
    served.clock.advance(START_US + served.day * DAY_US + 90 * 60_000_000)
    served.settle()
    assert len(slices(served)) == 35
    assert served.metadata.get(Alert, raised.id).status == "open"
    (fault,) = [c for c in status.results(served.platform.repositories, "ice") if (c.check, c.subject) == ("distribution_skew", "shop_weather__temp")]
    assert (fault.outcome, fault.state) == ("inconclusive", "cannot")
    assert fault.missing == "1 rows a day, 20 needed in each of the newest 2 days"


def test_the_plan_says_that_a_performance_alert_needs_many_days(world):
    planned = world.platform.projects.plan(world.platform.settings.home.parent / "project" / "project.py")
    (pipeline,) = [change for change in planned if change.kind == "pipeline"]
    assert pipeline.notes == ('on_alert("performance") cannot fire before 44 days with 20 labels each; `rota monitor show ENDPOINT` counts them',)


def test_a_nullable_feature_that_was_null_in_every_row_so_far_is_no_missing_column(served):
    """The log has no column of it yet, which is not what a feature that vanished looks like."""
    schema = MonitorWorkflow(served.platform.repositories, served.platform.feed)._watched("ice")[1]
    null = schema.columns[0].name
    columns = tuple(replace(c, required=True, max_null_share=1.0) if c.name == null else c for c in schema.columns)
    served.live()
    watch = MonitorWorkflow(served.platform.repositories, served.platform.feed)
    rows = watch._rows("ice", 0, served.clock.now_us(), served.clock.now_us())
    never = measure.answered(rows).drop(null)
    names = watch._features_of(rows)
    assert null in names
    loose = replace(schema, columns=columns)
    assert [breach.subject for breach in breaches.of_schema(loose, never).breaches] == [null]
    assert breaches.of_schema(loose, prediction_log.with_features(never, names)).breaches == ()
    strict = replace(schema, columns=tuple(replace(c, max_null_share=0.5) if c.name == null else c for c in columns))
    assert [breach.subject for breach in breaches.of_schema(strict, prediction_log.with_features(never, names)).breaches] == [null]


def test_labels_of_a_day_that_is_not_over_are_told_as_what_they_are(served):
    label, served.platform.signals.label = served.platform.signals.label, lambda endpoint, rows: 0
    served.live()
    assert any("no labels yet" in line for line in monitor(served, "none")["not_judged"])
    served.core.predict("ice", [{"shop": "s1", "kind": "tub"}] * 3, ["now1", "now2", "now3"])
    label("ice", [{"prediction_id": each, "value": 1.0} for each in ("now1", "now2")])
    told = [line for line in monitor(served, "today")["not_judged"] if line.startswith("performance")]
    wanted = "performance: learning, no labels of an examined day yet, 2 of days that are not over or not examined, which count once their day is"
    assert told == [f"{wanted}; 0 of 44 days with 20 labels"]
