"""Every decision of a rollout comes out again of what was stored, and one that does not says so."""

import msgspec
import pytest

from rota.deploy import rollout_explanation
from rota.errors import NotFound
from rota.records.release import Canary, Endpoint, error_rate, latency_p95, pause, set_weight

STRATEGY = Canary(shadow="1h", steps=[10, set_weight(20), pause("1h"), 50], hold="2h", analysis=[error_rate(margin=0.1), latency_p95()])


def explained(place):
    return rollout_explanation.explain(place.repositories, "rollout.delay.2")


def through(place, errors=0):
    """A rollout through every step, in which the last requests fail."""
    place.store(Endpoint("delay", "delay", STRATEGY))
    place.start()
    place.work()
    ids = place.ask(3_000)
    place.ask(3_000, number=2, role="shadow", ids=ids, latency_us=500)
    for hours in (1, 2, 1, 2):
        place.work(hours)
        place.clock.advance(place.clock.now_us() + 1)  # what is asked after a judgement is asked later
        place.ask(3_000)
        place.ask(3_000, number=2, role="canary", latency_us=500, errors=errors if hours == 1 else 0)
    place.work(2)


@pytest.mark.parametrize("errors", [0, 2_900])
def test_every_decision_comes_out_as_it_was_also_after_everything_went_on(place, errors):
    through(place, errors)
    assert place.rollout().state == ("rolled_back" if errors else "promoted")
    place.ask(9_000, number=2, errors=9_000, at_us=place.clock.now_us() + 1)
    found = explained(place)
    assert found.agrees
    assert [decision for decision in found.decisions if not decision.is_exact] == []
    assert [(each.stage, each.stored.check, each.again is None) for each in found.decisions][:3] == [
        ("0 shadow 0%", "error_rate", False),
        ("0 shadow 0%", "latency_p95", False),
        ("1 canary 10%", "error_rate", False),
    ]
    assert [each.stored.check for each in found.decisions if each.again is None] == ([] if errors else ["hold"])


def test_a_decision_whose_figures_were_changed_does_not_come_out(place):
    through(place)
    rollout = place.rollout()
    entry = dict(rollout.history[0])
    entry["verdicts"] = [entry["verdicts"][0] | {"outcome": "fail"}, *entry["verdicts"][1:]]
    place.store(msgspec.structs.replace(rollout, history=(entry, *rollout.history[1:])))
    found = explained(place)
    assert not found.agrees
    assert [each.agrees for each in found.decisions][:2] == [False, True]
    assert rollout_explanation.as_plain(found)["decisions"][0]["again"]["outcome"] == "pass"


def test_what_was_logged_at_the_very_moment_of_a_look_moves_its_figures_and_is_told(place):
    through(place)
    place.ask(1, at_us=place.rollout().history[-1]["at_us"])
    found = explained(place)
    assert found.agrees
    assert [(each.stage, each.is_exact) for each in found.decisions if not each.is_exact] == [("3 canary 50%", False)]
    assert "the figures of 1 moved" in found.notes[0]


def test_what_cannot_be_explained_says_so(place):
    with pytest.raises(NotFound, match="rota rollout list"):
        explained(place)
    through(place)
    place.store(msgspec.structs.replace(place.rollout(), strategy=None))
    assert "kept no strategy" in explained(place).notes[0]
