"""The feature repository over HTTP: what its routes answer, what its pages show, and that no name or search breaks out."""

import re
from datetime import UTC, datetime, timedelta

import pytest

import rota
from rota.testing.story import VIEW

NOW = datetime.now(UTC).replace(microsecond=0)
RIDES = rota.PushSource("rides", timestamp_field="at", fields={"driver": int, "at": "timestamp", "fare": float}, owner="<b>anna</b>")
STATS = rota.FeatureView(
    "stats",
    [rota.Entity("driver")],
    RIDES,
    {"fare": rota.sql("fare"), "rate": rota.sql("1 / fare")},
    ttl="1d",
    owner="<script>alert(1)</script>",
    tags={"team": "rides"},
    descriptions={"fare": "of the newest ride"},
)
REQUEST = rota.OnDemandFeatureView("request", {"km": float}, {"miles": rota.sql("km / 1.609344")})


@pytest.fixture(autouse=True)
def ridden(platform):
    platform.features.apply([rota.FeatureService("fares", [STATS, REQUEST])])
    platform.features.push("rides", [{"driver": 1, "at": NOW - timedelta(hours=1), "fare": 2.0}])
    return platform


def test_the_catalog_is_searched(owner):
    assert [entry["name"] for entry in owner.get("/v1/features", text="fare", kind="feature").json()] == ["stats:fare", "stats:rate"]
    (found,) = owner.get("/v1/features", text="newest ride").json()
    assert (found["type"], found["entities"], found["tags"]) == ("float", ["driver"], {"team": "rides"})
    assert owner.get("/v1/features", text="'; DROP TABLE records; --").json() == []


def test_a_view_has_its_versions_and_users(owner, ridden):
    ridden.features.apply(rota.FeatureView("stats", [rota.Entity("driver")], RIDES, {"fare": rota.sql("fare + 1")}))
    told = owner.get("/v1/feature-views/stats").json()
    assert [version["number"] for version in told["versions"]] == [1, 2]
    assert [(user["kind"], user["name"], user["version"]) for user in told["users"]] == [("feature_service", "fares", 1)]
    assert owner.get("/v1/feature-views/nix").status == 404
    refused = owner.post("/v1/feature-views/stats/versions/1/retire")
    assert refused.status == 403
    assert "fares" in refused.json()["error"]
    assert owner.post("/v1/feature-views/stats/versions/2/retire").json() == {"online_rows_removed": 1}  # it was online at once


def test_values_are_read_online_with_their_statuses(owner):
    told = owner.post(
        "/v1/features/online", {"features": ["stats:fare", "request:miles"], "entity_rows": [{"driver": 1, "km": 1.609344}, {"driver": 2, "km": 0}]}
    )
    assert told.json()["values"] == {"driver": [1, 2], "stats__fare": [2.0, None], "request__miles": [1.0, 0.0]}
    assert told.json()["statuses"]["stats__fare"] == ["PRESENT", "NOT_FOUND"]
    assert owner.post("/v1/features/online", {"features": "fares", "entity_rows": [{"driver": 1, "km": 1.0}], "full_feature_names": False}).json()[
        "values"
    ]["fare"] == [2.0]


def test_history_is_joined(owner):
    rows = [{"driver": 1, "event_timestamp": NOW.isoformat()}, {"driver": 1, "event_timestamp": "2001-01-01T00:00:00Z"}]
    told = owner.post("/v1/features/historical", {"features": ["stats:fare"], "entity_rows": rows}).json()["rows"]
    assert [row["stats__fare"] for row in told] == [2.0, None]
    served = owner.post("/v1/features/historical", {"features": ["stats:fare"], "entity_rows": rows, "as_of": "served"})
    assert served.status == 200


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("historical", {"features": ["stats:fare"], "entity_rows": [{"driver": 1}] * 10_001}, "at most 10000"),
        ("historical", {"features": ["stats:fare"], "entity_rows": [{"driver": 1}], "as_of": "tomorrow"}, "does not fit"),
        ("historical", {"features": ["stats:fare"], "entity_rows": [{"driver": 1}]}, "event_timestamp"),
        ("online", {"features": ["stats"], "entity_rows": []}, "write 'view:feature'"),
        ("online", {"features": ["stats:fare"], "entity_rows": [{"driver": "one"}]}, "driver"),
        ("online", {"features": ["stats:fare"]}, "does not fit"),
        ("online", b"\xff", "does not fit"),
        ("materialize", {"feature_views": 7}, "does not fit"),
    ],
)
def test_a_question_that_does_not_fit_says_why(owner, path, body, message):
    told = owner.post(f"/v1/features/{path}", body)
    assert told.status == 422
    assert message in told.json()["error"]


def test_views_are_materialized(owner):
    assert set(owner.post("/v1/features/materialize", {"feature_views": ["stats"]}).json()) == {"rides"}
    assert owner.post("/v1/features/materialize", {"feature_views": ["nix"]}).status == 404


def test_the_status_names_every_view(owner):
    told = owner.get("/v1/features/status").json()
    assert "stats" in str(told)


def test_the_page_shows_the_catalog_and_its_search(browser):
    text = browser.get("/features").text
    assert 'href="/features/stats">stats:fare</a>' in text
    assert "of the newest ride" in text
    assert "team=rides" in text
    found = browser.get("/features", text="miles").text
    assert "request:miles" in found
    assert "stats:fare" not in found
    assert "Nothing fits" in browser.get("/features", text="nothing like it").text


def test_a_view_s_page_shows_its_features_users_and_versions(browser, ridden):
    ridden.features.apply(rota.FeatureView("stats", [rota.Entity("driver")], RIDES, {"fare": rota.sql("fare + 1")}, ttl="2d"))
    text = re.sub(r"<[^>]+>", "", browser.get("/features/stats").text)
    assert "fares" in text
    assert "ttl: 1d &rarr; 2d" in text
    assert "feature fare: fare &rarr; fare + 1" in text
    assert "first definition" in text
    assert browser.get("/features/request").status == 200
    assert browser.get(f"/features/{VIEW.name}").status == 200, "a view that was stored before versions were kept"
    assert browser.get("/features/nix").status == 404


@pytest.mark.parametrize(
    "path", ["/features", "/features/stats", "/features?text=%3Cscript%3E%22%27&owner=%3Cscript%3E&tag=%3Cscript%3E&entity=%22%3E%3Cscript%3E"]
)
def test_nothing_breaks_out_of_the_pages(browser, path):
    answer = browser.get(path)
    assert answer.status == 200
    assert "<script" not in answer.text
    assert "<b>anna" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_stranger_is_told_nothing(stranger):
    for path in ("/features", "/features/stats", "/v1/features", "/v1/feature-views/stats", "/v1/features/status"):
        assert stranger.get(path).status == 401
    assert stranger.post("/v1/features/online", {}).status == 401
