"""What ends: versions and models are renamed, copied and deleted."""

import mlflow


def steps(said, client, known):
    said.step("copied", lambda: client.copy_model_version("models:/iris/1", "copied"))
    said.step("copied by alias", lambda: int(client.copy_model_version("models:/iris@old-one", "copied").version))
    said.step("the copy works", lambda: type(mlflow.sklearn.load_model("models:/copied/1")).__name__)
    said.step("renamed", lambda: client.rename_registered_model("copied", "renamed"))
    said.step("the old name", lambda: client.get_registered_model("copied"))
    said.step("its versions moved", lambda: [int(each.version) for each in client.search_model_versions("name = 'renamed'")])
    said.step("it still works", lambda: type(mlflow.sklearn.load_model("models:/renamed/2")).__name__)
    said.step("renamed to a taken name", lambda: client.rename_registered_model("renamed", "iris"))
    said.step("nobody's renamed", lambda: client.rename_registered_model("nobody", "somebody"))
    said.step("an alias on it", lambda: client.set_registered_model_alias("renamed", "a", "1"))
    said.step("a version deleted", lambda: client.delete_model_version("renamed", "1"))
    said.step("deleted twice", lambda: client.delete_model_version("renamed", "1"))
    said.step("it is gone", lambda: client.get_model_version("renamed", "1"))
    said.step("its alias went with it", lambda: client.get_registered_model("renamed").aliases)
    said.step("its tags are closed", lambda: client.set_model_version_tag("renamed", "1", "a", "b"))
    said.step("its stage is closed", lambda: client.transition_model_version_stage("renamed", "1", "Staging"))
    said.step("the rest", lambda: [int(each.version) for each in client.search_model_versions("name = 'renamed'")])
    said.step("the latest", lambda: [int(each.version) for each in client.get_latest_versions("renamed")])
    said.step("a model deleted", lambda: client.delete_registered_model("renamed"))
    said.step("deleted twice", lambda: client.delete_registered_model("renamed"))
    said.step("gone with its versions", lambda: client.search_model_versions("name = 'renamed'"))
    said.step("its version", lambda: client.get_model_version("renamed", "2"))
    said.step("its name is free", lambda: client.create_registered_model("renamed").name)
    said.step("what is left", lambda: sorted(each.name for each in client.search_registered_models()))
