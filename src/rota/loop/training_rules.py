"""Rules that start training runs: schedules, new data, alerts, and people."""

from collections.abc import Sequence
from itertools import takewhile

import msgspec

from rota.errors import Refused
from rota.loop.context import LoopContext, Reaction
from rota.manage.signals import event_reading
from rota.ports.metadata import Batch, Metadata
from rota.records.release import Endpoint, Rollout
from rota.records.run import Deployed, Run, RunQuery, Trigger
from rota.records.signal import Alert, ArrivalCount, Event
from rota.records.time import Micros, iso, micros
from rota.train import triggers


def start_training(context: LoopContext, pipeline: str, trigger: Trigger, *, cause: str, run_id: str) -> Reaction:
    """A training run for this cause, or an audit entry that says why not."""
    repositories = context.repositories
    now_us = repositories.clock.now_us()
    deployed = repositories.metadata.get(Deployed, pipeline, context.environment)
    if deployed is None:
        raise Refused(f"pipeline {pipeline!r} is not deployed in environment {context.environment!r}; `rota apply` deploys it", pipeline=pipeline)
    if trigger.kind != "manual" and repositories.runs.get(run_id):  # begun for this very cause by a worker that did not get to store why
        return _training(pipeline, context.environment, cause=cause, run_id=run_id, now_us=now_us)
    definition = deployed.definition
    recent = repositories.runs.find(RunQuery("train", pipeline))
    decision = triggers.decide(definition, trigger, recent, now_us=now_us, alert_kinds=_alert_kinds(repositories.metadata, trigger, recent))
    delivering = _active_rollout(repositories.metadata, pipeline)
    if decision.start and delivering and trigger.kind != "manual":
        decision = triggers.TriggerDecision(False, f"version {delivering.candidate} is still being rolled out")
    if not decision.start:
        batch = Batch()
        batch.audit("rota", "trigger.skip", pipeline, now_us, trigger=cause, reason=decision.reason)
        return Reaction(batch=batch)
    return _training(pipeline, context.environment, cause=cause, run_id=run_id, now_us=now_us)


def _training(pipeline: str, environment: str, *, cause: str, run_id: str, now_us: Micros) -> Reaction:
    """The run, and the lineage edge from its cause."""
    batch = Batch()
    batch.link(f"run:{run_id}", [cause], now_us)
    return Reaction((Run(run_id, "train", pipeline, {"pipeline": pipeline, "environment": environment}, now_us, cause),), batch)


def train_on_schedule(context: LoopContext, event: Event) -> Reaction:
    """A run of the pipeline whose schedule fired."""
    room, _, rest = event.subject.partition("/")
    if room != "train":
        return Reaction()
    pipeline, _, number = rest.rpartition("/")
    deployed = context.repositories.metadata.get(Deployed, pipeline, context.environment)
    if deployed is None:
        return Reaction()
    trigger = deployed.definition.triggers[int(number)]
    tick = iso(event.body["tick_us"])
    return start_training(context, pipeline, trigger, cause=f"schedule:{trigger.spec} at {tick}", run_id=f"train.{pipeline}.{event.position}")


def train_on_new_data(context: LoopContext, event: Event) -> Reaction:
    """A run for each pipeline whose labels come from this source and whose trigger has seen enough rows since its last run."""
    runs, batch = list[Run](), Batch()
    for deployed in _deployed(context):
        trigger = next((t for t in deployed.definition.triggers if t.kind == "new_data"), None)
        if trigger is None or deployed.definition.dataset.labels.name != event.subject:
            continue
        recent, now_us = context.repositories.runs.find(RunQuery("train", deployed.pipeline)), context.repositories.clock.now_us()
        since_us = next((run.created_us for run in recent if run.created_us <= now_us), 0)  # one dated later is from before the clock was set back
        count = _arrived(context.repositories.metadata, deployed.pipeline, event, since_us)
        batch.put(count)
        if count.rows < trigger.rows:
            continue
        cause, run_id = f"new_data:{event.subject}@{event.position}", f"train.{deployed.pipeline}.{event.position}"
        reaction = start_training(context, deployed.pipeline, trigger, cause=cause, run_id=run_id)
        runs += reaction.runs
        batch.audits += reaction.batch.audits
        batch.edges += reaction.batch.edges
    return Reaction(tuple(runs), batch)


