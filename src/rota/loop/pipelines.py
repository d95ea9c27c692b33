"""Training by hand: start a deployed pipeline, or execute it in this very process."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rota.durable.workflow import Worker
from rota.errors import Refused
from rota.loop.event_loop import Loop
from rota.loop.training_rules import start_training
from rota.manage.lineage import executions
from rota.records.run import ENDED, Run, Trigger


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
