"""Aliases, and loading by them. In Rota the champion is governed."""

import mlflow

REFUSED = {"error": "PERMISSION_DENIED"}
MORE = {name: {"error": "INVALID_PARAMETER_VALUE"} for name in ("3", "x" * 255)}
"""In Rota model@3 is the version 3, and names have at most 128 characters."""


def steps(said, client, known):
    def aliases():
        return {name: int(number) for name, number in client.get_registered_model("iris").aliases.items()}

    said.step("an alias", lambda: client.set_registered_model_alias("iris", "candidate", "1"))
    said.step("aliases of the model", aliases)
    said.step("aliases of the version", lambda: list(client.get_model_version("iris", "1").aliases))
    said.step("the version by it", lambda: client.get_model_version_by_alias("iris", "candidate"))
    said.step("it moves", lambda: (client.set_registered_model_alias("iris", "candidate", "2"), aliases())[1])
    said.step("it is set again", lambda: (client.set_registered_model_alias("iris", "candidate", "2"), aliases())[1])
    said.step("a second", lambda: (client.set_registered_model_alias("iris", "old-one", "2"), aliases())[1])
    said.step("loads", lambda: type(mlflow.sklearn.load_model("models:/iris@candidate")).__name__)
    said.step("its address", lambda: mlflow.pyfunc.load_model("models:/iris@candidate").metadata.run_id == known.model_run)
    for alias in ("", "a b", "a/b", "latest", "v1", "3", "Upper", "x" * 255, "x" * 256, "a@b"):
        said.step(
            f"alias {alias[:10]!r} of {len(alias)}", lambda alias=alias: client.set_registered_model_alias("iris", alias, "1"), rota=MORE.get(alias)
        )
    said.step("to a version nobody has", lambda: client.set_registered_model_alias("iris", "lost", "99"))
    said.step("to what is no number", lambda: client.set_registered_model_alias("iris", "lost", "x"))
    said.step("of nobody's model", lambda: client.set_registered_model_alias("nobody", "lost", "1"))
    said.step("the version by none", lambda: client.get_model_version_by_alias("iris", "lost"))
    said.step("of nobody's model by it", lambda: client.get_model_version_by_alias("nobody", "lost"))
    said.step("load by none", lambda: mlflow.pyfunc.load_model("models:/iris@lost"))
    said.step("the champion", lambda: client.set_registered_model_alias("iris", "champion", "1"), rota=REFUSED)
    said.step(
        "the version of the champion",
        lambda: int(client.get_model_version_by_alias("iris", "champion").version),
        rota={"error": "INVALID_PARAMETER_VALUE"},
    )
    said.step("removed", lambda: client.delete_registered_model_alias("iris", "candidate"))
    said.step("removed twice", lambda: client.delete_registered_model_alias("iris", "candidate"))
    said.step("removed from nobody's", lambda: client.delete_registered_model_alias("nobody", "candidate"))
    said.step("and it is", lambda: sorted(set(aliases()) - {"champion", "Upper", "3", "x" * 255}))
