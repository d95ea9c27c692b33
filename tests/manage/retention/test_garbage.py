"""Garbage collection on a real home: what goes frees bytes, what anything rests on stays, whoever writes or dies meanwhile."""

import dataclasses
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import polars as pl
import pytest

from rota import wiring
from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage.experiments import artifacts
from rota.manage.lineage.node_types import TYPES
from rota.manage.retention import collect as garbage
from rota.manage.retention import holds
from rota.manage.retention.expiry import Rules
from rota.ports.metadata import Batch
from rota.records.kinds import KINDS
from rota.records.model import Alias, Approval
from rota.records.record import digest as digest_of
from rota.records.record import encode
from rota.records.release import Release, Route
from rota.records.run import Run
from rota.records.signal import Event
from rota.records.time import DAY_US, HOUR_US
from rota.records.tracking import DEFAULT_EXPERIMENT, ArtifactFile, Experiment, ExperimentRun, LoggedModel
from rota.settings import Settings
from rota.testing import story
from rota.testing.clock import FakeClock

RULES = Rules(trash_days=30, pending_days=7, run_days=365, grace_hours=24)
NOW_US = story.NOON_US + 100 * DAY_US


class World:
    """A home whose clock the test holds; `put` stores bytes that were put long ago."""

    def __init__(self, path: Path) -> None:
        self.path = path
        platform = wiring.open_platform(Settings(home=path))
        self.clock = FakeClock(NOW_US)
        platform.repositories = dataclasses.replace(platform.repositories, clock=self.clock)
        self.platform, self.repositories = platform, platform.repositories
        self.metadata, self.tracking, self.blobs = self.repositories.metadata, self.repositories.tracking, self.repositories.blobs

    def put(self, data: bytes, *, old: bool = True) -> str:
        digest = self.blobs.put(data)
        if old:
            os.utime(self.path / "blobs" / digest[:2] / digest, (1_000, 1_000))
        return digest

    def store(self, *records) -> None:
        batch = Batch()
        for record in records:
            batch.put(record)
        self.metadata.commit(batch)

    def run(self, id: str, experiment: str = DEFAULT_EXPERIMENT, **changes) -> ExperimentRun:
        made = ExperimentRun(id, experiment, id, "finished", NOW_US - 90 * DAY_US, **changes)
        self.tracking.create_run(made)
        return made

    def file(self, root: str, path: str, data: bytes) -> str:
        digest = self.put(data)
        self.store(ArtifactFile(root, path, digest, len(data), NOW_US - 90 * DAY_US))
        return digest

    def collect(self, rules: Rules = RULES, *, dry_run: bool = False, later_us: int = 0, handled: int = 0) -> garbage.Collection:
        wall_us = self.platform.access.wall.now_us() + later_us
        return garbage.collect(self.repositories, rules, wall_us=wall_us, actor="anna", handled=handled, dry_run=dry_run)

    def names(self, *found: str) -> list[bool]:
        return [self.blobs.exists(each) for each in found]


def used(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def gone(found: garbage.Collection) -> list[tuple[str, str]]:
    return [(each.what, each.name) for each in found.removals]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "home")
    yield world
    world.platform.close()


def test_what_nothing_names_frees_its_bytes_and_a_second_collection_finds_nothing(world):
    orphan, young = world.put(os.urandom(3_000_000)), world.put(b"an upload in progress", old=False)
    kept = world.file(artifacts.run_root(world.run("r1")), "model.bin", os.urandom(1_000_000))
    before = used(world.path / "blobs")
    found = world.collect()
    assert gone(found) == [("blob", orphan)]
    assert found.freed_bytes == before - used(world.path / "blobs") == 3_000_000
    assert world.names(orphan, young, kept) == [False, True, True]
    assert {(each.reason, each.count) for each in found.kept} == {("named by artifact_file", 1), ("put within the grace", 1)}
    again = world.collect()
    assert (again.removals, again.freed_bytes) == ((), 0)
    assert [entry.action for entry in world.metadata.audit()][-1] == "garbage.collect"


