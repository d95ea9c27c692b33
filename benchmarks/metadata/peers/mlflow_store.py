"""MLflow's SqlAlchemyStore in process, asked as ../store.py asks Rota's; run by it in an environment of its own.

python peers/mlflow_store.py RUNS ROUNDS FOLDER
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable

import mlflow
import sqlalchemy
from many_runs import LEAST, PAGE, PATIENCE_S, SEARCHES, STARTED_MS, points, runs
from mlflow.entities import Metric, RunTag, ViewType
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore


def main(count: int, rounds: int, folder: str) -> None:
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts")
    experiment = store.create_experiment("bench")
    fill(store, int(experiment), count)
    costs, answers = {}, {}
    for name, (text, order) in SEARCHES.items():

        def search(text: str = text, order: list[str] = order) -> list[str]:
            return [run.info.run_id for run in store.search_runs([experiment], text, ViewType.ACTIVE_ONLY, PAGE, order)]

        answers[name] = search()
        costs[name] = timed(lambda _, search=search: search(), rounds)
    costs.update(writes(store, experiment, rounds, ""))
    store.engine.dispose()
    connection = sqlite3.connect(f"{folder}/mlflow.db")
    before = connection.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    costs.update(writes(store, experiment, rounds, " (its file switched to WAL)"))
    print(json.dumps({"costs_s": costs, "answers": answers, "mode": f"journal {before}, synchronous {synchronous}", "version": mlflow.__version__}))


def fill(store: SqlAlchemyStore, experiment: int, count: int) -> None:
    """By bulk SQL: the runs' own way would take an hour."""
    with store.engine.begin() as connection:
        every = list(runs(count))
        heads = [
            {
                "run_uuid": run["id"],
                "name": run["name"],
                "source_type": "LOCAL",
                "user_id": "ada",
                "status": "FINISHED",
                "start_time": run["started_ms"],
                "end_time": run["started_ms"] + 500,
                "lifecycle_stage": "active",
                "artifact_uri": f"a/{run['id']}",
                "experiment_id": experiment,
            }
            for run in every
        ]
        connection.execute(sqlalchemy.insert(SqlRun), heads)
        latest = [
            {"run_uuid": run["id"], "key": key, "value": value, "timestamp": run["started_ms"], "step": 1, "is_nan": False}
            for run in every
            for key, value in run["metrics"].items()
        ]
        connection.execute(sqlalchemy.insert(SqlLatestMetric), latest)
        for table, field in ((SqlParam, "params"), (SqlTag, "tags")):
            texts = [{"run_uuid": run["id"], "key": key, "value": value} for run in every for key, value in run[field].items()]
            connection.execute(sqlalchemy.insert(table), texts)


def writes(store: SqlAlchemyStore, experiment: str, rounds: int, mode: str) -> dict[str, list[float]]:
    tags = [RunTag("mlflow.user", "ada"), RunTag("team", "ice")]
    created = []
    costs = {f"create_run{mode}": timed(lambda turn: created.append(store.create_run(experiment, "ada", STARTED_MS + turn, tags, "new")), rounds)}
    run = created[0].info.run_id
    single = timed(lambda turn: store.log_metric(run, Metric("single", 1 / turn, STARTED_MS, turn)), rounds)
    batch = timed(lambda turn: store.log_batch(run, [Metric(key, value, at_ms, step) for key, value, step, at_ms in points(turn)], [], []), rounds)
    return costs | {f"log_metric{mode}": single, f"log_batch of 1,000{mode}": batch}


def timed(act: Callable[[int], object], rounds: int) -> list[float]:
    took: list[float] = []
    for turn in range(1, rounds + 1):
        began = time.perf_counter()
        act(turn)
        took.append(time.perf_counter() - began)
        if len(took) >= LEAST and sum(took) > PATIENCE_S:
            break
    return took


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
