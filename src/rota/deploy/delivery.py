"""Delivering approved versions: each endpoint of the model gets one rollout run, by its strategy or the reviewer's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from rota.deploy import experiment_judge, experiment_plan, releases, rollout_commands, rollout_explanation, rollout_plan, rollout_states, withdrawal
from rota.deploy.experiment_plan import ExperimentPlan
from rota.deploy.rollout_explanation import RolloutExplanation
from rota.deploy.rollout_plan import RolloutPlan
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.governance import readiness
from rota.manage.models import model_aliases, model_versions, out_of_service, registered_models, strategies
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch
from rota.records.model import ModelVersion
from rota.records.record import plain
from rota.records.release import Endpoint, OutOfService, Release, Rollout
from rota.records.run import Run
from rota.records.time import Micros


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a verb: the state that the rollout has now or is about to have, and what the verb made."""

    id: str
    becomes: rollout_states.State
    rollout: Rollout | None = None
    retried: str = ""
    release: Release | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """A delivery of a version that was delivered before: the rollout that ended, and why it is tried again."""

    rollout: str
    reason: str


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Starts rollouts and rolls back, as people ask for it."""

    repositories: Repositories

    def deliver(self, model: str, number: int, *, endpoint: str = "", actor: str = "owner") -> list[str]:
        """Start the rollouts of an approved version and return the ids of their runs."""
        version = model_versions.live(self.repositories.metadata, model, number)
        return [run.id for run in deliver(self.repositories, version, actor=actor, endpoint=endpoint)]

    def command(self, rollout: str, verb: str, *, actor: str, reason: str = "") -> Asked:
        """Promote, abort, pause, resume, retry or undo a rollout: what its state allows; see `rollout_states`.

        Raises `InvalidInput` for an unknown verb or one without its reason, `NotFound` for an unknown rollout, `Refused` for a state without it.
        """
        wanted = rollout_states.verb_of(verb)
        if wanted == "retry":
            return Asked(rollout, "waiting", retried=self._retry(rollout, actor=actor, reason=reason).id)
        if wanted == "undo":
            return Asked(rollout, "replaced", release=self._undo(rollout, actor=actor, reason=reason))
        found = rollout_commands.give(self.repositories, rollout, wanted, actor=actor, reason=reason)
        return Asked(rollout, rollout_states.state_of(self.repositories.metadata, found), found)

    def plan(self, model: str, endpoint: str) -> RolloutPlan:
        """How long a rollout to an endpoint takes to decide, by the traffic that it has: of a model by the endpoint's strategy, of one of its
        versions ("MODEL@VERSION") by the one that its reviewer chose."""
        metadata, now_us = self.repositories.metadata, self.repositories.clock.now_us()
        found = self._endpoint(endpoint)
        strategy, name = found.rollout, model
        if "@" in model:
            version = model_versions.resolve(metadata, model)
            chosen = readiness.readiness(metadata, version, now_us=now_us).delivery
            strategy, name = strategies.chosen(strategy, chosen), version.model
        if strategy.experiment is not None:
            raise Refused(f"endpoint {endpoint!r} delivers by an experiment; `rota experiment plan {endpoint}` says what it takes", endpoint=endpoint)
        if name != found.model:
            raise InvalidInput(f"endpoint {endpoint!r} predicts with {found.model!r}, not with {name!r}", endpoint=endpoint, model=name)
        return rollout_plan.of_endpoint(self.repositories, msgspec.structs.replace(found, rollout=strategy), now_us=now_us)

    def experiment_plan(self, endpoint: str, *, arms: int = 1) -> ExperimentPlan:
        """How many units the experiment of an endpoint takes and how long; see `experiment_plan`."""
        return experiment_plan.of_endpoint(self.repositories, self._endpoint(endpoint), now_us=self.repositories.clock.now_us(), arms=arms)

    def start_experiment(self, endpoint: str, numbers: Sequence[int], *, actor: str) -> str:
        """Compare approved versions with an endpoint's champion by its experiment; the id of the rollout, which waits for its turn.

        Raises `Refused` for a strategy that is no experiment and a version that may not be released or is the champion; `InvalidInput` for none or
        one twice.
        """
        found, metadata, now_us = self._endpoint(endpoint), self.repositories.metadata, self.repositories.clock.now_us()
        if found.rollout.experiment is None:
            raise Refused(f"endpoint {endpoint!r} delivers by {found.rollout.strategy!r}; give it rollout=rota.ab_test(...) or rota.bandit(...)")
        if not 0 < len(numbers) <= experiment_plan.MOST_ARMS or len(set(numbers)) < len(numbers):
            most = experiment_plan.MOST_ARMS
            raise InvalidInput(f"versions {list(numbers)}: name 1 to {most} that are compared with the champion, each once", endpoint=endpoint)
        experiment_judge.check_arms(found.rollout.experiment, len(numbers))
        champion = model_aliases.aliased_version(metadata, found.model)
        versions = [model_versions.live(metadata, found.model, number) for number in numbers]
        for version in versions:
            readiness.check_ready(metadata, version, "an experiment", now_us=now_us)
            out_of_service.check(metadata, version)
            if champion is None or champion.number == version.number:
                raise Refused(f"{version.id} {'is the champion' if champion else 'has no champion to be compared with'}; name other versions")
        run = rollout_run(found, versions[0], now_us=now_us, trigger=f"person:{actor}")
        arguments = {**run.arguments, "arms": [version.number for version in versions[1:]]}
        tries = (f"experiment.{endpoint}.{number}" for number in count(1))
        run = msgspec.structs.replace(run, id=next(each for each in tries if self.repositories.runs.get(each) is None), arguments=arguments)
        self.repositories.runs.submit(run, _delivered(versions[0], run, actor=actor, again=None))
        return run.id

    def explain(self, rollout: str) -> RolloutExplanation:
        """Each decision of a rollout computed again from what was stored; see `rollout_explanation`."""
        return rollout_explanation.explain(self.repositories, rollout)

    def _endpoint(self, name: str) -> Endpoint:
        found = self.repositories.metadata.get(Endpoint, name)
        if found is None:
            raise NotFound(f"there is no endpoint {name!r}; `rota endpoints list` shows them", endpoint=name)
        return found

    def _retry(self, rollout: str, *, actor: str, reason: str) -> Run:
        """Deliver the version of a rollout that ended once more, with the strategy of today, as a rollout of its own."""
        r = self.repositories
        found = rollout_states.standing(r, rollout)
        rollout_states.check(found, "retry", reason)
        assert found.run is not None
        arguments = found.run.arguments
        version = model_versions.live(r.metadata, str(arguments["model"]), int(arguments["number"]))
        return deliver(r, version, actor=actor, endpoint=str(arguments["endpoint"]), again=Again(rollout, reason))[0]

    def _undo(self, rollout: str, *, actor: str, reason: str) -> Release:
        """Return the endpoint of a promoted rollout to the champion that it replaced."""
        found = rollout_states.standing(self.repositories, rollout)
        rollout_states.check(found, "undo", reason)
        assert found.rollout is not None
        return self.roll_back(found.rollout.endpoint, actor=actor, reason=reason)

    def return_to_service(self, model: str, number: int, *, actor: str, reason: str) -> tuple[OutOfService, list[Release]]:
        """Let a version that is out of service be served again; see `withdrawal.return_to_service`."""
        return withdrawal.return_to_service(self.repositories, model, number, actor=actor, reason=reason)

    def roll_back(self, endpoint: str, *, actor: str, reason: str) -> Release:
        """Return an endpoint at once to its previous champion; see `releases.roll_back`."""
        now_us = self.repositories.clock.now_us()
        return releases.roll_back(self.repositories.metadata, self._endpoint(endpoint), actor=actor, reason=reason, now_us=now_us)


def rollout_run(endpoint: Endpoint, version: ModelVersion, *, now_us: Micros, trigger: str = "", delivery: Mapping[str, Any] | None = None) -> Run:
    """The run that delivers a version to an endpoint, by its strategy or by `delivery` (a Canary as plain values).

    Its id makes delivering the same version twice by accident impossible; a retry has an id of its own.
    """
    arguments: dict[str, Any] = {"endpoint": endpoint.name, "model": version.model, "number": version.number}
    if delivery:
        arguments["delivery"] = dict(delivery)
    return Run(f"rollout.{endpoint.name}.{version.number}", "rollout", endpoint.name, arguments, now_us, trigger or f"approval:{version.id}")


def deliver(repositories: Repositories, version: ModelVersion, *, actor: str, endpoint: str = "", again: Again | None = None) -> list[Run]:
    """Start the rollouts of a version that may be released, on its endpoints or one of them, the way its reviewer chose.

    With `again` it is a retry: a rollout more of what was delivered before.

    Raises `Refused` for a version that is not approved, cannot be served, or was delivered before; `NotFound` when there is no
    such endpoint.
    """
    metadata, now_us = repositories.metadata, repositories.clock.now_us()
    approval = readiness.check_ready(metadata, version, "a delivery", now_us=now_us)
    if not version.bundle:
        raise Refused(f"{version.id} cannot be served: {version.unservable or 'it has no bundle'}", version=version.id)
    out_of_service.check(metadata, version)
    targets = [each for each in registered_models.endpoints(metadata, version.model) if endpoint in ("", each.name)]
    if not targets:
        raise NotFound(f"model {version.model!r} has no endpoint{f' {endpoint!r}' if endpoint else ''}; declare one in the project and `rota apply`")
    delivery = plain(approval.delivery) if approval.delivery else None
    runs = [rollout_run(each, version, now_us=now_us, trigger=f"person:{actor}", delivery=delivery) for each in targets]
    if again is not None:
        runs = [_renamed(repositories, run) for run in runs]
    started = [run for run in runs if repositories.runs.submit(run, _delivered(version, run, actor=actor, again=again))]
    if not started:
        raise Refused(
            f"{version.id} was delivered before, by {runs[0].id}; `rota rollout retry {runs[0].id} --reason ...` delivers it once more when that "
            "has ended without it, `rota rollback` returns to an earlier champion"
        )
    return started


def _renamed(repositories: Repositories, run: Run) -> Run:
    """The run under the first id that no earlier try has."""
    tries = (f"{run.id}.retry-{number}" for number in count(1))
    return msgspec.structs.replace(run, id=next(each for each in tries if repositories.runs.get(each) is None))


def _delivered(version: ModelVersion, run: Run, *, actor: str, again: Again | None) -> Batch:
    batch = Batch()
    batch.audit(actor, "version.deliver", version.id, run.created_us, run=run.id, endpoint=run.subject)
    if again is not None:
        batch.audit(actor, "rollout.retry", again.rollout, run.created_us, run=run.id, reason=again.reason)
    return batch
