"""Micro-batching: requests that arrived in one turn of the event loop are answered by one model call, without a waiting window.

A release whose models answer a row in microseconds, and end by what was checked of their trees, is answered on the loop. Every other endpoint
has a lane, a thread of its own: what waits there when a call ends is the next call, so a slow model delays neither another endpoint nor health.
A lane holds a bounded number of requests, and a request waits a bounded time.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rota.errors import Interrupted, Unavailable
from rota.serve.predicting import Answer, CheckedRequest, PredictionCore, PredictResponse

log = logging.getLogger("rota.serve")
LARGE_ROWS = 256
"""A request of more rows is answered in its lane: it would hold up the loop for a millisecond or more."""
SLICE_ROWS = 1_024
"""Rows of a large request that are answered before the next request of its endpoint has its turn."""
MOST_WAITING = 1_024
"""Requests that wait in one lane; one more is refused at once."""
IDLE_S = 30.0
"""After how long without a request a lane's thread ends."""


@dataclass(slots=True)
class _Waiting:
    """A request of a lane and whoever waits for it; `answered` are the responses to its first rows."""

    request: CheckedRequest
    future: "asyncio.Future[PredictResponse]"
    loop: asyncio.AbstractEventLoop
    answered: list[PredictResponse] = field(default_factory=list)
    done_rows: int = 0

    def settle(self, response: PredictResponse | Exception) -> None:
        """From a lane's thread: give the answer, or what went wrong, to whoever still waits."""
        try:
            self.loop.call_soon_threadsafe(_settle, self.future, response)
        except RuntimeError:  # the loop is closed: nobody waits any more
            log.debug("an answer came after the loop had ended", extra={"action": "answer"})


