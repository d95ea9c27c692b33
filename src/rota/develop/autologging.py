"""Autologging: which fit is logged into which run; a failing log never breaks a fit.

The first fit inside a run's block belongs to that run, every further one to a child of it; a fit outside opens a run of its
own when somebody asked for that by `rota.autolog()`. A fit inside another fit (a pipeline's step, a search's candidate) is a part
of it. Threads that a fit starts do not know their block, so a fit in a thread without a run is taken for a part while any fit is logged.
"""

import importlib
import importlib.util
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from rota.develop.tracking import TrackedRun, current_run
from rota.ports.autolog import Autologger, FitLog
from rota.records.tracking import MAX_KEY, MAX_PARAMETER, MAX_TAG

logger = logging.getLogger("rota.develop")
MODEL_NOT_KEPT = "autolog.model_not_kept"
"""The tag that says why a fit's model was not kept."""
OpenRun = Callable[[str], AbstractContextManager[TrackedRun]]

_fitting: ContextVar[bool] = ContextVar("rota.fitting", default=False)


class Autologging:
    """The autologging of a process: it changes libraries, so there is one. `modules` names each library's autologger. Thread-safe."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._lock = threading.RLock()
        self._undo: list[Callable[[], None]] = []
        self._blocks = 0
        self._open: OpenRun | None = None
        self._fits = 0

    def __reduce__(self) -> tuple[type["Autologging"], tuple[dict[str, str]]]:
        """A class that was defined under autologging is pickled with its wrapped `fit`; read again, that wrapper belongs to no library."""
        return Autologging, ({},)

    def enable(self, open_run: OpenRun) -> None:
        """Log every fit from now on; one outside of a run opens one by its name."""
        with self._lock:
            self._open = open_run
            self._install()

    def disable(self) -> None:
        """Log no fit any more, but for blocks that ask for it."""
        with self._lock:
            self._open = None
            self._restore()

    @contextmanager
    def enabled(self) -> Iterator[None]:
        """Log the fits inside the runs of this block."""
        with self._lock:
            self._blocks += 1
            self._install()
        try:
            yield
        finally:
            with self._lock:
                self._blocks -= 1
                self._restore()

    @contextmanager
    def fitting(self, name: str) -> Iterator[FitLog | None]:
        """See `rota.ports.autolog.Fitting`."""
        if not self._is_outermost():
            yield None
            return
        token = _fitting.set(True)
        self._count(1)
        left = ExitStack()
        try:
            log = self._begun(name, left)
            try:
                yield log
            except BaseException as error:
                _quietly(left.__exit__, type(error), error, error.__traceback__)
                raise
            _quietly(left.__exit__, None, None, None)
        finally:
            self._count(-1)
            _fitting.reset(token)

    def _is_outermost(self) -> bool:
        if _fitting.get():
            return False
        return current_run() is not None or (self._open is not None and not self._fits)

    def _count(self, more: int) -> None:
        with self._lock:
            self._fits += more

    def _begun(self, name: str, left: ExitStack) -> FitLog | None:
        """The log of a fit; None when its run cannot be opened."""
        run, open_run = current_run(), self._open
        try:
            if run is None:
                if open_run is None:
                    return None
                run = left.enter_context(open_run(name))
            elif run.autologged:
                run = left.enter_context(run.child(name))
            run.autologged = True
        except Exception as error:  # noqa: BLE001 - the fit is more important than its log
            _warn(error)
            return None
        return RunLog(run)

    def _install(self) -> None:
        if self._undo:
            return
        for library, module in self._modules.items():
            if importlib.util.find_spec(library) is not None:
                autologger: Autologger = importlib.import_module(module).AUTOLOGGER
                self._undo.append(autologger.install(self.fitting))

    def _restore(self) -> None:
        if self._blocks == 0 and self._open is None:
            while self._undo:
                self._undo.pop()()


class RunLog:
    """FitLog (port) on a tracked run."""

    def __init__(self, run: TrackedRun) -> None:
        self._run = run

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters that the run has already are left as somebody set them."""
        with self.guarded():
            known = self._run.record.parameters
            new = {str(name)[:MAX_KEY]: str(value)[:MAX_PARAMETER] for name, value in values.items()}
            self._run.log_params({name: value for name, value in new.items() if name not in known})

    def metric(self, name: str, value: float, step: int = 0) -> None:
        with self.guarded():
            self._run.log_metric(name, value, step)

    def artifact(self, name: str, data: bytes) -> None:
        with self.guarded():
            self._run.log_artifact(name, data)

    def data(self, rows: Any, name: str) -> None:
        """Only where nothing better is known of what the run read."""
        with self.guarded():
            if not self._run.inputs:
                self._run.log_input(rows, name, context="training")

    def model(self, fitted: Any, signature: str = "") -> None:
        with self.guarded():
            try:
                self._run.log_model(fitted, signature=signature)
            except Exception as error:  # noqa: BLE001 - a model's own code takes part in writing it
                told = f"{type(error).__name__}: {error}"
                logger.warning("autologging: %s; no model of run %s was kept", told, self._run.id, extra={"action": "autolog", "run": self._run.id})
                self._run.set_tag(MODEL_NOT_KEPT, told[:MAX_TAG])

    @contextmanager
    def guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the fit is more important than its log
            _warn(error)


def _quietly(act: Callable[..., object], *arguments: object) -> None:
    try:
        act(*arguments)
    except Exception as error:  # noqa: BLE001 - the fit is more important than its log
        _warn(error)


def _warn(error: Exception) -> None:
    logger.warning("autologging: %s: %s", type(error).__name__, error, extra={"action": "autolog"})
