"""What every test stands on: the root of the source tree, settings that do not leak in from the shell, byte code that the programs
inside tests share, homes that are copies, how hard hypothesis looks, and real engines.

A new home's store is a copy of an empty one that was made once, and `told_home` a folder to copy with the records of
`rota.testing.story`: making tables and records anew costs a tenth of a second each time. The tables themselves are tested in
`tests/ports`, in programs that open a home of their own, and in the demo.

An engine is a process of its own on a free port of 127.0.0.1, started when the first test asks for it and ended by its id.
Where its program or library is missing the test is skipped with the command that installs it; `REQUIRE_ENGINES=1` (set by
continuous integration) makes that an error instead.
"""

import hashlib
import importlib.util
import io
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, settings

from rota.errors import Corrupt

START_S = 120
PORT = "PORT"
"""Stands in a command for a port that was free when the program was started."""
ROOT = Path(__file__).resolve().parents[1]

# The programs inside tests import hundreds of modules each. They compile them once, whatever the shell says about byte code;
# the folder is set before xdist starts its workers, so these share it too.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(ROOT / ".pytest_cache" / "bytecode")
sys.dont_write_bytecode = False

# `make test` asks every property of the same few examples, `make slow` of the same many, `make fuzz` of new ones. How long one of them takes
# depends on what else the machine does, and is no fault.
settings.register_profile("few", max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("many", max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("new", max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("few")


@dataclass
class ParsedMetric:
    """A metric as a strict reader of Prometheus' text format 0.0.4 understood it: samples by name and labels."""

    meaning: str
    kind: str
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float]


_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,(?!$)|$)')


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], value)


def parse_metrics(text: str) -> dict[str, ParsedMetric]:
    """Written from the format's description: help, kind and samples of each metric together, each once, and histograms that add up."""
    assert text.endswith("\n")
    found: dict[str, ParsedMetric] = {}
    meaning: dict[str, str] = {}
    name = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, told = line[7:].partition(" ")
            assert name not in meaning, f"{name} comes twice"
            meaning[name] = _unescaped(told)
        elif line.startswith("# TYPE "):
            typed, _, kind = line[7:].partition(" ")
            assert typed == name, line
            assert kind in {"counter", "gauge", "histogram"}, line
            found[name] = ParsedMetric(meaning[name], kind, {})
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            labels, at = [], 0
            while match[2] and at < len(match[2]):
                label = _LABEL.match(match[2], at)
                assert label, line
                labels.append((label[1], _unescaped(label[2])))
                at = label.end()
            assert len({each for each, _ in labels}) == len(labels), line
            kind, suffix = found[name].kind, match[1].removeprefix(name)
            assert match[1].startswith(name), line
            assert suffix in ({"_bucket", "_sum", "_count"} if kind == "histogram" else {""}), line
            key = (match[1], tuple(labels))
            assert key not in found[name].samples, f"{line} comes twice"
            found[name].samples[key] = float(match[3])
            assert kind == "gauge" or found[name].samples[key] >= 0, line
    for name, metric in found.items():
        counts = {labels: value for (sample, labels), value in metric.samples.items() if sample == f"{name}_count"}
        for labels, count in counts.items() if metric.kind == "histogram" else ():
            buckets = [value for (sample, own), value in metric.samples.items() if sample == f"{name}_bucket" and own[:-1] == labels]
            assert buckets == sorted(buckets), name
            assert metric.samples[f"{name}_bucket", (*labels, ("le", "+Inf"))] == count, name
    return found


@pytest.fixture(scope="session")
def parsed_metrics() -> Callable[[str], dict[str, ParsedMetric]]:
    """A strict reader of what a server gives at /metrics."""
    return parse_metrics


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def check_archive() -> Callable[[IO[bytes]], dict[str, Any]]:
    """Reads an archive of artifacts as its receiver would: the manifest, when every member is what it says; `Corrupt` otherwise."""

    def check(file: IO[bytes]) -> dict[str, Any]:
        try:
            with tarfile.open(fileobj=file, mode="r|") as tar:
                first = next(members := iter(tar), None)
                if first is None or first.name != "manifest.json":
                    raise Corrupt("it does not begin with manifest.json")
                manifest = json.loads((tar.extractfile(first) or io.BytesIO()).read())
                expected = {each["path"]: each["digest"] for each in manifest["members"]}
                for member in members:
                    content = tar.extractfile(member)
                    if content is None or expected.pop(member.name, None) != hashlib.sha256(content.read()).hexdigest():
                        raise Corrupt(f"member {member.name!r} is not what the manifest says")
        except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"this is no archive: {error}") from error
        if expected:
            raise Corrupt(f"the archive lacks {sorted(expected)}")
        return dict(manifest)

    return check


