"""Micro-batching: requests that arrived in one turn of the event loop are answered by one model call, without a waiting window."""

import asyncio
import logging
from collections.abc import Sequence

from rota.serve.predicting import CheckedRequest, PredictionCore, PredictResponse

log = logging.getLogger("rota.serve")
LARGE_ROWS = 256
"""A request of more rows is answered on a thread: it would hold up the loop for a millisecond or more."""


class MicroBatcher:
    """Collects requests and answers them as one batch once the loop has handled everything that had already arrived.

    With a core that syncs its log the batch is answered on a thread and the next one collects meanwhile, so that all requests
    of a batch share one fsync. Used from one event loop.
    """

    def __init__(self, core: PredictionCore) -> None:
        self._core = core
        self._waiting: list[tuple[CheckedRequest, asyncio.Future[PredictResponse]]] = []
        self._scheduled: asyncio.Handle | asyncio.Task[None] | None = None

    async def answer(self, request: CheckedRequest) -> PredictResponse:
        """The response to one request; raises what the core raised for its batch."""
        if len(request.rows) > LARGE_ROWS:
            return (await asyncio.to_thread(self._core.answer, [request]))[0]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[PredictResponse] = loop.create_future()
        self._waiting.append((request, future))
        if self._scheduled is None:
            self._scheduled = loop.create_task(self._answer_on_threads()) if self._core.sync else loop.call_soon(self._answer_batch)
        return await future

    def _answer_batch(self) -> None:
        self._scheduled = None
        waiting, self._waiting = self._waiting, []
        try:
            _resolve(waiting, self._core.answer([request for request, _ in waiting]))
        except Exception as error:  # every caller must learn of it, or would wait for ever
            log.exception("a batch of predictions failed", extra={"action": "answer"})
            _reject(waiting, error)

    async def _answer_on_threads(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                _resolve(waiting, await asyncio.to_thread(self._core.answer, [request for request, _ in waiting]))
            except Exception as error:  # as above
                log.exception("a batch of predictions failed", extra={"action": "answer"})
                _reject(waiting, error)
        self._scheduled = None


def _resolve(waiting: Sequence[tuple[CheckedRequest, asyncio.Future[PredictResponse]]], responses: Sequence[PredictResponse]) -> None:
    for (_, future), response in zip(waiting, responses, strict=True):
        if not future.done():  # the caller may have gone away
            future.set_result(response)


def _reject(waiting: Sequence[tuple[CheckedRequest, asyncio.Future[PredictResponse]]], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
