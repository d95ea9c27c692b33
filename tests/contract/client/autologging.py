"""Autolog of a fit, and a search with its children."""

import lightgbm
import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

X, Y = load_iris(return_X_y=True, as_frame=True)


def steps(said, client, known):
    mlflow.set_experiment("auto")
    known.auto = said.named(client.get_experiment_by_name("auto").experiment_id, "auto")
    mlflow.sklearn.autolog(log_models=False, silent=True)
    with mlflow.start_run(run_name="fit") as run:
        LogisticRegression(max_iter=500).fit(X, Y)
    said.named(run.info.run_id, "fit")
    said.step("a fit", lambda: _shown(client.get_run(run.info.run_id)))
    said.step("its files", lambda: sorted(each.path for each in client.list_artifacts(run.info.run_id)))
    with mlflow.start_run(run_name="grid") as grid:
        GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)
    said.step("a grid has children", lambda: len(client.search_runs([known.auto], f"tags.mlflow.parentRunId = '{grid.info.run_id}'")))
    said.step("its best", lambda: client.get_run(grid.info.run_id).data.params["best_C"])
    mlflow.sklearn.autolog(disable=True)
    mlflow.lightgbm.autolog(log_models=False, silent=True)
    with mlflow.start_run(run_name="boost") as boost:
        data = lightgbm.Dataset(X, (Y > 0).astype(int))
        lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 5, valid_sets=[data], valid_names=["train"])
    mlflow.lightgbm.autolog(disable=True)
    said.step("boosting", lambda: _shown(client.get_run(boost.info.run_id)))
    said.step("its rounds", lambda: [each.step for each in client.get_metric_history(boost.info.run_id, "train-binary_logloss")])


def _shown(run):
    return {
        "params": run.data.params,
        "metrics": {key: round(value, 6) for key, value in run.data.metrics.items()},
        "tags": sorted(run.data.tags),
        "data": sorted((each.dataset.name, [tag.value for tag in each.tags]) for each in run.inputs.dataset_inputs),
    }
