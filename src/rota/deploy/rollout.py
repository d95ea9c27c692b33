"""The rollout: shadow, canary steps, promotion or rollback, as one durable run.

(state, verdict)          -> state          traffic of the candidate
(none,   no champion)     -> promoted       100 %
(none,   champion)        -> shadow         0 %, mirrored (only when the strategy asks for it)
(shadow, pass)            -> canary         first step, still mirrored for a paired comparison
(canary, pass)            -> canary         next step
(canary, pass, last step) -> promoted       100 %, alias champion moves
(any,    fail, or broken) -> rolled_back    0 %
(any,    inconclusive)    -> same           held on and judged again
(any,    inconclusive, `max_duration` over) what `on_inconclusive` says: held with an alert and judged on, promoted, or rolled_back
(held,   later delivery)  -> rolled_back    0 %, superseded by name
(any,    pause)           -> same           the split stays and nothing is judged until resume; the hold goes on where it stopped
(any,    promote)         -> promoted       100 %, by a person
(any,    abort)           -> rolled_back    0 %

A stage is inconclusive, whatever the log says for it, while its prediction processes do not serve it.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import msgspec

from rota.deploy import experiment_judge, experiment_plan, judge, metric_hours, rollout_commands, rollout_plan, turns, undecided
from rota.deploy.experiment_judge import ExperimentLook
from rota.deploy.releases import await_convergence, current_release, next_release
from rota.deploy.rollout_commands import TakenCommands
from rota.durable.workflow import Context, StepWork
from rota.errors import LostLease, NotFound, Refused, Unavailable
from rota.manage.governance import readiness
from rota.manage.models import delivery_stages, model_aliases, model_versions, out_of_service, strategies
from rota.manage.models.delivery_stages import Stage
from rota.manage.models.own_metrics import TeamMetrics
from rota.manage.repositories import Repositories
from rota.records.check import CheckResult, combined, waiting_for
from rota.records.model import CHAMPION, Alias, ModelVersion
from rota.records.record import plain
from rota.records.release import Canary, Endpoint, HeaderRoute, Release, Rollout, RolloutCommand, RolloutState, Route
from rota.records.signal import Event
from rota.records.time import HOUR_US, Micros, iso

logger = logging.getLogger("rota.deploy")

STRATEGY = "strategy"
"""Who pauses a rollout at a step that waits for a person."""
KEPT_LOOKS = 20
"""Looks at an undecided stage that are kept whole in its rollout."""


@dataclass(frozen=True, slots=True)
class End:
    """How a rollout ends, and why; of an experiment which version won it."""

    state: Literal["promoted", "rolled_back"]
    reason: str
    winner: int = 0


@dataclass(frozen=True, slots=True)
class RolloutWorkflow:
    """Delivers one version to one endpoint. `bring_online` brings online what the features of a version lack, before traffic comes.

    `own_metrics` finds the metrics of a team's own that a model has, and where they are called.
    """

    repositories: Repositories
    prediction_processes: int = 1
    bring_online: Callable[[ModelVersion], object] = lambda _: None
    own_metrics: Callable[[str, Callable[[], bool]], TeamMetrics | None] = lambda _model, _stopped: None

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = delivered(self._endpoint(arguments["endpoint"]), arguments.get("delivery"))
        version = model_versions.get(self.repositories.metadata, arguments["model"], arguments["number"])
        self._await_turn(context)
        begun = context.step("start", lambda work: self._start(work, endpoint, version))
        if begun["champion"] == 0:
            return self._promote(context, endpoint, version, "first version, nothing to compare with")
        if "strategy" in begun:
            endpoint = msgspec.structs.replace(endpoint, rollout=msgspec.convert(begun["strategy"], Canary))
        try:
            end = self._stages(context, endpoint, version)
        except (LostLease, Unavailable):  # another worker's turn, or an engine that is away: neither is a verdict
            raise
        except Exception as error:  # a candidate that cannot be judged must not keep its share of the traffic
            logger.exception("rollout broke", extra={"action": "rollout_broke", "run": context.run.id})
            end = End("rolled_back", f"the rollout broke: {type(error).__name__}: {error}")
        if end.state == "rolled_back":
            return self._roll_back(context, endpoint, version, end.reason)
        won = end.winner and end.winner != version.number
        promoted = model_versions.get(self.repositories.metadata, version.model, end.winner) if won else version
        return self._promote(context, endpoint, promoted, end.reason)

    def _stages(self, context: Context, endpoint: Endpoint, version: ModelVersion) -> End:
        """Walk through the stages until one ends the rollout or all have passed."""
        commands = TakenCommands(context, self.repositories.metadata)
        for stage in delivery_stages.stages(endpoint.rollout):
            if end := self._stage(commands, endpoint, version, stage):
                return end
        return End("promoted", "every step passed")

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self.repositories.metadata.get(Endpoint, name)
        if endpoint is None:
            raise NotFound(f"there is no endpoint {name!r}; declare it in the project and `rota apply`", endpoint=name)
        return endpoint

    def _await_turn(self, context: Context) -> None:
        """One rollout an endpoint, in the order of delivery: a later one waits until the one before it has ended, and is woken then."""
        look = 0
        while True:
            seen = context.step(f"look {look}", self._look_before)
            if not seen["busy"]:
                return
            ended = turns.signal_of(seen["busy"])
            context.sleep_unless(seen["at_us"] + HOUR_US, ended, partial(self._signalled, context.run.id, ended))
            look += 1

    def _look_before(self, work: StepWork) -> dict[str, Any]:
        busy = turns.before(self.repositories, work.run)
        turns.supersede(self.repositories, busy, work.run)
        return {"busy": busy, "at_us": work.now_us}

    def _signalled(self, run_id: str, signal: str) -> Any:
        return self.repositories.runs.signals(run_id).get(signal)

    def _start(self, work: StepWork, endpoint: Endpoint, version: ModelVersion) -> dict[str, Any]:
        released = readiness.check_ready(self.repositories.metadata, version, f"a rollout to {endpoint.name!r}", now_us=work.now_us)
        if not version.bundle:
            raise Refused(f"{version.id} cannot be served: {version.unservable or 'it has no bundle'}", version=version.id)
        out_of_service.check(self.repositories.metadata, version)
        self.bring_online(version)
        champion = model_aliases.aliased_version(self.repositories.metadata, version.model)
        number = champion.number if champion else 0
        turns.check_not_superseded(self.repositories.metadata, work.run, version)
        arms = self._arms(work, version, number)
        stages = delivery_stages.stages(endpoint.rollout) if champion else []
        first = stages[0].state if stages else "canary"
        strategy, plan, told = self._planned(endpoint, bool(stages), len(arms) + 1, now_us=work.now_us)
        rollout = Rollout(work.run.id, endpoint.name, version.model, version.number, number, first, 0, work.now_us, strategy=strategy)
        work.batch.put(msgspec.structs.replace(rollout, plan=plan, arms=arms))
        work.used(f"model_version:{version.id}", *(readiness.approval_node(approval) for approval in released.approvals))
        work.made(f"rollout:{work.run.id}")
        _announce(work, endpoint, first, f"version {version.number} begins{f'; {told}' if told else ''}")
        return {"champion": number, "strategy": plain(strategy)}

    def _arms(self, work: StepWork, version: ModelVersion, champion: int) -> tuple[int, ...]:
        """The further candidates of an experiment; each must be ready as the first one is."""
        arms = tuple(map(int, work.run.arguments.get("arms", ())))
        if arms and not champion:
            raise Refused(f"an experiment of {version.model!r} compares with its champion, and it has none; deliver a version first")
        for number in arms:
            other = model_versions.get(self.repositories.metadata, version.model, number)
            readiness.check_ready(self.repositories.metadata, other, "an experiment", now_us=work.now_us)
            out_of_service.check(self.repositories.metadata, other)
            self.bring_online(other)
            work.used(f"model_version:{other.id}")
        return arms

    def _planned(self, endpoint: Endpoint, is_judged: bool, arms: int, *, now_us: Micros) -> tuple[Canary, dict[str, Any], str]:
        """The strategy as it is begun, what it is expected to take, and that in a sentence."""
        strategy = endpoint.rollout
        if not is_judged:
            return strategy, {}, ""
        if strategy.experiment is not None:
            found = experiment_plan.of_endpoint(self.repositories, endpoint, now_us=now_us, arms=arms)
            return experiment_plan.with_units(strategy, found), experiment_plan.as_plain(found), experiment_plan.told(found)
        plan = rollout_plan.of_endpoint(self.repositories, endpoint, now_us=now_us)
        return strategy, rollout_plan.as_plain(plan), rollout_plan.told(plan)

    def _stage(self, commands: TakenCommands, endpoint: Endpoint, version: ModelVersion, stage: Stage) -> End | None:
        """Set the traffic, hold, judge, as often as it takes; how the rollout ends, or None to go on."""
        context, label, strategy = commands.context, stage.label, endpoint.rollout
        set_at = context.step(f"traffic {label}", lambda work: self._set_traffic(work, endpoint, version, stage))
        seen = context.step(f"converged {label}", lambda _: self._converged(set_at["release"]))
        if seen["refused"]:
            return End("rolled_back", str(seen["refused"]))
        hold, judge_us, release = 0, set_at["at_us"] + stage.hold_us, set_at["release"]
        while True:
            command = commands.hold_until(judge_us)
            if command is not None and command.verb == "resume":
                commands.renew(command.at_us)
                context.step(f"waits on {label} {commands.taken}", partial(self._wait_on, command=command))
                judge_us = command.at_us + stage.hold_us
                continue
            if command is not None:
                return End("promoted" if command.verb == "promote" else "rolled_back", rollout_commands.told(command))
            if not seen["converged"]:
                seen = context.step(f"converged {label} hold {hold}", partial(self._served, release=release))
            if seen["refused"]:
                return End("rolled_back", str(seen["refused"]))
            judged = partial(self._judge, endpoint=endpoint, stage=stage, seen=seen, commands=commands)
            outcome = context.step(f"judge {label} hold {hold}", judged)
            if outcome["outcome"] == "pass" and outcome.get("winner"):
                return End("promoted", str(outcome["reason"]), int(outcome["winner"]))
            if outcome["outcome"] == "pass":
                if outcome.get("was_held"):
                    commands.renew(outcome["at_us"])
                return None
            if end := self._decided(context, endpoint, f"{label} hold {hold}", outcome):
                return end
            if split := outcome.get("split"):
                weights = {int(number): int(weight) for number, weight in split.items()}
                moved = partial(self._set_traffic, endpoint=endpoint, version=version, stage=stage, weights=weights)
                release = context.step(f"split {label} hold {hold}", moved)["release"]
                seen = context.step(f"converged split {label} hold {hold}", partial(self._served, release=release))
            hold, judge_us = hold + 1, _next_look(strategy, stage, set_at["at_us"], outcome, hold)

    def _decided(self, context: Context, endpoint: Endpoint, look: str, outcome: Mapping[str, Any]) -> End | None:
        """How a look that did not pass ends the rollout, or None to hold the stage on."""
        strategy, reason = endpoint.rollout, str(outcome["reason"])
        label, _, hold = look.rpartition(" hold ")
        if outcome["outcome"] == "fail":
            return End("rolled_back", reason)
        if strategy.patience is not None and int(hold) >= strategy.patience:
            return End("rolled_back", f"still inconclusive after {int(hold) + 1} holds of {label}, so not judged: {reason}")
        blocked = bool(outcome.get("is_blocked"))
        return self._undecided(context, endpoint, look, reason, blocked) if strategy.patience is None and outcome.get("is_over") else None

    def _undecided(self, context: Context, endpoint: Endpoint, label: str, reason: str, is_blocked: bool) -> End | None:
        """What the strategy wants of a candidate that is undecided when its time is over; None to hold it."""
        strategy = endpoint.rollout
        after = "not to be decided" if is_blocked else f"still undecided after {undecided.duration(delivery_stages.longest_us(strategy))}"
        why = f"{after}, so not judged: {reason}"
        if strategy.on_inconclusive == "promote":
            return End("promoted", f"{why} (on_inconclusive = 'promote')")
        if strategy.on_inconclusive == "roll_back":
            return End("rolled_back", why)
        done = context.step(f"held {label}", lambda work: self._hold(work, endpoint, is_blocked))
        return End("rolled_back", str(done["superseded"])) if done["superseded"] else None

    def _hold(self, work: StepWork, endpoint: Endpoint, is_blocked: bool) -> dict[str, Any]:
        if behind := turns.behind(self.repositories, work.run):
            return {"superseded": turns.superseded_by(behind)}
        rollout, strategy = self._rollout(work), endpoint.rollout
        held = undecided.hold(work.batch, self.repositories.metadata, rollout, strategy, now_us=work.now_us, is_blocked=is_blocked)
        _announce(work, endpoint, held.state, undecided.told(held, strategy, is_blocked=is_blocked))
        return {"superseded": ""}

    def _wait_on(self, work: StepWork, *, command: RolloutCommand) -> None:
        rollout, reason = self._rollout(work), f"{command.actor} lets it wait on"
        going = undecided.go_on(work.batch, self.repositories.metadata, rollout, actor=command.actor, reason=reason, now_us=work.now_us)
        if going != rollout:
            work.batch.put(going, replacing=rollout)

    def _served(self, _: StepWork, *, release: Mapping[str, Any]) -> dict[str, Any]:
        return self._converged(release)

    def _converged(self, release: Mapping[str, Any]) -> dict[str, Any]:
        return await_convergence(self.repositories.metadata, release, self.prediction_processes)

    def _set_traffic(
        self, work: StepWork, endpoint: Endpoint, version: ModelVersion, stage: Stage, weights: Mapping[int, int] | None = None
    ) -> dict[str, Any]:
        weight = stage.weight
        champion = model_aliases.aliased_version(self.repositories.metadata, version.model)
        assert champion is not None
        if (test := endpoint.rollout.experiment) is not None:
            candidates = self._rollout(work).candidates
            routes = self._arm_routes(version.model, candidates, weights or experiment_judge.split(test, champion.number, candidates))
            weight = 100 - routes[0].weight
        else:
            routes = [_route(champion, "stable", 100 - weight)]
            if weight or stage.headers:
                routes.append(_route(version, "canary", weight))
            if stage.is_mirrored:
                routes.append(_route(version, "shadow", 0))
        before = current_release(self.repositories.metadata, endpoint.name)
        headers = tuple(HeaderRoute(match, version.number) for match in stage.headers)
        is_there = before is not None and before.rollout == work.run.id and (before.routes, before.headers) == (tuple(routes), headers)
        release = before if before is not None and is_there else self._release(work, endpoint, tuple(routes), headers)
        rollout = self._rollout(work)
        commands = rollout.commands
        by_version = ", ".join(f"version {route.number} {route.weight} %" for route in routes) if endpoint.rollout.experiment else ""
        if stage.waits:
            commands += (RolloutCommand("pause", STRATEGY, f"step {stage.number} waits until somebody resumes", work.now_us),)
        work.batch.put(msgspec.structs.replace(rollout, state=stage.state, step=stage.number, commands=commands), replacing=rollout)
        by_header = "".join(f" and the requests with {match}" for match in stage.headers)
        _announce(work, endpoint, stage.state, by_version or f"version {version.number} gets {weight} % of the traffic{by_header}")
        return {"at_us": work.now_us, "release": plain(release)}

    def _judge(self, work: StepWork, *, endpoint: Endpoint, stage: Stage, seen: Mapping[str, Any], commands: TakenCommands) -> dict[str, Any]:
        """Judge a stage; while prediction processes do not serve it, nothing that the log holds can speak for it, only against it."""
        rollout = self._rollout(work)
        look = self._look(work, endpoint, rollout, stage)
        verdicts, outcome, reason = list(look.results), look.outcome, look.reason
        if not seen["converged"]:
            verdicts.append(_unconverged(seen, self.prediction_processes))
            outcome, reason = ("fail", reason) if outcome == "fail" else combined(verdicts[-1:])
        if unready := self._unready(rollout, look.winner, now_us=work.now_us) if outcome == "pass" else None:
            verdicts, outcome, reason = [*verdicts, unready], unready.outcome, unready.message
        release = current_release(self.repositories.metadata, endpoint.name)
        entry = {"at_us": work.now_us, "stage": stage.label, "outcome": outcome, "verdicts": [plain(verdict) for verdict in verdicts]}
        entry["revision"] = release.revision if release is not None else 0
        judged = msgspec.structs.replace(rollout, history=_with_entry(rollout.history, entry), missing=waiting_for(verdicts))
        if outcome == "pass" and rollout.held_us is not None:
            judged = undecided.go_on(work.batch, self.repositories.metadata, judged, actor=work.run.id, reason=reason, now_us=work.now_us)
        work.batch.put(judged, replacing=rollout)
        work.batch.audit("judge", f"rollout.{outcome}", work.run.id, work.now_us, stage=stage.label, reason=reason)
        undecided_us = work.now_us - max(rollout.started_us, commands.renewed_us) - commands.paused_us
        is_over = rollout.held_us is None and (look.is_blocked or undecided_us >= delivery_stages.longest_us(endpoint.rollout))
        found = {"outcome": outcome, "reason": reason, "at_us": work.now_us, "is_over": is_over, "was_held": rollout.held_us is not None}
        if endpoint.rollout.experiment is None:
            return found
        return {
            **found,
            "is_blocked": look.is_blocked,
            "winner": look.winner,
            "split": {str(number): weight for number, weight in (look.split or {}).items()},
        }

    def _look(self, work: StepWork, endpoint: Endpoint, rollout: Rollout, stage: Stage) -> ExperimentLook:
        if endpoint.rollout.experiment is not None:
            return experiment_judge.examine(self.repositories, endpoint, rollout, now_us=work.now_us)
        verdicts = self._verdicts(work, endpoint, rollout, stage)
        return ExperimentLook(tuple(verdicts), *combined(verdicts))

    def _unready(self, rollout: Rollout, winner: int, *, now_us: Micros) -> CheckResult | None:
        """Why the winner of an experiment cannot be promoted now: the approval of each version is its own, and may have ended since the start."""
        if not winner:
            return None
        try:
            version = model_versions.get(self.repositories.metadata, rollout.model, winner)
            readiness.check_ready(self.repositories.metadata, version, f"the promotion of {rollout.id}", now_us=now_us)
        except Refused as error:
            return CheckResult("approval", "inconclusive", f"version {winner} won and may not be promoted: {error}", "", str(error), "cannot")
        return None

    def _arm_routes(self, model: str, candidates: Sequence[int], weights: Mapping[int, int]) -> list[Route]:
        """The champion's route, then one for each candidate."""
        champion = next(number for number in weights if number not in candidates)
        numbers = (champion, *candidates)
        versions = [model_versions.get(self.repositories.metadata, model, number) for number in numbers]
        return [_route(each, "canary" if each.number in candidates else "stable", weights[each.number]) for each in versions]

    def _verdicts(self, work: StepWork, endpoint: Endpoint, rollout: Rollout, stage: Stage) -> list[CheckResult]:
        if not stage.is_judged:
            return [CheckResult("hold", "pass", "held as long as its step says; nothing is judged in it")]
        strategy = msgspec.structs.replace(endpoint.rollout, analysis=stage.analyses or endpoint.rollout.analysis)
        team = self.own_metrics(endpoint.model, work.stopped) if _asks_own(strategy) else None
        return judge.examine(self.repositories, msgspec.structs.replace(endpoint, rollout=strategy), rollout, now_us=work.now_us, team=team)

    def _promote(self, context: Context, endpoint: Endpoint, version: ModelVersion, reason: str) -> dict[str, Any]:
        def work_(work: StepWork) -> dict[str, Any]:
            release = self._release(work, endpoint, (_route(version, "stable", 100),))
            model_aliases.move(
                work.batch,
                self.repositories.metadata,
                Alias(version.model, CHAMPION, version.number, work.now_us, reason),
                actor=work.run.id,
                evidence=_verdicts(self._rollout(work)),
            )
            self._end(work, endpoint, "promoted", reason, winner=version.number)
            return {"state": "promoted", "reason": reason, "release": plain(release)}

        done: dict[str, Any] = context.step("promote", work_)
        served = context.step("converged promote", lambda _: self._converged(done["release"]))
        return {"state": "promoted", "reason": reason} | _not_served(served, self.prediction_processes)

    def _roll_back(self, context: Context, endpoint: Endpoint, version: ModelVersion, reason: str) -> dict[str, Any]:
        def work_(work: StepWork) -> dict[str, Any]:
            champion = model_aliases.aliased_version(self.repositories.metadata, version.model)
            assert champion is not None
            release = self._release(work, endpoint, (_route(champion, "stable", 100),))
            work.batch.audit("judge", "rollout.rollback", work.run.id, work.now_us, version=version.number, to=champion.number, reason=reason)
            self._end(work, endpoint, "rolled_back", reason)
            return {"release": plain(release)}

        done = context.step("roll back", work_)
        served = context.step("converged roll back", lambda _: self._converged(done["release"]))
        return {"state": "rolled_back", "reason": reason} | _not_served(served, self.prediction_processes)

    def _release(self, work: StepWork, endpoint: Endpoint, routes: tuple[Route, ...], headers: tuple[HeaderRoute, ...] = ()) -> Release:
        before = current_release(self.repositories.metadata, endpoint.name)
        salt = work.run.id if endpoint.rollout.experiment is not None else ""  # who was a treatment before is not one again by that
        release = next_release(before, endpoint, routes, now_us=work.now_us, rollout=work.run.id, headers=headers, salt=salt)
        work.batch.create(release)
        work.made(f"release:{endpoint.name}@{release.revision}")
        return release

    def _rollout(self, work: StepWork) -> Rollout:
        rollout = self.repositories.metadata.get(Rollout, work.run.id)
        assert rollout is not None
        return rollout

    def _end(self, work: StepWork, endpoint: Endpoint, state: RolloutState, reason: str, *, winner: int = 0) -> None:
        rollout = self._rollout(work)
        if winner and winner != rollout.candidate:
            arms = (rollout.candidate, *(number for number in rollout.arms if number != winner))
            over = msgspec.structs.replace(rollout, candidate=winner, arms=arms)
        else:
            over = rollout
        over = undecided.go_on(work.batch, self.repositories.metadata, over, actor=work.run.id, reason=reason, now_us=work.now_us)
        ended = msgspec.structs.replace(over, state=state, ended_us=work.now_us, reason=reason, missing="")
        work.batch.put(ended, replacing=rollout)
        _announce(work, endpoint, state, f"version {over.candidate}: {reason}")


