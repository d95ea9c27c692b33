"""The faults: kill -9, a pause past the lease, a full disk, an engine that goes away, a damaged file. Each is real."""

import os
import random
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from benchmarks.operation.chaos.world import SUPERVISOR, World, until

EVERYTHING = "everything"
WEIGHTS: Mapping[str, int] = {"serve-0": 6, "worker-0": 5, "server": 4, SUPERVISOR: 3, EVERYTHING: 2}
PAUSED_S = 2.5
"""Longer than the lease of the campaign's platform, which is one second."""


def kill(world: World, draw: random.Random) -> str:
    """kill -9 of one process, or of all of them at once; which."""
    chosen = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    victims = world.living() if chosen == EVERYTHING else [until(lambda: world.processes()[chosen], f"{chosen} is up")]
    known = [psutil.Process(pid) for pid in victims if psutil.pid_exists(pid)]
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: all(map(_is_dead, known)), f"{chosen} is dead")
    return chosen


def _is_dead(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pause(world: World, draw: random.Random) -> str:
    """SIGSTOP past the lease, then SIGCONT: the process goes on as if nothing had happened."""
    chosen = draw.choice(["worker-0", "worker-0", "server", "serve-0"])
    pid = until(lambda: world.processes()[chosen], f"{chosen} is up")
    os.kill(pid, signal.SIGSTOP)
    time.sleep(PAUSED_S)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    return chosen


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own that can be filled; needs the right to mount (root)."""
    place = Path(tempfile.mkdtemp(prefix="rota-small-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def fill(world: World, draw: random.Random) -> str:
    """Fill the disk to its last byte, half of the time kill something while it is full, then make room again."""
    filler = world.home.parent / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 65_536)
    time.sleep(draw.uniform(1, 4))
    killed = ""
    if draw.random() < 0.5:
        killed = f" while {kill(world, draw)} died"
        time.sleep(draw.uniform(0.5, 2))
    filler.unlink()
    return f"the disk was full{killed}"


@dataclass
class Damages:
    """Damages files of a world one after the other, and keeps what they held, as a backup would."""

    world: World
    lost: list[bytes] = field(default_factory=list)
    """What damaged journal segments held: nobody has a copy of it, so what was in there may be lost, and nothing else may."""

    def damage(self, draw: random.Random) -> str:
        """Flip a byte in the middle of a file, or cut its second half off; after a while files of tables and blobs are restored.

        A journal segment is flipped only: a process may be appending to it, and no disk cuts a file under its writer.
        """
        file = until(lambda: self._chosen(draw), "there is a file to damage")
        original, half = file.read_bytes(), file.stat().st_size // 2
        mode = stat.S_IMODE(file.stat().st_mode)
        file.chmod(0o600)
        if file.suffix == ".seg" or draw.random() < 0.5:
            what = "flipped a byte of"
            with file.open("r+b") as opened:
                opened.seek(half)
                opened.write(bytes([original[half] ^ 0x55]))
        else:
            what = "cut to half"
            os.truncate(file, half)
        time.sleep(draw.uniform(2, 6))
        name = file.relative_to(self.world.home)
        if name.parts[0] == "log":
            self.lost.append(original)
        elif name.parts[0] != "online" and file.exists():
            restored = file.with_name(f".{file.name}.restored")
            restored.write_bytes(original)
            restored.chmod(mode)
            restored.replace(file)
        return f"{what} {'/'.join(part for part in name.parts if not part[:1].isdigit())}"

    def _chosen(self, draw: random.Random) -> Path | None:
        kinds = ["log/*/**/*.seg", "tables/**/*.parquet", "tables/**/_delta_log/*.json", "online/data.mdb", "blobs/**/*"]
        found = [file for file in self.world.home.glob(draw.choice(kinds)) if file.is_file() and file.stat().st_size > 64]
        return draw.choice(sorted(file for file in found if "damaged" not in file.parts)) if found else None
