"""Wiring: the engines of a home and the rooms that work on them become an open platform."""

import copy
import dataclasses
import importlib.metadata
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from rota import engines, http_origin, record_engines
from rota.deploy.delivery import Deliveries
from rota.deploy.rollout import RolloutWorkflow
from rota.develop.spool_recovery import drain
from rota.durable.worker import Worker
from rota.durable.workflow import Workflow
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.loop.pipelines import Pipelines
from rota.manage.access import governed_records, tokens
from rota.manage.access.access_control import AccessControl
from rota.manage.adoption.adopt import Adopter
from rota.manage.adoption.conversion import ConversionRequest, convert
from rota.manage.adoption.model_registry import ModelRegistry
from rota.manage.datasets.catalog import DatasetCatalog
from rota.manage.features.materialization import push_lag
from rota.manage.features.materialization.push_stream import Stores
from rota.manage.features.materialization.upkeep import MATERIALIZE, MaterializeWorkflow, Upkeep
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.store import Store
from rota.manage.features.writer import Feed
from rota.manage.lineage import audit_chain
from rota.manage.models import engine_gate, out_of_service, refused_releases
from rota.manage.models.engine_choosing import EngineChooser
from rota.manage.models.engine_gate import EngineOrder
from rota.manage.models.own_metrics import MONITOR_TIMEOUT_S, DeployedMetrics
from rota.manage.models.pickle_signing import ParentVerifiedSeals, PlatformSeals
from rota.manage.repositories import Repositories
from rota.manage.retention.expiry import Rules
from rota.manage.retention.housekeeping import Housekeeping
from rota.manage.signals import last_backup
from rota.manage.signals.feedback import Feedback
from rota.manage.signals.hosts import Host
from rota.manage.signals.platform_alerts import ConditionSource
from rota.manage.signals.platform_readiness import PlatformReadiness
from rota.manage.signals.platform_state import Gauges, PlatformFigures
from rota.manage.signals.process_reports import Reporter
from rota.manage.signals.supervisor_file import supervisor_conditions
from rota.monitor import status
from rota.monitor.watch import MonitorWorkflow
from rota.operationalize import release as releases
from rota.operationalize.projects import ProjectFiles
from rota.ports.compute import Compute
from rota.ports.inputs import Inputs
from rota.ports.models import ModelFormat
from rota.records.access import Identity, Role
from rota.records.condition import Condition
from rota.records.data import FeatureService
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import decode, plain
from rota.serve.asgi import PredictionApp, RequestLimits
from rota.serve.call_marks import CallMarks, Limits
from rota.serve.port_access import PortAccess
from rota.serve.predicting import PredictionCore
from rota.serve.prediction_tokens import PredictionTokens, TokenSource
from rota.serve.release_cache import ReleaseCache
from rota.serve.release_poller import ModelSource, OpenedFeatures, ReleasePoller
from rota.settings import Settings
from rota.settings import load as load_settings
from rota.train import fitting, triggers
from rota.train.continuous import TrainWorkflow

SPOOL = "spool"
"""The folder of the home in which logged metrics wait to be stored."""
SERVING = "serving"
"""The folder of the home that holds the last good releases."""


