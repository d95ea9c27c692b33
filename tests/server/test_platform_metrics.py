"""What the control plane tells of the whole platform: true figures, names only for who may monitor, and a part that is away hides no other."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rota.errors import Unavailable
from rota.manage.access import tokens
from rota.manage.signals import platform_alerts, prediction_log
from rota.ports.metadata import Batch
from rota.records.backup import Backup
from rota.records.condition import Condition, ProcessReport
from rota.records.run import Run
from rota.records.signal import Event, Prediction
from rota.wiring import Platform

NAMES = ("worker-0", "delay", "decisions", "disk", "predictions")


@pytest.fixture
def busy(platform: Platform) -> Platform:
    """A platform with something of everything."""
    r, wall_us = platform.repositories, platform.access.wall.now_us()
    now_us = r.clock.now_us()
    r.runs.submit(Run("rollout.x", "rollout", "x", {}, now_us - 3_000_000, "test"))
    prediction_log.append(r.journal, "delay", [Prediction("p9", "delay", now_us - 7_000_000, "m", 1, "stable", 1, "u", {}, {}, 0.5, 1)])
    batch = Batch()
    batch.put(ProcessReport("worker-0", "worker", "host", 1, wall_us, wall_us - 2_000_000))
    batch.put(ProcessReport("worker-1", "worker", "host", 2, wall_us, wall_us - 90_000_000, figures={"resident_bytes": 7e9}))
    figures = {"resident_bytes": 5e7, "connections": 3.0, "requests_in_flight": 2.0}
    batch.put(ProcessReport("serve-0", "prediction process", "host", 3, wall_us, wall_us - 2_000_000, figures=figures))
    batch.put(Backup("b1", "/var/backups", wall_us - 70_000_000, "anna", "complete", ended_us=wall_us - 60_000_000))
    batch.put(Backup("b2", "/var/backups", wall_us, "anna", needed_until_us=wall_us + 60_000_000))
    batch.event(Event("run.finished", "train.1", now_us, {"workflow": "train", "subject": "m", "status": "failed"}))
    r.metadata.commit(batch)
    platform_alerts.settle(r.metadata, [Condition("journal:predictions/delay", "failed", "it waits")], actor="test", now_us=now_us)
    return platform


def by_label(metric: Any, label: str) -> dict[str, float]:
    return {dict(labels)[label]: value for (_, labels), value in metric.samples.items()}


def total(metric: Any) -> float:
    (value,) = metric.samples.values()
    return float(value)


def test_with_a_token_everything_is_told_by_name(busy: Platform, owner: Any, parsed_metrics: Callable[..., Any]) -> None:
    before = busy.figures._finished["failed"]
    found = parsed_metrics(owner.get("/metrics").text)
    assert by_label(found["rota_process_up"], "process") == {"worker-0": 1, "worker-1": 0, "serve-0": 1}
    assert by_label(found["rota_process_resident_bytes"], "process") == {"serve-0": 5e7}, "of those that are there"
    assert by_label(found["rota_process_connections"], "process") == {"serve-0": 3}
    assert by_label(found["rota_process_requests_in_flight"], "process") == {"serve-0": 2}
    assert 1 < by_label(found["rota_process_report_age_seconds"], "process")["worker-0"] < 600
    assert by_label(found["rota_queue_runs"], "lane")["decisions"] == 1
    assert by_label(found["rota_queue_oldest_seconds"], "lane")["decisions"] >= 3
    assert by_label(found["rota_runs_finished_total"], "status")["failed"] >= before + 1
    assert by_label(found["rota_conditions"], "condition")["journal:predictions/delay"] == 1
    segment = sum(busy.repositories.journal.segments("predictions/delay").values())
    assert by_label(found["rota_journal_behind_bytes"], "stream") == {"predictions/delay": segment}
    assert by_label(found["rota_journal_oldest_seconds"], "stream")["predictions/delay"] >= 7
    assert total(found["rota_backups_running"]) == 1
    assert 60 <= total(found["rota_backup_age_seconds"]) < 600
    assert total(found["rota_audit_position"]) == busy.repositories.metadata.audit(0, limit=10_000)[-1].position
    assert by_label(found["rota_home_bytes"], "folder")["metadata.db"] == (busy.settings.home / "metadata.db").stat().st_size
    assert total(found["rota_unmeasured_parts"]) == 0
    state = owner.get("/v1/platform").json()
    assert {each["name"] for each in state["conditions"]} == {"journal:predictions/delay"}
    assert (state["waiting_runs"]["decisions"], state["last_backup"]["id"]) == (1, "b1")


def test_what_is_drained_and_what_fails_later_shows(busy: Platform, owner: Any, parsed_metrics: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("rota.manage.signals.platform_state.LOOK_AGAIN_S", 0.0)
    failed = by_label(parsed_metrics(owner.get("/metrics").text)["rota_runs_finished_total"], "status")["failed"]
    prediction_log.STREAM.flush(busy.repositories.journal, busy.repositories.tables, "delay")
    batch = Batch()
    batch.event(Event("run.finished", "train.2", 1, {"workflow": "train", "subject": "m", "status": "failed"}))
    busy.repositories.metadata.commit(batch)
    found = parsed_metrics(owner.get("/metrics").text)
    assert set(by_label(found["rota_journal_behind_bytes"], "stream").values()) <= {0}
    assert by_label(found["rota_runs_finished_total"], "status")["failed"] == failed + 1


@pytest.mark.parametrize("header", ["", "Bearer somebody", "Basic b3duZXI="])
def test_without_a_token_only_totals_are_told(busy: Platform, stranger: Any, parsed_metrics: Callable[..., Any], header: str) -> None:
    answer = stranger.sending(**({"Authorization": header} if header else {})).get("/metrics")
    found = parsed_metrics(answer.text)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert {name for metric in found.values() for _, labels in metric.samples for name, _ in labels} == {"status"}
    assert total(found["rota_process_up"]) == 2
    assert total(found["rota_process_report_age_seconds"]) >= 90
    assert total(found["rota_queue_runs"]) >= 1
    assert not [name for name in NAMES if f'"{name}' in answer.text]


def test_a_token_of_a_project_gets_totals_and_not_the_platform(busy: Platform, stranger: Any) -> None:
    made = tokens.create(busy.repositories.metadata, "eve", "owner", actor="owner", now_us=busy.access.wall.now_us(), project="flights")
    caller = stranger.sending(Authorization=f"Bearer {made[0]}")
    assert "worker-0" not in caller.get("/metrics").text
    assert caller.get("/v1/platform").status in (401, 403)


def test_what_does_not_answer_is_counted_and_hides_nothing_else(
    busy: Platform, owner: Any, parsed_metrics: Callable[..., Any], monkeypatch: Any
) -> None:
    def away() -> int:
        raise Unavailable("the store does not answer")

    monkeypatch.setattr(busy.figures, "gauges", dataclasses.replace(busy.figures.gauges, audit_position=away))
    found = parsed_metrics(owner.get("/metrics").text)
    assert by_label(found["rota_unmeasured_parts"], "part") == {"audit log": 1}
    assert found["rota_audit_position"].samples == {}
    assert by_label(found["rota_process_up"], "process")["worker-0"] == 1


def test_however_often_it_is_asked_the_home_is_walked_once_a_minute(busy: Platform, owner: Any, monkeypatch: Any) -> None:
    walks: list[Path] = []
    monkeypatch.setattr("rota.manage.signals.platform_state.LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr("rota.manage.signals.platform_state.sizes", lambda home: walks.append(home) or {"a": 1})
    for _ in range(5):
        owner.get("/metrics")
    assert len(walks) == 1


def test_the_first_page_says_in_one_line_that_the_platform_is_not_well(busy: Platform, browser: Any) -> None:
    page = browser.get("/").text
    assert "The platform is not well:" in page
    assert ">journal:predictions/delay</a>" in page
    platform_alerts.settle(busy.repositories.metadata, [Condition("journal:predictions/delay", "well")], actor="test", now_us=2)
    assert "The platform is not well" not in browser.get("/").text


def test_what_a_process_reports_is_told_at_once_and_as_it_is_now_while_it_is_there(busy: Platform, owner: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("rota.manage.signals.platform_state.LOOK_AGAIN_S", 0.0)
    metadata, wall_us = busy.repositories.metadata, busy.access.wall.now_us()
    platform_alerts.settle(metadata, [Condition("endpoint:delay", "degraded", "view x is not online")], actor="test", now_us=1)

    def told(seconds_ago: int) -> dict[str, str]:
        batch, ill = Batch(), (Condition("endpoint:delay", "degraded", "view y is not online"), Condition("releases", "failed", "Corrupt"))
        batch.put(ProcessReport("serve-0", "prediction process", "host", 3, wall_us, wall_us - seconds_ago * 1_000_000, ill))
        metadata.commit(batch)
        return {each["name"]: each["message"] for each in owner.get("/v1/platform").json()["conditions"]}

    assert told(1).items() >= {"endpoint:delay": "view y is not online", "releases": "Corrupt"}.items()
    silent = told(300)
    assert silent["endpoint:delay"] == "view x is not online"
    assert "releases" not in silent
