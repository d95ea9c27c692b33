"""The training run: its lineage, what a gate leaves behind, what user code raises, and being killed between two steps."""

import msgspec
import pytest

from rota.manage.governance import cards
from rota.ports.metadata import Batch
from rota.records.dataset import DatasetVersion, TimeSplit
from rota.records.record import decode
from rota.records.run import Deployed, RunQuery


def redeploy(world, **changes):
    before = world.metadata.get(Deployed, "ice", "prod")
    batch = Batch()
    batch.put(msgspec.structs.replace(before, definition=msgspec.structs.replace(before.definition, **changes)))
    world.metadata.commit(batch)


def test_a_run_leaves_a_version_with_its_data_code_and_statistics_in_the_lineage(world):
    world.history(4)
    run = world.train()
    (version,) = world.versions()
    assert (run.result["version"], version.run, version.dataset, version.format) == (1, run.id, "ice@1", "lightgbm")
    effects = {edge.effect.partition(":")[0] for edge in world.metadata.edges([f"run:{run.id}"], "effects")}
    assert {"dataset_version", "statistics", "transformation", "bundle", "evaluation", "model_version"} <= effects
    causes = {edge.cause.partition(":")[0] for edge in world.metadata.edges([f"run:{run.id}"], "causes")}
    assert {"source", "schema", "pipeline_release"} <= causes


def test_a_candidate_of_several_days_has_intervals_of_its_metrics(world):
    """They stand in the evaluation beside the metrics that gates saw; of a champion that is scored again there are none."""
    before = world.metadata.get(Deployed, "ice", "prod").definition.dataset
    redeploy(world, dataset=msgspec.structs.replace(before, window="9d", split=TimeSplit(test="6d")))
    world.history(9)
    assert world.train().status == "succeeded"
    (version,) = world.versions()
    found = decode(world.platform.repositories.blobs.get(version.evaluation), dict)["candidate"]
    low, high = found["intervals"]["roc_auc"]
    assert low < version.metrics["roc_auc"] < high < low + 0.2
    card = cards.card(world.platform.repositories, version)
    assert cards.with_interval(version.metrics["roc_auc"], (low, high)) in str(card)


def test_without_rows_the_run_fails_and_says_what_to_do(world):
    run = world.train()
    assert run.status == "failed"
    assert "no labelled rows" in run.error


def test_what_the_training_function_raises_reaches_the_run(world):
    world.history(4)
    redeploy(world, parameters={"rounds": "many"})
    run = world.train()
    assert run.status == "failed"
    assert "TypeError" in run.error
    assert world.versions() == []


def test_a_model_that_nothing_can_keep_is_a_clear_failure(world):
    world.history(4)
    redeploy(world, train="json:dumps", parameters={})
    assert world.train().status == "failed"
    redeploy(world, train="builtins:repr", parameters={})
    world.clock.advance(world.clock.now_us() + 1)
    run = world.train()
    assert "returned a model that cannot be served: a builtins.str can be kept by none of the installed formats" in run.error


def test_a_deployment_that_is_gone_is_named(world):
    from_before = world.metadata.get(Deployed, "ice", "prod")
    assert from_before is not None
    run_id = world.platform.pipelines.start("ice")
    world.metadata._records["deployed"] = {}
    world.settle()
    run = world.platform.repositories.runs.get(run_id)
    assert "not deployed in 'prod'" in run.error


@pytest.mark.parametrize("dies_at", range(1, 9))
def test_a_run_that_is_killed_goes_on_behind_its_last_step_and_registers_once(world, monkeypatch, dies_at):
    runs = world.platform.repositories.runs
    count, record, now = [0], runs.record, [0.0]
    monkeypatch.setattr(runs, "_monotonic", lambda: now[0])

    def dying(lease, step, batch):
        count[0] += 1
        if count[0] == dies_at:
            raise KeyboardInterrupt
        record(lease, step, batch)

    monkeypatch.setattr(runs, "record", dying)
    world.history(4)
    with pytest.raises(KeyboardInterrupt):
        world.train()
    now[0] += 60
    world.settle()
    assert [version.number for version in world.versions()] == [1]
    assert len(world.metadata.find(DatasetVersion)) == 1
    assert [run.status for run in runs.find(RunQuery("train"))] == ["succeeded"]
