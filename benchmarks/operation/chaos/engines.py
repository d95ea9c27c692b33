"""PostgreSQL, Redis and an S3 server as processes of this machine, each of which can go away for a while and come back."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from benchmarks.operation.chaos.world import until

ROOT = Path(__file__).resolve().parents[3]
KEYS = {"AWS_ACCESS_KEY_ID": "key-of-the-campaign", "AWS_SECRET_ACCESS_KEY": "secret-of-the-campaign", "AWS_REGION": "us-east-1"}


def missing() -> list[str]:
    """The commands that bring what this machine lacks."""
    found = [] if shutil.which("redis-server") else ["apt-get install redis-server"]
    return found if _postgres("postgres") else [*found, "apt-get install postgresql"]


class Engines:
    """The three engines on free ports of 127.0.0.1; Redis keeps nothing on disk, so it comes back empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {name: _free_port() for name in ("postgres", "redis", "s3")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._user = ("postgres" if "postgres" in {each.pw_name for each in pwd.getpwall()} else "nobody") if os.geteuid() == 0 else None

    @property
    def variables(self) -> dict[str, str]:
        """The settings by which a platform uses them."""
        return KEYS | {
            "ROTA_METADATA_URL": f"postgresql://rota@127.0.0.1:{self._ports['postgres']}/postgres",
            "ROTA_ONLINE_URL": f"redis://127.0.0.1:{self._ports['redis']}/0",
            "ROTA_STORAGE_URL": "s3://campaign/rota",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._ports['s3']}",
        }

    def start(self) -> None:
        """Make and start all three."""
        data = self.folder / "postgres"
        data.mkdir()
        if self._user:
            for folder in (self.folder, self.folder.parent):  # the server's user has to reach its own
                folder.chmod(0o755)
            shutil.chown(data, self._user)
        made = [_postgres("initdb"), "-D", str(data), "-U", "rota", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, user=self._user, cwd=data, stdout=subprocess.DEVNULL)
        for name in self._ports:
            self._run(name)
        bucket = urllib.request.Request(f"http://127.0.0.1:{self._ports['s3']}/campaign", method="PUT")
        urllib.request.urlopen(bucket, timeout=60).close()

    def stop(self) -> None:
        """End all three."""
        for process in self._processes.values():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait()

    def outage(self, draw: random.Random) -> str:
        """One engine is away for some seconds: killed and started again, or (S3, whose server keeps all in memory) hanging."""
        name, away_s = draw.choice(list(self._ports)), draw.uniform(2, 12)
        process = self._processes[name]
        if name == "s3":
            process.send_signal(signal.SIGSTOP)
            time.sleep(away_s)
            process.send_signal(signal.SIGCONT)
        else:
            process.send_signal(signal.SIGQUIT if name == "postgres" else signal.SIGKILL)
            process.wait(60)
            time.sleep(away_s)
            self._run(name)
        return f"{name} was away for {away_s:.0f} s"

    def _run(self, name: str) -> None:
        port = str(self._ports[name])
        if name == "postgres":
            command = [_postgres("postgres"), "-D", str(self.folder / "postgres"), "-p", port, "-h", "127.0.0.1", "-k", ""]
            process = subprocess.Popen(command, user=self._user, cwd=self.folder / "postgres", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        elif name == "redis":
            command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        else:
            (self.folder / "s3").mkdir()
            listener = socket.create_server(("127.0.0.1", int(port)))
            program = str(ROOT / "tests" / "engines" / "s3_process.py")
            command = [sys.executable, program, str(listener.fileno()), str(self.folder / "s3"), KEYS["AWS_ACCESS_KEY_ID"]]
            process = subprocess.Popen(command, pass_fds=[listener.fileno()])
            listener.close()
        self._processes[name] = process
        until(lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=5).close() is None, f"{name} answers")


def _postgres(name: str) -> str:
    """Debian keeps PostgreSQL's programs away from PATH."""
    found = [*map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), *filter(None, [shutil.which(name)])]
    return found[-1] if found else ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
