"""Following releases: load, prove, switch; and never lose what is good."""

import threading

import msgspec

from rota.deploy import releases
from rota.errors import Unavailable
from rota.manage.features.online.view_history import ViewHistory
from rota.manage.models import pickle_signing
from rota.ports.metadata import Batch
from rota.records.model import ModelBundle
from rota.records.record import decode, encode, plain
from rota.records.release import Endpoint, Release, Serving
from rota.serve.release_poller import ModelSource, ReleasePoller

ROW = {"x": 1.0, "carrier": "AA"}


def serving(world, endpoint="delay"):
    record = world.metadata.get(Serving, endpoint, "host-0")
    return (record.revision, record.error)


def answer(world, endpoint="delay"):
    return world.core.predict(endpoint, [ROW]).predictions[0].answer


def test_the_newest_release_is_served_and_said_to_be(world):
    world.release(world.route(1), revision=9)
    world.release(world.route(2), revision=10)
    assert not world.poller.ready
    world.poller.poll()
    assert world.poller.ready
    assert answer(world) == 201.0
    assert serving(world) == (10, "")


def test_a_new_release_replaces_the_old_and_unloads_its_model(world):
    world.serve(world.route(1))
    first = world.core.served["delay"].stable.model
    world.serve(world.route(1, weight=90), world.route(2, "canary", 10), revision=2)
    assert world.core.served["delay"].stable.model is first
    world.serve(world.route(2), revision=3)
    assert set(world.poller._models) == {world.core.served["delay"].release.routes[0].bundle}
    assert answer(world) == 201.0


def test_a_release_waits_for_the_history_of_the_features_it_reads(world):
    world.histories[b"v"] = ViewHistory("habits", "orders", "not online", 12)
    world.release(world.route(1))
    world.poller.poll()
    assert (world.poller.ready, world.core.served) == (False, {})
    (problem,) = world.poller.problems("delay")
    assert problem == "the history of view 'habits' is not online (12 rows of source 'orders' wait): rota features materialize habits"
    assert serving(world) == (0, f"revision 1 waits: {problem}")
    world.histories[b"v"] = ViewHistory("habits", "orders", "behind", 3)
    world.poller.poll()
    assert not world.poller.ready
    world.histories.clear()
    world.poller.poll()
    assert (world.poller.ready, world.poller.problems(), answer(world), serving(world)) == (True, (), 101.0, (1, ""))


def test_a_release_that_waits_is_no_refusal_and_the_one_before_goes_on(world):
    world.serve(world.route(1))
    world.histories[b"v"] = ViewHistory("habits", "orders", "behind", 3)
    world.release(world.route(2), revision=2)
    world.poller.poll()
    assert answer(world) == 101.0
    release = plain(world.metadata.get(Release, "delay", 2))
    world.histories.clear()
    world.poller.poll()
    assert releases.await_convergence(world.metadata, release, 1) == {"converged": True, "processes": ["host-0"], "refused": ""}


def test_an_endpoint_whose_features_lost_their_history_answers_and_is_not_ready(world):
    world.serve(world.route(1))
    world.histories[b"v"] = ViewHistory("habits", "orders", "behind", 3)
    world.poller.poll()
    assert world.poller.ready  # values are right without the newest rows
    world.histories[b"v"] = ViewHistory("habits", "orders", "not online", 3)
    world.poller.poll()
    assert (world.poller.ready, world.poller.all_served, answer(world)) == (False, True, 101.0)
    assert serving(world)[0] == 1
    assert "view 'habits' is not online" in serving(world)[1]
    world.histories.clear()
    world.poller.poll()
    assert (world.poller.ready, serving(world)) == (True, (1, ""))


def test_who_chose_to_answer_without_history_is_ready_and_says_what_is_missing(world):
    world.poller._waits_for_history = False
    world.histories[b"v"] = ViewHistory("habits", "orders", "not online", 3)
    world.serve(world.route(1))
    world.poller.poll()
    assert (world.poller.ready, answer(world)) == (True, 101.0)
    assert "view 'habits' is not online" in world.poller.problems("delay")[0]
    assert "view 'habits' is not online" in serving(world)[1]


def test_every_endpoint_is_served_however_many_there_are(world):
    route = world.route(1)
    names = {f"e{number:04}" for number in range(1_200)}
    batch = Batch()
    for name in names:
        batch.put(Endpoint(name, "flights"))
        batch.put(Release(name, 1, (route,), "", 0))
    world.metadata.commit(batch)
    world.poller.poll()
    assert world.core.served.keys() == names
    assert {record.endpoint for record in world.metadata.find(Serving)} == names
    assert world.poller.ready


def test_a_bundle_that_does_not_prove_itself_leaves_the_last_good_release(world):
    world.serve(world.route(1))
    world.serve(world.route(2, golden=7.0), revision=2)
    assert answer(world) == 101.0
    revision, error = serving(world)
    assert revision == 1
    assert "revision 2" in error
    assert "golden" in error


def test_a_first_release_that_fails_keeps_the_process_unready_until_a_good_one_comes(world):
    world.serve(world.route(1, golden=7.0))
    assert not world.poller.ready
    assert serving(world)[0] == 0
    assert world.poller.problems("delay") == (serving(world)[1].removeprefix("revision 1: "),) != ("",), "readiness says why"
    world.serve(world.route(1), revision=2)
    assert world.poller.ready
    assert serving(world) == (2, "")
    assert world.poller.problems() == ()
    world.serve(world.route(1, golden=7.0), revision=3)
    assert world.poller.ready, "the last good one is served"


