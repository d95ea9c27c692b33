"""What a power cut may take: the system calls of a real process are recorded, and played against a disk that forgets what was not synced."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

WORK = """
import sys
from pathlib import Path
import polars as pl
from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.delta_places import Directory
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.segment_journal import SegmentJournal
from rota.manage.signals import labels
from rota.records.signal import Label
home = Path(sys.argv[1])
tables = DeltaTables(Directory(home / "tables", sync=True))
journal = SegmentJournal(home / "log")
for number in range(27):
    labels.append(journal, "delay", [Label(f"p{number}", 1.0, number)], number, sync=True)
    labels.flush(journal, tables, "delay")
journal.close()
labels.flush(journal, tables, "delay")
tables.append("labels/delay", pl.DataFrame({"new": [1]}))
tables.vacuum("labels/delay", keep={3}, before_us=10**17)
blobs = BlobDirectory(home / "blobs")
blobs.put(b"once")
blobs.put_stream([b"tw", b"ice"])
"""
CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
NAMED = re.compile(r'"([^"]*)"')
CALLS = "openat,write,pwrite64,writev,copy_file_range,ftruncate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat"


@dataclass
class ForgetfulDisk:
    """Which bytes and which names below a home a power cut would take, at each moment of a record of system calls."""

    home: str
    bytes_lost: set[str] = field(default_factory=set)
    names_lost: set[str] = field(default_factory=set)
    commits: int = 0
    deleted: list[str] = field(default_factory=list)

    def play(self, line: str) -> None:
        found = CALL.match(line)
        if found is None or int(found[3]) < 0 or self.home not in line:
            return
        call, arguments = found[1], found[2]
        paths = NAMED.findall(arguments)
        opened = re.match(r"\d+<([^>]*)>", arguments)
        if call == "openat" and "O_CREAT" in arguments:
            self._created(paths[0])
        elif call in {"write", "pwrite64", "writev", "copy_file_range", "ftruncate"} and opened:
            self.bytes_lost.add(opened[1])
        elif call in {"fsync", "fdatasync"} and opened:
            self.bytes_lost.discard(opened[1])
            self.names_lost -= {name for name in self.names_lost if str(PurePosixPath(name).parent) == opened[1]}
        elif call.startswith("mkdir"):
            self.names_lost.add(paths[0])
        elif call.startswith("rename"):
            self._moved(*paths[:2])
            for lost in (self.bytes_lost, self.names_lost):
                lost.discard(paths[0])
        elif call.startswith("link"):
            self._moved(*paths[:2])
        elif call.startswith("unlink"):
            self._deleted(paths[0])

    def _created(self, path: str) -> None:
        if path not in self.names_lost:
            self.names_lost.add(path)

    def _moved(self, old: str, new: str) -> None:
        if old in self.bytes_lost:
            self.bytes_lost.add(new)
        self.names_lost.add(new)
        if re.search(r"_delta_log/\d{20}\.json$", new):
            self.commits += 1
            assert new not in self.bytes_lost, f"{new} appeared before its bytes were synced"
            assert not self._lost(".parquet", beside=new), f"{new} names files that a power cut would take: {self._lost('.parquet', beside=new)}"

    def _deleted(self, path: str) -> None:
        for lost in (self.bytes_lost, self.names_lost):
            lost.discard(path)
        if not PurePosixPath(path).name.startswith("."):
            self.deleted.append(path)
            assert not self._lost(""), f"{path} was deleted while a power cut would take {self._lost('')}"

    def _lost(self, suffix: str, *, beside: str = "") -> list[str]:
        """Bytes and names of what counts: neither files that are being written, nor locks, nor checkpoints that only quicken."""
        folder = str(PurePosixPath(beside).parent.parent) if beside else self.home
        found = {path for path in self.bytes_lost | self.names_lost if path.startswith(f"{folder}/") and path.endswith(suffix)}
        return sorted(path for path in found if not PurePosixPath(path).name.startswith(".") and not path.endswith(("_rota.lock", "#1")))


@pytest.fixture
def strace() -> str:
    """The program that records system calls, where it may."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is missing; as root: apt-get install strace")
    if subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here; allow it: sysctl kernel.yama.ptrace_scope=1, or docker run --cap-add SYS_PTRACE")
    return program


def test_nothing_is_replaced_by_what_a_power_cut_would_take(strace: str, tmp_path: Path) -> None:
    home, record = tmp_path / "home", tmp_path / "calls"
    home.mkdir()
    command = [strace, "-f", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(record), sys.executable, "-c", WORK, str(home)]
    subprocess.run(command, check=True, capture_output=True)
    disk = ForgetfulDisk(str(home))
    for line in whole_calls(record.read_text().splitlines()):
        disk.play(line)
    assert disk.commits >= 28
    assert {PurePosixPath(path).suffix for path in disk.deleted} >= {".seg", ".parquet", ".json"}
    assert disk._lost("") == []


def whole_calls(lines: list[str]) -> list[str]:
    """The calls in the order in which they ended; strace tells one in two lines where another thread's came between."""
    begun, found = dict[str, str](), []
    for line in lines:
        thread = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>").rstrip()
        elif "resumed>" in line:
            found.append(begun.pop(thread, thread) + line.partition("resumed>")[2])
        else:
            found.append(line)
    return found
