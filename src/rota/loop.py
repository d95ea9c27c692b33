"""The loop: which event starts what. The only text in which the circle is closed.

    event               condition                                    reaction
    schedule.fired      a pipeline's schedule trigger                run "train"
    schedule.fired      a monitor's schedule                         run "monitor"
    data.arrived        enough new rows for a new_data trigger       run "train"
    alert.raised        a pipeline has an on_alert trigger for it    run "train"
    alert.lasting       as alert.raised, and it is still open        run "train"
    alert.raised        always                                       the alert's people are told
    version.registered  policy automatic, gates passed, risk clear   approval by policy
    risk.answered       as version.registered                        approval by policy
    version.registered  it has files and no bundle yet               run "adopt"
    version.approved    policy not manual, reviewer wants a rollout  run "rollout"; of a version without a bundle run "adopt" first

A trigger that does not start a run says why in the audit log. Every reaction commits together with the cursor over the
event log, and the runs it starts have ids derived from the event: each event acts once, whoever handles it.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rota.errors import Conflict, NotFound, Refused, RotaError, Unavailable
from rota.manage.governance import decisions, evidence, readiness, risk
from rota.manage.models import cron as schedules
from rota.manage.models import model_versions, registered_models
from rota.manage.repositories import Repositories
from rota.ports.alerts import AlertSink
from rota.ports.metadata import Batch, Metadata
from rota.records.model import ModelVersion
from rota.records.record import plain
from rota.records.release import Endpoint, Rollout
from rota.records.run import Deployed, Run, Trigger
from rota.records.signal import Alert, Cursor, Event, Monitor, ScheduleState
from rota.records.time import SECOND_US, Micros, iso, micros
from rota.train import triggers

logger = logging.getLogger("rota.loop")

CONSUMER = "loop"
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Reaction:
    """Runs to start and facts to store because of one event."""

    runs: tuple[Run, ...] = ()
    batch: Batch = field(default_factory=Batch)


@dataclass(frozen=True, slots=True)
class Loop:
    """Fires schedules and reacts to events; any number of workers may do so at once."""

    repositories: Repositories
    environment: str
    sinks: tuple[AlertSink, ...] = ()
    _looked: dict[str, float] = field(default_factory=dict)

    def advance(self) -> bool:
        """Fire what is due and react to what happened since; False when there was nothing to do."""
        fired = self.fire_schedules()
        reacted = self.react()
        return fired or reacted

    def fire_schedules(self) -> bool:
        """Turn each due schedule into one event; ticks that were missed coalesce into the newest."""
        now_us = self.repositories.clock.now_us()
        if not self._is_time(now_us):
            return False
        fired = False
        for name, expression, since_us in self.schedules():
            fired |= self._fire(name, expression, since_us, now_us)
        return fired

    def _is_time(self, now_us: Micros) -> bool:
        """Whether to look at the schedules: at most each LOOK_S of real time, unless the clock has jumped ahead."""
        real = time.monotonic()
        if now_us - self._looked.get("at_us", 0) < LOOK_S * SECOND_US and real - self._looked.get("real", 0) < LOOK_S:
            return False
        self._looked.update(at_us=now_us, real=real)
        return True

    def react(self) -> bool:
        """Handle every new event in order."""
        metadata = self.repositories.metadata
        cursor = metadata.get(Cursor, CONSUMER) or Cursor(CONSUMER, 0)
        events = metadata.events(cursor.position)
        for event in events:
            following = Cursor(CONSUMER, event.position)
            if not self._handle(event, cursor, following):
                return True
            cursor = following
        return bool(events)

    def schedules(self) -> list[tuple[str, str, Micros]]:
        """Name, cron expression and start of every schedule in force; monitors first, so that training sees their alerts."""
        metadata = self.repositories.metadata
        watched = [(f"monitor/{monitor.endpoint.name}", monitor.schedule, 0) for monitor in metadata.find(Monitor)]
        return watched + [
            (f"train/{deployed.pipeline}/{number}", trigger.spec, deployed.since_us)
            for deployed in _deployed(metadata, self.environment)
            for number, trigger in enumerate(deployed.definition.triggers)
            if trigger.kind == "schedule"
        ]

    def waiting(self) -> list[str]:
        """What could go on right now: unread events, due schedules, runnable runs. Empty when the loop is at rest; the cheap questions come first.

        Events are read before and after the runs: a run comes from a handled event and ends with a new one, so an unmoved
        cursor without unread events proves that nothing slipped through in between.
        """
        cursor = self.repositories.metadata.get(Cursor, CONSUMER)
        found = self._unread(cursor) or self._runnable()
        if found:
            return found
        after = self.repositories.metadata.get(Cursor, CONSUMER)
        return self._unread(after) if after == cursor else ["events were handled meanwhile"]

    def _unread(self, cursor: Cursor | None) -> list[str]:
        events = self.repositories.metadata.events(cursor.position if cursor else 0, limit=10)
        return [f"event {event.kind} {event.subject}" for event in events]

    def _runnable(self) -> list[str]:
        now_us = self.repositories.clock.now_us()
        runs = self.repositories.runs.find(statuses=("queued", "running", "parked"), limit=100)
        found = [f"run {run.id} {run.status}" for run in runs if run.status != "parked" or run.wake_us <= now_us]
        return found or [f"schedule {name}" for name, expression, since_us in self.schedules() if self._due(name, expression, since_us, now_us)]

    def _due(self, name: str, expression: str, since_us: Micros, now_us: Micros) -> Micros | None:
        state = self.repositories.metadata.get(ScheduleState, name)
        return schedules.latest_tick(expression, after_us=state.last_us if state else since_us, until_us=now_us)

    def _fire(self, name: str, expression: str, since_us: Micros, now_us: Micros) -> bool:
        tick = self._due(name, expression, since_us, now_us)
        if tick is None:
            return False
        before = self.repositories.metadata.get(ScheduleState, name)
        batch = Batch()
        batch.put(ScheduleState(name, tick), replacing=before)
        batch.event(Event("schedule.fired", name, now_us, {"tick_us": tick, "cron": expression}))
        try:
            self.repositories.metadata.commit(batch)
        except Conflict:  # another worker fired this tick
            return False
        return True

    def _handle(self, event: Event, cursor: Cursor, following: Cursor) -> bool:
        """React to one event and move the cursor in one commit; False when another worker was faster."""
        runs, batch = list[Run](), Batch()
        for rule in RULES.get(event.kind, ()):
            try:
                reaction = rule(self, event)
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
            self.repositories.runs.submit(run)
        if not runs or not self.repositories.runs.submit(runs[-1], batch):
            self.repositories.metadata.commit(batch)


def start_training(loop: Loop, pipeline: str, trigger: Trigger, *, cause: str, run_id: str) -> Reaction:
    """A training run for this cause, or an audit entry that says why not."""
    repositories = loop.repositories
    now_us = repositories.clock.now_us()
    deployed = repositories.metadata.get(Deployed, pipeline, loop.environment)
    if deployed is None:
        raise Refused(f"pipeline {pipeline!r} is not deployed in environment {loop.environment!r}; `rota apply` deploys it", pipeline=pipeline)
    if trigger.kind != "manual" and repositories.runs.find(id=run_id):  # begun for this very cause by a worker that did not get to store why
        return _training(pipeline, loop.environment, cause=cause, run_id=run_id, now_us=now_us)
    definition = deployed.definition
    recent = repositories.runs.find(workflow="train", subject=pipeline, limit=max(50, definition.max_runs_per_week, definition.give_up_after))
    decision = triggers.decide(definition, trigger, recent, now_us=now_us)
    delivering = _active_rollout(repositories.metadata, pipeline)
    if decision.start and delivering and trigger.kind != "manual":
        decision = triggers.Decision(False, f"version {delivering.candidate} is still being rolled out")
    if not decision.start:
        batch = Batch()
        batch.audit("rota", "trigger.skip", pipeline, now_us, trigger=cause, reason=decision.reason)
        return Reaction(batch=batch)
    return _training(pipeline, loop.environment, cause=cause, run_id=run_id, now_us=now_us)


def _training(pipeline: str, environment: str, *, cause: str, run_id: str, now_us: Micros) -> Reaction:
    """The run, and the lineage edge from its cause."""
    batch = Batch()
    batch.link(f"run:{run_id}", [cause], now_us)
    return Reaction((Run(run_id, "train", pipeline, {"pipeline": pipeline, "environment": environment}, now_us, cause),), batch)


def _train_on_schedule(loop: Loop, event: Event) -> Reaction:
    room, _, rest = event.subject.partition("/")
    if room != "train":
        return Reaction()
    pipeline, _, number = rest.rpartition("/")
    deployed = loop.repositories.metadata.get(Deployed, pipeline, loop.environment)
    if deployed is None:
        return Reaction()
    trigger = deployed.definition.triggers[int(number)]
    tick = iso(event.body["tick_us"])
    return start_training(loop, pipeline, trigger, cause=f"schedule:{trigger.spec} at {tick}", run_id=f"train.{pipeline}.{event.position}")


def _monitor_on_schedule(loop: Loop, event: Event) -> Reaction:
    room, _, endpoint = event.subject.partition("/")
    if room != "monitor":
        return Reaction()
    now_us = loop.repositories.clock.now_us()
    cause = f"schedule:{event.subject}"
    return Reaction((Run(f"monitor.{endpoint}.{event.position}", "monitor", endpoint, {"endpoint": endpoint}, now_us, cause),))


def _train_on_new_data(loop: Loop, event: Event) -> Reaction:
    runs, batch = list[Run](), Batch()
    for deployed in _deployed(loop.repositories.metadata, loop.environment):
        trigger = next((t for t in deployed.definition.triggers if t.kind == "new_data"), None)
        if trigger is None or deployed.definition.dataset.labels.name != event.subject:
            continue
        recent = loop.repositories.runs.find(workflow="train", subject=deployed.pipeline, limit=1)
        since_us = recent[0].created_us if recent else 0
        if _rows_since(loop.repositories.metadata, event.subject, since_us, event) < trigger.rows:
            continue
        reaction = start_training(
            loop, deployed.pipeline, trigger, cause=f"new_data:{event.subject}@{event.position}", run_id=f"train.{deployed.pipeline}.{event.position}"
        )
        runs += reaction.runs
        batch.audits += reaction.batch.audits
        batch.edges += reaction.batch.edges
    return Reaction(tuple(runs), batch)


def _train_on_alert(loop: Loop, event: Event) -> Reaction:
    """An alert that goes on after its training was refused, or that a new version did not end, starts the next one when triggers allow it."""
    runs, batch = list[Run](), Batch()
    alert = loop.repositories.metadata.get(Alert, event.subject)
    if alert is None or alert.status == "resolved":
        return Reaction()
    for deployed in _deployed(loop.repositories.metadata, loop.environment):
        endpoint = loop.repositories.metadata.get(Endpoint, str(event.body["endpoint"]))
        trigger = next((t for t in deployed.definition.triggers if t.kind == "alert" and t.spec == event.body["kind"]), None)
        if trigger is None or endpoint is None or endpoint.model != deployed.pipeline:
            continue
        reaction = _judged_first(loop, alert, trigger, deployed.pipeline) or start_training(
            loop, deployed.pipeline, trigger, cause=f"alert:{event.subject}", run_id=f"train.{deployed.pipeline}.{event.position}"
        )
        runs += reaction.runs
        batch.audits += reaction.batch.audits
        batch.edges += reaction.batch.edges
    return Reaction(tuple(runs), batch)


def _judged_first(loop: Loop, alert: Alert, trigger: Trigger, pipeline: str) -> Reaction | None:
    """A version promoted since the alert was raised serves for a cool-down before it is replaced: the alert still speaks of earlier days too."""
    metadata, now_us = loop.repositories.metadata, loop.repositories.clock.now_us()
    promoted = metadata.find(Rollout, {"endpoint": alert.endpoint, "state": "promoted"}, order="-started_us", limit=1)
    ended_us = (promoted[0].ended_us or 0) if promoted else 0
    until_us = ended_us + micros(trigger.cooldown)
    if ended_us <= alert.raised_us or now_us >= until_us:
        return None
    batch = Batch()
    reason = f"version {promoted[0].candidate} was promoted at {iso(ended_us)} and is judged until {iso(until_us)}"
    batch.audit("rota", "trigger.skip", pipeline, now_us, trigger=f"alert:{alert.id}", reason=reason)
    return Reaction(batch=batch)


def _tell_people(loop: Loop, event: Event) -> Reaction:
    alert = loop.repositories.metadata.get(Alert, event.subject)
    for sink in loop.sinks if alert else ():
        assert alert is not None
        try:
            sink.deliver(alert)
        except RotaError as error:  # the alert is stored and shown; a deaf receiver must not stop the loop
            logger.error("alert not delivered", extra={"action": "alert_not_delivered", "alert": alert.id, "error": str(error)})
    return Reaction()


def _review_by_policy(loop: Loop, event: Event) -> Reaction:
    metadata = loop.repositories.metadata
    version = model_versions.get(metadata, str(event.body["model"]), int(event.body["number"]))
    policy = registered_models.release_policy(metadata, version.model)
    if policy.level != "automatic" or version.status != "registered" or not evidence.passed_gates(loop.repositories, version):
        return Reaction()  # no policy speaks for a version that no gate has seen
    now_us = loop.repositories.clock.now_us()
    if obstacles := risk.obstacles(policy, risk.answers(metadata, version)):
        batch = Batch()
        batch.audit("rota", "review.wait", version.id, now_us, reason="; ".join(obstacles))
        return Reaction(batch=batch)
    decision = decisions.ReviewDecision("approve", decisions.AUTOMATIC, "both gates passed")
    return Reaction(batch=decisions.decided(loop.repositories, version, decision, now_us=now_us)[1])


def _adopt(loop: Loop, event: Event) -> Reaction:
    """A version registered with a foreign model's files becomes one that can be served."""
    version = model_versions.get(loop.repositories.metadata, str(event.body["model"]), int(event.body["number"]))
    if version.bundle or not version.artifacts:
        return Reaction()
    return Reaction((_adopting(version, event, now_us=loop.repositories.clock.now_us()),))


