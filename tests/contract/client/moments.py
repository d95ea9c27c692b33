"""What each act moves: the moment at which a record was last changed, compared before and after."""

import time


def steps(said, client, known):
    _registry(said, client, known)
    _experiment(said, client)
    if known.three:
        _logged_model(said, client)


def _moved(said, label, act, read, **more):
    """Notes whether the moment that `read` gives has moved."""
    before = read()
    time.sleep(0.005)

    def look():
        act()
        after = read()
        return ["earlier", "as before", "later"][(after > before) - (after < before) + 1]

    said.step(label, look, **more)


def _registry(said, client, known):
    client.create_registered_model("moving")
    run = client.create_run(known.experiment, run_name="moving").info.run_id
    client.log_text(run, "x", "folder/x.txt")
    root = client.get_run(run).info.artifact_uri

    def model():
        return client.get_registered_model("moving").last_updated_timestamp

    def version():
        return client.get_model_version("moving", "1").last_updated_timestamp

    def add():
        client.create_model_version("moving", f"{root}/folder", run)

    _moved(said, "model: a version", add, model)
    _moved(said, "model: a second version", add, model)
    acts = {
        "a version's description": lambda: client.update_model_version("moving", "1", "x"),
        "a version's tag": lambda: client.set_model_version_tag("moving", "1", "a", "b"),
        "a version's tag deleted": lambda: client.delete_model_version_tag("moving", "1", "a"),
        "a model's tag": lambda: client.set_registered_model_tag("moving", "a", "b"),
        "a model's tag deleted": lambda: client.delete_registered_model_tag("moving", "a"),
        "an alias": lambda: client.set_registered_model_alias("moving", "best", "1"),
        "the alias of another version": lambda: client.set_registered_model_alias("moving", "best", "2"),
        "an alias deleted": lambda: client.delete_registered_model_alias("moving", "best"),
        "a stage": lambda: client.transition_model_version_stage("moving", "1", "Staging"),
        "the stage of another version": lambda: client.transition_model_version_stage("moving", "2", "Staging", archive_existing_versions=True),
        "a model's description": lambda: client.update_registered_model("moving", "of motion"),
        "the same description": lambda: client.update_registered_model("moving", "of motion"),
    }
    for what, act in acts.items():
        _moved(said, f"model: {what}", act, model)
    for what, act in acts.items():
        _moved(said, f"version: {what}", act, version)
    _moved(said, "model: a version deleted", lambda: client.delete_model_version("moving", "2"), model)
    _moved(said, "version: the model renamed", lambda: client.rename_registered_model("moving", "moved"), lambda: _either(client))
    said.step("the model's own moment is its newest", lambda: client.get_registered_model("moved").last_updated_timestamp >= _either(client))


def _either(client):
    for name in ("moving", "moved"):
        found = client.search_model_versions(f"name = '{name}' and version_number = 1")
        if found:
            return found[0].last_updated_timestamp
    raise AssertionError("the version is gone")


def _experiment(said, client):
    where = client.create_experiment("moving")

    def experiment():
        return client.get_experiment(where).last_update_time

    for what, act in {
        "a tag": lambda: client.set_experiment_tag(where, "a", "b"),
        "a run": lambda: client.create_run(where),
        "another name": lambda: client.rename_experiment(where, "moved"),
        "deleted": lambda: client.delete_experiment(where),
        "restored": lambda: client.restore_experiment(where),
    }.items():
        _moved(said, f"experiment: {what}", act, experiment)


def _logged_model(said, client):
    where = client.create_experiment("models that move")
    run = client.create_run(where).info.run_id
    model = client.create_logged_model(where, name="moving", source_run_id=run).model_id

    def moment():
        return client.get_logged_model(model).last_updated_timestamp

    for what, act in {
        "a tag": lambda: client.set_logged_model_tags(model, {"a": "b"}),
        "a tag deleted": lambda: client.delete_logged_model_tag(model, "a"),
        "a parameter": lambda: client.log_model_params(model, {"lr": "1"}),
        "a metric": lambda: client.log_metric(run, "auc", 0.5, model_id=model),
        "its end": lambda: client.finalize_logged_model(model, "READY"),
    }.items():
        _moved(said, f"logged model: {what}", act, moment)
