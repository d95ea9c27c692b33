"""What a backup place holds, what is refused, what a damaged byte costs, and what stays on disk while a backup runs."""

import contextlib
import errno
import json
import os
import stat
import threading
import time
from pathlib import Path

import msgspec
import polars as pl
import pytest

from rota import backups, engines, wiring
from rota.develop import spool_copy
from rota.develop.spool import Header, Spool
from rota.develop.spool_recovery import drain
from rota.errors import Corrupt, InvalidInput, NotFound, Refused, Unavailable
from rota.manage.backup import making
from rota.manage.signals import labels
from rota.ports.metadata import Batch
from rota.records.backup import Backup
from rota.records.model import ModelVersion
from rota.records.record import digest, encode
from rota.records.run import Run, RunQuery
from rota.records.signal import Event, Label
from rota.records.tracking import DEFAULT_EXPERIMENT, ArtifactFile, ExperimentRun
from rota.settings import Settings

NOW = 1_373_860_800_000_000
LARGE = os.urandom(1_500_000)


@pytest.fixture
def platform(tmp_path):
    with wiring.opened(Settings(home=tmp_path / "home")) as opened:
        yield opened


@pytest.fixture
def place(tmp_path) -> str:
    return str(tmp_path / "place")


def fill(platform: wiring.Platform) -> None:
    """Something of every kind: a small and a large blob, a table, a journal segment, keys, records."""
    r = platform.repositories
    batch = Batch()
    for number, data in enumerate((b"small", LARGE)):
        batch.put(ModelVersion("delay", number + 1, r.blobs.put(data), "lightgbm", "r1", "d@1", "d" * 64, NOW, "registered"))
    batch.event(Event("run.finished", "r", NOW))
    r.metadata.commit(batch)
    r.tables.append("datasets/d/1", pl.DataFrame({"x": [1, 2, 3]}))
    r.tables.append("datasets/d/1", pl.DataFrame({"x": [4]}))
    r.tables.append("history/sales/v1/0", pl.DataFrame({"x": [1]}))  # a sorted copy
    labels.append(r.journal, "delay", [Label("p1", 1.0, NOW)], NOW)
    engines.signing_key(platform.settings)
    platform.access.owner_token.make()


def restore(place: str, home: Path, **changes) -> wiring.Platform:
    settings = Settings(home=home, **changes)
    backups.restore(place, settings, actor="ada")
    return wiring.open_platform(settings)


def test_a_second_backup_copies_what_is_new(platform, place):
    fill(platform)
    first = backups.make(platform, place)
    assert first.copied_bytes > len(LARGE)
    platform.repositories.blobs.put(b"new")
    second = backups.make(platform, place)
    assert second.size_bytes > len(LARGE)
    assert second.copied_bytes < 50_000
    assert [each.id for each in backups.stored(place)] == [second.id, first.id]
    (Path(place) / "objects").joinpath(
        next(d for d in platform.repositories.blobs.digests() if platform.repositories.blobs.size(d) == len(LARGE))[:2]
    )
    for made in (first, second):
        assert backups.verify(place, id=made.id).damages == ()


def test_what_can_be_rebuilt_is_left_out_and_said(platform, place):
    fill(platform)
    made = backups.make(platform, place)
    assert [each.split(":")[0] for each in made.left_out] == ["online", "history/"]
    assert made.secrets == ("signing.key", "token")
    assert not any(file.path.startswith("tables/history") for file in manifest(place).files)
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in [Path(place), *Path(place).rglob("*")])


def manifest(place: str) -> "making.BackupManifest":
    return making.manifests.chosen(engines.backup_place(place))


def test_keys_and_tokens_are_the_same_and_private_after_a_restore(platform, place, tmp_path):
    fill(platform)
    backups.make(platform, place)
    with contextlib.closing(restore(place, tmp_path / "new")) as new:
        for name in ("token", "signing.key"):
            assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "home" / name).read_bytes()
            assert stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) == 0o600
        assert new.repositories.tables.scan("datasets/d/1", version=0).collect()["x"].to_list() == [1, 2, 3]
        assert labels.flush(new.repositories.journal, new.repositories.tables, "delay") == 1
    assert not list(tmp_path.glob(".new*"))


