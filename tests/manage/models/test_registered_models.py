"""The model registry: names, numbers that are never used again, references, what may change, aliases with their history."""

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import Conflict, InvalidInput, NotFound, Refused
from rota.manage.lineage.audit_chain import verify_audit
from rota.manage.models import model_aliases, model_versions, registered_models
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged
from rota.records.kinds import node
from rota.records.model import Alias, AliasMove, Approval, ModelCard, ModelVersion, RegisteredModel, ReleasePolicy, RiskAnswer
from rota.records.release import Endpoint
from rota.records.run import Deployed
from rota.records.tracking import ArtifactFile, ExperimentRun, LoggedModel, MetricPoint, RunInput
from rota.testing.story import NOON_US, PIPELINE, approval, version


@pytest.fixture
def metadata():
    return MemoryMetadata()


def register(metadata, *numbers):
    for number in numbers:
        batch = Batch()
        model_versions.register(batch, metadata, version(number, "registered"))
        metadata.commit(batch)


def move(metadata, number, reason="", alias="champion"):
    batch = Batch()
    model_aliases.move(batch, metadata, Alias("delay", alias, number, 7, reason), actor="anna")
    metadata.commit(batch)


def store(metadata, *records):
    batch = Batch()
    for record in records:
        batch.put(record)
    metadata.commit(batch)


def tracked(repositories, run="a" * 32, **options):
    """A tracked run of the default experiment with one metric and a file below "model"."""
    repositories.tracking.create_run(ExperimentRun(run, "0", "deep trees", "finished", NOON_US))
    points = [MetricPoint("auc", 0.8), MetricPoint("loss", float("nan"))]
    data = [RunInput("delay", "d1", node="dataset_version:delay@4")]
    repositories.tracking.log(run, Logged(metrics=points, parameters={"depth": "8"}, inputs=data))
    store(repositories.metadata, ArtifactFile(f"0/{run}/artifacts", "model/MLmodel", "e" * 64, 3))
    return run


def create(repositories, **options):
    told = {"model": "delay", "source": f"runs:/{'a' * 32}/model", "actor": "anna"} | options
    return model_versions.create(repositories, **told)


def test_numbers_start_at_one_and_grow_past_nine_and_without_regard_to_other_models(metadata):
    assert model_versions.next_number(metadata, "delay") == 1
    register(metadata, *range(1, 12))
    assert model_versions.next_number(metadata, "delay") == 12
    assert model_versions.next_number(metadata, "dela") == 1


def test_a_registration_is_a_record_an_event_and_an_audit_entry(metadata):
    register(metadata, 1)
    assert metadata.find(ModelVersion) == [version(1, "registered")]
    assert [(e.kind, e.subject, e.body) for e in metadata.events(0)] == [("version.registered", "delay@1", {"model": "delay", "number": 1})]
    assert [(a.action, a.subject, a.body["run"]) for a in metadata.audit()] == [("version.register", "delay@1", "r1")]


def test_of_two_registrations_with_one_number_the_second_leaves_nothing(metadata):
    register(metadata, 1)
    with pytest.raises(Conflict):
        register(metadata, 1)
    assert len(metadata.events(0)) == len(metadata.audit()) == 1


def test_a_reference_is_a_number_or_an_alias(metadata):
    register(metadata, 1, 2)
    move(metadata, 2)
    assert model_versions.resolve(metadata, "delay@1").number == 1
    assert model_versions.resolve(metadata, "delay@champion").number == 2
    assert model_aliases.aliased_version(metadata, "delay").number == 2
    assert model_aliases.aliased_version(metadata, "delay", "challenger") is None
    assert model_aliases.aliased_version(metadata, "other") is None


@pytest.mark.parametrize("reference", ["", "delay", "@", "delay@", "@1", "@champion"])
def test_a_reference_with_a_missing_half_is_told_how_to_be_written(metadata, reference):
    with pytest.raises(InvalidInput, match="MODEL@NUMBER or MODEL@ALIAS"):
        model_versions.resolve(metadata, reference)


