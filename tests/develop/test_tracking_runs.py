"""Tracked runs: everything logged is there afterwards, however the block ends."""

import hashlib
import itertools
import json
import math
import os
import pickle
import signal
import threading
import time

import numpy as np
import polars as pl
import pytest

import rota
import rota.wiring
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.develop.tracker_stores import TrackerConfig
from rota.develop.tracking import Tracker, current_run
from rota.errors import Conflict, InvalidInput, NotFound, Refused, Unavailable
from rota.manage.experiments import artifacts
from rota.manage.repositories import Repositories
from rota.ports.drawing import Drawing
from rota.records.model import RegisteredModel
from rota.records.tracking import ArtifactFile, Experiment, LoggedModel
from rota.testing.clock import FakeClock

NOON_US = 1_373_889_600_000_000


@pytest.fixture
def clock():
    return FakeClock(NOON_US)


@pytest.fixture
def repositories(clock):
    metadata = MemoryMetadata()
    return Repositories(
        metadata=metadata,
        runs=MemoryRuns(metadata),
        blobs=MemoryBlobs(),
        tables=MemoryTables(),
        online=MemoryOnline(),
        journal=MemoryJournal(),
        clock=clock,
        tracking=MemoryTracking(metadata),
    )


@pytest.fixture
def tracker(repositories, clock, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ticks = map(NOON_US.__add__, itertools.count()).__next__
    config = TrackerConfig(lambda: repositories, tmp_path / "spool", ticks, 1, owner="ada", flush_s=0.02)
    made = Tracker(config, new_id=map("run{}".format, itertools.count(1)).__next__)
    yield made
    made.stores.flusher.close()


def stored(repositories, identity="run1"):
    return repositories.tracking.run(identity)


def test_a_finished_run_holds_what_was_logged(tracker, repositories, clock):
    with tracker.run("late-flights", "deeper trees", tags={"team": "rail"}) as run:
        run.log_params({"depth": 8}, rate=0.1)
        run.log_param("loss", None)
        run.log_metric("log_loss", 0.48, step=1)
        run.log_metrics({"log_loss": 0.46, "auc": np.float32(0.75)}, step=2)
        run.set_tag("idea", "more depth")
        clock.advance(NOON_US + 60_000_000)
    found = stored(repositories)
    assert repositories.tracking.experiment(found.experiment).name == "late-flights"
    assert (found.name, found.status, found.owner) == ("deeper trees", "finished", "ada")
    assert (found.started_us, found.ended_us) == (NOON_US, NOON_US + 60_000_000)
    assert found.parameters == {"depth": "8", "rate": "0.1", "loss": "None"}
    assert found.metrics == {"log_loss": 0.46, "auc": 0.75}
    assert [(p.step, p.value) for p in repositories.tracking.history("run1", "log_loss")] == [(1, 0.48), (2, 0.46)]
    assert (found.tags["team"], found.tags["idea"]) == ("rail", "more depth")


def test_a_metric_without_a_step_stands_at_step_0_each_time(tracker, repositories):
    with tracker.run("e") as run:
        run.log_metric("loss", 3.0)
        run.log_metric("loss", math.nan)
        run.log_metric("loss", -math.inf)
    points = repositories.tracking.history("run1", "loss")
    assert [(point.step, str(point.value)) for point in points] == [(0, "3.0"), (0, "nan"), (0, "-inf")]


def test_a_run_is_there_as_running_and_its_metrics_come_without_asking(tracker, repositories):
    with tracker.run("e") as run:
        assert stored(repositories).status == "running"
        assert stored(repositories).name == "run1"
        run.log_metric("loss", 0.5)
        assert eventually(lambda: stored(repositories).metrics == {"loss": 0.5})


def test_flush_stores_at_once(tracker, repositories):
    with tracker.run("e") as run:
        for step in range(50_000):
            run.log_metric("loss", step, step)
        run.flush()
        assert stored(repositories).metrics == {"loss": 49_999.0}
        assert len(repositories.tracking.history("run1", "loss", limit=100_000)) == 50_000


def a_block(tracker, act):
    with tracker.run("e") as run:
        run.log_metric("loss", 3.0)
        act(run)


def throw(error):
    raise error


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no convergence"), "failed"), (KeyboardInterrupt(), "killed"), (SystemExit(1), "failed"), (SystemExit(0), "finished")],
)
def test_how_a_block_ends_is_how_its_run_ends_and_the_error_goes_on(tracker, repositories, error, status):
    with pytest.raises(type(error)):
        a_block(tracker, lambda _: throw(error))
    found = stored(repositories)
    assert (found.status, found.ended_us, found.metrics) == (status, NOON_US, {"loss": 3.0})
    assert found.tags.get("error", "").startswith("" if status == "finished" else type(error).__name__)


