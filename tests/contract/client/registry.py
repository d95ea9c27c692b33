"""Registered models and versions: made, described, tagged, searched."""

import json

import mlflow
from transcript import pages

OUTSIDE = ("http://169.254.169.254/latest", "file:///etc", "/etc/passwd", "s3://x/y", "../x", "ftp://x/y", "runs:/../../etc", "models:/nobody/1", "")
ELSEWHERE = ("s3://x/y", "models:/nobody/1")
"""MLflow takes the bucket, and calls the other one missing; Rota keeps every file itself."""
REFUSED = {"error": "INVALID_PARAMETER_VALUE"}

MORE = {"['creation_timestamp ASC']": [f"found_{number}" for number in range(4)]}
"""What Rota answers where MLflow refuses."""


def steps(said, client, known):
    said.step("a model", lambda: client.create_registered_model("iris", {"team": "blue", "odd key": "x y"}, "of flowers"))
    said.step("get", lambda: client.get_registered_model("iris"))
    said.step("a second of the name", lambda: client.create_registered_model("iris"))
    for name in ("", "a/b", "a:b", "..", "m-v.1_2"):
        said.step(f"named {name!r}", lambda name=name: client.create_registered_model(name).name)
    said.step("get of nobody's", lambda: client.get_registered_model("nobody"))
    _versions(said, client, known)
    _described(said, client)
    _sources(said, client, known)
    _searched(said, client, known)
    known.governed = "governed"
    mlflow.register_model(known.booster_uri, known.governed)


def _versions(said, client, known):
    first = said.step("register", lambda: mlflow.register_model(known.model_uri, "iris"))
    assert int(first.version) == 1
    said.step("register from the run", lambda: mlflow.register_model(f"runs:/{known.model_run}/clf", "iris"))
    said.step("register makes the model", lambda: mlflow.register_model(known.booster_uri, "made", tags={"k": "v"}))
    said.step("the model it made", lambda: client.get_registered_model("made"))
    root = client.get_run(known.files).info.artifact_uri
    said.step("from a folder of a run", lambda: client.create_model_version("iris", f"{root}/dir", known.files, description="files", tags={"k": "v"}))
    said.step("get a version", lambda: client.get_model_version("iris", "1"))
    said.step("a number nobody has", lambda: client.get_model_version("iris", "99"))
    said.step("what is no number", lambda: client.get_model_version("iris", "x"))
    said.step("a version of nobody's", lambda: client.get_model_version("nobody", "1"))
    said.step("a version for nobody's", lambda: client.create_model_version("nobody", f"runs:/{known.model_run}/clf", known.model_run))
    said.step("its address is a root of files", lambda: client.get_model_version_download_uri("iris", "1").startswith("mlflow-artifacts:/"))
    said.step("an address of nobody's", lambda: client.get_model_version_download_uri("iris", "99"))
    said.step("it predicts", lambda: [int(each) for each in mlflow.pyfunc.load_model("models:/iris/1").predict(_rows())])
    said.step("so does the second", lambda: [int(each) for each in mlflow.sklearn.load_model("models:/iris/2").predict(_rows())])
    said.step("the latest", lambda: mlflow.pyfunc.load_model("models:/made/latest").metadata.flavors["lightgbm"] != {})
    said.step("a version that is not there", lambda: mlflow.pyfunc.load_model("models:/iris/99"))
    if known.three:
        model = known.model_uri.removeprefix("models:/")
        said.step("its logged model says so", lambda: _numbers(mlflow.get_logged_model(model).tags["mlflow.modelVersions"]))


def _numbers(tag):
    """The client writes them as texts, MLflow's server as numbers."""
    return [[each["name"], int(each["version"])] for each in json.loads(tag)]


def _rows():
    return mlflow.pyfunc.load_model("models:/iris/1").metadata.load_input_example()


def _described(said, client):
    said.step("a model's description", lambda: client.update_registered_model("iris", "of irises"))
    said.step("a version's description", lambda: client.update_model_version("iris", "1", "the first"))
    said.step("of a version nobody has", lambda: client.update_model_version("iris", "99", "x"))
    said.step("of nobody's", lambda: client.update_registered_model("nobody", "x"))
    said.step("a model's tag", lambda: client.set_registered_model_tag("iris", "team", "red"))
    said.step("a tag's deletion", lambda: client.delete_registered_model_tag("iris", "odd key"))
    said.step("the deletion of what is not there", lambda: client.delete_registered_model_tag("iris", "odd key"))
    said.step("a tag of nobody's", lambda: client.set_registered_model_tag("nobody", "a", "b"))
    said.step("a version's tag", lambda: client.set_model_version_tag("iris", "1", "checked", "yes"))
    said.step("another", lambda: client.set_model_version_tag("iris", "1", "gone", "soon"))
    said.step("its deletion", lambda: client.delete_model_version_tag("iris", "1", "gone"))
    said.step("its deletion twice", lambda: client.delete_model_version_tag("iris", "1", "gone"))
    said.step("a tag of a version nobody has", lambda: client.set_model_version_tag("iris", "99", "a", "b"))
    said.step("a long tag", lambda: client.set_registered_model_tag("iris", "long", "x" * 100_001))
    said.step("a long key", lambda: client.set_registered_model_tag("iris", "k" * 251, "x"))
    said.step("the model", lambda: client.get_registered_model("iris"))
    said.step("the version", lambda: client.get_model_version("iris", "1"))


