"""Wiring: settings become an open platform. The only text that names a backend."""

import importlib.util
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from rota.backends.alert_sinks import LogSink, WebhookSink
from rota.backends.blob_directory import BlobDirectory
from rota.backends.clocks import ReplayClock, SystemClock
from rota.backends.delta_tables import DeltaTables
from rota.backends.file_input import FileInput
from rota.backends.lmdb_online import LmdbOnline
from rota.backends.local_processes import LocalProcesses
from rota.backends.segment_journal import SegmentJournal
from rota.backends.sql_engine import open_engine
from rota.backends.sql_input import SqlInput
from rota.backends.sql_metadata import SqlMetadata
from rota.backends.sql_runs import SqlRuns
from rota.deploy.rollout import RolloutWorkflow
from rota.develop.tracking import TrackedRun, Tracker
from rota.errors import InvalidInput, NotFound, Refused, RotaError, Unavailable
from rota.loop import Loop, start_training
from rota.manage import dataset_versions, datasets, labels, registry
from rota.manage.durable import Worker, Workflow
from rota.manage.features import clustered
from rota.manage.features.feed import Feed
from rota.manage.features.online import OnlineFeatures
from rota.manage.features.registry import Change
from rota.manage.features.store import Store
from rota.manage.features.versions import ALL
from rota.manage.repositories import Repositories
from rota.monitor.watch import MonitorWorkflow
from rota.operationalize import project as projects
from rota.operationalize import release as releases
from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.inputs import Inputs
from rota.ports.models import ModelFormat
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.records.data import FeatureService, Source
from rota.records.release import Endpoint
from rota.records.run import PipelineRelease, Run, Trigger
from rota.records.signal import Label
from rota.serve.asgi import PredictionApp
from rota.serve.embedded import EmbeddedModel, open_file
from rota.serve.following import Depot, Follower
from rota.serve.predicting import PredictionCore
from rota.settings import Settings
from rota.settings import load as load_settings
from rota.train import fitting
from rota.train.continuous import TrainWorkflow

logger = logging.getLogger("rota.wiring")

FORMATS = {
    "lightgbm": ("rota.backends.lightgbm_format", "LightGBMFormat", "lightgbm"),
    "skops": ("rota.backends.skops_format", "SkopsFormat", "skops"),
}
RESORT_TAIL = 0.1
"""The share of a history that may lie unsorted behind its sorted copy before a worker sorts it anew."""
"""Model formats by name: backend module, class, and the library whose presence installs it."""