def _adopting(version: ModelVersion, event: Event, *, now_us: Micros, approval: Mapping[str, Any] | None = None) -> Run:
    arguments: dict[str, Any] = {"model": version.model, "number": version.number}
    if approval:
        arguments["approval"] = dict(approval)
    return Run(f"adopt.{version.model}.{version.number}.{event.position}", "adopt", version.id, arguments, now_us, f"model_version:{version.id}")


def _start_rollout(loop: Loop, event: Event) -> Reaction:
    metadata = loop.repositories.metadata
    version = model_versions.get(metadata, str(event.body["model"]), int(event.body["number"]))
    now_us = loop.repositories.clock.now_us()
    if registered_models.release_policy(metadata, version.model).level == "manual" or not event.body.get("rollout", True):
        return Reaction()
    if not version.bundle and version.artifacts and not event.body.get("adopted"):
        return Reaction((_adopting(version, event, now_us=now_us, approval=event.body),))
    if not version.bundle:
        batch = Batch()
        batch.audit("rota", "rollout.skip", version.id, now_us, reason=version.unservable or "it has no bundle to serve")
        return Reaction(batch=batch)
    delivery = event.body.get("delivery")
    return Reaction(tuple(rollout_run(e, version, now_us=now_us, delivery=delivery) for e in registered_models.endpoints(metadata, version.model)))


