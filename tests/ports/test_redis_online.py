"""RedisOnline: the law of every online store on a real Redis, and what only a server somewhere else can get wrong."""

import select
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from rota.backends.online.redis_online import RedisOnline
from rota.errors import InvalidInput, Refused, Unavailable
from rota.testing.online import OnlineContract


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """The server, emptied afterwards."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.config_set("maxmemory", 0)
        client.flushall()


@pytest.fixture
def store(redis_url: str, server: redis.Redis) -> Iterator[RedisOnline]:
    opened = RedisOnline(redis_url, namespace=uuid.uuid4().hex)
    yield opened
    opened.close()


class TestRedisOnline(OnlineContract):
    @pytest.fixture
    def online(self, store: RedisOnline, server: redis.Redis) -> RedisOnline:
        server.config_set("maxmemory", 20_000_000)
        return store


def replace(old: bytes | None, new: bytes) -> bytes:
    return new


def append(old: bytes | None, new: bytes) -> bytes:
    return (old or b"") + new


def test_two_platforms_share_a_server_without_seeing_each_other(redis_url: str, server: redis.Redis) -> None:
    one, other = RedisOnline(redis_url, namespace="one"), RedisOnline(redis_url, namespace="one-more")
    one.update([(b"k", b"1")], replace, position=("s", 3))
    assert other.read([b"k"]) == [None]
    assert other.position("s") == -1
    other.update([(b"k", b"2")], replace)
    assert one.delete(b"") == 1
    assert other.read([b"k"]) == [b"2"]
    assert one.position("s") == 3


@pytest.mark.parametrize("namespace", ["", "a:b", "*", "x" * 1_000])
def test_a_namespace_that_could_reach_into_another_is_refused(redis_url: str, namespace: str) -> None:
    with pytest.raises(InvalidInput, match="online namespace"):
        RedisOnline(redis_url, namespace=namespace)


def test_delete_takes_the_bytes_of_its_prefix_literally(store: RedisOnline) -> None:
    keys = [b"a*", b"ab", b"[ab]", b"a?", b"\\*x", b"^-]", b"\xff*\x00"]
    store.update([(key, b"v") for key in keys], replace)
    for key in keys:
        assert store.delete(key) == 1
    assert store.read(keys) == [None] * len(keys)


def test_an_update_larger_than_one_command_is_still_one_transaction(redis_url: str, store: RedisOnline) -> None:
    rows = [(b"%06d" % i, b"0") for i in range(20_000)]
    store.update(rows, replace, position=("s", 1))
    probe = [rows[0][0], rows[9_999][0], rows[-1][0]]
    stop, torn = threading.Event(), []

    def watch() -> None:
        while not stop.is_set():
            seen = set(store.read(probe))
            if len(seen) != 1:
                torn.append(seen)

    watching = threading.Thread(target=watch)
    watching.start()
    for number in range(1, 5):
        store.update([(key, b"%d" % number) for key, _ in rows], replace)
    stop.set()
    watching.join()
    assert torn == []
    assert store.delete(b"0") == 20_000


def test_a_large_update_is_not_overtaken_for_ever_by_small_ones(redis_url: str, store: RedisOnline) -> None:
    stop = threading.Event()
    written = [0]

    def push() -> None:
        while not stop.is_set():
            store.update([(b"small", b"x")], append)
            written[0] += 1

    pushing = [threading.Thread(target=push) for _ in range(3)]
    for thread in pushing:
        thread.start()
    try:
        assert store.update([(b"%06d" % i, b"x") for i in range(30_000)], append)
    finally:
        stop.set()
        for thread in pushing:
            thread.join()
    assert store.read([b"000000", b"029999"]) == [b"x", b"x"]
    assert store.read([b"small"]) == [b"x" * written[0]]


def test_a_turn_left_behind_by_a_killed_writer_runs_out(redis_url: str, server: redis.Redis) -> None:
    waited: list[float] = []
    store = RedisOnline(redis_url, namespace="left", patience_s=30, pause=lambda seconds: (waited.append(seconds), server.pexpire("left:turn", 1))[0])
    server.set("left:turn", b"somebody", px=60_000)
    assert store.update([(b"k", b"1")], replace)
    assert waited
    assert server.exists("left:turn") == 0


def test_writers_that_never_get_through_say_so(redis_url: str, server: redis.Redis) -> None:
    server.set("busy:turn", b"somebody")
    store = RedisOnline(redis_url, namespace="busy", patience_s=0.05)
    with pytest.raises(Unavailable, match="other writers kept changing"):
        store.update([(b"k", b"1")], replace)
    assert server.get("busy:turn") == b"somebody"


def test_a_merge_that_fails_gives_the_turn_back(redis_url: str, server: redis.Redis) -> None:
    store = RedisOnline(redis_url, namespace="fails")
    tries = 0

    def lose_then_fail(old: bytes | None, new: bytes) -> bytes:
        nonlocal tries
        tries += 1
        if tries > 4:
            assert server.exists("fails:turn") == 1
            raise InvalidInput("cannot merge")
        server.incr("fails:writes")
        return new

    with pytest.raises(InvalidInput, match="cannot merge"):
        store.update([(b"k", b"1")], lose_then_fail)
    assert server.exists("fails:turn") == 0


def test_an_update_does_not_bring_back_what_was_deleted_meanwhile(redis_url: str, store: RedisOnline) -> None:
    store.update([(b"k", b"old")], replace)
    deleted: list[int] = []

    def delete_first(old: bytes | None, new: bytes) -> bytes:
        if not deleted:
            deleted.append(store.delete(b"k"))
        return append(old, new)

    assert store.update([(b"k", b"new")], delete_first)
    assert deleted == [1]
    assert store.read([b"k"]) == [b"new"]


def test_an_update_that_loses_its_connection_is_not_tried_again(redis_url: str, server: redis.Redis) -> None:
    store = RedisOnline(redis_url, namespace="cut")
    own = store._client.client_id()

    def cut(old: bytes | None, new: bytes) -> bytes:
        server.client_kill_filter(_id=own)
        return append(old, new)

    with pytest.raises(Unavailable, match="online_url"):
        store.update([(b"k", b"x")], cut)
    assert store.read([b"k"]) == [None]
    assert store.update([(b"k", b"x")], append)
    assert store.read([b"k"]) == [b"x"]


def lose_the_answer(listener: socket.socket, port: int) -> None:
    """Stand between a store and its server, and hang up once a transaction was carried out."""
    caller, _ = listener.accept()
    listener.close()
    with caller, socket.create_connection(("127.0.0.1", port)) as server:
        executed = False
        while True:
            ready, _, _ = select.select([caller, server], [], [], 60)
            if caller in ready:
                data = caller.recv(1_000_000)
                executed = executed or b"EXEC" in data
                server.sendall(data)
            if server in ready:
                answer = server.recv(1_000_000)
                if executed:
                    return
                caller.sendall(answer)


def test_an_update_whose_answer_is_lost_is_not_written_twice(redis_url: str, server: redis.Redis) -> None:
    port = int(redis_url.split(":")[2].split("/", maxsplit=1)[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        between = threading.Thread(target=lose_the_answer, args=(listener, port))
        between.start()
        store = RedisOnline(url, namespace="lost")
        with pytest.raises(Unavailable, match="failed"):
            store.update([(b"k", b"x")], append, position=("s", 1))
        between.join()
    there = RedisOnline(redis_url, namespace="lost")
    assert there.read([b"k"]) == [b"x"]
    assert there.update([(b"k", b"x")], append, position=("s", 1)) is False
    assert there.read([b"k"]) == [b"x"]


def test_rows_that_somebody_removed_are_noticed_by_the_store(store: RedisOnline, server: redis.Redis) -> None:
    store.update([(b"k", b"1")], replace)
    before = store.report().identity
    server.flushall()
    assert store.report().identity != before


def test_a_server_that_was_started_again_is_another_store(redis_server: Any) -> None:
    redis_server.start()
    store = RedisOnline(redis_server.url)
    store.update([(b"k", b"1")], replace)
    before = store.report().identity
    redis_server.kill()
    with pytest.raises(Unavailable):
        store.report()
    redis_server.start()
    assert store.report().identity != before
    assert store.read([b"k"]) == [None]
    store.close()


def test_a_server_that_forgets_rows_says_how_many_and_why(store: RedisOnline, server: redis.Redis) -> None:
    assert (store.report().losses, store.report().problem) == ("", "")
    try:
        server.config_set("maxmemory-policy", "allkeys-random")
        server.config_set("maxmemory", int(server.info("memory")["used_memory"]) + 1_000_000)
        for start in range(0, 4_000, 100):
            store.update([(str(start + i).encode(), b"x" * 1_000) for i in range(100)], replace)
        told = store.report()
        assert "noeviction" in told.problem
        run, _, evicted = told.losses.partition(":")
        assert run == server.info("server")["run_id"]
        assert 0 < int(evicted) <= int(server.info("stats")["evicted_keys"])
    finally:
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", 0)
        server.config_resetstat()


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with pytest.raises(Unavailable, match="setting online_url") as caught:
        RedisOnline("redis://user:secret@127.0.0.1:1/0?password=secret", timeout_s=1)
    assert "redis://127.0.0.1:1/0" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "secret" not in str(caught.value.facts)


def test_a_wrong_password_is_refused(redis_url: str, server: redis.Redis) -> None:
    server.config_set("requirepass", "right")
    try:
        with pytest.raises(Refused, match="user or password"):
            RedisOnline(redis_url.replace("127", ":wrong@127"))
        with pytest.raises(Refused, match="user or password"):
            RedisOnline(redis_url)
        assert RedisOnline(redis_url.replace("127", ":right@127")).read([b"k"]) == [None]
    finally:
        redis.Redis.from_url(redis_url.replace("127", ":right@127")).config_set("requirepass", "")


@pytest.mark.parametrize("url", ["http://host", "host:6379", ""])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="online_url"):
        RedisOnline(url)
