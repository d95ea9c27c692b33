"""What kill -9 leaves of a table, in a directory and in a bucket: the version before or the one after, and nothing twice.

A child appends, compacts and drops in turn and says what it has been promised; it is killed at a random moment, many times.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.storage.s3_bucket import open_bucket
from rota.backends.storage.s3_tables import S3Tables
from rota.testing.tables import ids_of

pytestmark = pytest.mark.slow

KINDS = [("directory", 4), ("bucket", 3)]
MANY = [("directory", 40), ("bucket", 20)]

CHILD = """
import os, sys
from pathlib import Path
import polars as pl
from rota.backends.storage.delta_tables import DeltaTables


def opened(place):
    if place.startswith("s3://"):
        from rota.backends.storage.s3_bucket import open_bucket
        from rota.backends.storage.s3_tables import S3Tables
        return DeltaTables(S3Tables(open_bucket(place)))
    return DeltaTables(Path(place))

tables = opened(sys.argv[1])
os.write(1, b"ready\\n")
number = tables.sequence("log", "drain")
while True:
    number += 1
    tables.append("log", pl.DataFrame({"id": range(number * 10, number * 10 + 10)}), batch=("drain", number))
    os.write(1, b"appended %d\\n" % number)
    if number % 3 == 2:
        tables.compact("log")
        os.write(1, b"compacted\\n")
    if number % 12 == 11 and sys.argv[2] == "drop":
        os.write(1, b"dropping\\n")
        tables.drop("log")
        os.write(1, b"dropped\\n")
        number = -1
"""

Opener = Callable[[], DeltaTables]


@pytest.fixture(params=[*KINDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in MANY)], ids=lambda kind: f"{kind[0]}, {kind[1]} kills")
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Opener, int]:
    """The address for the child, how this process opens the same tables anew, and how often to kill."""
    kind, rounds = request.param
    if kind == "directory":
        return str(tmp_path), lambda: DeltaTables(tmp_path), rounds
    s3: Any = request.getfixturevalue("s3_env")
    url = s3.url()
    return url, lambda: DeltaTables(S3Tables(open_bucket(url, s3.env))), rounds


def killed(place: str, mode: str, after_lines: int, extra_s: float) -> list[str]:
    """What the child said until it was killed `extra_s` after so many lines."""
    with subprocess.Popen([sys.executable, "-c", CHILD, place, mode], stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = b"".join(process.stdout.readline() for _ in range(after_lines))
        time.sleep(extra_s)  # the moment of death is what is random here
        os.kill(process.pid, 9)
        said += process.stdout.read()
    assert process.returncode == -9
    return [line.decode() for line in said.split(b"\n")[:-1]][1:]


def ten(number: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(number * 10, number * 10 + 10)})


def test_killed_while_appending_and_compacting(place: tuple[str, Opener, int]) -> None:
    address, opened, rounds = place
    appended = -1
    for _ in range(rounds):
        said = killed(address, "keep", after_lines=random.randint(1, 6), extra_s=random.random() / 10)
        appended = max([appended, *(int(line.split()[1]) for line in said if line.startswith("appended"))])
        tables = opened()
        last = tables.sequence("log", "drain")
        assert appended <= last <= appended + 1
        stored = ids_of(tables.scan("log")) if last >= 0 else []
        assert stored == list(range(10 * (last + 1)))
        for number in range(max(0, last), last + 2):  # whoever was killed sends again what was not acknowledged
            tables.append("log", ten(number), batch=("drain", number))
        appended = last + 1
        assert ids_of(opened().scan("log")) == list(range(10 * (appended + 1)))
    newest = opened().version("log")
    assert newest is not None
    for version in range(0, newest, 7):
        assert len(ids_of(opened().scan("log", version=version))) % 10 == 0


def test_killed_while_dropping(place: tuple[str, Opener, int]) -> None:
    address, opened, rounds = place
    opened().append("log", ten(0), batch=("drain", 0))
    for _ in range(rounds):
        opened().append("log", pl.DataFrame({"id": range(10, 110)}), batch=("drain", 10))
        drop_s = 0.06 if address.startswith("s3://") else 0.004  # about what a drop takes
        said = killed(address, "drop", after_lines=4, extra_s=random.random() * drop_s)
        assert said[:3] == ["appended 11", "compacted", "dropping"]
        tables = opened()
        version, last = tables.version("log"), tables.sequence("log", "drain")
        assert tables.tables() == ([] if version is None else ["log"])
        if "dropped" not in said and version is not None and last >= 11:
            assert ids_of(tables.scan("log")) == list(range(120))
        elif version is not None:  # dropped, and begun anew before the kill
            assert ids_of(tables.scan("log")) == list(range(10 * (last + 1)))
        tables.drop("log")
        assert opened().version("log") is None
        assert opened().append("log", ten(0), batch=("drain", 0)) == 0
        assert ids_of(opened().scan("log")) == list(range(10))
    opened().drop("log")
    assert opened().tables() == []
