"""A story to show: the records of a small loop, for tests of whatever displays them (command line, pages, dashboards)."""

from typing import Any

import msgspec

from rota.ports.metadata import Batch, Metadata
from rota.ports.runs import Runs
from rota.ports.tracking import Logged, RunChange, Tracking
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import DatasetDefinition, DatasetVersion
from rota.records.model import Alias, AliasMove, Approval, ModelVersion, VersionStatus
from rota.records.project import UseCase
from rota.records.record import Record
from rota.records.release import Endpoint, Release, Rollout, Route
from rota.records.run import Deployed, PipelineRelease, Run, TrainingPipeline
from rota.records.schema import ColumnSchema, Schema
from rota.records.signal import Alert, Event, Monitor, MonitorSlice
from rota.records.time import DAY_US
from rota.records.tracking import Experiment, ExperimentRun, MetricPoint

NOON_US = 1_373_889_600_000_000
SOURCE = Source("arrivals", {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}, "at", id_field="id")
VIEW = FeatureView("origin_delays", [Entity("airport", ["origin"])], SOURCE, {"last": Feature("delay")})
SERVICE = FeatureService("delay", [VIEW])
PIPELINE = TrainingPipeline("delay", "project:train", DatasetDefinition(SERVICE, SOURCE, Feature("delay > 15"), "at"))


def tell(metadata: Metadata, runs: Runs) -> None:
    """Store one pipeline, two versions of which one is approved and serves, a run, a rollout, an alert, a month of slices."""
    batch = Batch()
    endpoint = Endpoint("delay", "delay")
    records: list[Record] = [
        SOURCE,
        VIEW,
        SERVICE,
        PipelineRelease("d" * 64, "flights", "b" * 64, "project", "c0ffee", False, "", "3.11.7", NOON_US),
        Deployed("delay", "prod", "d" * 64, PIPELINE, NOON_US),
        DatasetVersion("delay", 1, "a" * 64, "datasets/delay/1", 0, 100, 80, 20, NOON_US, NOON_US + DAY_US, NOON_US + DAY_US // 2, NOON_US, run="r1"),
        Schema("delay", 1, (ColumnSchema("origin_delays__last", "float", minimum=-5.0, maximum=60.0),), dataset="delay@1", frozen_us=NOON_US),
        version(1, "approved"),
        approval(1),
        version(2, "registered"),
        Alias("delay", "champion", 1, NOON_US),
        AliasMove("delay", "champion", 1, 1, 0, NOON_US, "rollout.delay.1", "first version, nothing to compare with", {"rollout": "rollout.delay.1"}),
        endpoint,
        UseCase("delays", "Tell which flights arrive late.", "missed connections", "roc_auc"),
        Monitor(endpoint),
        Release("delay", 1, (Route("delay", 1, "f" * 64, "stable", 100),), "", NOON_US),
        Rollout("rollout.delay.1", "delay", "delay", 1, 0, "promoted", 0, NOON_US, NOON_US + 60_000_000, "first version, nothing to compare with"),
        alert("last"),
        *(day(number) for number in range(30)),
    ]
    for record in records:
        batch.put(record)
    for number in range(3):
        batch.event(Event("run.finished", f"r{number}", NOON_US + number, {"status": "succeeded"}))
        batch.audit("anna", "version.approve", f"delay@{number}", NOON_US + number, reason="good")
    batch.link("model_version:delay@1", ["dataset_version:delay@1", "run:r1"], NOON_US)
    metadata.commit(batch)
    runs.submit(Run("r1", "train", "delay", {}, NOON_US, "manual"))


def track(tracking: Tracking) -> None:
    """One experiment, "trees", with a finished run and a failed one inside it."""
    tracking.create_experiment(Experiment("700", "trees", created_us=NOON_US, updated_us=NOON_US))
    tracking.create_run(ExperimentRun("e1deepertrees", "700", "[bold]first[/bold]", "running", NOON_US, source={"commit": "c0ffee" + 34 * "0"}))
    points = [MetricPoint("roc_auc", 0.7 + step / 100, step, NOON_US + step) for step in range(4)]
    tracking.log("e1deepertrees", Logged(metrics=points, parameters={"depth": "8"}, tags={"team": "delay"}))
    tracking.create_run(ExperimentRun("e2trial", "700", "trial", "failed", NOON_US + 1, parent="e1deepertrees"))
    tracking.change_run("e1deepertrees", RunChange(status="finished", ended_us=NOON_US + 60_000_000))


def version(number: int, status: VersionStatus, **changes: Any) -> ModelVersion:
    """A version of the model "delay"."""
    metrics = {"roc_auc": 0.71, "log_loss": 0.52}
    made = ModelVersion("delay", number, "f" * 64, "lightgbm", "r1", "delay@1", "d" * 64, NOON_US + number, status, metrics)
    return msgspec.structs.replace(made, **changes)


def approval(number: int, **changes: Any) -> Approval:
    """The approval of a version by Rosa, for good."""
    made = Approval("delay", number, "approve", "rosa", "better on every carrier", {}, NOON_US + number)
    return msgspec.structs.replace(made, **changes)


def alert(subject: str, **changes: Any) -> Alert:
    """A drift alert on the endpoint "delay"."""
    made = Alert(
        id=f"delay.drift.{subject}",
        endpoint="delay",
        kind="drift",
        subject=subject,
        severity="critical",
        message=f"{subject} drifts",
        evidence={},
        raised_us=NOON_US + 20 * DAY_US,
        last_seen_us=NOON_US + 21 * DAY_US,
        monitor_run="m1",
    )
    return msgspec.structs.replace(made, **changes)


def day(number: int) -> MonitorSlice:
    """What the monitor measured on one day: version 1 until day 18, then version 2."""
    start_us = NOON_US + number * DAY_US
    wave = (number * 7 % 10) / 200
    measured = {"roc_auc": 0.7 - wave, "log_loss": 0.5 + wave, "labelled": 500.0}
    performance = {"all": measured, "1" if number < 18 else "2": measured}
    return MonitorSlice("delay", start_us, start_us + DAY_US, 520, 500, {}, performance, {"answers": 520.0, "latency_p95_ms": 4.2})
