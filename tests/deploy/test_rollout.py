"""The rollout walks its table: shadow, canary, promotion or rollback; weights sum to 100 and the alias moves once."""

import pytest

from rota.deploy import releases
from rota.manage.models import model_aliases
from rota.records.release import Canary, Endpoint, metric
from rota.testing.story import version


def champion(place):
    return model_aliases.aliased_version(place.metadata, "delay").number


def split(release):
    return [(route.number, route.role, route.weight) for route in release.routes]


def audits(place, action):
    return [entry for entry in place.metadata.audit() if entry.action == action]


def states(place):
    return [event.body["state"] for event in place.metadata.events(0) if event.kind == "rollout.changed"]


def healthy(place, errors=0):
    place.ask(3_000)
    place.ask(3_000, number=2, role="canary", errors=errors)


def test_a_first_version_is_promoted_at_once(place):
    place.store(version(1, "approved"))
    place.metadata._records["alias"] = {}
    place.start(1)
    place.work()
    assert place.rollout(1).state == "promoted"
    assert [split(release) for release in place.releases()] == [[(1, "stable", 100)]]
    assert champion(place) == 1


def test_a_version_that_passes_every_step_is_promoted(place):
    run = place.start()
    place.work()
    assert split(place.releases()[-1]) == [(1, "stable", 100), (2, "shadow", 0)]
    healthy(place)
    place.work(1)
    assert split(place.releases()[-1]) == [(1, "stable", 90), (2, "canary", 10), (2, "shadow", 0)]
    healthy(place)
    place.work(1.9)
    assert len(place.releases()) == 2
    place.work(0.1)
    assert champion(place) == 1
    assert split(place.releases()[-1]) == [(1, "stable", 50), (2, "canary", 50), (2, "shadow", 0)]
    healthy(place)
    place.work(2)
    assert split(place.releases()[-1]) == [(2, "stable", 100)]
    assert champion(place) == 2
    assert place.rollout().state == "promoted"
    assert states(place) == ["shadow", "shadow", "canary", "canary", "promoted"]
    assert [release.revision for release in place.releases()] == [1, 2, 3, 4]
    assert all(sum(r.weight for r in release.routes if r.role != "shadow") == 100 for release in place.releases())
    assert [entry.body["after"] for entry in audits(place, "alias.move")] == [2]
    assert place.runs.get(run.id).status == "succeeded"


def test_a_version_that_fails_is_rolled_back_and_the_alias_never_moves(place):
    place.start()
    place.work()
    healthy(place, errors=2_000)
    place.work(1)
    found = place.rollout()
    assert (found.state, found.history[-1]["outcome"]) == ("rolled_back", "fail")
    assert "error rate 2000/3000" in found.reason
    assert split(place.releases()[-1]) == [(1, "stable", 100)]
    assert champion(place) == 1
    assert audits(place, "alias.move") == []
    (entry,) = audits(place, "rollout.rollback")
    assert (entry.body["version"], entry.body["to"]) == (2, 1)
    assert "error rate" in entry.body["reason"]


def test_what_stays_inconclusive_is_held_patiently_then_rolled_back(place):
    place.start()
    place.work()
    place.work(1)
    place.work(1)
    assert place.rollout().ended_us is None
    place.work(1)
    found = place.rollout()
    assert [entry["outcome"] for entry in found.history] == ["inconclusive"] * 3
    assert found.state == "rolled_back"
    assert found.reason.startswith("still inconclusive after 3 holds of 0 shadow 0%")


def test_a_process_that_refuses_the_candidate_rolls_it_back_at_once(place):
    place.refuses = "golden rows differ"
    place.start()
    place.work()
    assert place.rollout().state == "rolled_back"
    assert "serve-0 refused revision 1: golden rows differ" in place.rollout().reason
    assert split(place.releases()[-1]) == [(1, "stable", 100)]


