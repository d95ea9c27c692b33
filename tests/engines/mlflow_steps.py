"""What people do with MLflow's client, step by step, in a process that has `mlflow` and knows nothing of Rota.

MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN say where. Prints a line for each step; the exit code is the number of steps that failed.
"""

import math
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

THREE = mlflow.__version__.startswith("3.")
REQUIRED = ["scikit-learn"]
client = mlflow.MlflowClient()
X, Y = load_iris(return_X_y=True)
FITTED = LogisticRegression(max_iter=500).fit(X, Y)
known = {}


def same(seen, expected):
    assert seen == expected, f"{seen!r} instead of {expected!r}"


def fails(code, act):
    try:
        act()
    except MlflowException as error:
        same(error.error_code, code)
    else:
        raise AssertionError(f"no error instead of {code}")


def named(name):
    """Logged models have names since 3.0, artifact paths before."""
    return {"name" if THREE else "artifact_path": name, "pip_requirements": REQUIRED}


def predicts(uri):
    same(list(mlflow.pyfunc.load_model(uri).predict(X[:5])), list(FITTED.predict(X[:5])))


def experiments():
    made = mlflow.set_experiment("first")
    known["experiment"] = made.experiment_id
    same(mlflow.set_experiment("first").experiment_id, made.experiment_id)
    fails("RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment("first"))
    fails("RESOURCE_DOES_NOT_EXIST", lambda: client.get_experiment("123456"))
    client.set_experiment_tag(made.experiment_id, "team", "blue")
    same([each.name for each in client.search_experiments(filter_string="tags.team = 'blue'")], ["first"])
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    same([each.experiment_id for each in client.search_experiments(view_type=ViewType.DELETED_ONLY)], [gone])
    client.restore_experiment(gone)
    client.rename_experiment(gone, "back")
    same(client.get_experiment(gone).name, "back")


def runs():
    with mlflow.start_run(run_name="one", tags={"a": "b"}) as run:
        mlflow.log_param("p", 1)
        mlflow.log_params({"q": "x", "lr": 0.1})
        mlflow.log_metric("m", 1.5, step=1)
        mlflow.log_metric("m", 2.5, step=2)
        mlflow.log_metrics({"nan": float("nan"), "high": float("inf")})
        mlflow.set_tag("t", "v")
        mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"a": [1.0, 2.0]}), name="tiny"), context="training")
    known["run"] = run.info.run_id
    found = mlflow.get_run(run.info.run_id)
    same((found.info.status, found.info.run_name), ("FINISHED", "one"))
    same(found.data.params, {"p": "1", "q": "x", "lr": "0.1"})
    assert math.isnan(found.data.metrics["nan"])
    assert found.data.metrics["high"] > 1e308
    same([(each.value, each.step) for each in client.get_metric_history(run.info.run_id, "m")], [(1.5, 1), (2.5, 2)])
    same([(each.dataset.name, each.tags[0].value) for each in found.inputs.dataset_inputs], [("tiny", "training")])
    fails("INVALID_PARAMETER_VALUE", lambda: client.log_param(run.info.run_id, "p", 2))
    fails("RESOURCE_DOES_NOT_EXIST", lambda: client.get_run("f" * 32))


def batches():
    run = client.create_run(known["experiment"]).info.run_id
    client.log_batch(run, [Metric(f"k{n % 10}", n, 1_000 + n, n) for n in range(1_000)])
    client.log_batch(run, params=[Param(f"p{n}", str(n)) for n in range(100)], tags=[RunTag("x", "y")])
    same(len(client.get_metric_history(run, "k3")), 100)
    same(len(client.get_run(run).data.params), 100)
    client.delete_run(run)
    fails("INVALID_PARAMETER_VALUE", lambda: client.log_metric(run, "z", 1))
    client.restore_run(run)
    client.delete_tag(run, "x")
    client.update_run(run, status="KILLED", name="renamed")
    same(client.get_run(run).data.tags["mlflow.runName"], "renamed")
    with mlflow.start_run() as late:
        for step in range(20):
            mlflow.log_metric("late", step, step=step, synchronous=False)
        mlflow.flush_async_logging()
    same(len(client.get_metric_history(late.info.run_id, "late")), 20)


