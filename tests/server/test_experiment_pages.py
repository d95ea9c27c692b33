"""Experiments over HTTP and as pages: what was tracked is found, compared and drawn; hostile names stay names."""

import shutil

import pytest

import rota
from rota import wiring
from rota.settings import Settings

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def tracked_home(told_home, tmp_path_factory):
    """A home with two runs with curves, one of them with a known input, and a small search; and the run ids by name."""
    home, ids = shutil.copytree(told_home, tmp_path_factory.mktemp("tracked") / "home"), {}
    for name, depth, last in (("shallow", 3, 0.71), ("deep", 8, 0.8)):
        with rota.track("delay <b>", name, home=home, tags={"team": "a"}) as run:
            run.log_params(depth=depth)
            for step in range(5):
                run.log_metric("auc", last - 0.01 * (4 - step), step=step)
            if name == "deep":
                run.log_input("s3://bucket/rows.parquet", name="rows")
                run.log_model(sorted, "function <b>")
            ids[name] = run.id
    best = rota.tune("search", lambda trial: (trial.suggest_float("x", -1, 1) - 0.5) ** 2, trials=4, home=home)
    return home, {**ids, "search": best.run, "best": best.best_run}


@pytest.fixture
def platform(tracked_home, tmp_path):
    with wiring.opened(Settings(home=shutil.copytree(tracked_home[0], tmp_path / "home"), max_request_mb=1)) as opened:
        yield opened


@pytest.fixture
def tracked(tracked_home):
    return tracked_home[1]


def test_runs_are_found_by_filter_over_http(owner, tracked):
    found = owner.get("/v1/experiment-runs", filter="auc > 0.75 and params.depth = '8'").json()["runs"]
    assert [(run["name"], run["metrics"]["auc"]) for run in found] == [("deep", 0.8)]
    first = owner.get("/v1/experiment-runs", experiment="delay <b>", order="metrics.auc DESC", limit="1").json()
    assert [run["name"] for run in first["runs"]] == ["deep"]
    second = owner.get("/v1/experiment-runs", experiment="delay <b>", order="metrics.auc DESC", limit="1", page=first["next"]).json()
    assert [run["name"] for run in second["runs"]] == ["shallow"]
    assert second["next"] == ""


def test_a_bad_filter_is_the_callers_mistake_and_is_named(owner, tracked):
    answer = owner.get("/v1/experiment-runs", filter="auc >> 1")
    assert answer.status == 422
    assert "auc >> 1" in answer.json()["error"]


def test_the_points_of_a_metric_come_by_step(owner, tracked):
    points = owner.get(f"/v1/experiment-runs/{tracked['deep']}/metrics/auc").json()
    assert [(point["step"], round(point["value"], 2)) for point in points] == [(0, 0.76), (1, 0.77), (2, 0.78), (3, 0.79), (4, 0.8)]


def test_two_runs_are_compared(owner, tracked):
    rows = owner.get(f"/v1/experiment-runs/compare?run={tracked['deep']}&run={tracked['shallow'][:12]}").json()["rows"]
    differing = {row["name"]: row["values"] for row in rows if row["differs"]}
    assert differing["depth"] == ["8", "3"]
    assert differing["auc"] == [0.8, 0.71]


def test_the_pages_show_experiments_runs_curves_and_trials(owner, tracked):
    browser = owner.sending(**owner.headers, Accept="text/html")
    listed = browser.get("/experiments").text
    assert "delay &lt;b&gt;" in listed
    assert "<b>" not in listed.replace("<b>1</b>", "")
    run = browser.get(f"/experiments/runs/{tracked['deep']}").text
    assert 'aria-label="auc per step"' in run
    assert "untracked input" in run
    assert "function &lt;b&gt;" in run
    assert "not servable</span> a builtins.builtin_function_or_method can be kept by none" in run
    search = browser.get(f"/experiments/runs/{tracked['search']}").text
    assert 'aria-label="objective per trial"' in search
    assert f"/experiments/runs/{tracked['best']}" in search
    compared = browser.get(f"/experiments/compare?run={tracked['deep']}&run={tracked['shallow']}").text
    assert compared.count("<b>depth</b>") == 1


def test_a_mistyped_filter_is_said_above_the_table(owner, tracked):
    browser = owner.sending(**owner.headers, Accept="text/html")
    experiment = owner.get("/v1/experiments").json()[0]["id"]
    answer = browser.get(f"/experiments/{experiment}", filter=EVIL)
    assert answer.status == 200
    assert 'class="message"' in answer.text
    assert EVIL not in answer.text


def test_what_is_not_there_is_404(owner, tracked):
    for path in ("/v1/experiments/nothing", "/v1/experiment-runs/ffffffff", "/experiments/runs/ffffffff"):
        assert owner.get(path).status == 404
