"""Metrics of a classifier of many classes, and of one of two, beside scikit-learn's functions for the same numbers: time and memory.

    python benchmarks/models/metrics.py [--rows 10000000] [--classes 10] [--repeats 3] [--case multiclass] [--no-memory]

Both sides run on the same arrays, alternately; the least CPU time of the repeats counts. Memory is what a child process needs at its peak above the
arrays that it was given.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics as sk

from rota.problems import registry

Columns = tuple[np.ndarray, np.ndarray]


def multiclass(rows: int, classes: int) -> Columns:
    random = np.random.default_rng(1)
    answers = random.random((rows, classes))
    truth = random.integers(0, classes, rows)
    answers[np.arange(rows), truth] += 0.3
    answers /= answers.sum(axis=1, keepdims=True)
    return truth.astype(np.float64), answers


def binary(rows: int, _classes: int) -> Columns:
    random = np.random.default_rng(2)
    answers = random.random(rows)
    return (random.random(rows) < answers).astype(np.float64), answers


def ours_multiclass(truth: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    return registry.evaluate("multiclass", truth, answers, outputs=tuple(map(str, range(answers.shape[1]))))


def theirs_multiclass(truth: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    answered, labels = answers.argmax(axis=1), np.arange(answers.shape[1])
    known = truth.astype(np.int64)
    return {
        "accuracy": sk.accuracy_score(known, answered),
        "balanced_accuracy": sk.balanced_accuracy_score(known, answered),
        "f1_macro": sk.f1_score(known, answered, average="macro"),
        "log_loss": sk.log_loss(known, answers, labels=labels),
        "brier": sk.brier_score_loss(known, answers, labels=labels, scale_by_half=False),
        "roc_auc_ovr": sk.roc_auc_score(known, answers, multi_class="ovr", labels=labels),
    }


def ours_binary(truth: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    return registry.evaluate("classification", truth, answers)


def theirs_binary(truth: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    return {
        "roc_auc": sk.roc_auc_score(truth, answers),
        "average_precision": sk.average_precision_score(truth, answers),
        "log_loss": sk.log_loss(truth, answers),
        "brier": sk.brier_score_loss(truth, answers),
        "accuracy": sk.accuracy_score(truth, answers >= 0.5),
    }


CASES: dict[str, tuple[Callable[[int, int], Columns], Callable[..., Any], Callable[..., Any]]] = {
    "multiclass": (multiclass, ours_multiclass, theirs_multiclass),
    "classification": (binary, ours_binary, theirs_binary),
}


def peak(case: str, side: int, rows: int, classes: int) -> float:
    """MiB above the arrays, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (case, side, rows, classes))


def _peak(case: str, side: int, rows: int, classes: int) -> float:
    make, *sides = CASES[case]
    sides[side](*make(1_000, classes))  # what is loaded on first use
    columns = make(rows, classes)
    with Path("/proc/self/clear_refs").open("w") as forget:
        forget.write("5")  # the peak is counted from here
    before = _resident("VmRSS")
    sides[side](*columns)
    return _resident("VmHWM") - before


def _resident(name: str) -> float:
    try:
        with Path("/proc/self/status").open() as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(case: str, rows: int, classes: int, repeats: int, *, memory: bool) -> dict[str, Any]:
    make, ours, theirs = CASES[case]
    columns = make(rows, classes)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, function in enumerate((ours, theirs)):
            begin = time.process_time()
            found = function(*columns)
            times[side].append(time.process_time() - begin)
            if side == 0:
                own = found
            else:
                assert all(abs(own[name] - value) < 1e-9 * max(1, abs(value)) for name, value in found.items()), (own, found)
    own_s, other_s = min(times[0]), min(times[1])
    del columns
    found = {
        "case": case,
        "rows": rows,
        "rota_cpu_s": round(own_s, 2),
        "sklearn_cpu_s": round(other_s, 2),
        "times_faster": round(other_s / own_s, 1),
    }
    if memory:
        found |= dict(zip(("rota_mib", "sklearn_mib"), (round(peak(case, side, rows, classes)) for side in (0, 1)), strict=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--no-memory", action="store_true")
    chosen = parser.parse_args()
    for case in [chosen.case] if chosen.case else CASES:
        print(json.dumps(measured(case, chosen.rows, chosen.classes, chosen.repeats, memory=not chosen.no_memory)), flush=True)


if __name__ == "__main__":
    main()