@dataclass
class Platform:
    """An open platform: the engines of a home and the rooms that work on them, each made when it is first used.

    What can be done stands in the rooms; a platform itself is only opened and closed.
    """

    settings: Settings
    repositories: Repositories
    identity: Identity = tokens.OWNER
    """Who acts: whoever opens a home is its owner, unless an entry point knows better."""

    def acting(self, identity: Identity) -> "Platform":
        """The platform as somebody may change it: each write is checked against what their role may write. Engines stay shared.

        For those with one role everything but the name of who acts is made once.
        """
        mine = self._by_role.get(identity.role)
        if mine is None:
            mine = dataclasses.replace(self, repositories=governed_records.governed(self.repositories, identity), identity=identity)
            mine.__dict__ |= {name: getattr(self, name) for name in ("access", "formats", "inputs", "compute")}
            _ = mine.feed, mine.features  # both keep what they compiled
            self._by_role[identity.role] = mine
        found = copy.copy(mine)
        found.identity = identity
        return found

    @cached_property
    def _by_role(self) -> dict[Role, "Platform"]:
        return {}

    @cached_property
    def access(self) -> AccessControl:
        """Whose secret is this?"""
        return AccessControl(self.repositories.metadata, record_engines.owner_token(self.settings), record_engines.wall(), self.settings.environment)

    @cached_property
    def features(self) -> Store:
        """The feature repository with Feast's verbs."""
        return Store(self.repositories, self.feed, sync=self.settings.sync)

    @cached_property
    def feed(self) -> Feed:
        """How rows come into the feature repository."""
        r = self.repositories
        return Feed(r.metadata, r.tables, r.online, r.journal, r.clock, inputs=self.inputs)

    @cached_property
    def datasets(self) -> DatasetCatalog:
        """Declared datasets and their builds."""
        return DatasetCatalog(self.repositories, self.feed, self.settings.environment)

    @property
    def projects(self) -> ProjectFiles:
        """Project files: plan, apply. Of whoever acts now, so made anew each time."""
        return ProjectFiles(self.repositories, self.feed, self.settings.environment, self.identity)

    @cached_property
    def pipelines(self) -> Pipelines:
        """Training by hand."""
        return Pipelines(self.loop, partial(self.processes.worker, workflows=("train",)), self.settings.poll_s)

    @cached_property
    def models(self) -> ModelRegistry:
        """Registering versions of models."""
        adopter = Adopter(self.repositories, self.formats, self.compute, _reference(convert_in_child), temporary=lambda: self.temporary)
        return ModelRegistry(replace(adopter, engines=self.engine_chooser))

    @property
    def engine_chooser(self) -> EngineChooser:
        """What chooses the engine that serves a model which is registered."""
        return EngineChooser(self.compute, _reference(choose_engine_in_child), temporary=lambda: self.temporary)

    @cached_property
    def signals(self) -> Feedback:
        """Labels and business outcomes of predictions come in."""
        return Feedback(self.repositories, sync=self.settings.sync)

    @cached_property
    def deliveries(self) -> Deliveries:
        """Rollouts and rollbacks that people ask for."""
        return Deliveries(self.repositories)

    @cached_property
    def loop(self) -> Loop:
        """Which event starts what."""
        return Loop(LoopContext(self.repositories, self.settings.environment, engines.sinks(self.settings)))

    @cached_property
    def housekeeping(self) -> Housekeeping:
        """What workers do beside their runs, and garbage collection."""
        s = self.settings
        rules = Rules(s.retention_trash_days, s.retention_pending_days, s.retention_run_days, s.retention_grace_hours)
        drain_spool = partial(drain, s.home.resolve() / SPOOL, self.repositories.tracking)
        r = self.repositories
        upkeep = Upkeep(self.feed.materializer, r.runs, r.clock, r.metadata, r.online)
        return Housekeeping(
            self.repositories,
            self.feed,
            rules,
            self.access.wall,
            drain_spool,
            self.loop.position,
            upkeep,
            s.home.resolve(),
            self.host,
            engines.audit_head_keepers(s),
            int(s.audit_head_s * 1_000_000),
        )

    @cached_property
    def host(self) -> Host:
        """This machine and home, as its processes and their conditions are named."""
        s = self.settings
        return Host.of(s.host_name, s.home.resolve(), has_others=bool(s.metadata_url))

    @property
    def condition_sources(self) -> Mapping[str, ConditionSource]:
        """Who tells how a part of this platform is, beside a process of itself: workers collect them and alert, doctor and readiness ask them.

        A part that is to be watched is a line here. What housekeeping meets (journals, tables, spool, upkeep, the online store, the disk) it
        tells by itself, when it meets it, and here so that other workers know; a thread of a process is told of by the process.
        """
        r, home = self.repositories, self.settings.home.resolve()
        serving = [self.host.process(name) for name in self.settings.prediction_names]
        return {
            "supervisor": ConditionSource(partial(supervisor_conditions, home), ("child", "supervisor")),
            "blobs": ConditionSource(self.readiness.blobs, ("blobs",)),
            "loop": ConditionSource(self.loop.conditions, ("record", "schedule")),
            "releases": ConditionSource(partial(refused_releases.conditions, r.metadata, serving), (refused_releases.PART,)),
            "models": ConditionSource(partial(out_of_service.conditions, r.metadata), ("model",)),
            "pipelines": ConditionSource(partial(triggers.stopped_pipelines, r, self.settings.environment), ("pipeline",)),
            "backups": ConditionSource(partial(last_backup.conditions, r.metadata, self.access.wall), ("backup",)),
            "monitors": ConditionSource(partial(status.conditions, r), (status.PART,)),
            "housekeeping": ConditionSource(lambda: self.housekeeping.conditions),
        }

    @cached_property
    def readiness(self) -> PlatformReadiness:
        """Can the control plane do what it is asked?"""
        r = self.repositories
        check_layout = partial(record_engines.checked_layout, self.settings)
        return PlatformReadiness(self.settings.home.resolve(), r.metadata, r.blobs, self.access.wall, check_layout)

    @cached_property
    def figures(self) -> PlatformFigures:
        """How this platform is, in figures."""
        r = self.repositories
        stores = Stores(r.metadata, r.tables, r.online, r.journal, r.clock)
        gauges = Gauges(
            lambda: {source: (lag.table_bytes, lag.online_bytes) for source, lag in push_lag.lags(stores).items()},
            lambda: audit_chain.head(r.metadata).position,
            lambda: self.host.told(self.readiness.conditions()),
            partial(status.counted, r),
        )
        return PlatformFigures(self.settings.home.resolve(), r, self.access.wall, gauges)

    @cached_property
    def processes(self) -> "Processes":
        """What the processes of a running platform are made of."""
        return Processes(self)

    @cached_property
    def formats(self) -> Mapping[str, ModelFormat]:
        """The installed model formats; each library is loaded when a model of its format is."""
        return engines.installed_formats(PlatformSeals(self.repositories.metadata, lambda: engines.signing_key(self.settings)))

    @cached_property
    def inputs(self) -> Inputs:
        """Files and databases of other people that sources are filled from."""
        return engines.inputs()

    @cached_property
    def temporary(self) -> Path:
        """This process's folder below HOME/tmp for what is needed for a moment; folders of processes that are gone are removed first."""
        return engines.temporary(self.settings)

    @cached_property
    def compute(self) -> Compute:
        """Where users' code runs."""
        return engines.compute()

    def close(self) -> None:
        """Close every engine."""
        if "compute" in self.__dict__:
            self.compute.close()
        self.repositories.journal.close()
        self.repositories.online.close()
        self.repositories.metadata.close()