def test_sigterm_unwinds_the_block_and_is_then_as_it_was(tracker, repositories):
    with pytest.raises(SystemExit) as raised:
        a_block(tracker, lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(60)))
    assert raised.value.code == 143
    assert (stored(repositories).status, stored(repositories).metrics) == ("killed", {"loss": 3.0})
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_nothing_is_logged_into_an_ended_run(tracker):
    with tracker.run("e") as run:
        pass
    for log in (
        lambda: run.log_metric("auc", 1.0),
        lambda: run.log_params(a=1),
        lambda: run.log_artifact("a", b""),
        lambda: run.set_tag("a", "b"),
        lambda: run.log_input(np.zeros(1)),
        lambda: run.end("failed"),
    ):
        with pytest.raises(Refused, match="'run1' has finished"):
            log()
    with pytest.raises(Refused, match="has had its block"), run:
        pass


def test_a_run_may_be_ended_inside_its_block(tracker, repositories):
    with tracker.run("e") as run:
        run.end("failed")
    assert stored(repositories).status == "failed"


def test_parameters_are_written_once(tracker, repositories):
    with tracker.run("e") as run:
        run.log_params(depth=8)
        run.log_params(depth=8)
        with pytest.raises(InvalidInput, match="depth"):
            run.log_params(depth=9, rate=1)
    assert stored(repositories).parameters == {"depth": "8"}


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 251, 7, None])
def test_a_name_that_cannot_be_shown_is_refused(tracker, name):
    with tracker.run("e") as run:
        for log in (run.log_params, run.set_tags):
            with pytest.raises(InvalidInput, match="cannot name a parameter"):
                log({name: 1.0})


def test_a_text_too_long_is_refused_by_its_name(tracker):
    with tracker.run("e") as run, pytest.raises(InvalidInput, match="parameter 'notes' has 6001 characters"):
        run.log_param("notes", "x" * 6_001)


@pytest.mark.parametrize("experiment", ["", "a\nb", "x" * 501])
def test_an_experiment_has_a_name_that_can_be_shown(tracker, experiment):
    with pytest.raises(InvalidInput, match="cannot name an experiment"):
        tracker.run(experiment)


def test_an_experiment_is_made_once_and_a_deleted_one_is_not_revived(tracker, repositories):
    with tracker.run("Fraud, 3rd try"), tracker.run("Fraud, 3rd try"):
        pass
    assert stored(repositories, "run1").experiment == stored(repositories, "run2").experiment
    before = repositories.tracking.experiment_named("Fraud, 3rd try")
    repositories.tracking.replace_experiment(Experiment(before.id, before.name, deleted_us=1), before=before)
    with pytest.raises(Refused, match="is deleted; restore it"):
        tracker.run("Fraud, 3rd try")


def test_two_that_make_an_experiment_at_once_share_it(tracker, repositories, monkeypatch):
    create = repositories.tracking.create_experiment

    def late(experiment):
        create(Experiment("other", experiment.name))
        raise Conflict("taken")

    monkeypatch.setattr(repositories.tracking, "create_experiment", late)
    with tracker.run("e"):
        pass
    assert stored(repositories).experiment == "other"


def test_runs_are_nested_and_know_their_place(tracker, repositories):
    assert current_run() is None
    with tracker.run("e", seeds=[7]) as run:
        with run.child("trial 1") as first:
            assert current_run() is first
            with first.child("fold", seeds=[9]) as fold:
                fold.log_metric("loss", 1.0)
        assert current_run() is run
        run.tag_child(first.id, "best", "true")
        with pytest.raises(NotFound, match="no child 'run9'"):
            run.tag_child("run9", "best", "true")
    assert current_run() is None
    assert [stored(repositories, f"run{n}").parent for n in (1, 2, 3)] == ["", "run1", "run2"]
    assert [stored(repositories, f"run{n}").source["seeds"] for n in (1, 2, 3)] == ["7", "7", "9"]
    assert stored(repositories, "run2").tags["best"] == "true"
    assert [edge.cause for edge in repositories.metadata.edges(["experiment_run:run3"], "causes")] == ["experiment_run:run2"]


