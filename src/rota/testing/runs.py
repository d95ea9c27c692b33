"""RunsContract: the law of `rota.ports.runs.Runs` as tests. Needs pytest.

A backend's test module subclasses it and gives the fixtures `runs` (an empty queue that measures its leases by
`lease_clock`) and `metadata` (the store that batches go to).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from rota.errors import Conflict, InvalidInput, LostLease, NotFound
from rota.ports.metadata import MAX_PAGE, Batch, Metadata
from rota.ports.runs import Runs
from rota.records.model import Alias
from rota.records.run import ENDED, Lease, Run, RunQuery, Step
from rota.testing.clock import FakeSeconds

FAR_US = 10**15


def queued(id: str = "r1", *, workflow: str = "train", subject: str = "flights", created_us: int = 0) -> Run:
    return Run(id, workflow, subject, {"rate": 0.1}, created_us)


def step(lease: Lease, name: str = "train", *, position: int = 0, result: Any = None) -> Step:
    return Step(lease.run.id, name, position, result, 1, 2, lease.worker, lease.fence)


def batch_with_alias(number: int = 1) -> Batch:
    batch = Batch()
    batch.create(Alias("flights", "champion", number, 0))
    return batch


def claim(runs: Runs, worker: str = "w1", now_us: int = 0, *, lease_s: float = 5.0) -> Lease:
    lease = runs.claim(worker, now_us, lease_s=lease_s)
    assert lease is not None
    return lease


class RunsContract:
    @pytest.fixture
    def lease_clock(self) -> FakeSeconds:
        return FakeSeconds()

    @pytest.fixture
    def watch(self) -> FakeSeconds:
        """The monotonic seconds by which the queue watches leases."""
        return FakeSeconds()

    @pytest.fixture
    def metadata(self) -> Metadata:
        raise NotImplementedError("give a fixture `metadata`: the store that batches go to")

    @pytest.fixture
    def runs(self, metadata: Metadata, lease_clock: FakeSeconds) -> Runs:
        raise NotImplementedError("give a fixture `runs`: an empty queue on `metadata`, its leases measured by `lease_clock`")

    # --- submit ---

    def test_an_empty_queue_has_nothing(self, runs: Runs) -> None:
        assert runs.claim("w1", FAR_US, lease_s=5) is None
        assert runs.find() == []
        assert runs.journal("r1") == []
        assert runs.signals("r1") == {}

    def test_a_run_is_submitted_once(self, runs: Runs) -> None:
        assert runs.submit(queued()) is True
        assert runs.submit(queued(workflow="other")) is False
        assert runs.find() == [queued()]

    def test_ended_runs_are_forgotten_with_all_they_had_and_open_ones_stay(self, runs: Runs) -> None:
        for number in (1, 2):
            runs.submit(queued(f"r{number}"))
            lease = claim(runs)
            runs.record(lease, step(lease), Batch())
            runs.signal(f"r{number}", "go", 1)
            runs.finish(lease, "succeeded", ended_us=1)
        runs.submit(queued("r3"))
        claim(runs)
        assert runs.forget(["r1", "r3", "nix"]) == 1
        assert runs.forget(["r1"]) == runs.forget([]) == 0
        assert sorted(run.id for run in runs.find()) == ["r2", "r3"]
        assert (runs.journal("r1"), runs.signals("r1")) == ([], {})
        assert len(runs.journal("r2")) == len(runs.signals("r2")) == 1
        assert runs.submit(queued("r1"))
        assert claim(runs, "w2").fence > 3

    def test_an_ended_run_is_not_submitted_again(self, runs: Runs) -> None:
        runs.submit(queued())
        runs.finish(claim(runs), "succeeded", ended_us=1)
        assert runs.submit(queued()) is False
        assert runs.claim("w1", FAR_US, lease_s=5) is None

    def test_the_batch_commits_with_the_run_or_not_at_all(self, runs: Runs, metadata: Metadata) -> None:
        assert runs.submit(queued(), batch_with_alias(1))
        other = Batch()
        other.put(Alias("flights", "champion", 2, 0))
        assert runs.submit(queued(), other) is False
        with pytest.raises(Conflict):
            runs.submit(queued("r2"), batch_with_alias(3))
        assert runs.find() == [queued()]
        assert metadata.find(Alias) == [Alias("flights", "champion", 1, 0)]

    def test_exclusive_waits_for_the_same_workflow_and_subject_to_end(self, runs: Runs, metadata: Metadata) -> None:
        runs.submit(queued("r1"))
        assert runs.submit(queued("r2"), batch_with_alias(), exclusive=True) is False
        assert metadata.find(Alias) == []
        assert runs.submit(queued("r3", subject="other"), exclusive=True)
        assert runs.submit(queued("r4", workflow="rollout"), exclusive=True)
        lease = claim(runs)
        assert lease.run.id == "r1"
        assert runs.submit(queued("r2"), exclusive=True) is False
        runs.park(lease, wake_us=5)
        assert runs.submit(queued("r2"), exclusive=True) is False
        again = claim(runs, now_us=5)
        assert again.run.id == "r1"
        runs.finish(again, "failed", ended_us=6)
        assert runs.submit(queued("r2"), exclusive=True) is True

    def test_of_many_exclusive_submits_one_wins(self, runs: Runs) -> None:
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda number: runs.submit(queued(f"r{number}"), exclusive=True), range(16)))
        assert won.count(True) == 1
        assert len(runs.find()) == 1

    def test_a_run_with_a_past_or_without_an_id_is_refused(self, runs: Runs) -> None:
        for run in (msgspec.structs.replace(queued(), status="succeeded"), msgspec.structs.replace(queued(), fence=3), queued("")):
            with pytest.raises(InvalidInput):
                runs.submit(run)

    def test_hostile_texts_read_back(self, runs: Runs) -> None:
        run = Run("r'; DROP TABLE runs; --", "tür ☕", "%_\\\"'", {"deep": [{"ä": None}]}, 5)
        runs.submit(run)
        assert runs.get(run.id) == run
        assert claim(runs).run.arguments == run.arguments

    # --- claim ---

    def test_the_oldest_runnable_run_comes_first(self, runs: Runs) -> None:
        for run_id, created_us in (("late", 9), ("first", 1), ("b", 5), ("a", 5)):
            runs.submit(queued(run_id, created_us=created_us))
        assert [claim(runs).run.id for _ in range(4)] == ["first", "b", "a", "late"]
        assert runs.claim("w1", FAR_US, lease_s=5) is None

    def test_a_claimed_run_says_who_has_it(self, runs: Runs) -> None:
        runs.submit(queued())
        lease = claim(runs, "w1", 77)
        assert (lease.worker, lease.run.worker, lease.run.status, lease.run.started_us, lease.run.attempts) == ("w1", "w1", "running", 77, 1)
        assert lease.fence == lease.run.fence
        assert runs.find() == [lease.run]

    def test_a_fence_is_larger_than_any_before(self, runs: Runs, lease_clock: FakeSeconds) -> None:
        for number in range(3):
            runs.submit(queued(f"r{number}"))
        fences = [claim(runs).fence for _ in range(3)]
        lease_clock.pass_by(6)
        fences += [claim(runs).fence for _ in range(3)]
        assert fences == sorted(set(fences))

    def test_workflows_limit_the_choice(self, runs: Runs) -> None:
        runs.submit(queued("r1", workflow="train", created_us=1))
        runs.submit(queued("r2", workflow="monitor", created_us=2))
        assert runs.claim("w1", 0, lease_s=5, workflows=["rollout"]) is None
        assert runs.claim("w1", 0, lease_s=5, workflows=[]) is None
        lease = runs.claim("w1", 0, lease_s=5, workflows={"monitor", "rollout"})
        assert lease is not None
        assert lease.run.id == "r2"

    def test_threads_never_share_a_run(self, runs: Runs) -> None:
        for number in range(60):
            runs.submit(queued(f"r{number}"))

        def work(worker: int) -> list[str]:
            mine = []
            while lease := runs.claim(f"w{worker}", 0, lease_s=60):
                mine.append(lease.run.id)
                runs.finish(lease, "succeeded", ended_us=1)
            return mine

        with ThreadPoolExecutor(4) as pool:
            done = [run_id for mine in pool.map(work, range(4)) for run_id in mine]
        assert sorted(done) == sorted(f"r{number}" for number in range(60))

    @pytest.mark.parametrize("lease_s", [0, -1, float("nan"), float("inf")])
    def test_a_lease_has_a_length(self, runs: Runs, lease_s: float) -> None:
        runs.submit(queued())
        with pytest.raises(InvalidInput, match="lease_s"):
            runs.claim("w1", 0, lease_s=lease_s)

    # --- leases ---

    def test_a_run_is_taken_over_only_after_its_lease(self, runs: Runs, lease_clock: FakeSeconds) -> None:
        runs.submit(queued())
        claim(runs, "w1", 3, lease_s=5)
        lease_clock.pass_by(4.9)
        assert runs.claim("w2", FAR_US, lease_s=5) is None
        lease_clock.pass_by(0.2)
        taken = claim(runs, "w2", 50)
        assert (taken.run.worker, taken.run.attempts, taken.run.started_us) == ("w2", 2, 3)

    def test_renewing_keeps_a_run(self, runs: Runs, lease_clock: FakeSeconds) -> None:
        runs.submit(queued())
        lease = claim(runs, lease_s=5)
        for _ in range(3):
            lease_clock.pass_by(4)
            runs.renew(lease, lease_s=5)
        assert runs.claim("w2", FAR_US, lease_s=5) is None
        lease_clock.pass_by(6)
        assert claim(runs, "w2").run.id == "r1"

    @pytest.mark.parametrize("act", ["record", "park", "finish", "renew"])
    def test_a_worker_that_lost_its_lease_writes_nothing(self, runs: Runs, metadata: Metadata, lease_clock: FakeSeconds, act: str) -> None:
        runs.submit(queued())
        stale = claim(runs, "w1")
        lease_clock.pass_by(6)
        newest = claim(runs, "w2")
        with pytest.raises(LostLease, match="w1"):
            acts(runs)[act](stale)
        assert runs.find() == [newest.run]
        assert runs.journal("r1") == []
        assert metadata.find(Alias) == []
        runs.finish(newest, "succeeded", ended_us=9)

    @pytest.mark.parametrize("act", ["record", "park", "finish", "renew"])
    @pytest.mark.parametrize("ending", ["park", "finish"])
    def test_a_lease_given_back_is_lost(self, runs: Runs, metadata: Metadata, act: str, ending: str) -> None:
        runs.submit(queued())
        lease = claim(runs)
        if ending == "park":
            runs.park(lease, wake_us=5)
        else:
            runs.finish(lease, "succeeded", ended_us=5)
        before = runs.find()
        with pytest.raises(LostLease):
            acts(runs)[act](lease)
        assert runs.find() == before
        assert metadata.find(Alias) == []

    @pytest.mark.parametrize("act", ["record", "park", "finish", "renew"])
    def test_an_expired_lease_that_nobody_took_still_holds(self, runs: Runs, lease_clock: FakeSeconds, act: str) -> None:
        runs.submit(queued())
        lease = claim(runs)
        lease_clock.pass_by(60)
        acts(runs)[act](lease)

    def test_a_lease_of_a_run_that_does_not_exist_is_lost(self, runs: Runs) -> None:
        with pytest.raises(LostLease):
            runs.renew(Lease(queued("ghost"), "w1", 1), lease_s=5)

    @pytest.mark.parametrize("after_s", [0.0, 30.0], ids=["running", "given back for a while"])
    def test_a_clock_set_back_by_an_hour_keeps_nobody_waiting(self, runs: Runs, lease_clock: FakeSeconds, watch: FakeSeconds, after_s: float) -> None:
        runs.submit(queued())
        lease = claim(runs, "w1")
        if after_s:
            runs.park(lease, wake_us=0, after_s=after_s)
        lease_clock.pass_by(-3_600)
        assert runs.claim("w2", 0, lease_s=5) is None  # it is seen for the first time
        watch.pass_by(4.9)
        assert runs.claim("w2", 0, lease_s=5) is None
        watch.pass_by(0.2)
        assert claim(runs, "w2").run.worker == "w2"

    def test_a_lease_that_is_renewed_is_not_over_however_long_it_is_watched(self, runs: Runs, lease_clock: FakeSeconds, watch: FakeSeconds) -> None:
        runs.submit(queued())
        lease = claim(runs, "w1")
        lease_clock.pass_by(-3_600)
        for _ in range(5):
            assert runs.claim("w2", 0, lease_s=5) is None
            watch.pass_by(4)
            lease_clock.pass_by(4)
            runs.renew(lease, lease_s=5)

    # --- lanes ---

    def test_a_lane_waits_for_no_other_and_is_served_oldest_first(self, runs: Runs) -> None:
        for number in range(3):
            runs.submit(queued(f"t{number}", workflow="train", created_us=number))
        for number in range(3):
            runs.submit(queued(f"m{number}", workflow="monitor", created_us=9 - number))
        training = runs.claim("w1", 10, lease_s=5, workflows=["train"])
        assert training is not None
        decided = [runs.claim("w1", 10, lease_s=5, workflows=["monitor", "rollout"]) for _ in range(4)]
        assert [each.run.id for each in decided if each] == ["m2", "m1", "m0"]
        assert claim(runs).run.id == "t1"

    # --- cancel ---

    def test_an_open_run_is_cancelled_with_its_reason_and_batch(self, runs: Runs, metadata: Metadata) -> None:
        runs.submit(queued())
        assert runs.cancel("r1", ended_us=7, reason="wrong data", batch=batch_with_alias()).status == "cancelled"
        found = runs.get("r1")
        assert found is not None
        assert (found.status, found.ended_us, found.error) == ("cancelled", 7, "wrong data")
        assert len(metadata.find(Alias)) == 1
        assert runs.claim("w1", FAR_US, lease_s=5) is None
        assert runs.submit(queued("r2"), exclusive=True)

    @pytest.mark.parametrize("act", ["record", "park", "finish", "renew"])
    def test_whoever_held_a_cancelled_run_writes_nothing(self, runs: Runs, metadata: Metadata, lease_clock: FakeSeconds, act: str) -> None:
        runs.submit(queued())
        lease = claim(runs)
        runs.cancel("r1", ended_us=7)
        with pytest.raises(LostLease):
            acts(runs)[act](lease)
        lease_clock.pass_by(60)
        assert runs.claim("w2", FAR_US, lease_s=5) is None
        assert (runs.journal("r1"), metadata.find(Alias)) == ([], [])

    def test_an_ended_run_is_not_cancelled(self, runs: Runs, metadata: Metadata) -> None:
        runs.submit(queued())
        runs.finish(claim(runs), "succeeded", ended_us=1)
        with pytest.raises(Conflict, match="succeeded"):
            runs.cancel("r1", ended_us=7, batch=batch_with_alias())
        with pytest.raises(NotFound, match="nix"):
            runs.cancel("nix", ended_us=7)
        assert metadata.find(Alias) == []

    # --- record ---

    def test_steps_are_journaled_in_their_order(self, runs: Runs) -> None:
        runs.submit(queued())
        lease = claim(runs)
        for position in (2, 0, 10, 1):
            runs.record(lease, step(lease, f"s{position}", position=position, result={"position": position}), Batch())
        assert [done.position for done in runs.journal("r1")] == [0, 1, 2, 10]
        assert runs.journal("r1")[1] == step(lease, "s1", position=1, result={"position": 1})
        assert runs.journal("other") == []

    def test_the_first_result_of_a_step_stays(self, runs: Runs, metadata: Metadata) -> None:
        runs.submit(queued())
        lease = claim(runs)
        runs.record(lease, step(lease, result="first"), Batch())
        with pytest.raises(Conflict, match="train"):
            runs.record(lease, step(lease, result="second"), batch_with_alias())
        assert [done.result for done in runs.journal("r1")] == ["first"]
        assert metadata.find(Alias) == []

    def test_the_journal_outlives_a_take_over(self, runs: Runs, lease_clock: FakeSeconds) -> None:
        runs.submit(queued())
        first = claim(runs, "w1")
        runs.record(first, step(first, "ingest"), Batch())
        lease_clock.pass_by(6)
        second = claim(runs, "w2")
        runs.record(second, step(second, "train", position=1), Batch())
        assert [(done.name, done.worker) for done in runs.journal("r1")] == [("ingest", "w1"), ("train", "w2")]

    def test_a_step_and_its_batch_are_one(self, runs: Runs, metadata: Metadata) -> None:
        runs.submit(queued())
        lease = claim(runs)
        runs.record(lease, step(lease, "register"), batch_with_alias())
        assert len(metadata.find(Alias)) == 1
        with pytest.raises(Conflict):
            runs.record(lease, step(lease, "again"), batch_with_alias())
        assert [done.name for done in runs.journal("r1")] == ["register"]

    def test_a_step_of_another_run_is_refused(self, runs: Runs) -> None:
        runs.submit(queued())
        lease = claim(runs)
        with pytest.raises(InvalidInput, match="other"):
            runs.record(lease, msgspec.structs.replace(step(lease), run="other"), Batch())

    # --- park and signal ---

    def test_a_parked_run_wakes_at_its_time(self, runs: Runs, lease_clock: FakeSeconds) -> None:
        runs.submit(queued())
        runs.park(claim(runs), wake_us=100, waiting_for="approval")
        parked = runs.find()[0]
        assert (parked.status, parked.wake_us, parked.waiting_for, parked.worker) == ("parked", 100, "approval", "")
        lease_clock.pass_by(1_000)  # the lease is given back, so its end means nothing
        assert runs.claim("w1", 99, lease_s=5) is None
        woken = claim(runs, now_us=100)
        assert (woken.run.status, woken.run.waiting_for, woken.run.wake_us) == ("running", "", 0)

    def test_waking_is_no_attempt(self, runs: Runs) -> None:
        runs.submit(queued())
        for now_us in range(5):
            runs.park(claim(runs, now_us=now_us), wake_us=now_us + 1)
        assert claim(runs, now_us=9).run.attempts == 1

    def test_a_run_given_back_for_a_while_is_not_runnable_before(self, runs: Runs, lease_clock: FakeSeconds) -> None:
        runs.submit(queued())
        runs.park(claim(runs), wake_us=0, after_s=30, waiting_for="an engine")
        assert runs.claim("w1", FAR_US, lease_s=5) is None
        runs.signal("r1", "noise", 1)
        assert runs.claim("w1", FAR_US, lease_s=5) is None
        lease_clock.pass_by(31)
        assert claim(runs).run.attempts == 1

    def test_what_is_left_of_a_wait_stays_when_the_clock_is_set_back(self, runs: Runs) -> None:
        year, minute = 365 * 86_400_000_000, 60_000_000
        runs.submit(queued())
        runs.park(claim(runs, now_us=year), wake_us=year + 10 * minute, now_us=year)
        assert runs.claim("w1", 2 * minute, lease_s=5) is None
        assert runs.claim("w1", 12 * minute - 1, lease_s=5) is None
        woken = claim(runs, now_us=12 * minute)
        assert woken.run.sleep_us == year + 10 * minute  # by which the workflow knows that its sleep is over
        runs.park(woken, wake_us=year + 20 * minute, now_us=12 * minute)  # counted from what it saw then
        assert runs.claim("w1", 22 * minute - 1, lease_s=5) is None
        runs.park(claim(runs, now_us=22 * minute), wake_us=30 * minute, now_us=22 * minute)
        assert claim(runs, now_us=30 * minute).run.id == "r1"

    def test_a_signal_wakes_a_parked_run(self, runs: Runs) -> None:
        runs.submit(queued())
        runs.park(claim(runs), wake_us=FAR_US, waiting_for="approval")
        assert runs.claim("w1", 5, lease_s=5) is None
        runs.signal("r1", "approval", {"by": "ada"})
        lease = claim(runs, now_us=5)
        assert runs.signals(lease.run.id) == {"approval": {"by": "ada"}}

    def test_a_signal_sent_before_the_run_waits_is_not_lost(self, runs: Runs) -> None:
        runs.submit(queued())
        runs.signal("r1", "approval", True)
        lease = claim(runs)
        runs.park(lease, wake_us=FAR_US, waiting_for="approval")
        assert claim(runs, now_us=5).run.id == "r1"

    def test_a_signal_sent_while_the_run_works_is_not_lost(self, runs: Runs) -> None:
        runs.submit(queued())
        lease = claim(runs)
        runs.signal("r1", "cancel", None)
        runs.park(lease, wake_us=FAR_US, waiting_for="approval")
        assert claim(runs, now_us=5).run.id == "r1"

    def test_an_old_signal_does_not_keep_a_run_awake(self, runs: Runs) -> None:
        runs.submit(queued())
        runs.signal("r1", "approval", True)
        runs.park(claim(runs), wake_us=FAR_US)
        assert runs.claim("w1", 5, lease_s=5) is None

    def test_the_first_payload_of_a_signal_stays(self, runs: Runs) -> None:
        runs.submit(queued())
        for payload in ("first", "second"):
            runs.signal("r1", "approval", payload)
        runs.signal("r1", "another", [1])
        assert runs.signals("r1") == {"another": [1], "approval": "first"}

    def test_a_signal_needs_a_run_and_a_name(self, runs: Runs) -> None:
        with pytest.raises(NotFound, match="ghost"):
            runs.signal("ghost", "approval", True)
        runs.submit(queued())
        with pytest.raises(InvalidInput, match="name"):
            runs.signal("r1", "", True)

    def test_a_signal_does_not_revive_an_ended_run(self, runs: Runs) -> None:
        runs.submit(queued())
        runs.finish(claim(runs), "cancelled", ended_us=1)
        runs.signal("r1", "approval", True)
        assert runs.claim("w1", FAR_US, lease_s=5) is None

    # --- finish ---

    @pytest.mark.parametrize("status", sorted(ENDED))
    def test_an_ended_run_stays_ended(self, runs: Runs, lease_clock: FakeSeconds, status: Any) -> None:
        runs.submit(queued())
        runs.finish(claim(runs), status, ended_us=9, result={"version": 3}, error="why")
        lease_clock.pass_by(1_000)
        assert runs.claim("w2", FAR_US, lease_s=5) is None
        run = runs.find()[0]
        assert (run.status, run.ended_us, run.result, run.error) == (status, 9, {"version": 3}, "why")

    def test_an_ending_and_its_batch_are_one(self, runs: Runs, metadata: Metadata) -> None:
        runs.submit(queued(), batch_with_alias(1))
        lease = claim(runs)
        with pytest.raises(Conflict):
            runs.finish(lease, "succeeded", ended_us=1, batch=batch_with_alias(2))
        assert runs.find() == [lease.run]
        batch = Batch()
        batch.put(Alias("flights", "champion", 3, 0))
        runs.finish(lease, "succeeded", ended_us=1, batch=batch)
        assert metadata.find(Alias) == [Alias("flights", "champion", 3, 0)]

    def test_only_an_ending_ends(self, runs: Runs) -> None:
        runs.submit(queued())
        lease = claim(runs)
        for status in ("running", "queued", "parked", "exploded"):
            with pytest.raises(InvalidInput, match=status):
                runs.finish(lease, status, ended_us=1)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput):
            runs.finish(lease, "succeeded", ended_us=1, result=object())
        assert runs.find() == [lease.run]

    # --- find ---

    def test_find_filters_and_orders(self, runs: Runs) -> None:
        for run_id, workflow, subject, created_us in (
            ("a", "train", "x", 1),
            ("b", "train", "y", 3),
            ("c", "monitor", "x", 2),
            ("d", "train", "x", 3),
        ):
            runs.submit(queued(run_id, workflow=workflow, subject=subject, created_us=created_us))

        def ids(*wanted: Any, **filters: Any) -> list[str]:
            query = RunQuery(*wanted, **filters)
            found = [run.id for run in runs.find(query)]
            assert found == [run.id for page in _walk(runs, query, 2) for run in page]
            return found

        assert ids() == ["d", "b", "c", "a"]
        assert ids(newest_first=False) == ["a", "c", "b", "d"]
        assert ids("train", "x") == ["d", "a"]
        assert ids("nothing") == []
        assert [run.id for run in runs.page(limit=2).items] == ["d", "b"]
        claim(runs)
        assert ids(statuses=["running"]) == ["a"]
        assert ids("train", statuses={"running", "queued"}) == ["d", "b", "a"]

    def test_get_gives_one_run(self, runs: Runs) -> None:
        runs.submit(queued("a"))
        assert runs.get("a") == queued("a")
        assert runs.get("nobody") is None
        assert runs.get("") is None

    def test_find_gives_every_run_however_many_there_are(self, runs: Runs) -> None:
        for number in range(1_005):
            runs.submit(queued(f"r{number}", created_us=number // 3))
        assert [run.id for run in runs.find(RunQuery(newest_first=False))] == [f"r{number}" for number in range(1_005)]

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_runs_submitted_and_forgotten_during_a_walk_move_no_other_onto_two_pages_or_none(self, runs: Runs, newest_first: bool) -> None:
        for number in range(7):
            runs.submit(queued(f"r{number}", created_us=number // 2))
        query = RunQuery(newest_first=newest_first)
        seen = []
        for number, page in enumerate(_walk(runs, query, 2)):
            seen += [run.id for run in page]
            runs.submit(queued(f"new{number}", created_us=99 if newest_first else 0))
            runs.signal("r3", "cancel", None)
        wanted = [f"r{number}" for number in range(7)]
        assert [name for name in seen if name in wanted] == (wanted[::-1] if newest_first else wanted)
        assert len(set(seen)) == len(seen)

    def test_a_page_holds_one_run_to_the_most_and_its_token_belongs_to_its_query(self, runs: Runs) -> None:
        for limit in (-1, 0, MAX_PAGE + 1):
            with pytest.raises(InvalidInput, match="ask for 1 to 10000"):
                runs.page(limit=limit)
        for run_id in "ab":
            runs.submit(queued(run_id))
        token = runs.page(limit=1).next
        for query, after in ((RunQuery("train"), token), (RunQuery(newest_first=False), token), (RunQuery(), "x"), (RunQuery(), token[:-4])):
            with pytest.raises(InvalidInput, match="page token"):
                runs.page(query, after=after)


def acts(runs: Runs) -> dict[str, Callable[[Lease], None]]:
    """What only the holder of a lease may do."""
    return {
        "record": lambda lease: runs.record(lease, step(lease), batch_with_alias()),
        "park": lambda lease: runs.park(lease, wake_us=5),
        "finish": lambda lease: runs.finish(lease, "succeeded", ended_us=5, batch=batch_with_alias()),
        "renew": lambda lease: runs.renew(lease, lease_s=5),
    }


def _walk(runs: Runs, query: RunQuery, limit: int) -> Iterator[list[Run]]:
    page = runs.page(query, limit=limit)
    yield page.items
    while page.next:
        page = runs.page(query, after=page.next, limit=limit)
        yield page.items
