"""A tracked run is executed again from its commit, local changes and packages, and then and now are compared."""

import json
import os
import subprocess
import sys

import msgspec
import pytest

from rota.develop import reproduction, run_search
from rota.develop.reproduction import ReproduceOptions
from rota.errors import Refused
from rota.settings import Settings
from rota.wiring import opened

SCRIPT = """
import random, sys, rota
from helper import OFFSET
with rota.track("dice", "roll", seeds=[7]) as run:
    draw = random.Random(7)
    run.log_params(sides=sys.argv[1])
    run.log_metric("sum", sum(draw.randint(1, int(sys.argv[1])) for _ in range(10)) + OFFSET)
    run.log_text("same every time", "notes/a.txt")
"""


@pytest.fixture
def project(tmp_path):
    return project_in(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A home and its tracked run, for tests that change neither; the folder around both is its parent's."""
    folder = tmp_path_factory.mktemp("kept")
    return folder / "home", tracked(project_in(folder), folder / "home")


def project_in(tmp_path):
    """A repository with a script in a folder, committed, then changed: one file edited, one new."""
    folder = tmp_path / "project" / "code"
    folder.mkdir(parents=True)
    (folder / "roll.py").write_text(SCRIPT)
    (folder / "helper.py").write_text("OFFSET = 0\n")
    git(tmp_path / "project", "init", "--quiet")
    git(tmp_path / "project", "add", "--all")
    git(tmp_path / "project", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first")
    (folder / "helper.py").write_text("from more import OFFSET\n")
    (folder / "more.py").write_text("OFFSET = 1_000\n")
    return tmp_path / "project"


def git(folder, *arguments):
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, timeout=300)


def tracked(project, home, script="roll.py", *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")} | {"ROTA_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, script, *(arguments or ("6",))],
        cwd=project / "code",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with opened(Settings(home=home)) as platform:
        return run_search.runs(platform.repositories.tracking, experiments=["dice"]).items[0]


def again(home, run, **asked):
    with opened(Settings(home=home)) as platform:
        return reproduction.reproduce(platform.repositories, run, ReproduceOptions(home, **asked))


def test_a_run_is_reproduced_with_its_local_changes_after_the_code_has_moved_on(project, tmp_path):
    home = tmp_path / "home"
    run = tracked(project, home)
    assert run.metrics["sum"] > 1_000
    (project / "code" / "more.py").unlink()
    (project / "code" / "helper.py").write_text("OFFSET = -5\n")
    git(project, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--all", "-m", "second")
    done = again(home, run)
    assert done.matches
    assert done.run != run.id
    found = {(finding.what, finding.name): (finding.then, finding.now, finding.verdict) for finding in done.findings}
    assert found["metric", "sum"] == (run.metrics["sum"], run.metrics["sum"], "equal")
    assert found["parameter", "sides"] == ("6", "6", "equal")
    assert found["artifact", "notes/a.txt"][2] == "equal"
    assert found["environment", "packages"][2] == "equal"
    with opened(Settings(home=home)) as platform:
        assert platform.repositories.tracking.run(done.run).tags[reproduction.REPRODUCES] == run.id
    assert (project / "code" / "helper.py").read_text() == "OFFSET = -5\n", "the work tree of the user is not touched"


@pytest.mark.slow
def test_a_run_that_depends_on_chance_differs_and_is_named(project, tmp_path):
    (project / "code" / "more.py").write_text("import uuid\nOFFSET = uuid.uuid4().int % 10**9\n")
    home = tmp_path / "home"
    done = again(home, tracked(project, home))
    assert not done.matches
    assert [finding.name for finding in done.findings if finding.verdict == "differs" and finding.what == "metric"] == ["sum"]


@pytest.mark.slow
def test_the_command_prints_what_was_compared_and_ends_with_the_verdict(project, tmp_path):
    home = tmp_path / "home"
    run = tracked(project, home)
    command = [sys.executable, "-m", "rota.cli", "--home", str(home), "runs", "reproduce", run.id[:8], "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["of"] == run.id


def test_a_failing_script_says_why(project, tmp_path):
    home = tmp_path / "home"
    (project / "code" / "more.py").write_text("import os\nOFFSET = int(os.environ.get('DICE', '1'))\n")
    run = tracked(project, home)
    os.environ["DICE"] = "no number"
    try:
        with pytest.raises(Refused, match="invalid literal for int"):
            again(home, run)
    finally:
        del os.environ["DICE"]


def test_code_outside_of_version_control_cannot_be_reproduced(tmp_path):
    home, folder = tmp_path / "home", tmp_path / "code"
    folder.mkdir()
    (folder / "roll.py").write_text(SCRIPT)
    (folder / "helper.py").write_text("OFFSET = 0\n")
    with pytest.raises(Refused, match=r"lay in no Git work tree|not started by a script"):
        again(home, tracked(tmp_path, home))


def test_a_command_with_a_secret_is_refused_because_it_was_not_stored(project, tmp_path):
    home = tmp_path / "home"
    run = tracked(project, home, "roll.py", "6", "--token", "s3cr3t")
    assert "s3cr3t" not in json.dumps(dict(run.source))
    with pytest.raises(Refused, match="held a secret"):
        again(home, run)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("commit", "--upload-pack=touch planted"),
        ("repository", "ext::sh -c 'touch planted'"),
        ("repository", "--config=core.fsmonitor=planted"),
        ("script", "../../outside.py"),
        ("script", "/tmp/outside.py"),
        ("script", "-c.py"),
        ("folder", "../.."),
        ("python", "/tmp/planted/python"),
        ("worktree", "-planted"),
    ],
)
def test_facts_that_somebody_planted_reach_no_command_line(kept, fact, value):
    home, run = kept
    planted = msgspec.structs.replace(run, source={**run.source, fact: value})
    with opened(Settings(home=home)) as platform, pytest.raises(Refused, match=fact):
        reproduction.reproduce(platform.repositories, planted, ReproduceOptions(home))
    assert not list(home.parent.rglob("planted"))


@pytest.mark.slow
def test_another_environment_is_made_from_the_lock(project, tmp_path):
    """The run's packages are not this interpreter's: an environment of them is made, and used again the second time."""
    home = tmp_path / "home"
    run = tracked(project, home)
    with opened(Settings(home=home)) as platform:
        blobs = platform.repositories.blobs
        fewer = b"".join(line for line in blobs.get(run.source["packages"]).splitlines(keepends=True) if not line.startswith(b"sympy=="))
        changed = {**run.source, "packages": blobs.put(fewer.replace(b"pytest==", b"# pytest=="))}
    told = []
    other = msgspec.structs.replace(run, source=changed)
    with opened(Settings(home=home)) as platform:
        done = reproduction.reproduce(platform.repositories, other, ReproduceOptions(home), progress=told.append)
        assert done.matches
        assert any("making an environment" in line for line in told)
        told.clear()
        assert reproduction.reproduce(platform.repositories, other, ReproduceOptions(home), progress=told.append).matches
    assert not any("making an environment" in line for line in told)