def test_a_child_that_fails_leaves_its_parent_running(tracker, repositories):
    with tracker.run("e") as run:
        with pytest.raises(ValueError, match="bad"), run.child("c"):
            raise ValueError("bad")
        assert stored(repositories).status == "running"
    assert [stored(repositories, name).status for name in ("run1", "run2")] == ["finished", "failed"]


def test_threads_log_into_one_run_without_losing_each_other(tracker, repositories):
    with tracker.run("e") as run:
        threads = [threading.Thread(target=lambda w=w: [run.log_metric(f"m{w}", i, i) for i in range(5_000)]) for w in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [len(repositories.tracking.history("run1", f"m{w}")) for w in range(6)] == [5_000] * 6


def test_artifacts_are_kept_with_their_lineage(tracker, repositories, tmp_path):
    (tmp_path / "plots" / "deep").mkdir(parents=True)
    (tmp_path / "plots" / "deep" / "notes.txt").write_bytes(b"from a file")
    (tmp_path / "plots" / "empty").write_bytes(b"")
    with tracker.run("e") as run:
        digest = run.log_artifact("plot.svg", b"<svg/>")
        assert kept(repositories) == {"plot.svg": b"<svg/>"}, "an artifact is stored when log_artifact returns"
        run.log_artifact(tmp_path / "plots" / "deep" / "notes.txt", folder="texts")
        run.log_artifacts(tmp_path / "plots", folder="all")
        run.log_text("grüße", "deep/words.txt")
        run.log_dict({"b": [1, None], "a": "x"}, "facts.json")
    assert digest == hashlib.sha256(b"<svg/>").hexdigest()
    assert kept(repositories) == {
        "plot.svg": b"<svg/>",
        "texts/notes.txt": b"from a file",
        "all/deep/notes.txt": b"from a file",
        "all/empty": b"",
        "deep/words.txt": "grüße".encode(),
        "facts.json": b'{\n  "b": [\n    1,\n    null\n  ],\n  "a": "x"\n}\n',
    }
    root = artifacts.run_root(stored(repositories))
    effects = {edge.effect for edge in repositories.metadata.edges(["experiment_run:run1"], "effects")}
    assert effects == {f"artifact_file:{root}@{path}" for path in kept(repositories)}


def kept(repositories, root=None):
    root = root or artifacts.run_root(stored(repositories))
    return {file.path: repositories.blobs.get(file.digest) for file in repositories.metadata.find(ArtifactFile, {"root": root})}


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "a/../../b", "a\\b", "%2e%2e/x"])
def test_an_artifact_cannot_leave_its_run(tracker, repositories, name):
    with tracker.run("e") as run, pytest.raises(InvalidInput):
        run.log_artifact(name, b"x")
    assert kept(repositories) == {}


def test_an_artifact_without_bytes_or_file_is_named(tracker, tmp_path):
    with tracker.run("e") as run:
        with pytest.raises(NotFound, match=r"there is no file .*missing\.png"):
            run.log_artifact(tmp_path / "missing.png")
        with pytest.raises(NotFound, match=r"there is no directory .*missing"):
            run.log_artifacts(tmp_path / "missing")
        with pytest.raises(InvalidInput, match="cannot be kept as JSON"):
            run.log_dict({"a": object()}, "a.json")


class Plot:
    """What Matplotlib's figures have."""

    def savefig(self, into, format):
        into.write(format.encode())


CHART = {
    "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
    "data": {"values": [{"depth": 4}]},
    "mark": "point",
    "encoding": {"x": {"field": "depth"}},
}


class Chart:
    """What Altair's charts have."""

    def to_dict(self):
        return CHART


def test_figures_are_kept_in_the_form_of_their_name(tracker, repositories):
    with tracker.run("e") as run:
        run.log_figure(Plot(), "loss.png")
        run.log_figure(Chart(), "depth.json")
        for figure, name, fault in ((Plot(), "loss.exe", "must end in"), (7, "x.png", "is no figure"), (Chart(), "x.svg", "vl-convert")):
            with pytest.raises(InvalidInput, match=fault):
                run.log_figure(figure, name)
    assert kept(repositories)["loss.png"] == b"png"
    assert json.loads(kept(repositories)["depth.json"]) == CHART


def test_a_chart_is_drawn_where_that_is_installed(repositories, tmp_path):
    drawing: Drawing = pytest.importorskip("rota.backends.vega_drawing").VegaDrawing()
    tracker = Tracker(TrackerConfig(lambda: repositories, tmp_path, time.time_ns, 1_000, drawing=drawing), new_id=lambda: "run1")
    with tracker.run("e") as run:
        digest = run.log_figure(Chart(), "depth.svg")
        with pytest.raises(InvalidInput, match="cannot be drawn"):
            run.log_figure({"mark": 7}, "broken.svg")
    tracker.stores.flusher.close()
    assert repositories.blobs.get(digest).startswith(b"<svg")
    assert set(kept(repositories)) == {"depth.json", "depth.svg"}


