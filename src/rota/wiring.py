"""Wiring: settings become an open platform. The only text that names a backend."""

import getpass
import importlib.util
import logging
import math
import os
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import polars as pl

from rota.backends.alert_sinks import LogSink, WebhookSink
from rota.backends.blob_directory import BlobDirectory
from rota.backends.clocks import ReplayClock, SystemClock
from rota.backends.delta_tables import DeltaTables
from rota.backends.file_input import FileInput
from rota.backends.format_shelf import FormatShelf
from rota.backends.lmdb_online import LmdbOnline
from rota.backends.local_processes import LocalProcesses
from rota.backends.memory_journal import MemoryJournal
from rota.backends.memory_online import MemoryOnline
from rota.backends.owner_token import OwnerToken
from rota.backends.private_files import private_file
from rota.backends.segment_journal import SegmentJournal
from rota.backends.sql_engine import open_engine
from rota.backends.sql_input import SqlInput
from rota.backends.sql_metadata import SqlMetadata
from rota.backends.sql_runs import SqlRuns
from rota.backends.sql_tracking import SqlTracking
from rota.deploy.rollout import RolloutWorkflow
from rota.develop import reproduction, search, tuning
from rota.develop.autologging import Autologging
from rota.develop.orphans import drain
from rota.develop.tracking import Surroundings, TrackedRun, Tracker, current_run
from rota.errors import Conflict, InvalidInput, NotFound, Refused, RotaError, Unavailable
from rota.loop import Loop, deliver, start_training
from rota.manage import (
    access,
    chronicle,
    dataset_reading,
    dataset_versions,
    datasets,
    foreign_registration,
    garbage,
    labels,
    outcomes,
    policies,
    registry,
)
from rota.manage.durable import Worker, Workflow
from rota.manage.features import clustered
from rota.manage.features.feed import Feed
from rota.manage.features.online import OnlineFeatures
from rota.manage.features.registry import Change
from rota.manage.features.store import Store
from rota.manage.features.versions import ALL
from rota.manage.foreign import Adopter
from rota.manage.foreign_conversion import Order, convert
from rota.manage.repositories import Repositories
from rota.manage.retention import Rules
from rota.manage.seals import PlatformSeals, Recognised
from rota.monitor.watch import MonitorWorkflow
from rota.operationalize import project as projects
from rota.operationalize import release as releases
from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.inputs import Inputs
from rota.ports.models import ModelFormat, Seals
from rota.ports.online import Online
from rota.ports.tables import Tables
from rota.ports.tuning import Tuner
from rota.records.access import Identity
from rota.records.data import FeatureService, Source
from rota.records.model import ModelVersion, RegisteredModel, ReleasePolicy
from rota.records.record import plain
from rota.records.release import Endpoint
from rota.records.run import ENDED, PipelineRelease, Run, Trigger
from rota.records.signal import Label
from rota.records.time import HOUR_US
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
    "lightgbm": ("rota.backends.lightgbm_format", "LightGBMFormat", ("lightgbm",)),
    "xgboost": ("rota.backends.xgboost_format", "XGBoostFormat", ("xgboost",)),
    "skops": ("rota.backends.skops_format", "SkopsFormat", ("skops", "sklearn")),
    "onnx": ("rota.backends.onnx_format", "OnnxFormat", ("onnxruntime", "onnx")),
    "torch": ("rota.backends.torch_format", "TorchFormat", ("torch", "safetensors")),
    "pickle": ("rota.backends.pickle_format", "PickleFormat", ("cloudpickle",)),
}
"""Model formats by name: backend module, class, and the libraries whose presence installs it. The first that accepts a model keeps it."""
SHORTEST_KEY = 32
SPOOL = "spool"
"""The folder of the home in which logged metrics wait to be stored."""
AUTOLOGGERS = {
    "lightgbm": "rota.backends.autolog_lightgbm",
    "sklearn": "rota.backends.autolog_sklearn",
}
"""Modules that let a library's fits log themselves, by the library whose presence installs them."""
RESORT_TAIL = 0.1
"""The share of a history that may lie unsorted behind its sorted copy before a worker sorts it anew."""


