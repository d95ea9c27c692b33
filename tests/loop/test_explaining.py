"""Why, and what came of it: one platform that trained, promoted and predicted is asked from both ends."""

import io
import json

import msgspec
import polars as pl
import pytest

from rota.errors import Corrupt, InvalidInput, NotFound
from rota.manage.lineage import archive, executions, notes
from rota.manage.lineage import explain as lineage_explain
from rota.manage.lineage import graph as lineage
from rota.manage.lineage import nodes as lineage_nodes
from rota.manage.lineage.node_types import type_of
from rota.manage.lineage.prediction_chain import prediction_chain
from rota.manage.lineage.row_effects import effects_of_row
from rota.manage.models import model_aliases
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.dataset import DatasetVersion
from rota.records.model import Alias, ModelVersion
from rota.records.record import decode
from rota.records.time import HOUR_US, iso

START_US = 1_372_636_800_000_000


@pytest.fixture
def told(world):
    """Ten days of history, a training, a promotion and three days of predictions, all of them in the tables."""
    world.history(10)
    assert world.train().status == "succeeded"
    world.ids = [each for _ in range(3) for each in world.live()]
    prediction_log.flush(world.platform.repositories.journal, world.platform.repositories.tables, "ice")
    return world


@pytest.fixture
def repositories(told):
    return told.platform.repositories


def answered(repositories):
    """Every answer of the log with the shop it was asked for, read without the code under test."""
    rows = repositories.tables.scan("predictions/ice").filter(pl.col("role") != "shadow").collect()
    return [(row["prediction_id"], row["at_us"], json.loads(row["request"])["shop"]) for row in rows.iter_rows(named=True)]


def test_a_version_is_explained_by_everything_that_led_to_it(told, repositories):
    notes.add(repositories.metadata, "model_version:ice@1", "first of its kind", author="anna", now_us=told.clock.now_us())
    found = lineage_explain.explain(repositories, "ice@champion")
    assert found.version.id == "ice@1"
    assert (found.aliases, found.champion) == (("champion",), 1)
    assert found.dataset.id == "ice@1"
    assert {column["name"] for column in found.statistics["columns"]} >= {"shop_weather__temp", "request__kind"}
    assert [view["source"] for view in found.features] == ["weather", "request"]
    assert found.evaluation["candidate"]["metrics"] == dict(found.version.metrics)
    assert [gate.outcome for gate in found.gates] == ["pass", "inconclusive"]  # a first version has no champion to be compared with
    assert [approval.decision for approval in found.approvals] == ["approve"]
    assert [move.number for move in found.alias_moves] == [1]
    assert [rollout.state for rollout in found.rollouts] == ["promoted"]
    assert [release.revision for release in found.releases] == [1]
    assert found.code.module == "project"
    assert found.execution.id == found.version.run
    assert [note.text for note in found.notes] == ["first of its kind"]
    assert "dataset_version:ice@1" in found.causes
    said = lineage_explain.sentences(found)
    assert said["standing"].startswith("is champion at")
    assert said["data"].startswith(f"ice@1: {found.dataset.rows} rows")
    msgspec.json.encode(found)


def test_an_answer_of_an_earlier_moment_leaves_out_what_came_later(told, repositories):
    version, now_us = told.versions()[0], told.clock.now_us()
    notes.add(repositories.metadata, "model_version:ice@1", "later", author="anna", now_us=now_us)
    batch = Batch()
    model_aliases.remove(batch, told.metadata, told.metadata.get(Alias, "ice", "champion"), actor="anna", now_us=now_us, reason="a test")
    told.metadata.commit(batch)
    then, now = (lineage_explain.explain(repositories, "ice@1", at_us=at) for at in (version.created_us, now_us))
    assert (then.aliases, then.champion, len(then.alias_moves), len(then.notes)) == (("champion",), 1, 1, 0)
    assert (now.aliases, now.champion, len(now.alias_moves), len(now.notes)) == ((), 0, 2, 1)
    assert lineage_explain.explain(repositories, "ice@champion", at_us=now_us - 1).version.id == "ice@1"
    with pytest.raises(NotFound, match="had no alias 'champion' at"):
        lineage_explain.explain(repositories, "ice@champion", at_us=now_us)
    with pytest.raises(NotFound, match="had no alias 'champion' at"):
        lineage_explain.explain(repositories, "ice@champion", at_us=version.created_us - 1)
    with pytest.raises(NotFound, match="was not there at"):
        lineage_explain.explain(repositories, "ice@1", at_us=version.created_us - 1)


