"""A search makes every trial a child run and marks the best; a seed repeats it, an earlier search shortens it."""

import numpy as np
import pytest

import rota
from rota import engines
from rota.develop import run_search, tuning
from rota.errors import InvalidInput, Refused
from rota.records.filters import Query
from rota.settings import Settings
from rota.wiring import opened

pytest.importorskip("optuna", reason="pip install 'rota[tune]'")


def bowl(trial: rota.Trial) -> float:
    """Smallest, 0, at x = 2 with kind "round"."""
    x = trial.suggest_float("x", -10, 10)
    return (x - 2) ** 2 + (0.0 if trial.suggest_categorical("kind", ["round", "flat"]) == "round" else 5.0)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def runs_of(home, parent):
    with opened(Settings(home=home)) as platform:
        tracking = platform.repositories.tracking
        run = run_search.run(tracking, parent)
        return run, run_search.children(tracking, run)


def test_every_trial_is_a_child_run_and_the_best_is_marked(home):
    best = rota.tune("bowl", bowl, trials=12, seed=3, home=home)
    run, children = runs_of(home, best.run)
    assert len(children) == best.finished == 12
    values = {child.id: child.metrics["objective"] for child in children}
    assert best.best_value == min(values.values())
    assert [child.id for child in children if child.tags.get("best") == "true"] == [best.best_run]
    assert values[best.best_run] == best.best_value
    marked = next(child for child in children if child.id == best.best_run)
    assert marked.parameters == {"x": str(best.best_parameters["x"]), "kind": best.best_parameters["kind"]}
    assert run.tags["best"] == best.best_run
    assert run.parameters["best.x"] == str(best.best_parameters["x"])
    assert run.metrics["objective"] == best.best_value
    assert {child.parent for child in children} == {run.id}


def test_the_largest_value_is_best_when_told_to_maximize(home):
    best = rota.tune("hill", lambda trial: -bowl(trial), trials=8, direction="maximize", seed=3, home=home)
    _, children = runs_of(home, best.run)
    assert best.best_value == max(child.metrics["objective"] for child in children)


