"""What runs log: metrics, parameters, tags, batches, data."""

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from transcript import pages


def steps(said, client, known):
    run = known.logged = said.named(client.create_run(known.experiment, start_time=1_000, run_name="logged").info.run_id, "logged")
    _metrics(said, client, run)
    _pairs(said, client, run)
    _batches(said, client, known)
    _fluent(said, client, known)
    _data(said, client, known, run)
    said.step("all of it", lambda: client.get_run(run))


def _metrics(said, client, run):
    def history(key):
        return [(each.value, each.step, each.timestamp) for each in client.get_metric_history(run, key)]

    for step, value in ((0, 0.5), (3, 0.25), (1, 0.75), (3, 0.125)):
        said.step(f"m at {step}", lambda step=step, value=value: client.log_metric(run, "m", value, 1_000 + step, step))
    said.step("history of m", lambda: history("m"))
    said.step("the newest of m", lambda: client.get_run(run).data.metrics["m"])
    said.step("the same point again", lambda: (client.log_metric(run, "m", 0.25, 1_003, 3), history("m"))[1])
    for key, value in (("nan", float("nan")), ("inf", float("inf")), ("minus inf", float("-inf")), ("tiny", 5e-324), ("huge", 1.7e308)):
        said.step(f"{key}", lambda key=key, value=value: client.log_metric(run, key, value, 1_000))
        said.step(f"history of {key}", lambda key=key: history(key))
    said.step("a negative step", lambda: (client.log_metric(run, "negative", 1, 1_000, -5), history("negative"))[1])
    said.step("an integer, a numpy number, a truth", lambda: [client.log_metric(run, "kinds", value, 1_000) for value in (3, np.float32(0.5), True)])
    said.step("their history", lambda: history("kinds"))
    for key in ("a/b", "a.b-c d_e", "é", "a:b", "../m", "/m", "a//b", ".", "a/../b", "m#", "k" * 250, "k" * 251, "", "a\nb", "a'b"):
        said.step(f"metric key {key[:12]!r} of {len(key)}", lambda key=key: client.log_metric(run, key, 1, 1_000))
    said.step("a text as value", lambda: client.log_metric(run, "text", "high", 1_000))
    said.step("no such run", lambda: client.log_metric("f" * 32, "m", 1))
    said.step("history of nothing", lambda: history("nothing"))
    said.step("history of nobody's run", lambda: client.get_metric_history("f" * 32, "m"))


def _pairs(said, client, run):
    said.step("a parameter", lambda: client.log_param(run, "p", 1))
    said.step("the same again", lambda: client.log_param(run, "p", 1))
    said.step("another value", lambda: client.log_param(run, "p", 2))
    for value in ("", None, 0.1, "é\n\"'", ["a", {"b": 1}], "x" * 6_000, "x" * 6_001):
        said.step(f"parameter {str(value)[:20]!r} of {len(str(value))}", lambda value=value: client.log_param(run, f"p{len(str(value))}", value))
    said.step("parameters", lambda: client.get_run(run).data.params)
    for value in ("", "v", 7, "é\n", "x" * 5_000, "x" * 8_000, "x" * 8_001):
        said.step(f"tag {str(value)[:20]!r} of {len(str(value))}", lambda value=value: client.set_tag(run, f"t{len(str(value))}", value))
    said.step("tag again", lambda: client.set_tag(run, "t1", "w"))
    said.step("tags", lambda: {key: len(value) for key, value in client.get_run(run).data.tags.items()})
    said.step("tag deleted", lambda: client.delete_tag(run, "t1"))
    said.step("tag deleted twice", lambda: client.delete_tag(run, "t1"))
    for key in ("../t", "k" * 251, "", "a b/c"):
        said.step(f"tag key {key[:12]!r}", lambda key=key: client.set_tag(run, key, "x"))
        said.step(f"parameter key {key[:12]!r}", lambda key=key: client.log_param(run, key, "x"))
    said.step("parameter of nobody's run", lambda: client.log_param("f" * 32, "p", 1))
    said.step("tag of nobody's run", lambda: client.set_tag("f" * 32, "p", 1))