def test_old_events_that_were_reacted_to_and_old_monitor_runs_that_no_alert_names_are_forgotten(world):
    old_us = NOW_US - 400 * DAY_US
    for subject, at_us in (("a", old_us), ("b", old_us), ("c", old_us), ("young", NOW_US), ("late", old_us)):
        batch = Batch()
        batch.event(Event("label.arrived", subject, at_us))
        world.metadata.commit(batch)
    for name, workflow in (("m1", "monitor"), ("m2", "monitor"), ("t1", "train"), ("m3", "monitor")):
        world.repositories.runs.submit(Run(name, workflow, "delay", {}, old_us))
        lease = world.repositories.runs.claim("w", NOW_US, lease_s=60)
        if name != "m3":
            world.repositories.runs.finish(lease, "succeeded", ended_us=old_us)
    world.store(msgspec.structs.replace(story.alert("last"), monitor_run="m2"))
    second = world.metadata.events(0)[1].position
    planned = world.collect(dry_run=True, handled=second)
    assert len(world.metadata.events(0)) == 5
    done = world.collect(handled=second)
    assert done.removals == planned.removals
    assert [event.subject for event in world.metadata.events(0)] == ["c", "young", "late"]
    assert sorted(run.id for run in world.repositories.runs.find()) == ["m2", "m3", "t1"]
    assert [(each.what, each.name) for each in done.removals] == [("run", "m1"), ("event", f"2 up to position {second}")]
    assert world.collect(handled=10**9).removals[0].name.startswith("1 up to")  # behind a young one nothing is looked at
    assert [event.subject for event in world.metadata.events(0)] == ["young", "late"]


def test_an_empty_home_has_no_garbage(world):
    assert world.collect() == garbage.Collection(False, NOW_US, (), ())
    assert not world.metadata.audit()


def test_a_dry_run_says_what_a_collection_does_and_changes_nothing(world):
    world.put(b"orphan")
    run = world.run("r1", deleted_us=NOW_US - 31 * DAY_US)
    world.file(artifacts.run_root(run), "a.txt", b"of the run")
    world.repositories.tables.append("datasets/lost/x", pl.DataFrame({"a": [1]}))
    world.collect(Rules(trash_days=99, grace_hours=8_000))  # meets the table first
    before = (used(world.path / "blobs"), len(world.metadata.audit()))
    planned = world.collect(dry_run=True, later_us=25 * HOUR_US)
    assert (used(world.path / "blobs"), len(world.metadata.audit())) == before
    assert world.tracking.run("r1") is not None
    done = world.collect(later_us=25 * HOUR_US)
    assert gone(planned) == gone(done)
    assert {what for what, _ in gone(done)} == {"experiment_run", "file", "blob", "table"}


def test_whatever_names_a_blob_keeps_it(world):
    model, evidence, diff, deep, audited = (world.put(each) for each in (b"model", b"evidence", b"diff", b"deep", b"audited"))
    shell = world.put(encode({"digest": deep}))
    bundle = world.put(encode({"blob": model, "format": "x", "more": [{"of": shell}]}))
    world.store(story.version(1, "approved", bundle=bundle), Approval("delay", 1, "approve", "anna", "good", {"report": evidence}, NOW_US))
    world.run("r1", source={"diff": diff})
    batch = Batch()
    batch.audit("anna", "export", "somewhere", NOW_US, digest=audited)
    world.metadata.commit(batch)
    assert world.collect().removals == ()
    assert all(world.names(model, evidence, diff, deep, audited, shell, bundle))


