"""What is captured without being asked, so that a run can be read, compared and executed again years later."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

import rota
import rota.wiring
from rota.backends.memory.blobs import MemoryBlobs
from rota.manage.experiments import git_patch
from rota.manage.experiments.provenance import MASK, capture, captured, installed_packages, masked, public_address
from rota.records.filters import Query
from rota.records.tracking import ArtifactFile


def git(folder, *arguments):
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True).stdout


@pytest.fixture
def tree(tmp_path):
    """A work tree with one commit."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "train.py").write_text("depth = 4\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("*.env\nignored.py\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


def test_the_facts_of_a_process_are_captured(tree):
    blobs = MemoryBlobs()
    git(tree, "remote", "add", "origin", "https://ada:secret@git.example.org/team/project.git?token=t")
    facts = capture(blobs, tree, seeds=[7, 11], command=[str(tree / "train.py"), "--depth", "8"])
    assert facts["commit"] == git(tree, "rev-parse", "HEAD").decode().strip()
    assert (facts["branch"], facts["dirty"], facts["repository"]) == ("main", "no", "https://git.example.org/team/project.git")
    assert (facts["script"], facts["seeds"], facts["source_type"]) == ("train.py", "7, 11", "LOCAL")
    assert facts["command"].endswith("train.py --depth 8")
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert int(facts["cpus"]) == os.cpu_count()
    packages = blobs.get(facts["packages"]).decode().splitlines()
    assert any(line.startswith("msgspec==") for line in packages)
    assert packages == sorted(packages)
    assert "diff" not in facts
    assert "lock" not in facts


def test_the_lock_of_the_project_is_kept_where_there_is_one(tree):
    blobs = MemoryBlobs()
    (tree / "requirements.txt").write_text("numpy==2.0.0\n")
    (tree / "deep").mkdir()
    facts = capture(blobs, tree / "deep")
    assert (facts["lock_file"], blobs.get(facts["lock"])) == ("requirements.txt", b"numpy==2.0.0\n")


def test_the_patch_and_the_commit_give_the_files_that_ran(tree, tmp_path):
    (tree / "train.py").write_text("depth = 8\n")
    (tree / "weights.bin").write_bytes(bytes(reversed(range(256))))
    (tree / "new folder").mkdir()
    (tree / "new folder" / "helper ü.py").write_text("x = 1\n")
    (tree / "staged.py").write_text("staged\n")
    git(tree, "add", "staged.py")
    (tree / "secrets.env").write_text("KEY=1")
    (tree / "key.pem").write_text("PRIVATE")
    before = git(tree, "status", "--porcelain=v2", "--untracked-files=all")
    changes = git_patch.of(tree)
    assert git(tree, "status", "--porcelain=v2", "--untracked-files=all") == before, "looking changes nothing"
    again = tmp_path / "again"
    git(tmp_path, "clone", "--quiet", str(tree), str(again))
    subprocess.run(["git", "-C", str(again), "apply", "--binary", "-"], input=changes.patch, check=True)
    for name in ("train.py", "weights.bin", "new folder/helper ü.py", "staged.py"):
        assert (again / name).read_bytes() == (tree / name).read_bytes(), name
    assert not (again / "key.pem").exists()
    assert not (again / "secrets.env").exists()
    assert changes.note.startswith("1 untracked files that are no source")


def test_equal_changes_have_equal_digests(tree):
    (tree / "train.py").write_text("depth = 8\n")
    blobs = MemoryBlobs()
    assert capture(blobs, tree)["diff"] == capture(blobs, tree)["diff"]


def test_changes_beyond_all_measure_are_only_noted(tree, monkeypatch):
    monkeypatch.setattr(git_patch, "MAX_PATCH", 1_000)
    (tree / "train.py").write_text("depth = 8\n" * 1_000)
    changes = git_patch.of(tree)
    assert (changes.patch, changes.note) == (b"", "the local changes have more than 1000 bytes and are not kept")
    monkeypatch.setattr(git_patch, "MAX_NEW_FILE", 10)
    git(tree, "checkout", "--quiet", "train.py")
    (tree / "big.py").write_text("x" * 11)
    assert git_patch.of(tree).patch == b""


def test_a_detached_commit_has_no_branch_and_no_repository_no_commit(tree, tmp_path):
    git(tree, "checkout", "--quiet", "--detach")
    assert capture(MemoryBlobs(), tree).get("branch", "") == ""
    empty = tmp_path / "empty"
    empty.mkdir()
    facts = capture(MemoryBlobs(), empty)
    assert ("commit" in facts, facts["dirty"]) == (False, "unknown")
    git(empty, "init", "--quiet")
    assert "commit" not in capture(MemoryBlobs(), empty)


def test_the_commit_is_captured_and_whether_files_differ_from_it(tree):
    clean = captured(tree, [])
    assert (len(clean["commit"]), clean["dirty"]) == (40, "no")
    (tree / "train.py").write_text("changed\n")
    assert captured(tree, []) == {**clean, "dirty": "yes"}


def test_equal_environments_have_equal_digests():
    assert installed_packages() == installed_packages()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("train.py --token abc --depth 8", f"train.py --token {MASK} --depth 8"),
        ("train.py --api-key=abc", f"train.py --api-key={MASK}"),
        ("train.py --db-password abc", f"train.py --db-password {MASK}"),
        ("train.py AWS_SECRET_ACCESS_KEY=abc", f"train.py AWS_SECRET_ACCESS_KEY={MASK}"),
        ("train.py --db postgresql://ada:abc@db/x", f"train.py --db postgresql://{MASK}@db/x"),
        ("train.py --token --depth 8", "train.py --token --depth 8"),
        ("train.py --author ada", "train.py --author ada"),
        ("train.py --tokenizer bert --max-tokens 512", "train.py --tokenizer bert --max-tokens 512"),
        ("train.py --primary-key id --hf_token abc", f"train.py --primary-key id --hf_token {MASK}"),
    ],
)
def test_what_looks_like_a_secret_is_masked(given, shown):
    assert " ".join(masked(given.split())) == shown