def test_a_store_that_fails_at_the_end_costs_nothing(tracker, repositories, monkeypatch):
    def away(*_):
        raise Unavailable("the store is away")

    with monkeypatch.context() as patched:
        with pytest.raises(Unavailable, match="away"):
            a_block(tracker, lambda _: patched.setattr(repositories.tracking, "log", away))
        assert stored(repositories).status == "running"
    assert tracker.drain() == ["run1"]
    assert (stored(repositories).status, stored(repositories).metrics) == ("finished", {"loss": 3.0})


def test_a_run_that_cannot_be_made_leaves_nothing(tracker, repositories, tmp_path, monkeypatch):
    def away(*_):
        raise Unavailable("the store is away")

    monkeypatch.setattr(repositories.tracking, "create_run", away)
    with pytest.raises(Unavailable), tracker.run("e"):
        pass
    assert list((tmp_path / "spool").iterdir()) == []


def test_no_spool_is_left_of_a_finished_run(tracker, tmp_path):
    with tracker.run("e") as run:
        run.log_metric("loss", 0.5)
        with run.child():
            pass
    assert list((tmp_path / "spool").iterdir()) == []


def test_track_keeps_runs_in_the_home_of_the_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROTA_HOME", "house")
    with rota.track("tuning", seeds=[1], tags={"a": "b"}) as run:
        run.log_metric("auc", 0.7)
        with rota.track("tuning", "inner", nested=True) as inner, rota.track("other", "beside") as beside:
            inner.log_artifact("a.bin", b"a" * 1_000_000)
            assert rota.current_run() is beside
    assert in_home(tmp_path / "house", run.id).metrics == {"auc": 0.7}
    assert (in_home(tmp_path / "house", inner.id).status, in_home(tmp_path / "house", inner.id).parent) == ("finished", run.id)
    assert in_home(tmp_path / "house", beside.id).parent == ""
    with rota.track("tuning", home=tmp_path / "other") as other:
        pass
    assert in_home(tmp_path / "other", other.id).status == "finished"
    with pytest.raises(InvalidInput, match="nested=True needs the block"), rota.track("tuning", nested=True):
        pass


def test_a_fitted_model_is_kept_as_a_logged_model(tmp_path):
    linear = pytest.importorskip("sklearn.linear_model")
    fitted = linear.LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with rota.track("models", home=tmp_path) as run:
        model = run.log_model(fitted, "classifier", step=3)
        with pytest.raises(InvalidInput, match="cannot be pickled"):
            run.log_model(threading.Lock())
    with rota.wiring.opened(rota.Settings(home=tmp_path)) as platform:
        r = platform.repositories
        found = r.metadata.get(LoggedModel, model.id)
        assert (found.name, found.status, found.run, found.type, found.unservable) == ("classifier", "ready", run.id, "skops", "")
        files = kept(r, artifacts.model_root(found))
        assert set(files) == {"MLmodel", "author_answers.json", "model.skops", "requirements.txt", "rota.json"}
        predictor = platform.formats["skops"].loads(files["model.skops"])
        assert predictor.predict(np.array([[0.3]])) == pytest.approx(fitted.predict_proba([[0.3]])[:, 1])
        assert [(output.model, output.step) for output in r.tracking.run(run.id).outputs] == [(model.id, 3)]
        assert [edge.cause for edge in r.metadata.edges([f"logged_model:{model.id}"], "causes")] == [f"experiment_run:{run.id}"]


def test_the_example_of_a_model_is_given_as_rows_or_as_a_table(tmp_path):
    linear, pandas = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("pandas")
    fitted = linear.LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    given = {"rows": [{"x": 0.3}], "polars": pl.DataFrame({"x": [0.3]}), "pandas": pandas.DataFrame({"x": [0.3]})}
    with rota.track("models", home=tmp_path) as run:
        models = {name: run.log_model(fitted, name, input_example=example) for name, example in given.items()}
        with pytest.raises(InvalidInput, match="the input example is a int"):
            run.log_model(fitted, "wrong", input_example=7)
    for example in given.values():
        rota.register_model("linear", model=fitted, input_example=example, home=tmp_path)
    with rota.wiring.opened(rota.Settings(home=tmp_path)) as platform:
        for model in models.values():
            found = platform.repositories.metadata.get(LoggedModel, model.id)
            files = kept(platform.repositories, artifacts.model_root(found))
            assert (found.unservable, json.loads(files["input_example.json"])) == ("", [{"x": 0.3}])


