"""Lanes: which workflows share threads, so that a decision never waits for a training.

    lane       workflows              threads of a worker    why
    decisions  rollout, adopt         2                      a judge or a rollback waits seconds, also while another release converges
    watching   monitor, materialize   1                      what is decided on, and what predictions need online
    training   train                  1                      fills a core by itself; more at once by more worker processes

In a lane the oldest run goes first; lanes do not wait for each other. Triggers have a thread of their own (`worker_threads`).
"""

from dataclasses import dataclass

from rota.ports.runs import Runs
from rota.records.run import OPEN_STATUSES, RunQuery
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class Lane:
    """Workflows that are executed by the same threads."""

    name: str
    workflows: tuple[str, ...]
    threads: int


LANES = (Lane("decisions", ("rollout", "adopt"), 2), Lane("watching", ("monitor", "materialize"), 1), Lane("training", ("train",), 1))


def lane_of(workflow: str) -> str:
    """The name of a workflow's lane; one that is in no lane has none."""
    return next((lane.name for lane in LANES if workflow in lane.workflows), "")


@dataclass(frozen=True, slots=True)
class Queue:
    """Runs of one lane that could go on now, and since how long the oldest could, by the platform's clock."""

    runs: int = 0
    oldest_s: float = 0.0


def waiting(runs: Runs, now_us: Micros) -> dict[str, Queue]:
    """The queue of each lane: runs that are queued, or parked and due."""
    found = {lane.name: Queue() for lane in LANES}
    for run in runs.find(RunQuery(statuses=OPEN_STATUSES)):
        lane = lane_of(run.workflow)
        if lane and (run.status == "queued" or (run.status == "parked" and run.wake_us <= now_us)):
            before, age_s = found[lane], (now_us - max(run.created_us, run.wake_us)) / 1e6
            found[lane] = Queue(before.runs + 1, max(before.oldest_s, age_s))
    return found