def searches():
    with mlflow.start_run(run_name="parent") as parent, mlflow.start_run(run_name="child", nested=True) as child:
        mlflow.log_metric("m", 9)
    here = [known["experiment"]]
    same([each.info.run_id for each in client.search_runs(here, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")], [child.info.run_id])
    same([each.info.run_name for each in client.search_runs(here, "metrics.m > 0", order_by=["metrics.m DESC"])], ["child", "one"])
    same([each.info.run_name for each in client.search_runs(here, "params.q = 'x' and attributes.status = 'FINISHED'")], ["one"])
    for number in range(5):
        client.create_run(known["experiment"], run_name=f"page{number}")
    seen, token = [], None
    while True:
        page = client.search_runs(here, "attributes.run_name LIKE 'page%'", max_results=2, page_token=token)
        seen += [each.info.run_name for each in page]
        token = page.token
        if not token:
            break
    same(sorted(seen), [f"page{number}" for number in range(5)])
    assert len(mlflow.search_runs(here)) >= 8
    fails("INVALID_PARAMETER_VALUE", lambda: client.search_runs(here, "metrics.m >"))


def files():
    with mlflow.start_run(run_id=known["run"]), tempfile.TemporaryDirectory() as folder:
        mlflow.log_text("hello", "notes/a.txt")
        mlflow.log_dict({"k": 1}, "d.json")
        mlflow.log_table({"a": [1, 2]}, "table.json")
        Path(folder, "sub").mkdir()
        Path(folder, "sub", "big.bin").write_bytes(os.urandom(3_000_000))
        Path(folder, "50% \u00e9.txt").write_text("x")
        mlflow.log_artifacts(folder, "dir")
    same([each.path for each in client.list_artifacts(known["run"])], ["d.json", "dir", "notes", "table.json"])
    same([each.path for each in client.list_artifacts(known["run"], "notes")], ["notes/a.txt"])
    same(client.list_artifacts(known["run"], "d.json"), [])
    same(mlflow.artifacts.load_text(f"runs:/{known['run']}/notes/a.txt"), "hello")
    with tempfile.TemporaryDirectory() as folder:
        came = Path(client.download_artifacts(known["run"], "dir", folder))
        same(sorted(each.name for each in came.iterdir()), ["50% \u00e9.txt", "sub"])
        same((came / "sub" / "big.bin").stat().st_size, 3_000_000)


def models():
    with mlflow.start_run(run_name="fit") as run:
        mlflow.log_metric("accuracy", 0.9)
        info = mlflow.sklearn.log_model(FITTED, input_example=X[:2], **named("clf"))
    known["model"], known["model_run"] = info.model_uri, run.info.run_id
    predicts(info.model_uri)
    predicts(f"runs:/{run.info.run_id}/clf")
    if THREE:
        found = mlflow.get_logged_model(info.model_id)
        same((str(found.status), found.name), ("READY", "clf"))
        same([each.model_id for each in client.get_run(run.info.run_id).outputs.model_outputs], [info.model_id])
        mlflow.set_logged_model_tags(info.model_id, {"x": "y"})
        with mlflow.start_run(run_id=run.info.run_id):
            mlflow.log_metric("judged", 0.7, model_id=info.model_id)
        for text, expected in (("metrics.judged > 0.5", [info.model_id]), ("metrics.judged > 0.8", [])):
            listed = mlflow.search_logged_models([known["experiment"]], filter_string=text, output_format="list")
            same([each.model_id for each in listed], expected)


def autologging():
    mlflow.sklearn.autolog(log_models=False, silent=True)
    try:
        with mlflow.start_run() as run:
            LogisticRegression(max_iter=500).fit(X, Y)
    finally:
        mlflow.sklearn.autolog(disable=True)
    found = client.get_run(run.info.run_id)
    same(found.data.params["max_iter"], "500")
    assert any(key.startswith("training_") for key in found.data.metrics)
    assert found.inputs.dataset_inputs


def registry():
    first = mlflow.register_model(known["model"], "clf")
    same((str(first.version), first.status, first.run_id), ("1", "READY", known["model_run"]))
    same(str(mlflow.register_model(f"runs:/{known['model_run']}/clf", "clf").version), "2")
    predicts("models:/clf/1")
    fails("RESOURCE_ALREADY_EXISTS", lambda: client.create_registered_model("clf"))
    fails("RESOURCE_DOES_NOT_EXIST", lambda: client.get_model_version("clf", "99"))
    for source in ("http://169.254.169.254/latest", "file:///etc", "s3://x/y"):
        fails("INVALID_PARAMETER_VALUE", lambda source=source: client.create_model_version("clf", source))
    client.update_model_version("clf", "1", "the first")
    client.set_registered_model_tag("clf", "k", "v")
    client.set_model_version_tag("clf", "1", "k2", "v2")
    same([each.name for each in client.search_registered_models("tags.k = 'v'")], ["clf"])
    same([(str(each.version), each.description) for each in client.search_model_versions("name = 'clf' and tags.k2 = 'v2'")], [("1", "the first")])
    client.delete_model_version_tag("clf", "1", "k2")
    same(client.get_model_version("clf", "1").tags.get("k2"), None)


def aliases():
    client.set_registered_model_alias("clf", "candidate", "1")
    same({name: str(number) for name, number in client.get_registered_model("clf").aliases.items()}, {"candidate": "1"})
    same(list(client.get_model_version("clf", "1").aliases), ["candidate"])
    predicts("models:/clf@candidate")
    client.delete_registered_model_alias("clf", "candidate")
    fails("INVALID_PARAMETER_VALUE", lambda: client.get_model_version_by_alias("clf", "candidate"))
    fails("PERMISSION_DENIED", lambda: client.set_registered_model_alias("clf", "champion", "1"))
    same(client.transition_model_version_stage("clf", "1", "Staging").current_stage, "Staging")
    same([str(each.version) for each in client.get_latest_versions("clf", ["Staging"])], ["1"])
    same(client.transition_model_version_stage("clf", "1", "None").current_stage, "None")


def endings():
    client.set_registered_model_alias("clf", "old", "1")
    client.delete_model_version("clf", "1")
    same([str(each.version) for each in client.search_model_versions("name = 'clf'")], ["2"])
    client.rename_registered_model("clf", "renamed")
    fails("RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model("clf"))
    predicts("models:/renamed/2")
    same(str(client.copy_model_version("models:/renamed/2", "copied").version), "1")
    predicts("models:/copied/1")
    client.delete_registered_model("copied")
    fails("RESOURCE_DOES_NOT_EXIST", lambda: client.get_registered_model("copied"))


def main():
    warnings.simplefilter("ignore")
    failed = 0
    for step in (experiments, runs, batches, searches, files, models, autologging, registry, aliases, endings):
        try:
            step()
            said = "passed"
        except Exception:  # noqa: BLE001 - the next steps are tried too
            failed += 1
            said = f"FAILED {traceback.format_exc()}"
        sys.stdout.write(f"{step.__name__} {said}\n")
        sys.stdout.flush()
    sys.exit(failed)


main()
