"""Registration, decisions and alias moves by several processes at once, one of them killed half-way: no half state, nothing acknowledged lost."""

import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from rota import wiring
from rota.errors import NotFound
from rota.manage.experiments import artifacts
from rota.manage.governance import alias_moves
from rota.manage.lineage.audit_chain import verify_audit
from rota.manage.models import model_versions, registered_models
from rota.records.kinds import node
from rota.records.model import Alias, Approval, ModelVersion, RegisteredModel
from rota.records.tracking import ExperimentRun
from rota.settings import Settings
from rota.testing.story import NOON_US

RUN = "a" * 32
PROCESS = """
import sys
from pathlib import Path
from rota import wiring
from rota.manage.governance import alias_moves, decisions
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_versions, registered_models
from rota.settings import Settings

home, url, run, name, rounds = sys.argv[1:]
with wiring.opened(Settings(home=Path(home), metadata_url=url)) as platform:
    r = platform.repositories
    for turn in range(int(rounds)):
        made = model_versions.create(r, model="delay", source=f"runs:/{run}/model", actor=name)
        print("registered", made.number, flush=True)
        decisions.decide(r, "delay", made.number, ReviewDecision("approve", f"rosa of {name}", f"round {turn}"))
        print("approved", made.number, flush=True)
        alias_moves.move(r, "delay", "champion", made.number, actor=name, reason=name, may_release=True)
        print("moved", made.number, flush=True)
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """A home, and the URL of its metadata ("": SQLite in the home), with a model and a tracked run that has three files."""
    url = ""
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgres_url"))
    with wiring.opened(Settings(home=tmp_path, metadata_url=url)) as platform:
        r = platform.repositories
        registered_models.create(r.metadata, RegisteredModel("delay"), actor="anna", now_us=NOON_US)
        run = ExperimentRun(RUN, "0", "trees", "finished", NOON_US)
        r.tracking.create_run(run)
        for name in ("MLmodel", "model.bin", "requirements.txt"):
            artifacts.store(r, artifacts.run_root(run), f"model/{name}", [name.encode()])
    return tmp_path, url


def new_database(url):
    """A database of its own on the shared server."""
    psycopg = pytest.importorskip("psycopg")
    name = f"registry_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.rpartition("/")[0].replace("postgresql://", "postgresql+psycopg://") + f"/{name}"


def start(place, name, rounds):
    home, url = place
    return subprocess.Popen([sys.executable, "-c", PROCESS, str(home), url, RUN, name, str(rounds)], stdout=subprocess.PIPE, text=True)


def examine(place, acknowledged):
    """The invariants of the registry, and that everything acknowledged is there. Returns the numbers of versions."""
    home, url = place
    with wiring.opened(Settings(home=Path(home), metadata_url=url)) as platform:
        metadata = platform.repositories.metadata
        versions = metadata.find(ModelVersion, {"model": "delay"}, order="number")
        numbers = [version.number for version in versions]
        assert numbers == list(range(1, len(numbers) + 1))
        assert [e.body["number"] for e in metadata.events(0) if e.kind == "version.registered"] == numbers
        for version in versions:
            assert [file.path for file in artifacts.files(metadata, version.artifacts)] == ["MLmodel", "model.bin", "requirements.txt"]
            assert {edge.cause for edge in metadata.edges([node(version)], "causes")} == {f"experiment_run:{RUN}"}
        approved = sorted(approval.number for approval in metadata.find(Approval))
        assert [v.number for v in versions if v.status == "approved"] == approved
        moves = alias_moves.history(metadata, "delay", "champion")
        assert [move.move for move in moves] == list(range(1, len(moves) + 1))
        assert [move.before for move in moves] == [0, *(move.number for move in moves)][: len(moves)]
        alias = metadata.get(Alias, "delay", "champion")
        assert (alias.number if alias else 0) == (moves[-1].number if moves else 0)
        actions = [entry.action for entry in metadata.audit(limit=100_000)]
        assert actions.count("version.register") == len(numbers)
        assert actions.count("version.approve") == len(approved)
        assert actions.count("alias.move") == len(moves)
        assert verify_audit(metadata).reason == ""
        found = {"registered": set(numbers), "approved": set(approved), "moved": {move.number for move in moves}}
        for what, number in acknowledged:
            assert number in found[what], (what, number)
    return numbers


def told(lines):
    return [(what, int(number)) for what, number in (line.split() for line in lines if line.endswith("\n"))]


@pytest.mark.parametrize("after", [1, pytest.param(5, marks=pytest.mark.slow), pytest.param(9, marks=pytest.mark.slow)])
def test_a_process_killed_while_it_registers_approves_and_moves_leaves_whole_states_only(place, after):
    process = start(place, "one", 10_000)
    try:
        lines = [process.stdout.readline() for _ in range(after)]
    finally:
        process.kill()
    rest = process.stdout.readlines()
    process.wait()
    process.stdout.close()
    assert examine(place, told(lines + rest))


@pytest.mark.slow
def test_processes_at_once_share_the_numbers_and_lose_nothing(place):
    processes = [start(place, f"p{number}", 4) for number in range(3)]
    acknowledged = []
    for process in processes:
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0
        acknowledged += told(out.splitlines(keepends=True))
    assert len(acknowledged) == 3 * 4 * 3
    assert len(examine(place, acknowledged)) == 12


def test_a_version_whose_files_change_while_it_is_registered_has_one_state_of_them(place, monkeypatch):
    home, url = place
    with wiring.opened(Settings(home=home, metadata_url=url)) as platform:
        r = platform.repositories
        root = artifacts.run_root(r.tracking.run(RUN))
        taken = artifacts.snapshot

        def changed_meanwhile(*given, **told):
            copies = taken(*given, **told)
            monkeypatch.setattr(artifacts, "snapshot", taken)
            artifacts.store(r, root, "model/model.bin", [b"newer"])
            return copies

        monkeypatch.setattr(artifacts, "snapshot", changed_meanwhile)
        version = model_versions.create(r, model="delay", source=f"runs:/{RUN}/model", actor="anna")
        assert b"".join(artifacts.read(r, version.artifacts, "model.bin")) == b"newer"
        with pytest.raises(NotFound):
            model_versions.get(r.metadata, "delay", version.number + 1)