@pytest.fixture(autouse=True)
def _no_settings_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("ROTA_", "AWS_")) and not name.startswith("ROTA_FUZZ_"):
            monkeypatch.delenv(name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "fuzz" in getattr(item, "fixturenames", ()):
            item.add_marker("fuzz")


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> Callable[[Callable[[int], object]], None]:
    """Play random worlds, one a seed: the same ones for 20 seconds, or new ones for ROTA_FUZZ_SECONDS. What fails names its seed, and
    ROTA_FUZZ_SEED plays that one alone."""
    alone, seconds = os.environ.get("ROTA_FUZZ_SEED"), os.environ.get("ROTA_FUZZ_SECONDS")
    first = int(alone) if alone else random.SystemRandom().randrange(10**9) if seconds else zlib.crc32(request.node.nodeid.encode())

    def run(play: Callable[[int], object]) -> None:
        until, seed = time.monotonic() + float(seconds or 20), first
        while True:
            try:
                play(seed)
            except BaseException as error:
                error.add_note(f"ROTA_FUZZ_SEED={seed} plays it again")
                raise
            if alone or time.monotonic() >= until:
                return
            seed += 1

    return run


@pytest.fixture
def stores_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes every SQLite store that a test opened by itself; Python 3.13 warns of each that nobody closed."""
    from rota.backends.sql import sqlite  # noqa: PLC0415 - slow to load, and most tests open no store

    opened, make = [], sqlite.make

    def kept(url: Any) -> Any:
        opened.append(make(url))
        return opened[-1]

    monkeypatch.setattr(sqlite, "make", kept)
    yield
    for engine in opened:
        engine.dispose()


@pytest.fixture
def python_steps() -> Callable[[Callable[[], object]], int]:
    """Counts the calls, lines and returns of Python that something takes: what grows with the data, whatever the machine does besides."""

    def counted(action: Callable[[], object]) -> int:
        steps = 0

        def trace(*_: object) -> Any:
            nonlocal steps
            steps += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            action()
        finally:
            sys.settrace(before)
        return steps

    return counted


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store without records, to be copied."""
    from rota.backends.sql.engine import open_engine  # noqa: PLC0415 - slow to load, and most tests open no store

    file = tmp_path_factory.mktemp("empty") / "metadata.db"
    open_engine(file).dispose()
    return file


@pytest.fixture(scope="session")
def _copied_stores(empty_store: Path) -> Iterator[None]:
    """Where this process opens a home without a store, it is given a copy of an empty one."""
    from rota import record_engines  # noqa: PLC0415

    real = record_engines.open_engine

    def open_copy(url: str | Path) -> Any:
        if isinstance(url, Path) and url.parent.is_dir() and not url.exists():
            shutil.copyfile(empty_store, url)
        return real(url)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_engines, "open_engine", open_copy)
        yield


@pytest.fixture(scope="session")
def told_home(_copied_stores: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed home with a story's worth of records, to be copied."""
    from rota import wiring  # noqa: PLC0415
    from rota.settings import Settings  # noqa: PLC0415
    from rota.testing import story  # noqa: PLC0415

    home = tmp_path_factory.mktemp("told") / "home"
    with wiring.opened(Settings(home=home)) as platform:
        story.tell(platform.repositories.metadata, platform.repositories.runs)
    return home


@dataclass(frozen=True)
class S3:
    """A running S3 server with one empty bucket. `env` is what a process needs in its environment to reach it."""

    endpoint: str
    bucket: str
    env: Mapping[str, str]
    folder: Path

    def requests(self) -> list[str]:
        """Every request so far: "METHOD PATH"."""
        return (self.folder / "requests").read_text().splitlines()

    def lose_answer(self, pattern: str) -> None:
        """Let the next request whose "METHOD PATH" matches be carried out but answered by an error."""
        (self.folder / "lose").write_text(pattern)

    def url(self) -> str:
        """A place within the bucket that no other test uses: s3://bucket/..."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """Moto's S3 server. Use `s3_env` besides where the test's own process talks to it."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask_cors") is None:
        _missing("moto's server", "pip install 'moto[s3]' flask flask-cors")
    with tempfile.TemporaryDirectory() as folder:
        listener = socket.create_server(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "key-of-the-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests", "AWS_REGION": "us-east-1"}
        program = str(Path(__file__).parent / "engines" / "s3_process.py")
        command = [sys.executable, program, str(listener.fileno()), folder, keys["AWS_ACCESS_KEY_ID"]]
        with listener, _running(command, lambda _: True, pass_fds=[listener.fileno()]):
            bucket = urllib.request.Request(f"{endpoint}/rota-tests", method="PUT")
            urllib.request.urlopen(bucket, timeout=START_S).close()
            yield S3(endpoint, "rota-tests", {**keys, "AWS_ENDPOINT_URL": endpoint}, Path(folder))


