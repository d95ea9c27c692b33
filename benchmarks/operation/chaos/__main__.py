"""The campaign: faults by the hundred while applications predict, label, push and train; then everything acknowledged is read back.

    python -m benchmarks.operation.chaos                                   # 500 kills, 50 pauses, 20 full disks, 20 outages, 20 damaged files
    python -m benchmarks.operation.chaos --seed 7 --kills 20 --stops 0 --full 0 --outages 0 --damage 0
    make chaos CHAOS="--seed 7 --kills 50"

Four worlds, one after the other: kills and pauses (SQLite, LMDB, a directory), full disks (a small file system of its own, which needs the
right to mount), outages (PostgreSQL, Redis, S3), damaged files. In the last one what lay in a damaged file may be lost; everything else may
not, and the platform has to name the damage. A fault that is not survived within three minutes ends the campaign with the log's place.
Exit code 1 when anything was lost, doubled, or ended otherwise than it should.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.operation.chaos import engines, faults
from benchmarks.operation.chaos.load import PATIENCE_S, PROJECT, Load, history
from benchmarks.operation.chaos.verdict import Verdict, examine
from benchmarks.operation.chaos.world import World, until

from rota.client import Client
from rota.errors import RotaError

DISK_MB = 256


@dataclass
class Part:
    """One world's faults and what became of what was acknowledged in it."""

    name: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    probes: int = 0
    refused: int = 0
    unlogged: int = 0

    def report(self) -> dict[str, Any]:
        recovery = [each["whole_after_s"] for each in self.faults]
        return {
            "part": self.name,
            "faults": len(self.faults),
            "kinds": dict(Counter(each["what"] for each in self.faults)),
            "whole again after, seconds": {"median": round(statistics.median(recovery), 2), "worst": round(max(recovery), 2)} if recovery else {},
            "predictions asked once": self.probes,
            "of them not answered": self.refused,
            "predictions answered as not logged": self.unlogged,
            "not answered by fault": _by_fault(self.faults),
            "acknowledged": self.verdict.acknowledged,
            "lost": {kind: len(keys) for kind, keys in self.verdict.lost.items()},
            "asked again and answered otherwise": self.verdict.asked_again,
            "lost with damaged journal segments": self.verdict.excused,
            "doubled": {kind: len(keys) for kind, keys in self.verdict.doubled.items()},
            "strange": self.verdict.strange[:10],
        }


def _by_fault(found: list[dict[str, Any]]) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for each in found:
        counted[each["what"]] += each["refused"]
    return dict(counted)


@contextmanager
def used(world: World, seed: int) -> Iterator[Load]:
    """A platform that is up with a released model, and applications that use it."""
    project = world.home.parent / "project.py"
    project.write_text(PROJECT)
    world.command("apply", str(project))
    world.start()
    client = Client(world.home, wait_for_start=True, patience_s=PATIENCE_S)
    client.push("sales", history(datetime.now(UTC)))
    client.post("/v1/pipelines/returns/runs")
    until(lambda: _answered(client), "the first model answers", within_s=300)
    client.close()
    load = Load(world, seed)
    load.start()
    try:
        yield load
    finally:
        load.stop()


@contextmanager
def ended(world: World) -> Iterator[None]:
    """At the end the loop comes to rest and the platform is brought down; after an error it is ended as it is."""
    try:
        yield
        client = Client(world.home, wait_for_start=True, patience_s=PATIENCE_S)
        client.settle()
        client.close()
        world.stop()
    finally:
        world.kill()


def _answered(client: Client) -> bool:
    try:
        return client.predict("returns", [{"shop": "north", "amount": 3.0}])[0]["answer"] is not None
    except RotaError:
        return False


