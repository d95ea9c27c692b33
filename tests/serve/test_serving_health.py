"""A prediction process knows what it does not serve, which releases it cannot read, and what it could not log."""

from types import SimpleNamespace
from typing import Any

import pytest

from rota.serve.counters import Counters
from rota.serve.serving_health import UNLOGGED, ServingHealth


@pytest.fixture
def core() -> Any:
    release = SimpleNamespace(release=SimpleNamespace(since_us=1_000_000))
    return SimpleNamespace(served={"delay": release}, counters=Counters(), now_us=lambda: 61_000_000)


@pytest.fixture
def poller() -> Any:
    found = SimpleNamespace(known=frozenset({"delay"}), failing="", ready=True, told={})
    found.problems = lambda name: found.told.get(name, ())
    return found


def ill(health: ServingHealth) -> dict[str, str]:
    return {each.name: each.status for each in health.conditions() if each.status != "well"}


def test_an_endpoint_that_is_not_served_is_told_of_when_it_lasts(core: Any, poller: Any) -> None:
    health = ServingHealth(core, poller)
    poller.known, poller.told = frozenset({"delay", "fare"}), {"delay": ("view x is not online",)}
    assert ill(health) == {}, "a release that is just being loaded is nobody's alert"
    assert ill(health) == {"endpoint:delay": "degraded", "endpoint:fare": "failed"}
    (message,) = [each.message for each in health.conditions() if each.name == "endpoint:delay"]
    assert message == "endpoint 'delay' is served, but: view x is not online"
    poller.known, poller.told = frozenset({"delay"}), {}
    assert {each.name: each.status for each in health.conditions()} == {"endpoint:delay": "well", "releases": "well", "prediction log": "well"}


def test_releases_that_cannot_be_taken_over_are_told_of(core: Any, poller: Any) -> None:
    health = ServingHealth(core, poller)
    poller.failing = "Corrupt: release delay@2 cannot be read"
    ill(health)
    assert ill(health) == {"releases": "failed"}
    poller.failing = ""
    assert ill(health) == {}


def test_predictions_that_were_not_logged_are_told_of_until_others_were(core: Any, poller: Any) -> None:
    health = ServingHealth(core, poller)

    def predict(count: int, *, unlogged: int = 0) -> dict[str, str]:
        core.counters.add("rota_predictions_total", count)
        core.counters.add(UNLOGGED, unlogged)
        return ill(health)

    assert predict(5) == {}
    assert predict(5, unlogged=3) == {"prediction log": "failed"}
    assert predict(0) == predict(0) == predict(0) == {"prediction log": "failed"}, "nobody predicted, so nobody knows"
    assert predict(5) == {"prediction log": "failed"}
    assert predict(5) == {}


def test_its_figures_name_what_it_serves_and_did(core: Any, poller: Any) -> None:
    core.counters.add("rota_predictions_total", 7, endpoint="delay")
    found = ServingHealth(core, poller).figures()
    assert (found["ready"], found["endpoints"], found["predictions"], found["newest_release_age_s"]) == (1, 1, 7, 60)