def test_the_same_seed_draws_the_same_parameters(home):
    first, again, other = (rota.tune("bowl", bowl, trials=5, seed=seed, home=home) for seed in (1, 1, 2))
    drawn = [[child.parameters["x"] for child in runs_of(home, each.run)[1]] for each in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_search_begins_with_what_an_earlier_one_found(home):
    first = rota.tune("bowl", bowl, trials=25, seed=1, home=home)
    alone = rota.tune("bowl", bowl, trials=3, seed=9, home=home)
    after = rota.tune("bowl", bowl, trials=3, seed=9, learn_from=first.run, home=home)
    run, children = runs_of(home, after.run)
    assert run.parameters["tuning.learned"] == "25"
    assert run.parameters["tuning.learned_from"] == first.run
    assert [child.parameters for child in children] != [child.parameters for child in runs_of(home, alone.run)[1]]


def test_a_failing_trial_is_a_failed_child_and_the_search_goes_on(home):
    def sometimes(trial: rota.Trial) -> float:
        if trial.number == 1:
            raise ValueError("no convergence")
        return bowl(trial)

    best = rota.tune("bowl", sometimes, trials=4, seed=3, home=home)
    _, children = runs_of(home, best.run)
    assert (best.finished, best.failed) == (3, 1)
    assert [child.status for child in children] == ["finished", "failed", "finished", "finished"]
    assert children[1].tags["error"] == "ValueError: no convergence"


def test_an_objective_that_always_fails_ends_the_search_as_failed(home):
    with pytest.raises(Refused, match="3 trials in a row failed, the last with KeyError"):
        rota.tune("bowl", lambda trial: {}["x"], trials=50, home=home)
    with opened(Settings(home=home)) as platform:
        found = run_search.runs(platform.repositories.tracking, "status = 'FAILED'", experiments=["bowl"]).items
    assert len(found) == 4  # three trials and the search itself


def test_a_hopeless_trial_is_stopped_early(home):
    def slow(trial: rota.Trial) -> float:
        worth = float(trial.number)
        for step in range(20):
            trial.report(worth, step)
        return worth

    best = rota.tune("slow", slow, trials=8, home=home)
    _, children = runs_of(home, best.run)
    stopped = [child for child in children if child.tags.get(tuning.STOPPED) == "true"]
    assert best.best_value == 0.0
    assert len(stopped) == best.stopped > 0
    assert {child.status for child in stopped} == {"finished"}


@pytest.mark.parametrize("worth", [float("nan"), None, "good"])
def test_an_objective_without_a_number_is_a_failed_trial(home, worth):
    with pytest.raises(Refused, match="trials in a row failed"):
        rota.tune("odd", lambda trial: worth, trials=3, home=home)


def test_bad_questions_name_the_thing(home):
    with pytest.raises(InvalidInput, match="trials=0"):
        rota.tune("bowl", bowl, trials=0, home=home)
    with pytest.raises(InvalidInput, match="sideways"):
        rota.tune("bowl", bowl, direction="sideways", home=home)
    with pytest.raises(Refused, match="parameter 'x' cannot be drawn"):
        rota.tune("bowl", lambda trial: trial.suggest_float("x", 5, 1), trials=3, home=home)


def test_what_cannot_be_learned_from_is_said(home):
    with pytest.raises(InvalidInput, match="cannot be learned from"):
        engines.tuner("minimize", seed=0).learn('{"drawn": {"x": 99.0}, "space": {"x": "nonsense"}}', 1.0)


def test_the_search_is_found_by_its_experiment(home):
    rota.tune("bowl", bowl, trials=2, home=home)
    with opened(Settings(home=home)) as platform:
        found = platform.repositories.tracking.search_experiments(Query()).items
    assert "bowl" in [each.name for each in found]


@rota.metric(higher_is_better=True, highest=0.0)
def closeness(truth, answers):
    return -float(abs(truth - answers).max())


@rota.metric(higher_is_better=False)
def rows_of(rows):
    return float(len(rows))


TRUTH = np.array([0.0, 1.0, 2.0])


def shifted(trial):
    return TRUTH, TRUTH + trial.suggest_float("shift", -2, 2)


def test_a_metric_says_what_a_trial_is_worth_and_which_direction_is_better(home):
    best = rota.tune("own", shifted, trials=25, seed=1, metric=closeness, problem="regression", home=home)
    assert best.best_value == pytest.approx(-abs(best.best_parameters["shift"]))
    assert best.best_value > -0.3
    named = rota.tune("named", shifted, trials=25, seed=1, metric="rmse", problem="regression", home=home)
    assert named.best_value == pytest.approx(abs(named.best_parameters["shift"]))
    assert named.best_value < 0.3
    assert rota.tune("rows", shifted, trials=1, metric=rows_of, problem="regression", home=home).best_value == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"metric": "roc_auc", "problem": "regression"}, r"a regression has no metric 'roc_auc'; it is measured by \['rmse'"),
        ({"metric": len}, "is no metric"),
        ({"metric": closeness, "direction": "minimize"}, "the metric is to be maximized"),
    ],
)
def test_a_search_by_what_is_no_metric_is_refused(home, options, reason):
    with pytest.raises(InvalidInput, match=reason):
        rota.tune("odd", shifted, home=home, **options)


@rota.metric(higher_is_better=False)
def undefined(truth, answers):
    return float("nan")


@pytest.mark.parametrize(
    ("objective", "metric", "reason"),
    [
        (shifted, undefined, "is not defined on what the objective returned"),
        (lambda trial: 1.0, closeness, r"with a metric it returns \(truth, answers\)"),
        (lambda trial: (TRUTH, TRUTH - 1), "r2", None),
        (lambda trial: (TRUTH, TRUTH + np.inf), "r2", "infinite|no truth or no answer"),
    ],
)
def test_a_trial_that_the_metric_cannot_judge_has_failed(home, objective, metric, reason):
    if reason is None:
        assert rota.tune("fine", objective, trials=1, metric=metric, problem="regression", home=home).best_value == pytest.approx(-0.5)
        return
    with pytest.raises(Refused, match=reason):
        rota.tune("bad", objective, trials=5, metric=metric, problem="regression", home=home)