@dataclass
class Platform:
    """An open platform: the repositories of a home and everything that works on them."""

    settings: Settings
    repositories: Repositories
    identity: Identity = access.OWNER
    """Who acts: whoever opens a home is its owner, unless an entry point knows better."""
    _head_told_us: int = 0

    @cached_property
    def wall(self) -> Clock:
        """The machine's clock, also where the platform follows a replayed one: tokens live and die by it."""
        return SystemClock()

    @cached_property
    def owner_token(self) -> OwnerToken:
        """The token of whoever owns the home."""
        return OwnerToken(self.settings.home.resolve(), access.PREFIX)

    def recognise(self, secret: str) -> Identity | None:
        """Whose secret this is; asked of the store each time, so that a revoked token opens nothing from then on."""
        if access.same(secret, self.owner_token.now()):
            return access.OWNER
        now_us = self.wall.now_us()
        return access.recognise(self.repositories.metadata, secret, environment=self.settings.environment, now_us=now_us)

    @cached_property
    def formats(self) -> Mapping[str, ModelFormat]:
        """The installed model formats; each library is loaded when a model of its format is."""
        return installed_formats(PlatformSeals(self.repositories.metadata, lambda: signing_key(self.settings)))

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
        hook, private = self.settings.alert_webhook, self.settings.alert_private
        sinks = (LogSink(), WebhookSink(hook, private=private)) if hook else (LogSink(),)
        return Loop(self.repositories, self.settings.environment, sinks)

    @property
    def adopter(self) -> Adopter:
        """Makes registered versions from elsewhere servable."""
        return Adopter(self.repositories, self.formats, self.compute)

    @cached_property
    def compute(self) -> LocalProcesses:
        return LocalProcesses()

    def workflows(self) -> dict[str, Workflow]:
        """The durable workflows by name."""
        train = TrainWorkflow(self.repositories, self.feed, self.compute, self.formats, self._release_tree, self.settings.step_timeout_s)
        rollout = RolloutWorkflow(self.repositories, self.settings.prediction_processes)
        return {"train": train, "rollout": rollout, "monitor": MonitorWorkflow(self.repositories, self.feed), "adopt": self.adopter}

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
        limit = self.settings.max_request_mb * 1_000_000
        return PredictionApp(core, follower, features=self.features, may_monitor=self._may_monitor, max_request_bytes=limit)

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

    def outcome(self, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Take business outcomes of predictions, of the endpoint "" wherever these were made; all or none."""
        if endpoint and self.repositories.metadata.get(Endpoint, endpoint) is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        now_us = self.repositories.clock.now_us()
        reported = outcomes.taken(rows, now_us)
        if reported:
            outcomes.append(self.repositories.journal, endpoint, reported, now_us, sync=self.settings.sync)
        return len(reported)

    def build_dataset(self, name: str, *, actor: str = "owner") -> dataset_versions.Prepared:
        """Build a dataset of the catalog from this home's sources; `new` is False when the newest version holds these very rows."""
        definition = dataset_versions.get_definition(self.repositories.metadata, name).definition
        for source in datasets.source_names(definition):
            self.feed.refresh(source)
        return dataset_versions.build_named(self.repositories, name, environment=self.settings.environment, actor=actor)

    def register_model(
        self, name: str, *, run: str, artifact: str = "model", description: str = "", tags: Mapping[str, str] | None = None, actor: str = "owner"
    ) -> ModelVersion:
        """Register what a tracked run kept under `artifact` as the next version of a model, which is made when it is new."""
        r = self.repositories
        with suppress(Conflict):  # the model is there
            registry.create_model(r.metadata, RegisteredModel(name), actor=actor, now_us=r.clock.now_us())
        source = f"runs:/{run}/{artifact}"
        return registry.create_version(r, model=name, source=source, run=run, tags=tags, description=description, actor=actor)

    def register_fitted(
        self, name: str, model: Any, *, input_example: Sequence[Mapping[str, Any]] = (), signature: str = "", actor: str = "owner", **said: Any
    ) -> ModelVersion:
        """Register a fitted model of any framework as the next version of a model; `said` are other fields of `foreign_registration.Offer`."""
        adopter = self.adopter
        offer = foreign_registration.of_model(model, name, adopter, input_example=input_example, signature=signature)
        return foreign_registration.register(adopter, name, replace(offer, **said), actor=actor)

    def register_file(
        self, name: str, path: Path, *, signature: str = "", example: Path | None = None, actor: str = "owner", **said: Any
    ) -> ModelVersion:
        """Register a model file, or a directory with an MLmodel, as the next version of a model."""
        offer = foreign_registration.of_path(path, signature=signature, example=example)
        return foreign_registration.register(self.adopter, name, replace(offer, **said), actor=actor)

    def deliver(self, model: str, number: int, *, endpoint: str = "", actor: str = "owner") -> list[str]:
        """Start the rollouts of an approved version and return their ids."""
        version = registry.live(self.repositories.metadata, model, number)
        return [run.id for run in deliver(self.repositories, version, actor=actor, endpoint=endpoint)]

    def apply_policy(self, file: Path, model: str = "", *, actor: str = "owner") -> ReleasePolicy:
        """Put the policy of a file in force; its model is the one given, or the one that the file names."""
        r = self.repositories
        return policies.put(r.metadata, policies.read(file, model), actor=actor, now_us=r.clock.now_us())

    def start_training(self, pipeline: str, *, actor: str = "owner") -> str:
        """Start a training run by hand and return its id; refused while one is active."""
        now_us = self.repositories.clock.now_us()
        run_id = f"train.{pipeline}.manual.{now_us}"
        reaction = start_training(self.loop, pipeline, Trigger("manual"), cause="manual", run_id=run_id)
        if not reaction.runs:
            raise Refused(f"no run of {pipeline!r} was started: {reaction.batch.audits[0].body['reason']}", pipeline=pipeline)
        run: Run = reaction.runs[0]
        reaction.batch.audit(actor, "train.start", pipeline, now_us, run=run_id)
        if not self.repositories.runs.submit(run, reaction.batch, exclusive=True):
            raise Refused(f"no run of {pipeline!r} was started: another one was a moment earlier", pipeline=pipeline)
        return run.id

    def run_here(self, pipeline: str, *, actor: str = "owner", told: Callable[[str], None] = lambda _: None) -> Run:
        """Execute a training run in this process, as a worker would, and return it as it ended; `told` hears each finished step."""
        run_id = self.start_training(pipeline, actor=actor)
        worker = Worker(
            f"here-{run_id}", self.repositories.runs, self.repositories.clock, {"train": self.workflows()["train"]}, self.settings.lease_s
        )
        while True:
            worker.work_once()
            run = self.repositories.runs.find(id=run_id, limit=1)[0]
            if run.status in ENDED:
                break
            time.sleep(self.settings.poll_s)  # another worker has it, or it waits for its turn
        for step in self.repositories.runs.journal(run_id):
            told(f"{step.name}: {(step.ended_us - step.started_us) / 1e6:.2f} s")
        while self.loop.react():
            pass
        return run

    def apply(self, file: Path, *, actor: str = "owner") -> list[Change]:
        """Build a release of a project and make its definitions the ones in force."""
        project = projects.load(file)
        changes = projects.plan(self.repositories.metadata, project, environment=self.settings.environment)
        policy = self._policy_beside(file, project)
        if policy or any(change.kind == "release_policy" and change.what != "keep" for change in changes):
            access.require(self.identity, "model.approve")  # who trains and deploys does not decide how releases are decided
        self.feed.register([r for r in project.records if isinstance(r, projects.FEATURES)], actor=actor)
        now_us = self.repositories.clock.now_us()
        release = releases.build(self.repositories.blobs, file, now_us=now_us)
        projects.apply(self.repositories.metadata, project, release, environment=self.settings.environment, actor=actor, now_us=now_us)
        if policy is None:
            return changes
        before = self.repositories.metadata.get(ReleasePolicy, policy.model)
        policies.put(self.repositories.metadata, policy, actor=actor, now_us=now_us)
        return [*changes, Change("change" if before else "add", "release_policy", policy.model)]

    def plan(self, file: Path) -> list[Change]:
        """What `apply` would change."""
        return projects.plan(self.repositories.metadata, projects.load(file), environment=self.settings.environment)

    def tend(self) -> None:
        """What a worker does beside its runs: pushed rows reach the offline tables, long histories are sorted for joins, and what
        killed programs had logged is stored."""
        r = self.repositories
        drain(self.settings.home.resolve() / SPOOL, r.tracking)
        self.feed.flush_all()
        for source in r.metadata.find(Source, limit=ALL):
            clustered.compact(r.tables, r.metadata, source, least_tail=RESORT_TAIL)
        self._tell_audit_head()

    def collect_garbage(self, *, actor: str, dry_run: bool = False, progress: garbage.Progress = lambda _: None) -> garbage.Collection:
        """Remove what retention lets go; what killed programs had logged is stored first, for it may name blobs."""
        if not dry_run:
            drain(self.settings.home.resolve() / SPOOL, self.repositories.tracking)
        s = self.settings
        rules = Rules(s.retention_trash_days, s.retention_pending_days, s.retention_run_days, s.retention_grace_hours)
        return garbage.collect(self.repositories, rules, wall_us=self.wall.now_us(), actor=actor, dry_run=dry_run, progress=progress)

    def _tell_audit_head(self) -> None:
        """Once an hour the log says where the audit log ends; against such a line kept elsewhere a cut tail is found."""
        now_us = self.wall.now_us()
        if now_us - self._head_told_us >= HOUR_US:
            self._head_told_us = now_us
            head = chronicle.head(self.repositories.metadata)
            logger.info("audit head %s", head, extra={"action": "audit_head", "position": head.position, "hash": head.hash})

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

    def close(self) -> None:
        """Close every engine."""
        if "compute" in self.__dict__:
            self.compute.close()
        self.repositories.journal.close()
        self.repositories.online.close()
        self.repositories.metadata.close()

    def _may_monitor(self, secret: str) -> bool:
        try:
            identity = self.recognise(secret)
        except Unavailable:  # counts without names are better than none
            return False
        return identity is not None and not identity.project and identity.may("monitor.read")

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
        tracking=SqlTracking(engine),
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


def installed_formats(seals: Seals | None = None) -> Mapping[str, ModelFormat]:
    """Every model format whose library is installed; without seals no pickle is loaded."""
    return FormatShelf(FORMATS, sealed=frozenset({"pickle"}), seals=seals)


def signing_key(settings: Settings) -> bytes:
    """What signs pickled models: the setting, or HOME/signing.key, which is made at first use and readable by its owner only."""
    if settings.signing_key:
        if len(settings.signing_key) < SHORTEST_KEY:
            raise InvalidInput(f"setting signing_key has {len(settings.signing_key)} characters; give at least {SHORTEST_KEY}", setting="signing_key")
        return settings.signing_key.encode()
    return private_file(_made(settings) / "signing.key", lambda: secrets.token_hex(32)).encode()


def fit_in_child(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the compute engine calls in a process of its own to fit a model."""
    return fitting.fit(arguments, installed_formats())


def convert_in_child(arguments: Mapping[str, Any]) -> Any:
    """What the compute engine calls in a process of its own to read a foreign model's file; it holds no key, and seals nothing."""
    order = msgspec.convert(arguments, Order)
    return plain(convert(order, installed_formats(Recognised() if order.pickle else None)))


def load(path: str | Path) -> EmbeddedModel:
    """The model of a file written by `rota models export`, ready to predict inside this program without a server."""
    return open_file(Path(path), installed_formats())


@contextmanager
def track(
    experiment: str,
    name: str = "",
    *,
    home: str | Path | None = None,
    seeds: Sequence[int] = (),
    tags: Mapping[str, str] | None = None,
    nested: bool = False,
    autolog: bool = False,
) -> Iterator[TrackedRun]:
    """A tracked run in the home of the settings (`rota.toml`, ROTA_*), or in `home`; see `rota.develop.tracking`.

    `nested`: a part of the run whose block this is in. `autolog`: fits of scikit-learn and LightGBM within the block log themselves.

    >>> with rota.track("tuning", "deeper trees", seeds=[7]) as run:   # doctest: +SKIP
    ...     run.log_params(depth=8)
    ...     run.log_metric("log_loss", 0.46)
    """
    with ExitStack() as left:
        tracker = left.enter_context(_tracker(load_settings(home=None if home is None else str(home))))
        outer = current_run()
        if nested and (outer is None or outer.tracker is not tracker):
            raise InvalidInput("nested=True needs the block of another run of the same home around it; leave it out, or open that run first")
        if again := os.environ.get(reproduction.VARIABLE):
            tags = {**(tags or {}), reproduction.REPRODUCES: again}
        run = left.enter_context(tracker.run(experiment, name, seeds=seeds, tags=tags, parent=outer if nested else None))
        if autolog:
            left.enter_context(_autologging.enabled())
        yield run


def autolog(*, disable: bool = False, experiment: str = "autolog", home: str | Path | None = None) -> None:
    """Let every fit of scikit-learn and LightGBM log itself from now on: parameters, metrics, signature and the fitted model.

    A fit inside a tracked run belongs to it (from the second one on, to a child of it); one outside opens a run of its own in
    `experiment`. Logging never breaks a fit: what goes wrong is a warning in the log. `disable=True` ends it and leaves the
    libraries as they were.
    """
    if disable:
        _autologging.disable()
    else:
        _autologging.enable(lambda name: track(experiment, name, home=home))


def read_dataset(name: str, *, home: str | Path | None = None) -> pl.DataFrame:
    """The rows of "NAME@NUMBER", or of the newest version of "NAME"; `is_test` tells the side of the split, `label` is the label.

    The tracked run around the call is known to have read that version.

    >>> rows = rota.read_dataset("flights@3")                            # doctest: +SKIP
    """
    with _tracker(load_settings(home=None if home is None else str(home))) as tracker:
        return dataset_reading.read(tracker.repositories, name)


@contextmanager
def _tracker(settings: Settings) -> Iterator[Tracker]:
    """The tracker of a home: that of the run around, or a new one, which first stores what killed processes left."""
    spool = _made(settings) / SPOOL
    outer = current_run()
    if outer is not None and outer.tracker.surroundings.spool == spool:
        yield outer.tracker
        return
    ticks: tuple[Callable[[], int], int] = (_clock(settings).now_us, 1) if settings.clock == "replay" else (time.time_ns, 1_000)
    drawing = importlib.import_module("rota.backends.vega_drawing").VegaDrawing() if importlib.util.find_spec("vl_convert") else None
    tracker = Tracker(
        Surroundings(lambda: _development(settings), spool, *ticks, owner=_user(), formats=installed_formats, drawing=drawing),
        new_id=lambda: uuid.uuid4().hex,
    )
    try:
        tracker.drain()
        yield tracker
    finally:
        tracker.close()


def _development(settings: Settings) -> Repositories:
    """The stores that a program of a data scientist works with; it never touches online features and the journal, so none is opened."""
    blobs, tables = _storage(settings)
    engine = open_engine(settings.metadata_url or _made(settings) / "metadata.db")
    return Repositories(
        metadata=SqlMetadata(engine),
        runs=SqlRuns(engine),
        blobs=blobs,
        tables=tables,
        online=MemoryOnline(),
        journal=MemoryJournal(),
        clock=_clock(settings),
        tracking=SqlTracking(engine),
    )


def _user() -> str:
    with suppress(OSError, KeyError):  # a container may have no user of that number
        return getpass.getuser()
    return ""


_autologging = Autologging(AUTOLOGGERS)


def tune(
    experiment: str,
    objective: Callable[[tuning.Trial], float],
    *,
    trials: int = 20,
    direction: Literal["minimize", "maximize"] = "minimize",
    name: str = "tuning",
    seed: int = 0,
    learn_from: str = "",
    home: str | Path | None = None,
) -> tuning.Tuned:
    """Search hyperparameters with Optuna: a tuning run with one child run a trial, the best one marked; see `rota.develop.tuning`.

    Inside a run of the same experiment the search is a part of it, and has its inputs. `learn_from` is the id of an earlier tuning
    run whose finished trials the search begins with.
    """
    if importlib.util.find_spec("optuna") is None:
        raise InvalidInput("tuning needs the library optuna: pip install 'rota[tune]'")
    tuner: Tuner = importlib.import_module("rota.backends.optuna_tuner").OptunaTuner(direction, seed=seed)

    def told(line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"{line}\n")

    outer = current_run()
    part = outer.child(name, seeds=[seed]) if outer is not None and outer.experiment == experiment else None
    with part or track(experiment, name, home=home, seeds=[seed]) as run:
        if learn_from:
            earlier = search.run(run.repositories.tracking, learn_from)
            run.log_params(
                {"tuning.learned_from": earlier.id, "tuning.learned": tuning.learn(tuner, search.children(run.repositories.tracking, earlier))}
            )
        return tuning.tune(run, tuner, objective, trials=trials, direction=direction, told=told)


def register_model(
    name: str,
    *,
    run: str = "",
    artifact: str = "model",
    model: Any = None,
    input_example: Sequence[Mapping[str, Any]] = (),
    home: str | Path | None = None,
    **said: Any,
) -> ModelVersion:
    """Register the next version of a model, made when it is new: what a tracked run kept under `artifact`, or a fitted `model`.

    A fitted model of any framework that is installed is told with `input_example`, rows (dicts) of the columns that it reads, in
    their order; the version answers requests of these columns. Further words: `description`, `tags`; of a fitted model also
    `signature` (MLflow's JSON) and `problem` ("classification" or "regression").

    >>> rota.register_model("churn", run=run.id, artifact="model")       # doctest: +SKIP
    >>> rota.register_model("churn", model=fitted, input_example=[{"age": 31.0, "plan": "basic"}])       # doctest: +SKIP
    """
    if bool(run) == (model is not None):
        raise InvalidInput("register_model takes a run or a fitted model; give one of them")
    with opened(load_settings(home=None if home is None else str(home))) as platform:
        actor = getpass.getuser()
        if run:
            return platform.register_model(name, run=run, artifact=artifact, actor=actor, **said)
        return platform.register_fitted(name, model, input_example=input_example, actor=actor, **said)


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
