"""The control plane's pages: who may see them, what they show, and that no name can break out of them."""

import base64
import hashlib
import re

import pytest

from rota.ports.metadata import Batch
from rota.records.release import Release, Route
from rota.records.run import Step
from rota.records.signal import Event, MonitorSlice
from rota.records.time import DAY_US
from rota.rendering import line_charts as charts
from rota.testing.story import NOON_US, alert, day, version
from rota.wiring import Platform

PAGES = ("/", "/models", "/models/delay/1", "/models/delay/2", "/runs", "/runs/r1", "/endpoints/delay", "/alerts")
HOSTILE = "<script>alert('x')</script>"


@pytest.mark.parametrize("path", [*PAGES, "/v1/models", "/openapi.json", "/nothing"])
def test_without_a_token_nothing_is_told(stranger, path: str):
    answer = stranger.get(path)
    assert answer.status == 401
    assert "delay" not in answer.text
    assert "Bearer" in answer.json()["error"]


def test_entering_with_the_token_sets_a_cookie_that_no_script_and_no_other_site_can_use(stranger, token: str):
    answer = stranger.get("/enter", token=token)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert stranger.sending(Cookie=cookie.partition(";")[0]).get("/").status == 200


@pytest.mark.parametrize("wrong", ["", "nonsense", "é"])
def test_a_wrong_token_sets_no_cookie(stranger, wrong: str):
    answer = stranger.get("/enter", token=wrong)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", PAGES)
def test_every_page_forbids_scripts_and_foreign_content_and_admits_its_own_style(browser, path: str):
    answer = browser.get(path)
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "<script" not in answer.text
    assert " style=" not in answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_the_overview_shows_the_seven_processes_in_order(browser):
    text = browser.get("/").text
    names = re.findall(r"<h2><b>\d</b> (.*?)</h2>", text)
    assert names == [
        "ML development",
        "Training operationalization",
        "Continuous training",
        "Model deployment",
        "Prediction serving",
        "Continuous monitoring",
        "Data and model management",
    ]
    assert "v1 stable 100 %" in text
    assert "drift of last" in text
    assert "last monitored day 2013-08-13" in text
    assert text.index("r2</a>") < text.index("r1</a>") < text.index("r0</a>"), "newest events first"


def test_a_version_shows_metrics_lineage_and_how_to_review_it(browser):
    first, second = browser.get("/models/delay/1").text, browser.get("/models/delay/2").text
    assert "0.71" in first
    assert "dataset_version:delay@1" in first
    assert "promoted" in first
    assert "rota models approve delay@2" in second


def test_a_run_shows_its_steps_with_durations_and_what_the_gates_saw(browser, platform: Platform):
    runs = platform.repositories.runs
    lease = runs.claim("w", NOON_US, lease_s=60)
    assert lease is not None
    gates = [{"gate": "roc_auc", "passed": False, "message": "roc_auc 0.61, needed at least 0.65"}]
    step = Step("r1", "validate_model", 0, {"refused": "too weak", "gates": gates}, NOON_US, NOON_US + 1_500_000, "w", lease.fence)
    runs.record(lease, step, Batch())
    runs.finish(lease, "blocked", ended_us=NOON_US + 2_000_000, error="blocked by model validation: too weak")
    text = browser.get("/runs/r1").text
    assert "1.500 s" in text
    assert "needed at least 0.65" in text
    assert "blocked by model validation" in text


def test_an_endpoint_shows_a_chart_a_metric_with_its_alerts_marked(browser):
    text = browser.get("/endpoints/delay").text
    assert re.findall(r'aria-label="(\w+) per day and version"', text) == ["roc_auc", "log_loss"]
    assert "version 2, 2013-08-13: roc_auc" in text
    assert "2013-08-04 drift of last: last drifts" in text