def test_a_rollout_that_breaks_leaves_no_traffic_with_the_candidate(place):
    broken = Canary(shadow="1h", steps=[10, 50], hold="2h", analysis=[metric("roc_auk", margin=0.1)])
    place.store(Endpoint("delay", "delay", broken))
    place.start()
    place.work()
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert "the rollout broke: InvalidInput" in place.rollout().reason
    assert split(place.releases()[-1]) == [(1, "stable", 100)]


def test_a_second_rollout_waits_for_its_turn(place):
    place.start(2)
    place.start(3)
    place.work()
    assert {route.number for route in place.releases()[-1].routes} == {1, 2}
    place.work(1)
    assert place.rollout(2).ended_us is None
    assert place.metadata.find(type(place.rollout(2)), {"endpoint": "delay"}) == [place.rollout(2)]
    for _ in range(6):
        place.work(1)
    assert place.rollout(2).ended_us is not None
    assert place.rollout(3).started_us >= place.rollout(2).ended_us


@pytest.mark.parametrize("dies_at", range(1, 9))
def test_a_worker_killed_between_any_two_steps_leaves_one_rollout_that_goes_on(place, monkeypatch, dies_at):
    count, record = [0], place.runs.record

    def dying(lease, step, batch):
        count[0] += 1
        if count[0] == dies_at:
            raise KeyboardInterrupt
        record(lease, step, batch)

    monkeypatch.setattr(place.runs, "record", dying)
    place.start()
    for hours in (0, 1, 2, 2, 2):
        try:
            place.work(hours)
        except KeyboardInterrupt:
            place.seconds.pass_by(60)
            place.work()
        healthy(place)
    assert place.rollout().state == "promoted"
    assert [release.revision for release in place.releases()] == [1, 2, 3, 4]
    assert champion(place) == 2
    assert len(audits(place, "alias.move")) == 1


def test_only_an_approved_version_is_delivered(place):
    place.store(version(2, "registered"))
    run = place.start()
    place.work()
    assert "approve delay@2" in place.runs.get(run.id).error
    assert place.releases() == []


def test_a_version_is_delivered_to_an_endpoint_once(place):
    place.start()
    assert not place.runs.submit(place.runs.find()[0])


def test_a_stage_that_the_prediction_processes_do_not_serve_is_not_judged_by_what_was_logged(place, monkeypatch):
    monkeypatch.setattr(releases, "CONVERGE_S", 0.0)
    monkeypatch.setattr(place, "serve", lambda: None)
    place.start()
    place.work()
    healthy(place)  # enough rows to pass, if the process only served the stage
    place.work(1)
    assert place.rollout().history[-1]["outcome"] == "inconclusive"
    assert "0 of 1 prediction processes serve this release" in place.rollout().history[-1]["verdicts"][-1]["missing"]
    place.work(1)
    place.work(1)
    assert place.rollout().state == "rolled_back"
    assert "not judged: 0 of 1 prediction processes serve this release" in place.rollout().reason
    assert place.runs.get("rollout.delay.2").result["not_served"].startswith("0 of 1 prediction processes")


def test_a_process_that_serves_the_stage_late_is_judged_from_then_on(place, monkeypatch):
    monkeypatch.setattr(releases, "CONVERGE_S", 0.0)
    serve = place.serve
    monkeypatch.setattr(place, "serve", lambda: None)
    place.start()
    place.work()
    healthy(place)
    place.work(1)
    serve()
    place.work(1)
    assert [entry["outcome"] for entry in place.rollout().history] == ["inconclusive", "pass"]


@pytest.mark.parametrize("asked", [0, 1])
def test_without_an_analysis_a_step_passes_once_the_candidate_answered_and_not_by_itself(place, asked):
    place.store(Endpoint("delay", "delay", Canary(steps=[50], hold="2h", patience=1)))
    place.start()
    place.work()
    place.ask(1)
    place.ask(asked, number=2, role="canary")
    place.work(2)
    place.work(2)
    assert place.rollout().state == ("promoted" if asked else "rolled_back")
    if not asked:
        assert "so not judged: version 2 could not be judged: no prediction reached it" in place.rollout().reason
