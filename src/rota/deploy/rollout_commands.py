"""What people ask of a rollout under way: promote, abort, pause, resume; and how the rollout takes it while it holds a stage.

(asked, rollout)       -> becomes                         traffic of the candidate
promote, any           -> promoted                        100 %, whatever was judged
abort,  any            -> rolled_back                     0 %
pause,  going on, held -> paused                          as it is, judged no more
resume, paused         -> what it was                     as it is; the hold goes on for the time that was left of it
resume, held           -> going on                        as it is, for another `max_duration`
again,  what it is     -> unchanged, and woken once more
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from rota.deploy import rollout_states
from rota.durable.workflow import FOREVER, Context
from rota.errors import Refused
from rota.manage.governance import readiness
from rota.manage.models import model_versions, out_of_service
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.release import Rollout, RolloutCommand, RolloutVerb
from rota.records.signal import Event
from rota.records.time import Micros, iso


@dataclass(slots=True)
class TakenCommands:
    """The commands of a rollout in the order in which its run takes them, each once, between the judgements of its stages.

    `renewed_us` is since when the time counts that a candidate may be undecided (0: the start), `paused_us` how much of it was paused.
    """

    context: Context
    metadata: Metadata
    taken: int = 0
    renewed_us: Micros = 0
    paused_us: Micros = 0

    def hold_until(self, at_us: Micros) -> RolloutCommand | None:
        """Hold the stage until the moment, longer by each pause; the command that ends it before, or None when the moment has come.

        That is an abort, a promotion, or the resumption of a rollout that is held.
        """
        while (command := self._next(at_us)) is not None:
            if command.verb != "pause":
                return command
            ended = self._next(FOREVER)
            if ended is None or ended.verb != "resume":
                return ended or command
            at_us += ended.at_us - command.at_us
            self.paused_us += ended.at_us - command.at_us
        return None

    def renew(self, at_us: Micros) -> None:
        """Count from this moment how long the candidate is undecided."""
        self.renewed_us, self.paused_us = at_us, 0

    def _next(self, until_us: Micros) -> RolloutCommand | None:
        found = self.context.sleep_unless(until_us, _signal(self.taken), self._look)
        if found is None:
            return None
        self.taken += 1
        return msgspec.convert(found, RolloutCommand)

    def _look(self) -> Any:
        rollout = self.metadata.get(Rollout, self.context.run.id)
        return rollout.commands[self.taken] if rollout is not None and self.taken < len(rollout.commands) else None


def give(repositories: Repositories, rollout: str, verb: RolloutVerb, *, actor: str, reason: str) -> Rollout:
    """Ask something of a rollout under way and wake it; the rollout as it then stands. A rollout that is paused can be asked to pause again.

    Raises `InvalidInput` for a verb without the reason that it needs, `NotFound` for an unknown rollout and `Refused` in a state that does not
    have the verb (`rollout_states`), or for the promotion of a version that may not be released.
    """
    command = RolloutCommand(verb, actor, reason, repositories.clock.now_us())
    asked = transact(partial(_store, repositories, rollout, command))
    repositories.runs.signal(rollout, _signal(len(asked.commands) - 1), {"verb": verb})
    return asked


def _store(repositories: Repositories, rollout: str, command: RolloutCommand) -> Rollout:
    """The rollout with the command as its newest, or unchanged where it was asked for the same before."""
    standing = rollout_states.standing(repositories, rollout)
    found = standing.rollout
    if found is not None and found.ended_us is None and found.commands:
        last = found.commands[-1]
        if last.verb == command.verb and command.verb != "resume":
            return found
        if last.verb in ("abort", "promote"):
            raise Refused(f"rollout {rollout!r} {_ENDING[last.verb]} ({last.reason}); it cannot {command.verb} any more", rollout=rollout)
    rollout_states.check(standing, command.verb, command.reason)
    assert found is not None
    if command.verb == "promote":
        _check_promotable(repositories, found, now_us=command.at_us)
    asked = msgspec.structs.replace(found, commands=(*found.commands, command))
    batch = Batch()
    batch.put(asked, replacing=found)
    batch.audit(command.actor, f"rollout.{command.verb}", rollout, command.at_us, reason=command.reason)
    said = f"{command.verb} by {command.actor}{command.reason and f': {command.reason}'}"
    body = {"endpoint": found.endpoint, "state": found.state, "message": said, "at": iso(command.at_us)}
    batch.event(Event("rollout.changed", rollout, command.at_us, body))
    repositories.metadata.commit(batch)
    return asked


def _check_promotable(repositories: Repositories, rollout: Rollout, *, now_us: Micros) -> None:
    """A person may leave out the rest of the judgement, not the gates of the version."""
    version = model_versions.get(repositories.metadata, rollout.model, rollout.candidate)
    readiness.check_ready(repositories.metadata, version, f"the promotion of {rollout.id}", now_us=now_us)
    out_of_service.check(repositories.metadata, version)


def told(command: RolloutCommand) -> str:
    """Why a rollout ended that was asked to."""
    return f"{_ENDED.get(command.verb, command.verb)} by {command.actor}: {command.reason}"


def _signal(number: int) -> str:
    return f"command {number}"


_ENDING = {"abort": "is being aborted", "promote": "is being promoted"}
_ENDED = {"abort": "aborted", "promote": "promoted", "pause": "paused"}