def rollout_run(endpoint: Endpoint, version: ModelVersion, *, now_us: Micros, trigger: str = "", delivery: Mapping[str, Any] | None = None) -> Run:
    """The run that delivers a version to an endpoint, by its strategy or by `delivery` (a Canary as plain values).

    Its id makes delivering the same version twice impossible.
    """
    arguments: dict[str, Any] = {"endpoint": endpoint.name, "model": version.model, "number": version.number}
    if delivery:
        arguments["delivery"] = dict(delivery)
    return Run(f"rollout.{endpoint.name}.{version.number}", "rollout", endpoint.name, arguments, now_us, trigger or f"approval:{version.id}")


def deliver(repositories: Repositories, version: ModelVersion, *, actor: str, endpoint: str = "") -> list[Run]:
    """Start the rollouts of a version that may be released, on its endpoints or one of them, the way its reviewer chose."""
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    standing = readiness.check_ready(metadata, version, "a delivery", now_us=now_us)
    if not version.bundle:
        raise Refused(f"{version.id} cannot be served: {version.unservable or 'it has no bundle'}", version=version.id)
    targets = [each for each in registered_models.endpoints(metadata, version.model) if endpoint in ("", each.name)]
    if not targets:
        raise NotFound(f"model {version.model!r} has no endpoint{f' {endpoint!r}' if endpoint else ''}; declare one in the project and `rota apply`")
    delivery = plain(standing.delivery) if standing.delivery else None
    runs = [rollout_run(each, version, now_us=now_us, trigger=f"person:{actor}", delivery=delivery) for each in targets]
    started = [run for run in runs if repositories.runs.submit(run, _delivered(version, run, actor=actor))]
    if not started:
        raise Refused(
            f"{version.id} was delivered before, by {runs[0].id}; a version is delivered once, `rota rollback` returns to an earlier champion"
        )
    return started