def test_a_prediction_leads_to_alias_features_environment_and_data_of_its_instant(told, repositories):
    chain = {link.node: link for link in prediction_chain(repositories, told.ids[-1])}
    kinds = [node.partition(":")[0] for node in chain]
    assert kinds == [
        "prediction",
        "release",
        "rollout",
        "alias_move",
        "model_version",
        "approval",
        "feature_view_version",
        "feature_view_version",
        "run",
        "evaluation",
        "dataset_version",
        "source",
        "source",
        "pipeline_release",
    ]
    assert chain["alias_move:ice@champion@1"].what.startswith("champion was version 1 since")
    seen = prediction_log.find(repositories.tables, told.ids[-1])
    assert chain["feature_view_version:shop_weather@1"].facts["values"] == {"shop_weather__temp": seen.features["shop_weather__temp"]}
    assert "temp = " in chain["feature_view_version:shop_weather@1"].what
    release = next(link for node, link in chain.items() if node.startswith("pipeline_release:"))
    assert len(release.facts["lock"]) == 64


def test_a_run_tells_all_of_itself_without_a_line_of_logging(told, repositories):
    run = executions.get(repositories, told.versions()[0].run)
    found = executions.describe(repositories, run)
    assert [step.name for step in found.steps] == [
        "begin",
        "ingest",
        "validate_data",
        "transform",
        "train",
        "evaluate",
        "validate_model",
        "register",
    ]
    assert all(step.status == "succeeded" and step.executor == "w" and step.started_us <= step.ended_us for step in found.steps)
    assert (found.trigger, found.triggered_us, found.status, found.executor) == ("manual", run.created_us, "succeeded", "w")
    assert {"rota", "python", "lightgbm", "release", "project"} <= set(found.components)
    assert found.environment == "prod"
    assert found.scores["roc_auc"] > 0.6
    assert {"dataset_version:ice@1", "model_version:ice@1"} <= set(found.outputs)
    assert any(node.startswith("pipeline_release:") for node in found.inputs)
    with pytest.raises(NotFound, match="rota runs list"):
        executions.get(repositories, "nothing")


def test_a_source_row_leads_to_exactly_the_predictions_that_could_see_it(told, repositories):
    rows = repositories.tables.scan("sources/weather").collect().sort("at")
    row = rows.filter((pl.col("shop") == "s1") & (pl.col("at") >= START_US + 11 * 24 * HOUR_US)).row(0, named=True)
    newer = rows.filter((pl.col("shop") == "s1") & (pl.col("at") > row["at"]))["at"].min()
    until = min(newer or 2**62, row["at"] + 30 * HOUR_US + 1)
    expected = sorted(each for each, at, shop in answered(repositories) if shop == "s1" and row["at"] <= at < until)
    found = effects_of_row(repositories, "weather", {"shop": "s1"}, at_us=row["at"])
    assert expected
    (touched,) = found.predictions
    assert (touched.endpoint, touched.version, touched.count) == ("ice", "ice@1", len(expected))
    assert set(touched.examples) <= set(expected)
    assert found.datasets == ()
    assert found.reaches[0].entity == {"shop": "s1"}


def test_an_old_row_leads_to_its_dataset_its_model_and_all_that_this_model_answered(told, repositories):
    moment = START_US + 8 * 24 * HOUR_US + 12 * HOUR_US
    version = told.metadata.get(DatasetVersion, "ice", 1)
    rows = repositories.tables.scan(version.table).filter(
        (pl.col("shop") == "s0") & (pl.col("at_us") >= moment) & (pl.col("at_us") < moment + 4 * HOUR_US)
    )
    expected = rows.select(pl.len(), (~pl.col("is_test")).sum()).collect().row(0)
    found = effects_of_row(repositories, "weather", {"shop": "s0"}, at_us=moment)
    (held,) = found.datasets
    assert expected[0]
    assert (held.dataset, held.rows, held.train_rows, held.as_label) == ("ice@1", *expected, 0)
    assert found.models == ("ice@1",)
    assert [(each.version, each.count) for each in found.answered] == [("ice@1", len(answered(repositories)))]
    assert found.predictions == ()


def test_a_label_row_leads_to_the_dataset_that_learned_from_it(told, repositories):
    version = told.metadata.get(DatasetVersion, "ice", 1)
    sale = repositories.tables.scan(version.table).filter(~pl.col("is_test")).collect()["id"][0]
    found = effects_of_row(repositories, "sales", {}, row_id=sale)
    assert [(held.dataset, held.rows, held.as_label) for held in found.datasets] == [("ice@1", 1, 1)]
    assert found.models == ("ice@1",)
    early = effects_of_row(repositories, "sales", {}, row_id="h0.0")  # outside of the dataset's window
    assert (early.datasets, early.models, early.answered) == ((), (), ())


