"""Stages, which MLflow has deprecated: in Rota a view of the aliases champion and challenger."""

REFUSED = {"error": "PERMISSION_DENIED"}


def steps(said, client, known):
    def moved(number, stage, **more):
        return client.transition_model_version_stage("made", number, stage, **more).current_stage

    said.step("born without", lambda: client.get_model_version("made", "1").current_stage)
    said.step("to Staging", lambda: moved("1", "Staging"))
    said.step("in small letters", lambda: moved("1", "staging"))
    said.step("the latest of Staging", lambda: [(each.version, each.current_stage) for each in client.get_latest_versions("made", ["Staging"])])
    said.step("the latest of Production", lambda: client.get_latest_versions("made", ["Production"]))
    said.step("the latest of each", lambda: [each.current_stage for each in client.get_latest_versions("iris")])
    said.step("to Production", lambda: moved("1", "Production"), rota=REFUSED)
    said.step("to an unknown one", lambda: moved("1", "Shelf"))
    said.step("archived with others", lambda: moved("1", "Archived", archive_existing_versions=True), rota={"error": "INVALID_PARAMETER_VALUE"})
    said.step("to Archived", lambda: moved("1", "Archived"))
    said.step("to None", lambda: moved("1", "None"))
    said.step("a version nobody has", lambda: moved("99", "Staging"))
    said.step("the latest of nobody's", lambda: client.get_latest_versions("nobody"))
    said.step("the latest of an unknown stage", lambda: client.get_latest_versions("made", ["Shelf"]))
