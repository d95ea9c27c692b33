"""Online: the law over every store, and what only LMDB can get wrong."""

import os
import shutil
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


def test_a_file_that_is_no_store_is_set_aside_and_an_empty_one_begun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "online"
    path.mkdir()
    (path / "data.mdb").write_bytes(b"not a database" * 1_000)
    store = LmdbOnline(path, size_mb=16)
    assert store.read([b"k"]) == [None]
    assert (tmp_path / "online.damaged/data.mdb").read_bytes().startswith(b"not a database")
    assert "brought online anew" in caplog.text
    store.close()


IN_CHILD = """
import sys
from pathlib import Path
from rota.backends.online.lmdb_online import LmdbOnline
store = LmdbOnline(Path(sys.argv[1]), size_mb=64)
print(sum(value is not None for value in store.read([f"{i:06d}".encode() for i in range(5000)])))
"""


def filled(path: Path) -> LmdbOnline:
    opened = LmdbOnline(path, size_mb=64)
    opened.update([(f"{i:06d}".encode(), b"x" * 100) for i in range(5_000)], replace)
    return opened


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
def test_a_file_that_was_cut_off_ends_no_process_that_opens_it(tmp_path: Path, share: float) -> None:
    """LMDB alone maps it, and the kernel ends who reads: the child would die of SIGBUS."""
    path = tmp_path / "online"
    filled(path).close()
    size = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", int(size * share))
    child = subprocess.run([sys.executable, "-c", IN_CHILD, str(path)], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr
    assert (tmp_path / "online.damaged/data.mdb").stat().st_size == int(size * share)


CUT_WHILE_OPEN = """
import os, sys
from pathlib import Path
from rota.backends.online.lmdb_online import LmdbOnline
store = LmdbOnline(Path(sys.argv[1]), size_mb=64)
before = store.report().identity
os.truncate(Path(sys.argv[1]) / "data.mdb", 20_000)
after = store.report().identity
store.update([(b"000001", b"new")], lambda old, new: new)
print(before != after, store.read([b"000001", b"004000"]))
"""


def test_a_file_that_is_cut_off_while_it_is_open_is_exchanged_with_the_next_report(tmp_path: Path) -> None:
    filled(tmp_path / "online").close()
    child = subprocess.run([sys.executable, "-c", CUT_WHILE_OPEN, str(tmp_path / "online")], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout) == (0, "True [b'new', None]\n"), child.stderr


def test_a_store_that_is_removed_while_it_is_open_is_begun_anew_and_not_written_into_the_void(store: LmdbOnline, tmp_path: Path) -> None:
    store.update([(b"k", b"1")], replace)
    before = store.report().identity
    shutil.rmtree(tmp_path / "online")
    store.update([(b"j", b"2")], replace)
    assert store.read([b"k", b"j"]) == [None, b"2"]
    assert store.report().identity != before
    child = subprocess.run([sys.executable, "-c", READ_ONE, str(tmp_path / "online"), "j"], capture_output=True, text=True, check=True)
    assert child.stdout == "b'2'\n"


def test_an_older_copy_is_another_store_wherever_it_was_put(store: LmdbOnline, tmp_path: Path) -> None:
    store.update([(b"k", b"1")], replace)
    shutil.copytree(tmp_path / "online", tmp_path / "copy")
    store.update([(b"k", b"2")], replace)
    before = store.report().identity
    shutil.rmtree(tmp_path / "online")
    shutil.copytree(tmp_path / "copy", tmp_path / "online")
    exchanged = store.report().identity
    assert exchanged != before
    assert store.read([b"k"]) == [b"1"]
    store.update([(b"k", b"3")], replace)
    assert store.report().identity == exchanged
    (tmp_path / "online/data.mdb").write_bytes((tmp_path / "copy/data.mdb").read_bytes())
    assert store.report().identity != exchanged


def test_a_damaged_page_is_named_and_the_store_set_aside_with_the_next_write(tmp_path: Path) -> None:
    path = tmp_path / "online"
    store = filled(path)
    with (path / "data.mdb").open("r+b") as file:
        for page in range(2, path.joinpath("data.mdb").stat().st_size // 4096):
            file.seek(page * 4096 + 10)
            file.write(b"\0\0")  # the page's kind
    with pytest.raises(Corrupt, match="brought online anew"):
        store.read([b"000001"])
    store.update([(b"k", b"1")], replace)
    assert store.read([b"k", b"000001"]) == [b"1", None]
    assert (tmp_path / "online.damaged").is_dir()
    store.close()


FULL_DISK = """
import resource, sys
from pathlib import Path
from rota.backends.online.lmdb_online import LmdbOnline
from rota.errors import Unavailable
store = LmdbOnline(Path(sys.argv[1]), size_mb=64)
replace = lambda old, new: new
store.update([(b"k", b"1")], replace)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
try:
    store.update([(f"{i:06d}".encode(), b"x" * 1000) for i in range(1000)], replace, position=("s", 1))
except Unavailable as error:
    print("free space" in str(error))
print(store.read([b"k", b"000001"]), store.position("s"))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
store.update([(b"k", b"2")], replace)
print(store.read([b"k"]), store.report().problem)
"""


def test_a_disk_that_is_full_during_a_write_leaves_what_was_there_and_is_written_again_when_there_is_room(tmp_path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "online")], capture_output=True, text=True, check=False)
    assert (child.returncode, child.stdout.splitlines()) == (0, ["True", "[b'1', None] -1", "[b'2'] "]), child.stderr


def test_a_store_that_is_nearly_full_says_so_before_it_refuses(tmp_path: Path) -> None:
    store = LmdbOnline(tmp_path / "online", size_mb=2)
    assert store.report().problem == ""
    store.update([(str(i).encode(), b"x" * 1_000) for i in range(1_450)], replace)
    assert "online_size_mb" in store.report().problem
    store.close()


READ_ONE = """
import sys
from pathlib import Path
from rota.backends.online.lmdb_online import LmdbOnline
print(LmdbOnline(Path(sys.argv[1]), size_mb=64).read([sys.argv[2].encode()])[0])
"""


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
