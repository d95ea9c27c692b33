"""Schedules: each cron expression in force becomes one event per tick that is due."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from rota.errors import Conflict, Corrupt, InvalidInput
from rota.loop.context import LoopContext
from rota.manage.models import cron
from rota.ports.metadata import Batch
from rota.records.run import Deployed
from rota.records.signal import Event, Monitor, ScheduleState
from rota.records.time import SECOND_US, Micros, iso

logger = logging.getLogger("rota.loop")

LOOK_S = 0.5
_NEVER = 2**63
CLOCK_JUMP_S = 60
"""How far a stored tick may lie ahead of now before it says that the clock was set back: hosts' clocks differ by less."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron expression in force since a moment; `name` is "monitor/ENDPOINT" or "train/PIPELINE/NUMBER OF ITS TRIGGER"."""

    name: str
    cron: str
    since_us: Micros


@dataclass(slots=True)
class Schedules:
    """Fires what is due; any number of workers may do so at once. Not thread-safe: each thread has its own."""

    context: LoopContext
    unread: Mapping[str, str] | None = None
    """What could not be read when the schedules were looked at last, by its condition's name, and why; None before the first look."""
    _looked_us: Micros = 0
    _looked_s: float = float("-inf")
    _read_at: str = ""
    _next_us: Micros = 0

    def fire(self) -> bool:
        """Turn each due schedule into one event; ticks that were missed coalesce into the newest. False when nothing was due."""
        now_us, mark = self.context.repositories.clock.now_us(), self.context.repositories.metadata.mark()
        if not self._is_time(now_us, mark):
            return False
        fired, nexts = False, [_NEVER]
        schedules, unread = self._read()
        for schedule in schedules:
            try:
                fired |= self._fire(schedule, now_us)
                nexts.append(cron.next_tick(schedule.cron, after_us=now_us))
            except (Corrupt, InvalidInput) as error:  # one that cannot be read or understood holds up no other
                unread[f"schedule:{schedule.name}"] = str(error)
        self.unread, self._read_at, self._next_us = unread, mark, min(nexts)
        return fired

    def in_force(self) -> list[Schedule]:
        """Every schedule; monitors first, so that training sees their alerts."""
        return self._read()[0]

    def _read(self) -> tuple[list[Schedule], dict[str, str]]:
        """The schedules, and the records of some that cannot be read, by condition, and why."""
        metadata = self.context.repositories.metadata
        damaged = list[Corrupt]()
        watched = [Schedule(f"monitor/{monitor.endpoint.name}", monitor.schedule, 0) for monitor in metadata.find(Monitor, damaged=damaged)]
        deployments = metadata.find(Deployed, {"environment": self.context.environment}, damaged=damaged)
        trained = [
            Schedule(f"train/{deployed.pipeline}/{number}", trigger.spec, deployed.since_us)
            for deployed in deployments
            for number, trigger in enumerate(deployed.definition.triggers)
            if trigger.kind == "schedule"
        ]
        return watched + trained, {f"record:{error.facts['node']}": str(error) for error in damaged}

    def due(self) -> list[str]:
        """The names of schedules with a tick that has not fired."""
        now_us = self.context.repositories.clock.now_us()
        return [schedule.name for schedule in self.in_force() if self._tick(schedule, now_us) is not None]

    def _is_time(self, now_us: Micros, mark: str) -> bool:
        """Whether to look at the schedules: when something was committed, when one is due, or the clock was set back.

        At most each LOOK_S of real time, unless the clock has jumped.
        """
        if mark == self._read_at and self._looked_us <= now_us < self._next_us:
            return False
        real_s = time.monotonic()
        if 0 <= now_us - self._looked_us < LOOK_S * SECOND_US and real_s - self._looked_s < LOOK_S:
            return False
        self._looked_us, self._looked_s = now_us, real_s
        return True

    def _tick(self, schedule: Schedule, now_us: Micros) -> Micros | None:
        state = self.context.repositories.metadata.get(ScheduleState, schedule.name)
        after_us = state.last_us if state else schedule.since_us
        return None if _is_from_later(after_us, now_us) else cron.latest_tick(schedule.cron, after_us=after_us, until_us=now_us)

    def _fire(self, schedule: Schedule, now_us: Micros) -> bool:
        metadata = self.context.repositories.metadata
        before = metadata.get(ScheduleState, schedule.name)
        if _is_from_later(before.last_us if before else schedule.since_us, now_us):
            self._rebase(schedule, before, now_us)
            return True
        tick = self._tick(schedule, now_us)
        if tick is None:
            return False
        batch = Batch()
        batch.put(ScheduleState(schedule.name, tick), replacing=before)
        batch.event(Event("schedule.fired", schedule.name, now_us, {"tick_us": tick, "cron": schedule.cron}))
        return self._committed(batch)

    def _rebase(self, schedule: Schedule, before: ScheduleState | None, now_us: Micros) -> None:
        """Go on from now where the last tick lies ahead of it: the clock was set back. What has ticked before now is not made up for."""
        last_us = before.last_us if before else schedule.since_us
        batch = Batch()
        batch.put(ScheduleState(schedule.name, now_us), replacing=before)
        batch.audit("rota", "schedule.rebase", schedule.name, now_us, last_tick=iso(last_us), goes_on_after=iso(now_us))
        if self._committed(batch):
            message = "schedule %s had ticked at %s, which is ahead of the clock: it goes on from now"
            logger.warning(message, schedule.name, iso(last_us), extra={"action": "schedule_rebased", "schedule": schedule.name})

    def _committed(self, batch: Batch) -> bool:
        try:
            self.context.repositories.metadata.commit(batch)
        except Conflict:  # another worker fired this tick
            return False
        return True


def _is_from_later(last_us: Micros, now_us: Micros) -> bool:
    return last_us > now_us + CLOCK_JUMP_S * SECOND_US
