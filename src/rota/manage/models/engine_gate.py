"""The engine gate: a faster engine serves a model only where it answers what the model answers, on real rows and on rows made to differ.

Compared are rows of the data, and rows in which one column after the other, and then all at once, take the values near which answers change:
thresholds of trees and their neighbours, nulls, texts that nobody knows, numbers far outside. One answer further apart than the tolerance, one
class that flips, one row that only one of the two refuses, or no gain in time: the model is served as its author gave it, and the reason is kept.
"""

import importlib.metadata
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rota.errors import InvalidInput, RotaError
from rota.manage.models import engine_guard, probe_rows
from rota.manage.models.engine_guard import GuardedPredictor
from rota.ports.models import ConvertibleFormat, ModelFormat, Predictor
from rota.records.model import EngineChoice
from rota.records.record import Record
from rota.records.run import Problem

CONVERTED = "converted"
"""The format of converted models."""
ENGINE = "onnxruntime"
TOLERANCE = 1e-5
FEWEST_ROWS = 1_000
"""Rows that are compared at least; what the data has fewer is drawn."""
DRAWN_ROWS = 400
MOST_REAL_ROWS = 1_500
MOST_PROBES = 4_000
MOST_CODES = 60
MOST_REFUSED = 48
"""Rows that the model is expected to refuse, of which each costs a call."""
ALONE = 24
"""Rows that are also asked one by one."""
TIMED = 15
LIBRARIES = {"skops": "scikit-learn", "onnx": "onnxruntime", "pickle": "the author's Python object"}
"""What serves a model of a format by itself, where it has another name than the format."""
_CONVERTERS = ("skl2onnx", "onnx", "onnxruntime")


class EngineOrder(Record, frozen=True):
    """What a process of its own looks at: `folder` holds the model's bytes ("model") and real rows of its matrix ("rows.npy").

    `vocabularies` are the texts of each column of the matrix; the converted file is written to "converted".
    """

    folder: str
    format: str
    problem: Problem
    outputs: tuple[str, ...] = ()
    vocabularies: tuple[tuple[str, ...], ...] = ()


def native(format_: str, why: str) -> EngineChoice:
    """The choice of a format's own library."""
    return EngineChoice(LIBRARIES.get(format_, format_), why)


