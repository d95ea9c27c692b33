"""Names that read alike: no new name may differ from a known one only in case, width or composition (`rota.records.record.folded`).

Two names that a store of before holds both go on: only a name that is not known yet is compared. The rules stand here and not in the
records, so that what an older Rota took can still be read.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rota.ports.metadata import Metadata
from rota.ports.tracking import Tracking
from rota.records.access import AccessToken
from rota.records.data import FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.records.dataset import Dataset
from rota.records.filters import Query
from rota.records.model import PickleAllowance, RegisteredModel, ReleasePolicy
from rota.records.project import UseCase
from rota.records.record import Record, check_spelling, folded
from rota.records.release import Endpoint
from rota.records.run import Deployed, PipelineRelease, TrainingPipeline
from rota.records.schema import Schema


@dataclass(frozen=True, slots=True)
class NameSpace:
    """Names among which no two may read alike: `what` they name, with its article, and the fields of records that hold them."""

    what: str
    held: Sequence[tuple[type[Record], str]]


SOURCES = NameSpace("a source", [(Source, "name")])
VIEWS = NameSpace("a feature view", [(FeatureView, "name"), (OnDemandFeatureView, "name")])
SERVICES = NameSpace("a feature service", [(FeatureService, "name")])
DATASETS = NameSpace("a dataset", [(Dataset, "name")])
SCHEMAS = NameSpace("a schema", [(Schema, "name")])
USE_CASES = NameSpace("a use case", [(UseCase, "name")])
PROJECTS = NameSpace("a project", [(PipelineRelease, "project"), (RegisteredModel, "project")])
PIPELINES = NameSpace("a pipeline", [(Deployed, "pipeline")])
ENVIRONMENTS = NameSpace("an environment", [(Deployed, "environment")])
ENDPOINTS = NameSpace("an endpoint", [(Endpoint, "name")])
MODELS = NameSpace("a model, or a decision about a model,", [(RegisteredModel, "name"), (ReleasePolicy, "model"), (PickleAllowance, "model")])
HOLDERS = NameSpace("a holder of tokens,", [(AccessToken, "holder")])
SPACES = (SOURCES, VIEWS, SERVICES, DATASETS, SCHEMAS, USE_CASES, PROJECTS, PIPELINES, ENVIRONMENTS, ENDPOINTS, MODELS, HOLDERS)
OF_RECORD: Mapping[type[Record], Sequence[NameSpace]] = {
    Source: [SOURCES],
    FeatureView: [VIEWS],
    OnDemandFeatureView: [VIEWS],
    FeatureService: [SERVICES],
    Dataset: [DATASETS],
    UseCase: [USE_CASES],
    TrainingPipeline: [PIPELINES, MODELS],
    Endpoint: [ENDPOINTS],
    ReleasePolicy: [MODELS],
}
"""The spaces in which a definition's name is one of the names; a pipeline's name is also that of its model."""


def names(metadata: Metadata, space: NameSpace) -> set[str]:
    """Every stored name of a space."""
    return {getattr(record, field) for kind, field in space.held for record in metadata.find(kind)} - {""}


def check(metadata: Metadata, space: NameSpace, name: str, *, besides: Iterable[str] = ()) -> None:
    """Raise `Conflict`, naming the other one, when a new name reads like a known one; one that is known itself passes."""
    check_spelling(space.what, name, names(metadata, space) - set(besides))


def check_definitions(metadata: Metadata, definitions: Iterable[Record]) -> None:
    """`check` for definitions that are stored together: they must not read like each other either."""
    known: dict[str, set[str]] = {}
    for record in definitions:
        name = getattr(record, "model" if isinstance(record, ReleasePolicy) else "name", "")
        for space in OF_RECORD.get(type(record), ()):
            if space.what not in known:
                known[space.what] = names(metadata, space)
            check_spelling(space.what, name, known[space.what])
            known[space.what].add(name)


def check_experiment(tracking: Tracking, name: str, *, besides: str = "") -> None:
    """`check` for the name of an experiment; deleted ones keep theirs."""
    check_spelling("an experiment", name, experiment_names(tracking) - {besides})


def experiment_names(tracking: Tracking) -> set[str]:
    """The name of every experiment, also of deleted ones."""
    found, page = set[str](), ""
    while True:
        answer = tracking.search_experiments(Query(view="all", page=page))
        found |= {experiment.name for experiment in answer.items}
        if not answer.next:
            return found
        page = answer.next


def alike(metadata: Metadata, tracking: Tracking) -> Iterator[tuple[str, list[str]]]:
    """What an older Rota took: names of one space that read alike, each group with what it names."""
    spaces = [(space.what.rstrip(","), names(metadata, space)) for space in SPACES]
    for what, known in [*spaces, ("an experiment", experiment_names(tracking))]:
        groups = defaultdict[str, list[str]](list)
        for name in sorted(known):
            groups[folded(name)].append(name)
        yield from ((what, group) for group in groups.values() if len(group) > 1)