def test_names_from_outside_are_escaped_on_every_page(browser, platform: Platform):
    batch = Batch()
    batch.put(
        version(3, "registered", model=HOSTILE, trigger=HOSTILE, metrics={HOSTILE: 1.0}, parameters={HOSTILE: HOSTILE}, dataset=HOSTILE, run=HOSTILE)
    )
    batch.put(alert(HOSTILE, message=HOSTILE, id=HOSTILE, monitor_run=HOSTILE))
    batch.event(Event("run.finished", HOSTILE, NOON_US, {HOSTILE: HOSTILE}))
    batch.link(f"model_version:{HOSTILE}@3", [HOSTILE, f"run:{HOSTILE}"], NOON_US)
    batch.put(Release("delay", 2, (Route(HOSTILE, 3, "f" * 64, "stable", 100),), "", NOON_US))
    batch.put(MonitorSlice("delay", NOON_US, NOON_US + DAY_US, 1, 1, {}, {HOSTILE: {"roc_auc": 0.5}}, {HOSTILE: 1.0}))
    platform.repositories.metadata.commit(batch)
    for path in (*PAGES, "/models/%3Cscript%3Ealert('x')%3C%2Fscript%3E/3"):
        answer = browser.get(path)
        if answer.status != 404:  # a slash in a name has no page of its own
            assert answer.status == 200
        assert "<script" not in answer.text
    assert "&lt;script&gt;" in browser.get("/alerts").text
    assert "&lt;script&gt;" in browser.get("/models").text


def test_lineage_without_a_node_is_a_page_to_begin_at(browser):
    answer = browser.get("/lineage")
    assert answer.status == 200
    assert 'name="node"' in answer.text
    assert 'href="/lineage?node=model_version%3Adelay%402"' in answer.text


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/models/delay/9", "has no version 9; it has [1, 2]"),
        ("/runs/none", "there is no run &#39;none&#39;"),
        ("/endpoints/none", "known are [&#39;delay&#39;]"),
        ("/lineage/prediction/none", "is in no prediction log"),
        ("/nothing", "the pages begin at /"),
        (f"/runs/{HOSTILE.replace('/', '')}", "&lt;script&gt;"),
    ],
)
def test_what_does_not_exist_is_a_readable_page_with_a_way_on(browser, path: str, hint: str):
    answer = browser.get(path)
    assert answer.status == 404
    assert hint in answer.text
    assert "<script" not in answer.text
    assert 'href="/models"' in answer.text


def test_a_chart_breaks_its_line_where_days_are_missing():
    chart = charts.performance([day(0), day(1), day(5)], "roc_auc", [])
    assert chart is not None
    (line,) = chart.lines
    assert line.path.count("M") == 2
    assert line.path.count("L") == 1


def test_a_chart_keeps_every_point_inside_its_frame_and_between_its_ticks():
    chart = charts.performance([day(number) for number in range(30)], "log_loss", [alert("early", raised_us=NOON_US - DAY_US), alert("last")])
    assert chart is not None
    points = [point for line in chart.lines for point in line.points]
    assert all(chart.left <= point.x <= chart.right and chart.top <= point.y <= chart.bottom for point in points)
    assert 3 <= len(chart.ticks) <= 7
    assert [mark.title[:10] for mark in chart.marks] == ["2013-08-04"], "alerts outside the days are left out"


def test_a_constant_metric_and_a_single_day_still_make_a_chart():
    one = charts.performance([day(0)], "roc_auc", [])
    assert one is not None
    assert len(one.lines[0].points) == 1
    assert len(one.ticks) >= 2


def test_no_chart_is_drawn_of_what_was_never_measured_or_hardly_labelled():
    few = MonitorSlice("delay", NOON_US, NOON_US + DAY_US, 3, 3, {}, {"1": {"roc_auc": 1.0, "labelled": 3.0}}, {})
    assert charts.performance([few], "roc_auc", []) is None
    assert charts.performance([], "roc_auc", []) is None
