"""Delivery times: each moment is one that was recorded, what is not known is none, and the last late answer ends a rollback."""

import subprocess

import msgspec
import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.deploy import releases
from rota.deploy.delivery import Deliveries
from rota.errors import InvalidInput, NotFound
from rota.manage.experiments import provenance
from rota.manage.governance import delivery_times
from rota.operationalize import project, release
from rota.ports.metadata import Batch
from rota.records.release import Endpoint
from rota.records.run import PipelineRelease, Run
from rota.records.time import DAY_US, HOUR_US
from rota.rendering.documents import delivery_html
from rota.testing.story import NOON_US, alert, version

CODE = PipelineRelease("d" * 64, "delay", "b" * 64, "project", "c" * 40, False, "", "3.11", NOON_US - 2 * DAY_US, NOON_US - 5 * DAY_US)


@pytest.fixture
def promoted(place):
    """Version 2, trained after an alert, is promoted five hours after noon."""
    place.store(CODE, alert("distance", raised_us=NOON_US - DAY_US), version(2, "approved", run="retrained"))
    place.runs.submit(Run("retrained", "train", "delay", {}, NOON_US - HOUR_US, "alert:delay.drift.distance"))
    place.start()
    place.work()
    for hours in (1, 2, 2):
        place.ask(3_000)
        place.ask(3_000, number=2, role="canary")
        place.work(hours)
    assert place.rollout().state == "promoted"
    return place


def report(place, **options):
    return delivery_times.report(place.repositories, **options)


def test_a_promotion_has_the_time_from_its_commit_and_from_its_alert(promoted):
    found = report(promoted)
    (each,) = found.delivered
    end_us = promoted.clock.now_us()
    assert (each.version, each.commit, each.alert, each.is_first) == ("delay@2", CODE.commit, "delay.drift.distance", True)
    assert each.lead_us == found.median_lead_us == end_us - CODE.committed_us
    assert each.repair_us == found.median_repair_us == end_us - (NOON_US - DAY_US)
    assert (each.trained_us, each.approved_us) == (NOON_US - HOUR_US, None), "approved after the rollout began is no approval that led to it"
    assert (found.taken_back, found.failure_rate, found.median_rollback_us) == ((), 0.0, None)
    assert found.promotions_a_week == pytest.approx(7 / delivery_times.DAYS)


@pytest.mark.parametrize(
    ("changes", "begun_us"),
    [
        ({"committed_us": 0}, CODE.created_us),
        ({"dirty": True}, CODE.created_us),
        ({"committed_us": CODE.created_us + 1}, CODE.created_us),
        ({}, CODE.committed_us),
    ],
)
def test_a_commit_whose_time_is_not_known_counts_from_the_build(promoted, changes, begun_us):
    promoted.store(msgspec.structs.replace(CODE, **changes))
    (each,) = report(promoted).delivered
    assert each.lead_us == promoted.clock.now_us() - begun_us


def test_the_change_is_in_production_with_its_first_version(promoted):
    promoted.start(3)
    promoted.work()
    for hours in (1, 2, 2):
        promoted.ask(3_000, number=2)
        promoted.ask(3_000, number=3, role="canary")
        promoted.work(hours)
    newest, first = report(promoted).delivered
    assert (newest.version, newest.lead_us, newest.alert_us) == ("delay@3", None, None)
    assert first.lead_us is not None


def test_a_rollback_lasts_until_the_last_answer_of_what_was_left(promoted):
    endpoint = promoted.metadata.get(Endpoint, "delay")
    asked_us = promoted.clock.now_us() + 1_000_000
    promoted.ask(10, number=2, at_us=asked_us - 10)
    releases.roll_back(promoted.metadata, endpoint, actor="olga", reason="complaints", now_us=asked_us)
    promoted.ask(1, number=2, at_us=asked_us + 700_000)
    promoted.ask(1, number=2, role="shadow", at_us=asked_us + 900_000)
    promoted.ask(10, number=1, at_us=asked_us + 950_000)
    promoted.clock.advance(asked_us + HOUR_US)
    found = report(promoted)
    (each,) = found.taken_back
    assert (each.by, each.left, each.was_promoted, each.asked_us) == ("rollback", ("delay@2",), True, asked_us)
    assert each.last_old_us == asked_us + 700_000
    assert each.lasted_us == found.median_rollback_us == 700_000
    assert found.failure_rate == 1.0
    later = report(promoted, days=HOUR_US / DAY_US)
    assert (len(later.taken_back), later.failure_rate) == (1, 1.0), "its rollout ended before the days of the report, it failed within them"


