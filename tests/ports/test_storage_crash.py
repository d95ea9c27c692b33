"""What kill -9 at any moment leaves in the files of each store. Every test kills real processes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from rota.backends.online.lmdb_online import LmdbOnline
from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.testing.journal import entries
from rota.testing.tables import ids_of

ROUNDS = 4


def killed_after(script: str, directory: Path, *arguments: str, lines: int, extra_s: float) -> list[str]:
    """Run the script, kill it `extra_s` after it printed so many lines, and return every whole line it printed."""
    with subprocess.Popen([sys.executable, "-c", script, str(directory), *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout
        printed = b"".join(process.stdout.readline() for _ in range(lines))
        time.sleep(extra_s)
        os.kill(process.pid, signal.SIGKILL)
        printed += process.stdout.read()
    assert process.returncode == -signal.SIGKILL
    return [line.decode() for line in printed.split(b"\n")[:-1]]


JOURNAL = """
import os, sys, threading
from pathlib import Path
from rota.backends.storage.segment_journal import SegmentJournal
journal = SegmentJournal(Path(sys.argv[1]), segment_bytes=2_000_000)
def write(thread):
    for i in range(10**9):
        payloads = [f"{thread} {i} {part} ".encode() + os.urandom(1) * 5_000 for part in range(3)]
        journal.append("log", payloads)
        os.write(1, f"{thread} {i}\\n".encode())
for thread in range(2):
    threading.Thread(target=write, args=(sys.argv[2] + str(thread),)).start()
"""


def test_every_acknowledged_entry_is_read_back_and_none_is_torn(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for number in range(ROUNDS):
        acknowledged |= set(killed_after(JOURNAL, tmp_path, str(number), lines=50, extra_s=random.random() / 20))
    journal = SegmentJournal(tmp_path)
    journal.append("log", [b"after "])
    found = entries(journal, "log")
    assert all(len(set(payload.split(b" ", 3)[3])) == 1 and len(payload.split(b" ", 3)[3]) == 5_000 for payload in found[:-1])
    read = {" ".join(map(bytes.decode, payload.split(b" ")[:2])) for payload in found[:-1] if payload.split(b" ")[2] == b"2"}
    assert len(acknowledged) >= 50 * ROUNDS
    assert acknowledged <= read
    ends: dict[str, int] = {}
    for chunk in journal.read("log"):
        ends[chunk.segment] = chunk.end
    journal.close()
    assert all(journal.drop("log", segment, end) for segment, end in ends.items())
    assert journal.streams() == []


ONLINE = """
import os, sys
from pathlib import Path
from rota.backends.online.lmdb_online import LmdbOnline
store = LmdbOnline(Path(sys.argv[1]), size_mb=64)
keys = [f"k{i}".encode() for i in range(400)]
number = store.position("s")
while True:
    number += 1
    store.update([(key, b"%d" % number) for key in keys], lambda old, new: new, position=("s", number))
    os.write(1, b"%d\\n" % number)
"""


def test_an_online_update_and_its_position_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    keys = [f"k{i}".encode() for i in range(400)]
    for _ in range(ROUNDS):
        acknowledged = killed_after(ONLINE, tmp_path, lines=20, extra_s=random.random() / 20)
        store = LmdbOnline(tmp_path, size_mb=64)
        values, position = set(store.read(keys)), store.position("s")
        store.close()
        assert values == {b"%d" % position}
        assert position in {int(acknowledged[-1]), int(acknowledged[-1]) + 1}


BLOBS = """
import os, sys
from pathlib import Path
from rota.backends.storage.blob_directory import BlobDirectory
blobs = BlobDirectory(Path(sys.argv[1]))
while True:
    os.write(1, blobs.put(os.urandom(300_000)).encode() + b"\\n")
"""


def test_an_acknowledged_blob_is_whole_and_a_killed_put_leaves_nothing_visible(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for _ in range(ROUNDS):
        acknowledged |= set(killed_after(BLOBS, tmp_path, lines=5, extra_s=random.random() / 50))
    blobs = BlobDirectory(tmp_path)
    listed = list(blobs.digests())
    assert acknowledged <= set(listed)
    assert all(len(blobs.get(digest)) == 300_000 for digest in listed)
    assert len(listed) <= len(acknowledged) + ROUNDS


STREAMS = """
import os, sys
from pathlib import Path
from rota.backends.storage.blob_directory import BlobDirectory
blobs = BlobDirectory(Path(sys.argv[1]))
def chunks():
    for number in range(30):
        os.write(1, b"chunk\\n")
        yield os.urandom(200_000)
while True:
    os.write(1, blobs.put_stream(chunks())[0].encode() + b"\\n")
"""


def test_an_upload_killed_between_its_chunks_is_not_there_and_an_acknowledged_one_is(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for _ in range(ROUNDS):
        printed = killed_after(STREAMS, tmp_path, lines=35 + random.randrange(30), extra_s=0)
        acknowledged |= {line for line in printed if line != "chunk"}
    blobs = BlobDirectory(tmp_path)
    listed = list(blobs.digests())
    assert acknowledged
    assert acknowledged <= set(listed)
    assert all(sum(map(len, blobs.stream(digest))) == blobs.size(digest) == 6_000_000 for digest in listed)
    assert len(listed) <= len(acknowledged) + ROUNDS
    assert any((tmp_path / "incoming").iterdir())


TABLES = """
import os, sys
from pathlib import Path
import polars as pl
from rota.backends.storage.delta_tables import DeltaTables
tables = DeltaTables(Path(sys.argv[1]))
number = tables.sequence("log", "drain")
while True:
    number += 1
    tables.append("log", pl.DataFrame({"id": range(number * 10, number * 10 + 10)}), batch=("drain", number))
    os.write(1, b"%d\\n" % number)
    if number % 7 == 6:
        tables.compact("log")
"""


@pytest.mark.parametrize("lines", [1, 12])
def test_a_batch_repeated_after_a_kill_is_stored_once(tmp_path: Path, lines: int) -> None:
    for _ in range(ROUNDS // 2):
        acknowledged = int(killed_after(TABLES, tmp_path, lines=lines, extra_s=random.random() / 20)[-1])
        tables = DeltaTables(tmp_path)
        for number in (acknowledged - 1, acknowledged, acknowledged + 1):
            tables.append("log", pl.DataFrame({"id": range(number * 10, number * 10 + 10)}), batch=("drain", number))
        last = tables.sequence("log", "drain")
        assert last == acknowledged + 1
        assert ids_of(tables.scan("log")) == list(range((last + 1) * 10))