def test_a_deleted_run_can_be_restored_for_a_month_and_is_purged_with_its_files_then(world):
    shared = world.file(artifacts.run_root(world.run("living")), "same.txt", b"both have it")
    young = world.run("young", deleted_us=NOW_US - 29 * DAY_US)
    old = world.run("old", deleted_us=NOW_US - 31 * DAY_US)
    of_young, of_old = (world.file(artifacts.run_root(run), "own.txt", run.id.encode()) for run in (young, old))
    world.file(artifacts.run_root(old), "same.txt", b"both have it")
    found = world.collect()
    assert set(gone(found)) == {
        ("experiment_run", "old"),
        ("file", f"{artifacts.run_root(old)}/own.txt"),
        ("file", f"{artifacts.run_root(old)}/same.txt"),
        ("blob", of_old),
    }
    assert world.tracking.run("old") is None
    assert world.tracking.run("young") == young
    assert world.names(shared, of_young, of_old) == [True, True, False]
    assert artifacts.files(world.metadata, artifacts.run_root(old)) == []
    assert [entry.body["runs"] for entry in world.metadata.audit() if entry.action == "experiment_run.purge"] == [["old"]]


def test_a_deleted_experiment_goes_with_its_runs_unless_one_is_needed(world):
    for name in ("gone", "needed"):
        experiment = Experiment(name, name)
        world.tracking.create_experiment(experiment)
        world.run(f"{name}-run", name)
        world.run(f"{name}-other", name)
        world.tracking.replace_experiment(msgspec.structs.replace(experiment, deleted_us=NOW_US - 31 * DAY_US), before=experiment)
    world.store(story.version(1, "approved", experiment_run="needed-run"))
    found = world.collect()
    assert ("experiment", "gone") in gone(found)
    assert world.tracking.experiment("gone") is None
    assert world.tracking.experiment("needed") is not None
    assert world.tracking.run("needed-run") is not None
    assert {name for what, name in gone(found) if what == "experiment_run"} == {"gone-run", "gone-other", "needed-other"}
    assert world.tracking.experiment(DEFAULT_EXPERIMENT) is not None


def test_a_deleted_version_keeps_its_bundle_for_as_long_as_an_alias_names_it(world):
    aliased, plain = (world.put(name) for name in (b"bundle of the aliased", b"bundle of the other"))
    long_ago = NOW_US - 31 * DAY_US
    for number, bundle in ((1, aliased), (2, plain)):
        world.store(story.version(number, "deleted", bundle=bundle, updated_us=long_ago))
    alias = Alias("delay", "last_good", 1, long_ago)
    world.store(alias)
    assert gone(world.collect()) == [("blob", plain)]
    assert world.names(aliased) == [True]
    batch = Batch()
    batch.remove(alias)
    world.metadata.commit(batch)
    assert gone(world.collect()) == [("blob", aliased)]


