"""Alerts: one for as long as a breach lasts, seen and ended by audited acts."""

import msgspec
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import Conflict, NotFound, Refused
from rota.manage.signals import alerts
from rota.manage.signals.alerts import Breach
from rota.ports.metadata import Batch
from rota.records.signal import Alert
from rota.testing.story import alert


@pytest.fixture
def metadata():
    return MemoryMetadata()


def breach(kind="drift", subject="wind"):
    return Breach(kind, subject, "critical", f"{subject} drifts", {"psi": 0.4})


def saw(metadata, what, now_us, endpoint="delay"):
    batch = Batch()
    raised = alerts.raise_or_touch(batch, metadata, endpoint, what, now_us=now_us, run="m1")
    metadata.commit(batch)
    return raised


def end(metadata, ended, now_us):
    batch = Batch()
    alerts.resolve(batch, ended, now_us=now_us, actor="anna", reason="mended")
    metadata.commit(batch)


def test_a_breach_that_lasts_is_one_alert_that_says_each_time_that_it_lasts(metadata):
    first = saw(metadata, breach(), 10)
    assert [saw(metadata, breach(), at) for at in (20, 30)] == [None, None]
    assert alerts.open_alerts(metadata, "delay") == [msgspec.structs.replace(first, last_seen_us=30)]
    assert [(event.kind, event.subject) for event in metadata.events(0)] == [(f"alert.{what}", first.id) for what in ("raised", "lasting", "lasting")]
    assert metadata.events(0)[0].body["endpoint"] == "delay"
    assert [edge.cause for edge in metadata.edges([f"alert:{first.id}"], "causes")] == ["run:m1"]


def test_another_kind_subject_or_endpoint_is_another_alert(metadata):
    assert saw(metadata, breach(), 10)
    assert saw(metadata, breach(kind="performance"), 11)
    assert saw(metadata, breach(subject="rain"), 12)
    assert saw(metadata, breach(), 13, endpoint="other")
    assert [a.raised_us for a in alerts.open_alerts(metadata, "delay")] == [12, 11, 10]


def test_a_breach_that_returns_after_its_end_is_a_new_alert(metadata):
    first = saw(metadata, breach(), 10)
    end(metadata, first, 20)
    assert alerts.open_alerts(metadata, "delay") == []
    second = saw(metadata, breach(), 30)
    assert second.id != first.id
    ended = metadata.get(Alert, first.id)
    assert (ended.status, ended.resolved_us) == ("resolved", 20)
    assert [(a.actor, a.action, a.body["reason"]) for a in metadata.audit()] == [("anna", "alert.resolve", "mended")]


def test_an_acknowledged_alert_stays_the_one_alert_of_its_breach(metadata):
    first = saw(metadata, breach(), 10)
    assert alerts.acknowledge(metadata, first.id, actor="anna", now_us=15).status == "acknowledged"
    assert saw(metadata, breach(), 20) is None
    assert metadata.audit()[0].action == "alert.acknowledge"


def test_only_an_open_alert_is_acknowledged(metadata):
    first = saw(metadata, breach(), 10)
    alerts.acknowledge(metadata, first.id, actor="anna", now_us=15)
    with pytest.raises(Refused, match="is acknowledged; only an open one"):
        alerts.acknowledge(metadata, first.id, actor="anna", now_us=16)
    end(metadata, metadata.get(Alert, first.id), 1_373_860_800_000_000)
    with pytest.raises(Refused, match="is resolved since 2013-07-15T04:00:00Z"):
        alerts.acknowledge(metadata, first.id, actor="anna", now_us=17)
    with pytest.raises(NotFound, match="no alert 'nothing'"):
        alerts.acknowledge(metadata, "nothing", actor="anna", now_us=18)
    assert len(metadata.audit()) == 2


def test_of_two_monitors_at_once_one_raises_the_alert(metadata):
    batches = [Batch(), Batch()]
    for batch in batches:
        assert alerts.raise_or_touch(batch, metadata, "delay", breach(), now_us=10, run="m1")
    metadata.commit(batches[0])
    with pytest.raises(Conflict):
        metadata.commit(batches[1])


def test_an_old_open_alert_is_found_behind_thousands_of_resolved_ones(metadata):
    old = saw(metadata, breach(), 10)
    batch = Batch()
    for number in range(1_100):
        batch.put(alert(f"s{number}", status="resolved", resolved_us=1, raised_us=100 + number))
    metadata.commit(batch)
    assert alerts.open_alerts(metadata, "delay") == [old]
    assert saw(metadata, breach(), 20) is None