def test_a_version_that_comes_back_ends_what_counts_as_late(promoted):
    endpoint = promoted.metadata.get(Endpoint, "delay")
    asked_us = promoted.clock.now_us() + 1_000_000
    back = releases.roll_back(promoted.metadata, endpoint, actor="olga", reason="complaints", now_us=asked_us)
    again = releases.next_release(back, endpoint, promoted.releases()[-2].routes, now_us=asked_us + 60, rollout="r")
    promoted.store(again)
    promoted.ask(3, number=2, at_us=asked_us + 90)
    promoted.clock.advance(asked_us + HOUR_US)
    (each,) = report(promoted).taken_back
    assert (each.last_old_us, each.lasted_us) == (None, 0)


def test_an_abort_counts_from_the_command_and_a_failure_from_its_verdict(place):
    place.start()
    place.work()
    place.ask(3_000)
    place.ask(3_000, number=2, role="shadow")
    place.work(1)
    Deliveries(place.repositories).command("rollout.delay.2", "abort", actor="anna", reason="wrong window")
    asked_us = place.clock.now_us()
    place.work(0.5)
    place.start(3)
    place.work()
    place.ask(3_000)
    place.ask(3_000, number=3, role="shadow")
    place.work(1)
    place.ask(3_000)
    place.ask(3_000, number=3, role="canary", errors=2_000)
    place.work(2)
    assert place.rollout(3).state == "rolled_back"
    judged, aborted = report(place).taken_back
    assert (aborted.by, aborted.asked_us, aborted.left, aborted.was_promoted) == ("abort", asked_us, ("delay@2",), False)
    assert (judged.by, judged.left) == ("judge", ("delay@3",))
    assert judged.asked_us == place.rollout(3).history[-1]["at_us"]
    assert report(place).failure_rate == 1.0
    assert report(place, days=0.001).taken_back == (judged,)


def test_nothing_that_happened_is_none_and_not_nought(place):
    found = report(place)
    assert (found.delivered, found.median_lead_us, found.failure_rate) == ((), None, None)
    assert "nothing to measure" in delivery_html(found)
    with pytest.raises(NotFound, match="no endpoint 'dealy'"):
        report(place, endpoint="dealy")
    for days in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidInput, match="the last days to report"):
            report(place, days=days)


def test_the_page_of_a_report_holds_what_the_report_says(promoted):
    page = delivery_html(report(promoted))
    assert "delay@2" in page
    assert CODE.commit[:12] in page
    assert "5.2 days" in page, "from the commit to the promotion"


def test_a_release_keeps_when_its_commit_was_made(tmp_path):
    def git(*arguments):
        options = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", str(tmp_path), *options, *arguments], check=True, capture_output=True)

    (tmp_path / "project.py").write_text("x = 1\n")
    assert release.build(MemoryBlobs(), tmp_path / "project.py", now_us=NOON_US).committed_us == 0
    git("init")
    git("add", "project.py")
    git("commit", "--message", "one", "--date", "2024-05-01T12:00:00Z")
    made = release.build(MemoryBlobs(), tmp_path / "project.py", now_us=NOON_US)
    seen = subprocess.run(["git", "-C", str(tmp_path), "log", "-1", "--format=%ct"], check=True, capture_output=True, text=True)
    assert made.committed_us == int(seen.stdout) * 1_000_000
    assert provenance.committed_us(tmp_path, "0" * 40) == 0


def test_equal_sources_keep_the_commit_in_which_they_were_seen_first(place):
    for code in (CODE, msgspec.structs.replace(CODE, commit="e" * 40, created_us=NOON_US, committed_us=NOON_US - 1)):
        batch = Batch()
        project._store(batch, place.metadata, code)
        place.metadata.commit(batch)
    stored = place.metadata.get(PipelineRelease, CODE.digest)
    assert (stored.commit, stored.created_us, stored.committed_us) == ("e" * 40, CODE.created_us, CODE.committed_us)
