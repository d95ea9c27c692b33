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


def settled(metadata, now_us, *breaches, found_well=lambda alert: True):
    batch = Batch()
    raised = alerts.settle(batch, metadata, "delay", breaches, found_well=found_well, now_us=now_us, run="m2", reason="no longer seen")
    metadata.commit(batch)
    return raised


def test_what_is_new_is_raised_what_lasts_is_touched_and_what_is_over_is_resolved(metadata):
    lasting, over = saw(metadata, breach(), 10), saw(metadata, breach(subject="rain"), 10)
    elsewhere = saw(metadata, breach(subject="rain"), 10, endpoint="other")
    raised = settled(metadata, 20, breach(), breach(kind="performance"))
    assert raised == ["delay.performance.wind.20"]
    assert [(a.id, a.last_seen_us) for a in alerts.open_alerts(metadata, "delay")] == [(raised[0], 20), (lasting.id, 20)]
    ended = metadata.get(Alert, over.id)
    assert (ended.status, ended.resolved_us) == ("resolved", 20)
    assert [(e.actor, e.subject, e.body["reason"]) for e in metadata.audit() if e.action == "alert.resolve"] == [("m2", over.id, "no longer seen")]
    assert metadata.get(Alert, elsewhere.id).status == "open"


def test_what_was_not_looked_for_or_could_not_be_judged_stays_open(metadata):
    looked, other = saw(metadata, breach(), 10), saw(metadata, breach(subject="rain"), 10)
    settled(metadata, 20, found_well=lambda alert: alert.subject == "wind")
    assert [a.id for a in alerts.open_alerts(metadata, "delay")] == [other.id]
    assert metadata.get(Alert, looked.id).status == "resolved"


def test_an_alert_seen_at_this_very_moment_stays_open_though_it_is_not_among_the_breaches(metadata):
    first = saw(metadata, breach(), 20)
    assert settled(metadata, 20) == []  # the next day of the same run, at a clock that stands still
    assert alerts.open_alerts(metadata, "delay") == [first]
    settled(metadata, 21)
    assert alerts.open_alerts(metadata, "delay") == []


def test_an_alert_of_a_gate_lasts_as_long_as_another_critical_one_is_open(metadata):
    gate = saw(metadata, breach(kind="gate"), 10)
    saw(metadata, breach(), 10)
    settled(metadata, 20)  # the other alert was open until now
    assert [a.id for a in alerts.open_alerts(metadata, "delay")] == [gate.id]
    settled(metadata, 30)
    assert alerts.open_alerts(metadata, "delay") == []