def test_a_failed_release_is_tried_again_only_after_a_while(world, monkeypatch):
    seconds = [0.0]
    poller = ReleasePoller(world.core, world.model_source, clock=world.clock, process="host-0", retry_s=5.0, timer=lambda: seconds[0])
    reads, get = [], world.blobs.get

    def unavailable(digest):
        reads.append(digest)
        raise Unavailable("the blob store is away")

    monkeypatch.setattr(world.blobs, "get", unavailable)
    world.release(world.route(1))
    for _ in range(3):
        poller.poll()
    assert len(reads) == 1
    monkeypatch.setattr(world.blobs, "get", get)
    seconds[0] = 5.0
    poller.poll()
    assert serving(world) == (1, "")


def test_metadata_that_is_away_changes_nothing_for_callers(world, monkeypatch):
    def away(*args, **options):
        raise Unavailable("the database is locked")

    world.serve()
    for verb in ("find", "page", "get", "commit"):
        monkeypatch.setattr(world.metadata, verb, away)
    world.poller._look()
    assert answer(world) == 101.0
    assert world.poller.ready


def test_a_serving_record_that_could_not_be_written_is_written_later(world, monkeypatch):
    def away(*args, **options):
        raise Unavailable("the database is locked")

    world.serve()
    world.release(world.route(2), revision=2)
    monkeypatch.setattr(world.metadata, "commit", away)
    world.poller._look()
    assert answer(world) == 201.0
    monkeypatch.undo()
    world.poller._look()
    assert serving(world) == (2, "")


def test_endpoints_switch_even_when_no_serving_record_can_be_written(world, monkeypatch):
    def away(*args, **options):
        raise Unavailable("the disk is full")

    for endpoint in ("first", "second"):
        world.release(endpoint=endpoint)
    monkeypatch.setattr(world.metadata, "commit", away)
    world.poller.poll()
    assert set(world.core.served) == {"first", "second"}


def test_a_model_that_breaks_while_loading_blocks_nobody_else(world):
    bad = world.route(1)
    broken = LinearFormatOf(world.model_source.formats["linear"])
    poller = ReleasePoller(
        world.core, ModelSource(world.metadata, world.blobs, {"linear": broken}, world.model_source.source_of), clock=world.clock, process="host-0"
    )
    world.release(bad, endpoint="a")
    world.release(world.route(2), endpoint="b")
    poller.poll()
    assert set(world.core.served) == {"b"}
    assert "RuntimeError" in world.metadata.get(Serving, "a", "host-0").error


class LinearFormatOf:
    """The linear format, except that the model with offset 100 breaks at its first prediction."""

    def __init__(self, real):
        self.real = real

    def loads(self, data):
        predictor = self.real.loads(data)
        predictor.broken = predictor.offset == 100.0
        return predictor


def test_the_serving_record_is_written_on_changes_only(world, monkeypatch):
    commits, commit = [], world.metadata.commit
    monkeypatch.setattr(world.metadata, "commit", lambda batch: (commits.append(batch), commit(batch))[1])
    world.release()
    commits.clear()
    for _ in range(5):
        world.poller.poll()
    assert len(commits) == 1


def test_endpoints_are_followed_independently(world):
    world.serve(world.route(1, golden=7.0), endpoint="bad")
    world.serve(world.route(2), endpoint="good")
    assert answer(world, "good") == 201.0
    assert world.poller.known == {"bad", "good"}
    assert not world.poller.ready


def test_an_endpoint_without_any_release_is_not_waited_for(world):
    batch = Batch()
    batch.put(Endpoint("planned", "flights"))
    world.metadata.commit(batch)
    world.poller.poll()
    assert world.poller.ready
    assert world.poller.known == frozenset()


def test_a_rollback_is_a_new_release_of_the_old_model(world):
    for revision, number in enumerate([1, 2, 1], start=1):
        world.serve(world.route(number), revision=revision)
    assert answer(world) == 101.0
    assert serving(world) == (3, "")


def test_weights_that_make_no_sense_are_refused_and_reported(world):
    world.serve(world.route(1))
    world.serve(world.route(1, weight=50), revision=2)
    assert serving(world)[0] == 1
    assert "sum to 50" in serving(world)[1]


def test_the_thread_follows_by_itself_and_stops_when_told(world):
    poller = ReleasePoller(world.core, world.model_source, clock=world.clock, process="host-0", poll_s=0.001)
    world.release()
    poller.start()
    assert answer(world) == 101.0
    world.release(world.route(2), revision=2)
    switched = threading.Event()
    for _ in range(12_000):
        if answer(world) == 201.0 or switched.wait(0.005):
            break
    poller.stop()
    assert answer(world) == 201.0
    assert not any(thread.name == "rota-poller" for thread in threading.enumerate())


def test_a_loaded_pickle_is_served_no_more_once_its_allowance_is_withdrawn_whatever_name_it_was_sealed_under(world):
    route = world.route(1)
    sealed = msgspec.structs.replace(decode(world.blobs.get(route.bundle), ModelBundle), model="its-first-name", seal="s")
    pickle_signing.allow(world.metadata, "flights", actor="rosa", reason="ours", now_us=1)
    pickle_signing.allow(world.metadata, "its-first-name", actor="rosa", reason="ours", now_us=1)
    world.serve(msgspec.structs.replace(route, bundle=world.blobs.put(encode(sealed))))
    assert answer(world) == 101.0
    pickle_signing.forbid(world.metadata, "flights", actor="rosa", reason="found out", now_us=2)
    world.poller.poll()
    assert world.core.served == {}
    assert "nobody allowed that for it" in serving(world)[1]
