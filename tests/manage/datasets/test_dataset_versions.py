"""Dataset versions: the same state is the same version, a build that is killed leaves none, two builders get two numbers."""

import json
import subprocess
import sys
import textwrap

import msgspec
import pytest

from rota import wiring
from rota.errors import InvalidInput, NotFound
from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles
from rota.manage.datasets import versions as dataset_versions
from rota.manage.lineage import graph as lineage
from rota.ports.metadata import Batch
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import Dataset, DatasetDefinition, DatasetVersion, RandomSplit, TimeSplit
from rota.records.early_times import DoubtfulRows
from rota.records.record import decode, digest
from rota.records.schema import Schema
from rota.records.time import HOUR_US
from rota.settings import Settings
from rota.testing.story import NOON_US

FIELDS = {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}
SOURCE = Source("flights", FIELDS, "at", id_field="id")
VIEW = FeatureView("airport", [Entity("airport", ["origin"])], SOURCE, {"last": Feature("delay")})
DEFINITION = DatasetDefinition(FeatureService("late", [VIEW]), SOURCE, Feature("delay > 15"), "at", window="9999d", split=RandomSplit(0.3))
DATASET = Dataset("late", DEFINITION, owner="anna")
HOURS = 60


def flights(first=0, rows=HOURS):
    return [{"id": f"f{n}", "origin": "JLE"[n % 3], "at": NOON_US + n * HOUR_US, "delay": float(n % 40)} for n in range(first, first + rows)]


def declare(platform, dataset=DATASET):
    platform.feed.register([SOURCE, VIEW, dataset.definition.features])
    batch = Batch()
    batch.put(dataset)
    platform.repositories.metadata.commit(batch)


@pytest.fixture
def home(tmp_path):
    with wiring.opened(Settings(home=tmp_path / "home")) as platform:
        declare(platform)
        platform.features.push("flights", flights())
    return tmp_path / "home"


@pytest.fixture
def platform(home):
    with wiring.opened(Settings(home=home)) as opened:
        yield opened


def versions(platform):
    return platform.repositories.metadata.find(DatasetVersion, {"name": "late"}, order="number")


def test_a_build_becomes_a_version_with_everything_that_is_known_of_it(platform):
    made = platform.datasets.build("late", actor="anna")
    assert made.new
    (version,) = versions(platform)
    assert version == made.version
    r = platform.repositories
    assert (version.id, version.rows, version.environment, version.split) == ("late@1", HOURS, "prod", RandomSplit(0.3))
    assert decode(r.blobs.get(version.definition), DatasetDefinition) == DEFINITION
    schema = decode(r.blobs.get(version.schema), Schema)
    assert {column.name: column.type for column in schema.columns} == {"airport__last": "float", "label": "float"}
    profile = profiles.load(r.blobs, version)
    assert {column.name for column in profile.columns} == {"airport__last", "label", "at_us", "id", "origin", "at", "delay"}
    assert set(version.quality) == {"completeness", "validity", "uniqueness", "timeliness", "overall"}  # no rule between fields
    assert {edge.cause for edge in lineage.walk(r.metadata, "dataset_version:late@1", "causes").edges} == {"source:flights@0"}
    (entry,) = (each for each in r.metadata.audit() if each.action == "dataset.build")
    assert (entry.actor, entry.subject, entry.body["digest"]) == ("anna", "late@1", version.digest)


def test_the_same_state_is_the_same_version_and_new_rows_are_the_next(platform):
    first, again = platform.datasets.build("late"), platform.datasets.build("late")
    assert (again.new, again.version) == (False, first.version)
    platform.features.push("flights", flights(HOURS, 1))
    second = platform.datasets.build("late")
    assert (second.new, second.version.number, second.version.rows) == (True, 2, HOURS + 1)
    assert [each.number for each in versions(platform)] == [1, 2]
    assert datasets.read(platform.repositories.tables, first.version).height == HOURS, "the old version is as it was"


def test_rows_that_the_filter_leaves_out_make_no_new_version(platform):
    declare(platform, msgspec.structs.replace(DATASET, definition=msgspec.structs.replace(DEFINITION, filter="origin <> 'J'")))
    first = platform.datasets.build("late").version
    assert set(datasets.read(platform.repositories.tables, first)["origin"]) == {"L", "E"}
    rows = [{"id": "new", "origin": "J", "at": NOON_US, "delay": 0.0}, {"id": "null", "origin": None, "at": NOON_US, "delay": 0.0}]
    with pytest.warns(DoubtfulRows, match="1 of 2 rows have a null key"):
        platform.features.push("flights", rows)
    assert not platform.datasets.build("late").new


def test_each_environment_builds_the_definition_from_its_own_home(tmp_path, home):
    staging = Settings(home=tmp_path / "staging", environment="staging")
    with wiring.opened(staging) as there:
        declare(there)
        there.features.push("flights", flights(rows=30))
        small = there.datasets.build("late").version
    with wiring.opened(Settings(home=home)) as here:
        full = here.datasets.build("late").version
    assert (small.environment, small.rows, full.environment, full.rows) == ("staging", 30, "prod", HOURS)


def test_environments_that_share_a_home_have_versions_of_their_own(platform):
    platform.feed.pushes.flush("flights")
    first = dataset_versions.build_named(platform.repositories, "late", environment="prod", actor="a").version
    other = dataset_versions.build_named(platform.repositories, "late", environment="staging", actor="a").version
    assert (other.number, other.environment, other.digest) == (2, "staging", first.digest)


