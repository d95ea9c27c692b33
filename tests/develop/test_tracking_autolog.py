"""Fits that log themselves: what they learn, measure and make, without changing what they do."""

import json
import pickle
import threading
import warnings

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rota
from rota import programs, wiring
from rota.develop.autologging import MODEL_NOT_KEPT
from rota.records.filters import Query
from rota.records.tracking import ArtifactFile, LoggedModel
from rota.settings import Settings

X = np.random.default_rng(0).normal(size=(120, 3))
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)
TABLE = pd.DataFrame(X, columns=["distance", "wind", "hour"])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(programs, "_homes", {})  # each test stands for a program of its own
    yield
    rota.autolog(disable=True)


def runs(experiment="e"):
    """Name and run of everything in an experiment, oldest first."""
    with wiring.opened(Settings()) as platform:
        tracking = platform.repositories.tracking
        found = tracking.experiment_named(experiment)
        return list(reversed(tracking.search_runs([found.id], Query()).items)) if found else []


def kept(run):
    """Its artifacts, and the files of its models, by path."""
    with wiring.opened(Settings()) as platform:
        r = platform.repositories
        roots = [f"{run.experiment}/{run.id}/artifacts", *(f"{run.experiment}/models/{output.model}/artifacts" for output in run.outputs)]
        assert all(r.metadata.get(LoggedModel, output.model).status == "ready" for output in run.outputs)
        return {file.path: r.blobs.get(file.digest) for root in roots for file in r.metadata.find(ArtifactFile, {"root": root})}


def test_a_classifier_logs_parameters_scores_signature_and_itself():
    with rota.track("e", autolog=True):
        model = LogisticRegression(C=0.5).fit(TABLE, Y)
    (run,) = runs()
    assert (run.parameters["estimator_name"], run.parameters["C"]) == ("LogisticRegression", "0.5")
    assert run.metrics["training_score"] == pytest.approx(model.score(TABLE, Y))
    assert {"training_log_loss", "training_roc_auc", "training_f1_score"} <= set(run.metrics)
    files = kept(run)
    signature = json.loads(files["signature.json"])
    assert [column["name"] for column in json.loads(signature["inputs"])] == ["distance", "wind", "hour"]
    assert json.loads(files["rota.json"])["format"] == "skops"
    assert "loader_module" in files["MLmodel"].decode()
    (data,) = run.inputs
    assert (data.name, data.node) == ("X", "")


def test_only_the_outermost_fit_is_logged():
    with rota.track("e", autolog=True):
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    (run,) = runs()
    assert (run.parameters["estimator_name"], run.parameters["logisticregression__C"]) == ("Pipeline", "1.0")
    assert len(run.outputs) == 1


def test_a_search_logs_its_best_candidate_and_keeps_all_results():
    with rota.track("e", autolog=True):
        search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(X, Y)
    (run,) = runs()
    assert run.parameters["best_C"] == str(search.best_params_["C"])
    assert run.metrics["best_cv_score"] == pytest.approx(search.best_score_)
    assert json.loads(kept(run)["cv_results.json"])["param_C"] == [0.1, 1.0]
    assert json.loads(kept(run)["rota.json"])["class"].endswith("LogisticRegression")


def test_a_second_fit_in_a_run_is_a_child_of_it():
    with rota.track("e", autolog=True) as outer:
        LogisticRegression(C=1.0).fit(X, Y)
        LogisticRegression(C=2.0).fit(X, Y)
    first, second = sorted(runs(), key=lambda run: bool(run.parent))
    assert (first.id, first.parameters["C"]) == (outer.id, "1.0")
    assert (second.parent, second.name, second.parameters["C"]) == (outer.id, "LogisticRegression", "2.0")


def test_a_regressor_has_errors_for_scores():
    with rota.track("e", autolog=True):
        LinearRegression().fit(X, X[:, 0])
    assert runs()[0].metrics["training_mean_squared_error"] == pytest.approx(0, abs=1e-20)
    assert runs()[0].metrics["training_r2_score"] == pytest.approx(1)


def test_what_cannot_predict_is_not_logged():
    with rota.track("e", autolog=True):
        StandardScaler().fit(X)
    assert runs()[0].parameters == {}


def test_lightgbm_logs_every_iteration_importance_and_the_booster():
    held = lightgbm.Dataset(X[80:], Y[80:])
    seen = {}
    with rota.track("e", autolog=True):
        lightgbm.train(
            {"objective": "binary", "verbose": -1, "num_leaves": 4},
            lightgbm.Dataset(X[:80], Y[:80]),
            7,
            valid_sets=[held],
            callbacks=[lightgbm.record_evaluation(seen)],
        )
    (run,) = runs()
    assert (run.parameters["num_boost_round"], run.parameters["num_leaves"]) == ("7", "4")
    with wiring.opened(Settings()) as platform:
        points = platform.repositories.tracking.history(run.id, "valid_0-binary_logloss")
    assert [(point.step, point.value) for point in points] == list(enumerate(seen["valid_0"]["binary_logloss"]))
    files = kept(run)
    assert set(json.loads(files["feature_importance_gain.json"])) == {"Column_0", "Column_1", "Column_2"}
    assert lightgbm.Booster(model_str=files["model.lgb"].decode()).num_trees() == 7


def test_lightgbms_estimators_log_the_same():
    with rota.track("e", autolog=True):
        model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(TABLE, Y, eval_X=TABLE, eval_y=Y)
    (run,) = runs()
    assert run.parameters["n_estimators"] == "5"
    assert model.n_estimators_ == 5
    assert any(name.endswith("-binary_logloss") for name in run.metrics)
    assert {"model.lgb", "signature.json"} <= set(kept(run))


