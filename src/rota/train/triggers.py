"""Triggers: does this event start a run now? Coalesced, cooled down, budgeted, and stopped when retraining does not help."""

from collections.abc import Sequence
from dataclasses import dataclass

from rota.records.run import Run, TrainingPipeline, Trigger
from rota.records.time import DAY_US, Micros, iso, micros


@dataclass(frozen=True, slots=True)
class TriggerDecision:
    """Start a run, or not, and the sentence that says why."""

    start: bool
    reason: str


def decide(pipeline: TrainingPipeline, trigger: Trigger, recent: Sequence[Run], *, now_us: Micros) -> TriggerDecision:
    """May this trigger start a run? `recent` are the pipeline's runs, newest first.

    One run at a time: a trigger during an active run coalesces into it. Then the cool-down, counted from the last run that a
    trigger of the same kind started; the weekly budget; and the dead-man stop: after `give_up_after` runs in a row without a
    new version only a person starts the next one.
    """
    active = next((run for run in recent if run.ended_us is None), None)
    if active is not None:
        return TriggerDecision(False, f"coalesced into active run {active.id}")
    if trigger.kind in ("manual", "code"):
        return TriggerDecision(True, "asked for")
    cooldown_us = micros(trigger.cooldown)
    last = next((run for run in recent if run.trigger.partition(":")[0] == trigger.kind), None)
    if last is not None and now_us < last.created_us + cooldown_us:
        return TriggerDecision(False, f"cooling down until {iso(last.created_us + cooldown_us)} after run {last.id}")
    this_week = sum(run.created_us > now_us - 7 * DAY_US for run in recent)
    if this_week >= pipeline.max_runs_per_week:
        return TriggerDecision(False, f"weekly budget of {pipeline.max_runs_per_week} runs is used up")
    if _fruitless(recent) >= pipeline.give_up_after:
        return TriggerDecision(False, f"stopped: the last {pipeline.give_up_after} runs made no version; start one by hand when the cause is mended")
    return TriggerDecision(True, f"{trigger.kind} {trigger.spec}".strip())


def _fruitless(recent: Sequence[Run]) -> int:
    """How many of the newest ended runs made no version, counted back to the last that did or that a person started."""
    count = 0
    for run in recent:
        if run.status == "succeeded" or run.trigger == "manual":
            break
        count += 1
    return count
