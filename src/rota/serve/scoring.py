"""One model version scoring rows: features looked up, transformed, predicted; a failure is an answer of its own."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rota.errors import InvalidInput, Refused
from rota.manage.models.loading import LoadedModel
from rota.records.release import Release, Route
from rota.records.schema import Type
from rota.records.time import Micros
from rota.serve import routing
from rota.serve.requests import Row, check_rows

log = logging.getLogger("rota.serve")
Timer = Callable[[], int]
"""A steady clock in nanoseconds."""
LONGEST_ERROR = 500
_NOTHING: Mapping[str, str] = {}


class FeatureNotes(Protocol):
    """What there is to say of feature vectors: sentences about what is not online, and for each feature why rows have no value."""

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def reasons(self) -> Mapping[str, Sequence[str | None] | None]: ...


class Vectors(Protocol):
    """Online features: one mapping of feature name to value for each request row, as of `now_us`, and what there is to say of them. Thread-safe."""

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

    @classmethod
    def of(cls, release: Release, models: Mapping[str, LoadedModel], sources: Mapping[str, Vectors]) -> "LoadedRelease":
        """The release served with these models and feature sources, both by bundle digest."""
        routing.check(release)
        routes = {route: _loaded_route(route, models[route.bundle], sources[route.bundle]) for route in release.routes}
        stable = routes[routing.stable(release)]
        return cls(release, routes, stable, tuple(routes[route] for route in routing.shadows(release)), stable.fields)


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one row by one model version; `answer` is None exactly when `error` says why."""

    scored_by: LoadedRoute
    answer: float | None
    error: str
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
    """The scores of the rows at `positions`, in that order; never raises: whatever goes wrong becomes each row's error."""
    start, spent = lookup.timer(), 0
    vectors: Sequence[Mapping[str, Any]] = [{}] * len(positions)
    missing: Sequence[Mapping[str, str]] = [_NOTHING] * len(positions)
    warnings: tuple[str, ...] = ()
    facts = {"action": "score", "model": loaded.route.model, "version": loaded.route.number, "role": loaded.route.role}
    try:
        if loaded is not stable and loaded.fields != stable.fields:
            check_rows([lookup.rows[position] for position in positions], loaded.fields)
        found = lookup.of(loaded.source)
        start, spent, warnings = lookup.timer(), found.spent_ns, found.warnings
        vectors, missing = [found.vectors[position] for position in positions], [found.missing[position] for position in positions]
        answers: Sequence[float | None] = _answers(loaded, vectors)
        error = ""
    except InvalidInput as problem:
        log.warning("a version cannot read the request: %s", problem, extra=facts)
        error, answers = str(problem), [None] * len(positions)
    except Exception as problem:  # a model or an engine may raise anything, and the caller still gets an answer
        log.exception("a version failed to score", extra=facts)
        error, answers = f"{type(problem).__name__}: {problem}", [None] * len(positions)
    latency_us = (lookup.timer() - start + spent) // 1_000
    return [
        Score(loaded, *_finite(answer, error[:LONGEST_ERROR]), vector, latency_us, missing=reasons, warnings=warnings)
        for answer, vector, reasons in zip(answers, vectors, missing, strict=True)
    ]


def _loaded_route(route: Route, model: LoadedModel, source: Vectors) -> LoadedRoute:
    return LoadedRoute(route, model, source, model.bundle.features.request_fields)


def _answers(loaded: LoadedRoute, vectors: Sequence[Mapping[str, Any]]) -> list[float]:
    answers = loaded.model.predictor.predict(loaded.model.transformer.matrix(vectors))
    if answers.shape != (len(vectors),):
        raise Refused(f"the model gave answers of shape {answers.shape} for {len(vectors)} rows")
    plain: list[float] = np.asarray(answers, dtype=np.float64).tolist()
    return plain


def _finite(answer: float | None, error: str) -> tuple[float | None, str]:
    """An answer and its error; one that is no number is none."""
    return (answer, error) if answer is None or math.isfinite(answer) else (None, f"the model answered {answer}")
