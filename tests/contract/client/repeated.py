"""Every write twice: with the same value, and with another one where the first must stay."""

import time

from mlflow.entities import Metric, Param, RunTag


def steps(said, client, known):
    where = said.named(client.create_experiment("repeated"), "repeated")
    run = said.named(client.create_run(where, run_name="repeated").info.run_id, "repeated run")
    writes = {
        "a run's parameter": (lambda value: client.log_param(run, "lr", value), "1", "9"),
        "parameters in a batch": (lambda value: client.log_batch(run, params=[Param("depth", value)]), "1", "9"),
        "a parameter twice in a batch": (lambda value: client.log_batch(run, params=[Param("twice", "1"), Param("twice", value)]), "1", "9"),
        "a metric": (lambda value: client.log_metric(run, "loss", value, 1_000, 1), 0.5, 0.25),
        "metrics in a batch": (lambda value: client.log_batch(run, metrics=[Metric("acc", value, 1_000, 1)]), 0.5, 0.25),
        "a run's tag": (lambda value: client.set_tag(run, "team", value), "blue", "red"),
        "tags in a batch": (lambda value: client.log_batch(run, tags=[RunTag("kind", value)]), "a", "b"),
        "an experiment's tag": (lambda value: client.set_experiment_tag(where, "team", value), "blue", "red"),
        "a run's name": (lambda value: client.update_run(run, name=value), "first", "second"),
        "a run's status": (lambda value: client.update_run(run, status=value), "FINISHED", "RUNNING"),
        "an experiment's name": (lambda value: client.rename_experiment(where, value), "repeated", "repeated again"),
    }
    _twice(said, writes)
    said.step("the run after all that", lambda: client.get_run(run))
    said.step("its history", lambda: [[each.value, each.step] for each in client.get_metric_history(run, "loss")])
    said.step("the experiment after all that", lambda: client.get_experiment(where))
    said.step("an experiment of a name twice", lambda: client.create_experiment("repeated again"))
    for what, act in {
        "a run is deleted": lambda: client.delete_run(run),
        "a run is restored": lambda: client.restore_run(run),
        "an experiment is deleted": lambda: client.delete_experiment(where),
        "an experiment is restored": lambda: client.restore_experiment(where),
    }.items():
        said.step(what, act)
        said.step(f"{what} twice", act)
    _registry(said, client)
    if known.three:
        _logged_model(said, client, where)


def _twice(said, writes):
    for what, (write, first, second) in writes.items():
        for label, value in (("once", first), ("the same again", first), ("another value", second)):
            said.step(f"{what}: {label}", lambda write=write, value=value: str(write(value))[:0])
            time.sleep(0.002)


def _registry(said, client):
    client.create_registered_model("repeated")
    writes = {
        "a model's tag": (lambda value: client.set_registered_model_tag("repeated", "team", value), "blue", "red"),
        "a model's description": (lambda value: client.update_registered_model("repeated", value), "one", "two"),
    }
    _twice(said, writes)
    said.step("the model after all that", lambda: client.get_registered_model("repeated"))
    said.step("its name taken twice", lambda: client.create_registered_model("repeated"))
    said.step("deleted", lambda: client.delete_registered_model("repeated"))
    said.step("deleted twice", lambda: client.delete_registered_model("repeated"))


def _logged_model(said, client, where):
    model = said.named(client.create_logged_model(where, name="repeated", params={"depth": "3"}, tags={"a": "b"}).model_id, "repeated model")
    writes = {
        "a model's parameter": (lambda value: client.log_model_params(model, {"lr": value}), "1", "9"),
        "a parameter it was made with": (lambda value: client.log_model_params(model, {"depth": value}), "3", "9"),
        "a logged model's tag": (lambda value: client.set_logged_model_tags(model, {"c": value}), "d", "e"),
        "its end": (lambda value: client.finalize_logged_model(model, value), "READY", "FAILED"),
    }
    _twice(said, writes)
    said.step("one new parameter and one known", lambda: client.log_model_params(model, {"fresh": "1", "lr": "2"}))
    said.step("the logged model after all that", lambda: client.get_logged_model(model))
