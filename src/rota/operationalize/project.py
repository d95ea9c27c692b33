"""A project: the Rota definitions of one Python file, and what applying them would change."""

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import Loader
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import msgspec

from rota.errors import InvalidInput, RotaError
from rota.manage import spellings
from rota.manage.features.definitions import registration as registry
from rota.manage.features.definitions import versions
from rota.manage.features.definitions.registration import PlannedChange
from rota.manage.signals import unheard_alerts
from rota.operationalize import plan_checks
from rota.operationalize.release import source_files
from rota.ports.metadata import Batch, Metadata
from rota.records.data import FeatureService, FeatureView, FeatureViewVersion, OnDemandFeatureView, Source
from rota.records.dataset import Dataset
from rota.records.kinds import BY_RECORD, key_of
from rota.records.model import ReleasePolicy
from rota.records.project import UseCase
from rota.records.record import Record
from rota.records.release import Endpoint
from rota.records.run import Deployed, PipelineRelease, TrainingPipeline
from rota.records.signal import Event, Monitor
from rota.records.time import Micros

FEATURES = (Source, FeatureView, OnDemandFeatureView, FeatureService)
DECLARABLE = (UseCase, *FEATURES, Dataset, TrainingPipeline, Endpoint, Monitor, ReleasePolicy)


@dataclass(frozen=True, slots=True)
class Project:
    """What a project file declares, sources before views before services, pipelines last."""

    name: str
    file: Path
    records: tuple[Record, ...]

    @property
    def pipelines(self) -> tuple[TrainingPipeline, ...]:
        return tuple(record for record in self.records if isinstance(record, TrainingPipeline))


def load(file: Path) -> Project:
    """Import a project file and collect its definitions; the file runs with its own directory first on the path."""
    if not file.is_file():
        raise InvalidInput(f"there is no project file {str(file)!r}; give the path of a Python file with Rota definitions", file=str(file))
    with _imported(file) as module:
        found: list[Record] = []
        for value in vars(module).values():
            for record in _declared(value):
                if record not in found:
                    found.append(record)
        if not found:
            raise InvalidInput(
                f"project file {str(file)!r} declares nothing; assign a rota.FeatureView or rota.TrainingPipeline to a name", file=str(file)
            )
        found.sort(key=lambda record: DECLARABLE.index(type(record)))
        _check_unique(found, file)
        plan_checks.check(found, file)
        _check_packaged(file.resolve().parent)
    return Project(file.resolve().parent.name, file.resolve(), tuple(found))


def plan(metadata: Metadata, project: Project, *, environment: str) -> list[PlannedChange]:
    """What `apply` would add or change, nothing written; and what is stored and not declared here, which stays."""
    return [*_changes(metadata, project, environment), *registry.left(metadata, project.records)]


def apply(metadata: Metadata, project: Project, release: PipelineRelease, *, environment: str, actor: str, now_us: Micros) -> list[PlannedChange]:
    """Store the definitions and make the release the active one of every pipeline, in one batch."""
    changes = _changes(metadata, project, environment)
    batch = Batch()
    _store(batch, metadata, release)
    for record, change in zip(project.records, changes, strict=True):
        if isinstance(record, TrainingPipeline):
            _deploy(batch, metadata, record, release, environment=environment, actor=actor, now_us=now_us)
        elif change.what != "keep":
            batch.put(record)
            for version in _versions(metadata, record, now_us):
                batch.create(version)
            batch.audit(actor, f"{change.kind}.{change.what}", change.name, now_us)
    metadata.commit(batch)
    return changes


def _changes(metadata: Metadata, project: Project, environment: str) -> list[PlannedChange]:
    spellings.check_definitions(metadata, project.records)
    spellings.check(metadata, spellings.PROJECTS, project.name)
    spellings.check(metadata, spellings.ENVIRONMENTS, environment)
    changes = []
    for record in project.records:
        if isinstance(record, FEATURES):
            changes.append(registry.change_of(metadata, record))
            continue
        notes: list[str] = []
        if isinstance(record, TrainingPipeline):
            deployed = metadata.get(Deployed, record.name, environment)
            notes = unheard_alerts.notes([record], watched=_is_watched(metadata, project, record))
            before: Record | None = deployed.definition if deployed else None
            kind, name = "pipeline", record.name
        else:
            key = key_of(record)
            before, kind, name = metadata.get(type(record), *key), BY_RECORD[type(record)].name, "@".join(key)
        changes.append(PlannedChange("add" if before is None else "keep" if before == record else "change", kind, name, notes=tuple(notes)))
    return changes


def _is_watched(metadata: Metadata, project: Project, pipeline: TrainingPipeline) -> bool:
    """Whether an endpoint of the pipeline's model has a monitor, declared here or before."""
    monitors = [record for record in project.records if isinstance(record, Monitor)] + metadata.find(Monitor)
    return any(monitor.endpoint.model == pipeline.name for monitor in monitors)