HOSTILE = [
    "delay@7",
    "delay@²",
    "delay@٣",
    "delay@-1",
    "delay@1.0",
    "delay@1@1",
    "delay@" + "9" * 5_000,
    "delay@../champion",
    "x' OR 1=1 --@champion",
]


@pytest.mark.parametrize("reference", HOSTILE, ids=range(len(HOSTILE)))
def test_a_reference_to_nothing_is_not_found_however_it_is_written(metadata, reference):
    register(metadata, 1)
    move(metadata, 1)
    with pytest.raises(NotFound):
        model_versions.resolve(metadata, reference)


def test_a_missing_version_names_those_that_exist(metadata):
    register(metadata, 1, 2)
    with pytest.raises(NotFound, match=r"no version 3; it has \[1, 2\]"):
        model_versions.get(metadata, "delay", 3)
    with pytest.raises(NotFound, match="there is no model 'other'"):
        model_versions.resolve(metadata, "other@champion")


def test_an_alias_keeps_its_history_in_moves_and_in_the_audit_log(metadata):
    register(metadata, 1, 2)
    for number, reason in ((1, "first"), (2, "better"), (1, "rolled back")):
        move(metadata, number, reason)
    told = [(a.actor, a.subject, a.body["before"], a.body["after"], a.body["reason"]) for a in metadata.audit() if a.action == "alias.move"]
    assert told == [
        ("anna", "delay@champion", None, 1, "first"),
        ("anna", "delay@champion", 1, 2, "better"),
        ("anna", "delay@champion", 2, 1, "rolled back"),
    ]
    moves = metadata.find(AliasMove, {"model": "delay", "alias": "champion"})
    assert [(m.move, m.before, m.number, m.reason) for m in moves] == [(1, 0, 1, "first"), (2, 1, 2, "better"), (3, 2, 1, "rolled back")]
    assert [edge.cause for edge in metadata.edges([node(moves[1])], "causes")] == ["model_version:delay@2"]
    assert verify_audit(metadata).reason == ""


def test_where_an_alias_pointed_at_any_moment_is_known(metadata):
    register(metadata, 1, 2)
    for at_us, number in ((10, 1), (20, 2), (20, 1), (30, 2)):
        batch = Batch()
        model_aliases.move(batch, metadata, Alias("delay", "champion", number, at_us), actor="anna")
        metadata.commit(batch)
    batch = Batch()
    model_aliases.remove(batch, metadata, metadata.get(Alias, "delay", "champion"), actor="anna", now_us=40, reason="retired")
    metadata.commit(batch)
    found = [model_aliases.at(metadata, "delay", "champion", at_us) for at_us in (9, 10, 19, 20, 29, 30, 39, 40, 99)]
    assert [move and move.number for move in found] == [None, 1, 1, 1, 1, 2, 2, None, None]
    assert model_aliases.at(metadata, "delay", "challenger", 99) is None


def test_a_history_never_goes_back_in_time_when_the_clock_does(metadata):
    register(metadata, 1, 2)
    for number, at_us in ((1, 50), (2, 40)):
        batch = Batch()
        model_aliases.move(batch, metadata, Alias("delay", "champion", number, at_us), actor="anna")
        metadata.commit(batch)
    assert [move.at_us for move in metadata.find(AliasMove)] == [50, 50]


@pytest.mark.parametrize("name", ["3", "v3", "V3", "latest", "LATEST", "", "a/b", "-x", "a b", "x" * 200])
def test_an_alias_that_could_be_taken_for_a_version_is_refused(name):
    with pytest.raises(InvalidInput):
        model_aliases.check_name(name)


def test_of_two_moves_from_one_state_one_wins(metadata):
    register(metadata, 1, 2)
    batches = [Batch(), Batch()]
    for number, batch in enumerate(batches, 1):
        model_aliases.move(batch, metadata, Alias("delay", "champion", number, 7), actor="anna")
    metadata.commit(batches[0])
    with pytest.raises(Conflict):
        metadata.commit(batches[1])
    assert model_versions.resolve(metadata, "delay@champion").number == 1


