"""Processes that write into one metadata store at the same moment: commits per second, the worst wait, errors, what was lost.

    python benchmarks/metadata/writers.py                                # 8 processes, 500 commits each, SQLite and PostgreSQL
    python benchmarks/metadata/writers.py --commits 50                   # small
    python benchmarks/metadata/writers.py --postgres postgresql://rota:...@host/empty_database

A commit creates a record and appends an event, a lineage edge and an audit entry: the least that an act in Rota leaves behind.
The reference of the same run is one row and one COMMIT per transaction with the bare driver, the same processes, engine and
durability. Without --postgres a server with its default settings (every commit synced) runs for the time of the benchmark.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from rota.backends.sql.metadata import SqlMetadata
from rota.errors import RotaError
from rota.ports.metadata import Batch
from rota.records.model import Alias
from rota.records.record import digest, encode
from rota.records.signal import Event

BUSY_S = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--commits", type=int, default=500, help="of each process")
    parser.add_argument("--postgres", help="URL of an empty database; it is not emptied afterwards")
    parser.add_argument("--directory", help="where the files of the embedded engines lie")
    parser.add_argument("--child", nargs=3, metavar=("KIND", "URL", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child, options.commits)
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        measure("SQLite", f"sqlite:///{folder}/metadata.db", options)
        if options.postgres:
            measure("PostgreSQL", options.postgres, options)
        elif postgres_programs() is None:
            print("PostgreSQL: no server program found; give --postgres URL")
        else:
            with postgres_server(folder) as url:
                measure("PostgreSQL", url, options)


def measure(name: str, url: str, options: argparse.Namespace) -> None:
    SqlMetadata(url).close()
    bare = together("bare", url, options)
    rota = together("rota", url, options)
    print(f"\n{name}, {options.processes} processes x {options.commits} commits")
    for what, (seconds, waits, errors) in (("bare driver, one row", bare), ("Rota, record + event + edge + audit", rota)):
        ordered = sorted(waits)
        print(
            f"  {what:36} {len(waits) / seconds:8,.0f} commits/s   median {statistics.median(ordered) * 1e3:7.2f} ms"
            f"   p99 {ordered[int(len(ordered) * 0.99)] * 1e3:7.1f} ms   worst {ordered[-1] * 1e3:7.1f} ms   errors {errors}"
        )
    print(f"  ratio of commits/s {len(rota[1]) / rota[0] / (len(bare[1]) / bare[0]):.2f};  {lost(url, options)}")


def together(kind: str, url: str, options: argparse.Namespace) -> tuple[float, list[float], int]:
    """Start the processes, let them begin at one moment; seconds, what each commit waited, errors."""
    command = [sys.executable, __file__, "--commits", str(options.commits), "--child", kind, url]
    children = [
        subprocess.Popen([*command, f"w{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for number in range(options.processes)
    ]
    for process in children:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = time.perf_counter()
    for process in children:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    told = [json.loads(process.communicate()[0]) for process in children]
    return time.perf_counter() - began, [wait for one in told for wait in one["waits"]], sum(one["errors"] for one in told)


def child(kind: str, url: str, name: str, commits: int) -> None:
    with closing(RotaWriter(url) if kind == "rota" else BareWriter(url)) as writer:
        print("ready", flush=True)
        sys.stdin.read(1)
        waits, errors = [], 0
        for number in range(commits):
            began = time.perf_counter()
            try:
                writer.write(name, number)
            except (RotaError, sqlite3.Error) as error:
                print(error, file=sys.stderr)
                errors += 1
            waits.append(time.perf_counter() - began)
    print(json.dumps({"waits": waits, "errors": errors}))


class RotaWriter:
    def __init__(self, url: str) -> None:
        self.metadata = SqlMetadata(url)

    def write(self, name: str, number: int) -> None:
        batch = Batch()
        batch.create(Alias("flights", f"{name}-{number}", number, 0))
        batch.event(Event("commit.pushed", f"{name}-{number}", number))
        batch.link(f"{name}-{number}", ["cause"], number)
        batch.audit(name, "promote", f"{name}-{number}", number)
        self.metadata.commit(batch)

    def close(self) -> None:
        self.metadata.close()


class BareWriter:
    """One row and one COMMIT, with what an engine needs to be as durable and as patient."""

    def __init__(self, url: str) -> None:
        self.connection: Any
        self.sqlite = url.startswith("sqlite")
        if self.sqlite:
            self.connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=BUSY_S, isolation_level=None)
            self.connection.execute("PRAGMA synchronous = FULL")
        else:
            self.connection = psycopg.connect(url)

    def write(self, name: str, number: int) -> None:
        if self.sqlite:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.execute("INSERT INTO cursor VALUES (?, ?)", (f"{name}-{number}", "{}"))
        else:
            self.connection.execute("INSERT INTO cursor VALUES (%s, %s)", (f"{name}-{number}", "{}"))
        self.connection.commit()

    def close(self) -> None:
        self.connection.close()


def lost(url: str, options: argparse.Namespace) -> str:
    """What of the acknowledged commits is not there, and whether positions and the audit chain are whole."""
    expected, limit = options.processes * options.commits, 10**9
    with closing(SqlMetadata(url)) as metadata:
        events, entries = metadata.events(0, limit=limit), metadata.audit(limit=limit)
        missing = [expected - len(found) for found in (metadata.find(Alias, limit=limit), metadata.edges(["cause"], "effects"), events, entries)]
    positions = [entry.position for entry in entries] == list(range(1, expected + 1))
    previous = ["", *(entry.hash for entry in entries[:-1])]
    chain = all(
        entry.previous == before and entry.hash == digest(before.encode() + encode(msgspec.structs.replace(entry, hash="")))
        for entry, before in zip(entries, previous, strict=True)
    )
    mine: dict[str, list[int]] = {}
    for event in events:
        mine.setdefault(event.subject.split("-")[0], []).append(event.at_us)
    ordered = all(numbers == sorted(numbers) for numbers in mine.values())
    return f"lost {sum(missing)}; audit positions without a gap: {positions}, chain whole: {chain}, events in order of commit: {ordered}"


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).parent if on_path else None


@contextmanager
def postgres_server(folder: str) -> Iterator[str]:
    """A server of our own, every commit synced, ended by its id."""
    programs, user = postgres_programs(), "postgres" if os.geteuid() == 0 else None
    assert programs is not None
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as home, socket.socket() as probe:
        Path(folder).chmod(0o755)
        if user:
            shutil.chown(home, user)
        probe.bind(("127.0.0.1", 0))
        port, data = probe.getsockname()[1], f"{home}/data"
        probe.close()
        made = [programs / "initdb", "-D", data, "-U", "rota", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, user=user, cwd=home, stdout=subprocess.DEVNULL)
        command = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
        with subprocess.Popen(command, user=user, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                while not (pid := Path(data, "postmaster.pid")).exists() or not pid.read_text().rstrip().endswith("ready"):
                    time.sleep(0.05)
                yield f"postgresql://rota@127.0.0.1:{port}/postgres"
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(30)


if __name__ == "__main__":
    main()
