"""Runs by hand: start a deployed pipeline or execute it in this very process, cancel a run of any workflow."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rota.durable.worker import Worker, cancel
from rota.errors import Refused
from rota.loop.event_loop import Loop
from rota.loop.training_rules import start_training
from rota.manage.access import tokens
from rota.manage.lineage import executions
from rota.records.access import Identity, Permission
from rota.records.run import ENDED, Run, Trigger

_TO_CANCEL: Mapping[str, Permission] = {"train": "train.start", "rollout": "model.release", "adopt": "model.register"}


def permission_to_cancel(run: Run) -> Permission:
    """What somebody must hold to cancel a run: what it takes to start such a one; `platform.operate` for the platform's own work."""
    return _TO_CANCEL.get(run.workflow, "platform.operate")


@dataclass(frozen=True, slots=True)
class Pipelines:
    """Starts deployed training pipelines by hand. `worker` makes a worker of a name that executes training runs."""

    loop: Loop
    worker: Callable[[str], Worker]
    poll_s: float

    def start(self, pipeline: str, *, actor: str = "owner") -> str:
        """Start a training run and return its id; raises `Refused` while one is active or when the pipeline is not deployed."""
        repositories = self.loop.context.repositories
        now_us = repositories.clock.now_us()
        run_id = f"train.{pipeline}.manual.{now_us}"
        reaction = start_training(self.loop.context, pipeline, Trigger("manual"), cause="manual", run_id=run_id)
        if not reaction.runs:
            reason = reaction.batch.audits[0].body["reason"]
            raise Refused(f"no run of {pipeline!r} was started: {reason}; `rota runs list` shows when the next can begin", pipeline=pipeline)
        run: Run = reaction.runs[0]
        reaction.batch.audit(actor, "train.start", pipeline, now_us, run=run_id)
        if not repositories.runs.submit(run, reaction.batch, exclusive=True):
            raise Refused(f"no run of {pipeline!r} was started: another one was a moment earlier", pipeline=pipeline)
        return run.id

    def cancel(self, run_id: str, *, identity: Identity, reason: str = "") -> Run:
        """End an open run of any workflow for good; what it was doing is stopped within seconds, a rollout returns its traffic.

        Raises `NotFound`, `Refused` for whoever may not start such a run, `Conflict` for one that has ended.
        """
        repositories = self.loop.context.repositories
        tokens.require(identity, permission_to_cancel(executions.get(repositories, run_id)))
        return cancel(repositories.runs, run_id, actor=identity.name, reason=reason, now_us=repositories.clock.now_us())

    def run_here(self, pipeline: str, *, actor: str = "owner", progress: Callable[[str], None] = lambda _: None) -> Run:
        """Execute a training run in this process, as a worker would, and return it as it ended; `progress` hears each finished step."""
        run_id = self.start(pipeline, actor=actor)
        worker, runs = self.worker(f"here-{run_id}"), self.loop.context.repositories.runs
        while True:
            worker.work_once()
            run = executions.get(self.loop.context.repositories, run_id)
            if run.status in ENDED:
                break
            time.sleep(self.poll_s)  # another worker has it, or it waits for its turn
        for step in runs.journal(run_id):
            progress(f"{step.name}: {(step.ended_us - step.started_us) / 1e6:.2f} s")
        while self.loop.react():
            pass
        return run