def test_a_first_version_makes_its_model_and_the_next_leaves_it_alone(metadata):
    register(metadata, 1)
    made = registered_models.get(metadata, "delay")
    registered_models.update(metadata, "delay", actor="anna", now_us=9, description="minutes late", tags={"team": "ops"})
    register(metadata, 2)
    after = registered_models.get(metadata, "delay")
    assert after == msgspec.structs.replace(made, description="minutes late", tags={"team": "ops"}, updated_us=after.updated_us)
    assert after.updated_us > made.updated_us  # a version came


def test_a_version_of_an_older_release_implies_its_model(metadata):
    store(metadata, version(1, "approved"))
    assert registered_models.get(metadata, "delay").name == "delay"
    with pytest.raises(Conflict):
        registered_models.create(metadata, RegisteredModel("delay"), actor="anna", now_us=1)
    assert registered_models.update(metadata, "delay", actor="anna", now_us=2, owner="bea").owner == "bea"
    assert registered_models.get(metadata, "delay").owner == "bea"


def test_a_name_is_taken_once_and_unknown_names_say_what_there_is(metadata):
    made = registered_models.create(metadata, RegisteredModel("delay", tags={"a": "b"}), actor="anna", now_us=5)
    assert (made.owner, made.created_us) == ("anna", 5)
    with pytest.raises(Conflict, match="already"):
        registered_models.create(metadata, RegisteredModel("delay"), actor="bea", now_us=6)
    with pytest.raises(NotFound, match=r"there are \['delay'\]"):
        registered_models.get(metadata, "dely")
    with pytest.raises(InvalidInput):
        registered_models.create(metadata, RegisteredModel("../delay"), actor="bea", now_us=6)


def test_a_version_of_a_run_takes_its_metrics_parameters_data_and_a_copy_of_its_files(repositories):
    metadata = repositories.metadata
    registered_models.create(metadata, RegisteredModel("delay"), actor="anna", now_us=1)
    run = tracked(repositories)
    made = create(repositories, tags={"k": "v"}, description="first")
    assert (made.number, made.registered_by, made.owner, made.experiment_run, made.dataset) == (1, "anna", "anna", run, "delay@4")
    assert made.metrics == {"auc": 0.8}  # a NaN is no figure that anything could be compared with
    assert made.parameters == {"depth": "8"}
    store(metadata, ArtifactFile(f"0/{run}/artifacts", "model/MLmodel", "f" * 64, 4))
    assert [(f.path, f.digest) for f in metadata.find(ArtifactFile, {"root": made.artifacts})] == [("MLmodel", "e" * 64)]
    causes = {edge.cause for edge in metadata.edges([node(made)], "causes")}
    assert causes == {f"experiment_run:{run}", "dataset_version:delay@4"}
    assert model_versions.get(metadata, "delay", 1) == made


def test_a_version_of_a_logged_model_or_of_another_version_knows_where_it_comes_from(repositories):
    metadata = repositories.metadata
    registered_models.create(metadata, RegisteredModel("delay"), actor="anna", now_us=1)
    run, logged = tracked(repositories), "m-" + "0" * 32
    store(metadata, LoggedModel(logged, "0", "model", run), ArtifactFile(f"0/models/{logged}/artifacts", "MLmodel", "d" * 64, 2))
    first = create(repositories, source=f"models:/{logged}")
    second = create(repositories, source="models:/delay/1")
    assert [first.number, second.number, second.experiment_run] == [1, 2, run]
    assert first.artifacts != second.artifacts
    assert f"logged_model:{logged}" in {edge.cause for edge in metadata.edges([node(first)], "causes")}
    assert "model_version:delay@1" in {edge.cause for edge in metadata.edges([node(second)], "causes")}


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://169.254.169.254/latest",
        "s3://bucket/model",
        "runs:/" + "a" * 32 + "/../../secret",
        "runs:/" + "a" * 32 + "/%2e%2e/secret",
        "runs:/" + "a" * 32 + "/model#x",
        "runs:/nix/model",
        "models:/m-" + "1" * 32,
        "models:/delay/99",
        "models:/delay/" + "9" * 400,
        "mlflow-artifacts://host/0/x/artifacts",
        "mlflow-artifacts:/0/" + "a" * 32 + "/artifacts/../../..",
        "",
        "x" * 100_000,
    ],
    ids=range(15),
)
def test_a_source_that_is_not_kept_here_registers_nothing(repositories, source):
    registered_models.create(repositories.metadata, RegisteredModel("delay"), actor="anna", now_us=1)
    tracked(repositories)
    with pytest.raises((InvalidInput, NotFound)):
        create(repositories, source=source)
    assert repositories.metadata.find(ModelVersion) == []


