"""What an idle platform costs after use: memory (PSS), CPU and wake-ups of each process of `rota up`.

    rota demo --fast --keep --home HOME
    python benchmarks/operation/idle.py HOME [--seconds 60] [--json]
    rota --home HOME down

The platform must be up, and nobody else may ask it meanwhile.
PSS shares what several processes share (/proc/PID/smaps_rollup); a wake-up is a voluntary
context switch of any thread that lives at the end (/proc/PID/task/*/status). Linux only.
"""

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path

from rota.addresses import published

SETTLE_S = 15.0


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1_024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def wakeups(pid: int) -> dict[str, int]:
    """Of each thread that lives, by its number."""
    found = {}
    for file in Path(f"/proc/{pid}/task").glob("*/status"):
        with suppress(OSError):  # the thread has just ended
            found[file.parent.name] = next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("voluntary_ctxt"))
    return found


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def measured(home: Path, seconds: float) -> dict[str, dict[str, float]]:
    ports = published(home)
    processes = {"supervisor": int(str(ports["pid"])), **dict(ports["children"])}  # type: ignore[call-overload]
    groups = {name: [pid] if name == "supervisor" else family(pid) for name, pid in processes.items()}
    before = {pid: (cpu_s(pid), wakeups(pid)) for pids in groups.values() for pid in pids}
    time.sleep(seconds)
    found = {}
    for name, all_pids in groups.items():
        pids = [pid for pid in all_pids if Path(f"/proc/{pid}").exists()]  # a warm child may have ended
        cpu = sum(cpu_s(pid) - before[pid][0] for pid in pids)
        woken = sum(count - before[pid][1].get(thread, 0) for pid in pids for thread, count in wakeups(pid).items())
        found[name] = {
            "processes": len(pids),
            "pss_mb": round(sum(map(pss_mb, pids)), 1),
            "cpu_percent": round(100 * cpu / seconds, 2),
            "wakeups_per_s": round(woken / seconds, 2),
        }
    found["together"] = {key: round(sum(each[key] for each in found.values()), 2) for key in ("processes", "pss_mb", "cpu_percent", "wakeups_per_s")}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    time.sleep(SETTLE_S)
    found = measured(options.home, options.seconds)
    if options.json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        print(f"{name:<12}" + "".join(f"  {key} {value:g}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
