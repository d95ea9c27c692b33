"""What an answer of several numbers costs beside one number: CPU of a prediction from the request to the log, without the model's own.

    python benchmarks/models/answers.py [--rounds 7] [--requests 4000] [--one-number]

A model that costs nothing answers the same array each time, so that what is left is Rota's: checks, look-up, answer, log entry and JSON. Forms are
asked in turns, a round each; CPU time of the process, median of the rounds. `--one-number` measures that form alone, also on older releases.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.models.loading import LoadedModel
from rota.manage.models.transformation import RowsTransformer
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.model import ModelBundle, Transformation, TransformedColumn
from rota.records.release import Release, Route
from rota.serve.predicting import PredictionCore
from rota.serve.scoring import LoadedRelease
from rota.testing.clock import FakeClock

COLUMNS = 10
NAMES = [f"x{place}" for place in range(COLUMNS)]
SERVICE = FeatureService("m", [OnDemandFeatureView("r", dict.fromkeys(NAMES, "float"), {name: Feature(name) for name in NAMES})])


class Constant:
    """A predictor that costs nothing."""

    def __init__(self, outputs: int) -> None:
        self._answer = np.full((1, outputs) if outputs else 1, 1 / max(outputs, 1))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        return np.repeat(self._answer, len(matrix), axis=0) if len(matrix) != 1 else self._answer


class Request:
    """Features out of the request alone."""

    waits = False
    warnings: tuple[str, ...] = ()

    def look_up(self, rows: Sequence[Mapping[str, Any]], _now_us: int) -> tuple[list[dict[str, Any]], "Request"]:
        return [{f"r__{name}": value for name, value in row.items()} for row in rows], self

    def reasons(self) -> dict[str, Any]:
        return {}


def served(name: str, problem: str, outputs: int) -> LoadedRelease:
    transformation = Transformation(tuple(TransformedColumn(f"r__x{i}", "float") for i in range(COLUMNS)))
    named = {"outputs": tuple(f"class {i}" for i in range(outputs))} if outputs else {}
    bundle = ModelBundle(name, "constant", "", problem, SERVICE, transformation, (), (), **named)
    route = Route(name, 1, name, "stable", 100)
    model = LoadedModel(name, bundle, Constant(outputs), RowsTransformer(transformation))
    return LoadedRelease.of(Release(name, 1, (route,), "", 0, salt="s"), {name: model}, {name: Request()})


def cpu_us(core: PredictionCore, endpoint: str, requests: int) -> float:
    encode = msgspec.json.Encoder().encode
    row = {f"x{i}": float(i) for i in range(COLUMNS)}
    start = time.process_time_ns()
    for _ in range(requests):
        encode(core.predict(endpoint, [row]))
    return (time.process_time_ns() - start) / requests / 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--one-number", action="store_true")
    asked = parser.parse_args()
    forms = {"one number": ("regression", 0)}
    if not asked.one_number:
        forms |= {"10 classes": ("multiclass", 10), "10 targets": ("regression", 10), "1,000 classes": ("multiclass", 1_000)}
    with tempfile.TemporaryDirectory() as folder:
        journal = SegmentJournal(Path(folder))
        core = PredictionCore(journal, FakeClock(1_373_889_600_000_000))
        for place, (problem, outputs) in enumerate(forms.values()):
            core.switch(f"e{place}", served(f"e{place}", problem, outputs))
        seen: dict[str, list[float]] = {name: [] for name in forms}
        for _ in range(asked.rounds):
            for place, name in enumerate(forms):
                seen[name].append(cpu_us(core, f"e{place}", asked.requests if "1,000" not in name else asked.requests // 10))
        core.close()
        journal.close()
    usual = statistics.median(seen["one number"])
    for name, rounds in seen.items():
        found = statistics.median(rounds)
        print(f"{name:14} {found:8.1f} us a request ({found / usual:.2f}x; {min(rounds):.1f} to {max(rounds):.1f})")


if __name__ == "__main__":
    main()
