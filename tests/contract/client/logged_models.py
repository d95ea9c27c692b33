"""Logged models (3.x): a model before it is registered."""

import mlflow

MORE = {"status = 'READY'": ["m2"], "nonsense = 'x'": {"error": "INVALID_PARAMETER_VALUE"}}
"""What Rota answers where MLflow finds nothing or breaks, by filter."""


def steps(said, client, known):
    if not known.three:
        return
    run = said.named(client.create_run(known.experiment, run_name="models").info.run_id, "models")
    made = client.create_logged_model(
        known.experiment, name="bare", source_run_id=run, tags={"a": "b"}, params={"depth": "3"}, model_type="classifier"
    )
    model = known.logged_model = said.named(made.model_id, "bare")
    said.step("made", lambda: client.get_logged_model(model))
    said.step("parameters", lambda: client.log_model_params(model, {"more": "1"}))
    said.step("tags", lambda: client.set_logged_model_tags(model, {"c": "d", "e": "f"}))
    said.step("a tag is deleted", lambda: client.delete_logged_model_tag(model, "e"))
    said.step("a tag is deleted twice", lambda: client.delete_logged_model_tag(model, "e"))
    said.step("a metric of the model", lambda: client.log_metric(run, "auc", 0.75, 1_000, 2, model_id=model))
    said.step("on data", lambda: client.log_metric(run, "auc", 0.5, 1_000, 1, model_id=model, dataset_name="test", dataset_digest="d1"))
    said.step(
        "a metric of nobody's", lambda: client.log_metric(run, "auc", 0.75, model_id=f"m-{'f' * 32}"), rota={"error": "RESOURCE_DOES_NOT_EXIST"}
    )
    said.step("finished", lambda: client.finalize_logged_model(model, "READY"))
    said.step("and so it is", lambda: client.get_logged_model(model))
    said.step("finished as pending", lambda: client.finalize_logged_model(model, "PENDING"), rota={"error": "INVALID_PARAMETER_VALUE"})
    said.step("its run", lambda: client.get_run(run))
    for name in ("a/b", "a:b", "a.b", "a%b", "a'b", 'a"b', "a b", "é"):
        said.step(f"named {name}", lambda name=name: said.named(client.create_logged_model(known.experiment, name=name).model_id, name) and name)
    said.step("without a name", lambda: len(client.create_logged_model(known.experiment).name) > 0)
    of_nobody = {"name": "x", "source_run_id": "f" * 32}
    said.step("of nobody's run", lambda: client.create_logged_model(known.experiment, **of_nobody).name, rota={"error": "RESOURCE_DOES_NOT_EXIST"})
    said.step("in nobody's experiment", lambda: client.create_logged_model("123456", name="x"))
    said.step("get of nobody's", lambda: client.get_logged_model(f"m-{'f' * 32}"))
    _searched(said, client, known)
    said.step("delete", lambda: client.delete_logged_model(model))
    said.step("delete twice", lambda: client.delete_logged_model(model), rota={"error": "RESOURCE_DOES_NOT_EXIST"})
    said.step("gone", lambda: client.get_logged_model(model))


def _searched(said, client, known):
    where = known.models = said.named(client.create_experiment("models"), "models")
    for number, kind in enumerate(("tree", "net", "tree"), 1):
        run = said.named(client.create_run(where, run_name=f"m{number}").info.run_id, f"m{number}'s run")
        made = client.create_logged_model(where, name=f"m{number}", source_run_id=run, params={"kind": kind}, tags={"team": "blue"}, model_type=kind)
        said.named(made.model_id, f"m{number}")
        client.log_metric(run, "auc", number / 10, 1_000, 1, model_id=made.model_id, dataset_name="test", dataset_digest="d1")
        client.log_metric(run, "auc", number / 5, 1_001, 1, model_id=made.model_id, dataset_name="train", dataset_digest="d2")
        if number > 1:
            client.finalize_logged_model(made.model_id, "READY" if number == 2 else "FAILED")

    def names(text=None, **more):
        return [each.name for each in client.search_logged_models([where], filter_string=text, **more)]

    for text in (
        "name = 'm1'",
        "name LIKE 'm%'",
        "attributes.name ILIKE 'M1'",
        "params.kind = 'tree'",
        "tags.team = 'blue' and name != 'm1'",
        "metrics.auc > 0.25",
        "metrics.auc > 0.25 and params.kind = 'tree'",
        "model_type = 'net'",
        "status = 'READY'",
        "creation_timestamp > 0",
        "name IN ('m1', 'm2')",
        "nonsense = 'x'",
        "metrics.auc >",
        "tags.team",
        "name = 'm1' or name = 'm2'",
    ):
        said.step(f"search {text}", lambda text=text: sorted(names(text)), rota=MORE.get(text))
    test = {"dataset_name": "test"}
    said.step("on the test data", lambda: sorted(names("metrics.auc > 0.25", datasets=[test | {"dataset_digest": "d1"}])))
    said.step("on test data of any digest", lambda: sorted(names("metrics.auc > 0.25", datasets=[test])), rota=["m3"])
    said.step("on data nobody has", lambda: names("metrics.auc > 0", datasets=[{"dataset_name": "none"}]))
    said.step("on nameless data", lambda: names("metrics.auc > 0", datasets=[{"dataset_digest": "d1"}]))
    for field, ascending in (("name", True), ("name", False), ("metrics.auc", False), ("creation_timestamp", True)):
        order = [{"field_name": field, "ascending": ascending}]
        said.step(f"order {field} {ascending}", lambda order=order: names(order_by=order))
    said.step("order by nonsense", lambda: names(order_by=[{"field_name": "nonsense"}]))
    on_test = [{"field_name": "metrics.auc", "ascending": False, "dataset_name": "test", "dataset_digest": "d1"}]
    said.step("order on data", lambda: names(order_by=on_test))
    said.step("one of three", lambda: names(max_results=1, order_by=[{"field_name": "name", "ascending": True}]))
    said.step("nowhere", lambda: client.search_logged_models([]))
    said.step("as a frame", lambda: len(mlflow.search_logged_models([where])))
