"""Blobs: the law over every store, and what only files can get wrong."""

import os
import resource
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.storage.blob_directory import BlobDirectory
from rota.testing.blobs import BlobsContract


class TestBlobDirectory(BlobsContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> BlobDirectory:
        return BlobDirectory(tmp_path / "blobs")

    def damage(self, blobs: BlobDirectory, digest: str) -> None:
        path = blobs._root / digest[:2] / digest
        path.write_bytes(b"p" + path.read_bytes()[1:-1] + b"?")


class TestMemoryBlobs(BlobsContract):
    @pytest.fixture
    def blobs(self) -> MemoryBlobs:
        return MemoryBlobs()

    def damage(self, blobs: MemoryBlobs, digest: str) -> None:
        blobs.stored[digest] = b"?"


def test_a_second_process_sees_the_blob(tmp_path: Path) -> None:
    digest = BlobDirectory(tmp_path).put(b"shared")
    assert BlobDirectory(tmp_path).get(digest) == b"shared"
    assert (tmp_path / digest[:2] / digest).read_bytes() == b"shared"


def test_files_that_are_no_blobs_are_not_listed(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    digest = blobs.put(b"x")
    (tmp_path / digest[:2] / "README").write_text("stray")
    (tmp_path / "lost").mkdir()
    assert list(blobs.digests()) == [digest]


def test_an_old_rest_of_a_killed_put_is_removed_and_a_young_one_is_left(tmp_path: Path) -> None:
    BlobDirectory(tmp_path)
    old, young = tmp_path / "incoming" / "old", tmp_path / "incoming" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (time.time() - 7_200,) * 2)
    BlobDirectory(tmp_path)
    assert not old.exists()
    assert young.exists()


def test_a_put_is_never_lost_to_an_expiry_at_the_same_time(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    expired = 0
    with ThreadPoolExecutor(2) as pool:
        for _ in range(500):
            digest = blobs.put(b"wanted")
            os.utime(tmp_path / digest[:2] / digest, (1, 1))
            expiring = pool.submit(blobs.expire, digest, 2_000_000)
            pool.submit(blobs.put, b"wanted").result()
            expired += expiring.result()
            assert blobs.get(digest) == b"wanted"
    assert expired


FILL = """
import resource, sys
from pathlib import Path
from rota.backends.storage.blob_directory import BlobDirectory
from rota.errors import Unavailable
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
blobs = BlobDirectory(Path(sys.argv[1]))
blobs.put(b"small")
for put in (lambda: blobs.put(b"x" * 200_000), lambda: blobs.put_stream([b"x" * 1_000] * 200)):
    try:
        put()
    except Unavailable as error:
        print(error)
print(len(list(blobs.digests())), len(list((Path(sys.argv[1]) / "incoming").iterdir())))
"""


def test_a_full_disk_is_named_with_the_way_out_and_leaves_nothing(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    said = subprocess.run([sys.executable, "-c", FILL, str(tmp_path)], capture_output=True, text=True, check=True).stdout.splitlines()
    for message in said[:2]:
        assert "limit is reached" in message
        assert "free space" in message
        assert str(tmp_path) in message
    assert said[2] == "1 0"


def test_a_stream_of_any_length_needs_little_memory(tmp_path: Path) -> None:
    blobs = BlobDirectory(tmp_path)
    tracemalloc.start()
    digest, size = blobs.put_stream(bytes(100_000) for _ in range(1_000))
    read = sum(map(len, blobs.stream(digest)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == read == 100_000_000
    assert peak < 8_000_000
