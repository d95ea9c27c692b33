"""Alerts about the platform: one while a condition is not well, ended when somebody looked and found it well."""

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.manage.signals import alerts, platform_alerts
from rota.records.condition import Condition
from rota.records.signal import Alert

DAMAGED = Condition("journal:predictions", "degraded", "segment 7 is damaged and was set apart", {"segment": 7})
STOPPED = Condition("thread:loop", "failed", "the loop ended: KeyError")


@pytest.fixture
def metadata():
    return MemoryMetadata()


def settle(metadata, *conditions, now_us):
    return platform_alerts.settle(metadata, conditions, actor="worker-0", now_us=now_us)


def test_an_ill_condition_is_one_alert_and_writes_nothing_while_it_goes_on(metadata):
    (first,) = settle(metadata, DAMAGED, now_us=10)
    events = metadata.events(0)
    assert settle(metadata, DAMAGED, now_us=20) == []
    assert metadata.events(0) == events
    assert [event.kind for event in events] == ["alert.raised"]
    alert = metadata.get(Alert, first)
    assert (alert.endpoint, alert.kind, alert.subject, alert.severity) == ("", "platform", "journal:predictions", "warning")
    assert metadata.edges([f"alert:{first}"], "causes") == []


def test_it_ends_when_the_condition_is_well_and_not_when_nobody_looked(metadata):
    (journal, loop) = settle(metadata, DAMAGED, STOPPED, now_us=10)
    settle(metadata, Condition("thread:loop", "well"), now_us=20)
    assert [alert.id for alert in alerts.open_alerts(metadata, platform_alerts.PLATFORM)] == [journal]
    assert metadata.get(Alert, loop).resolved_us == 20
    assert metadata.get(Alert, loop).severity == "critical"
    assert settle(metadata, STOPPED, now_us=30) != []


def test_what_is_well_and_has_no_alert_writes_nothing(metadata):
    assert settle(metadata, Condition("disk", "well"), now_us=10) == []
    assert metadata.events(0) == []