def delivered(endpoint: Endpoint, delivery: Mapping[str, Any] | None) -> Endpoint:
    """The endpoint with the strategy that the reviewer chose; its analyses and its unit of traffic stay unless the review names others."""
    if not delivery:
        return endpoint
    return msgspec.structs.replace(endpoint, rollout=strategies.chosen(endpoint.rollout, msgspec.convert(delivery, Canary)))


def _asks_own(strategy: Canary) -> bool:
    """Whether an analysis names a metric of a team's own."""
    return any(analysis.kind == "metric" and not metric_hours.is_rotas(analysis.metric) for analysis in strategy.analysis)


def _next_look(strategy: Canary, stage: Stage, set_us: Micros, outcome: Mapping[str, Any], hold: int) -> Micros:
    """When an undecided stage is judged again; one begun by an older release, or with `patience`, at each hold."""
    if strategy.patience is not None or "at_us" not in outcome:
        return set_us + stage.hold_us * (hold + 2)
    at_us = int(outcome["at_us"])
    return at_us + delivery_stages.wait_us(stage, at_us - set_us)


def _unconverged(seen: Mapping[str, Any], processes: int) -> CheckResult:
    missing = _behind(seen, processes)
    return CheckResult("convergence", "inconclusive", f"not judged: {missing}", "", missing, "learning", rows=len(seen["processes"]))


