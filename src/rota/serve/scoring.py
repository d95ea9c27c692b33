"""One model version scoring rows: features looked up, transformed, predicted; a failure is an answer of its own."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rota.errors import InvalidInput, Unavailable
from rota.manage.models.loading import LoadedModel
from rota.records.release import Release, Route
from rota.records.schema import Type
from rota.records.time import Micros
from rota.serve import routing, row_failures
from rota.serve.requests import Row, check_rows
from rota.serve.row_failures import Failure

log = logging.getLogger("rota.serve")
Timer = Callable[[], int]
"""A steady clock in nanoseconds."""
LONGEST_ERROR = 500
MOST_BLAMED = 8
"""Refused rows of a batch whose field is looked for."""
_NOTHING: Mapping[str, str] = {}


class FeatureNotes(Protocol):
    """What there is to say of feature vectors: sentences about what is not online, and for each feature why rows have no value."""

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def reasons(self) -> Mapping[str, Sequence[str | None] | None]: ...


class Vectors(Protocol):
    """Online features: one mapping of feature name to value for each request row, as of `now_us`, and what there is to say of them. Thread-safe.

    `waits`: a look may wait for a server, which answers late or not at all.
    """

    @property
    def waits(self) -> bool: ...

    def look_up(self, rows: Sequence[Row], now_us: Micros) -> tuple[Sequence[Mapping[str, Any]], FeatureNotes]: ...


@dataclass(frozen=True, slots=True)
class LoadedRoute:
    """A route of a release with its model loaded, and the source of its features. Versions with equal features share one source."""

    route: Route
    model: LoadedModel
    source: Vectors
    fields: Mapping[str, Type]


@dataclass(frozen=True, slots=True)
class LoadedRelease:
    """A release with everything loaded: what a prediction process answers from, replaced as a whole."""

    release: Release
    routes: Mapping[Route, LoadedRoute]
    stable: LoadedRoute
    shadows: tuple[LoadedRoute, ...]
    fields: Mapping[str, Type]

    @property
    def group(self) -> str:
        """The field of a row that names its group; "" where rows are judged by themselves."""
        return self.stable.model.bundle.group

    @property
    def quick(self) -> bool:
        """Whether every model may be asked on the event loop: it ends, and takes microseconds, and its features are on this machine."""
        return all(loaded.model.quick and not loaded.source.waits for loaded in self.routes.values())

    @classmethod
    def of(cls, release: Release, models: Mapping[str, LoadedModel], sources: Mapping[str, Vectors]) -> "LoadedRelease":
        """The release served with these models and feature sources, both by bundle digest."""
        routing.check(release)
        routes = {route: _loaded_route(route, models[route.bundle], sources[route.bundle]) for route in release.routes}
        stable = routes[routing.stable(release)]
        return cls(release, routes, stable, tuple(routes[route] for route in routing.shadows(release)), stable.fields)


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one row by one model version; `answer` is None exactly when `error` says why.

    `refused`: the error lies in the row, which the model does not take.
    """

    scored_by: LoadedRoute
    answer: Any
    error: str
    refused: bool
    features: Mapping[str, Any]
    latency_us: int
    missing: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FoundFeatures:
    """Feature vectors of some rows; of each row why features have no value, or none to be trusted; and what is not online."""

    vectors: Sequence[Mapping[str, Any]]
    missing: Sequence[Mapping[str, str]]
    warnings: tuple[str, ...]
    spent_ns: int


@dataclass(slots=True)
class Lookup:
    """Feature vectors of some rows, read at one moment and once per source, whichever versions ask for them."""

    rows: Sequence[Row]
    now_us: Micros
    timer: Timer
    first_row: int = 0
    """The place of the first row in its request, for messages."""
    _found: dict[int, FoundFeatures] = field(default_factory=dict)

    def of(self, source: Vectors) -> FoundFeatures:
        """The features of all rows."""
        if id(source) not in self._found:
            start = self.timer()
            vectors, notes = source.look_up(self.rows, self.now_us)
            missing = _missing(vectors, notes)
            self._found[id(source)] = FoundFeatures(vectors, missing, notes.warnings, self.timer() - start)
        return self._found[id(source)]


