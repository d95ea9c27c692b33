"""Ask in a process of its own which engine shall serve a model that is registered: conversions are heavy, and may crash.

Whatever goes wrong there is the reason why the model is served by its own library, never why it is not registered.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from rota.errors import Interrupted, RotaError
from rota.manage.models import engine_gate, transformation
from rota.manage.models.engine_gate import CONVERTED, EngineOrder
from rota.ports.blobs import Blobs
from rota.ports.compute import Compute
from rota.records.model import EngineChoice, ModelBundle
from rota.records.record import plain

TIMEOUT_S = 300.0
CONVERTIBLE = frozenset({"skops", "xgboost"})
"""Formats of which there may be a conversion; models of the others are not looked at."""
MOST_BYTES = 500_000_000
_OWN = {
    "lightgbm": "its C library answers a row in microseconds",
    "pickle": "what a pickle holds is not converted, because only its author knows what it does",
}


@dataclass(frozen=True, slots=True)
class EngineChooser:
    """`function` is the "module:name" of what `compute` calls with an `EngineOrder` as plain values; `temporary` is where files lie meanwhile."""

    compute: Compute
    function: str
    temporary: Callable[[], Path | None] = lambda: None
    timeout_s: float = TIMEOUT_S

    def choose(
        self, blobs: Blobs, bundle: ModelBundle, data: bytes, rows: np.ndarray | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> EngineChoice:
        """Which engine serves the bundle; a converted file is a blob then. `rows` are real rows of its matrix (None: its golden rows).

        Raises `Interrupted` only when `stopped` said so.
        """
        if bundle.format not in CONVERTIBLE:
            return engine_gate.native(bundle.format, _OWN.get(bundle.format, "its own library answers it; there is no conversion of this format"))
        if len(data) > MOST_BYTES:
            return engine_gate.native(bundle.format, f"not converted: it has {len(data)} bytes, and {MOST_BYTES} are converted at most")
        if bundle.transformation.has_texts:
            return engine_gate.native(bundle.format, "not converted: it reads texts word by word")
        real = transformation.matrix_of_golden(bundle.transformation, bundle.golden_rows) if rows is None else rows
        try:
            return self._asked(blobs, bundle, data, np.asarray(real, dtype=np.float64), stopped)
        except Interrupted as error:
            if error.facts.get("cause") == "stopped":
                raise
            return engine_gate.native(bundle.format, f"not converted: the process that converts ended ({error})")
        except (RotaError, OSError) as error:
            return engine_gate.native(bundle.format, f"not converted: {' '.join(str(error).split())[:500]}")

    def _asked(self, blobs: Blobs, bundle: ModelBundle, data: bytes, rows: np.ndarray, stopped: Callable[[], bool]) -> EngineChoice:
        with tempfile.TemporaryDirectory(prefix="rota-engine-", dir=self.temporary()) as name:
            folder = Path(name)
            (folder / "model").write_bytes(data)
            np.save(folder / "rows.npy", rows)
            vocabularies = tuple(column.vocabulary for column in bundle.transformation.columns) if _is_plain(bundle, rows) else ()
            order = EngineOrder(name, bundle.format, bundle.problem, bundle.outputs, vocabularies)
            told = self.compute.run(self.function, plain(order), timeout_s=self.timeout_s, stopped=stopped)
            found = msgspec.convert(told, EngineChoice)
            if found.guard is None:
                return found
            return msgspec.structs.replace(found, blob=blobs.put((folder / CONVERTED).read_bytes()))


def _is_plain(bundle: ModelBundle, rows: np.ndarray) -> bool:
    """Whether each feature is one column of the matrix."""
    return rows.ndim == 2 and rows.shape[1] == len(bundle.transformation.columns)
