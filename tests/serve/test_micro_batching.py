"""Model calls away from the event loop: deadlines, lanes, turns, bounds."""

import asyncio
import signal
import threading
from dataclasses import replace

import pytest

from rota import wiring
from rota.backends.online.redis_online import RedisOnline
from rota.errors import Interrupted, Unavailable
from rota.records.data import Entity, Feature, FeatureService, FeatureView, OnDemandFeatureView, Source
from rota.serve import micro_batching
from rota.serve.micro_batching import MicroBatcher
from rota.serve.scoring import LoadedRelease
from rota.settings import Settings

ROW = {"x": 1.0, "carrier": "UA"}


class Gate:
    """A model that answers only once it is let to, and tells when it is asked."""

    def __init__(self, predictor) -> None:
        self._predictor = predictor
        self.asked, self.opened = threading.Event(), threading.Event()
        self.rows: list[int] = []

    def predict(self, matrix):
        self.rows.append(len(matrix))
        self.asked.set()
        assert self.opened.wait(60)
        return self._predictor.predict(matrix)


@pytest.fixture
def gate(world):
    """Two endpoints: the model of "slow" waits at a gate, that of "delay" answers."""
    world.serve(endpoint="slow")
    world.serve()
    return gated(world, "slow")


def gated(world, endpoint: str) -> Gate:
    served = world.core.served[endpoint]
    found = Gate(served.stable.model.predictor)
    stable = replace(served.stable, model=replace(served.stable.model, predictor=found))
    world.core.switch(endpoint, LoadedRelease(served.release, {stable.route: stable}, stable, (), served.fields))
    return found


def test_a_model_that_waits_delays_no_other_endpoint(world, gate) -> None:
    async def play():
        batcher = MicroBatcher(world.core)
        slow = asyncio.ensure_future(batcher.answer(world.core.prepare("slow", [ROW])))
        await asyncio.to_thread(gate.asked.wait, 60)
        other = await batcher.answer(world.core.prepare("delay", [ROW]))
        assert not slow.done()
        gate.opened.set()
        return other, await slow

    other, slow = asyncio.run(play())
    assert [each.predictions[0].answer for each in (other, slow)] == [102.0, 102.0]


def test_past_its_deadline_a_request_is_told_which_endpoint_and_version_did_not_answer(world, gate) -> None:
    async def play():
        batcher = MicroBatcher(world.core, timeout_s=0.05)
        with pytest.raises(Interrupted, match=r"'slow' \(flights@1\) did not answer within 0.05 s") as late:
            await batcher.answer(world.core.prepare("slow", [ROW]))
        waiting = asyncio.ensure_future(batcher.answer(world.core.prepare("slow", [ROW])))
        with pytest.raises(Interrupted):
            await waiting
        gate.opened.set()
        return late.value.facts

    facts = asyncio.run(play())
    assert facts == {"endpoint": "slow", "versions": ["flights@1"], "timeout_s": 0.05, "cause": "timeout"}
    assert gate.rows == [1]  # the request that had given up while it waited was not asked of the model


def test_more_requests_than_a_lane_holds_are_refused_at_once(world, gate, monkeypatch) -> None:
    monkeypatch.setattr(micro_batching, "MOST_WAITING", 3)

    async def play():
        batcher = MicroBatcher(world.core)
        held = [asyncio.ensure_future(batcher.answer(world.core.prepare("slow", [ROW]))) for _ in range(3)]
        await asyncio.to_thread(gate.asked.wait, 60)
        with pytest.raises(Unavailable, match="'slow': 3 requests wait"):
            await batcher.answer(world.core.prepare("slow", [ROW]))
        gate.opened.set()
        return await asyncio.gather(*held)

    assert len(asyncio.run(play())) == 3
    assert sum(gate.rows) == 3