def _sources(said, client, known):
    client.create_registered_model("outside")
    for source in OUTSIDE:
        more = REFUSED if source in ELSEWHERE else None
        said.step(f"a version from {source!r}", lambda source=source: client.create_model_version("outside", source), rota=more)
    root = client.get_run(known.files).info.artifact_uri
    for below in ("/..", "/../../..", "/dir/../../x", "/%2e%2e/x", "#/../x", "?x=/../y"):
        said.step(f"a version from a root and {below!r}", lambda below=below: client.create_model_version("outside", f"{root}{below}"))
    said.step("a source of another run", lambda: client.create_model_version("outside", f"{root}/dir", known.model_run))
    said.step("a run without such files", lambda: client.create_model_version("outside", f"runs:/{known.run}/nothing", known.run).name)
    client.delete_registered_model("outside")


def _searched(said, client, known):
    for number in range(4):
        client.create_registered_model(f"found_{number}", {"no": str(number), "kind": "found"})

    def models(text=None, **more):
        return [each.name for each in client.search_registered_models(filter_string=text, **more)]

    for text in (
        "name = 'found_1'",
        "name LIKE 'found%'",
        "name LIKE 'FOUND%'",
        "name ILIKE 'FOUND%'",
        "name != 'iris' and name LIKE 'i%'",
        "tags.no = '2'",
        "tags.kind = 'found' and tags.no != '2'",
        "tags.kind ILIKE 'FO%'",
        "name = ",
        "name > 'a'",
        "nonsense = 'x'",
        "version_number > 1",
        "tags.no",
        "name = 'a' or name = 'b'",
    ):
        said.step(f"models {text}", lambda text=text: sorted(models(text)))
    for order in (["name"], ["name DESC"], ["last_updated_timestamp DESC", "name"], ["creation_timestamp ASC"], ["nonsense"], ["name SIDEWAYS"]):
        said.step(f"models by {order}", lambda order=order: models("tags.kind = 'found'", order_by=order), rota=MORE.get(str(order)))

    def page(token):
        return client.search_registered_models("tags.kind = 'found'", max_results=3, order_by=["name"], page_token=token)

    said.step("pages of models", lambda: pages(page, lambda each: each.name))
    said.step("no models wanted", lambda: models(max_results=0), rota=REFUSED)
    said.step("too many models wanted", lambda: models(max_results=1_001))
    _searched_versions(said, client, known)


def _searched_versions(said, client, known):
    def versions(text=None, **more):
        return [f"{each.name}/{each.version}" for each in client.search_model_versions(filter_string=text, **more)]

    for text in (
        "name = 'iris'",
        "name LIKE '%i%'",
        "name ILIKE 'IRIS'",
        "name = 'iris' and tags.checked = 'yes'",
        "tags.k = 'v'",
        "tags.k != 'v'",
        f"run_id = '{known.model_run}'",
        f"run_id IN ('{known.model_run}', '{known.files}')",
        "run_id = 'nobody'",
        "version_number = 2",
        "version_number > 1 and name = 'iris'",
        "version_number <= 2 and name = 'iris'",
        "version_number != 1 and name = 'iris'",
        "source_path LIKE '%dir'",
        f"source_path = '{client.get_model_version('iris', '3').source}'",
        "version_number = 'x'",
        "nonsense = 1",
        "name > 'a'",
        "name =",
    ):
        said.step(f"versions {said.plain(text)}", lambda text=text: sorted(versions(text)))
    for order in (["version_number DESC"], ["name", "version_number"], ["version_number ASC"], ["creation_timestamp"], ["nonsense"]):
        said.step(f"versions by {order}", lambda order=order: versions("name = 'iris'", order_by=order))

    def page(token):
        return client.search_model_versions("name = 'iris'", max_results=2, order_by=["version_number"], page_token=token)

    said.step("pages of versions", lambda: pages(page, lambda each: int(each.version)))
    said.step("no versions wanted", lambda: versions(max_results=0))