@dataclass
class Platform:
    """An open platform: the repositories of a home and everything that works on them."""

    settings: Settings
    repositories: Repositories

    @cached_property
    def formats(self) -> Mapping[str, ModelFormat]:
        """The installed model formats; importing them loads their libraries, so this is done where models are used."""
        return installed_formats()

    @cached_property
    def inputs(self) -> Inputs:
        """Files and databases of other people that sources are filled from."""
        return Inputs(FileInput(), SqlInput())

    @cached_property
    def feed(self) -> Feed:
        r = self.repositories
        return Feed(r.metadata, r.tables, r.online, r.journal, r.clock, inputs=self.inputs)

    @cached_property
    def features(self) -> Store:
        return Store(self.repositories, self.feed, sync=self.settings.sync)

    @cached_property
    def loop(self) -> Loop:
        sinks = (LogSink(), WebhookSink(self.settings.alert_webhook)) if self.settings.alert_webhook else (LogSink(),)
        return Loop(self.repositories, self.settings.environment, sinks)

    @cached_property
    def compute(self) -> LocalProcesses:
        return LocalProcesses()

    def workflows(self) -> dict[str, Workflow]:
        """The durable workflows by name."""
        train = TrainWorkflow(self.repositories, self.feed, self.compute, self.formats, self._release_tree, self.settings.step_timeout_s)
        rollout = RolloutWorkflow(self.repositories, self.settings.prediction_processes)
        return {"train": train, "rollout": rollout, "monitor": MonitorWorkflow(self.repositories, self.feed)}

    def worker(self, name: str) -> Worker:
        return Worker(name, self.repositories.runs, self.repositories.clock, self.workflows(), self.settings.lease_s)

    def prediction_app(self, process: str) -> PredictionApp:
        """The ASGI application of one prediction process."""
        r = self.repositories
        core = PredictionCore(r.journal, r.clock, sync=self.settings.sync)

        def source_of(service: FeatureService) -> OnlineFeatures:
            return OnlineFeatures(r.online, service)

        depot = Depot(r.metadata, r.blobs, self.formats, source_of)
        follower = Follower(core, depot, clock=r.clock, process=process, poll_s=self.settings.poll_s)
        return PredictionApp(core, follower, features=self.features, max_request_bytes=self.settings.max_request_mb * 1_000_000)

    def push(self, source: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Push rows into a source; returns how many were new."""
        return self.feed.push(source, rows, sync=self.settings.sync)

    def label(self, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Take truths about predictions; all or none."""
        if self.repositories.metadata.get(Endpoint, endpoint) is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        now_us = self.repositories.clock.now_us()
        taken = [_label(position, row, now_us) for position, row in enumerate(rows)]
        labels.append(self.repositories.journal, endpoint, taken, now_us, sync=self.settings.sync)
        return len(taken)

    def build_dataset(self, name: str, *, actor: str = "owner") -> dataset_versions.Prepared:
        """Build a dataset of the catalog from this home's sources; `new` is False when the newest version holds these very rows."""
        definition = dataset_versions.get_definition(self.repositories.metadata, name).definition
        for source in datasets.source_names(definition):
            self.feed.refresh(source)
        return dataset_versions.build_named(self.repositories, name, environment=self.settings.environment, actor=actor)

    def decide(self, model: str, number: int, decision: Literal["approve", "reject", "request_changes"], *, reviewer: str, reason: str) -> None:
        """Record a reviewer's decision on a version."""
        version = registry.get(self.repositories.metadata, model, number)
        now_us = self.repositories.clock.now_us()
        batch = registry.decide(version, decision, reviewer=reviewer, reason=reason, now_us=now_us)
        self.repositories.metadata.commit(batch)

    def start_training(self, pipeline: str) -> str:
        """Start a training run by hand and return its id; refused while one is active."""
        run_id = f"train.{pipeline}.manual.{self.repositories.clock.now_us()}"
        reaction = start_training(self.loop, pipeline, Trigger("manual"), cause="manual", run_id=run_id)
        if not reaction.runs:
            raise Refused(f"no run of {pipeline!r} was started: {reaction.batch.audits[0].body['reason']}", pipeline=pipeline)
        run: Run = reaction.runs[0]
        if not self.repositories.runs.submit(run, reaction.batch, exclusive=True):
            raise Refused(f"no run of {pipeline!r} was started: another one was a moment earlier", pipeline=pipeline)
        return run.id

    def apply(self, file: Path, *, actor: str = "owner") -> list[Change]:
        """Build a release of a project and make its definitions the ones in force."""
        project = projects.load(file)
        changes = projects.plan(self.repositories.metadata, project, environment=self.settings.environment)
        self.feed.register([r for r in project.records if isinstance(r, projects.FEATURES)], actor=actor)
        now_us = self.repositories.clock.now_us()
        release = releases.build(self.repositories.blobs, file, now_us=now_us)
        projects.apply(self.repositories.metadata, project, release, environment=self.settings.environment, actor=actor, now_us=now_us)
        return changes

    def plan(self, file: Path) -> list[Change]:
        """What `apply` would change."""
        return projects.plan(self.repositories.metadata, projects.load(file), environment=self.settings.environment)

    def tend(self) -> None:
        """What a worker does beside its runs: pushed rows reach the offline tables, and long histories are sorted for joins."""
        r = self.repositories
        self.feed.flush_all()
        for source in r.metadata.find(Source, limit=ALL):
            clustered.compact(r.tables, r.metadata, source, least_tail=RESORT_TAIL)

    def close(self) -> None:
        """Close every engine."""
        if "compute" in self.__dict__:
            self.compute.close()
        self.repositories.journal.close()
        self.repositories.online.close()
        self.repositories.metadata.close()

    def _release_tree(self, release: PipelineRelease) -> Path:
        return releases.unpack(self.repositories.blobs, release, self.settings.home.resolve() / "releases")


def open_platform(settings: Settings | None = None) -> Platform:
    """Open the platform of the settings' home; the home is made when it is new."""
    settings = settings or load_settings()
    home = _made(settings)
    blobs, tables = _storage(settings)
    engine = open_engine(settings.metadata_url or home / "metadata.db")
    repositories = Repositories(
        metadata=SqlMetadata(engine),
        runs=SqlRuns(engine),
        blobs=blobs,
        tables=tables,
        online=_online(settings),
        journal=SegmentJournal(home / "log"),
        clock=_clock(settings),
    )
    return Platform(settings, repositories)


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Platform]:
    """An open platform that is closed at the end."""
    platform = open_platform(settings)
    try:
        yield platform
    finally:
        platform.close()


def installed_formats() -> dict[str, ModelFormat]:
    """Every model format whose library is installed."""
    found: dict[str, ModelFormat] = {}
    for name, (module, class_name, library) in FORMATS.items():
        if importlib.util.find_spec(library) is not None:
            found[name] = getattr(importlib.import_module(module), class_name)()
    return found


