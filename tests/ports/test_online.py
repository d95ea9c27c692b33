"""Online: the law over every store, and what only LMDB can get wrong."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from rota.backends.memory.online import MemoryOnline
from rota.backends.online.lmdb_online import LmdbOnline
from rota.errors import Corrupt, Refused
from rota.testing.online import OnlineContract


class TestLmdbOnline(OnlineContract):
    @pytest.fixture
    def online(self, tmp_path: Path) -> Iterator[LmdbOnline]:
        store = LmdbOnline(tmp_path / "online", size_mb=16)
        yield store
        store.close()


class TestLmdbOnlineSynced(OnlineContract):
    @pytest.fixture
    def online(self, tmp_path: Path) -> Iterator[LmdbOnline]:
        store = LmdbOnline(tmp_path / "online", size_mb=16, sync=True)
        yield store
        store.close()


class TestMemoryOnline(OnlineContract):
    gaps: ClassVar = {"test_a_full_store_says_so_and_keeps_what_it_has": "it is bounded by the machine's memory only"}

    @pytest.fixture
    def online(self) -> MemoryOnline:
        return MemoryOnline()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbOnline]:
    opened = LmdbOnline(tmp_path / "online", size_mb=64)
    yield opened
    opened.close()


def replace(old: bytes | None, new: bytes) -> bytes:
    return new


def test_rows_and_positions_are_there_after_reopening(tmp_path: Path) -> None:
    for number in range(3):
        opened = LmdbOnline(tmp_path, size_mb=16)
        assert opened.position("s") == number - 1
        opened.update([(b"k", str(number).encode())], replace, position=("s", number))
        opened.close()
        opened.close()
    assert LmdbOnline(tmp_path, size_mb=16).read([b"k"]) == [b"2"]


def test_a_read_is_a_few_steps_however_much_is_stored(store: LmdbOnline, python_steps: Callable[[Callable[[], object]], int]) -> None:
    """2 us when measured alone."""
    store.update(((f"{i:06d}".encode(), b"x" * 100) for i in range(20_000)), replace)
    for i in range(100):
        assert python_steps(partial(store.read, [f"{i * 7919 % 20_000:06d}".encode()])) < 50


def test_a_forked_child_is_refused_and_the_parent_goes_on(store: LmdbOnline) -> None:
    store.update([(b"k", b"1")], replace)
    assert store.read([b"k"]) == [b"1"]
    child = os.fork()
    if child == 0:
        refused = 0
        for verb in (lambda: store.read([b"k"]), lambda: store.update([], replace), lambda: store.position("s"), lambda: store.delete(b"k")):
            try:
                verb()
            except Refused:
                refused += 1
        store.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 4
    assert store.read([b"k"]) == [b"1"]
    assert store.update([(b"k", b"2")], replace)


def test_opening_twice_in_one_process_is_refused_with_the_reason(store: LmdbOnline, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="already open"):
        LmdbOnline(tmp_path / "online", size_mb=64)


def test_a_file_that_is_no_store_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1_000)
    with pytest.raises(Corrupt, match="rebuild"):
        LmdbOnline(tmp_path, size_mb=16)


READ = """
import sys
from pathlib import Path
from typing import ClassVar
from rota.backends.online.lmdb_online import LmdbOnline
store = LmdbOnline(Path(sys.argv[1]), size_mb=64)
keys = [f"k{i}".encode() for i in range(20)]
for _ in sys.stdin:
    found = set(store.read(keys))
    print(len(found), found.pop().decode(), flush=True)
"""


def test_another_process_sees_each_update_whole(store: LmdbOnline, tmp_path: Path) -> None:
    keys = [f"k{i}".encode() for i in range(20)]
    store.update([(key, b"0") for key in keys], replace)
    with subprocess.Popen(
        [sys.executable, "-c", READ, str(tmp_path / "online")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as reader:
        assert reader.stdin
        assert reader.stdout
        for number in range(1, 30):
            store.update([(key, str(number).encode()) for key in keys], replace)
            reader.stdin.write("\n")
            assert reader.stdout.readline().split() == ["1", str(number)]
        reader.stdin.close()
