"""An unmodified MLflow client that asks a server over HTTP; run by ../mlflow_http.py in an environment of its own.

python peers/mlflow_client.py fill RUNS FOLDER     MLflow's own database and an experiment with as many runs, by bulk SQL
python peers/mlflow_client.py ask ROUNDS URL ...   what each call takes at each of the servers, as JSON
"""

import json
import sys
import time
from collections.abc import Callable

import mlflow
from many_runs import PAGE, SEARCHES, STARTED_MS, points
from mlflow.entities import Metric
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow_store import fill


def make(count: int, folder: str) -> None:
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", "mlflow-artifacts:/")
    fill(store, int(store.create_experiment("bench")), count)
    store.engine.dispose()


def ask(rounds: int, urls: list[str]) -> None:
    """Each call goes to every server in turn, so that whatever else the machine does meets all of them."""
    clients = [mlflow.MlflowClient(tracking_uri=url, registry_uri=url) for url in urls]
    experiments = [client.get_experiment_by_name("bench").experiment_id for client in clients]
    costs, answers = {}, {}
    for name, (text, order) in SEARCHES.items():

        def search(at: int, _: int, text: str = text, order: list[str] = order) -> list[str]:
            return [run.info.run_id for run in clients[at].search_runs([experiments[at]], text, max_results=PAGE, order_by=order)]

        answers[name] = [search(at, 0) for at in range(len(clients))]
        costs[name] = in_turns(search, len(clients), rounds)
    tags = {"mlflow.user": "ada", "team": "ice"}
    runs = [client.create_run(each, STARTED_MS - 1, tags, "new").info.run_id for client, each in zip(clients, experiments, strict=True)]
    batches = [[Metric(key, value, at_ms, step) for key, value, step, at_ms in points(turn)] for turn in range(rounds + 1)]
    acts: dict[str, Callable[[int, int], object]] = {
        "create_run": lambda at, turn: clients[at].create_run(experiments[at], STARTED_MS - turn, tags, "new"),
        "log_metric": lambda at, turn: clients[at].log_metric(runs[at], "single", 1 / turn, STARTED_MS, turn),
        "log_batch of 1,000": lambda at, turn: clients[at].log_batch(runs[at], batches[turn]),
        "get_run": lambda at, _: clients[at].get_run(runs[at]),
    }
    costs |= {name: in_turns(act, len(clients), rounds) for name, act in acts.items()}
    print(json.dumps({"costs_s": costs, "answers": answers, "version": mlflow.__version__}))


def in_turns(act: Callable[[int, int], object], count: int, rounds: int) -> list[list[float]]:
    took: list[list[float]] = [[] for _ in range(count)]
    for turn in range(1, rounds + 1):
        for at in range(count):
            began = time.perf_counter()
            act(at, turn)
            took[at].append(time.perf_counter() - began)
    return took


if sys.argv[1] == "fill":
    make(int(sys.argv[2]), sys.argv[3])
else:
    ask(int(sys.argv[2]), sys.argv[3:])