def _missing(vectors: Sequence[Mapping[str, Any]], notes: FeatureNotes) -> Sequence[Mapping[str, str]]:
    """Of each row the features without a value to be trusted, and why; reasons are worked out only where there may be one."""
    if not notes.warnings and not any(None in vector.values() for vector in vectors):
        return [_NOTHING] * len(vectors)
    reasons = {name: rows for name, rows in notes.reasons().items() if rows is not None}
    return [{name: reason for name, rows in reasons.items() if (reason := rows[index]) is not None} for index in range(len(vectors))]


def score(loaded: LoadedRoute, lookup: Lookup, positions: Sequence[int], stable: LoadedRoute) -> list[Score]:
    """The scores of the rows at `positions`, in that order; never raises: whatever goes wrong becomes the error of the rows it befell."""
    start, spent = lookup.timer(), 0
    vectors: Sequence[Mapping[str, Any]] = [{}] * len(positions)
    missing: Sequence[Mapping[str, str]] = [_NOTHING] * len(positions)
    warnings: tuple[str, ...] = ()
    facts = {"action": "score", "model": loaded.route.model, "version": loaded.route.number, "role": loaded.route.role}
    found: Sequence[Any | Failure]
    try:
        if loaded is not stable and loaded.fields != stable.fields:
            check_rows([lookup.rows[position] for position in positions], loaded.fields)
        read = lookup.of(loaded.source)
        start, spent, warnings = lookup.timer(), read.spent_ns, read.warnings
        vectors, missing = [read.vectors[position] for position in positions], [read.missing[position] for position in positions]
    except Exception as problem:  # noqa: BLE001 - an engine may raise anything, and the caller still gets an answer
        found = [_reported(problem, facts)] * len(positions)
    else:
        try:
            found = row_failures.answered(loaded.model, vectors)
        except Exception as problem:  # noqa: BLE001 - and so may a model
            _reported(problem, facts)
            places = [lookup.first_row + position for position in positions]
            found = _told(loaded.model, vectors, places, row_failures.one_by_one(loaded.model, vectors, problem))
    latency_us = (lookup.timer() - start + spent) // 1_000
    return [
        Score(loaded, *_finite(each), vector, latency_us, missing=reasons, warnings=warnings)
        for each, vector, reasons in zip(found, vectors, missing, strict=True)
    ]


@dataclass(slots=True)
class AwayEngines:
    """Lines of the log about engines that do not answer: the first of an outage, then one a minute with how many answers it has cost."""

    again_s: float = 60.0
    timer: Callable[[], float] = time.monotonic
    failures: int = 0
    _silent_until_s: float = -math.inf

    def tell(self, problem: Unavailable, facts: Mapping[str, Any]) -> None:
        self.failures += 1
        now_s = self.timer()
        if now_s >= self._silent_until_s:
            log.warning("an engine did not answer: %s", problem, extra={**facts, "failures": self.failures})
            self.failures, self._silent_until_s = 0, now_s + self.again_s


_AWAY = AwayEngines()


def _reported(problem: Exception, facts: Mapping[str, Any]) -> Failure:
    """What went wrong, told to the log too."""
    if isinstance(problem, InvalidInput):
        log.warning("a version cannot read the request: %s", problem, extra=facts)
        return str(problem), True
    if isinstance(problem, Unavailable):
        _AWAY.tell(problem, facts)
    else:
        log.error("a version failed to score", exc_info=problem, extra=facts)
    return f"{type(problem).__name__}: {problem}", False


def _told(model: LoadedModel, vectors: Sequence[Mapping[str, Any]], positions: Sequence[int], found: Sequence[Any | Failure]) -> list[Any | Failure]:
    """Refusals with row, field and value, those of the first rows: finding the field costs calls of the model."""
    told, left = list(found), MOST_BLAMED
    for place, each in enumerate(found):
        if left and isinstance(each, tuple) and each[1]:
            told[place] = (row_failures.blamed(model, vectors[place], positions[place], each[0]), True)
            left -= 1
    return told


def _loaded_route(route: Route, model: LoadedModel, source: Vectors) -> LoadedRoute:
    return LoadedRoute(route, model, source, model.bundle.request_fields)


def _finite(found: Any | Failure) -> tuple[Any, str, bool]:
    """An answer, its error, and whether the model refused the row; an answer that is no number is none."""
    if isinstance(found, tuple):
        return None, found[0][:LONGEST_ERROR], found[1]
    return (found, "", False) if type(found) is not float or math.isfinite(found) else (None, f"the model answered {found}", False)
