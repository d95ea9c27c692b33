"""Evidence and comparison: gates, the champion on the same rows, the series of trainings, rollouts and measured days."""

import msgspec
import pytest

from rota.errors import NotFound
from rota.manage.governance import evidence, version_comparison
from rota.manage.models import model_versions
from rota.ports.metadata import Batch
from rota.records.model import Alias
from rota.records.record import encode
from rota.records.release import Endpoint, Rollout
from rota.records.run import Evaluation, Run, Step
from rota.testing.story import NOON_US, day, version

ROLLOUT = Rollout("rollout.gate.2", "gate", "delay", 2, 1, "rolled_back", 0, NOON_US, NOON_US + 9, "slower", ({"stage": "0", "outcome": "fail"},))


def evaluation(model, dataset, auc):
    return Evaluation(model, dataset, 100, {"auc": auc})


def store(repositories, *records):
    batch = Batch()
    for record in records:
        batch.put(record)
    repositories.metadata.commit(batch)


def scored(repositories, number, dataset, candidate, champion=None):
    told = {"candidate": evaluation("candidate of r", dataset, candidate)}
    if champion:
        told["champion"] = evaluation(f"delay@{champion[0]}", dataset, champion[1])
    return version(number, "registered", dataset=dataset, evaluation=repositories.blobs.put(encode(told)), metrics={"auc": candidate})


def trained(repositories, run, *, refused=""):
    """A finished step of gate 2 in a run's journal."""
    repositories.runs.submit(Run(run, "train", "delay", {}, NOON_US))
    lease = repositories.runs.claim("w", NOON_US, lease_s=60)
    gates = [{"gate": "auc", "passed": not refused, "message": "auc 0.7, needed at least 0.6", "observed": 0.7, "bound": 0.6}]
    step = Step(run, "validate_model", 0, {"refused": refused, "gates": gates}, NOON_US, NOON_US, "w", lease.fence)
    repositories.runs.record(lease, step, Batch())


@pytest.fixture
def r(repositories):
    store(
        repositories,
        scored(repositories, 1, "delay@1", 0.70),
        scored(repositories, 2, "delay@2", 0.72, champion=(1, 0.69)),
        scored(repositories, 3, "delay@3", 0.74, champion=(2, 0.71)),
        Alias("delay", "champion", 2, NOON_US),
        Endpoint("gate", "delay"),
        ROLLOUT,
    )
    return repositories


def test_versions_are_compared_only_on_rows_that_both_were_scored_on(r):
    found = version_comparison.compare(r, "delay")
    assert [(t.dataset, [(s.number, s.metrics["auc"]) for s in t.scored]) for t in found.tables] == [
        ("delay@3", [(2, 0.71), (3, 0.74)]),
        ("delay@2", [(1, 0.69), (2, 0.72)]),
    ]
    assert found.aliases == {"champion": 2}


def test_a_choice_of_versions_leaves_the_others_out(r):
    found = version_comparison.compare(r, "delay", [1, 3])
    assert found.tables == ()
    assert [t.number for t in found.series] == [1, 3]
    with pytest.raises(NotFound):
        version_comparison.compare(r, "delay", [1, 9])


def test_the_series_shows_quality_over_the_trainings(r):
    assert [(t.number, t.dataset, t.metrics["auc"]) for t in version_comparison.compare(r, "delay").series] == [
        (1, "delay@1", 0.70),
        (2, "delay@2", 0.72),
        (3, "delay@3", 0.74),
    ]


def test_online_results_are_the_rollouts_and_the_measured_days_of_each_version(r):
    store(r, *(day(number) for number in range(16, 20)), Endpoint("delay", "delay"))
    found = {o.number: o for o in version_comparison.compare(r, "delay").online}
    assert [rollout.id for rollout in found[2].rollouts] == ["rollout.gate.2"]
    assert found[3].rollouts == ()
    assert set(found[1].performance) == set(found[2].performance) == {"delay"}
    assert found[1].performance["delay"]["labelled"] == 1_000.0
    assert found[1].performance["delay"]["slices"] == 2.0


def test_measured_days_weigh_as_much_as_they_have_labels(r):
    days = [day(1), day(2)]
    counts = [({"auc": 0.5, "labelled": 100.0}), ({"auc": 0.8, "labelled": 300.0})]
    store(r, *(msgspec.structs.replace(d, performance={"2": c}) for d, c in zip(days, counts, strict=True)))
    assert evidence.performance(r.metadata, "delay", 2) == {"auc": pytest.approx(0.725), "labelled": 400.0, "slices": 2.0}
    assert evidence.performance(r.metadata, "delay", 7) == {}


def test_the_evidence_holds_gates_champion_rollouts_and_days(r):
    trained(r, "r1")
    known = evidence.collect(r, model_versions.get(r.metadata, "delay", 2))
    assert known["offline"]["gates"][0]["message"] == "auc 0.7, needed at least 0.6"
    assert known["offline"]["champion"]["metrics"] == {"auc": 0.69}
    assert known["online"]["rollouts"][0]["steps"] == [{"stage": "0", "outcome": "fail"}]
    assert known["online"]["performance"] == {"gate": {}}


def test_only_a_run_whose_gates_all_passed_speaks_for_a_version(r):
    assert not evidence.passed_gates(r, version(1, "registered", run=""))
    assert not evidence.passed_gates(r, version(1, "registered", run="nix"))
    trained(r, "r1")
    trained(r, "r2", refused="auc too low")
    assert evidence.passed_gates(r, version(1, "registered", run="r1"))
    assert not evidence.passed_gates(r, version(1, "registered", run="r2"))


def test_an_evaluation_that_was_collected_as_garbage_leaves_the_metrics(r):
    known = evidence.offline(r, version(1, "registered", evaluation="0" * 64))
    assert known["champion"] is None
    assert known["metrics"] == {"roc_auc": 0.71, "log_loss": 0.52}