def test_a_row_must_be_named_and_be_there(repositories):
    ask = lambda *given, **options: effects_of_row(repositories, *given, **options)  # noqa: E731
    with pytest.raises(InvalidInput, match="--at"):
        ask("weather", {"shop": "s0"})
    with pytest.raises(InvalidInput, match="no fields"):
        ask("weather", {"colour": "red"}, at_us=START_US)
    with pytest.raises(InvalidInput, match="2 rows"):
        ask("weather", {}, at_us=START_US)
    with pytest.raises(InvalidInput, match="no id field"):
        ask("weather", {}, row_id="x")
    with pytest.raises(NotFound, match=f"rows with these keys are at {iso(START_US)}"):
        ask("weather", {"shop": "s0"}, at_us=START_US + 1)
    with pytest.raises(NotFound, match="there is no source"):
        ask("nix", {}, at_us=1)
    with pytest.raises(InvalidInput, match=r"field 'at' \(timestamp\): '03/02/2026' is not an ISO 8601 time; which number is its day"):
        ask("weather", {"at": "03/02/2026"}, at_us=START_US)
    assert ask("weather", {"shop": "s0", "at": iso(START_US)}, at_us=START_US).event_us == START_US


def test_every_node_that_the_loop_wrote_has_a_type_and_can_be_looked_at(told, repositories):
    edges = [edge for way in ("causes", "effects") for edge in lineage.walk(told.metadata, "model_version:ice@1", way).edges]
    nodes = {node for edge in edges for node in (edge.cause, edge.effect)}
    assert {type_of(node).name for node in nodes} >= {"Model", "Dataset", "Run", "SourceTable", "ModelBundle", "Release", "Rollout", "Trigger"}
    assert not [node for node in nodes if type_of(node).name == "Other"]
    assert all(lineage_nodes.get(repositories, node).node == node for node in nodes)


def test_artifacts_executions_contexts_and_events_are_listed_by_type_and_page(told, repositories):
    def listed(concept, type, **page):
        return [each.node for each in lineage_nodes.listed(repositories, concept, type=type, **page)]

    assert listed("artifact", "Model") == ["model_version:ice@1"]
    assert listed("artifact", "Dataset") == ["dataset_version:ice@1"]
    assert len(listed("artifact", "ModelBundle")) == len(listed("artifact", "Statistics")) == 1
    assert listed("context", "Pipeline") == ["pipeline:ice"]
    assert listed("context", "RegisteredModel") == ["registered_model:ice"]
    runs = listed("execution", "Run", limit=1_000)
    assert len(runs) == len(repositories.runs.find()) > 3
    assert [*listed("execution", "Run", limit=2), *listed("execution", "Run", after=2, limit=1_000)] == runs
    everything = lineage_nodes.listed(repositories, "artifact", limit=1_000)
    assert len({each.node for each in everything}) == len(everything)
    assert lineage_nodes.get(repositories, "model_version:ice@1").contexts == ("registered_model:ice", "project:project")
    with pytest.raises(InvalidInput, match="there are"):
        listed("artifact", "Modell")
    run = f"run:{told.versions()[0].run}"
    of_run = lineage_nodes.events(repositories, node=run, limit=100)
    assert {(event.type, type_of(event.artifact).name) for event in of_run} >= {("INPUT", "PipelineRelease"), ("OUTPUT", "Model")}
    assert all(event.execution == run for event in of_run if event.type != "DERIVED")
    inputs = lineage_nodes.events(repositories, type="INPUT", limit=1_000)
    assert inputs
    assert {event.type for event in inputs} == {"INPUT"}
    with pytest.raises(NotFound, match="kind:key"):
        lineage_nodes.get(repositories, "model_version:ice@9")


def test_an_archive_holds_all_of_a_version_and_notices_any_change(told, repositories, check_archive):
    file = io.BytesIO()
    manifest = archive.write(repositories, archive.belongings(repositories, "model_version:ice@champion"), file)
    paths = {member["path"] for member in manifest["members"]}
    version = told.versions()[0]
    assert {"version.json", "explanation.json", f"blobs/{version.bundle}", f"blobs/{version.evaluation}"} <= paths
    file.seek(0)
    assert check_archive(file) == manifest
    again = io.BytesIO()
    archive.write(repositories, archive.belongings(repositories, "model_version:ice@1"), again)
    assert again.getvalue() == file.getvalue()
    data = file.getvalue()
    model = repositories.blobs.get(json.loads(repositories.blobs.get(version.bundle))["blob"])
    at = data.index(model[:500]) + 100
    for broken in (data[:at] + b"?" + data[at + 1 :], b"", b"x" * 20_000, data[: len(data) // 2]):
        with pytest.raises(Corrupt):
            check_archive(io.BytesIO(broken))
    of_run = archive.belongings(repositories, f"run:{version.run}")
    assert decode(of_run.facts["run.json"], dict)["id"] == version.run
    assert {piece.digest for piece in of_run.pieces} >= {version.bundle, version.evaluation}


def test_a_damaged_blob_ends_an_archive_with_an_error(told, repositories):
    version: ModelVersion = told.versions()[0]
    repositories.blobs.stored[version.evaluation] = b"{}"
    with pytest.raises(Corrupt):
        archive.write(repositories, archive.belongings(repositories, "model_version:ice@1"), io.BytesIO())
