"""Artifacts: files below roots, kept as blobs under records."""

from collections.abc import Iterator

import pytest

from rota.backends.clocks import SystemClock
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage.experiments import artifacts
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch
from rota.records.tracking import ArtifactFile, ExperimentRun, LoggedModel

ROOT = "0/r1/artifacts"


@pytest.fixture
def repositories() -> Repositories:
    metadata = MemoryMetadata()
    found = Repositories(
        metadata=metadata,
        runs=MemoryRuns(metadata),
        blobs=MemoryBlobs(),
        tables=MemoryTables(),
        online=MemoryOnline(),
        journal=MemoryJournal(),
        clock=SystemClock(),
        tracking=MemoryTracking(metadata),
    )
    found.tracking.create_run(ExperimentRun("r1", "0", "one", "running", 1))
    return found


def keep(repositories: Repositories, path: str, data: bytes = b"data", root: str = ROOT) -> ArtifactFile:
    return artifacts.store(repositories, root, path, [data])


def test_a_file_is_kept_found_and_read(repositories: Repositories) -> None:
    file = artifacts.store(repositories, ROOT, "model/weights.bin", iter([b"ab", b"", b"c"]))
    assert (file.size, artifacts.find(repositories.metadata, ROOT, "model/weights.bin")) == (3, file)
    assert b"".join(artifacts.read(repositories, ROOT, "model/weights.bin")) == b"abc"
    with pytest.raises(NotFound, match="no artifact 'model'"):
        artifacts.find(repositories.metadata, ROOT, "model")


def test_a_file_whose_bytes_break_off_is_not_kept(repositories: Repositories) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        artifacts.store(repositories, ROOT, "half", broken())
    assert artifacts.files(repositories.metadata, ROOT) == []
    assert list(repositories.blobs.digests()) == []


def test_what_is_given_along_is_committed_with_the_file_or_not_at_all(repositories: Repositories) -> None:
    batch = Batch()
    batch.create(ArtifactFile(ROOT, "taken", "0" * 64, 1))
    keep(repositories, "taken")
    with pytest.raises(Conflict):
        artifacts.store(repositories, ROOT, "new", [b"x"], batch=batch)
    assert [file.path for file in artifacts.files(repositories.metadata, ROOT)] == ["taken"]


def test_a_listing_shows_files_and_folders_of_one_level(repositories: Repositories) -> None:
    for path in ("b.txt", "a/x", "a/y/z", "ab"):
        keep(repositories, path)
    assert artifacts.listing(repositories.metadata, ROOT) == [artifacts.Listed("a"), artifacts.Listed("ab", 4), artifacts.Listed("b.txt", 4)]
    assert artifacts.listing(repositories.metadata, ROOT, "a") == [artifacts.Listed("a/x", 4), artifacts.Listed("a/y")]
    assert artifacts.listing(repositories.metadata, ROOT, "b.txt") == []
    assert artifacts.listing(repositories.metadata, ROOT, "none") == []


def test_a_file_is_never_a_folder_too(repositories: Repositories) -> None:
    keep(repositories, "a")
    with pytest.raises(InvalidInput, match="'a' is a file"):
        keep(repositories, "a/b/c")


def test_removing_takes_a_file_or_a_folder_and_nothing_beside_it(repositories: Repositories) -> None:
    for path in ("a/x", "a/y", "ab", "c"):
        keep(repositories, path)
    assert artifacts.remove(repositories, ROOT, "a") == 2
    assert artifacts.remove(repositories, ROOT, "c") == 1
    assert [file.path for file in artifacts.files(repositories.metadata, ROOT)] == ["ab"]
    with pytest.raises(NotFound):
        artifacts.remove(repositories, ROOT, "a")
    assert artifacts.remove(repositories, ROOT) == 1
    assert artifacts.remove(repositories, ROOT) == 0


def test_a_snapshot_stays_when_the_original_changes_or_goes(repositories: Repositories) -> None:
    keep(repositories, "model/a", b"first")
    keep(repositories, "other", b"other")
    root, batch = artifacts.new_version_root("churn"), Batch()
    artifacts.snapshot(repositories.metadata, batch, ROOT, "model", into=root)
    repositories.metadata.commit(batch)
    keep(repositories, "model/a", b"second")
    assert b"".join(artifacts.read(repositories, root, "a")) == b"first"
    artifacts.remove(repositories, ROOT)
    assert [file.path for file in artifacts.files(repositories.metadata, root)] == ["a"]
    assert artifacts.is_version_root(root)
    assert not artifacts.is_version_root(ROOT)


def test_a_snapshot_of_files_that_change_meanwhile_is_a_conflict(repositories: Repositories) -> None:
    keep(repositories, "model/a", b"first")
    batch = Batch()
    artifacts.snapshot(repositories.metadata, batch, ROOT, "model", into=artifacts.new_version_root("churn"))
    keep(repositories, "model/a", b"second")
    with pytest.raises(Conflict):
        repositories.metadata.commit(batch)


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.txt", "50% done", "\u00e9/\u65e5\u672c", "a b", "...", "a..b", "ab:c", "%41", "a%23", "seen%step%1%timestamp%179%r1.png", "x" * 255],
)
def test_an_ordinary_path_is_allowed(path: str) -> None:
    assert artifacts.check_path(path) == path


WINDING = [
    "",
    " ",
    ".",
    "..",
    "/a",
    "a/",
    "a//b",
    "a/../b",
    "a/ .. /b",
    "%2e%2e",
    "%252e%252e/a",
    "..%2fa",
    "a\\b",
    "a%5cb",
    "file:/a",
    "C:/a",
    "c:a",
]
UNPRINTED = ["a\x00", "a%00", "a\nb", "a#b", "a?b", "a%3f", "\ud800", "a\u2028b", "a\ufffd"]
TOO_LONG = ["x" * 256, "a/" * 600 + "a", "%25" * 4 + "2525252525252525252e"]


@pytest.mark.parametrize("path", [*WINDING, *UNPRINTED, *TOO_LONG])
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="artifact path"):
        artifacts.check_path(path)


def test_a_source_leads_to_files_of_this_platform(repositories: Repositories) -> None:
    model = LoggedModel("m-" + "1" * 32, "0", "clf", run="r1", created_us=5)
    batch = Batch()
    batch.create(model)
    repositories.metadata.commit(batch)
    keep(repositories, "own/file")
    of_model = artifacts.ArtifactLocation(artifacts.model_root(model), "", run="r1", model=model.id)
    assert artifacts.resolve(repositories, "runs:/r1/own") == artifacts.ArtifactLocation(ROOT, "own", run="r1")
    assert artifacts.resolve(repositories, "runs:/r1/clf") == of_model
    assert artifacts.resolve(repositories, f"models:/{model.id}") == of_model
    assert artifacts.resolve(repositories, f"mlflow-artifacts:/{artifacts.model_root(model)}") == of_model
    assert artifacts.resolve(repositories, f"mlflow-artifacts:/{ROOT}/own") == artifacts.ArtifactLocation(ROOT, "own", run="r1")
    for unknown in ("runs:/r2/own", f"models:/m-{'2' * 32}", "mlflow-artifacts:/1/r1/artifacts", "mlflow-artifacts:/elsewhere"):
        with pytest.raises(NotFound):
            artifacts.resolve(repositories, unknown)
    for foreign in ("file:///etc", "s3://b/k", "runs://host/r1", "http://x/", "/etc", "", "runs:/", "models:/../x"):
        with pytest.raises(InvalidInput):
            artifacts.resolve(repositories, foreign)
