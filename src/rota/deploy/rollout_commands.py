"""What people ask of a rollout under way: pause, resume, abort; and how the rollout takes it while it holds a stage.

(asked, rollout)       -> becomes                         traffic of the candidate
pause,  going on       -> paused                          as it is, judged no more
resume, paused         -> going on                        as it is; the hold goes on for the time that was left of it
abort,  any            -> rolled_back                     0 %
again,  what it is     -> unchanged, and woken once more
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import msgspec

from rota.durable.workflow import FOREVER, Context
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.release import Rollout, RolloutCommand, RolloutVerb
from rota.records.run import OPEN_STATUSES
from rota.records.signal import Event
from rota.records.time import Micros, iso


@dataclass(slots=True)
class TakenCommands:
    """The commands of a rollout in the order in which its run takes them, each once, between the judgements of its stages."""

    context: Context
    metadata: Metadata
    taken: int = 0

    def hold_until(self, at_us: Micros) -> str:
        """Hold the stage until the moment, longer by each pause; why to end it before, or "" when the moment has come."""
        while (command := self._next(at_us)) is not None:
            if command.verb == "abort":
                return _aborted(command)
            if command.verb == "pause":
                ended = self._next(FOREVER)
                if ended is None or ended.verb == "abort":
                    return _aborted(ended or command)
                at_us += ended.at_us - command.at_us
        return ""

    def _next(self, until_us: Micros) -> RolloutCommand | None:
        found = self.context.sleep_unless(until_us, _signal(self.taken), self._look)
        if found is None:
            return None
        self.taken += 1
        return msgspec.convert(found, RolloutCommand)

    def _look(self) -> Any:
        rollout = self.metadata.get(Rollout, self.context.run.id)
        return rollout.commands[self.taken] if rollout is not None and self.taken < len(rollout.commands) else None


def give(repositories: Repositories, rollout: str, verb: str, *, actor: str, reason: str) -> Rollout:
    """Ask something of a rollout under way and wake it; the rollout as it then stands. A rollout that is paused can be asked to pause again.

    Raises `InvalidInput` for another verb or an abort or a pause without a reason, `NotFound` for an unknown rollout and `Refused` for one
    that has ended, has not begun, or cannot be resumed because it is not paused.
    """
    if verb not in get_args(RolloutVerb):
        raise InvalidInput(f"a rollout cannot {verb!r}; it can {', '.join(get_args(RolloutVerb))}", verb=verb)
    if verb != "resume" and not reason.strip():
        raise InvalidInput(f"{verb} of rollout {rollout!r} has no reason; say why, others will read it", rollout=rollout)
    command = RolloutCommand(msgspec.convert(verb, RolloutVerb), actor, reason, repositories.clock.now_us())
    asked = transact(partial(_store, repositories, rollout, command))
    repositories.runs.signal(rollout, _signal(len(asked.commands) - 1), {"verb": verb})
    return asked


def _store(repositories: Repositories, rollout: str, command: RolloutCommand) -> Rollout:
    """The rollout with the command as its newest, or unchanged where it was asked for the same before."""
    found = _under_way(repositories, rollout)
    if found.commands and found.commands[-1].verb == command.verb:
        return found
    if found.commands and found.commands[-1].verb == "abort":
        raise Refused(f"rollout {rollout!r} is being aborted ({found.commands[-1].reason}); it cannot {command.verb} any more", rollout=rollout)
    if command.verb == "resume" and not found.paused:
        raise Refused(f"rollout {rollout!r} is not paused, so there is nothing to resume", rollout=rollout)
    asked = msgspec.structs.replace(found, commands=(*found.commands, command))
    batch = Batch()
    batch.put(asked, replacing=found)
    batch.audit(command.actor, f"rollout.{command.verb}", rollout, command.at_us, reason=command.reason)
    said = f"{command.verb} by {command.actor}{command.reason and f': {command.reason}'}"
    body = {"endpoint": found.endpoint, "state": found.state, "message": said, "at": iso(command.at_us)}
    batch.event(Event("rollout.changed", rollout, command.at_us, body))
    repositories.metadata.commit(batch)
    return asked


def _under_way(repositories: Repositories, rollout: str) -> Rollout:
    found = repositories.metadata.get(Rollout, rollout)
    if found is None:
        run = repositories.runs.get(rollout)
        if run is None or run.workflow != "rollout":
            raise NotFound(f"there is no rollout {rollout!r}; `rota rollout list` shows them", rollout=rollout)
        waits = "waits for its turn" if run.status in OPEN_STATUSES else f"never began ({run.status}: {run.error})"
        raise Refused(f"rollout {rollout!r} {waits}; `rota runs cancel {rollout}` ends one that has not begun", rollout=rollout)
    if found.ended_us is not None:
        raise Refused(f"rollout {rollout!r} ended at {iso(found.ended_us)} as {found.state}: {found.reason}", rollout=rollout)
    return found


def _aborted(command: RolloutCommand) -> str:
    return f"aborted by {command.actor}: {command.reason}"


def _signal(number: int) -> str:
    return f"command {number}"
