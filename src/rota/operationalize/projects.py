"""Applying project files: what they declare becomes what is in force, and the policy.toml beside them too."""

from dataclasses import dataclass
from pathlib import Path

from rota.errors import InvalidInput
from rota.manage.access import tokens
from rota.manage.features.definitions import registration
from rota.manage.features.definitions.registration import PlannedChange
from rota.manage.features.materialization.materialize import Progress
from rota.manage.features.writer import Feed
from rota.manage.governance import policies
from rota.manage.repositories import Repositories
from rota.operationalize import project as projects
from rota.operationalize import release as releases
from rota.records.access import Identity
from rota.records.model import ReleasePolicy


@dataclass(frozen=True, slots=True)
class ProjectFiles:
    """Plans and applies project files. `identity` is who does it: a change of a release policy asks for the permission model.approve."""

    repositories: Repositories
    feed: Feed
    environment: str
    identity: Identity

    def plan(self, file: Path) -> list[PlannedChange]:
        """What `apply` would change, the policy.toml beside the file included; nothing is written.

        Raises `InvalidInput` for a definition that `apply` would refuse.
        """
        project = projects.load(file)
        features = [record for record in project.records if isinstance(record, projects.FEATURES)]
        registration.check(self.repositories.metadata, self.repositories.tables, features)
        changes = projects.plan(self.repositories.metadata, project, environment=self.environment)
        return self._with_policy(changes, self._policy_beside(file, project))

    def apply(self, file: Path, *, actor: str = "owner", progress: Progress | None = None) -> list[PlannedChange]:
        """Build a release of a project and put its definitions in force; the history of new views is online when this returns.

        Raises `InvalidInput` for a project that does not fit, `Refused` when `identity` may not change the policy that it holds.
        """
        metadata = self.repositories.metadata
        project = projects.load(file)
        changes = projects.plan(metadata, project, environment=self.environment)
        policy = self._policy_beside(file, project)
        if policy or any(change.kind == "release_policy" and change.what != "keep" for change in changes):
            tokens.require(self.identity, "model.approve")  # who trains and deploys does not decide how releases are decided
        self.feed.register([r for r in project.records if isinstance(r, projects.FEATURES)], actor=actor, progress=progress)
        now_us = self.repositories.clock.now_us()
        release = releases.build(self.repositories.blobs, file, now_us=now_us)
        projects.apply(metadata, project, release, environment=self.environment, actor=actor, now_us=now_us)
        changes = self._with_policy(changes, policy)
        if policy is not None:
            policies.put(metadata, policy, actor=actor, now_us=now_us)
        return changes

    def _with_policy(self, changes: list[PlannedChange], policy: ReleasePolicy | None) -> list[PlannedChange]:
        """The changes with that of the policy beside the file; those that only stay come last."""
        if policy is None:
            return changes
        before = self.repositories.metadata.get(ReleasePolicy, policy.model)
        changed = PlannedChange("change" if before else "add", "release_policy", policy.model)
        return sorted([*changes, changed], key=lambda change: change.what == "stay")

    def _policy_beside(self, file: Path, project: projects.Project) -> ReleasePolicy | None:
        """The policy.toml beside a project file, when it changes something; without a model of its own it is the only pipeline's."""
        path = file.resolve().parent / policies.FILE
        if not path.is_file():
            return None
        named = [pipeline.name for pipeline in project.pipelines]
        policy = policies.read(path, otherwise=named[0] if len(named) == 1 else "")
        if any(isinstance(record, ReleasePolicy) and record.model == policy.model for record in project.records):
            raise InvalidInput(f"the policy of {policy.model!r} stands in {str(file)!r} and in {str(path)!r}; keep one of them", file=str(file))
        return None if self.repositories.metadata.get(ReleasePolicy, policy.model) == policy else policy
