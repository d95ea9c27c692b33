"""Schedules: each cron expression in force becomes one event per tick that is due."""

import time
from dataclasses import dataclass

from rota.errors import Conflict
from rota.loop.context import LoopContext
from rota.manage.models import cron
from rota.ports.metadata import Batch
from rota.records.run import Deployed
from rota.records.signal import Event, Monitor, ScheduleState
from rota.records.time import SECOND_US, Micros

LOOK_S = 0.5


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
    _looked_us: Micros = 0
    _looked_s: float = float("-inf")

    def fire(self) -> bool:
        """Turn each due schedule into one event; ticks that were missed coalesce into the newest. False when nothing was due."""
        now_us = self.context.repositories.clock.now_us()
        if not self._is_time(now_us):
            return False
        fired = False
        for schedule in self.in_force():
            fired |= self._fire(schedule, now_us)
        return fired

    def in_force(self) -> list[Schedule]:
        """Every schedule; monitors first, so that training sees their alerts."""
        metadata = self.context.repositories.metadata
        watched = [Schedule(f"monitor/{monitor.endpoint.name}", monitor.schedule, 0) for monitor in metadata.find(Monitor)]
        return watched + [
            Schedule(f"train/{deployed.pipeline}/{number}", trigger.spec, deployed.since_us)
            for deployed in metadata.find(Deployed, {"environment": self.context.environment})
            for number, trigger in enumerate(deployed.definition.triggers)
            if trigger.kind == "schedule"
        ]

    def due(self) -> list[str]:
        """The names of schedules with a tick that has not fired."""
        now_us = self.context.repositories.clock.now_us()
        return [schedule.name for schedule in self.in_force() if self._tick(schedule, now_us) is not None]

    def _is_time(self, now_us: Micros) -> bool:
        """Whether to look at the schedules: at most each LOOK_S of real time, unless the clock has jumped ahead."""
        real_s = time.monotonic()
        if now_us - self._looked_us < LOOK_S * SECOND_US and real_s - self._looked_s < LOOK_S:
            return False
        self._looked_us, self._looked_s = now_us, real_s
        return True

    def _tick(self, schedule: Schedule, now_us: Micros) -> Micros | None:
        state = self.context.repositories.metadata.get(ScheduleState, schedule.name)
        return cron.latest_tick(schedule.cron, after_us=state.last_us if state else schedule.since_us, until_us=now_us)

    def _fire(self, schedule: Schedule, now_us: Micros) -> bool:
        tick = self._tick(schedule, now_us)
        if tick is None:
            return False
        metadata = self.context.repositories.metadata
        before = metadata.get(ScheduleState, schedule.name)
        batch = Batch()
        batch.put(ScheduleState(schedule.name, tick), replacing=before)
        batch.event(Event("schedule.fired", schedule.name, now_us, {"tick_us": tick, "cron": schedule.cron}))
        try:
            metadata.commit(batch)
        except Conflict:  # another worker fired this tick
            return False
        return True
