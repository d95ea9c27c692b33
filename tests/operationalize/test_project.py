"""Projects: a file's definitions, what applying them changes, and files that cannot be projects."""

import json
import sys
from pathlib import Path

import pytest

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import Conflict, InvalidInput
from rota.operationalize import project as projects
from rota.operationalize import release as releases
from rota.records.data import FeatureService, FeatureView, Source
from rota.records.release import Endpoint
from rota.records.run import Deployed, PipelineRelease
from rota.records.signal import Monitor

TEXT = """
import rota
from neighbour import WINDOW

flights = rota.Source("flights", {"origin": "string", "at": "timestamp", "delay": "float"}, timestamp_field="at")
delays = rota.FeatureView("delays", [rota.Entity("airport", ["origin"])], flights, {"mean": rota.mean("delay", window=WINDOW)})

@rota.step
def train(data):
    return data

pipeline = rota.TrainingPipeline(
    "late",
    train=train,
    dataset=rota.DatasetDefinition(rota.FeatureService("late", [delays]), flights, rota.sql("delay > 15"), "at"),
    triggers=[rota.cron("0 3 * * 1")],
)
monitor = rota.Monitor(rota.Endpoint("late", model="late"))
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "flights").mkdir()
    (tmp_path / "flights" / "neighbour.py").write_text('WINDOW = "3h"\n')
    return written(tmp_path / "flights" / "project.py", TEXT)


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


class World:
    def __init__(self):
        self.metadata, self.blobs, self.now_us = MemoryMetadata(), MemoryBlobs(), 100

    def apply(self, file, environment="prod"):
        self.now_us += 1
        release = releases.build(self.blobs, file, now_us=self.now_us)
        return projects.apply(self.metadata, projects.load(file), release, environment=environment, actor="anna", now_us=self.now_us)

    def plan(self, file, environment="prod"):
        return whats(projects.plan(self.metadata, projects.load(file), environment=environment))


def whats(changes):
    return {f"{change.kind} {change.name}": change.what for change in changes}


@pytest.fixture
def world():
    return World()


ALL = ["source flights", "feature_view delays", "feature_service late", "pipeline late", "endpoint late", "monitor late"]


def test_naming_a_pipeline_and_a_monitor_is_enough_to_declare_all_they_are_made_of(file):
    project = projects.load(file)
    assert project.name == "flights"
    assert [type(record) for record in project.records] == [Source, FeatureView, FeatureService, type(project.pipelines[0]), Endpoint, Monitor]
    assert [pipeline.train for pipeline in project.pipelines] == ["project:train"]


def test_loading_leaves_python_as_it_was(file):
    modules, path = set(sys.modules), list(sys.path)
    projects.load(file)
    assert not {"project", "neighbour"} & (set(sys.modules) - modules)
    assert sys.path == path


def test_loading_again_sees_the_files_as_they_are_now(file, tmp_path):
    assert projects.load(file).records[1].features["mean"].window == "3h"
    (file.parent / "neighbour.py").write_text('WINDOW = "24h"  # longer\n')
    assert projects.load(file).records[1].features["mean"].window == "24h"
    other = tmp_path / "other"
    other.mkdir()
    (other / "neighbour.py").write_text('WINDOW = "7d"\n')
    assert projects.load(written(other / "project.py", TEXT)).records[1].features["mean"].window == "7d"


def test_plan_apply_plan(world, file):
    assert world.plan(file) == dict.fromkeys(ALL, "add")
    assert world.metadata.audit() == []
    assert whats(world.apply(file)) == dict.fromkeys(ALL, "add")
    assert world.plan(file) == dict.fromkeys(ALL, "keep")
    assert world.plan(file, "test") == dict.fromkeys(ALL, "keep") | {"pipeline late": "add"}


def test_an_applied_project_is_stored_deployed_and_audited(world, file):
    world.apply(file)
    deployed = world.metadata.get(Deployed, "late", "prod")
    assert world.metadata.get(PipelineRelease, deployed.release).module == "project"
    assert deployed.definition == projects.load(file).pipelines[0]
    assert [(event.kind, event.subject) for event in world.metadata.events(0)] == [("pipeline.deployed", "late")]
    assert {(entry.actor, entry.action) for entry in world.metadata.audit()} == {
        ("anna", action) for action in ("source.add", "feature_view.add", "feature_service.add", "endpoint.add", "monitor.add", "pipeline.deploy")
    }


def test_applying_twice_changes_nothing(world, file):
    world.apply(file)
    before = (world.metadata.find(PipelineRelease), world.metadata.find(Deployed), world.metadata.events(0), world.metadata.audit())
    assert set(whats(world.apply(file)).values()) == {"keep"}
    assert (world.metadata.find(PipelineRelease), world.metadata.find(Deployed), world.metadata.events(0), world.metadata.audit()) == before


def test_a_changed_view_is_a_change_and_changed_code_a_new_deployment(world, file):
    world.apply(file)
    first = world.metadata.get(Deployed, "late", "prod").release
    written(file, TEXT.replace("return data", "return data  # better"))
    assert set(whats(world.apply(file)).values()) == {"keep"}
    second = world.metadata.get(Deployed, "late", "prod").release
    assert second != first
    assert world.metadata.events(0)[-1].body == {"environment": "prod", "release": second, "before": first}
    written(
        file, TEXT.replace('"airport", ["origin"])]', '"airport", ["origin"])], ttl="1d"').replace('], ttl="1d", flights', '], flights, ttl="1d"')
    )
    written(file, TEXT.replace("window=WINDOW)}", 'window=WINDOW)}, ttl="1d"'))
    changed = world.plan(file)
    assert {name for name, what in changed.items() if what == "change"} == {"feature_view delays", "feature_service late", "pipeline late"}


def test_of_two_deployments_at_once_one_wins(world, file, monkeypatch):
    world.apply(file)
    written(file, TEXT + "\n# one\n")
    commit = world.metadata.commit

    def second_first(batch):
        monkeypatch.setattr(world.metadata, "commit", commit)
        written(file, TEXT + "\n# two, longer\n")
        world.apply(file)
        commit(batch)

    monkeypatch.setattr(world.metadata, "commit", second_first)
    with pytest.raises(Conflict):
        world.apply(file)
    assert len(world.metadata.find(PipelineRelease)) == 2


BAD = {
    "syntax": ("def (", "cannot be imported: SyntaxError"),
    "nul": ("x = 1\0", "cannot be imported"),
    "missing library": ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
    "raises": ("1 / 0", "ZeroDivisionError"),
    "leaves": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "empty": ("", "declares nothing"),
    "only numbers": ("x = [1, {}, None]", "declares nothing"),
    "recursion": ("def f(): f()\nf()", "RecursionError"),
    "bad name": ('import rota; rota.Entity("../x", ["a"])', r"entity name '\.\./x' is not allowed"),
    "twice": ('import rota; a = rota.Endpoint("e", "m"); b = rota.Endpoint("e", "n")', "declares Endpoint 'e' twice and differently"),
    "bad cron": ('import rota; m = rota.Monitor(rota.Endpoint("e", "m"), schedule="every day")', "cron expression 'every day' is not five fields"),
    "no such day": (TEXT.replace("0 3 * * 1", "0 0 30 2 *").replace("from neighbour import WINDOW", 'WINDOW = "3h"'), "is not valid: failed to find"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_says_what_is_wrong_with_it(tmp_path, bad):
    text, message = BAD[bad]
    modules, path = set(sys.modules), list(sys.path)
    with pytest.raises(InvalidInput, match=message):
        projects.load(written(tmp_path / "project.py", text))
    assert "project" not in set(sys.modules) - modules
    assert sys.path == path


@pytest.mark.parametrize("name", ["json.py", "my-project.py", "a.b.py", "project.txt", "project"])
def test_a_file_that_a_worker_could_not_import_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput, match=r"name it for example project\.py"):
        projects.load(written(tmp_path / name, TEXT))
    assert sys.modules["json"] is json


@pytest.mark.parametrize("path", ["nothing.py", ".", "a\0b.py"])
def test_a_missing_file_is_told(tmp_path, path):
    with pytest.raises(InvalidInput, match="there is no project file"):
        projects.load(tmp_path / path)


def test_a_project_behind_a_link_is_the_project(file, tmp_path):
    (tmp_path / "link").symlink_to(file.parent)
    assert projects.load(tmp_path / "link" / "project.py") == projects.load(file)
    assert "neighbour" not in sys.modules