def test_a_logged_model_that_never_became_ready_is_given_up_and_one_in_use_is_not(world):
    def model(number: int, **changes) -> LoggedModel:
        made = LoggedModel(f"m-{number:032x}", DEFAULT_EXPERIMENT, "m", **{"status": "ready", "updated_us": NOW_US - 8 * DAY_US, **changes})
        world.store(made)
        world.file(artifacts.model_root(made), "model.bin", made.id.encode())
        return made

    pending, fresh = model(1, status="pending"), model(2, status="pending", updated_us=NOW_US - 6 * DAY_US)
    deleted, used_, ready = model(3, deleted_us=NOW_US - 31 * DAY_US), model(4, deleted_us=NOW_US - 31 * DAY_US), model(5)
    world.store(story.version(1, "registered", source=f"models:/{used_.id}"))
    found = world.collect()
    assert {name for what, name in gone(found) if what == "logged_model"} == {pending.id, deleted.id}
    assert [world.metadata.get(LoggedModel, each.id) is not None for each in (pending, fresh, deleted, used_, ready)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    assert [bool(artifacts.files(world.metadata, artifacts.model_root(each))) for each in (pending, fresh, deleted, used_)] == [
        False,
        True,
        False,
        True,
    ]


def test_files_of_a_root_that_belongs_to_nothing_go_when_they_are_old(world):
    old = world.file("versions/abc/artifacts", "a", b"of a registration that died")
    young = world.put(b"of one that goes on")
    world.store(ArtifactFile("versions/def/artifacts", "a", young, 1, NOW_US - HOUR_US))
    live = world.file("versions/live/artifacts", "a", b"of a version")
    world.store(story.version(1, "approved", artifacts="versions/live/artifacts"))
    world.collect()
    assert world.names(old, young, live) == [False, True, True]


def test_a_deleted_version_keeps_its_record_and_gives_up_its_bytes(world):
    def version(number: int, **changes) -> str:
        digest = world.put(encode({"blob": world.put(f"model {number}".encode())}))
        options = {"bundle": digest, "updated_us": NOW_US - 31 * DAY_US, "artifacts": f"versions/{number}/artifacts", "run": "", "evaluation": ""}
        world.file(f"versions/{number}/artifacts", "a", f"file {number}".encode())
        world.store(story.version(number, "deleted", **{**options, **changes}))
        return digest

    plain_, young, served, judged = version(1), version(2, updated_us=NOW_US - DAY_US), version(3), version(4)
    world.store(Release("delay", 1, (Route("delay", 3, served, "stable", 100),), "", NOW_US))
    world.store(Approval("delay", 4, "reject", "anna", "no", {"bundle": judged}, NOW_US))
    world.collect()
    assert world.names(plain_, young, served, judged) == [False, True, True, True]
    assert world.names(*(digest_of(f"model {number}".encode()) for number in (1, 2, 3, 4))) == [False, True, True, True]
    assert world.names(*(digest_of(f"file {number}".encode()) for number in (1, 2))) == [False, True]
    assert world.metadata.get(story.ModelVersion, "delay", 1) is not None


def test_the_table_of_a_build_that_died_is_dropped_a_grace_after_it_was_noticed(world):
    tables, name = world.repositories.tables, "datasets/delay/" + "e" * 64
    frame = pl.DataFrame({"value": os.urandom(300_000).hex()})
    tables.append(name, frame)
    tables.append("datasets/delay/1", frame)
    tables.append("sources/arrivals", frame)
    story.tell(world.metadata, world.repositories.runs)
    before = used(world.path / "tables")
    first = world.collect()
    assert gone(first) == []
    assert ("table", "unclaimed for less than the grace", 1) in {(each.what, each.reason, each.count) for each in first.kept}
    assert gone(world.collect(later_us=23 * HOUR_US)) == []
    assert gone(world.collect(later_us=25 * HOUR_US)) == [("table", name)]
    assert tables.tables() == ["datasets/delay/1", "sources/arrivals"]
    assert before - used(world.path / "tables") > 250_000
    assert tables.scan("datasets/delay/1").collect().equals(frame)
    tables.append(name, frame)
    assert gone(world.collect(later_us=26 * HOUR_US)) == []  # its grace begins anew


def test_what_a_hold_reaches_is_kept_until_it_is_lifted(world):
    run = world.run("r1", deleted_us=NOW_US - 31 * DAY_US)
    file, linked = world.file(artifacts.run_root(run), "a", b"of the held run"), world.put(b"linked")
    version = story.version(1, "deleted", bundle=world.put(b"{}bundle"), updated_us=NOW_US - 31 * DAY_US, run="")
    world.store(version)
    batch = Batch()
    batch.link("model_version:delay@1", ["experiment_run:r1", f"blob:{linked}"], NOW_US)
    world.metadata.commit(batch)
    holds.place(world.metadata, "model_version:delay@1", "claim 117", actor="anna", now_us=NOW_US)
    assert world.collect().removals == ()
    assert all(world.names(file, linked, version.bundle))
    holds.lift(world.metadata, "model_version:delay@1", "settled", actor="otto", now_us=NOW_US + 1)
    assert {name for _, name in gone(world.collect())} == {"r1", f"{artifacts.run_root(run)}/a", file, linked, version.bundle}
    assert [(entry.action, entry.actor) for entry in world.metadata.audit()][:2] == [("hold.place", "anna"), ("hold.lift", "otto")]


def test_a_hold_is_placed_once_with_a_reason_on_a_node(world):
    holds.place(world.metadata, "run:r1", "why", actor="anna", now_us=1)
    with pytest.raises(Conflict, match="held already"):
        holds.place(world.metadata, "run:r1", "why", actor="anna", now_us=2)
    for node, reason in (("run:r2", " "), ("nonsense", "why"), ("run:", "why"), ("nix:1", "why")):
        with pytest.raises(InvalidInput):
            holds.place(world.metadata, node, reason, actor="anna", now_us=3)
    with pytest.raises(NotFound, match="not held"):
        holds.lift(world.metadata, "run:r3", "why", actor="anna", now_us=4)
    holds.lift(world.metadata, "run:r1", "done", actor="anna", now_us=5)
    assert holds.place(world.metadata, "run:r1", "again", actor="anna", now_us=6).lifted_us is None


def test_what_a_writer_puts_and_names_meanwhile_is_there_afterwards(world):
    contents = [f"content {number}".encode() for number in range(150)]
    for content in contents:
        world.put(content)

    def write(part: int) -> None:
        for content in contents[part::2]:
            artifacts.store(world.repositories, "0/living/artifacts", f"{digest_of(content)}.txt", [content])

    world.run("living")
    with ThreadPoolExecutor(3) as pool:
        writing = [pool.submit(write, part) for part in (0, 1)]
        collected = 0
        while not all(each.done() for each in writing):
            collected += len(world.collect().removals)
        [each.result() for each in writing]
    world.collect()
    for file in artifacts.files(world.metadata, "0/living/artifacts"):
        assert b"".join(artifacts.read(world.repositories, file.root, file.path)).startswith(b"content")
    assert len(artifacts.files(world.metadata, "0/living/artifacts")) == 150
    assert collected


CHILD = """
import os, sys
from pathlib import Path
from rota import wiring
from rota.backends.storage.blob_directory import BlobDirectory
from rota.settings import Settings
expire = BlobDirectory.expire
def told(self, digest, before_us):
    gone = expire(self, digest, before_us)
    os.write(1, b"expired\\n")
    return gone
BlobDirectory.expire = told
with wiring.opened(Settings(home=Path(sys.argv[1]))) as platform:
    platform.housekeeping.collect_garbage(actor="child")
"""


def test_a_collection_that_is_killed_is_finished_by_the_next_one(world):
    kept = world.file(artifacts.run_root(world.run("r1")), "a", b"kept")
    old = world.run("r2", deleted_us=1)
    world.file(artifacts.run_root(old), "a", b"of a deleted run")
    orphans = [world.put(f"orphan {number}".encode()) for number in range(300)]
    world.platform.close()
    with subprocess.Popen([sys.executable, "-c", CHILD, str(world.path)], stdout=subprocess.PIPE) as child:
        assert child.stdout
        [child.stdout.readline() for _ in range(40)]
        os.kill(child.pid, signal.SIGKILL)
    again = World(world.path)
    left = [orphan for orphan in orphans if again.blobs.exists(orphan)]
    assert 0 < len(left) < 300
    found = again.collect()
    assert {name for _, name in gone(found)} >= set(left)
    assert list(again.blobs.digests()) == [kept]
    assert again.tracking.run("r2") is None
    assert again.collect().removals == ()
    again.platform.close()


def test_every_stored_kind_is_a_node_type_or_known_to_be_none():
    none = {
        "source", "intake", "seen_file", "feature_view", "on_demand_feature_view", "feature_service", "dataset", "deployed", "alias",
        "pickle_allowance", "release_policy", "serving", "monitor", "note", "access_token", "use_case", "hold", "unclaimed", "cursor",
        "schedule_state", "stream_claim", "view_materialization", "catalog_stamp", "process_report", "online_extent", "backup", "arrival_count",
        "out_of_service", "session", "serving_log_level", "unloaded",
    }  # fmt: skip
    assert {kind.name for kind in KINDS} - {each.kind for each in TYPES} - none == set()
