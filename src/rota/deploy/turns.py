"""Whose turn it is: an endpoint has one rollout at a time, in the order of delivery, and an older version never follows a newer one by itself."""

from contextlib import suppress

from rota.deploy import rollout_commands
from rota.durable.workflow import Blocked
from rota.errors import Refused
from rota.manage.repositories import Repositories
from rota.ports.metadata import Metadata
from rota.records.model import CHAMPION, Alias, ModelVersion
from rota.records.release import Rollout
from rota.records.run import OPEN_STATUSES, Run, RunQuery
from rota.records.time import iso


def before(repositories: Repositories, run: Run) -> str:
    """The id of the rollout run that a run waits for: the last one delivered before it to the same endpoint, or one that began already.

    "" when it is the run's turn.
    """
    waiting = _open_runs(repositories, run.subject)
    earlier = waiting[: waiting.index(run.id)] if run.id in waiting else []
    begun = (each.id for each in repositories.metadata.find(Rollout, {"endpoint": run.subject}) if each.ended_us is None and each.id != run.id)
    return earlier[-1] if earlier else next((each for each in begun if each in waiting), "")


def behind(repositories: Repositories, run: Run) -> str:
    """The id of the first rollout run that waits behind a run for its turn; "" when none does."""
    waiting = _open_runs(repositories, run.subject)
    later = waiting[waiting.index(run.id) + 1 :] if run.id in waiting else []
    return next((each for each in later if repositories.metadata.get(Rollout, each) is None), "")


def supersede(repositories: Repositories, before: str, run: Run) -> None:
    """End the rollout that a run waits for if it is held: the later delivery takes its place. Harmless when repeated."""
    held = repositories.metadata.get(Rollout, before) if before else None
    if held is not None and held.phase == "held":
        with suppress(Refused):  # it ended or was asked to end meanwhile
            rollout_commands.give(repositories, before, "abort", actor="rota", reason=superseded_by(run.id))


def superseded_by(run: str) -> str:
    """The reason of a rollout that a later delivery ended."""
    return f"superseded by {run}, which was delivered while it was held undecided"


def signal_of(run_id: str) -> str:
    """The signal that tells those who wait for a rollout run that it has ended."""
    return f"after {run_id}"


def wake_following(repositories: Repositories, endpoint: str, ended: str) -> None:
    """Wake the rollout runs of an endpoint that may wait for the one that ended; harmless when repeated."""
    for waiting in _open_runs(repositories, endpoint):
        repositories.runs.signal(waiting, signal_of(ended), {"ended": ended})


def check_not_superseded(metadata: Metadata, run: Run, version: ModelVersion) -> None:
    """End a run as blocked whose version became old while it waited: a newer one was promoted since it was delivered."""
    champion = metadata.get(Alias, version.model, CHAMPION)
    if champion is not None and champion.number > version.number and champion.since_us > run.created_us:
        raise Blocked(
            f"superseded: version {champion.number} was promoted at {iso(champion.since_us)}, while version {version.number} waited for its turn; "
            f"`rota rollback` returns to an earlier champion",
            version=version.id,
        )


def _open_runs(repositories: Repositories, endpoint: str) -> list[str]:
    query = RunQuery(workflow="rollout", subject=endpoint, statuses=OPEN_STATUSES, newest_first=False)
    return [each.id for each in repositories.runs.find(query)]