def _batches(said, client, known):
    run = said.named(client.create_run(known.experiment, start_time=1_000, run_name="batched").info.run_id, "batched")
    thousand = [Metric(f"k{n % 10}", n, 1_000 + n, n) for n in range(1_000)]
    said.step("1,000 metrics", lambda: client.log_batch(run, thousand))
    said.step("once more", lambda: client.log_batch(run, thousand))
    said.step("points of one", lambda: len(client.get_metric_history(run, "k3")))
    said.step("the newest", lambda: client.get_run(run).data.metrics)
    said.step("pages of a history", lambda: [len(page) for page in pages(lambda token: _history(client, run, token), lambda each: each.value)])
    said.step("1,001 metrics in one request", lambda: _batch_of(client, run, metrics=1_001))
    said.step("101 parameters in one request", lambda: _batch_of(client, run, params=101))
    said.step("101 tags in one request", lambda: _batch_of(client, run, tags=101))
    said.step("1,001 of all together", lambda: _batch_of(client, run, metrics=900, params=51, tags=50))
    said.step("1,000 of all together", lambda: _batch_of(client, run, metrics=850, params=100, tags=50))
    said.step("250 parameters by the client", lambda: client.log_batch(run, params=[Param(f"many{n}", str(n)) for n in range(100)]))
    said.step("the same parameter twice", lambda: client.log_batch(run, params=[Param("twice", "1"), Param("twice", "1")]))
    said.step("twice with two values", lambda: client.log_batch(run, params=[Param("two", "1"), Param("two", "2")]))
    said.step("a conflict keeps the metrics out", lambda: client.log_batch(run, [Metric("late", 1, 1_000, 0)], [Param("many1", "other")]))
    said.step("they are out", lambda: "late" in client.get_run(run).data.metrics)
    said.step("the same tag twice", lambda: client.log_batch(run, tags=[RunTag("twice", "1"), RunTag("twice", "2")]))
    said.step("its value", lambda: client.get_run(run).data.tags.get("twice"))
    said.step("an empty batch", lambda: client.log_batch(run))
    said.step("an empty batch to nobody", lambda: client.log_batch("f" * 32))
    said.step("a bad key among good ones", lambda: client.log_batch(run, [Metric("good", 1, 1_000, 0), Metric("../bad", 1, 1_000, 0)]))
    said.step("the good one is out", lambda: "good" in client.get_run(run).data.metrics)


def _history(client, run, token):
    store = client._tracking_client.store
    return store.get_metric_history(run, "k3", max_results=40, page_token=token)


def _batch_of(client, run, *, metrics=0, params=0, tags=0):
    """Through the store: the client itself cuts batches to size."""
    store = client._tracking_client.store
    return store.log_batch(
        run,
        [Metric(f"b{n % 7}", n, 1_000 + n, n) for n in range(metrics)],
        [Param(f"b{n}", str(n)) for n in range(params)],
        [RunTag(f"b{n}", str(n)) for n in range(tags)],
    )


def _fluent(said, client, known):
    with mlflow.start_run(run_name="fluent") as run:
        known.fluent = said.named(run.info.run_id, "fluent")
        mlflow.log_params({"depth": 3, "rate": 0.1})
        mlflow.log_metrics({"loss": 0.5, "auc": 0.75}, step=1)
        mlflow.set_tags({"stage": "trial", "owner": "ada"})
        mlflow.log_metric("loss", 0.25, step=2)
        for step in range(20):
            mlflow.log_metric("late", step, step=step, synchronous=False)
        mlflow.log_params({"asynchronous": "yes"}, synchronous=False)
        mlflow.flush_async_logging()
    said.step("fluent", lambda: client.get_run(known.fluent).data)
    said.step("asynchronous metrics", lambda: [each.value for each in client.get_metric_history(known.fluent, "late")])


def _data(said, client, known, run):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    with mlflow.start_run(run_id=run):
        said.step("data frame", lambda: mlflow.log_input(mlflow.data.from_pandas(frame, name="tiny"), context="training"))
        said.step("array", lambda: mlflow.log_input(mlflow.data.from_numpy(np.arange(4.0), name="array"), context="testing", tags={"k": "v"}))
        said.step("the same again", lambda: mlflow.log_input(mlflow.data.from_pandas(frame, name="tiny"), context="training"))
    made = Dataset("made", "d1", "http", "{}", schema="{}", profile="{}")
    said.step("made by hand", lambda: client.log_inputs(run, [DatasetInput(made, [InputTag("mlflow.data.context", "eval")])]))
    said.step("the same digest, another source", lambda: client.log_inputs(run, [DatasetInput(Dataset("made", "d1", "s3", "{}"), [])]))
    said.step("a long name", lambda: client.log_inputs(run, [DatasetInput(Dataset("n" * 501, "d", "http", "{}"), [])]))
    said.step("a long digest", lambda: client.log_inputs(run, [DatasetInput(Dataset("n", "d" * 37, "http", "{}"), [])]))
    nameless = [DatasetInput(Dataset("", "d", "http", "{}"), [])]
    said.step("no name", lambda: client.log_inputs(known.run, nameless), rota={"error": "INVALID_PARAMETER_VALUE"})
    said.step("into nobody's run", lambda: client.log_inputs("f" * 32, [DatasetInput(made, [])]))
    said.step("no data", lambda: client.log_inputs(run, []))
    said.step("data of the run", lambda: client.get_run(run).inputs)