def test_a_large_request_is_answered_by_turns_with_small_ones_of_its_endpoint(world, gate) -> None:
    many = [{**ROW, "x": float(n)} for n in range(5 * micro_batching.SLICE_ROWS)]

    async def play():
        batcher = MicroBatcher(world.core)
        large = asyncio.ensure_future(batcher.answer(world.core.prepare("slow", many)))
        await asyncio.to_thread(gate.asked.wait, 60)
        small = asyncio.ensure_future(batcher.answer(world.core.prepare("slow", [ROW])))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.opened.set()
        await small
        return await large

    response = asyncio.run(play())
    assert [answer.answer for answer in response.predictions] == [101.0 + n for n in range(len(many))]
    assert gate.rows[0] == micro_batching.SLICE_ROWS
    assert 1 in gate.rows[1:3]
    assert len({answer.prediction_id for answer in response.predictions}) == len(many)


def test_quick_models_are_answered_on_the_loop(world) -> None:
    world.serve()
    served = world.core.served["delay"]
    stable = replace(served.stable, model=replace(served.stable.model, quick=True))
    world.core.switch("delay", LoadedRelease(served.release, {stable.route: stable}, stable, (), served.fields))

    async def play():
        before = threading.active_count()
        await MicroBatcher(world.core).answer(world.core.prepare("delay", [ROW]))
        return threading.active_count() - before

    assert asyncio.run(play()) == 0


class StoredVectors:
    """Features of an online store that is a server."""

    waits = True

    def __init__(self, online, others) -> None:
        self._online, self._others = online, others

    def look_up(self, rows, now_us):
        assert self._online.read([b"k"]) == [None]
        return self._others.look_up(rows, now_us)


def test_an_online_store_that_hangs_delays_no_other_endpoint(world, redis_server) -> None:
    redis_server.start()
    online = RedisOnline(redis_server.url, timeout_s=600.0)
    world.serve(endpoint="stored")
    world.serve()
    for endpoint in ("stored", "delay"):
        served = world.core.served[endpoint]
        source = StoredVectors(online, served.stable.source) if endpoint == "stored" else served.stable.source
        stable = replace(served.stable, model=replace(served.stable.model, quick=True), source=source)
        world.core.switch(endpoint, LoadedRelease(served.release, {stable.route: stable}, stable, (), served.fields))

    async def play():
        batcher = MicroBatcher(world.core)
        redis_server.send(signal.SIGSTOP)
        watch = threading.Timer(60, redis_server.send, [signal.SIGCONT])  # so that a loop that waits ends as a failure
        watch.start()
        hanging = asyncio.ensure_future(batcher.answer(world.core.prepare("stored", [ROW])))
        await asyncio.sleep(0)
        other = await batcher.answer(world.core.prepare("delay", [ROW]))
        assert watch.is_alive()
        assert not hanging.done()
        watch.cancel()
        redis_server.send(signal.SIGCONT)
        return other, await hanging

    assert [each.predictions[0].answer for each in asyncio.run(play())] == [102.0, 102.0]
    online.close()


def test_views_of_a_server_may_be_waited_for_and_others_not(tmp_path, redis_server) -> None:
    redis_server.start()
    stored = FeatureView(
        "stats", [Entity("driver", ["driver"])], Source("rides", {"driver": "int", "at": "timestamp", "n": "int"}, "at"), {"n": Feature("n")}
    )
    asked = OnDemandFeatureView("asked", {"km": "float"}, {"twice": Feature("2 * km")})
    waits = {}
    for name, url in (("server", redis_server.url), ("embedded", "")):
        with wiring.opened(Settings(home=tmp_path / name, online_url=url)) as platform:
            source_of = platform.processes.prediction_app("serve-0")._poller._model_source.source_of
            waits[name] = [source_of(FeatureService("s", views)).source.waits for views in ([stored, asked], [asked])]
    assert waits == {"server": [True, False], "embedded": [False, False]}


def test_a_refused_row_of_a_large_request_is_named_by_its_place_in_the_request(world) -> None:
    world.serve()
    rows = [ROW] * 3_000
    rows[2_500] = {**ROW, "x": -555.0}
    response = asyncio.run(MicroBatcher(world.core).answer(world.core.prepare("delay", rows)))
    assert [answer.error for answer in response.predictions if answer.error] == [
        "row 2500: field 'x' is -555.0, which the model does not take: that x is not taken"
    ]
