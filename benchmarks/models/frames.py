"""A frame of 1M rows x 50 columns from a dataset's files to a training function, against a bare read of the same files.

    python benchmarks/models/frames.py [--rows 1000000] [--rounds 5] [--json]

46 columns of numbers, 4 of texts. "bare" is `pl.read_parquet` of the files; "frame" is all that a training does between the dataset version and
`data.train.frame` in the other process: read, held-out rows left out, hand over, open there (both in one process here; a warm child's start
is no part of it). Both then sum every column of numbers, so that pages that are mapped are paid for. "matrix" is `data.train.x` besides. In turns,
by the clock and in CPU time; a ratio is the median of the ratios of rounds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

import rota
from rota.backends.storage.delta_places import Directory
from rota.backends.storage.delta_tables import DeltaTables
from rota.manage.datasets import build as datasets
from rota.manage.models import transformation
from rota.records.dataset import DatasetVersion
from rota.train import handoff, training_rows

NUMBERS, TEXTS = [f"n{place}" for place in range(46)], [f"t{place}" for place in range(4)]
INPUTS = dict.fromkeys(NUMBERS, "float") | dict.fromkeys(TEXTS, "string")


def definition() -> rota.TrainingPipeline:
    request = rota.OnDemandFeatureView("r", inputs=INPUTS, features={name: rota.sql(name) for name in INPUTS})
    labels = rota.Source("labels", {"at": "timestamp", "truth": "float"}, timestamp_field="at")
    dataset = rota.DatasetDefinition(rota.FeatureService("wide", [request]), labels=labels, label=rota.sql("truth"), timestamp="at")
    return rota.TrainingPipeline("wide", "wide:train", dataset)


def stored(tables: DeltaTables, rows: int) -> DatasetVersion:
    """A dataset version of drawn rows, a tenth of them held out."""
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {f"r__{name}": random.normal(size=rows) for name in NUMBERS}
        | {f"r__{name}": random.choice(["basic", "gold", "pro", "a text of some words"], rows) for name in TEXTS}
        | {"label": random.normal(size=rows), "at_us": np.arange(rows), "is_test": np.arange(rows) >= rows * 0.9, "row": np.arange(rows)}
    )
    tables.append("wide", frame, batch=("wide", 0))
    return DatasetVersion("wide", 1, "", "wide", 0, rows, rows * 9 // 10, rows // 10, 0, rows, 0, 0)


def timed(function: Callable[[], object]) -> np.ndarray:
    """Seconds by the clock and of CPU."""
    start = np.array([time.perf_counter(), time.process_time()])
    function()
    return np.array([time.perf_counter(), time.process_time()]) - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measured(Path(name), asked.rows, asked.rounds)
    if asked.json:
        print(json.dumps(found))
        return
    for clock in ("clock", "cpu"):
        bare, frame, matrix, ratio = (found[name][clock] for name in ("bare", "frame", "matrix", "ratio"))
        print(f"{clock}: bare read {bare:.2f} s, frame {frame:.2f} s ({ratio:.2f}x), its matrix {matrix:.2f} s more")


def measured(folder: Path, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    tables, pipeline = DeltaTables(Directory(folder / "tables")), definition()
    version = stored(tables, rows)
    files = sorted((folder / "tables").rglob("*.parquet"))
    rows_of_version = datasets.read(tables, version)
    fitted = transformation.fit(datasets.feature_types(rows_of_version, pipeline.dataset.features.feature_names), rows_of_version)
    del rows_of_version

    def bare() -> None:
        pl.read_parquet(files).select(pl.col(pl.Float64).sum())

    def frame(target: Path) -> rota.TrainingData:
        target.mkdir()
        handoff.save(target, training_rows.data(pipeline, tables.scan(version.table, version=version.table_version)), fitted)
        data, _ = handoff.load(target)
        data.train.frame.select(pl.col(pl.Float64).sum())
        return data

    times = []
    for place in range(rounds + 1):
        target = folder / f"round{place}"
        one, two = timed(bare), timed(lambda target=target: frame(target))
        three = timed(lambda target=target: handoff.load(target)[0].train.x)
        times.append((one, two, three))
    bare_s, frame_s, matrix_s = np.median(times[1:], axis=0)
    ratio = np.median([two / one for one, two, _ in times[1:]], axis=0)
    named = {"bare": bare_s, "frame": frame_s, "matrix": matrix_s, "ratio": ratio}
    return {name: dict(zip(("clock", "cpu"), map(float, values), strict=True)) for name, values in named.items()}


if __name__ == "__main__":
    main()