def _behind(seen: Mapping[str, Any], processes: int) -> str:
    return f"{len(seen['processes'])} of {processes} prediction processes serve this release"


def _not_served(seen: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """What a finished rollout adds to its result where prediction processes were not seen to serve its release."""
    if seen["converged"]:
        return {}
    return {"not_served": str(seen["refused"]) or _behind(seen, processes)}


def _verdicts(rollout: Rollout) -> dict[str, Any]:
    """What a promotion rests on: the last judged step of each stage."""
    return {"rollout": rollout.id, "steps": {str(step["stage"]): dict(step) for step in rollout.history}}


def _with_entry(history: Sequence[Mapping[str, Any]], entry: dict[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The history with one entry more; a stage that stays undecided for long keeps its first looks and the last, which counts those left out."""
    looks = [each for each in history if each["stage"] == entry["stage"]]
    if entry["outcome"] == "inconclusive" and len(looks) > KEPT_LOOKS and not experiment_judge.is_planned_look(history[-1]):
        return (*history[:-1], entry | {"left_out": history[-1].get("left_out", 0) + 1})
    return (*history, entry)


def _route(version: ModelVersion, role: Any, weight: int) -> Route:
    return Route(version.model, version.number, version.bundle, role, weight)


def _announce(work: StepWork, endpoint: Endpoint, state: RolloutState, message: str) -> None:
    body = {"endpoint": endpoint.name, "state": state, "message": message, "at": iso(work.now_us)}
    work.batch.event(Event("rollout.changed", work.run.id, work.now_us, body))