def fit_in_child(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the compute engine calls in a process of its own to fit a model."""
    return fitting.fit(arguments, installed_formats())


def load(path: str | Path) -> EmbeddedModel:
    """The model of a file written by `rota models export`, ready to predict inside this program without a server."""
    return open_file(Path(path), installed_formats())


@contextmanager
def track(experiment: str, name: str = "", *, home: str | Path | None = None, seeds: Sequence[int] = ()) -> Iterator[TrackedRun]:
    """A tracked run in the home of the settings (`rota.toml`, ROTA_*), or in `home`; see `rota.develop.tracking`.

    >>> with rota.track("tuning", "deeper trees", seeds=[7]) as run:   # doctest: +SKIP
    ...     run.log_params(depth=8)
    ...     run.log_metric("log_loss", 0.46)
    """
    settings = load_settings(home=None if home is None else str(home))
    folder = _made(settings)
    metadata = SqlMetadata(open_engine(settings.metadata_url or folder / "metadata.db"))
    try:
        with Tracker(metadata, _storage(settings)[0], _clock(settings)).run(experiment, name, seeds=seeds) as run:
            yield run
    finally:
        metadata.close()


def work(platform: Platform, name: str, stop: threading.Event) -> None:
    """A worker process: react to events on one thread, execute runs on another, until told to stop."""
    worker = platform.worker(name)
    events, runs = threading.Event(), threading.Event()

    def keep(act: Callable[[], bool], mine: threading.Event, other: threading.Event) -> None:
        """Act until told to stop; what one thread did is usually work for the other, so it is woken at once."""
        while not stop.is_set():
            try:
                acted = act()
            except Unavailable as error:
                logger.warning("an engine did not answer: %s", error, extra={"action": "unavailable", "worker": name})
                acted = False
            if acted:
                other.set()
            else:
                mine.wait(platform.settings.poll_s)
                mine.clear()

    def tend() -> None:
        while not stop.wait(platform.settings.housekeeping_s):
            try:
                platform.tend()
            except RotaError as error:  # the next round tries again; what is left undone is only not yet tidy
                logger.warning("housekeeping: %s", error, extra={"action": "housekeeping", "worker": name})

    threads = [
        threading.Thread(target=keep, args=(platform.loop.advance, events, runs), name="loop", daemon=True),
        threading.Thread(target=tend, name="housekeeping", daemon=True),
    ]
    for thread in threads:
        thread.start()
    keep(worker.work_once, runs, events)
    for thread in threads:
        thread.join()


def _made(settings: Settings) -> Path:
    home = settings.home.resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return home


def _online(settings: Settings) -> Online:
    """The store of online features: LMDB in the home, or a server."""
    if settings.online_url:
        if importlib.util.find_spec("redis") is None:
            raise InvalidInput("online_url needs the library redis: pip install 'rota[redis]'", setting="online_url")
        opened: Online = importlib.import_module("rota.backends.redis_online").RedisOnline(settings.online_url, namespace=settings.online_namespace)
        return opened
    return LmdbOnline(settings.home.resolve() / "online", size_mb=settings.online_size_mb, sync=settings.sync)


def _storage(settings: Settings) -> tuple[Blobs, Tables]:
    """The stores of large things: directories of the home, or a bucket."""
    if settings.storage_url:
        if importlib.util.find_spec("obstore") is None:
            raise InvalidInput("storage_url needs the library obstore: pip install 'rota[s3]'", setting="storage_url")
        blobs, tables = importlib.import_module("rota.backends.s3_storage").open_storage(settings.storage_url)
        return blobs, tables
    home = settings.home.resolve()
    return BlobDirectory(home / "blobs"), DeltaTables(home / "tables")


def _clock(settings: Settings) -> Clock:
    return ReplayClock(settings.home.resolve() / "clock") if settings.clock == "replay" else SystemClock()


def _label(position: int, row: Mapping[str, Any], now_us: int) -> Label:
    try:
        value, at_us = float(row["value"]), int(row.get("at_us", now_us))
        identity = row["prediction_id"]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"label {position} does not fit ({type(error).__name__}: {error}); it needs prediction_id, value and at_us") from error
    if not math.isfinite(value):
        raise InvalidInput(f"label {position}: value {value} is not a finite number; leave out what is not known", position=position)
    if not isinstance(identity, str) or not 1 <= len(identity) <= 200:
        raise InvalidInput(f"label {position}: prediction_id {identity!r} is not a text of 1 to 200 characters", position=position)
    return Label(identity, value, at_us)


def apply(file: str | Path, *, home: str | Path | None = None, **settings: Any) -> list[Change]:
    """Register everything a project file declares in a home, and make its release the active one."""
    with opened(load_settings(home=Path(home) if home else None, **settings)) as platform:
        return platform.apply(Path(file))


class FeatureStore(Store):
    """The feature repository of a home for a program of its own, with Feast's names; a context manager that closes it at the end.

    `home` is the directory of the platform (otherwise ROTA_HOME, `rota.toml`, or .rota); a running platform may share it.

    >>> with rota.FeatureStore() as store:                               # doctest: +SKIP
    ...     store.get_online_features(["weather:temp"], [{"origin": "JFK"}]).to_dict()
    {'origin': ['JFK'], 'weather__temp': [39.02]}
    """

    def __init__(self, home: str | Path | None = None, **settings: Any) -> None:
        self._platform = open_platform(load_settings(home=None if home is None else str(home), **settings))
        super().__init__(self._platform.repositories, self._platform.feed, sync=self._platform.settings.sync)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every engine; closing twice is the same."""
        self._platform.close()