@dataclass(frozen=True, slots=True)
class Processes:
    """What the processes of a running platform are made of."""

    platform: Platform

    def workflows(self) -> dict[str, Workflow]:
        """The durable workflows by name."""
        p = self.platform
        release_tree = partial(releases.unpack, p.repositories.blobs, root=p.settings.home.resolve() / "releases")
        place = p.temporary  # now, so that what killed workers left goes when a worker starts
        fit = _reference(fit_in_child)
        step_s = p.settings.step_timeout_s
        train = TrainWorkflow(
            p.repositories, p.feed, p.compute, p.formats, release_tree, step_s, fit=fit, temporary=lambda: place, engines=p.engine_chooser
        )

        def bring_online(version: ModelVersion) -> int:
            return p.feed.bring_online(decode(p.repositories.blobs.get(version.bundle), ModelBundle).features)

        limit_s = min(MONITOR_TIMEOUT_S, p.settings.step_timeout_s)
        own = DeployedMetrics(p.repositories.metadata, p.compute, release_tree, p.settings.environment, limit_s, lambda: place)
        rollout = RolloutWorkflow(p.repositories, p.settings.prediction_processes, bring_online, own.of)
        return {
            "train": train,
            "rollout": rollout,
            "monitor": MonitorWorkflow(p.repositories, p.feed, own.of),
            "adopt": p.models.adopter,
            MATERIALIZE: MaterializeWorkflow(p.feed.materializer),
        }

    def reporter(
        self,
        kind: Literal["control plane", "worker", "prediction process"],
        name: str,
        conditions: Callable[[], Sequence[Condition]],
        figures: Callable[[], Mapping[str, float]],
    ) -> Reporter:
        """What tells of a process, as it is named among all hosts; it is asked what it knows each time."""
        p, wall = self.platform, self.platform.access.wall
        return Reporter(p.repositories.metadata, wall, p.host, p.host.process(name), kind, wall.now_us(), conditions, figures)

    def worker(self, name: str, *, workflows: Sequence[str] = (), stopping: threading.Event | None = None) -> Worker:
        """A worker for all workflows, or for some of them; `name` is its name in leases and logs. `stopping` set: it gives its runs back."""
        p = self.platform
        executed = {key: workflow for key, workflow in self.workflows().items() if not workflows or key in workflows}
        return Worker(
            p.host.process(name), p.repositories.runs, p.repositories.clock, executed, p.settings.lease_s, stopping=stopping or threading.Event()
        )

    def _opening(self) -> Callable[[FeatureService], OpenedFeatures]:
        """Opens the online features of a service."""
        p, r = self.platform, self.platform.repositories

        def source_of(service: FeatureService) -> OpenedFeatures:
            histories = p.feed.histories(service)
            return OpenedFeatures(OnlineFeatures(r.online, service, histories.latest, remote=bool(p.settings.online_url)), histories)

        return source_of

    def batch_core(self) -> tuple[PredictionCore, ModelSource]:
        """What scores batches in this process: the path that answers online, and where it loads models from."""
        r = self.platform.repositories
        core = PredictionCore(r.journal, r.clock, sync=self.platform.settings.sync)
        return core, ModelSource(r.metadata, r.blobs, self.platform.formats, self._opening())

    def prediction_app(self, process: str) -> PredictionApp:
        """The ASGI application of one prediction process."""
        p, r = self.platform, self.platform.repositories
        core = PredictionCore(r.journal, r.clock, sync=p.settings.sync)
        settings, home = p.settings, p.settings.home.resolve()
        marks = CallMarks(home / "run", process, r.clock.now_us, _model_limits(settings))
        cache = ReleaseCache(home / SERVING, r.blobs, keeps_blobs=bool(settings.storage_url))
        model_source = ModelSource(r.metadata, cache, p.formats, self._opening(), marks, cache)
        poller = ReleasePoller(
            core,
            model_source,
            clock=r.clock,
            process=p.host.process(process),
            poll_s=settings.poll_s,
            waits_for_history=settings.wait_for_history,
        )
        return PredictionApp(
            core,
            poller,
            features=p.features,
            may_monitor=p.access.may_monitor,
            access=self._port_access(),
            version=importlib.metadata.version("rota"),
            limits=RequestLimits(settings.max_request_mb * 1_000_000, settings.max_request_rows, settings.predict_timeout_s),
            marks=marks,
        )

    def _port_access(self) -> PortAccess:
        """Who may use the prediction port; the owner's token is made here too, for a home without a control plane."""
        p = self.platform
        hosts = http_origin.answered_hosts(p.settings.host, p.settings.allowed_hosts)
        if not p.settings.prediction_tokens:
            return PortAccess(hosts)
        owner = p.access.owner_token
        owner.make()
        cache = engines.private_cache(p.settings, "prediction_tokens")
        return PortAccess(hosts, PredictionTokens(TokenSource(p.repositories.metadata, owner.now, p.access.wall, p.settings.environment, cache)))