def train_on_alert(context: LoopContext, event: Event) -> Reaction:
    """A run for each pipeline with a trigger for such an alert.

    An alert that goes on after its training was refused, or that a new version did not end, starts the next one when triggers
    allow it.
    """
    runs, batch = list[Run](), Batch()
    alert = context.repositories.metadata.get(Alert, event.subject)
    if alert is None or alert.status == "resolved":
        return Reaction()
    for deployed in _deployed(context):
        endpoint = context.repositories.metadata.get(Endpoint, str(event.body["endpoint"]))
        trigger = next((t for t in deployed.definition.triggers if t.kind == "alert" and t.spec == event.body["kind"]), None)
        if trigger is None or endpoint is None or endpoint.model != deployed.pipeline:
            continue
        run_id = f"train.{deployed.pipeline}.{event.position}"
        reaction = _judged_first(context, alert, trigger, deployed.pipeline) or start_training(
            context, deployed.pipeline, trigger, cause=f"alert:{event.subject}", run_id=run_id
        )
        runs += reaction.runs
        batch.audits += reaction.batch.audits
        batch.edges += reaction.batch.edges
    return Reaction(tuple(runs), batch)


def _judged_first(context: LoopContext, alert: Alert, trigger: Trigger, pipeline: str) -> Reaction | None:
    """A version promoted since the alert was raised serves for a cool-down before it is replaced: the alert still speaks of earlier days too."""
    metadata, now_us = context.repositories.metadata, context.repositories.clock.now_us()
    promoted = metadata.page(Rollout, {"endpoint": alert.endpoint, "state": "promoted"}, order="-started_us", limit=1).items
    ended_us = (promoted[0].ended_us or 0) if promoted else 0
    until_us = ended_us + micros(trigger.cooldown)
    if ended_us <= alert.raised_us or now_us >= until_us or ended_us > now_us:
        return None
    batch = Batch()
    reason = f"version {promoted[0].candidate} was promoted at {iso(ended_us)} and is judged until {iso(until_us)}"
    batch.audit("rota", "trigger.skip", pipeline, now_us, trigger=f"alert:{alert.id}", reason=reason)
    return Reaction(batch=batch)


def _alert_kinds(metadata: Metadata, trigger: Trigger, recent: Sequence[Run]) -> dict[str, str]:
    """The kind of each alert that started a run; of one that is gone nothing is known."""
    if trigger.kind != "alert":
        return {}
    named = {run.trigger.removeprefix("alert:") for run in recent if run.trigger.startswith("alert:")}
    return {name: alert.kind for name in named if (alert := metadata.get(Alert, name)) is not None}


def _deployed(context: LoopContext) -> list[Deployed]:
    return context.repositories.metadata.find(Deployed, {"environment": context.environment})


def _active_rollout(metadata: Metadata, model: str) -> Rollout | None:
    for endpoint in metadata.find(Endpoint, {"model": model}):
        for rollout in metadata.page(Rollout, {"endpoint": endpoint.name}, order="-started_us", limit=1).items:
            if rollout.ended_us is None:
                return rollout
    return None


def _arrived(metadata: Metadata, pipeline: str, newest: Event, since_us: Micros) -> ArrivalCount:
    """Rows of a source that arrived after a moment, up to and with the newest event; goes on where the last count ended."""
    count = metadata.get(ArrivalCount, pipeline, newest.subject) or ArrivalCount(pipeline, newest.subject)
    if count.since_us != since_us:
        start = count.start if since_us > count.since_us else 0
        count = ArrivalCount(pipeline, newest.subject, since_us, start, start)
    rows, start, position = count.rows, count.start, count.position
    fresh = event_reading.readable(metadata, position) if position < newest.position else iter(())
    for event in takewhile(lambda each: each.position <= newest.position, fresh):
        if event.at_us <= since_us:
            start = event.position if start == position else start
        elif event.kind == "data.arrived" and event.subject == newest.subject:
            rows += int(event.body["rows"])
        position = event.position
    return msgspec.structs.replace(count, rows=rows, start=start, position=position)
