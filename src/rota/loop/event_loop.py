"""The loop's engine: schedules fire, each new event meets the rules of the table, and their reactions are stored with the cursor."""

import logging
from collections.abc import Sequence
from functools import partial

from rota.errors import Conflict, Corrupt, Unavailable
from rota.loop import table
from rota.loop.context import LoopContext
from rota.loop.schedules import Schedules
from rota.manage.signals import platform_alerts
from rota.ports.metadata import Batch, transact
from rota.records.condition import Condition
from rota.records.run import OPEN_STATUSES, Run, RunQuery
from rota.records.signal import Cursor, Event

logger = logging.getLogger("rota.loop")

CONSUMER = "loop"
RACES = 5
"""How often a rule is asked again because another worker changed what it read."""


class Loop:
    """Fires schedules and reacts to events; any number of workers may do so at once, each with a loop of its own."""

    def __init__(self, context: LoopContext) -> None:
        self.context = context
        self.schedules = Schedules(context)
        self._repositories = context.repositories
        self._read_at = ""

    def advance(self) -> bool:
        """Fire what is due and react to what happened since; False when there was nothing to do."""
        fired = self.schedules.fire()
        reacted = self.react()
        return fired or reacted

    def position(self) -> int:
        """The position of the last event that was reacted to."""
        cursor = self._repositories.metadata.get(Cursor, CONSUMER)
        return cursor.position if cursor else 0

    def react(self) -> bool:
        """Handle every new event in order. Where nothing was committed since there was none, nothing is read."""
        metadata = self._repositories.metadata
        mark = metadata.mark()
        if mark == self._read_at:
            return False
        cursor = metadata.get(Cursor, CONSUMER) or Cursor(CONSUMER, 0)
        try:
            events = metadata.events(cursor.position)
        except Corrupt as error:
            return self._set_apart(cursor, error)
        for event in events:
            following = Cursor(CONSUMER, event.position)
            if not self._handle(event, cursor, following):
                return True
            cursor = following
        if not events:
            self._read_at = mark
        return bool(events)

    def conditions(self) -> list[Condition] | None:
        """Every record and schedule that cannot be read and is left out; None before the first look. Events have alerts of their own."""
        unread = self.schedules.unread
        if unread is None:
            return None
        return [Condition(name, "degraded", f"it cannot be read and is left out: {why}") for name, why in unread.items()]

    def _set_apart(self, cursor: Cursor, error: Corrupt) -> bool:
        """Go on behind an event that cannot be read: it is named in the audit log and by an alert, and holds up no other.

        Nothing will look at it again, so the alert stays until a person acknowledges it or the event is so old that it is removed.
        """
        position = int(str(error.facts["position"]))
        batch, now_us = Batch(), self._repositories.clock.now_us()
        message = (
            f"{error}; what it would have started was not started: look at what happened at that time and start it by hand, then acknowledge "
            "this alert (`rota monitor ack`), which ends it"
        )
        skipped = Condition(f"{platform_alerts.EVENT}:{position}", "degraded", message, {"position": position})
        platform_alerts.tell_once(batch, self._repositories.metadata, skipped, now_us=now_us)
        batch.put(Cursor(CONSUMER, position), replacing=cursor if cursor.position else None)
        batch.audit("rota", "loop.skip", f"event:{position}", now_us, error=str(error))
        try:
            self._repositories.metadata.commit(batch)
        except Conflict:
            return True  # another worker went on already
        logger.error("event set apart: %s", error, extra={"action": "event_set_apart", "event": position})
        return True

    def waiting(self) -> list[str]:
        """What could go on right now: unread events, due schedules, runnable runs. Empty when the loop is at rest; the cheap questions come first.

        Events are read before and after the runs: a run comes from a handled event and ends with a new one, so an unmoved
        cursor without unread events proves that nothing slipped through in between.
        """
        cursor = self._repositories.metadata.get(Cursor, CONSUMER)
        found = self._unread(cursor) or self._runnable()
        if found:
            return found
        after = self._repositories.metadata.get(Cursor, CONSUMER)
        return self._unread(after) if after == cursor else ["events were handled meanwhile"]

    def _unread(self, cursor: Cursor | None) -> list[str]:
        events = self._repositories.metadata.events(cursor.position if cursor else 0, limit=10)
        return [f"event {event.kind} {event.subject}" for event in events]

    def _runnable(self) -> list[str]:
        now_us = self._repositories.clock.now_us()
        runs = self._repositories.runs.find(RunQuery(statuses=OPEN_STATUSES))
        found = [f"run {run.id} {run.status}" for run in runs if run.status != "parked" or run.wake_us <= now_us]
        return found or [f"schedule {name}" for name in self.schedules.due()]

    def _handle(self, event: Event, cursor: Cursor, following: Cursor) -> bool:
        """React to one event and move the cursor in one commit; False when another worker was faster."""
        runs, batch = list[Run](), Batch()
        for rule in table.RULES.get(event.kind, ()):
            try:
                reaction = transact(partial(rule, self.context, event), attempts=RACES, on_conflict=partial(_tell_race, event))
            except Unavailable:  # the event is still there when the engine is back
                raise
            except Exception as error:  # one bad event must not stand in the way of all that follow
                logger.exception("rule failed", extra={"action": "rule_failed", "rule": rule.__name__, "event": event.position})
                batch.audit("rota", "loop.error", event.subject, event.at_us, rule=rule.__name__, error=f"{type(error).__name__}: {error}")
                continue
            runs += reaction.runs
            batch.puts += reaction.batch.puts
            batch.events += reaction.batch.events
            batch.edges += reaction.batch.edges
            batch.audits += reaction.batch.audits
        batch.put(following, replacing=cursor if cursor.position else None)
        try:
            self._store(runs, batch)
        except Conflict:
            return False
        return True

    def _store(self, runs: Sequence[Run], batch: Batch) -> None:
        """Submit the last run together with the batch, so that cursor, reasons and run are stored at once or not at all.

        An event that starts several runs submits the others before; their ids make repeating that harmless.
        """
        for run in runs[:-1]:
            self._repositories.runs.submit(run)
        if not runs or not self._repositories.runs.submit(runs[-1], batch):
            self._repositories.metadata.commit(batch)


def _tell_race(event: Event) -> None:
    logger.info("another worker was faster", extra={"action": "race", "event": event.position})