def test_leases_end_and_positions_go_on_behind_those_of_the_original(platform, place, tmp_path):
    fill(platform)
    r = platform.repositories
    r.runs.submit(Run("r1", "train", "delay", {}, NOW))
    lease = r.runs.claim("w", NOW, lease_s=3_600)
    assert lease is not None
    last = r.metadata.events(0)[-1].position
    r.metadata.forget_events(last)
    backups.make(platform, place)
    with contextlib.closing(restore(place, tmp_path / "new")) as new:
        again = new.repositories.runs.claim("other", NOW, lease_s=60)
        assert again is not None
        assert (again.run.id, again.fence) == ("r1", lease.fence + 1)
        batch = Batch()
        batch.event(Event("run.finished", "r2", NOW))
        new.repositories.metadata.commit(batch)
        assert new.repositories.metadata.events(0)[-1].position == last + 1
        entry = new.repositories.metadata.audit()[-1]
        assert (entry.actor, entry.action, entry.body["open_runs"]) == ("ada", "restore", 1)
        assert [backup.state for backup in new.repositories.metadata.find(Backup)] == ["complete"]
    assert [run.id for run in r.runs.find(RunQuery("train"))] == ["r1"]  # the original's lease is its own
    r.runs.renew(lease, lease_s=60)


@pytest.mark.parametrize("kind", ["metadata/", "blobs/", "tables/", "log/", "home/"])
@pytest.mark.parametrize("how", ["changed", "shorter", "missing"])
def test_a_damaged_byte_of_every_kind_is_named(platform, place, tmp_path, kind, how):
    fill(platform)
    backups.make(platform, place)
    file = max((each for each in manifest(place).files if each.path.startswith(kind)), key=lambda each: each.size)
    path = Path(place, "objects", file.object[:2], file.object)
    data = bytearray(path.read_bytes())
    data[file.offset + file.size // 2] ^= 1
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(data if how == "changed" else data[: file.offset + file.size // 2])
    found = backups.verify(place)
    assert (file.path, "missing" if how == "missing" else "damaged") in {(each.path, each.problem) for each in found.damages}
    if how == "changed":
        assert [each.path for each in found.damages] == [file.path]
    with pytest.raises((Corrupt, NotFound), match=file.object):
        restore(place, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))
    if how != "changed":  # the next backup sees that it is not there whole
        backups.make(platform, place)
        assert backups.verify(place).damages == ()


def test_a_damaged_manifest_is_no_backup(platform, place):
    fill(platform)
    first, second = backups.make(platform, place), backups.make(platform, place)
    path = Path(place, "manifests", f"{second.id}.json")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=second.id):
        backups.verify(place, id=second.id)
    assert backups.verify(place).id == first.id
    assert [bool(each.problem) for each in backups.stored(place)] == [True, False]


@pytest.mark.parametrize("leading", ["home/../../escaped", "home//etc/escaped", "journal/../../escaped"])
def test_a_manifest_whose_files_lead_out_of_the_home_restores_nothing(platform, place, tmp_path, leading):
    fill(platform)
    made = backups.make(platform, place)
    path = Path(place, "manifests", f"{made.id}.json")
    found = msgspec.json.decode(path.read_bytes())["manifest"]
    found["files"][0][0] = leading
    body = encode(found)
    path.write_bytes(b'{"sha256":"' + digest(body).encode() + b'","manifest":' + body + b"}")
    with pytest.raises(Corrupt, match="leads elsewhere"):
        backups.restore(place, Settings(home=tmp_path / "new"), actor="ada", id=made.id)
    assert not list(tmp_path.rglob("escaped"))


def test_bytes_of_an_object_that_no_file_uses_are_verified_too(platform, place):
    fill(platform)
    backups.make(platform, place)
    file = next(each for each in manifest(place).files if each.size == len(LARGE))
    with Path(place, "objects", file.object[:2], file.object).open("ab") as object_:
        object_.write(b"x")
    assert [each.path for each in backups.verify(place).damages] == [""]


def test_a_place_is_new_or_one_of_ours_and_lies_elsewhere(platform, tmp_path, place):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").touch()
    with pytest.raises(Refused, match="no place for backups"):
        backups.make(platform, str(tmp_path / "other"))
    with pytest.raises(InvalidInput, match="lies in the home"):
        backups.make(platform, str(tmp_path / "home" / "backups"))
    with pytest.raises(InvalidInput, match="is no place for backups"):
        backups.make(platform, "ftp://somewhere")
    with pytest.raises(NotFound, match="holds no finished one"):
        backups.verify(place)
    with engines.backup_place(place).turn(), pytest.raises(Refused, match="another process"):
        backups.make(platform, place)
    backups.make(platform, place)


def test_a_home_that_is_used_is_not_restored_into(platform, place, tmp_path):
    backups.make(platform, place)
    with pytest.raises(Refused, match="is not empty"):
        restore(place, tmp_path / "home")
    (tmp_path / "empty").mkdir()
    with contextlib.closing(restore(place, tmp_path / "empty")):
        pass
    with pytest.raises(NotFound, match="no backup 'x'"):
        backups.restore(place, Settings(home=tmp_path / "new"), actor="ada", id="x")


def test_a_database_and_a_prefix_that_are_used_are_not_restored_into(platform, place, tmp_path, postgres_empty, s3_env):
    fill(platform)
    backups.make(platform, place)
    settings = {"metadata_url": postgres_empty(), "storage_url": s3_env.url()}
    with contextlib.closing(restore(place, tmp_path / "new", **settings)):
        pass
    with pytest.raises(Refused, match="database of metadata_url is not empty"):
        restore(place, tmp_path / "third", **settings)
    with pytest.raises(Refused, match="holds blobs or tables"):
        restore(place, tmp_path / "third", storage_url=settings["storage_url"])


def test_online_rows_of_the_original_are_not_taken_for_those_of_a_restored_platform(tmp_path, place, redis_url):
    from rota.records.data import Entity, Feature, FeatureView, Source  # noqa: PLC0415

    original = Settings(home=tmp_path / "home", online_url=redis_url, online_namespace="restores")
    sales = Source("sales", {"shop": "string", "at": "timestamp", "amount": "int"}, "at")
    with wiring.opened(original) as opened:
        opened.features.apply([FeatureView("newest", [Entity("shop", ["shop"])], sales, {"amount": Feature("amount")})])
        opened.feed.pushes.push("sales", [{"shop": "a", "at": NOW, "amount": 1}])
        backups.make(opened, place)
    with pytest.raises(Refused, match="set another online_namespace"):
        restore(place, tmp_path / "new", online_url=redis_url, online_namespace="restores")
    with contextlib.closing(restore(place, tmp_path / "new", online_url=redis_url, online_namespace="restored")) as new:
        assert new.feed.pushes.flush_all() == {"sales": 1}


def test_settings_that_differ_and_another_key_are_said(platform, place, tmp_path):
    fill(platform)
    backups.make(platform, place)
    report = backups.restore(place, Settings(home=tmp_path / "new", environment="staging", signing_key="k" * 40), actor="ada")
    assert report.differing == {"environment": ("prod", "staging")}
    assert [warning.split(":")[0] for warning in report.warnings] == ["the signing key is another one"]
    assert "k" * 40 not in str(report)


def test_faults_of_the_platform_are_named_and_the_rest_is_backed_up(platform, place, tmp_path):
    fill(platform)
    home = tmp_path / "home"
    blob = next(path for path in (home / "blobs").rglob("*") if path.is_file() and path.stat().st_size == len(LARGE))
    blob.write_bytes(LARGE[:-1] + b"!")
    next((home / "tables" / "datasets").rglob("*.parquet")).unlink()
    made = backups.make(platform, place)
    assert [fault.split(":")[0].split("/")[0] for fault in made.faults] == ["blobs", "tables"]
    assert backups.verify(place).faults == made.faults
    with contextlib.closing(restore(place, tmp_path / "new")) as new:
        assert new.repositories.blobs.get(new.repositories.metadata.find(ModelVersion)[0].bundle) == b"small"


def test_nothing_is_collected_while_a_backup_runs(platform, place):
    fill(platform)
    r = platform.repositories
    doomed = r.blobs.put(b"nothing names it")
    os.utime(Path(platform.settings.home, "blobs", doomed[:2], doomed), (1_000, 1_000))
    seen = []

    def look(_: object) -> None:
        if not seen:
            seen.append(platform.housekeeping.collect_garbage(actor="ada"))

    backups.make(platform, place, report=look)
    assert [each.name for each in seen[0].removals] == []
    assert any("a backup is running" in each.reason for each in seen[0].kept)
    assert [each.name for each in platform.housekeeping.collect_garbage(actor="ada").removals] == [doomed]


def test_a_record_that_goes_while_a_backup_runs_takes_no_bytes_from_it(platform, place, tmp_path):
    """The collection began before the backup, and has removed the record that the backup still knows."""
    r = platform.repositories
    r.tracking.create_run(ExperimentRun("e1", DEFAULT_EXPERIMENT, "e1", "finished", NOW))
    digest = r.blobs.put(LARGE)
    os.utime(Path(platform.settings.home, "blobs", digest[:2], digest), (1_000, 1_000))
    batch = Batch()
    batch.put(ArtifactFile("gone/root", "model.bin", digest, len(LARGE), 1_000))
    r.metadata.commit(batch)

    once = iter((True,))

    def collect_behind_the_cut(_: object) -> None:
        if next(once, False):
            platform.housekeeping.collect_garbage(actor="ada")

    backups.make(platform, place, report=collect_behind_the_cut)
    assert r.metadata.find(ArtifactFile) == []
    with contextlib.closing(restore(place, tmp_path / "new")) as new:
        assert new.repositories.blobs.get(new.repositories.metadata.find(ArtifactFile)[0].digest) == LARGE


def test_the_claim_of_a_killed_backup_runs_out(platform, place):
    batch = Batch()
    wall_us = platform.access.wall.now_us()
    batch.put(Backup("killed", place, wall_us - making.CLAIM_US - 1, "ada", needed_until_us=wall_us - 1))
    batch.put(Backup("alive", place, wall_us, "ada", needed_until_us=wall_us + making.CLAIM_US))
    platform.repositories.metadata.commit(batch)
    backups.make(platform, place)
    states = {backup.id: backup.state for backup in platform.repositories.metadata.find(Backup)}
    assert (states["killed"], states["alive"]) == ("failed", "running")


def test_a_backup_that_fails_says_so_and_leaves_none(platform, place):
    fill(platform)

    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        backups.make(platform, place, report=full)
    assert backups.stored(place) == []
    found = platform.repositories.metadata.find(Backup)
    assert [(backup.state, "No space" in backup.error) for backup in found] == [("failed", True)]
    assert [entry.action for entry in platform.repositories.metadata.audit()] == ["backup.begin", "backup.failed"]
    backups.make(platform, place)
    assert backups.verify(place).damages == ()


def test_pruning_keeps_the_newest_and_what_they_need(platform, place):
    fill(platform)
    ids = []
    for number in range(3):
        platform.repositories.blobs.put(b"%d" % number * 2_000_000)
        ids.append(backups.make(platform, place).id)
    Path(place, "objects", "ab").mkdir(exist_ok=True)
    Path(place, "objects", "ab", "ab" * 32).write_bytes(b"left by a killed backup")
    found = backups.prune(place, 1)
    assert (found.kept, set(found.removed)) == ((ids[2],), set(ids[:2]))
    assert not Path(place, "objects", "ab", "ab" * 32).exists()
    assert backups.verify(place).damages == ()
    with pytest.raises(InvalidInput, match="at least one"):
        backups.prune(place, 0)


def test_tables_that_are_written_all_the_time_are_held_for_the_moment_only(platform, place, tmp_path):
    """A directory's writers take turns, and the backup has all of them at its moment; what is counted fits what is stored."""
    r, stop = platform.repositories, threading.Event()
    r.tables.append("t", pl.DataFrame({"x": [0]}))

    def write() -> None:
        for number in range(1, 10_000):
            r.tables.append("t", pl.DataFrame({"x": [number]}))
            batch = Batch()
            batch.event(Event("run.finished", str(number), NOW))
            r.metadata.commit(batch)
            if stop.is_set():
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while r.tables.version("t") == 0:
            time.sleep(0.001)
        backups.make(platform, place)
    finally:
        stop.set()
        writer.join()
    with contextlib.closing(restore(place, tmp_path / "new")) as new:
        rows, told = new.repositories.tables.scan("t").collect().height - 1, len(new.repositories.metadata.events(0))
        assert rows - told in (0, 1)  # as a kill at one moment would leave it
        assert rows < r.tables.scan("t").collect().height


def test_points_of_a_living_program_are_in_it_whole(tmp_path):
    header = Header("t1", 1, ends=True)
    spool = Spool(tmp_path / "spool", header, lambda: NOW, full=lambda: None, forked=lambda: None)
    for step in range(1_500):
        spool.append("auc", step / 7, step)
    for path, data in spool_copy.copies(tmp_path / "spool").items():
        target = tmp_path / "copy" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    spool.append("auc", 0.5, 1_500)  # after it
    with wiring.opened(Settings(home=tmp_path / "home")) as platform:
        tracking = platform.repositories.tracking
        tracking.create_run(ExperimentRun("t1", DEFAULT_EXPERIMENT, "t1", "running", NOW))
        assert drain(tmp_path / "copy", tracking) == ["t1"]
        assert [(point.step, point.value) for point in tracking.history("t1", "auc")] == [(step, step / 7) for step in range(1_500)]
        assert msgspec.structs.asdict(tracking.run("t1"))["status"] == "killed"
    spool.close(remove=True)


def test_writers_of_a_bucket_that_never_rest_are_an_error_that_says_so(platform, place, monkeypatch):
    versions = iter(range(10_000))
    monkeypatch.setattr("rota.backends.storage.table_files.DirectoryTableFiles.versions", lambda self: {"t": next(versions)})
    with pytest.raises(Unavailable, match="no moment was found"):
        backups.make(platform, place)
    assert backups.stored(place) == []


def test_a_manifest_says_what_it_is_and_no_secret(platform, place, tmp_path):
    fill(platform)
    made = backups.make(platform, place)
    text = Path(place, "manifests", f"{made.id}.json").read_text()
    found = json.loads(text)["manifest"]
    assert (found["format"], found["schema"], found["engines"]["metadata"], found["tables"]) == (1, 5, "sqlite", {"datasets/d/1": 1})
    assert found["rows"]["model_version"] == 2
    assert "metadata_url" not in found["settings"]
    assert (tmp_path / "home" / "token").read_text() not in text
