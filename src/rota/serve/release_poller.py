"""The release poller of a prediction process: loads each endpoint's newest release, and keeps the last good one until that works.

A release's bundles are loaded, checked against their golden answers and warmed up on the poller's own thread; then the endpoint
is switched by one reference. A Serving record reports the revision served, or the error, by which a rollout sees which
processes have converged. Predictions go on while metadata does not answer.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rota.errors import RotaError, Unavailable
from rota.manage.models.loading import LoadedModel, load
from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.metadata import Batch, Metadata
from rota.ports.models import ModelFormat
from rota.records.data import FeatureService
from rota.records.release import Endpoint, Release, Serving
from rota.serve.predicting import PredictionCore
from rota.serve.scoring import LoadedRelease, Vectors

log = logging.getLogger("rota.serve")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a process loads releases and models from; `source_of` opens the online features of a service."""

    metadata: Metadata
    blobs: Blobs
    formats: Mapping[str, ModelFormat]
    source_of: Callable[[FeatureService], Vectors]


class ReleasePoller:
    """Keeps a core's endpoints at their newest release. `process` names the slot, not the pid: a successor takes over its Serving records."""

    def __init__(
        self,
        core: PredictionCore,
        model_source: ModelSource,
        *,
        clock: Clock,
        process: str,
        poll_s: float = 0.1,
        retry_s: float = 5.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._model_source = model_source
        self._clock = clock
        self._process = process
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._timer = timer
        self._models: dict[str, LoadedModel] = {}
        self._sources: dict[str, tuple[FeatureService, Vectors]] = {}
        self._failed: dict[str, tuple[int, float]] = {}
        self._reported: dict[str, tuple[int, str]] = {}
        self._known: frozenset[str] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def known(self) -> frozenset[str]:
        """Endpoints that have a release and should be served."""
        return self._known or frozenset()

    @property
    def ready(self) -> bool:
        """Whether the metadata was read once and every known endpoint is served."""
        return self._known is not None and self._known <= self._core.served.keys()

    def start(self) -> None:
        """Poll from now on; the first poll is over when this returns, whether it succeeded or not."""
        self._look()
        self._thread = threading.Thread(target=self._run, name="rota-poller", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling; what is served stays."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def poll(self) -> None:
        """Poll once; raises `Unavailable` when metadata does not answer, with everything served as before."""
        releases = self._newest()
        self._known = frozenset(releases)
        for gone in self._core.served.keys() - releases.keys():
            self._core.switch(gone, None)
        for release in releases.values():
            self._follow(release)
        self._unload()

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            self._look()

    def _look(self) -> None:
        try:
            self.poll()
        except Unavailable as error:
            log.warning("the releases cannot be read, serving what is loaded: %s", error, extra={"action": "follow"})
        except Exception:  # the thread must live on, or this process would never learn of a release again
            log.exception("polling releases failed", extra={"action": "follow"})

    def _newest(self) -> dict[str, Release]:
        newest: dict[str, Release] = {}
        for endpoint in self._model_source.metadata.find(Endpoint):
            for release in self._model_source.metadata.page(Release, {"endpoint": endpoint.name}, order="-revision", limit=1).items:
                newest[endpoint.name] = release
        return newest

    def _follow(self, release: Release) -> None:
        served = self._core.served.get(release.endpoint)
        if served is None or served.release != release:
            revision, retry_at = self._failed.get(release.endpoint, (-1, 0.0))
            if revision == release.revision and self._timer() < retry_at:
                return
            error = self._switch(release)
            served = self._core.served.get(release.endpoint)
            self._report(release.endpoint, served.release.revision if served else 0, error)
        else:
            self._report(release.endpoint, release.revision, "")

    def _switch(self, release: Release) -> str:
        """Serve the release; otherwise say why not, keep the last good one and try again after a while."""
        try:
            for route in release.routes:
                if route.bundle not in self._models:
                    self._models[route.bundle] = load(self._model_source.blobs, self._model_source.formats, route.bundle)
            self._core.switch(release.endpoint, LoadedRelease.of(release, self._models, self._sources_of(release)))
        except (RotaError, ValueError, MemoryError) as error:
            self._failed[release.endpoint] = (release.revision, self._timer() + self._retry_s)
            facts = {"action": "switch", "endpoint": release.endpoint, "revision": release.revision}
            log.warning("a release cannot be served, keeping the last good one: %s", error, extra=facts)
            return f"revision {release.revision}: {error}"
        self._failed.pop(release.endpoint, None)
        log.info("release served", extra={"action": "switch", "endpoint": release.endpoint, "revision": release.revision})
        return ""

    def _sources_of(self, release: Release) -> dict[str, Vectors]:
        """One feature source for each bundle; bundles with equal features share one, so their features are read once."""
        return {route.bundle: self._source(route.bundle) for route in release.routes}

    def _source(self, bundle: str) -> Vectors:
        service = self._models[bundle].bundle.features
        for known, source in self._sources.values():
            if known == service:
                self._sources[bundle] = (known, source)
                return source
        source = self._model_source.source_of(service)
        self._sources[bundle] = (service, source)
        return source

    def _report(self, endpoint: str, revision: int, error: str) -> None:
        if self._reported.get(endpoint) == (revision, error):
            return
        batch = Batch()
        batch.put(Serving(endpoint, self._process, revision, self._clock.now_us(), error))
        try:
            self._model_source.metadata.commit(batch)
        except Unavailable as problem:  # reported at the next poll; the other endpoints must not wait for it
            log.warning("the serving record cannot be written: %s", problem, extra={"action": "tell", "endpoint": endpoint})
        else:
            self._reported[endpoint] = (revision, error)

    def _unload(self) -> None:
        routed = {route.bundle for served in self._core.served.values() for route in served.release.routes}
        self._models = {digest: model for digest, model in self._models.items() if digest in routed}
        self._sources = {digest: source for digest, source in self._sources.items() if digest in routed}
