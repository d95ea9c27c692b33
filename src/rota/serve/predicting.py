"""The prediction core of one process, free of HTTP: rows in, answers out, and the log written before the answer.

Requests that arrived together are answered together: one feature look-up, one call of each model version and one log
entry for all of them. A canary that fails is covered by the stable version; a shadow scores after the answer. When the
log cannot be written the answer is still given, marked as not logged, and the loss is counted.
"""

import logging
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from rota.errors import NotFound, Unavailable
from rota.manage.signals import prediction_log
from rota.ports.clock import Clock
from rota.ports.journal import Journal
from rota.records.release import HeaderMatch, Route
from rota.records.signal import Prediction
from rota.records.time import Micros
from rota.serve import routing
from rota.serve.counters import Counters
from rota.serve.requests import Row, check_group, check_ids, check_rows
from rota.serve.scoring import LoadedRelease, Lookup, Score, Timer, score
from rota.serve.shadows import ShadowThread

log = logging.getLogger("rota.serve")


class PredictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /v1/endpoints/{name}/predict."""

    rows: list[dict[str, Any]]
    ids: list[str] | None = None


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the caller gets for one row; `answer` is None when `error` says why, else as the problem of the model has it: a number, or of
    several outputs a mapping of names, or the class with its probabilities. `refused`: the model does not take the row, whatever serves it.

    `missing` says why stored features had no value, or none to be trusted: NOT_FOUND (nothing is stored of the entity), OUTSIDE_MAX_AGE
    (its row is older than the ttl), HISTORY_NOT_ONLINE (see `warnings` of the response).
    """

    prediction_id: str
    answer: Any
    model: str
    version: int
    role: str
    error: str = ""
    missing: Mapping[str, str] = {}
    refused: bool = False


