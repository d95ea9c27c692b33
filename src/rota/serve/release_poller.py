"""The release poller of a prediction process: loads each endpoint's newest release, and keeps the last good one until that works.

A release's bundles are loaded, checked against their golden answers and warmed up on the poller's own thread; then the endpoint
is switched by one reference. A release waits while a view that its models read does not have its history online. A Serving record
reports the revision served, or the error, by which a rollout sees which processes have converged. Predictions go on while metadata
does not answer, and begin without it from the last good releases on disk (see `release_cache`).
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from rota.durable.pacing import Pacing
from rota.errors import Conflict, RotaError, Unavailable
from rota.manage.features.online.view_history import HistoryLookup, all_whole
from rota.manage.models import out_of_service, pickle_signing
from rota.manage.models.loading import BlobReader, LoadedModel, load
from rota.manage.signals import platform_alerts
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, Metadata
from rota.ports.models import ModelFormat
from rota.records.condition import Condition
from rota.records.data import FeatureService
from rota.records.model import ModelBundle
from rota.records.record import decode
from rota.records.release import Endpoint, OutOfService, Release, Route, Serving, Unloaded
from rota.records.signal import Event
from rota.serve import model_repository
from rota.serve.call_marks import CallMarks
from rota.serve.predicting import PredictionCore
from rota.serve.release_cache import ReleaseCache
from rota.serve.scoring import LoadedRelease, Vectors

log = logging.getLogger("rota.serve")
AGAIN_S = 1.0
"""Time between two polls at most while something is to be tried again."""
WAIT_S = 0.5
"""After how long a release that waits for the history of its features is looked at again."""


@dataclass(frozen=True, slots=True)
class OpenedFeatures:
    """The online features of a service, and a look at which of its views do not have their history online: asked on the poller's thread."""

    source: Vectors
    look: HistoryLookup = all_whole


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a process loads releases and models from; `source_of` opens the online features of a service.

    `marks` note each call of a model, `cache` keeps the last good releases for a start without metadata.
    """

    metadata: Metadata
    blobs: BlobReader
    formats: Mapping[str, ModelFormat]
    source_of: Callable[[FeatureService], OpenedFeatures]
    marks: CallMarks | None = None
    cache: ReleaseCache | None = None


class ReleasePoller:
    """Keeps a core's endpoints at their newest release. `process` names the slot, not the pid: a successor takes over its Serving records.

    Without `waits_for_history` a release is served, and the process ready, also while features lack their history: the answers say so.
    """

    def __init__(
        self,
        core: PredictionCore,
        model_source: ModelSource,
        *,
        clock: Clock,
        process: str,
        poll_s: float = 0.1,
        retry_s: float = 5.0,
        waits_for_history: bool = True,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._model_source = model_source
        self.metadata = model_source.metadata
        self._clock = clock
        self._process = process
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._waits_for_history = waits_for_history
        self._timer = timer
        self._marks = model_source.marks
        self._ends: dict[str, OutOfService] = {}
        self._out: Mapping[str, OutOfService] = {}
        self._alerted: set[OutOfService] = set()
        self._substituted: dict[str, tuple[str, ...]] = {}
        self._models: dict[str, LoadedModel] = {}
        self._sources: dict[str, tuple[FeatureService, OpenedFeatures]] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        self._reported: dict[str, tuple[int, str]] = {}
        self._known: frozenset[str] | None = None
        self._kept: dict[str, Release] = {}
        self._was_kept: tuple[dict[str, Release], dict[str, OutOfService]] | None = None
        self._away = ""
        self._failed_looks = 0
        self.failing = ""
        """What the last look at the releases failed with, when that is not that the metadata does not answer."""
        self._untold: set[str] = set()
        self._declared: frozenset[str] = frozenset()
        self.unloaded: Mapping[str, Unloaded] = {}
        """Endpoints that somebody unloaded; they have a release and are not served."""
        self.leaving = False
        """Whether the process was told to end: it goes on answering for a moment, and nothing new should be sent to it."""
        self.woken = threading.Event()
        """Set: it polls at once."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def known(self) -> frozenset[str]:
        """Endpoints that have a release and should be served."""
        return self._known or frozenset()

    @property
    def unreleased(self) -> frozenset[str]:
        """Endpoints that are declared and have no release yet."""
        return self._declared - self.known - self.unloaded.keys()

    @property
    def ready(self) -> bool:
        """Whether the metadata was read once, every known endpoint is served with the history of its features online, and the process stays."""
        return not self.leaving and self.all_served and not self.blocking()

    @property
    def all_served(self) -> bool:
        """Whether the metadata was read once, and every known endpoint is served."""
        return self._known is not None and self._known <= self._core.served.keys()

    @property
    def away(self) -> str:
        """Why the newest releases are not known: the metadata does not answer; "" when they are."""
        return self._away

    def problems(self, endpoint: str = "") -> tuple[str, ...]:
        """Why an endpoint (all of them without a name) waits to be served, or serves values that are not whole: a sentence for each view."""
        found = [problem for name, problems in sorted(self._problems.items()) if endpoint in ("", name) for problem in problems]
        return tuple(dict.fromkeys(found))

    def blocking(self, endpoint: str = "") -> tuple[str, ...]:
        """Those of the problems that make the process, or one endpoint, not ready."""
        return self.problems(endpoint) if self._waits_for_history else ()

    def start(self, *, slow_s: float = 1.0) -> None:
        """Poll from now on, at least every `slow_s` seconds; the first poll is over when this returns, whether it succeeded or not."""
        self._look()
        self._thread = threading.Thread(target=self._run, args=(slow_s,), name="rota-poller", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; what is served stays."""
        self._stop.set()
        self.woken.set()
        if self._thread is not None:
            self._thread.join()

    def poll(self) -> None:
        """Poll once; raises `Unavailable` when metadata does not answer, with everything served as before.

        At the start that is nothing: then the releases that were served last are taken from the disk.
        """
        try:
            releases = self._newest()
        except Unavailable as error:
            self._away = str(error)
            self._serve_kept()
            raise
        self._away, self._kept = "", {}
        self._leave_out_unloaded(releases)
        self._known = frozenset(releases)
        self._learn_what_is_out()
        for gone in self._core.served.keys() - releases.keys():
            self._core.switch(gone, None)
        for release in releases.values():
            usable = self._in_service(release)
            if usable is not None:
                self._follow(usable)
        self._problems = {name: problems for name, problems in self._problems.items() if name in releases}
        self._unload()
        self._keep()

    def _leave_out_unloaded(self, releases: dict[str, Release]) -> None:
        """Drop the releases of endpoints that somebody unloaded, and let others know why they are not served."""
        self.unloaded = model_repository.follow(self._model_source.metadata)
        for name in self.unloaded.keys() & releases.keys():
            del releases[name]
            self._report(name, 0, model_repository.why(self.unloaded[name]))

    def _serve_kept(self) -> None:
        """Without metadata since the start: serve what was served last, again and again until all of it is."""
        cache = self._model_source.cache
        if self._known is None and cache is not None and (kept := cache.releases()):
            self._kept, self._known = kept, frozenset(kept)
            log.warning("metadata does not answer; the last good releases are served", extra={"action": "follow", "endpoints": sorted(kept)})
        if cache is None:
            return
        if self._known is None or self._kept:
            self._ends = cache.ends()
        self._out = self._seen_out()
        releases = self._kept or ({name: each.release for name, each in self._core.served.items()} if self._out else {})
        for release in releases.values():
            usable, why = out_of_service.usable(release, lambda name=release.endpoint: cache.earlier(name), self._out)  # type: ignore[misc]
            if usable is None:
                self._core.switch(release.endpoint, None)
                self._problems[release.endpoint] = why
                continue
            served = self._core.served.get(release.endpoint)
            revision, retry_at = self._failed.get(release.endpoint, (-1, 0.0))
            if (served is None or served.release != usable) and not (revision == release.revision and self._timer() < retry_at):
                self._switch(usable)

    def _keep(self) -> None:
        """Let the next start find what is served now, what was before it, and what is out of service."""
        cache, served = self._model_source.cache, {name: each.release for name, each in self._core.served.items()}
        if cache is not None and (served, self._ends) != self._was_kept:
            earlier = {name: release for name, each in served.items() if (release := self._before(each)) is not None}
            cache.keep(served, self.known, earlier=earlier, ends=self._ends)
            self._was_kept = (served, self._ends)

    def _before(self, release: Release) -> Release | None:
        stable = [route.bundle for route in release.routes if route.role == "stable"]
        before = out_of_service.fallback(self._earlier(release), {*self._out, *stable})
        return None if before is None else msgspec.structs.replace(release, routes=(before,))

    def _seen_out(self) -> dict[str, OutOfService]:
        """What is out of service by all that is known here: the records that were read last, and the ends that this home saw since."""
        returned = {bundle: end.returned_us for bundle, end in self._ends.items() if end.returned_us is not None}
        seen = self._marks.out_of_service(returned) if self._marks is not None else {}
        return {**seen, **{bundle: end for bundle, end in self._ends.items() if end.returned_us is None}}

    def _learn_what_is_out(self) -> None:
        """Read which versions are out of service, and let all others know of those that only this home knows of."""
        self._ends = {each.bundle: each for each in self._model_source.metadata.find(OutOfService)}
        self._out = self._seen_out()
        for bundle, end in self._out.items():
            before = self._ends.get(bundle)
            if before is None or before.returned_us is not None:
                batch, subject = Batch(), f"{end.model}@{end.number}"
                batch.put(end, replacing=before)
                batch.audit(self._process, "version.withdraw", subject, end.at_us, cause=end.cause, endpoint=end.endpoint, process=end.process)
                batch.event(Event("version.withdrawn", subject, self._clock.now_us(), {"endpoint": end.endpoint, "cause": end.cause}))
                with suppress(Conflict, Unavailable):  # a sibling was faster, or the next poll tells it
                    self._model_source.metadata.commit(batch)

    def _in_service(self, release: Release) -> Release | None:
        """What can be served of a release: nothing of it that ended processes, and None where nothing else is left."""
        self._substituted.pop(release.endpoint, None)
        if not self._out:
            return release
        usable, why = out_of_service.usable(release, lambda: self._earlier(release), self._out)
        if why:
            self._substituted[release.endpoint] = why
            self._alert(release)
        if usable is None:
            self._core.switch(release.endpoint, None)
            self._problems[release.endpoint] = why
            self._report(release.endpoint, 0, f"revision {release.revision}: {'; '.join(why)}")
        return usable

    def _earlier(self, release: Release) -> Sequence[Release]:
        return self._model_source.metadata.find(Release, {"endpoint": release.endpoint}, order="-revision")

    def _alert(self, release: Release) -> None:
        """Raise the alert of each version of a release that is out of service, once."""
        for end in {self._out[route.bundle] for route in release.routes if route.bundle in self._out} - self._alerted:
            why = out_of_service.told(end, release.endpoint)
            condition = Condition(out_of_service.condition_name(end), "failed", why, {"endpoint": end.endpoint, "cause": end.cause})
            try:
                platform_alerts.settle(self._model_source.metadata, [condition], actor=self._process, now_us=self._clock.now_us())
            except (Unavailable, Conflict) as problem:
                log.warning("an alert cannot be raised: %s", problem, extra={"action": "alert", "subject": condition.name})
            else:
                self._alerted.add(end)

    def _run(self, slow_s: float) -> None:
        pacing, before = Pacing(self._poll_s, slow_s=slow_s, timer=self._timer), self._core.served
        while not self._stop.is_set():
            wait_s = pacing.after(self._core.served is not before or not self.ready)
            self.woken.wait(min(wait_s, AGAIN_S) if self._failed or self._untold or self._failed_looks else wait_s)
            self.woken.clear()
            before = self._core.served
            if not self._stop.is_set():
                self._look()

    def _look(self) -> None:
        try:
            self.poll()
        except Unavailable as error:
            if not self._failed_looks:
                log.warning("the releases cannot be read, serving what is loaded: %s", error, extra={"action": "follow"})
            self._failed_looks += 1
        except Exception as error:  # the thread must live on, or this process would never learn of a release again
            self.failing = f"{type(error).__name__}: {error}"
            if not self._failed_looks:
                log.exception("polling releases failed", extra={"action": "follow"})
            self._failed_looks += 1
        else:
            if self._failed_looks:
                log.info("the releases are read again", extra={"action": "follow", "failed_looks": self._failed_looks})
            self._failed_looks = 0
            self.failing = ""

    def _newest(self) -> dict[str, Release]:
        newest: dict[str, Release] = {}
        endpoints = self._model_source.metadata.find(Endpoint)
        self._declared = frozenset(endpoint.name for endpoint in endpoints)
        for endpoint in endpoints:
            for release in self._model_source.metadata.page(Release, {"endpoint": endpoint.name}, order="-revision", limit=1).items:
                newest[endpoint.name] = release
        return newest

    def _follow(self, release: Release) -> None:
        served = self._core.served.get(release.endpoint)
        if forbidden := self._forbidden(release):
            self._core.switch(release.endpoint, None)
            self._problems[release.endpoint] = (forbidden,)
            self._report(release.endpoint, 0, forbidden)
            return
        if served is not None and served.release == release:
            self._problems[release.endpoint] = problems = self._lost(release)
            why = self._substituted.get(release.endpoint, ())
            refused = f"revision {release.revision}: {'; '.join(why)}" if why else ""  # a rollout takes it for a refusal of its candidate
            self._report(release.endpoint, release.revision, refused or "; ".join(problems))
            return
        revision, retry_at = self._failed.get(release.endpoint, (-1, 0.0))
        if revision == release.revision and self._timer() < retry_at:
            return
        error = self._switch(release)
        served = self._core.served.get(release.endpoint)
        self._report(release.endpoint, served.release.revision if served else 0, error)

    def _forbidden(self, release: Release) -> str:
        """Why a loaded model is not served any more: it is a pickle, and the allowance was withdrawn, whatever its name was once."""
        for route in release.routes:
            loaded = self._models.get(route.bundle)
            if loaded is not None and loaded.bundle.seal and not pickle_signing.is_allowed(self._model_source.metadata, route.model):
                return pickle_signing.refusal(route.model)
        return ""

    def _lost(self, release: Release) -> tuple[str, ...]:
        """What a release that is served already reads and is not online any more: the online store was emptied."""
        histories = [each for route in release.routes for each in self._source(route.bundle).look().values()]
        return tuple(dict.fromkeys(each.problem for each in histories if each.state == "not online"))

    def _lacking(self, release: Release) -> tuple[str, ...]:
        """What a release that is to be served reads and is not online yet; of a bundle that is no bundle `load` says more."""
        found: dict[str, None] = {}
        for route in release.routes:
            for each in self._source(route.bundle).look().values():
                found[each.problem] = None
        return tuple(found)

    def _switch(self, release: Release) -> str:
        """Serve the release; otherwise say why not, keep the last good one and try again after a while."""
        try:
            if self._waits_for_history and (problems := self._lacking(release)):
                return self._waits(release, problems)
            for route in release.routes:
                if route.bundle not in self._models:
                    self._models[route.bundle] = self._load(route, release.endpoint)
            self._core.switch(release.endpoint, LoadedRelease.of(release, self._models, self._sources_of(release)))
        except (RotaError, ValueError, MemoryError) as error:
            self._failed[release.endpoint] = (release.revision, self._timer() + self._retry_s)
            facts = {"action": "switch", "endpoint": release.endpoint, "revision": release.revision}
            log.warning("a release cannot be served, keeping the last good one: %s", error, extra=facts)
            if release.endpoint not in self._core.served:
                self._problems[release.endpoint] = (str(error),)
            return f"revision {release.revision}: {error}"
        self._failed.pop(release.endpoint, None)
        self._problems.pop(release.endpoint, None)
        log.info("release served", extra={"action": "switch", "endpoint": release.endpoint, "revision": release.revision})
        return ""

    def _load(self, route: Route, endpoint: str) -> LoadedModel:
        opening = partial(load, self._model_source.blobs, self._model_source.formats, route.bundle, name=route.model)
        if self._marks is None:
            return opening()
        with self._marks.calling(route, endpoint):
            found = opening()
        return self._marks.marked(found, route, endpoint)

    def _waits(self, release: Release, problems: tuple[str, ...]) -> str:
        """Why a release is not served yet; it is looked at again soon, and no rollout takes it for a refusal."""
        self._failed[release.endpoint] = (release.revision, self._timer() + min(WAIT_S, self._retry_s))
        if self._problems.get(release.endpoint) != problems:
            facts = {"action": "switch", "endpoint": release.endpoint, "revision": release.revision}
            log.warning("a release waits for the history of its features: %s", "; ".join(problems), extra=facts)
        self._problems[release.endpoint] = problems
        return f"revision {release.revision} waits: {'; '.join(problems)}"

    def _sources_of(self, release: Release) -> dict[str, Vectors]:
        """One feature source for each bundle; bundles with equal features share one, so their features are read once."""
        return {route.bundle: self._source(route.bundle).source for route in release.routes}

    def _source(self, bundle: str) -> OpenedFeatures:
        if bundle in self._sources:
            return self._sources[bundle][1]
        loaded = self._models.get(bundle)
        service = (decode(self._model_source.blobs.get(bundle), ModelBundle) if loaded is None else loaded.bundle).features
        opened = next((opened for known, opened in self._sources.values() if known == service), None)
        opened = opened or self._model_source.source_of(service)
        self._sources[bundle] = (service, opened)
        return opened

    def _report(self, endpoint: str, revision: int, error: str) -> None:
        if self._reported.get(endpoint) == (revision, error):
            return
        batch = Batch()
        batch.put(Serving(endpoint, self._process, revision, self._clock.now_us(), error))
        try:
            self._model_source.metadata.commit(batch)
        except Unavailable as problem:  # reported at the next poll; the other endpoints must not wait for it
            if endpoint not in self._untold:
                log.warning("the serving record cannot be written: %s", problem, extra={"action": "tell", "endpoint": endpoint})
            self._untold.add(endpoint)
        else:
            self._untold.discard(endpoint)
            self._reported[endpoint] = (revision, error)

    def _unload(self) -> None:
        routed = {route.bundle for served in self._core.served.values() for route in served.release.routes}
        self._models = {digest: model for digest, model in self._models.items() if digest in routed}
        if not any(endpoint not in self._core.served for endpoint in self._problems):  # those that wait are asked again
            self._sources = {digest: source for digest, source in self._sources.items() if digest in routed}
