"""Wiring: the engines of a home and the rooms that work on them become an open platform."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from rota import engines
from rota.deploy.rollout import RolloutWorkflow
from rota.develop.spool_recovery import drain
from rota.durable.workflow import Worker, Workflow
from rota.errors import Conflict, InvalidInput, NotFound, Refused, RotaError, Unavailable
from rota.loop import CONSUMER, Loop, deliver, start_training
from rota.manage.access import tokens
from rota.manage.adoption import registration as foreign_registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.adoption.conversion import ConversionRequest, convert
from rota.manage.datasets import build as datasets
from rota.manage.datasets import versions as dataset_versions
from rota.manage.features.definitions.registration import Change
from rota.manage.features.definitions.versions import ALL
from rota.manage.features.join import compaction
from rota.manage.features.online.reader import OnlineFeatures
from rota.manage.features.store import Store
from rota.manage.features.writer import Feed
from rota.manage.governance import policies
from rota.manage.lineage import audit_chain
from rota.manage.models import model_versions, registered_models
from rota.manage.models.pickle_signing import PlatformSeals, Recognised
from rota.manage.repositories import Repositories
from rota.manage.retention import collect
from rota.manage.retention.expiry import Rules
from rota.manage.signals import business_outcomes, labels
from rota.monitor.watch import MonitorWorkflow
from rota.operationalize import project as projects
from rota.operationalize import release as releases
from rota.ports.clock import Clock
from rota.ports.compute import Compute
from rota.ports.inputs import Inputs
from rota.ports.models import ModelFormat
from rota.records.access import Identity
from rota.records.data import FeatureService, Source
from rota.records.model import ModelVersion, RegisteredModel, ReleasePolicy
from rota.records.record import plain
from rota.records.release import Endpoint
from rota.records.run import ENDED, PipelineRelease, Run, Trigger
from rota.records.signal import Cursor, Label
from rota.records.time import HOUR_US, LAST_US
from rota.serve.asgi import PredictionApp
from rota.serve.following import Depot, Follower
from rota.serve.predicting import PredictionCore
from rota.settings import Settings
from rota.settings import load as load_settings
from rota.train import fitting
from rota.train.continuous import TrainWorkflow

logger = logging.getLogger("rota.wiring")

SPOOL = "spool"
"""The folder of the home in which logged metrics wait to be stored."""
RESORT_TAIL = 0.1
"""The share of a history that may lie unsorted behind its sorted copy before a worker sorts it anew."""


@dataclass
class Platform:
    """An open platform: the repositories of a home and everything that works on them."""

    settings: Settings
    repositories: Repositories
    identity: Identity = tokens.OWNER
    """Who acts: whoever opens a home is its owner, unless an entry point knows better."""
    _head_told_us: int = 0

    @cached_property
    def wall(self) -> Clock:
        """The machine's clock, also where the platform follows a replayed one: tokens live and die by it."""
        return engines.wall()

    @cached_property
    def owner_token(self) -> engines.OwnersToken:
        """The token of whoever owns the home."""
        return engines.owner_token(self.settings)

    def recognise(self, secret: str) -> Identity | None:
        """Whose secret this is; asked of the store each time, so that a revoked token opens nothing from then on."""
        if tokens.same(secret, self.owner_token.now()):
            return tokens.OWNER
        now_us = self.wall.now_us()
        return tokens.recognise(self.repositories.metadata, secret, environment=self.settings.environment, now_us=now_us)

    @cached_property
    def formats(self) -> Mapping[str, ModelFormat]:
        """The installed model formats; each library is loaded when a model of its format is."""
        return engines.installed_formats(PlatformSeals(self.repositories.metadata, lambda: engines.signing_key(self.settings)))

    @cached_property
    def inputs(self) -> Inputs:
        """Files and databases of other people that sources are filled from."""
        return engines.inputs()

    @cached_property
    def feed(self) -> Feed:
        r = self.repositories
        return Feed(r.metadata, r.tables, r.online, r.journal, r.clock, inputs=self.inputs)

    @cached_property
    def features(self) -> Store:
        return Store(self.repositories, self.feed, sync=self.settings.sync)

    @cached_property
    def loop(self) -> Loop:
        return Loop(self.repositories, self.settings.environment, engines.sinks(self.settings))

    @property
    def adopter(self) -> Adopter:
        """Makes registered versions from elsewhere servable."""
        return Adopter(self.repositories, self.formats, self.compute)

    @cached_property
    def compute(self) -> Compute:
        return engines.compute()

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
        reported = business_outcomes.taken(rows, now_us)
        if reported:
            business_outcomes.append(self.repositories.journal, endpoint, reported, now_us, sync=self.settings.sync)
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
            registered_models.create(r.metadata, RegisteredModel(name), actor=actor, now_us=r.clock.now_us())
        source = f"runs:/{run}/{artifact}"
        return model_versions.create(r, model=name, source=source, run=run, tags=tags, description=description, actor=actor)

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
        version = model_versions.live(self.repositories.metadata, model, number)
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
            tokens.require(self.identity, "model.approve")  # who trains and deploys does not decide how releases are decided
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
            compaction.compact(r.tables, r.metadata, source, least_tail=RESORT_TAIL)
        self._tell_audit_head()

    def collect_garbage(self, *, actor: str, dry_run: bool = False, progress: collect.Progress = lambda _: None) -> collect.Collection:
        """Remove what retention lets go; what killed programs had logged is stored first, for it may name blobs."""
        if not dry_run:
            drain(self.settings.home.resolve() / SPOOL, self.repositories.tracking)
        s = self.settings
        rules = Rules(s.retention_trash_days, s.retention_pending_days, s.retention_run_days, s.retention_grace_hours)
        cursor = self.repositories.metadata.get(Cursor, CONSUMER)
        handled, wall_us = cursor.position if cursor else 0, self.wall.now_us()
        return collect.collect(self.repositories, rules, wall_us=wall_us, actor=actor, handled=handled, dry_run=dry_run, progress=progress)

    def _tell_audit_head(self) -> None:
        """Once an hour the log says where the audit log ends; against such a line kept elsewhere a cut tail is found."""
        now_us = self.wall.now_us()
        if now_us - self._head_told_us >= HOUR_US:
            self._head_told_us = now_us
            head = audit_chain.head(self.repositories.metadata)
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
    return Platform(settings, engines.repositories(settings))


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[Platform]:
    """An open platform that is closed at the end."""
    platform = open_platform(settings)
    try:
        yield platform
    finally:
        platform.close()


def fit_in_child(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What the compute engine calls in a process of its own to fit a model."""
    return fitting.fit(arguments, engines.installed_formats())


def convert_in_child(arguments: Mapping[str, Any]) -> Any:
    """What the compute engine calls in a process of its own to read a foreign model's file; it holds no key, and seals nothing."""
    order = msgspec.convert(arguments, ConversionRequest)
    return plain(convert(order, engines.installed_formats(Recognised() if order.pickle else None)))


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
    if not 0 <= at_us <= LAST_US:  # what does not fit into a table would stand in the way of all labels after it
        raise InvalidInput(f"label {position}: at_us {at_us} is no moment between 1970 and 9999 in microseconds", position=position)
    return Label(identity, value, at_us)