class MicroBatcher:
    """Answers requests together, on the loop or in the lane of their endpoint. Used from one event loop.

    `timeout_s` is the deadline of a request, of a large one of each of its slices. With a core that syncs its log every request is
    answered in a lane and the next ones collect meanwhile, so that all requests of a batch share one fsync.
    """

    def __init__(self, core: PredictionCore, *, timeout_s: float = 30.0) -> None:
        self._core = core
        self._timeout_s = timeout_s
        self._lanes: dict[str, _Lane] = {}
        self._arrived: list[_Waiting] = []
        self._waiting: list[tuple[CheckedRequest, asyncio.Future[PredictResponse]]] = []
        self._scheduled = False

    async def answer(self, request: CheckedRequest) -> PredictResponse:
        """The response to one request; raises what the core raised, `Unavailable` when too many wait, `Interrupted` past the deadline."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[PredictResponse] = loop.create_future()
        if request.served.quick and len(request.rows) <= LARGE_ROWS and not self._core.sync:
            self._waiting.append((request, future))
            self._schedule(loop)
            return await future
        endpoint = request.served.release.endpoint
        lane = self._lanes.get(endpoint) or self._lanes.setdefault(endpoint, _Lane(self._core, endpoint))
        if lane.waiting >= MOST_WAITING:
            raise Unavailable(f"endpoint {endpoint!r}: {MOST_WAITING} requests wait for its model already; ask again later", endpoint=endpoint)
        waiting = _Waiting(request, future, loop)
        lane.waiting += 1
        try:
            self._arrived.append(waiting)
            self._schedule(loop)
            return await self._in_time(waiting, endpoint)
        finally:
            lane.waiting -= 1

    async def _in_time(self, waiting: _Waiting, endpoint: str) -> PredictResponse:
        seen = -1
        while seen < waiting.done_rows:
            seen = waiting.done_rows
            done, _ = await asyncio.wait((waiting.future,), timeout=self._timeout_s)
            if done:
                return waiting.future.result()
        waiting.future.cancel()
        versions = sorted({f"{route.model}@{route.number}" for route in waiting.request.served.release.routes})
        raise Interrupted(
            f"endpoint {endpoint!r} ({', '.join(versions)}) did not answer within {self._timeout_s:g} s; ask again later, "
            "or raise predict_timeout_s if its model takes so long",
            endpoint=endpoint,
            versions=versions,
            timeout_s=self._timeout_s,
            cause="timeout",
        )

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        """At the end of a turn of the loop: what arrived in it goes to the lanes, and what is quick is answered."""
        self._scheduled = False
        arrived, self._arrived = self._arrived, []
        by_endpoint: dict[str, list[_Waiting]] = {}
        for each in arrived:
            by_endpoint.setdefault(each.request.served.release.endpoint, []).append(each)
        for endpoint, group in by_endpoint.items():
            self._lanes[endpoint].put(group)
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        try:
            responses: Sequence[PredictResponse | Exception] = self._core.answer([request for request, _ in waiting])
        except Exception as error:  # every caller must learn of it, or would wait for ever
            log.exception("a batch of predictions failed", extra={"action": "answer"})
            responses = [error] * len(waiting)
        for (_, future), response in zip(waiting, responses, strict=True):
            _settle(future, response)


class _Lane:
    """One endpoint's calls on a thread of its own: what waits is answered together, and large requests by turns, a slice each."""

    def __init__(self, core: PredictionCore, endpoint: str) -> None:
        self.waiting = 0
        self._core = core
        self._endpoint = endpoint
        self._small: deque[_Waiting] = deque()
        self._large: deque[_Waiting] = deque()
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, group: Sequence[_Waiting]) -> None:
        """Queue requests, and wake the thread."""
        with self._change:
            for each in group:
                (self._large if len(each.request.rows) > LARGE_ROWS else self._small).append(each)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"rota-lane-{self._endpoint}", daemon=True)
                self._thread.start()
            self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._change.wait_for(lambda: self._small or self._large, IDLE_S):
                    self._thread = None
                    return
                batch = self._taken()
                large = self._large.popleft() if self._large else None
            if batch:
                self._answer(batch)
            if large is not None and not large.future.done() and self._slice(large):
                with self._change:
                    self._large.append(large)

    def _taken(self) -> list[_Waiting]:
        """What is answered next; requests that were given up are dropped."""
        batch, rows = list[_Waiting](), 0
        while self._small and rows < SLICE_ROWS:
            each = self._small.popleft()
            if not each.future.done():
                batch.append(each)
                rows += len(each.request.rows)
        return batch

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            responses: Sequence[PredictResponse | Exception] = self._core.answer([each.request for each in batch])
        except Exception as error:  # as on the loop
            log.exception("a batch of predictions failed", extra={"action": "answer", "endpoint": self._endpoint})
            responses = [error] * len(batch)
        for each, response in zip(batch, responses, strict=True):
            each.settle(response)

    def _slice(self, large: _Waiting) -> bool:
        """Answer the next rows of a large request; whether there are more."""
        request, start = large.request, large.done_rows
        end = min(start + SLICE_ROWS, len(request.rows))
        part = CheckedRequest(request.served, request.rows[start:end], request.ids[start:end], start, request.routed)
        try:
            large.answered += self._core.answer([part])
        except Exception as error:  # as on the loop
            log.exception("a part of a large request failed", extra={"action": "answer", "endpoint": self._endpoint})
            large.settle(error)
            return False
        large.done_rows = end
        if end < len(request.rows):
            time.sleep(0)  # another thread may have its turn
            return True
        large.settle(_joined(large.answered))
        return False


def _joined(parts: Sequence[PredictResponse]) -> PredictResponse:
    """The response to a request that was answered in parts; a warning of each part counts the rows of that part."""
    predictions: list[Answer] = [answer for part in parts for answer in part.predictions]
    return PredictResponse(tuple(predictions), all(part.logged for part in parts), tuple(dict.fromkeys(w for part in parts for w in part.warnings)))


def _settle(future: "asyncio.Future[PredictResponse]", response: PredictResponse | Exception) -> None:
    if future.done():  # the caller may have gone away, or given up
        return
    if isinstance(response, Exception):
        future.set_exception(response)
    else:
        future.set_result(response)
