"""An unmodified MLflow client that asks a server over HTTP; run by ../mlflow_http.py in an environment of its own.

python peers/mlflow_client.py fill RUNS FOLDER     MLflow's own database and an experiment with as many runs, by bulk SQL
python peers/mlflow_client.py ask ROUNDS           what each call takes at MLFLOW_TRACKING_URI, as JSON
"""

import json
import sys
import time

import mlflow
from many_runs import PAGE, SEARCHES, STARTED_MS, points
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow_store import fill, timed


def make(count: int, folder: str) -> None:
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", "mlflow-artifacts:/")
    fill(store, int(store.create_experiment("bench")), count)
    store.engine.dispose()


def ask(rounds: int) -> None:
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("bench").experiment_id
    costs, answers = {}, {}
    for name, (text, order) in SEARCHES.items():

        def search(text: str = text, order: list[str] = order) -> list[str]:
            return [run.info.run_id for run in client.search_runs([experiment], text, max_results=PAGE, order_by=order)]

        answers[name] = search()
        costs[name] = timed(lambda _, search=search: search(), rounds)
    tags = {"mlflow.user": "ada", "team": "ice"}
    run = client.create_run(experiment, STARTED_MS - 1, tags, "new").info.run_id
    costs["create_run"] = timed(lambda turn: client.create_run(experiment, STARTED_MS - turn, tags, "new"), rounds)
    costs["log_metric"] = timed(lambda turn: client.log_metric(run, "single", 1 / turn, STARTED_MS, turn), rounds)
    first = int(time.time() * 1_000) % 10_000_000  # steps that no earlier round logged
    batches = [[Metric(key, value, at_ms, step) for key, value, step, at_ms in points(first + turn)] for turn in range(rounds + 1)]
    costs["log_batch of 1,000"] = timed(lambda turn: client.log_batch(run, batches[turn]), rounds)
    costs["get_run"] = timed(lambda _: client.get_run(run), rounds)
    print(json.dumps({"costs_s": costs, "answers": answers, "version": mlflow.__version__}))


if sys.argv[1] == "fill":
    make(int(sys.argv[2]), sys.argv[3])
else:
    ask(int(sys.argv[2]))