@pytest.fixture
def s3_env(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The S3 server, with its address and keys in this process's environment."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis (or Valkey) that keeps nothing on disk: redis://127.0.0.1:PORT/0."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        _missing("redis-server", "apt-get install redis-server")
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", PORT, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        with _running(command, _redis_ready) as port:
            yield f"redis://127.0.0.1:{port}/0"


class RedisServer:
    """A real Redis of one test, which may be killed and started again on the same port; it keeps in `folder` what it saves."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self._port = _free_port()
        self._command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_S
        while not _redis_ready(Started(self._process, self._port)):
            assert self._process.poll() is None and time.monotonic() < until, "redis-server does not answer"  # noqa: PT018 - one reason to end
            time.sleep(0.05)

    def send(self, what: signal.Signals) -> None:
        """Send the server a signal: SIGSTOP makes it a server that takes what is sent and answers nothing."""
        assert self._process is not None
        self._process.send_signal(what)

    def kill(self) -> None:
        """As a power cut does: nothing is saved on the way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of one's own, started when it is told to."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        _missing("redis-server", "apt-get install redis-server")
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(program, folder)
    yield server
    server.kill()


class PostgresServer:
    """A PostgreSQL that a test starts and ends as it likes, under one address: postgresql://rota@127.0.0.1:PORT/postgres."""

    def __init__(self, folder: str) -> None:
        self._user, self._data, self._folder = _unprivileged_user(), f"{folder}/data", folder
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        _new_postgres(folder)

    @property
    def url(self) -> str:
        return f"postgresql://rota@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        command = _postgres_command(self._data, str(self._port))
        self._process = subprocess.Popen(command, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + START_S
        while not _postgres_ready(self._data):
            assert self._process.poll() is None and time.monotonic() < until, "postgres does not answer"  # noqa: PT018 - one reason to end
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None


def _new_postgres(folder: str) -> None:
    """The files of a new PostgreSQL, in the folder `data` of one that becomes its user's."""
    user = _unprivileged_user()
    if user:
        shutil.chown(folder, user)
    made = [_postgres_program("initdb"), "-D", f"{folder}/data", "-U", "rota", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    subprocess.run(made, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)


def _postgres_command(data: str, port: str) -> list[str]:
    return [_postgres_program("postgres"), "-D", data, "-p", port, "-h", "127.0.0.1", "-k", "", "-c", "fsync=off"]


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of one's own, started when it is told to."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # tmp_path is closed to PostgreSQL's user
        server = PostgresServer(folder)
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL without a password: postgresql://rota@127.0.0.1:PORT/postgres."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        _new_postgres(folder)
        data, user = f"{folder}/data", _unprivileged_user()
        command = _postgres_command(data, PORT)
        with _running(command, lambda _: _postgres_ready(data), user=user, cwd=folder, stop=signal.SIGINT) as port:
            yield f"postgresql://rota@127.0.0.1:{port}/postgres"


@dataclass(frozen=True)
class Started:
    """A process that is to answer on a port."""

    process: "subprocess.Popen[bytes]"
    port: int


@contextmanager
def _running(
    command: list[str], answers: Callable[[Started], bool], *, stop: signal.Signals = signal.SIGTERM, tries: int = 5, **options: Any
) -> Iterator[int]:
    """The port of a process that answered once, ended by its id whatever happens. A port that somebody else took meanwhile is replaced."""
    port = _free_port()
    words = [word.replace(PORT, str(port)) for word in command]
    with tempfile.TemporaryFile() as output, subprocess.Popen(words, stdout=output, stderr=output, **options) as process:
        try:
            until = time.monotonic() + START_S
            while process.poll() is None and not answers(Started(process, port)):
                assert time.monotonic() < until, f"{command[0]} does not answer"
                time.sleep(0.05)
            if process.poll() is None:
                yield port
                return
            output.seek(0)
            text = output.read()[-2_000:].decode(errors="replace")
        finally:
            process.send_signal(stop)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
    if PORT not in command or not tries:
        pytest.fail(f"{command[0]} did not start: {text}")
    with _running(command, answers, stop=stop, tries=tries - 1, **options) as another:
        yield another


def _missing(what: str, command: str) -> None:
    message = f"{what} is not installed here; to run this test: {command}"
    if os.environ.get("REQUIRE_ENGINES"):
        pytest.fail(message)
    pytest.skip(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _redis_ready(started: Started) -> bool:
    """Whether this very process listens, and not another run's that was quicker to take the port."""
    try:
        with socket.create_connection(("127.0.0.1", started.port), timeout=START_S) as connection:
            connection.sendall(b"INFO server\r\nQUIT\r\n")
            told = b"".join(iter(lambda: connection.recv(65_536), b""))
    except OSError:
        return False
    return f"process_id:{started.process.pid}\r\n".encode() in told


def _postgres_program(name: str) -> str:
    """Debian keeps PostgreSQL's programs away from PATH."""
    found = [*map(str, sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), *filter(None, [shutil.which(name)])]
    if not found:
        _missing("PostgreSQL", "apt-get install postgresql")
    return found[-1]


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root: the user it is to run as then."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _postgres_ready(data: str) -> bool:
    """The last line of its lock file says so; until then connections may be refused."""
    with suppress(OSError):
        return Path(data, "postmaster.pid").read_text().rstrip().endswith("ready")
    return False
