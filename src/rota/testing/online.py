"""OnlineContract: the law of `rota.ports.online.Online` as tests. Needs pytest."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rota.errors import InvalidInput, Unavailable
from rota.ports.online import Online
from rota.testing.contract import EngineContract


def _append(old: bytes | None, new: bytes) -> bytes:
    return (old or b"") + new


def _replace(old: bytes | None, new: bytes) -> bytes:  # noqa: ARG001 - the merge's shape
    return new


class OnlineContract(EngineContract):
    """Give the fixture `online`, an empty store of at most 20 MB."""

    def test_values_come_back_in_the_order_of_the_keys(self, online: Online) -> None:
        online.update([(b"a", b"1"), (b"b", b"")], _replace)
        assert online.read([b"b", b"none", b"a", b"a"]) == [b"", None, b"1", b"1"]
        assert online.read([]) == []

    def test_merge_sees_what_the_same_update_stored_before(self, online: Online) -> None:
        online.update([(b"k", b"1"), (b"j", b"x"), (b"k", b"2")], _append)
        online.update(iter([(b"k", b"3")]), _append)
        assert online.read([b"k", b"j"]) == [b"123", b"x"]

    def test_an_applied_position_is_never_applied_again(self, online: Online) -> None:
        assert online.position("pushes/flights") == -1
        assert online.update([(b"k", b"1")], _append, position=("pushes/flights", 5)) is True
        assert online.update([(b"k", b"1")], _append, position=("pushes/flights", 5)) is False
        assert online.update([(b"k", b"0")], _append, position=("pushes/flights", 4)) is False
        assert online.update([(b"k", b"2")], _append, position=("other", 0)) is True
        assert online.read([b"k"]) == [b"12"]
        assert (online.position("pushes/flights"), online.position("other")) == (5, 0)

    def test_a_position_is_no_row(self, online: Online) -> None:
        online.update([], _replace, position=("s", 1))
        assert online.read([b"s"]) == [None]
        assert online.delete(b"") == 0
        assert online.position("s") == 1

    def test_a_failing_merge_changes_nothing(self, online: Online) -> None:
        online.update([(b"a", b"1")], _replace)

        def fail(old: bytes | None, new: bytes) -> bytes:  # noqa: ARG001
            if new == b"bad":
                raise InvalidInput("cannot merge")
            return new

        with pytest.raises(InvalidInput, match="cannot merge"):
            online.update([(b"a", b"2"), (b"b", b"bad")], fail, position=("s", 1))
        assert online.read([b"a", b"b"]) == [b"1", None]
        assert online.position("s") == -1

    @pytest.mark.parametrize("key", [b"", b"x" * 501, b"x" * 600], ids=["empty", "501 bytes", "600 bytes"])
    def test_a_key_outside_1_to_500_bytes_is_refused(self, online: Online, key: bytes) -> None:
        with pytest.raises(InvalidInput):
            online.read([key])
        with pytest.raises(InvalidInput):
            online.update([(b"fine", b"1"), (key, b"1")], _replace)
        assert online.read([b"fine"]) == [None]
        with pytest.raises(InvalidInput):
            online.position("x" * 501)

    def test_the_longest_key_and_any_bytes_are_kept(self, online: Online) -> None:
        keys = [b"x" * 500, b"\0", b"\xff" * 400]
        online.update([(key, key) for key in keys], _replace)
        assert online.read(keys) == keys

    def test_delete_takes_a_prefix_and_counts(self, online: Online) -> None:
        online.update([(key, b"v") for key in (b"a", b"aa", b"ab", b"b", b"\xff\xff")], _replace)
        assert online.delete(b"a") == 3
        assert online.delete(b"a") == 0
        assert online.read([b"aa", b"b"]) == [None, b"v"]
        assert online.delete(b"\xff") == 1
        assert online.delete(b"") == 1

    def test_readers_see_all_of_an_update_or_nothing(self, online: Online) -> None:
        keys = [f"k{i}".encode() for i in range(50)]
        online.update([(key, b"0") for key in keys], _replace)
        stop = threading.Event()
        torn: list[set[bytes | None]] = []

        def read() -> None:
            while not stop.is_set():
                seen = set(online.read(keys))
                if len(seen) != 1:
                    torn.append(seen)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for i in range(1, 60):
            online.update([(key, str(i).encode()) for key in keys], _replace)
        stop.set()
        for reader in readers:
            reader.join()
        assert torn == []

    def test_writers_wait_for_each_other(self, online: Online) -> None:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: online.update([(b"count", b"x")], _append), range(120)))
        assert online.read([b"count"]) == [b"x" * 120]

    def test_its_identity_stays_whatever_is_written(self, online: Online) -> None:
        before = online.report()
        assert before.identity
        assert before.losses == ""
        online.update([(b"a", b"1")], _replace, position=("s", 1))
        online.delete(b"a")
        assert online.report() == before

    def test_a_full_store_says_so_and_keeps_what_it_has(self, online: Online) -> None:
        online.update([(b"kept", b"1")], _replace)
        with pytest.raises(Unavailable, match=r"online_size_mb"):
            online.update([(str(i).encode(), b"x" * 1_000_000) for i in range(40)], _replace, position=("s", 1))
        assert online.read([b"kept", b"0"]) == [b"1", None]
        assert online.position("s") == -1
        assert online.update([(b"next", b"1")], _replace)
