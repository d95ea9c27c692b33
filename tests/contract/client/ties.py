"""Equal values: in which order the tied records come, for every order there is; and each optional parameter of a search by itself."""

import time

TIED = ("c", "a", "b")
ANY_DIGEST = {"one, any digest": ["a", "b", "c"], "of another metric": ["only"]}
"""A dataset without a digest means any digest to Rota; MLflow's server takes it for the empty digest and finds nothing."""


FALLING = [{"field_name": "name", "ascending": False}]


def steps(said, client, known):
    _runs(said, client)
    _registry(said, client, known)
    _experiments(said, client)
    if known.three:
        _logged_models(said, client)


def _runs(said, client):
    where = client.create_experiment("ties of runs")
    for name in TIED:
        run = client.create_run(where, start_time=1_000, run_name=name).info.run_id
        said.named(run, name)
        client.log_metric(run, "auc", 0.5, 1_000, 1)
        client.log_param(run, "depth", "3")
        client.set_tag(run, "team", "blue")
        client.set_terminated(run, end_time=2_000)
    late = client.create_run(where, start_time=3_000, run_name="d").info.run_id
    client.log_metric(late, "auc", 0.25, 1_000, 1)

    def names(**more):
        return [each.info.run_name for each in client.search_runs([where], **more)]

    for order in ("metrics.auc", "metrics.auc DESC", "params.depth", "tags.team DESC", "start_time DESC"):
        ties = [order, "run_name"]
        said.step(f"runs by {ties}", lambda ties=ties: names(order_by=ties))
    said.step("a page of runs alone", lambda: len(names(max_results=2)))
    said.step("a filter of runs alone", lambda: sorted(names(filter_string="metrics.auc = 0.5")))
    said.step("the deleted runs alone", lambda: names(run_view_type=2))
    said.step("runs of no order", lambda: names()[:1])


def _registry(said, client, known):
    run = client.create_run(known.experiment, run_name="tied").info.run_id
    client.log_text(run, "x", "folder/x.txt")
    root = client.get_run(run).info.artifact_uri
    for name in TIED:
        client.create_registered_model(f"tied_{name}")
    for _ in range(2):
        for name in TIED:
            client.create_model_version(f"tied_{name}", f"{root}/folder", run)
            time.sleep(0.003)

    def models(**more):
        return [each.name for each in client.search_registered_models("name LIKE 'tied%'", **more)]

    def versions(**more):
        return [f"{each.name}/{each.version}" for each in client.search_model_versions("name LIKE 'tied%'", **more)]

    said.step("models of no order", models)
    for order in (["last_updated_timestamp"], ["last_updated_timestamp DESC"], ["timestamp DESC", "name DESC"], ["name DESC"]):
        said.step(f"models by {order}", lambda order=order: models(order_by=order))
    said.step("a page of models alone", lambda: models(max_results=2))
    said.step("versions of no order", versions)
    for order in (
        ["version_number"],
        ["version_number DESC"],
        ["version_number ASC", "name DESC"],
        ["name"],
        ["name DESC"],
        ["creation_timestamp"],
        ["creation_timestamp DESC"],
        ["last_updated_timestamp DESC"],
    ):
        said.step(f"versions by {order}", lambda order=order: versions(order_by=order))
    said.step("a page of versions alone", lambda: versions(max_results=2))
    time.sleep(0.003)
    client.set_model_version_tag("tied_a", "1", "k", "v")
    said.step("versions of no order after a tag", versions)
    time.sleep(0.003)
    client.update_model_version("tied_b", "1", "described")
    said.step("versions of no order after a description", versions)
    said.step("models by the newest change after that", lambda: models(order_by=["last_updated_timestamp DESC"]))


def _experiments(said, client):
    for name in TIED:
        client.create_experiment(f"tied_{name}")
        time.sleep(0.003)

    def names(**more):
        return [each.name for each in client.search_experiments(filter_string="name LIKE 'tied%'", **more)]

    said.step("experiments of no order", names)
    for order in (["name"], ["name DESC"], ["creation_time"], ["creation_time DESC"], ["last_update_time DESC"]):
        said.step(f"experiments by {order}", lambda order=order: names(order_by=order))
    said.step("a page of experiments alone", lambda: names(max_results=2))


