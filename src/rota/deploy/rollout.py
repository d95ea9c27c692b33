"""The rollout: shadow, canary steps, promotion or rollback, as one durable run.

(state, verdict)          -> state          traffic of the candidate
(none,   no champion)     -> promoted       100 %
(none,   champion)        -> shadow         0 %, mirrored (only when the strategy asks for it)
(shadow, pass)            -> canary         first step, still mirrored for a paired comparison
(canary, pass)            -> canary         next step
(canary, pass, last step) -> promoted       100 %, alias champion moves
(any,    fail, or broken) -> rolled_back    0 %
(any,    inconclusive)    -> same           one more hold, up to `patience`, then rolled_back
(any,    pause)           -> same           the split stays and nothing is judged until resume; the hold goes on where it stopped
(any,    abort)           -> rolled_back    0 %

A stage is inconclusive, whatever the log says for it, while its prediction processes do not serve it.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from rota.deploy import judge, turns
from rota.deploy.releases import await_convergence, current_release, next_release
from rota.deploy.rollout_commands import TakenCommands
from rota.durable.workflow import Context, StepWork
from rota.errors import LostLease, NotFound, Refused, Unavailable
from rota.manage.governance import readiness
from rota.manage.models import model_aliases, model_versions, out_of_service, strategies
from rota.manage.repositories import Repositories
from rota.records.check import CheckResult, combined
from rota.records.model import CHAMPION, Alias, ModelVersion
from rota.records.record import plain
from rota.records.release import Canary, Endpoint, Release, Rollout, RolloutState, Route
from rota.records.signal import Event
from rota.records.time import HOUR_US, Micros, iso, micros

logger = logging.getLogger("rota.deploy")


@dataclass(frozen=True, slots=True)
class RolloutWorkflow:
    """Delivers one version to one endpoint. `bring_online` brings online what the features of a version lack, before traffic comes."""

    repositories: Repositories
    prediction_processes: int = 1
    bring_online: Callable[[ModelVersion], object] = lambda _: None

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        endpoint = delivered(self._endpoint(arguments["endpoint"]), arguments.get("delivery"))
        version = model_versions.get(self.repositories.metadata, arguments["model"], arguments["number"])
        self._await_turn(context)
        begun = context.step("start", lambda work: self._start(work, endpoint, version))
        if begun["champion"] == 0:
            return self._promote(context, endpoint, version, "first version, nothing to compare with")
        try:
            reason = self._stages(context, endpoint, version)
        except (LostLease, Unavailable):  # another worker's turn, or an engine that is away: neither is a verdict
            raise
        except Exception as error:  # a candidate that cannot be judged must not keep its share of the traffic
            logger.exception("rollout broke", extra={"action": "rollout_broke", "run": context.run.id})
            reason = f"the rollout broke: {type(error).__name__}: {error}"
        if reason:
            return self._roll_back(context, endpoint, version, reason)
        return self._promote(context, endpoint, version, "every step passed")

    def _stages(self, context: Context, endpoint: Endpoint, version: ModelVersion) -> str:
        """Walk through the stages; the reason to roll back, or "" when all passed."""
        commands = TakenCommands(context, self.repositories.metadata)
        for number, (state, weight, hold_us) in enumerate(_stages(endpoint)):
            if reason := self._stage(commands, endpoint, version, (number, state, weight, hold_us)):
                return reason
        return ""

    def _endpoint(self, name: str) -> Endpoint:
        endpoint = self.repositories.metadata.get(Endpoint, name)
        if endpoint is None:
            raise NotFound(f"there is no endpoint {name!r}; declare it in the project and `rota apply`", endpoint=name)
        return endpoint

    def _await_turn(self, context: Context) -> None:
        """One rollout an endpoint, in the order of delivery: a later one waits until the one before it has ended, and is woken then."""
        look = 0
        while True:
            seen = context.step(f"look {look}", lambda work: {"busy": turns.before(self.repositories, work.run), "at_us": work.now_us})
            if not seen["busy"]:
                return
            ended = turns.signal_of(seen["busy"])
            context.sleep_unless(seen["at_us"] + HOUR_US, ended, partial(self._signalled, context.run.id, ended))
            look += 1

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
        stages = _stages(endpoint) if champion else []
        first = stages[0][0] if stages else "canary"
        work.batch.put(Rollout(work.run.id, endpoint.name, version.model, version.number, number, first, 0, work.now_us))
        work.used(f"model_version:{version.id}", *(readiness.approval_node(approval) for approval in released.approvals))
        work.made(f"rollout:{work.run.id}")
        _announce(work, endpoint, first, f"version {version.number} begins")
        return {"champion": number}

    def _stage(self, commands: TakenCommands, endpoint: Endpoint, version: ModelVersion, stage: tuple[int, RolloutState, int, Micros]) -> str:
        """Set the traffic, hold, judge; the reason to roll back, or "" to go on."""
        context = commands.context
        number, state, weight, hold_us = stage
        label = f"{number} {state} {weight}%"
        set_at = context.step(f"traffic {label}", lambda work: self._set_traffic(work, endpoint, version, stage))
        seen = context.step(f"converged {label}", lambda _: self._converged(set_at["release"]))
        if seen["refused"]:
            return str(seen["refused"])
        for hold in range(endpoint.rollout.patience + 1):
            if aborted := commands.hold_until(set_at["at_us"] + hold_us * (hold + 1)):
                return aborted
            if not seen["converged"]:
                seen = context.step(f"converged {label} hold {hold}", lambda _: self._converged(set_at["release"]))
            if seen["refused"]:
                return str(seen["refused"])
            outcome = context.step(f"judge {label} hold {hold}", partial(self._judge, endpoint=endpoint, label=label, seen=seen))
            if outcome["outcome"] == "fail":
                return str(outcome["reason"])
            if outcome["outcome"] == "pass":
                return ""
        return f"still inconclusive after {endpoint.rollout.patience + 1} holds of {label}, so not judged: {outcome['reason']}"

    def _converged(self, release: Mapping[str, Any]) -> dict[str, Any]:
        return await_convergence(self.repositories.metadata, release, self.prediction_processes)

    def _set_traffic(self, work: StepWork, endpoint: Endpoint, version: ModelVersion, stage: tuple[int, RolloutState, int, Micros]) -> dict[str, Any]:
        number, state, weight, _ = stage
        champion = model_aliases.aliased_version(self.repositories.metadata, version.model)
        assert champion is not None
        routes = [_route(champion, "stable", 100 - weight)]
        if weight:
            routes.append(_route(version, "canary", weight))
        routes.append(_route(version, "shadow", 0))
        release = self._release(work, endpoint, tuple(routes))
        rollout = self._rollout(work)
        work.batch.put(msgspec.structs.replace(rollout, state=state, step=number), replacing=rollout)
        _announce(work, endpoint, state, f"version {version.number} gets {weight} % of the traffic")
        return {"at_us": work.now_us, "release": plain(release)}

    def _judge(self, work: StepWork, *, endpoint: Endpoint, label: str, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Judge a stage; while prediction processes do not serve it, nothing that the log holds can speak for it, only against it."""
        rollout = self._rollout(work)
        verdicts = judge.examine(self.repositories, endpoint, rollout, now_us=work.now_us)
        if not seen["converged"]:
            verdicts.append(_unconverged(seen, self.prediction_processes))
        outcome, reason = combined(verdicts)
        entry = {"at_us": work.now_us, "stage": label, "outcome": outcome, "verdicts": [plain(verdict) for verdict in verdicts]}
        work.batch.put(msgspec.structs.replace(rollout, history=(*rollout.history, entry)), replacing=rollout)
        work.batch.audit("judge", f"rollout.{outcome}", work.run.id, work.now_us, stage=label, reason=reason)
        return {"outcome": outcome, "reason": reason}

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
            self._end(work, endpoint, "promoted", reason)
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

    def _release(self, work: StepWork, endpoint: Endpoint, routes: tuple[Route, ...]) -> Release:
        before = current_release(self.repositories.metadata, endpoint.name)
        release = next_release(before, endpoint, routes, now_us=work.now_us, rollout=work.run.id)
        work.batch.create(release)
        work.made(f"release:{endpoint.name}@{release.revision}")
        return release

    def _rollout(self, work: StepWork) -> Rollout:
        rollout = self.repositories.metadata.get(Rollout, work.run.id)
        assert rollout is not None
        return rollout

    def _end(self, work: StepWork, endpoint: Endpoint, state: RolloutState, reason: str) -> None:
        rollout = self._rollout(work)
        ended = msgspec.structs.replace(rollout, state=state, ended_us=work.now_us, reason=reason)
        work.batch.put(ended, replacing=rollout)
        _announce(work, endpoint, state, f"version {rollout.candidate}: {reason}")


def delivered(endpoint: Endpoint, delivery: Mapping[str, Any] | None) -> Endpoint:
    """The endpoint with the strategy that the reviewer chose; its analyses and its unit of traffic stay unless the review names others."""
    if not delivery:
        return endpoint
    return msgspec.structs.replace(endpoint, rollout=strategies.chosen(endpoint.rollout, msgspec.convert(delivery, Canary)))


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


def _stages(endpoint: Endpoint) -> list[tuple[RolloutState, int, Micros]]:
    """(state, percent, hold) of each stage in order."""
    strategy = endpoint.rollout
    shadow_us = micros(strategy.shadow)
    stages: list[tuple[RolloutState, int, Micros]] = [("shadow", 0, shadow_us)] if shadow_us else []
    return stages + [("canary", weight, micros(strategy.hold)) for weight in strategy.steps]


def _route(version: ModelVersion, role: Any, weight: int) -> Route:
    return Route(version.model, version.number, version.bundle, role, weight)


def _announce(work: StepWork, endpoint: Endpoint, state: RolloutState, message: str) -> None:
    body = {"endpoint": endpoint.name, "state": state, "message": message, "at": iso(work.now_us)}
    work.batch.event(Event("rollout.changed", work.run.id, work.now_us, body))
