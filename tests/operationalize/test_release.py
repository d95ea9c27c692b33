"""Releases: equal trees are one release, another byte another; unpacking is whole or not at all."""

import os
import shutil
import subprocess
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.storage.blob_directory import BlobDirectory
from rota.errors import Corrupt, InvalidInput, NotFound
from rota.operationalize import release as releases
from rota.operationalize.release import build, unpack

FILES = {"project.py": "import rota\n", "features/views.py": "x = 1\n", "requirements.txt": "rota==0.1\n", "README.md": "# tür\n"}


@pytest.fixture
def blobs():
    return MemoryBlobs()


@pytest.fixture
def tree(tmp_path):
    return plant(tmp_path / "flights")


def plant(folder, files=FILES):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def names(blobs, release):
    return zipfile.ZipFile(BytesIO(blobs.get(release.bundle))).namelist()


def made(blobs, folder):
    return build(blobs, folder / "project.py", now_us=1)


def test_a_release_is_its_sources_lock_and_python(blobs, tree):
    release = made(blobs, tree)
    assert names(blobs, release) == sorted(FILES)
    assert (release.project, release.module, release.created_us) == ("flights", "project", 1)
    assert release.lock != ""
    assert release.python.startswith("3.")
    assert (release.commit, release.dirty) == ("", False)


def test_equal_trees_are_one_release_wherever_and_whenever(blobs, tree, tmp_path):
    release = made(blobs, tree)
    twin = plant(tmp_path / "elsewhere" / "deep", dict(reversed(FILES.items())))
    for path in [*twin.rglob("*"), twin]:
        os.utime(path, (1, 1))
    (twin / "project.py").chmod(0o755)
    other = build(blobs, twin / "project.py", now_us=99)
    assert (other.digest, other.bundle) == (release.digest, release.bundle)
    assert set(blobs.digests()) == {release.bundle, release.lock}


@pytest.mark.parametrize("name", FILES)
def test_another_byte_anywhere_is_another_release(blobs, tree, name):
    before = made(blobs, tree)
    (tree / name).write_text(FILES[name][:-1] + " ")
    assert made(blobs, tree).digest != before.digest


def test_another_name_place_or_project_file_is_another_release(blobs, tree):
    digests = [made(blobs, tree).digest]
    (tree / "features" / "views.py").rename(tree / "features" / "view.py")
    digests.append(made(blobs, tree).digest)
    (tree / "features" / "view.py").rename(tree / "view.py")
    digests.append(made(blobs, tree).digest)
    digests.append(build(blobs, tree / "view.py", now_us=1).digest)
    assert len(set(digests)) == 4


def test_what_is_no_source_does_not_count(blobs, tree):
    before = made(blobs, tree)
    plant(tree, {".rota/x.py": "", ".git/x.py": "", "__pycache__/x.py": "", "data.parquet": "", "node_modules/x.json": "", ".env": "SECRET=1"})
    plant(tree, {"venv/pyvenv.cfg": "", "venv/lib/x.py": "", "home/metadata.db": "", "home/releases/x/project.py": ""})
    os.mkfifo(tree / "pipe.py")
    assert made(blobs, tree) == before


def test_links_are_not_followed(blobs, tree, tmp_path):
    before = made(blobs, tree)
    secret = plant(tmp_path / "secret", {"key.txt": "s3cret"})
    (tree / "key.txt").symlink_to(secret / "key.txt")
    (tree / "folder").symlink_to(secret)
    (tree / "circle").symlink_to(tree)
    (tree / "broken.py").symlink_to("nowhere.py")
    assert made(blobs, tree) == before
    assert b"s3cret" not in blobs.get(before.bundle)


def test_data_among_the_sources_is_refused_before_it_is_read(blobs, tree):
    with (tree / "huge.json").open("wb") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(InvalidInput, match=r"more than 50000000 bytes of sources at .*huge\.json"):
        made(blobs, tree)
    assert list(blobs.digests()) == []


def test_a_file_name_that_is_no_text_is_refused(blobs, tree):
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff.py")).touch()
    with pytest.raises(InvalidInput, match="rename it"):
        made(blobs, tree)


def test_a_git_tree_knows_its_commit_and_its_changes(blobs, tree):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", str(tree), *who, *words], check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = made(blobs, tree)
    assert (clean.commit, clean.dirty) == (git("rev-parse", "HEAD"), False)
    (tree / "new.py").write_text("")
    assert (made(blobs, tree).commit, made(blobs, tree).dirty) == (clean.commit, True)


def test_unpacking_gives_the_sources_back(blobs, tree, tmp_path):
    unpacked = unpack(blobs, made(blobs, tree), tmp_path / "releases")
    assert {path.relative_to(unpacked).as_posix(): path.read_text() for path in unpacked.rglob("*") if path.is_file()} == FILES


def test_unpacking_twice_is_once(blobs, tree, tmp_path):
    release, root = made(blobs, tree), tmp_path / "releases"
    first = unpack(blobs, release, root)
    blobs.delete(release.bundle)
    assert unpack(blobs, release, root) == first
    assert [path.name for path in root.iterdir()] == [release.digest]


def test_many_unpack_at_once_and_one_tree_is_left(blobs, tree, tmp_path):
    release, root, together = made(blobs, tree), tmp_path / "releases", threading.Barrier(8)

    def work(_):
        together.wait()
        return unpack(blobs, release, root)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert set(found) == {root / release.digest}
    assert [path.name for path in root.iterdir()] == [release.digest]
    assert (found[0] / "features" / "views.py").read_text() == "x = 1\n"


def test_a_missing_or_damaged_bundle_leaves_no_tree(tree, tmp_path):
    blobs, root = BlobDirectory(tmp_path / "blobs"), tmp_path / "releases"
    release = made(blobs, tree)
    no_archive = msgspec.structs.replace(release, bundle=blobs.put(b"no archive"))
    with pytest.raises(Corrupt, match="is no archive"):
        unpack(blobs, no_archive, root)
    blobs.delete(release.bundle)
    with pytest.raises(NotFound):
        unpack(blobs, release, root)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("name", ["../../escaped.py", "/absolute.py"])
def test_a_bundle_with_a_name_that_leads_out_of_the_tree_is_refused(blobs, tree, tmp_path, name):
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "")
    release = msgspec.structs.replace(made(blobs, tree), bundle=blobs.put(buffer.getvalue()))
    with pytest.raises(Corrupt, match="leads elsewhere"):
        unpack(blobs, release, tmp_path / "a" / "b" / "releases")
    assert not [path for path in tmp_path.rglob("*.py") if path.name in ("escaped.py", "absolute.py")]


def test_a_root_that_cannot_be_written_is_told(blobs, tree, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(blobs, made(blobs, tree), tmp_path / "releases")
    assert list((tmp_path / "releases").iterdir()) == []
    shutil.rmtree(tmp_path / "releases")


def test_the_limit_is_on_all_sources_together(blobs, tree, monkeypatch):
    monkeypatch.setattr(releases, "MAX_BYTES", sum(len(text.encode()) for text in FILES.values()))
    made(blobs, tree)
    (tree / "one.py").write_text("1")
    with pytest.raises(InvalidInput):
        made(blobs, tree)