def test_a_version_needs_a_model(repositories):
    tracked(repositories)
    with pytest.raises(NotFound, match="no model 'delay'"):
        create(repositories)


def test_many_registrations_at_once_get_numbers_without_a_gap(repositories):
    registered_models.create(repositories.metadata, RegisteredModel("delay"), actor="anna", now_us=1)
    tracked(repositories)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: create(repositories, actor=f"p{n}").number, range(40)))
    assert sorted(made) == list(range(1, 41))
    assert len([e for e in repositories.metadata.events(0) if e.kind == "version.registered"]) == 40


def test_what_describes_a_version_changes_and_the_audit_log_keeps_both(metadata):
    register(metadata, 1)
    changed = model_versions.update(metadata, "delay", 1, actor="bea", now_us=9, description="new", tags={"a": "1", "b": "2"}, owner="bea")
    changed = model_versions.update(metadata, "delay", 1, actor="bea", now_us=10, tags={"c": "3"}, removed_tags=["a"])
    assert (changed.description, changed.owner, changed.tags) == ("new", "bea", {"b": "2", "c": "3"})
    assert changed.updated_us == 9  # tags move no moment, as in MLflow
    bodies = [entry.body for entry in metadata.audit() if entry.action == "version.change"]
    assert bodies[1] == {"before": {"tags": {"a": "1", "b": "2"}}, "after": {"tags": {"b": "2", "c": "3"}}}
    assert model_versions.update(metadata, "delay", 1, actor="bea", now_us=11, description="new") == changed
    assert len([entry for entry in metadata.audit() if entry.action == "version.change"]) == 2


def test_tags_set_at_once_by_many_are_all_there(repositories):
    metadata = repositories.metadata
    register(metadata, 1)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: model_versions.update(metadata, "delay", 1, actor="a", now_us=n, tags={f"k{n}": str(n)}), range(30)))
    assert model_versions.get(metadata, "delay", 1).tags == {f"k{n}": str(n) for n in range(30)}


def test_the_number_of_a_deleted_version_is_never_given_again(metadata):
    register(metadata, 1, 2)
    model_versions.delete(metadata, "delay", 2, actor="anna", now_us=9, reason="leak")
    assert model_versions.next_number(metadata, "delay") == 3
    assert model_versions.get(metadata, "delay", 2).status == "deleted"
    assert [v.number for v in model_versions.of_model(metadata, "delay")] == [1]
    for act in (model_versions.live, model_versions.delete):
        with pytest.raises(NotFound, match="was deleted"):
            act(metadata, "delay", 2, **({} if act is model_versions.live else {"actor": "a", "now_us": 1}))


def test_a_version_that_an_alias_names_or_an_endpoint_serves_is_not_deleted(metadata):
    register(metadata, 1)
    move(metadata, 1, alias="candidate")
    with pytest.raises(Refused, match=r"aliases \['candidate'\]"):
        model_versions.delete(metadata, "delay", 1, actor="anna", now_us=9)


def test_a_deleted_model_hides_its_versions_and_its_name_goes_on_counting(metadata):
    register(metadata, 1, 2)
    move(metadata, 1, alias="candidate")
    registered_models.delete(metadata, "delay", actor="anna", now_us=9)
    with pytest.raises(NotFound):
        registered_models.get(metadata, "delay")
    assert model_versions.of_model(metadata, "delay") == []
    assert metadata.find(Alias) == []
    assert [m.number for m in metadata.find(AliasMove)] == [1, 0]
    registered_models.create(metadata, RegisteredModel("delay"), actor="bea", now_us=10)
    register(metadata, model_versions.next_number(metadata, "delay"))
    assert [v.number for v in model_versions.of_model(metadata, "delay")] == [3]