class PredictResponse(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answers of one request, in its order; `logged` is False when the log could not take them.

    `warnings` are sentences: which features were null or are not to be trusted, in how many rows, and why.
    """

    predictions: tuple[Answer, ...]
    logged: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request whose rows and ids were checked, and the release that will answer it; of a part of one, the place of its first row.

    `routed`: what one of its headers asks for, instead of the weights.
    """

    served: LoadedRelease
    rows: Sequence[Row]
    ids: Sequence[str]
    first_row: int = 0
    routed: tuple[Route, HeaderMatch] | None = None


@dataclass(frozen=True, slots=True)
class RowLabels:
    """Of each row of a batch its id, its unit and what routed it (None: all by the weights)."""

    ids: Sequence[str]
    units: Sequence[str]
    causes: Sequence[str] | None


class PredictionCore:
    """Predicts for every endpoint of a process; `switch` replaces what an endpoint serves between two answers. Thread-safe."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        *,
        sync: bool = False,
        shadow_capacity: int = 256,
        random: Callable[[int], bytes] = os.urandom,
        timer: Timer = time.perf_counter_ns,
    ) -> None:
        self.counters = Counters()
        self.sync = sync
        self._journal = journal
        self._clock = clock
        self._random = random
        self._timer = timer
        self._served: Mapping[str, LoadedRelease] = {}
        self._switching = threading.Lock()
        self._shadows = ShadowThread(shadow_capacity)

    @property
    def served(self) -> Mapping[str, LoadedRelease]:
        """What is served now, by endpoint; an unchanging snapshot."""
        return self._served

    def now_us(self) -> Micros:
        """What the platform's clock says."""
        return self._clock.now_us()

    def switch(self, endpoint: str, served: LoadedRelease | None) -> None:
        """Serve this from now on (None: nothing); requests under way end with what they began with."""
        with self._switching:
            others = {name: old for name, old in self._served.items() if name != endpoint}
            self._served = others if served is None else others | {endpoint: served}

    def prepare(
        self,
        endpoint: str,
        rows: Sequence[Row],
        ids: Sequence[str] | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
        *,
        served: LoadedRelease | None = None,
    ) -> CheckedRequest:
        """Check a request; raises `NotFound` for an endpoint not served here and `InvalidInput` naming row and field.

        `headers` are those it came with, names in lower case: one of them may choose its version. `served` answers it instead of what the
        endpoint serves: a part of its release.
        """
        served = served or self._served.get(endpoint)
        if served is None:
            raise NotFound(f"endpoint {endpoint!r} is not served here; served are {sorted(self._served)}", endpoint=endpoint)
        checked = check_rows(rows, served.fields)
        if served.group:
            check_group(checked, served.group)
        if ids is not None:
            check_ids(ids, len(rows))
        routed = routing.by_header(served.release, headers) if served.release.headers else None
        return CheckedRequest(served, checked, ids if ids is not None else new_ids(len(rows), self._clock.now_us(), self._random), routed=routed)

    def predict(self, endpoint: str, rows: Sequence[Row], ids: Sequence[str] | None = None) -> PredictResponse:
        """Answer one request. A repeated id is answered again and counts once in the log; `prepare` says what is raised."""
        return self.answer([self.prepare(endpoint, rows, ids)])[0]

    def answer(self, requests: Sequence[CheckedRequest]) -> list[PredictResponse]:
        """Answer several requests as one batch, in order: one feature look-up and one call of each model version for all of them."""
        groups: dict[int, list[int]] = defaultdict(list)
        for index, request in enumerate(requests):
            groups[id(request.served)].append(index)
        responses: dict[int, PredictResponse] = {}
        for indexes in groups.values():
            responses.update(zip(indexes, self._answer_together([requests[index] for index in indexes]), strict=True))
        return [responses[index] for index in range(len(requests))]

    def close(self) -> None:
        """Let the shadows finish."""
        self._shadows.close()

    def _answer_together(self, requests: Sequence[CheckedRequest]) -> list[PredictResponse]:
        start = self._timer()
        served = requests[0].served
        rows = [row for request in requests for row in request.rows]
        ids = [each for request in requests for each in request.ids]
        units = [_unit(served.release.unit or served.group, row, each) for row, each in zip(rows, ids, strict=True)]
        routed = [request.routed for request in requests for _ in request.rows] if served.release.headers else None
        lookup = Lookup(rows, self._clock.now_us(), self._timer, requests[0].first_row)
        given, failed = _score_all(served, lookup, units, routed)
        if len(requests) > 1 and (failed or any(each.error for each in given)):
            return [response for request in requests for response in self._answer_together([request])]  # nobody pays for a neighbour's row
        scores = [*zip(range(len(rows)), given, strict=True), *failed]
        causes = None if routed is None else ["" if each is None else f"header {each[1]}" for each in routed]
        labels = RowLabels(ids, units, causes)
        logged = self._log(served, scores, lookup, labels)
        self.counters.batch(served.release.endpoint, lookup.now_us)
        self._count(served, scores, (self._timer() - start) / 1e9, len(requests))
        if served.shadows:
            self._offer_to_shadows(served, lookup, labels)
        remaining, answers, unlogged = iter(given), map(_answer, ids, given), () if logged else (_UNLOGGED,)
        responses = []
        for request in requests:
            own, scored = tuple(islice(answers, len(request.rows))), list(islice(remaining, len(request.rows)))
            responses.append(PredictResponse(own, logged, feature_warnings(scored) + unlogged))
        return responses

    def _log(self, served: LoadedRelease, scores: Sequence[tuple[int, Score]], lookup: Lookup, labels: RowLabels) -> bool:
        release = served.release
        entry = [
            Prediction(
                prediction_id=labels.ids[position],
                endpoint=release.endpoint,
                at_us=lookup.now_us,
                model=each.scored_by.route.model,
                number=each.scored_by.route.number,
                role=each.scored_by.route.role,
                revision=release.revision,
                unit=labels.units[position],
                request=lookup.rows[position],
                features=each.features,
                answer=each.answer,
                latency_us=each.latency_us,
                error=each.error,
                missing=each.missing,
                group=str(lookup.rows[position][served.group]) if served.group else "",
                routed_by="" if labels.causes is None else labels.causes[position],
            )
            for position, each in scores
        ]
        if not entry:
            return True
        try:
            prediction_log.append(self._journal, release.endpoint, entry, sync=self.sync)
        except Unavailable as error:
            self.counters.add("rota_predictions_unlogged_total", len(entry), endpoint=release.endpoint)
            log.warning("the prediction log cannot be written: %s", error, extra={"action": "log", "endpoint": release.endpoint})
            return False
        return True

    def _count(self, served: LoadedRelease, scores: Sequence[tuple[int, Score]], seconds: float, requests: int) -> None:
        endpoint = served.release.endpoint
        self.counters.observe(endpoint, seconds, requests)
        self._count_scores(endpoint, [each for _, each in scores])
        missing = Counter(reason for _, each in scores if each.missing for reason in each.missing.values())
        for reason, count in missing.items():
            self.counters.add("rota_features_missing_total", count, endpoint=endpoint, reason=reason)

    def _count_scores(self, endpoint: str, scores: Sequence[Score]) -> None:
        counts: dict[tuple[str, int, str, str], int] = defaultdict(int)
        for each in scores:
            route = each.scored_by.route
            counts["rota_prediction_failures_total" if each.error else "rota_predictions_total", route.number, route.model, route.role] += 1
        for (name, number, model, role), count in counts.items():
            self.counters.add(name, count, endpoint=endpoint, model=model, version=number, role=role)

    def _offer_to_shadows(self, served: LoadedRelease, lookup: Lookup, labels: RowLabels) -> None:
        def work() -> None:
            for shadow in served.shadows:
                scores = score(shadow, lookup, range(len(labels.ids)), served.stable)
                self._log(served, list(enumerate(scores)), lookup, labels)
                self._count_scores(served.release.endpoint, scores)

        if not self._shadows.offer(work):
            self.counters.add("rota_shadow_dropped_total", len(labels.ids), endpoint=served.release.endpoint)


def new_ids(count: int, now_us: Micros, random: Callable[[int], bytes]) -> list[str]:
    """Prediction ids that sort by time: UUIDs version 7 (RFC 9562) of the platform's clock."""
    noise = random(10 * count)
    head = now_us // 1_000 << 80 | 0x7 << 76 | 0b10 << 62
    return [_uuid_text(head, int.from_bytes(noise[at : at + 10])) for at in range(0, 10 * count, 10)]


def _uuid_text(head: int, noise: int) -> str:
    text = f"{head | (noise >> 62 & 0xFFF) << 64 | noise & (1 << 62) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _score_all(
    served: LoadedRelease, lookup: Lookup, units: Sequence[str], routed: Sequence[tuple[Route, HeaderMatch] | None] | None
) -> tuple[list[Score], list[tuple[int, Score]]]:
    """The score each row's caller gets, and those of canaries that failed with their rows' positions."""
    if len(served.routes) == 1:
        return score(served.stable, lookup, range(len(units)), served.stable), []
    chosen = [served.routes[routing.choose(served.release, unit)] for unit in units]
    if routed is not None:
        chosen = [loaded if rule is None else served.routes[rule[0]] for loaded, rule in zip(chosen, routed, strict=True)]
    by_id = {id(loaded): loaded for loaded in chosen}
    positions: dict[int, list[int]] = defaultdict(list)
    for position, loaded in enumerate(chosen):
        positions[id(loaded)].append(position)
    given: dict[int, Score] = {}
    for key, group in positions.items():
        given.update(zip(group, score(by_id[key], lookup, group, served.stable), strict=True))
    failed = [(position, each) for position, each in given.items() if each.error and each.scored_by is not served.stable]
    if failed:
        again = [position for position, _ in failed]
        given.update(zip(again, score(served.stable, lookup, again, served.stable), strict=True))
    return [given[position] for position in range(len(units))], failed


