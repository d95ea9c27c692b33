"""The tracking store beside MLflow's SqlAlchemyStore, both in process on SQLite and both synced at every commit.

    python benchmarks/metadata/store.py                                # 100,000 runs; MLflow 3.17.2 beside it
    python benchmarks/metadata/store.py --small                        # 5,000 runs
    python benchmarks/metadata/store.py --mlflow path/to/python        # an interpreter that has MLflow
    python benchmarks/metadata/store.py --url postgresql://...         # Rota on an empty PostgreSQL database instead

Both hold the same runs (5 metrics, 5 parameters and 3 tags each, written by bulk SQL) and answer the same searches for 100
whole runs; their answers are compared. Rota's file is a write-ahead log with synchronous=FULL; MLflow's is as MLflow makes
it, and the writes are measured again after the file was switched to a write-ahead log. Rota is measured before and after.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers.many_runs import LEAST, PAGE, PATIENCE_S, SEARCHES, STARTED_MS, points, runs
from sqlalchemy import insert

from rota.backends.sql import tracking_schema as sql_tracking_schema
from rota.backends.sql.bulk import insert_rows
from rota.backends.sql.engine import open_engine, writing
from rota.backends.sql.tracking import SqlTracking
from rota.manage.experiments.search_grammar import parse_filter, parse_order
from rota.ports.tracking import Logged
from rota.records.filters import Query
from rota.records.tracking import Experiment, ExperimentRun, MetricPoint

HERE = Path(__file__).parent
PEER = "mlflow==3.17.2"
Costs = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--mlflow", default="", help="interpreter with MLflow; otherwise one is made")
    parser.add_argument("--url", default="", help="Rota's store, an empty database; otherwise a SQLite file")
    asked = parser.parse_args()
    count, rounds = (5_000, 10) if asked.small else (asked.runs, asked.rounds)
    with tempfile.TemporaryDirectory() as folder:
        tracking = filled(asked.url or f"sqlite:///{folder}/metadata.db", count)
        answers, ours = measured(tracking, rounds, "first")
        with tempfile.TemporaryDirectory() as other:
            theirs = mlflow(asked.mlflow or environment(), other, count, rounds)
        _, again = measured(tracking, rounds, "again")
    print(
        f"MLflow {theirs['version']}: {theirs['mode']}; Rota: {'PostgreSQL' if asked.url else 'journal wal, synchronous 2'}; {count:,} runs; medians"
    )
    for name, costs in theirs["costs_s"].items():
        same = name.partition(" (")[0]
        slower = max(statistics.median(ours[same]), statistics.median(again[same]))
        shown = f"{name:58} mlflow {statistics.median(costs) * 1e3:9.2f} ms   rota {statistics.median(ours[same]) * 1e3:8.2f} ms"
        print(f"{shown}, again {statistics.median(again[same]) * 1e3:8.2f} ms   mlflow / rota (the slower) {statistics.median(costs) / slower:6.1f}x")
    equal = [name for name in SEARCHES if answers[name] == theirs["answers"][name]]
    print(f"equal answers: {len(equal)} of {len(SEARCHES)} searches")


def filled(url: str, count: int) -> SqlTracking:
    engine = open_engine(url)
    tracking = SqlTracking(engine)
    tracking.create_experiment(Experiment("bench", "bench"))
    every = list(enumerate(runs(count), 1))
    with writing(engine) as connection:
        heads = [
            {
                "key": key,
                "id": run["id"],
                "experiment": "bench",
                "name": run["name"],
                "status": "finished",
                "owner": "ada",
                "parent": "",
                "started_us": run["started_ms"] * 1_000,
                "ended_us": run["started_ms"] * 1_000 + 500_000,
                "source": "{}",
            }
            for key, run in every
        ]
        connection.execute(insert(sql_tracking_schema.tracked_runs), heads)
        latest = [(key, name, "bench", value, 1, run["started_ms"] * 1_000) for key, run in every for name, value in run["metrics"].items()]
        insert_rows(connection, sql_tracking_schema.run_metrics, latest, conflict="DO NOTHING")
        for table, field in ((sql_tracking_schema.run_parameters, "params"), (sql_tracking_schema.run_tags, "tags")):
            insert_rows(connection, table, [(key, name, text, "") for key, run in every for name, text in run[field].items()], conflict="DO NOTHING")
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT setval(pg_get_serial_sequence('tracked_runs', 'key'), (SELECT max(key) FROM tracked_runs))")
            for table in (
                sql_tracking_schema.tracked_runs,
                sql_tracking_schema.run_metrics,
                sql_tracking_schema.run_parameters,
                sql_tracking_schema.run_tags,
            ):
                connection.exec_driver_sql(f"ANALYZE {table.name}")
    return tracking


def measured(tracking: SqlTracking, rounds: int, name: str) -> tuple[dict[str, list[str]], Costs]:
    answers, costs = {}, {}
    for search, (text, order) in SEARCHES.items():
        query = Query(parse_filter(text, "run"), parse_order(order, "run"), limit=PAGE)
        answers[search] = [run.id for run in tracking.search_runs(["bench"], query).items]
        costs[search] = timed(lambda _, query=query: tracking.search_runs(["bench"], query), rounds)
    costs["create_run"] = timed(lambda turn: tracking.create_run(new_run(f"{name}{turn}")), rounds)
    run = f"{name}1"
    costs["log_metric"] = timed(lambda turn: tracking.log(run, Logged(metrics=[MetricPoint("single", 1 / turn, turn, STARTED_MS * 1_000)])), rounds)
    costs["log_batch of 1,000"] = timed(lambda turn: tracking.log(run, Logged(metrics=[made(*point) for point in points(turn)])), rounds)
    return answers, costs


def new_run(id: str) -> ExperimentRun:
    tags = {"mlflow.user": "ada", "team": "ice", "mlflow.runName": "new"}
    return ExperimentRun(id, "bench", "new", "running", 0, owner="ada", tags=tags)  # long ago: it must not be among the newest


def made(key: str, value: float, step: int, at_ms: int) -> MetricPoint:
    return MetricPoint(key, value, step, at_ms * 1_000)


def timed(act: Callable[[int], object], rounds: int) -> list[float]:
    took: list[float] = []
    for turn in range(1, rounds + 1):
        began = time.perf_counter()
        act(turn)
        took.append(time.perf_counter() - began)
        if len(took) >= LEAST and sum(took) > PATIENCE_S:
            break
    return took


def mlflow(python: str, folder: str, count: int, rounds: int) -> dict[str, Any]:
    command = [python, str(HERE / "peers" / "mlflow_store.py"), str(count), str(rounds), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "GIT_PYTHON_REFRESH": "quiet"}, cwd=folder)
    if done.returncode:
        sys.exit(f"MLflow failed:\n{done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def environment() -> str:
    script = HERE.parent / "features" / "peers" / "environment.py"
    made = subprocess.run([sys.executable, str(script), PEER], stdout=subprocess.PIPE, text=True, check=True)
    return made.stdout.strip().splitlines()[-1]


if __name__ == "__main__":
    main()
