"""Find the project that a record, run, lineage node or address belongs to.

Models, endpoints, pipelines and experiments have a project, and so has all that hangs on them. Sources, features, datasets and
schemas belong to no project. What is unknown here has the project UNKNOWN, which no token has.
"""

from collections.abc import Callable, Mapping
from typing import Any

from rota.manage.experiments.artifacts import VERSIONS
from rota.manage.repositories import Repositories
from rota.records.data import FeatureService, FeatureView, FeatureViewVersion, OnDemandFeatureView, Source
from rota.records.dataset import Dataset, DatasetVersion
from rota.records.intake import CatalogStamp, Ingestion, Intake, SeenFile, StreamClaim, ViewMaterialization
from rota.records.kinds import BY_NAME
from rota.records.model import (
    Alias,
    AliasMove,
    Approval,
    ModelCard,
    ModelVersion,
    PickleAllowance,
    RegisteredModel,
    ReleasePolicy,
    ReviewRequest,
    RiskAnswer,
)
from rota.records.record import Record
from rota.records.release import Endpoint, Release, Rollout, Serving
from rota.records.run import Deployed, PipelineRelease, Run
from rota.records.schema import Schema
from rota.records.signal import Alert, Monitor, MonitorSlice, Note
from rota.records.tracking import ArtifactFile, Experiment, LoggedModel

NOBODYS = (
    Source, Intake, SeenFile, Ingestion, StreamClaim, ViewMaterialization, CatalogStamp,
    FeatureView, OnDemandFeatureView, FeatureViewVersion, FeatureService, Dataset,
    DatasetVersion, Schema,
)  # fmt: skip
NOBODY = ""
UNKNOWN = "?"
"""The project of what cannot be placed; no token has it, for it is no name."""
_OF_MODEL = (ModelVersion, Alias, AliasMove, ReviewRequest, RiskAnswer, ModelCard, PickleAllowance, Approval, ReleasePolicy)
_OF_ENDPOINT = (Release, Serving, Rollout, Alert, MonitorSlice)


NONE: Mapping[str, str] = {}
ProjectLookup = Callable[[str], str | None]


class ProjectOwnership:
    """The project of a thing by name or record: NOBODY for what belongs to nobody, None for what is not there, else UNKNOWN."""

    def __init__(self, repositories: Repositories, new: Mapping[str, str] = NONE) -> None:
        """`new` are models that are just coming into being, with their projects."""
        self._repositories, self._new = repositories, new
        self._metadata, self._runs, self._tracking = repositories.metadata, repositories.runs, repositories.tracking
        self.by_name: Mapping[str, ProjectLookup] = {
            "models": self.model,
            "registered-models": self.model,
            "endpoints": self.endpoint,
            "pipelines": self.pipeline,
            "experiments": self.experiment,
            "runs": self.any_run,
            "rollouts": lambda key: self._of_key(Rollout, key),
            "alerts": lambda key: self._of_key(Alert, key),
            "logged-models": lambda key: self._of_key(LoggedModel, key),
            "artifacts": self.artifact_root,
            "node": self.node,
        }
        self._by_kind: Mapping[type[Record], Callable[[Any], str | None]] = {
            **dict.fromkeys(NOBODYS, lambda _: NOBODY),
            **dict.fromkeys(_OF_MODEL, lambda record: self.model(record.model)),
            **dict.fromkeys(_OF_ENDPOINT, lambda record: self.endpoint(record.endpoint)),
            **dict.fromkeys((RegisteredModel, Experiment, PipelineRelease), lambda record: record.project),
            Endpoint: lambda endpoint: self.model(endpoint.model),
            Monitor: lambda monitor: self.model(monitor.endpoint.model),
            Deployed: lambda deployed: self._release(deployed.release),
            LoggedModel: lambda model: self.experiment(model.experiment),
            ArtifactFile: lambda file: self.artifact_root(file.root),
            Note: lambda note: self.node(note.node),
        }

    def knowing(self, new: Mapping[str, str]) -> "ProjectOwnership":
        """The same, with models that are just coming into being."""
        return ProjectOwnership(self._repositories, new)

    def named(self, collection: str, key: str) -> str | None:
        """The project of a thing named in an address, by the word before its name."""
        find = self.by_name.get(collection)
        return UNKNOWN if find is None else find(key)

    def model(self, name: str) -> str | None:
        found = self._metadata.get(RegisteredModel, name)
        if found is not None:
            return found.project
        if name in self._new:
            return self._new[name]
        first = self._metadata.page(ModelVersion, {"model": name}, limit=1).items
        return self._release(first[0].release) if first else None

    def endpoint(self, name: str) -> str | None:
        found = self._metadata.get(Endpoint, name)
        return None if found is None else self.model(found.model) or UNKNOWN

    def pipeline(self, name: str) -> str | None:
        found = self._metadata.page(Deployed, {"pipeline": name}, limit=1).items
        return self._release(found[0].release) if found else None

    def experiment(self, id: str) -> str | None:
        found = self._tracking.experiment(id)
        return None if found is None else found.project

    def artifact_root(self, path: str) -> str | None:
        """A registered version's files lie below "versions/MODEL/...", every other root begins with its experiment."""
        first, _, rest = path.partition("/")
        return self.model(rest.partition("/")[0]) if first == VERSIONS else self.experiment(first)

    def tracked_run(self, id: str) -> str | None:
        found = self._tracking.run(id)
        return None if found is None else self.experiment(found.experiment)

    def durable_run(self, run: Run) -> str:
        """Training runs are their pipeline's, the other workflows' work on an endpoint."""
        found = self.pipeline(run.subject) if run.workflow == "train" else self.endpoint(run.subject)
        return found or UNKNOWN

    def any_run(self, id: str) -> str | None:
        durable = self._runs.get(id)
        return self.durable_run(durable) if durable else self.tracked_run(id)

    def node(self, node: str) -> str | None:
        """The project of a lineage node, kind:key."""
        name, _, key = node.partition(":")
        if name in ("run", "experiment_run"):
            return self.any_run(key) or UNKNOWN
        kind = BY_NAME.get(name)
        if kind is None:
            return UNKNOWN
        if kind.record in NOBODYS:
            return NOBODY
        first = key.partition("@")[0]
        if kind.record in (*_OF_MODEL, RegisteredModel):
            return self.model(first)
        if kind.record in _OF_ENDPOINT and kind.key[0] == "endpoint":
            return self.endpoint(first)
        return self._of_key(kind.record, key) if len(kind.key) == 1 else UNKNOWN

    def record(self, record: Record) -> str:
        """The project of a record; UNKNOWN for a kind that this file does not place."""
        place = self._by_kind.get(type(record))
        found = None if place is None else place(record)
        return UNKNOWN if found is None else found

    def _release(self, digest: str) -> str:
        found = self._metadata.get(PipelineRelease, digest)
        return UNKNOWN if found is None else found.project

    def _of_key(self, kind: type[Record], key: str) -> str | None:
        found = self._metadata.get(kind, key)
        return None if found is None else self.record(found)