def test_an_unknown_dataset_says_which_there_are(platform):
    with pytest.raises(NotFound, match=r"no dataset 'nix'; declared are \['late'\]"):
        platform.datasets.build("nix")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filter": "delay"}, r"filter 'delay' is float, not a condition"),
        ({"filter": "nix > 3"}, r"dataset 'late', filter: .*no column 'nix'"),
        ({"filter": "'; DROP TABLE"}, r"dataset 'late', filter: .*not SQL"),
        ({"checks": ["delay + 1"]}, r"check 'delay \+ 1' is float"),
        ({"label": {"a": Feature("origin"), "b": Feature("delay")}}, r"label 'origin' is a text"),
        ({"label": Feature("airport__last")}, r"label: .*no column"),
        ({"split": RandomSplit(0.3, by="nix")}, r"no field of label source"),
    ],
)
def test_a_definition_that_can_never_be_built_is_refused_before_anything_is_read(platform, change, message):
    declare(platform, msgspec.structs.replace(DATASET, definition=msgspec.structs.replace(DEFINITION, **change)))
    with pytest.raises(InvalidInput, match=message):
        platform.datasets.build("late")
    assert versions(platform) == []


@pytest.mark.parametrize("change", [{"filter": "delay < 0"}, {"label": Feature("NULL")}, {"window": "1s"}])
def test_a_build_without_rows_leaves_no_version(platform, change):
    declare(platform, msgspec.structs.replace(DATASET, definition=msgspec.structs.replace(DEFINITION, **change)))
    with pytest.raises(InvalidInput, match="no labelled rows") as refused:
        platform.datasets.build("late")
    assert ("meets its filter 'delay < 0'" in str(refused.value)) == ("filter" in change)
    assert versions(platform) == []


@pytest.mark.parametrize("text", ["late", "late@", "@1", "late@x", "late@-1", "late@1@", "late@" + "9" * 40, "late@²"])
def test_a_version_is_named_by_name_and_number(text):
    assert datasets.parse("late@12") == ("late", 12)
    with pytest.raises(InvalidInput, match="NAME@NUMBER"):
        datasets.parse(text)


CHILD = """
import os, signal, sys, time
from pathlib import Path
from rota import wiring
from rota.backends.storage.blob_directory import BlobDirectory
from rota.backends.storage.delta_tables import DeltaTables
from rota.backends.sql.metadata import SqlMetadata
from rota.settings import Settings

home, environment, place = sys.argv[1:]

def dying(kind, name, when, nth=1):
    real, calls = getattr(kind, name), []
    def act(self, *arguments, **options):
        calls.append(1)
        if when == "before" and len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(self, *arguments, **options)
        if when == "after" and len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(kind, name, act)

with wiring.opened(Settings(home=Path(home), environment=environment)) as platform:
    platform.feed.pushes.flush("flights")
    if place.startswith("start:"):
        Path(place[6:] + environment).touch()
        while len(list(Path(place[6:]).parent.glob(Path(place[6:]).name + "*"))) < 2:
            time.sleep(0.01)
    elif place != "none":
        kind, name, when, nth = place.split()
        dying(globals()[kind], name, when, int(nth))
    made = platform.datasets.build("late")
    print(made.version.number, made.new)
"""


def start(home, environment="prod", place="none"):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILD), str(home), environment, place], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("place", "committed"),
    [
        ("DeltaTables append before 1", False),
        ("DeltaTables append after 1", False),
        ("BlobDirectory put after 1", False),
        ("BlobDirectory put before 3", False),
        ("SqlMetadata commit before 1", False),
        ("SqlMetadata commit after 1", True),
    ],
)
def test_a_build_that_is_killed_leaves_a_whole_version_or_none(home, place, committed):
    child = start(home, place=place)
    child.communicate(timeout=300)
    assert child.returncode == -9
    with wiring.opened(Settings(home=home)) as platform:
        assert len(versions(platform)) == committed
        made = platform.datasets.build("late")
        assert (made.new, made.version.number) == (not committed, 1)
        assert datasets.digest_of(datasets.read(platform.repositories.tables, made.version)) == made.version.digest
        assert profiles.load(platform.repositories.blobs, made.version).rows == HOURS
        assert len(platform.repositories.tables.tables("datasets/late/")) == 1


def test_two_builders_at_once_get_two_numbers(home, tmp_path):
    children = [start(home, environment, f"start:{tmp_path / 'ready-'}") for environment in ("one", "two")]
    said = [child.communicate(timeout=300)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sorted(said) == [["1", "True"], ["2", "True"]]
    with wiring.opened(Settings(home=home)) as platform:
        assert sorted(each.environment for each in versions(platform)) == ["one", "two"]
        for version in versions(platform):
            assert datasets.read(platform.repositories.tables, version).height == HOURS


def test_two_builders_of_the_same_state_share_a_version(home):
    children = [start(home, "one"), start(home, "one")]
    said = [child.communicate(timeout=300)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert {number for number, _ in said} == {"1"}


def test_a_split_by_time_is_part_of_what_a_version_is(platform):
    first = platform.datasets.build("late").version
    declare(platform, msgspec.structs.replace(DATASET, definition=msgspec.structs.replace(DEFINITION, split=TimeSplit("10h"))))
    second = platform.datasets.build("late").version
    assert (second.number, second.test_rows) == (2, 10)
    assert "drawn by id" in datasets.split_words(first)
    assert datasets.split_words(second).startswith("the newest 10h, from 2013-07-17")


def test_a_record_of_an_older_release_still_reads():
    old = {"name": "late", "number": 1, "digest": digest(b""), "table": "t", "table_version": 0, "rows": 2, "train_rows": 1, "test_rows": 1}
    times = dict.fromkeys(("start_us", "end_us", "test_from_us", "created_us"), NOON_US)
    version = decode(json.dumps(old | times), DatasetVersion)
    assert (version.split, version.environment, version.quality) == (None, "", {})
    assert datasets.split_words(version).startswith("the newest rows")
