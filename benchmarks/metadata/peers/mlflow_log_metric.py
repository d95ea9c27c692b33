"""What one asynchronous `mlflow.log_metric` costs its caller; run by ../log_metric.py in an environment of its own.

python peers/mlflow_log_metric.py CALLS FOLDER
"""

import json
import sys
import time

import mlflow


def main(calls: int, folder: str) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("bench")
    with mlflow.start_run():
        mlflow.log_metric("loss", 0.0, step=0, synchronous=False)
        costs = []
        for step in range(1, calls + 1):
            begun = time.perf_counter_ns()
            mlflow.log_metric("loss", 1 / step, step=step, synchronous=False)
            costs.append(time.perf_counter_ns() - begun)
        begun = time.perf_counter()
        mlflow.flush_async_logging()
        flush_s = time.perf_counter() - begun
    print(json.dumps({"costs_ns": costs, "flush_s": flush_s, "version": mlflow.__version__}))


main(int(sys.argv[1]), sys.argv[2])