def test_early_stopping_goes_on_working():
    with rota.track("e", autolog=True):
        stop = lightgbm.early_stopping(2, verbose=False)
        noise = lightgbm.Dataset(X, np.random.default_rng(1).integers(0, 2, 120))
        booster = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(X, Y), 100, valid_sets=[noise], callbacks=[stop])
    assert runs()[0].metrics["best_iteration"] == booster.best_iteration < 100


def test_without_a_block_each_fit_opens_a_run_of_its_own():
    rota.autolog(experiment="free")
    LogisticRegression(C=3.0).fit(X, Y)
    with pytest.raises(ValueError, match="inconsistent"):
        LogisticRegression().fit(X, Y[:5])
    assert sorted((run.name, run.status) for run in runs("free")) == [("LogisticRegression", "failed"), ("LogisticRegression", "finished")]


def test_the_libraries_are_as_they_were_when_it_ends():
    before = (LogisticRegression.fit, lightgbm.train, lightgbm.LGBMClassifier.fit, BaseEstimator.__init_subclass__.__func__)
    with rota.track("e", autolog=True):
        assert LogisticRegression.fit is not before[0]
        with rota.track("e", autolog=True):
            pass
        assert LogisticRegression.fit is not before[0]
    rota.autolog()
    rota.autolog()
    with rota.track("e", autolog=True):
        pass
    assert LogisticRegression.fit is not before[0], "as long as autolog() is on"
    rota.autolog(disable=True)
    assert (LogisticRegression.fit, lightgbm.train, lightgbm.LGBMClassifier.fit, BaseEstimator.__init_subclass__.__func__) == before
    LogisticRegression().fit(X, Y)
    assert all(run.parameters == {} for run in runs())


def test_an_estimator_that_is_defined_later_is_logged_too():
    with rota.track("e", autolog=True):

        class Majority(ClassifierMixin, BaseEstimator):
            def fit(self, x, y):
                self.classes_, self.answer_ = np.unique(y), np.bincount(y).argmax()
                return self

            def predict(self, x):
                return np.full(len(x), self.answer_)

        Majority().fit(X, Y)
    (run,) = runs()
    assert run.parameters["estimator_name"] == "Majority"
    assert run.metrics["training_accuracy_score"] == pytest.approx(max(Y.mean(), 1 - Y.mean()))
    files = kept(run)
    assert json.loads(files["rota.json"])["format"] == "pickle"
    assert "gives no probabilities" in json.loads(files["rota.json"])["unservable"]
    assert (pickle.loads(files["model.pkl"]).predict(X) == Majority().fit(X, Y).predict(X)).all()
    assert MODEL_NOT_KEPT not in run.tags


class Locked(ClassifierMixin, BaseEstimator):
    """Cannot be written: it holds a lock."""

    def fit(self, x, y):
        self.classes_, self.lock_ = np.unique(y), threading.Lock()
        return self

    def predict(self, x):
        return np.zeros(len(x))


def test_a_fit_whose_model_cannot_be_kept_says_so(caplog):
    with rota.track("e", autolog=True):
        Locked().fit(X, Y)
    (run,) = runs()
    assert "cannot pickle '_thread.lock'" in run.tags[MODEL_NOT_KEPT]
    assert f"no model of run {run.id} was kept" in caplog.text
    assert run.outputs == ()


def test_a_fit_gives_the_same_result_and_signature_with_and_without():
    plain = LogisticRegression().fit(X, Y).coef_
    with rota.track("e", autolog=True), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LogisticRegression().fit(X, Y).coef_ == pytest.approx(plain, abs=0)
        assert LogisticRegression().fit(X=X, y=Y).coef_ == pytest.approx(plain, abs=0)


def test_a_fault_in_logging_does_not_reach_the_fit(monkeypatch, caplog):
    with rota.track("e", autolog=True) as run:
        monkeypatch.setattr(type(run), "log_params", None)
        monkeypatch.setattr(type(run), "log_model", None)
        model = LogisticRegression().fit(X, Y)
    assert model.coef_.shape == (1, 3)
    assert caplog.text.count("autologging: TypeError") == 2
    assert runs()[0].status == "finished"


def test_a_home_that_cannot_be_opened_does_not_reach_the_fit(tmp_path, caplog):
    (tmp_path / "file").write_text("no home")
    rota.autolog(home=tmp_path / "file" / "home")
    assert LogisticRegression().fit(X, Y).coef_.shape == (1, 3)
    assert "autologging: " in caplog.text


def test_threads_that_a_fit_starts_are_parts_of_it_and_threads_with_runs_are_not():
    rota.autolog(experiment="free")
    VotingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(3, n_jobs=2))]).fit(X, Y)
    assert [run.name for run in runs("free")] == ["VotingClassifier"]

    def fit(c):
        with rota.track("threads"):
            LogisticRegression(C=c).fit(X, Y)

    threads = [threading.Thread(target=fit, args=(float(c),)) for c in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {run.parameters["C"] for run in runs("threads")} == {"1.0", "2.0"}


def test_parameters_that_the_user_set_stay():
    with rota.track("e", autolog=True) as run:
        run.log_params(C="mine")
        LogisticRegression().fit(X, Y)
    assert (runs()[0].parameters["C"], runs()[0].parameters["max_iter"]) == ("mine", "100")
