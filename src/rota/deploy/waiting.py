"""Deliveries that wait for the rollout before them, as rollouts that have not begun."""

from rota.ports.metadata import Metadata
from rota.ports.runs import Runs
from rota.records.release import Rollout
from rota.records.run import OPEN_STATUSES, RunQuery


def waiting(metadata: Metadata, runs: Runs, endpoint: str = "") -> list[Rollout]:
    """A rollout in state "waiting" for each run that has not begun its own, newest first; of one endpoint or of all. They are stored nowhere."""
    found = runs.find(RunQuery(workflow="rollout", subject=endpoint, statuses=OPEN_STATUSES))
    return [
        Rollout(run.id, run.subject, str(run.arguments["model"]), int(run.arguments["number"]), 0, "waiting", 0, run.created_us)
        for run in found
        if metadata.get(Rollout, run.id) is None
    ]