def _versions(metadata: Metadata, record: Record, now_us: Micros) -> list[FeatureViewVersion]:
    if not isinstance(record, versions.View):
        return []
    return versions.added(metadata, metadata.get(type(record), record.name), record, now_us)


def _store(batch: Batch, metadata: Metadata, release: PipelineRelease) -> None:
    """Equal sources are one release, made and committed when it was first seen; the commit is the newest that has them."""
    before = metadata.get(PipelineRelease, release.digest)
    made = release
    if before is not None:
        made = msgspec.structs.replace(release, created_us=before.created_us, committed_us=before.committed_us or release.committed_us)
    if made != before:
        batch.put(made)


def _deploy(
    batch: Batch, metadata: Metadata, pipeline: TrainingPipeline, release: PipelineRelease, *, environment: str, actor: str, now_us: Micros
) -> None:
    before = metadata.get(Deployed, pipeline.name, environment)
    if before is not None and (before.release, before.definition) == (release.digest, pipeline):
        return
    batch.put(Deployed(pipeline.name, environment, release.digest, pipeline, now_us), replacing=before)
    body = {"environment": environment, "release": release.digest, "before": before.release if before else ""}
    batch.event(Event("pipeline.deployed", pipeline.name, now_us, body))
    batch.audit(actor, "pipeline.deploy", pipeline.name, now_us, **body)


def _declared(value: object) -> Iterator[Record]:
    """A definition and everything it is made of, so that naming a pipeline is enough to apply its sources."""
    if isinstance(value, FeatureView):
        yield value.source
    elif isinstance(value, FeatureService):
        for view in value.views:
            yield from _declared(view)
    elif isinstance(value, TrainingPipeline | Dataset):
        definition = value.dataset if isinstance(value, TrainingPipeline) else value.definition
        yield from _declared(definition.features)
        yield definition.labels
    elif isinstance(value, Monitor):
        yield value.endpoint
    if isinstance(value, DECLARABLE):
        yield value


def _check_unique(records: list[Record], file: Path) -> None:
    seen: dict[tuple[type[Record], str], Record] = {}
    for record in records:
        name = record.name if isinstance(record, TrainingPipeline) else "@".join(key_of(record))
        if seen.setdefault((type(record), name), record) != record:
            raise InvalidInput(f"project file {str(file)!r} declares {type(record).__name__} {name!r} twice and differently", name=name)


def _check_packaged(directory: Path) -> None:
    """What the project imported from its own folder must be part of its release, or a worker could not import it."""
    packaged = set(source_files(directory))
    for name, module in list(sys.modules.items()):
        file = Path(str(getattr(module, "__file__", None) or "."))
        if (
            file.is_relative_to(directory)
            and file.relative_to(directory).parts[0].partition(".")[0] == name.partition(".")[0]
            and file not in packaged
        ):
            raise InvalidInput(
                f"the project imports the module {name!r} from {str(file)!r}, which a release does not hold: it takes sources, no links, "
                "compiled modules, environments or homes; put a source file in its place, or install the module",
                module=name,
            )


class _Fresh(SourceFileLoader):
    """Compiles what the file says now: bytecode is told apart by size and second, in which a file may be written twice."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


@contextmanager
def _imported(file: Path) -> Iterator[ModuleType]:
    """The module of a project file. It and its neighbours leave `sys.modules` afterwards: the next load sees what the files say then."""
    directory, name = str(file.resolve().parent), file.stem
    if file.suffix != ".py" or not name.isidentifier() or name in sys.stdlib_module_names:
        raise InvalidInput(
            f"project file {str(file)!r} cannot be imported by its name; a worker imports it as a module, so name it for example project.py",
            file=str(file),
        )
    spec = importlib.util.spec_from_file_location(name, file.resolve(), loader=_Fresh(name, str(file.resolve())))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = dict(sys.modules)
    sys.path.insert(0, directory)
    sys.modules[name] = module
    try:
        importlib.invalidate_caches()
        _execute(spec.loader, module, file)
        yield module
    finally:
        sys.path.remove(directory)
        _forget(directory, before)


def _execute(loader: Loader, module: ModuleType, file: Path) -> None:
    try:
        loader.exec_module(module)
    except RotaError:
        raise
    except (Exception, SystemExit) as error:
        where = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file.resolve())]
        place = f", line {where[-1]}," if where else ""
        raise InvalidInput(f"project file {str(file)!r}{place} cannot be imported: {type(error).__name__}: {error}", file=str(file)) from error


def _forget(directory: str, before: Mapping[str, ModuleType]) -> None:
    """Put back what stood in `sys.modules` under the names of a project's own modules."""
    for name, module in list(sys.modules.items()):
        if before.get(name) is not module and str(getattr(module, "__file__", None) or "").startswith(directory + os.sep):
            del sys.modules[name]
            if name in before:
                sys.modules[name] = before[name]
