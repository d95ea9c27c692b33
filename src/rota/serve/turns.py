"""Answering together what arrived in one turn of the event loop: no waiting window, yet one model call for all of it."""

import asyncio
import logging
from collections.abc import Sequence

from rota.serve.predicting import Answers, PredictionCore, Question

log = logging.getLogger("rota.serve")
LARGE_ROWS = 256
"""A request of more rows is answered on a thread: it would hold up the loop for a millisecond or more."""


class Turns:
    """Collects questions and answers them once the loop has handled everything that had already arrived.

    With a core that syncs its log the turn is taken on a thread and the next one collects meanwhile, so that all requests
    of a turn share one fsync. Used from one event loop.
    """

    def __init__(self, core: PredictionCore) -> None:
        self._core = core
        self._waiting: list[tuple[Question, asyncio.Future[Answers]]] = []
        self._turn: asyncio.Handle | asyncio.Task[None] | None = None

    async def answer(self, question: Question) -> Answers:
        """The answers to one question."""
        if len(question.rows) > LARGE_ROWS:
            return (await asyncio.to_thread(self._core.answer, [question]))[0]
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answers] = loop.create_future()
        self._waiting.append((question, future))
        if self._turn is None:
            self._turn = loop.create_task(self._take_on_threads()) if self._core.sync else loop.call_soon(self._take)
        return await future

    def _take(self) -> None:
        self._turn = None
        waiting, self._waiting = self._waiting, []
        try:
            _resolve(waiting, self._core.answer([question for question, _ in waiting]))
        except Exception as error:  # every caller must be told, or he would wait for ever
            log.exception("a turn of predictions failed", extra={"action": "answer"})
            _reject(waiting, error)

    async def _take_on_threads(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                _resolve(waiting, await asyncio.to_thread(self._core.answer, [question for question, _ in waiting]))
            except Exception as error:  # as above
                log.exception("a turn of predictions failed", extra={"action": "answer"})
                _reject(waiting, error)
        self._turn = None


def _resolve(waiting: Sequence[tuple[Question, asyncio.Future[Answers]]], answers: Sequence[Answers]) -> None:
    for (_, future), each in zip(waiting, answers, strict=True):
        if not future.done():  # the caller may have gone away
            future.set_result(each)


def _reject(waiting: Sequence[tuple[Question, asyncio.Future[Answers]]], error: Exception) -> None:
    for _, future in waiting:
        if not future.done():
            future.set_exception(error)