def campaign(part: Part, world: World, act: Callable[[random.Random], str], count: int, seed: int, *, excused: Sequence[bytes] = ()) -> None:
    """Do `count` faults, one after the other, each once the platform is whole again; then read back. What `excused` holds may be lost."""
    draw = random.Random(f"{part.name} {seed}")
    with ended(world), used(world, seed) as load:
        for number in range(count):
            time.sleep(draw.uniform(0, 1.0))
            before, began = len(load.refused), time.monotonic()
            what = act(draw)
            world.await_whole()
            mark = len(load.kept.predictions)
            until(lambda mark=mark: len(load.kept.predictions) > mark or load.broken, "predictions are acknowledged again")
            part.faults.append({"what": what, "whole_after_s": time.monotonic() - began, "refused": len(load.refused) - before})
            print(f"{part.name} {number + 1}/{count}: {what}, whole after {part.faults[-1]['whole_after_s']:.1f} s", file=sys.stderr, flush=True)
    part.probes, part.refused, part.unlogged = load.probes, len(load.refused), load.unlogged
    inherited = dict(os.environ)
    os.environ.update({name: value for name, value in world.environment.items() if name.startswith(("ROTA_", "AWS_"))})
    try:
        part.verdict = examine(world.home, load.kept, known=[row["id"] for row in history(datetime.now(UTC))], excused=excused)
    finally:
        os.environ.clear()
        os.environ.update(inherited)


def kills_and_pauses(kills: int, stops: int, seed: int, folder: Path) -> Part:
    world, part = World(folder / "kills"), Part("kills and pauses")
    acts = ["kill"] * kills + ["pause"] * stops
    random.Random(seed).shuffle(acts)
    turns = iter(acts)

    def act(draw: random.Random) -> str:
        if next(turns) == "kill":
            return f"kill of {faults.kill(world, draw)}"
        return f"pause of {faults.pause(world, draw)}"

    campaign(part, world, act, len(acts), seed)
    return part


def full_disks(count: int, seed: int) -> Part:
    part = Part("full disks")
    with faults.small_disk(DISK_MB) as place:
        world = World(place / "home")
        campaign(part, world, lambda draw: faults.fill(world, draw), count, seed)
    return part


def outages(count: int, seed: int, folder: Path) -> Part:
    part, place = Part("outages"), folder / "engines"
    place.mkdir()
    away = engines.Engines(place)
    away.start()
    try:
        campaign(part, World(folder / "outages", away.variables), away.outage, count, seed)
    finally:
        away.stop()
    return part


def damages(count: int, seed: int, folder: Path) -> Part:
    world, part = World(folder / "damages"), Part("damaged files")
    damaging = faults.Damages(world)
    campaign(part, world, damaging.damage, count, seed, excused=damaging.lost)
    return part


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="plays the same faults in the same order")
    for name, count in {"kills": 500, "stops": 50, "full": 20, "outages": 20, "damage": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--keep", action="store_true", help="leave the homes and logs where they are")
    wanted = parser.parse_args()
    print(f"seed {wanted.seed}", file=sys.stderr)
    folder, parts, left_out = Path(tempfile.mkdtemp(prefix="rota-chaos-")), list[Part](), list[str]()
    try:
        if wanted.kills or wanted.stops:
            parts.append(kills_and_pauses(wanted.kills, wanted.stops, wanted.seed, folder))
        if wanted.full and os.geteuid() != 0:
            left_out.append("full disks: run as root, a small file system has to be mounted")
        elif wanted.full:
            parts.append(full_disks(wanted.full, wanted.seed))
        if wanted.outages and (lacking := engines.missing()):
            left_out.append(f"outages: {' && '.join(lacking)}")
        elif wanted.outages:
            parts.append(outages(wanted.outages, wanted.seed, folder))
        if wanted.damage:
            parts.append(damages(wanted.damage, wanted.seed, folder))
    except (AssertionError, subprocess.TimeoutExpired) as error:
        print(f"seed {wanted.seed}: {error}\nhomes and logs: {folder}", file=sys.stderr)
        return 1
    print(json.dumps({"seed": wanted.seed, "parts": [part.report() for part in parts], "left out": left_out}, indent=2))
    good = all(part.verdict.good for part in parts)
    if good and not wanted.keep:
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
