"""A platform that runs for as long as a `with` block: `rota up` as a child of this process."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rota.client import Client
from rota.errors import Unavailable
from rota.settings import load
from rota.supervisor.processes import as_environment
from rota.supervisor.shutdown import end_home

START_S = 60.0
STOP_S = 20.0


@contextmanager
def up(home: str | Path = ".rota", *, keep: bool = False, **settings: Any) -> Iterator[Client]:
    """Start `rota up` on a home, wait until it answers, and stop it at the end (`keep` leaves it running).

    Its log goes to HOME/up.log. Raises `Unavailable` with the log's end when it does not come up.
    """
    configured = load(home=Path(home), **settings)
    configured.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = configured.home / "up.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rota.cli", "up"],
            env=as_environment(configured),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    client = Client(configured.home, host=configured.host)
    try:
        _await(process, client, log)
        yield client
    finally:
        client.close()
        if not keep:
            _end(process, configured.home)


def _end(process: subprocess.Popen[bytes], home: Path) -> None:
    """Stop it with all that it started, also when it does not answer any more."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        with suppress(Unavailable):
            end_home(home)


def _await(process: subprocess.Popen[bytes], client: Client, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        if process.poll() is not None:
            raise Unavailable(f"`rota up` ended at once with exit code {process.returncode}; the end of {log}:\n{_tail(log)}")
        try:
            client.get("/healthz")
        except Unavailable:
            if time.monotonic() > deadline:
                _end(process, client.home)
                raise Unavailable(f"`rota up` did not answer within {START_S:g} s; the end of {log}:\n{_tail(log)}") from None
        else:
            return


def _tail(log: Path) -> str:
    return log.read_bytes()[-2_000:].decode(errors="replace")