def test_deleting_a_model_with_a_protected_alias_takes_the_permission_to_release(metadata):
    register(metadata, 1)
    move(metadata, 1)
    with pytest.raises(Refused, match=r"model\.release"):
        registered_models.delete(metadata, "delay", actor="anna", now_us=9)
    registered_models.delete(metadata, "delay", actor="anna", now_us=9, may_release=True)
    assert metadata.get(Alias, "delay", "champion") is None


@pytest.mark.parametrize("act", [registered_models.delete, lambda m, n, **o: registered_models.rename(m, n, "late", **o)])
def test_a_served_model_is_neither_deleted_nor_renamed(metadata, act):
    register(metadata, 1)
    store(metadata, Endpoint("gate", "delay"))
    with pytest.raises(Refused, match=r"endpoints \['gate'\]"):
        act(metadata, "delay", actor="anna", now_us=9, may_release=True)


def test_a_renamed_model_takes_everything_decided_about_it_along(metadata):
    register(metadata, 1, 2)
    store(
        metadata,
        version(1, "approved"),
        approval(1),
        ModelCard("delay", 1, {"use": "gates"}),
        RiskAnswer("delay", 1, "bias", 3, "none", True, "rosa"),
        ReleasePolicy("delay", "manual"),
    )
    move(metadata, 1, alias="candidate")
    registered_models.rename(metadata, "delay", "late", actor="anna", now_us=9)
    assert [(v.number, v.status) for v in model_versions.of_model(metadata, "late")] == [(1, "approved"), (2, "registered")]
    assert model_versions.resolve(metadata, "late@candidate").number == 1
    assert [m.evidence for m in metadata.find(AliasMove, {"model": "late"})] == [{"renamed_from": "delay"}]
    for kind in (Approval, ModelCard, RiskAnswer, ReleasePolicy):
        assert [record.model for record in metadata.find(kind, {"model": "late"})] == ["late"]
    assert {v.status for v in metadata.find(ModelVersion, {"model": "delay"})} == {"deleted"}
    assert [edge.cause for edge in metadata.edges(["model_version:late@1"], "causes")] == ["model_version:delay@1"]
    with pytest.raises(NotFound):
        registered_models.get(metadata, "delay")


def test_a_name_that_was_a_models_is_not_given_to_another(metadata):
    register(metadata, 1)
    registered_models.create(metadata, RegisteredModel("late"), actor="anna", now_us=1)
    with pytest.raises(Conflict, match="'late' is, or was, another model"):
        registered_models.rename(metadata, "delay", "late", actor="anna", now_us=9)
    registered_models.rename(metadata, "delay", "later", actor="anna", now_us=9)
    with pytest.raises(Conflict):
        registered_models.rename(metadata, "later", "delay", actor="anna", now_us=10)


def test_the_model_of_a_pipeline_keeps_its_name(metadata):
    register(metadata, 1)
    store(metadata, Deployed("delay", "prod", "d" * 64, PIPELINE, NOON_US))
    with pytest.raises(Refused, match="pipeline 'delay'"):
        registered_models.rename(metadata, "delay", "late", actor="anna", now_us=9)


def test_without_a_policy_a_person_approves_and_a_star_speaks_for_all_others(metadata):
    assert registered_models.release_policy(metadata, "delay") == ReleasePolicy("delay", "semi-automatic")
    store(metadata, ReleasePolicy("*", "manual", approvals=2))
    assert registered_models.release_policy(metadata, "delay") == ReleasePolicy("delay", "manual", approvals=2)
    store(metadata, ReleasePolicy("delay"))
    assert registered_models.release_policy(metadata, "delay").level == "automatic"
    assert registered_models.release_policy(metadata, "other").level == "manual"
