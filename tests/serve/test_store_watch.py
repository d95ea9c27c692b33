"""The watch of a prediction process: at rest no record is read; a commit wakes the poller, and tokens are known at the next look."""

import threading
from collections import Counter

import pytest

from rota.errors import Unavailable
from rota.manage.access import tokens
from rota.serve.prediction_tokens import PredictionTokens, TokenSource
from rota.serve.release_poller import ReleasePoller
from rota.serve.store_watch import IDLE_LOOK_S, LOOK_S, StoreWatch


class Counted:
    """Metadata that counts which verbs it is asked, and may be away."""

    def __init__(self, metadata):
        self.metadata, self.asked, self.away = metadata, Counter(), False

    def __getattr__(self, name):
        self.asked[name] += 1
        if self.away:
            raise Unavailable("the store is away")
        return getattr(self.metadata, name)


@pytest.fixture
def store(world):
    return Counted(world.metadata)


@pytest.fixture
def known(world, store):
    return PredictionTokens(TokenSource(store, lambda: world.owner, world.clock, "test"))


@pytest.fixture
def committed():
    return threading.Event()


@pytest.fixture
def watch(world, store, known, committed):
    world.owner = "rota_owner"
    watch = StoreWatch(store, known, committed)
    watch.look()
    committed.clear()
    store.asked.clear()
    return watch


def test_at_rest_a_look_reads_the_mark_alone_and_wakes_nobody(watch, store, committed):
    for _ in range(50):
        watch.look()
    assert set(store.asked) == {"mark"}
    assert not committed.is_set()


def test_a_commit_wakes_the_poller_and_its_token_is_known_until_it_is_revoked(watch, world, known, committed):
    made, secret = tokens.create(world.metadata, "app", "application", actor="o", now_us=1)
    watch.look()
    assert committed.is_set()
    assert known.find(secret) is not None
    tokens.revoke(world.metadata, made.id, actor="o", now_us=2)
    watch.look()
    assert known.find(secret) is None


def test_the_owners_token_follows_its_file_without_a_commit(watch, world, known):
    world.owner = "rota_another"
    watch.look()
    assert known.find("rota_owner") is None
    assert known.find("rota_another") is not None


def test_a_store_that_goes_away_and_comes_back_wakes_the_poller_each_time_once(watch, store, committed):
    woken = []
    for store.away in (True, True, False, False):
        watch.look()
        woken.append(committed.is_set())
        committed.clear()
    assert woken == [True, False, True, False]


def test_while_tokens_are_shown_it_looks_as_often_as_before(watch, known):
    assert watch.look() == IDLE_LOOK_S
    known.find("rota_owner")
    assert watch.look() == LOOK_S < IDLE_LOOK_S < 1.0
    assert watch.look() == IDLE_LOOK_S


def test_a_poller_that_is_watched_waits_long_and_polls_when_it_is_woken(world, monkeypatch):
    waits, polls = [], []
    poller = ReleasePoller(world.core, world.model_source, clock=world.clock, process="host-0", poll_s=0.1, timer=lambda: sum(waits))

    class Woken(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            if len(waits) == 60:
                poller._stop.set()
            return True

    poller.woken = Woken()
    monkeypatch.setattr(poller, "_look", lambda: polls.append(1))
    world.serve()
    poller._known = frozenset()
    poller._run(5.0)
    assert waits[-1] == 5.0
    assert len(polls) == 59
    poller._failed["delay"] = (2, 0.0)
    poller._stop.clear()
    waits.clear()
    poller._run(5.0)
    assert max(waits) == 1.0, "what failed is tried again as soon as ever"