def _unit(field: str, row: Row, id: str) -> str:
    """The unit that routing is sticky to: the release's unit field, or the prediction itself where the release or the row has none."""
    value = row.get(field) if field else None
    return id if value is None else str(value)


def _answer(id: str, each: Score) -> Answer:
    route = each.scored_by.route
    return Answer(id, each.answer, route.model, route.number, route.role, each.error, each.missing, each.refused)


def feature_warnings(scores: Sequence[Score]) -> tuple[str, ...]:
    """What is not online, then a sentence for each reason for which features had no value."""
    if not any(each.warnings or each.missing for each in scores):
        return ()
    found = dict.fromkeys(warning for each in scores for warning in each.warnings)
    for reason in sorted({reason for each in scores if each.missing for reason in each.missing.values()} & _WHY.keys()):
        names = sorted({name for each in scores for name, other in each.missing.items() if other == reason})
        rows = sum(reason in each.missing.values() for each in scores)
        found[f"{rows} of {len(scores)} rows: {', '.join(names)} null, {_WHY[reason]} ({reason})"] = None
    return tuple(found)


_UNLOGGED = "the prediction log could not take these answers, so no label finds them and no monitor sees them; look at the home's disk"
_WHY = {
    "NOT_FOUND": "nothing is stored of the entity",
    "OUTSIDE_MAX_AGE": "the newest row of the entity is older than the ttl of the view",
}
