"""Good and bad candidates on real processes under load, unattended: each has the end that it deserves, and no caller sees a failure."""

import pytest
from benchmarks.rollouts import processes

from rota.records.release import Canary, set_mirror

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    with processes.running(tmp_path_factory.mktemp("load"), processes.QUICK, prediction_processes=2) as at:
        yield at


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    with processes.running(tmp_path_factory.mktemp("labels"), processes.BY_LABELS, clock="replay") as at:
        yield at


@pytest.mark.parametrize(("kind", "why"), [("errors", "error rate"), ("slow", "latency p95")])
def test_a_candidate_that_fails_or_is_slow_is_rolled_back_and_no_caller_saw_it_fail(loaded, kind, why):
    end = processes.unattended(loaded, 60.0, kind)
    assert (end["state"], end["failed"]) == ("rolled_back", [])
    assert end["reason"].startswith(why)
    assert end["reason"].endswith("fail")


@pytest.mark.parametrize(("kind", "state"), [("wrong", "rolled_back"), ("good", "promoted")])
def test_labels_tell_a_wrong_candidate_from_a_good_one(replayed, kind, state):
    end = processes.by_labels(replayed, kind)
    assert end["state"] == state, end


def test_a_rollback_by_command_leaves_no_request_unanswered_and_is_timed(tmp_path):
    with processes.running(tmp_path, Canary(steps=[set_mirror(False)]), prediction_processes=2) as at:
        found = processes.switches(at, 60.0, 2)
    assert (len(found["converged"]), found["failed"]) == (2, [])
    assert len(found["last_old"]) == 2
