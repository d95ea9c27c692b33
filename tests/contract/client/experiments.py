"""Experiments: made, found, searched, renamed, tagged, deleted, restored."""

import mlflow
from mlflow.entities import ViewType
from transcript import pages

PAGES = [f"Page_{number}" for number in range(5)]
MORE = {
    "attributes.name ILIKE 'page_%'": PAGES,
    "name IN ('first')": ["first"],
    "['tags.no']": PAGES,
    "creation_time < 1000": ["Default"],  # it has always been there
}
"""What Rota answers where MLflow refuses, by filter or order."""


def steps(said, client, known):
    said.step("the default experiment", lambda: {key: value for key, value in dict(client.get_experiment("0")).items() if "time" not in key})
    made = said.step("set_experiment makes it", lambda: mlflow.set_experiment("first").name)
    assert made == "first"
    known.experiment = said.named(client.get_experiment_by_name("first").experiment_id, "first")
    said.step("get", lambda: client.get_experiment(known.experiment))
    said.step("set_experiment finds it", lambda: mlflow.set_experiment("first").experiment_id == known.experiment)
    said.step("by a name nobody took", lambda: client.get_experiment_by_name("nobody"))
    said.step("by an id nobody has", lambda: client.get_experiment("123456"))
    said.step("by an id that is no id", lambda: client.get_experiment("a b"), rota={"error": "RESOURCE_DOES_NOT_EXIST"})
    said.step("a second one of the name", lambda: client.create_experiment("first"))
    said.step("no name", lambda: client.create_experiment(""))
    said.step("a long name", lambda: len(client.create_experiment("n" * 500)) > 0)
    said.step("a longer name", lambda: client.create_experiment("n" * 501))
    _tags(said, client, known)
    _deleted(said, client)
    _searched(said, client)


def _tags(said, client, known):
    tagged = client.create_experiment("tagged", tags={"team": "blue", "cost.centre": "7 b", "é": "ü"})
    said.named(tagged, "tagged")
    said.step("tags at birth", lambda: client.get_experiment(tagged).tags)
    said.step("a tag is set", lambda: client.set_experiment_tag(tagged, "team", "red"))
    said.step("a tag is set on none", lambda: client.set_experiment_tag("123456", "team", "red"))
    said.step("a tag of 5,000 characters", lambda: client.set_experiment_tag(tagged, "long", "x" * 5_000))
    said.step("a tag of 20,001 characters", lambda: client.set_experiment_tag(tagged, "longer", "x" * 20_001))
    said.step("a key of 251 characters", lambda: client.set_experiment_tag(tagged, "k" * 251, "x"))
    said.step("a key that climbs", lambda: client.set_experiment_tag(tagged, "../k", "x"))
    said.step("a tag without a value", lambda: client.set_experiment_tag(tagged, "empty", ""))
    if known.three:
        said.step("a tag is deleted", lambda: client.delete_experiment_tag(tagged, "empty"))
        said.step("a tag is deleted twice", lambda: client.delete_experiment_tag(tagged, "empty"))
    said.step("and they are", lambda: sorted(key for key in client.get_experiment(tagged).tags if key != "empty"))


def _deleted(said, client):
    gone = said.named(client.create_experiment("gone"), "gone")
    inner = client.create_run(gone, run_name="inner").info.run_id
    said.named(inner, "inner")
    said.step("delete", lambda: client.delete_experiment(gone))
    said.step("delete twice", lambda: client.delete_experiment(gone))
    said.step("it is still there", lambda: client.get_experiment(gone))
    said.step("its run goes with it", lambda: client.get_run(inner).info.lifecycle_stage)
    said.step("its name is taken", lambda: client.create_experiment("gone"))
    said.step("nobody sets it", lambda: mlflow.set_experiment("gone"))
    said.step("no run begins there", lambda: client.create_run(gone))
    said.step("no tag is set there", lambda: client.set_experiment_tag(gone, "a", "b"))
    said.step("it is not renamed", lambda: client.rename_experiment(gone, "other"), rota={"error": "INVALID_PARAMETER_VALUE"})
    said.step("only the deleted", lambda: [each.name for each in client.search_experiments(view_type=ViewType.DELETED_ONLY)])
    said.step("runs of the deleted", lambda: [each.info.run_name for each in client.search_runs([gone])])
    said.step("runs of the deleted, all", lambda: [each.info.run_name for each in client.search_runs([gone], run_view_type=ViewType.ALL)])
    said.step("restore", lambda: client.restore_experiment(gone))
    said.step("restore twice", lambda: client.restore_experiment(gone))
    said.step("its run comes back", lambda: client.get_run(inner).info.lifecycle_stage)
    said.step("rename", lambda: client.rename_experiment(gone, "back"))
    said.step("rename to a taken name", lambda: client.rename_experiment(gone, "first"), rota={"error": "RESOURCE_ALREADY_EXISTS"})
    said.step("rename to no name", lambda: client.rename_experiment(gone, ""))
    said.step("it has the new name", lambda: client.get_experiment(gone).name)
    said.step("delete what nobody has", lambda: client.delete_experiment("123456"))


def _searched(said, client):
    for number in range(5):
        client.create_experiment(f"Page_{number}", tags={"kind": "page", "no": str(number), "odd key": str(number % 2)})

    def named(text="", **more):
        return [each.name for each in client.search_experiments(filter_string=text, **more)]

    for text in (
        "name = 'Page_3'",
        "name != 'first' AND name LIKE 'Page%'",
        "attributes.name ILIKE 'page_%'",
        "name LIKE 'page%'",
        "name LIKE 'Page_1%' and tags.kind = 'page'",
        "tags.no = '2'",
        "tags.no != '2' and tags.kind = 'page'",
        "tags.`odd key` = '1'",
        'tags."odd key" = "0"',
        "tags.kind ILIKE 'PA%'",
        "tag.kind LIKE 'p%e'",
        "creation_time > 0 and name = 'first'",
        "creation_time < 1000",
        "last_update_time >= 1000 and name = 'first'",
        "name IN ('first')",
        "name = ",
        "name = 3",
        "name > 'a'",
        "nonsense = 'x'",
        "metrics.m > 1",
        "name = 'a' OR name = 'b'",
        "tags.no > '2'",
    ):
        said.step(f"search {text}", lambda text=text: sorted(named(text)), rota=MORE.get(text))
    for order in (["name"], ["name DESC"], ["name ASC"], ["creation_time DESC", "name"], ["last_update_time ASC"]):
        said.step(f"order {order}", lambda order=order: named("tags.kind = 'page'", order_by=order))
    for order in (["nonsense"], ["name SIDEWAYS"], ["tags.no"], ["metrics.m"]):
        said.step(f"order {order}", lambda order=order: named("tags.kind = 'page'", order_by=order), rota=MORE.get(str(order)))
    said.step("no order: newest first", lambda: named("tags.kind = 'page'"))

    def page(token):
        return client.search_experiments(filter_string="tags.kind = 'page'", max_results=2, order_by=["name"], page_token=token)

    said.step("pages of two", lambda: pages(page, lambda each: each.name))
    said.step("no results wanted", lambda: client.search_experiments(max_results=0))
    said.step("too many wanted", lambda: client.search_experiments(max_results=50_001))
    said.step("a page token of nobody", lambda: client.search_experiments(page_token="nonsense"))
