"""What was served last is on disk, whole and private, and a poller starts from it while metadata is away."""

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import Unavailable
from rota.ports.metadata import Batch
from rota.records.model import ModelBundle
from rota.records.record import decode
from rota.serve.predicting import PredictionCore
from rota.serve.release_cache import ReleaseCache
from rota.serve.release_poller import ModelSource, ReleasePoller

ROW = {"x": 1.0, "carrier": "AA"}


class Away:
    """An engine that does not answer."""

    def __getattr__(self, name):
        def fail(*_, **__):
            raise Unavailable("the server is away")

        return fail


@pytest.fixture
def cached(world, tmp_path):
    """A poller with a cache in a folder, and the same with engines that are away."""

    def poller(*, metadata=None, blobs=None, keeps_blobs=True):
        source = blobs or world.blobs
        cache = ReleaseCache(tmp_path / "serving", source, keeps_blobs=keeps_blobs)
        core = PredictionCore(world.journal, world.clock)
        model_source = ModelSource(metadata or world.metadata, cache, world.model_source.formats, world.model_source.source_of, cache=cache)
        return core, ReleasePoller(core, model_source, clock=world.clock, process="host-0", retry_s=0.0)

    return poller


def look(poller):
    poller.start()
    poller.stop()


def test_a_process_starts_from_the_last_good_releases_and_answers(world, cached, tmp_path):
    world.release(world.route(1))
    look(cached()[1])
    core, poller = cached(metadata=Away(), blobs=Away())
    assert not poller.ready
    look(poller)
    assert core.predict("delay", [ROW]).predictions[0].answer == 101.0
    assert (poller.ready, poller.away, poller.known) == (True, "the server is away", {"delay"})
    files = [tmp_path / "serving", *(tmp_path / "serving").rglob("*")]
    assert {file.stat().st_mode & 0o077 for file in files} == {0}


def test_without_anything_kept_it_is_not_ready_and_says_why(cached):
    core, poller = cached(metadata=Away())
    look(poller)
    assert (poller.ready, poller.away, core.served) == (False, "the server is away", {})


def test_kept_is_what_is_served_and_what_it_would_fall_back_to(world, cached, tmp_path):
    _, poller = cached()
    for number in (1, 2, 3):
        world.release(world.route(number), revision=number)
        poller.poll()
    cache = ReleaseCache(tmp_path / "serving", world.blobs, keeps_blobs=True)
    kept = [*cache.releases().values(), *cache.earlier("delay")]
    assert [release.routes[0].number for release in kept] == [3, 2]
    bundles = [release.routes[0].bundle for release in kept]
    wanted = {*bundles, *(decode(world.blobs.get(bundle), ModelBundle).blob for bundle in bundles)}
    assert {file.name for file in (tmp_path / "serving" / "blobs").iterdir()} == wanted


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 100])
def test_damaged_files_are_read_anew_and_never_served(world, cached, tmp_path, damage):
    world.release(world.route(1))
    look(cached()[1])
    for file in (tmp_path / "serving" / "blobs").iterdir():
        file.write_bytes(damage)
    core, poller = cached(metadata=Away())
    look(poller)
    assert core.predict("delay", [ROW]).predictions[0].answer == 101.0, "the blobs come from their store"
    (tmp_path / "serving" / "releases.json").write_bytes(damage)
    core, poller = cached(metadata=Away())
    look(poller)
    assert (poller.ready, core.served) == (False, {})


def test_a_release_that_fails_leaves_the_last_good_one_on_disk(world, cached):
    world.release(world.route(1))
    _, poller = cached()
    poller.poll()
    world.release(world.route(2, golden=7.0), revision=2)
    poller.poll()
    core, poller = cached(metadata=Away(), blobs=Away())
    look(poller)
    assert core.predict("delay", [ROW]).predictions[0].answer == 101.0


def test_what_comes_back_is_followed_again(world, cached):
    world.release(world.route(1))
    look(cached()[1])
    away = [True]

    class Flaky:
        def __getattr__(self, name):
            if away[0]:
                raise Unavailable("the server is away")
            return getattr(world.metadata, name)

    core, poller = cached(metadata=Flaky())
    with pytest.raises(Unavailable):
        poller.poll()
    world.release(world.route(2), revision=2)
    assert core.predict("delay", [ROW]).predictions[0].answer == 101.0
    away[0] = False
    poller.poll()
    assert core.predict("delay", [ROW]).predictions[0].answer == 201.0
    assert (poller.ready, poller.away) == (True, "")


def test_an_endpoint_that_is_gone_is_kept_no_longer(world, cached, tmp_path):
    world.release(world.route(1))
    _, poller = cached()
    poller.poll()
    empty = MemoryMetadata()
    empty.commit(Batch())
    look(cached(metadata=empty)[1])
    look(poller := cached(metadata=Away())[1])
    assert poller.known == frozenset()


def test_blobs_of_a_directory_are_not_kept_twice(world, cached, tmp_path):
    world.release(world.route(1))
    look(cached(keeps_blobs=False)[1])
    assert list((tmp_path / "serving" / "blobs").iterdir()) == []
    core, poller = cached(metadata=Away(), keeps_blobs=False)
    look(poller)
    assert core.predict("delay", [ROW]).predictions[0].answer == 101.0