def test_addresses_lose_their_credentials():
    assert public_address("https://x-token:abc@host:8443/a.git") == "https://host:8443/a.git"
    assert public_address("git@host:team/a.git") == "git@host:team/a.git"


def test_no_environment_variable_is_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "the-secret-of-the-test")
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.chdir(tmp_path)
    with rota.track("e", home=tmp_path / "home") as run:
        pass
    assert run.source["hash_seed"] == "0"
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file() and b"the-secret-of-the-test" in path.read_bytes()]


CELLS = [
    "import rota\ndepth = 8",
    "with rota.track('notes', home='home') as run:\n    run.log_params(depth=depth)",
    "later = rota.track('notes', 'over cells', home='home')\nopened = later.__enter__()",
    "opened.log_metric('loss', 0.5)",
    "later.__exit__(None, None, None)\nassert rota.current_run() is None",
]


@pytest.mark.slow
def test_a_notebooks_cells_are_kept_with_its_run(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    environment = {**os.environ, "JPY_SESSION_NAME": "/notes/late flights.ipynb", "IPYTHONDIR": str(tmp_path / "ipython")}
    client = NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    with rota.wiring.opened(rota.Settings(home=tmp_path / "home")) as platform:
        r = platform.repositories
        experiment = r.tracking.experiment_named("notes").id
        runs = {run.name: run for run in r.tracking.search_runs([experiment], Query()).items}
        assert {run.status for run in runs.values()} == {"finished"}
        across = runs.pop("over cells")
        (first,) = runs.values()
        assert (first.source["notebook"], first.source["source_type"]) == ("/notes/late flights.ipynb", "NOTEBOOK")
        assert sources(r.blobs.get(first.source["notebook_source"])) == CELLS[:2]
        assert across.metrics == {"loss": 0.5}
        file = r.metadata.get(ArtifactFile, f"{across.experiment}/{across.id}/artifacts", "notebook.ipynb")
        assert sources(r.blobs.get(file.digest)) == CELLS, "a run that spans cells has all of them"


def sources(data):
    book = nbformat.reads(data.decode(), as_version=4)
    nbformat.validate(book)
    assert json.loads(data)["nbformat"] == 4
    return [cell["source"] for cell in book.cells]