def open_platform(settings: Settings | None = None) -> Platform:
    """Open the platform of the settings' home; the home is made when it is new."""
    settings = settings or load_settings()
    return Platform(settings, engines.repositories(settings))


@contextmanager
def opened_for_serving(settings: Settings) -> Iterator[Platform]:
    """A platform for a prediction process: it opens while metadata and other servers are away."""
    platform = Platform(settings, engines.serving_repositories(settings))
    try:
        yield platform
    finally:
        platform.close()


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Platform]:
    """An open platform that is closed at the end."""
    platform = open_platform(settings)
    try:
        yield platform
    finally:
        platform.close()


def _model_limits(settings: Settings) -> Limits:
    return Limits(settings.model_ends, int(settings.model_ends_within_s * 1e6), settings.model_hung_s)


def fit_in_child(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the compute engine calls in a process of its own to fit a model."""
    return fitting.fit(arguments, engines.installed_formats(ParentVerifiedSeals() if arguments.get("pickle") else None))


def convert_in_child(arguments: Mapping[str, Any]) -> Any:
    """What the compute engine calls in a process of its own to read a foreign model's file; it holds no key, and seals nothing."""
    order = msgspec.convert(arguments, ConversionRequest)
    return plain(convert(order, engines.installed_formats(ParentVerifiedSeals() if order.pickle else None)))


def choose_engine_in_child(arguments: Mapping[str, Any]) -> Any:
    """What the compute engine calls in a process of its own to find out which engine shall serve a model; it loads no pickle."""
    return plain(engine_gate.choose(msgspec.convert(arguments, EngineOrder), engines.installed_formats()))


def _reference(function: Callable[[Mapping[str, Any]], Any]) -> str:
    """How the compute engine names a function that it imports in a process of its own."""
    return f"{function.__module__}:{function.__qualname__}"
