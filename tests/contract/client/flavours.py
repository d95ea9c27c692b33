"""Models logged by flavour and loaded again by every address."""

import lightgbm
import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

X, Y = load_iris(return_X_y=True, as_frame=True)


class Doubles(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2


def named(known, name):
    """Logged models have names since 3.0, artifact paths before."""
    return {"name" if known.three else "artifact_path": name}


def steps(said, client, known):
    fitted = LogisticRegression(max_iter=500).fit(X, Y)
    known.fitted = list(fitted.predict(X[:5]))
    mlflow.set_experiment("first")
    with mlflow.start_run(run_name="sklearn") as run:
        known.model_run = said.named(run.info.run_id, "sklearn")
        mlflow.log_metric("auc", 0.9)
        info = mlflow.sklearn.log_model(
            fitted, **named(known, "clf"), pip_requirements=["scikit-learn"], input_example=X[:2], signature=infer_signature(X, Y)
        )
    known.model_uri = info.model_uri
    if known.three:
        said.named(info.model_id, "clf")
        said.step("the logged model", lambda: _without_size(mlflow.get_logged_model(info.model_id)))
    said.step("address", lambda: info.model_uri)
    said.step("signature", info.signature.to_dict)
    said.step("outputs of the run", lambda: client.get_run(known.model_run).outputs.model_outputs if known.three else [])
    said.step("the run's own", lambda: sorted(client.get_run(known.model_run).data.tags))
    said.step("its files", lambda: sorted(each.path for each in mlflow.artifacts.list_artifacts(info.model_uri)))
    for uri in (info.model_uri, f"runs:/{known.model_run}/clf"):
        said.step(f"predicts from {said.plain(uri)}", lambda uri=uri: [int(each) for each in mlflow.pyfunc.load_model(uri).predict(X[:5])])
    said.step("as itself", lambda: type(mlflow.sklearn.load_model(info.model_uri)).__name__)
    said.step("its description", lambda: mlflow.models.get_model_info(info.model_uri).flavors["sklearn"]["sklearn_version"] != "")
    said.step("its example", lambda: len(mlflow.models.Model.load(info.model_uri).load_input_example()))
    said.step("a run without models", lambda: mlflow.pyfunc.load_model(f"runs:/{known.run}/clf"))
    said.step("nobody's model", lambda: mlflow.pyfunc.load_model(f"models:/m-{'f' * 32}"))
    _boosted(said, client, known)
    _python(said, client, known)
    _evaluated(said, client, known, fitted)


def _boosted(said, client, known):
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, (Y > 0).astype(int)), 5)
    with mlflow.start_run(run_name="lightgbm") as run:
        said.named(run.info.run_id, "lightgbm")
        info = mlflow.lightgbm.log_model(booster, **named(known, "booster"), pip_requirements=["lightgbm"], input_example=X[:2])
    known.booster_uri, known.booster_run = info.model_uri, run.info.run_id
    if known.three:
        said.named(info.model_id, "booster")
    expected = booster.predict(X[:5])
    said.step("LightGBM predicts the same", lambda: bool(np.allclose(mlflow.pyfunc.load_model(info.model_uri).predict(X[:5]), expected)))
    said.step("and as itself", lambda: mlflow.lightgbm.load_model(info.model_uri).num_trees())


def _python(said, client, known):
    with mlflow.start_run(run_name="python") as run:
        said.named(run.info.run_id, "python")
        model = Doubles()
        info = mlflow.pyfunc.log_model(**named(known, "doubles"), python_model=model, pip_requirements=[], input_example=pd.DataFrame({"a": [1.0]}))
    if known.three:
        said.named(info.model_id, "doubles")
    said.step("a Python model", lambda: list(mlflow.pyfunc.load_model(info.model_uri).predict(pd.DataFrame({"a": [2.0]}))["a"]))


def _evaluated(said, client, known, fitted):
    data = X.assign(label=Y)
    with mlflow.start_run(run_name="evaluated") as run:
        said.named(run.info.run_id, "evaluated")
        config = {"log_model_explainability": False}
        result = said.step(
            "evaluate",
            lambda: sorted(mlflow.evaluate(known.model_uri, data, targets="label", model_type="classifier", evaluator_config=config).metrics),
        )
    said.step("its metrics", lambda: sorted(client.get_run(run.info.run_id).data.metrics) == result)

    @mlflow.trace
    def traced(value):
        return value + 1

    said.step("a trace does not stop anybody", lambda: traced(1))


def _without_size(model):
    shown = dict(model)
    shown["tags"] = sorted(shown["tags"])
    return shown