def test_a_logged_model_solves_the_problem_that_its_author_names(tmp_path):
    linear = pytest.importorskip("sklearn.linear_model")
    fitted = linear.LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0])
    with rota.track("models", home=tmp_path) as run:
        run.log_model(fitted, "visits", input_example=[{"x": 0.3}], problem="count")
        run.log_model(fitted, "plain", input_example=[{"x": 0.3}])
        with pytest.raises(InvalidInput, match="the problem 'counts' is unknown"):
            run.log_model(fitted, "odd", problem="counts")
    named, plain = (rota.register_model("m", run=run.id, artifact=name, home=tmp_path) for name in ("visits", "plain"))
    assert (named.problem, named.unservable) == ("count", "")
    assert (plain.problem, plain.unservable) == ("regression", "")


def greet(rows):
    return [0.0 for _ in rows]


def test_tracking_keeps_any_model_and_says_which_cannot_be_served(tmp_path):
    linear, text = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.feature_extraction.text")
    pipeline = pytest.importorskip("sklearn.pipeline")
    three = linear.LogisticRegression().fit([[0.0], [1.0], [2.0]], [0, 1, 2])
    words = pipeline.make_pipeline(text.TfidfVectorizer(), linear.LogisticRegression()).fit(["good day", "bad day"] * 5, [1, 0] * 5)
    expected = {
        "three": (three, "skops", ""),
        "words": (words, "skops", ""),
        "function": (greet, "pickle", "a function, a class or plain data cannot be served"),
        "lambda": (lambda rows: rows, "pickle", "cannot be served, also as a pickle"),
        "own": (Halves(), "pickle", "rota models allow-pickle MODEL"),
    }
    with rota.track("models", home=tmp_path) as run:
        logged = {name: run.log_model(model, name) for name, (model, _, _) in expected.items()}
    with rota.wiring.opened(rota.Settings(home=tmp_path)) as platform:
        for name, (_, kind, reason) in expected.items():
            record = platform.repositories.metadata.get(LoggedModel, logged[name].id)
            assert (record, record.status, record.type) == (logged[name], "ready", kind)
            assert reason in record.unservable
            version = platform.models.register_run(name, run=run.id, artifact=name)
            if not reason:  # served as soon as it is adopted
                assert record.unservable == platform.models.adopter.adopt(name, 1, actor="ana").unservable == ""
                continue
            assert version.unservable == record.unservable
            adopted = platform.models.adopter.adopt(name, 1, actor="ana").unservable
            assert reason.replace("MODEL", name) in adopted, adopted
            assert ("allow-pickle" in adopted) == (name == "own")
        assert pickle.loads(kept(platform.repositories, artifacts.model_root(logged["function"]))["model.pkl"])([1, 2]) == [0.0, 0.0]
        with pytest.raises(NotFound, match=r"kept \['function', 'lambda', 'own', 'three', 'words'\]"):
            platform.models.register_run("none", run=run.id, artifact="nothere")
        assert platform.repositories.metadata.get(RegisteredModel, "none") is None


class Halves:
    def predict(self, matrix):
        return matrix[:, 0] / 2


def test_a_folder_with_one_bad_name_is_not_kept_by_half(tmp_path):
    folder = tmp_path / "out"
    (folder / "b").mkdir(parents=True)
    for name in ("a.txt", "b/c#d.txt", "b/e?.txt", "f.txt"):
        (folder / name).write_text("x")
    with rota.track("folders", home=tmp_path / "home") as run:
        with pytest.raises(InvalidInput, match=r"nothing of .* was kept: .*c#d\.txt.*e\?\.txt"):
            run.log_artifacts(folder)
        run.log_artifact("g", b"a file")
        (tmp_path / "clean").mkdir()
        (tmp_path / "clean" / "h").write_text("x")
        with pytest.raises(InvalidInput, match="'g' is a file"):
            run.log_artifacts(tmp_path / "clean", folder="g")
    with rota.wiring.opened(rota.Settings(home=tmp_path / "home")) as platform:
        assert [file.path for file in platform.repositories.metadata.find(ArtifactFile)] == ["g"]


def in_home(home, identity):
    with rota.wiring.opened(rota.Settings(home=home)) as platform:
        return platform.repositories.tracking.run(identity)


def eventually(is_so, within_s=60.0):
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