def choose(order: EngineOrder, formats: Mapping[str, ModelFormat]) -> EngineChoice:
    """What shall serve the model; never raises for what a model or a converter does."""
    folder = Path(order.folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a framework's advice on rows that nobody wrote
            return _chosen(order, formats, (folder / "model").read_bytes(), np.load(folder / "rows.npy"), folder / CONVERTED)
    except RotaError as error:
        return native(order.format, f"not converted: {' '.join(str(error).split())[:500]}")
    except Exception as error:  # noqa: BLE001 - converters and foreign models raise anything, and a registration does not fail for it
        return native(order.format, f"not converted: {type(error).__name__}: {' '.join(str(error).split())[:500]}")


def _chosen(order: EngineOrder, formats: Mapping[str, ModelFormat], data: bytes, real: np.ndarray, out: Path) -> EngineChoice:
    format_ = formats[order.format]
    if not isinstance(format_, ConvertibleFormat):
        return native(order.format, "its own library answers it; there is no conversion of this format")
    if CONVERTED not in formats:
        raise InvalidInput("onnxruntime is not installed where it was registered: pip install 'rota[onnx]'")
    conversion = format_.converted(data)
    model, fast = format_.loads(data), formats[CONVERTED].loads(conversion.data)
    unseen = engine_guard.code_of_unseen(order.vocabularies)
    real = np.asarray(real, dtype=np.float64)[:MOST_REAL_ROWS]
    answered = _answered_row(model, real)
    guarded = GuardedPredictor.of(fast, engine_guard.learnt(model, answered, unseen))
    sentinels = format_.describe(data).sentinels
    made = probes(real, unseen, conversion.thresholds, sentinels)
    compared, difference = _compared(model, guarded, np.vstack([real, made]), order)
    refused = _refused_alike(model, guarded, np.vstack([real, made]))
    sampled = int(guarded.taken(real).sum())
    native_us, row_us = _row_us(model, answered), _row_us(guarded, answered)
    if row_us >= native_us:
        raise InvalidInput(f"converted, a row takes {row_us:.0f} us, and {native_us:.0f} us as it is")
    out.write_bytes(conversion.data)
    return EngineChoice(
        ENGINE,
        f"its conversion answers {compared} rows as the model does (largest difference {difference:.1g}, no class differs), {sampled} of them real; "
        f"a row took {row_us:.0f} us instead of {native_us:.0f}",
        compared=compared,
        sampled=sampled,
        refused=refused,
        difference=difference,
        tolerance=TOLERANCE,
        guard=guarded.guard,
        row_us=round(row_us, 1),
        native_row_us=round(native_us, 1),
        size_bytes=len(conversion.data),
        versions={name: importlib.metadata.version(name) for name in _CONVERTERS},
    )


def probes(real: np.ndarray, unseen: Mapping[int, int], thresholds: Mapping[int, Sequence[float]], sentinels: Sequence[float] = ()) -> np.ndarray:
    """Rows made to reach what two engines can answer differently: one column changed at a time in two real rows, and rows in which all are drawn."""
    random = np.random.default_rng(0)
    pools = [np.array(list(_values(column, real, unseen, thresholds, sentinels))) for column in range(real.shape[1])]
    made = []
    for base in (real[0], real[-1]):
        for column, pool in enumerate(pools):
            changed = np.repeat(base[None, :], len(pool), axis=0)
            changed[:, column] = pool
            made.append(changed)
    single = np.vstack(made)
    if len(single) > MOST_PROBES:
        single = single[np.linspace(0, len(single) - 1, MOST_PROBES, dtype=int)]
    missing = max(DRAWN_ROWS, FEWEST_ROWS + DRAWN_ROWS - len(real) - len(single))
    drawn = np.column_stack([_drawn(pool, real[:, column], missing, random) for column, pool in enumerate(pools)])
    return np.vstack([single, drawn])


def _drawn(pool: np.ndarray, seen: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Mostly real values, so that few rows are refused for one of their cells."""
    return np.where(random.random(count) < 0.7, random.choice(seen, count), random.choice(pool[~np.isnan(pool)], count))


def _values(
    column: int, real: np.ndarray, unseen: Mapping[int, int], thresholds: Mapping[int, Sequence[float]], sentinels: Sequence[float]
) -> list[float]:
    if column in unseen:
        known = unseen[column]
        return [*map(float, range(min(known, MOST_CODES))), float(known), np.nan]
    near = [value for bound in thresholds.get(column, ()) for value in probe_rows.neighbours(float(bound))]
    values = [*probe_rows.NUMBERS, *sentinels, *near, float(np.nanmin(real[:, column], initial=0.0)), float(np.nanmax(real[:, column], initial=0.0))]
    return [*dict.fromkeys(value for value in values if np.isfinite(value)), np.nan]


def _answered_row(model: Predictor, real: np.ndarray) -> np.ndarray:
    for row in real[:ALONE]:
        try:
            model.predict(row[None, :])
        except InvalidInput:
            continue
        found: np.ndarray = row
        return found
    raise InvalidInput(f"the model answers none of the first {min(len(real), ALONE)} rows, so nothing can be compared")


def _compared(model: Predictor, guarded: GuardedPredictor, rows: np.ndarray, order: EngineOrder) -> tuple[int, float]:
    """How many rows both answer, and the largest difference; raises `InvalidInput` with the first row that differs."""
    asked = rows[guarded.taken(rows)]
    try:
        own = np.asarray(model.predict(asked))
    except InvalidInput as error:
        raise InvalidInput(f"the model refuses rows that its conversion answers: {error}") from error
    found = guarded.predict(asked)
    if own.shape != found.shape:
        raise InvalidInput(f"the conversion answers {found.shape}, the model {own.shape}")
    places = np.linspace(0, len(asked) - 1, min(ALONE, len(asked)), dtype=int)
    alone = np.concatenate([guarded.predict(asked[place : place + 1]) for place in places])
    largest = max(_check(own, found, asked, order), _check(own[places], alone, asked[places], order))
    if len(asked) < FEWEST_ROWS:
        raise InvalidInput(f"only {len(asked)} rows could be compared, and {FEWEST_ROWS} are needed")
    return len(asked), largest


def _check(own: np.ndarray, found: np.ndarray, rows: np.ndarray, order: EngineOrder) -> float:
    same = (own == found) | (np.isnan(own) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(own - found) / np.maximum(1.0, np.abs(own))).reshape(len(rows), -1)
    apart = np.nan_to_num(apart, nan=np.inf).max(axis=1)
    wrong = np.flatnonzero(apart > TOLERANCE)
    if len(wrong):
        raise InvalidInput(_told(f"{len(wrong)} of {len(rows)} rows are answered differently", wrong[0], own, found, rows))
    flipped = np.flatnonzero(_classes(own, order.problem) != _classes(found, order.problem))
    if len(flipped):
        raise InvalidInput(_told(f"{len(flipped)} of {len(rows)} rows are given another class", flipped[0], own, found, rows))
    return float(apart.max(initial=0.0))


def _told(what: str, place: int, own: np.ndarray, found: np.ndarray, rows: np.ndarray) -> str:
    return f"{what}, for example {rows[place].tolist()[:8]}: the model answers {own[place].tolist()}, its conversion {found[place].tolist()}"


def _classes(answers: np.ndarray, problem: Problem) -> np.ndarray:
    """The class that each answer names; of answers that name none, zeros."""
    if problem == "classification" and answers.ndim == 1:
        return (answers >= 0.5).astype(int)
    if problem == "multiclass" and answers.ndim == 2:
        found: np.ndarray = answers.argmax(axis=1)
        return found
    return np.zeros(len(answers), dtype=int)


def _refused_alike(model: Predictor, guarded: GuardedPredictor, rows: np.ndarray) -> int:
    """How many rows were tried that both refuse; raises `InvalidInput` for one that the model answers."""
    kept_back = rows[~guarded.taken(rows)]
    tried = kept_back[np.linspace(0, len(kept_back) - 1, min(MOST_REFUSED, len(kept_back)), dtype=int)] if len(kept_back) else kept_back
    for row in tried:
        try:
            model.predict(row[None, :])
        except InvalidInput:
            continue
        raise InvalidInput(f"the model answers a row that its conversion would refuse: {row.tolist()[:8]}")
    return len(tried)


def _row_us(model: Predictor, row: np.ndarray, timer: Callable[[], float] = time.perf_counter) -> float:
    """The median time of a call for one row, in microseconds."""
    times, given = [], row[None, :]
    for _ in range(TIMED):
        start = timer()
        model.predict(given)
        times.append((timer() - start) * 1e6)
    return statistics.median(times)