def _logged_models(said, client):
    where, other = client.create_experiment("ties of models"), client.create_experiment("more ties")
    for number, name in enumerate((*TIED, "bare")):
        run = client.create_run(where, run_name=name).info.run_id
        model = client.create_logged_model(where, name=name, source_run_id=run, params={"kind": "tree"}, tags={"team": "blue"}).model_id
        said.named(model, name)
        if name != "bare":
            client.log_metric(run, "auc", 0.5, 1_000, 1, model_id=model, dataset_name="test", dataset_digest=f"d{number % 2}")
            client.log_metric(run, "auc", number / 10, 2_000, 0, model_id=model, dataset_name="train", dataset_digest="d9")
        time.sleep(0.003)
    client.create_logged_model(other, name="elsewhere")
    only = client.create_run(where, run_name="only").info.run_id
    model = client.create_logged_model(where, name="only", source_run_id=only).model_id
    client.log_metric(only, "loss", 0.1, 1_000, 1, model_id=model, dataset_name="holdout", dataset_digest="d5")

    def names(text=None, **more):
        return [each.name for each in client.search_logged_models([where], filter_string=text, **more)]

    test, train, none = {"dataset_name": "test"}, {"dataset_name": "train", "dataset_digest": "d9"}, {"dataset_name": "none"}
    digests = [test | {"dataset_digest": f"d{number}"} for number in range(3)]
    for label, wanted in {
        "one, any digest": [test],
        "one digest": [digests[0]],
        "another digest": [digests[1]],
        "a digest nobody has": [digests[2]],
        "two": [digests[0], train],
        "two of a name": [digests[0], digests[1]],
        "one that nobody has": [none],
        "one that nobody has beside one": [none, digests[1]],
        "of another metric": [{"dataset_name": "holdout"}],
        "none in the list": [],
    }.items():
        more = ANY_DIGEST.get(label)
        trees = more if label == "one, any digest" else None
        said.step(f"models on datasets, {label}", lambda wanted=wanted: sorted(names(datasets=wanted)), rota=more)
        said.step(f"in order, {label}", lambda wanted=wanted: names(datasets=wanted, order_by=FALLING), rota=more and more[::-1])
        said.step(f"with a parameter, {label}", lambda wanted=wanted: sorted(names("params.kind = 'tree'", datasets=wanted)), rota=trees)
        said.step(f"with a metric, {label}", lambda wanted=wanted: sorted(names("metrics.auc > 0.05", datasets=wanted)), rota=trees)
        said.step(f"a page, {label}", lambda wanted=wanted: len(names(datasets=wanted, max_results=1)), rota=more and 1)
    said.step("models of no order", names)
    for field in ("name", "creation_timestamp", "last_updated_timestamp", "model_type", "status", "metrics.auc", "metrics.nothing"):
        for ascending in (True, False):
            order = [{"field_name": field, "ascending": ascending}]
            said.step(f"models by {field} {ascending}", lambda order=order: names(order_by=order))
    for data in (train, test, none):
        order = [{"field_name": "metrics.auc", "ascending": False} | data]
        said.step(f"models by a metric on {data['dataset_name']}", lambda order=order: names(order_by=order))
    said.step("models of two experiments", lambda: sorted(each.name for each in client.search_logged_models([where, other])))
    said.step("what is kept of a model's metrics", lambda: sorted(_points(client.get_logged_model(model))))
    client.log_metric(only, "loss", 0.2, 2_000, 2, model_id=model, dataset_name="holdout", dataset_digest="d5")
    newest = [["loss", 0.2, 2, "holdout"]]
    said.step("after a later point", lambda: sorted(_points(client.get_logged_model(model))), rota=newest)


def _points(model):
    return [[each.key, each.value, each.step, each.dataset_name or ""] for each in model.metrics]
