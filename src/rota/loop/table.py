"""The loop: which event starts what. The only text in which the circle is closed.

    event               condition                                    reaction
    schedule.fired      a pipeline's schedule trigger                run "train"
    schedule.fired      a monitor's schedule                         run "monitor"
    data.arrived        enough new rows for a new_data trigger       run "train"
    alert.raised        a pipeline has an on_alert trigger for it    run "train"
    alert.lasting       as alert.raised, and it is still open        run "train"
    alert.raised        always                                       the alert goes to the sinks
    version.registered  policy automatic, a gate passed, risk clear  approval by policy
    risk.answered       as version.registered                        approval by policy
    version.registered  it has files and no bundle yet               run "adopt"
    run.finished        it is a rollout's run                        who waits for its turn is woken; what it left undone is undone
    version.withdrawn   always                                       off its endpoints by a release of the version before; its rollout aborted
    rollout.changed     a version out of service is routed           likewise
    version.approved    policy not manual, reviewer wants a rollout  run "rollout"; of a version without a bundle run "adopt" first

A trigger that does not start a run says why in the audit log. Every reaction commits together with the cursor over the
event log, and the runs it starts have ids derived from the event: each event acts once, whoever handles it.
"""

from collections.abc import Callable, Mapping

from rota.loop import monitoring_rules, release_rules, training_rules
from rota.loop.context import LoopContext, Reaction
from rota.records.signal import Event

RULES: Mapping[str, tuple[Callable[[LoopContext, Event], Reaction], ...]] = {
    "schedule.fired": (training_rules.train_on_schedule, monitoring_rules.monitor_on_schedule),
    "data.arrived": (training_rules.train_on_new_data,),
    "alert.raised": (training_rules.train_on_alert, monitoring_rules.notify_sinks),
    "alert.lasting": (training_rules.train_on_alert,),
    "version.registered": (release_rules.approve_by_policy, release_rules.adopt_foreign_model),
    "risk.answered": (release_rules.approve_by_policy,),
    "run.finished": (release_rules.end_rollout,),
    "version.approved": (release_rules.start_rollout,),
    "version.withdrawn": (release_rules.withdraw_version,),
    "rollout.changed": (release_rules.withdraw_version,),
}
