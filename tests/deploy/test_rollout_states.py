"""The printed table of states and verbs, walked: in each state each verb does what the table says, or is refused with the states that have it."""

from pathlib import Path

import pytest

from rota.cli.deploy import HELP
from rota.deploy import rollout_states
from rota.deploy.delivery import Deliveries
from rota.deploy.rollout_states import BECOMES, VERBS, standing
from rota.errors import InvalidInput, NotFound, Refused
from rota.loop.context import LoopContext
from rota.loop.event_loop import Loop
from rota.records.release import Canary, Endpoint, error_rate
from rota.records.time import HOUR_US
from rota.testing.story import NOON_US, approval

ID = "rollout.delay.2"
STRATEGY = Canary(steps=[50], hold="2h", analysis=[error_rate(margin=0.1)], max_duration="4h")
DOCS = Path(__file__).parents[2] / "docs" / "rollouts.md"


def ask(place, verb, reason="because", rollout=ID):
    return Deliveries(place.repositories).command(rollout, verb, actor="olga", reason=reason)


def settled(place):
    """Everything that what was asked leads to."""
    for _ in range(3):
        place.work()
        Loop(LoopContext(place.repositories, "prod")).react()
    place.work()


def bring(place, state):
    """Lead the rollout of version 2 into a state."""
    place.store(Endpoint("delay", "delay", STRATEGY))
    if state == "waiting":
        place.start(3)
        place.work()
    if state == "never_began":
        place.store(approval(2, expires_us=NOON_US))
    place.start()
    place.work()
    if state == "never_began":
        place.store(approval(2))
    if state == "paused":
        ask(place, "pause")
    if state == "held":
        place.work(2), place.work(2)
    if state in ("promoted", "replaced"):
        ask(place, "promote")
        place.work()
    if state == "replaced":
        ask(place, "undo")
    if state == "rolled_back":
        ask(place, "abort")
        place.work()
    assert standing(place.repositories, ID).state == state


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("state", BECOMES)
def test_each_verb_does_in_each_state_what_the_table_says(place, state, verb):
    bring(place, state)
    releases = len(place.releases())
    if verb not in BECOMES[state]:
        with pytest.raises(Refused, match=ID) as refused:
            ask(place, verb)
        assert all(each in str(refused.value) for each, verbs in BECOMES.items() if verb in verbs), "where it could be asked"
        assert refused.value.facts["can"] == list(BECOMES[state])
        assert standing(place.repositories, ID).state == state
        assert len(place.releases()) == releases
        return
    asked = ask(place, verb)
    settled(place)
    assert standing(place.repositories, asked.retried or ID).state == (BECOMES[state][verb] if verb != "retry" else "progressing")
    if verb == "undo":
        assert [(route.number, route.weight) for route in place.releases()[-1].routes] == [(1, 100)]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "resume"])
def test_each_verb_but_resume_needs_a_reason(place, verb):
    bring(place, next(state for state, verbs in BECOMES.items() if verb in verbs))
    with pytest.raises(InvalidInput, match="has no reason"):
        ask(place, verb, " ")


def test_what_is_asked_of_nothing_or_is_no_verb_says_so(place):
    with pytest.raises(NotFound, match="rota rollout list"):
        ask(place, "retry")
    with pytest.raises(InvalidInput, match="it can promote, abort, pause, resume, retry, undo"):
        ask(place, "dance")


def test_the_table_is_printed_as_it_is():
    """In the module, the docs and the help of the command line."""
    rows = [line for line in rollout_states.__doc__.splitlines() if line.startswith("|")]
    assert rows[0] == f"| state | what it is | {' | '.join(VERBS)} |"
    shown = {cells[1]: dict(zip(VERBS, cells[3:-1], strict=True)) for row in rows[2:] for cells in [[each.strip() for each in row.split("|")]]}
    assert {state: {verb: end for verb, end in verbs.items() if end != "-"} for state, verbs in shown.items()} == {
        state: dict(verbs) for state, verbs in BECOMES.items()
    }
    assert "\n".join(rows) in DOCS.read_text()
    for verb in VERBS:
        (line,) = [line for line in HELP.splitlines() if line.startswith(f"  {verb} ")]
        named = line.removeprefix(f"  {verb}").strip().partition("  ")[0].split(", ")
        assert sorted(named) == sorted(state for state, verbs in BECOMES.items() if verb in verbs and not (verb == "pause" and state == "paused"))


def test_a_version_is_retried_as_often_as_it_takes_each_time_as_a_rollout_of_its_own(place):
    bring(place, "rolled_back")
    first = ask(place, "retry", "the errors came from the gateway").retried
    assert first == f"{ID}.retry-1"
    place.work()
    ask(place, "abort", rollout=first)
    place.work()
    second = ask(place, "retry", "once more", rollout=first).retried
    assert second == f"{ID}.retry-2"
    retries = [(entry.actor, entry.subject, entry.body["reason"]) for entry in place.metadata.audit() if entry.action == "rollout.retry"]
    assert retries == [("olga", ID, "the errors came from the gateway"), ("olga", first, "once more")]


def test_a_retry_asks_the_gates_again(place):
    bring(place, "rolled_back")
    place.store(approval(2, expires_us=NOON_US))
    place.clock.advance(NOON_US + HOUR_US)
    with pytest.raises(Refused, match="expired"):
        ask(place, "retry")


def test_a_rollback_that_would_move_nothing_says_so(place):
    bring(place, "replaced")
    before = place.releases()
    with pytest.raises(Refused, match="would move nothing: it serves version 1"):
        Deliveries(place.repositories).roll_back("delay", actor="olga", reason="once more")
    assert place.releases() == before


def test_an_undo_is_an_act_with_a_reason(place):
    bring(place, "promoted")
    ask(place, "undo", "complaints")
    (entry,) = [entry for entry in place.metadata.audit() if entry.action == "endpoint.rollback"]
    assert (entry.actor, entry.body["to"], entry.body["reason"]) == ("olga", 1, "complaints")


def test_the_promotion_of_a_person_stands_in_the_history_of_the_alias(place):
    bring(place, "held")
    ask(place, "promote", "a week of night traffic says enough")
    place.work()
    (move,) = [entry for entry in place.metadata.audit() if entry.action == "alias.move"]
    assert move.body["reason"] == "promoted by olga: a week of night traffic says enough"