def _delivered(version: ModelVersion, run: Run, *, actor: str) -> Batch:
    batch = Batch()
    batch.audit(actor, "version.deliver", version.id, run.created_us, run=run.id, endpoint=run.subject)
    return batch


def _deployed(metadata: Metadata, environment: str) -> list[Deployed]:
    return metadata.find(Deployed, {"environment": environment})


def _active_rollout(metadata: Metadata, model: str) -> Rollout | None:
    for endpoint in metadata.find(Endpoint, {"model": model}):
        for rollout in metadata.find(Rollout, {"endpoint": endpoint.name}, order="-started_us", limit=1):
            if rollout.ended_us is None:
                return rollout
    return None


def _rows_since(metadata: Metadata, source: str, since_us: Micros, newest: Event) -> int:
    """Rows of a source that arrived after a moment, up to and with the newest event."""
    rows, position = 0, 0
    while events := metadata.events(position):
        rows += sum(
            int(e.body["rows"])
            for e in events
            if e.kind == "data.arrived" and e.subject == source and e.at_us > since_us and e.position <= newest.position
        )
        position = events[-1].position
    return rows


RULES: Mapping[str, tuple[Callable[[Loop, Event], Reaction], ...]] = {
    "schedule.fired": (_train_on_schedule, _monitor_on_schedule),
    "data.arrived": (_train_on_new_data,),
    "alert.raised": (_train_on_alert, _tell_people),
    "alert.lasting": (_train_on_alert,),
    "version.registered": (_review_by_policy, _adopt),
    "risk.answered": (_review_by_policy,),
    "version.approved": (_start_rollout,),
}
