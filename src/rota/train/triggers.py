"""Triggers: does this event start a run now? Coalesced, cooled down, budgeted, and stopped when retraining does not help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rota.manage.repositories import Repositories
from rota.records.condition import Condition
from rota.records.run import Deployed, Run, RunQuery, TrainingPipeline, Trigger
from rota.records.time import DAY_US, Micros, iso, micros

LOOKED_BACK = 1_000
"""Runs of a pipeline among which the refused ones in a row are looked for."""


@dataclass(frozen=True, slots=True)
class TriggerDecision:
    """Start a run, or not, and the sentence that says why."""

    start: bool
    reason: str


def decide(
    pipeline: TrainingPipeline, trigger: Trigger, recent: Sequence[Run], *, now_us: Micros, alert_kinds: Mapping[str, str] | None = None
) -> TriggerDecision:
    """May this trigger start a run? `recent` are the pipeline's runs, newest first; `alert_kinds` the kind of each alert that started one.

    One run at a time: a trigger during an active run coalesces into it. Then the cool-down, counted from the last run that this very
    trigger started (two schedules, or alerts of drift and of performance, have cool-downs of their own); the weekly budget; and the
    dead-man stop: after `give_up_after` refused models in a row only a person starts the next run. Runs that the clock, set back since,
    dates after now count for neither cool-down nor budget.
    """
    past = [run for run in recent if run.created_us <= now_us]
    active = next((run for run in recent if run.ended_us is None), None)
    if active is not None:
        return TriggerDecision(False, f"coalesced into active run {active.id}")
    if trigger.kind in ("manual", "code"):
        return TriggerDecision(True, "asked for")
    cooldown_us = micros(trigger.cooldown)
    last = next((run for run in past if _started_by(run, trigger, alert_kinds or {})), None)
    if last is not None and now_us < last.created_us + cooldown_us:
        return TriggerDecision(False, f"cooling down until {iso(last.created_us + cooldown_us)} after run {last.id}")
    this_week = sum(run.created_us > now_us - 7 * DAY_US for run in past)
    if this_week >= pipeline.max_runs_per_week:
        return TriggerDecision(False, f"weekly budget of {pipeline.max_runs_per_week} runs is used up")
    if _fruitless(recent) >= pipeline.give_up_after:
        return TriggerDecision(False, f"stopped: the last {pipeline.give_up_after} models were refused; start a run by hand when the cause is mended")
    return TriggerDecision(True, f"{trigger.kind} {trigger.spec}".strip())


def stopped_pipelines(repositories: Repositories, environment: str) -> list[Condition]:
    """Which deployed pipelines stopped themselves, as conditions: nobody retrains them until a person does."""
    found = []
    for deployed in repositories.metadata.find(Deployed, {"environment": environment}):
        definition, name = deployed.definition, f"pipeline:{deployed.pipeline}"
        recent = repositories.runs.page(RunQuery("train", deployed.pipeline), limit=LOOKED_BACK).items
        if not definition.triggers or _fruitless(recent) < definition.give_up_after:
            found.append(Condition(name, "well"))
            continue
        message = (
            f"training of {deployed.pipeline!r} stopped itself: the last {definition.give_up_after} models were refused; see why with "
            f"`rota runs show {recent[0].id}`, mend the cause and start a run by hand with `rota train {deployed.pipeline}`"
        )
        found.append(Condition(name, "degraded", message, {"newest_run": recent[0].id}))
    return found


def _started_by(run: Run, trigger: Trigger, alert_kinds: Mapping[str, str]) -> bool:
    kind, _, cause = run.trigger.partition(":")
    if kind != trigger.kind:
        return False
    if kind == "alert":
        return alert_kinds.get(cause, trigger.spec) == trigger.spec
    expression, _, tick = cause.rpartition(" at ")
    return kind != "schedule" or not tick or expression in ("", trigger.spec)


def _fruitless(recent: Sequence[Run]) -> int:
    """How many models were refused in a row, back to the last run that made a version or that a person started.

    A run that failed or was cancelled says nothing about models: it neither counts nor ends the row.
    """
    count = 0
    for run in recent:
        if run.status == "succeeded" or run.trigger == "manual":
            break
        count += run.status == "blocked"
    return count
