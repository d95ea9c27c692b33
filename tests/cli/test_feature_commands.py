"""The feature commands on a home with rows: what a person reads, what a program gets, what a project's change looks like."""

import json

import polars as pl
import pytest

PROJECT = """
import rota
rides = rota.FileSource("rides", path="rides.csv", timestamp_field="at", id_field="id", owner="anna")
driver = rota.Entity("driver")
plain = {"fare": rota.sql("fare"), "city": rota.sql("city")}
stats = rota.FeatureView("stats", [driver], rides, plain, ttl="3650d", owner="anna", tags={"team": "rides"})
request = rota.OnDemandFeatureView("request", inputs={"km": float, "vip": bool, "stops": int, "moment": "timestamp"}, features={
    "miles": rota.sql("km / 1.609344"), "stops": rota.sql("stops + 1"), "vip": rota.sql("vip"), "hour": rota.sql("extract(hour from moment)")})
service = rota.FeatureService("fares", [stats[["fare"]], request])
"""
ROWS = """id,driver,at,fare,city
a,1,2024-01-01T10:00:00Z,10.5,Oslo
b,1,2024-01-01T12:00:00Z,20.5,Bergen
c,2,2024-01-01T11:00:00Z,5.5,Oslo
"""


@pytest.fixture
def home(empty, tmp_path):
    (tmp_path / "project.py").write_text(PROJECT)
    (tmp_path / "rides.csv").write_text(ROWS)
    ok(empty.rota("apply", "project.py"))
    ok(empty.rota("sources", "ingest", "rides"))
    ok(empty.rota("features", "materialize"))
    return empty


def ok(result):
    assert result.exit_code == 0, result.output
    return result


def told(home, *words):
    return json.loads(ok(home.rota("features", *words, "--json")).stdout)


def test_values_are_read_with_their_statuses_in_the_types_of_the_request(home):
    assert {each["feature"]: (each["value"], each["status"]) for each in told(home, "get", "stats:city", "stats:fare", "-e", "driver=1")} == {
        "stats__city": ("Bergen", "PRESENT"),
        "stats__fare": (20.5, "PRESENT"),
    }
    request = ("-e", "driver=7", "-e", "km=1.609344", "-e", "vip=TRUE", "-e", "stops=2", "-e", "moment=2024-01-01T07:30:00Z")
    assert [each["value"] for each in told(home, "get", "fares", *request)] == [None, 1.0, 3, True, 7]
    shown = ok(home.rota("features", "get", "stats:fare", "-e", "driver=7")).stdout
    assert "NOT_FOUND" in shown
    assert "2024-01-01 12:00:00" in home.rota("features", "get", "stats:fare", "-e", "driver=1").stdout


@pytest.mark.parametrize("wrong", ["driver=one", "driver=", "driver=1.5", "driver=99999999999999999999"])
def test_a_value_of_another_type_is_told(home, wrong):
    result = home.rota("features", "get", "stats:fare", "-e", wrong)
    assert result.exit_code == 1
    assert result.stderr.startswith("rota: ")
    assert "driver" in result.stderr or "64 bits" in result.stderr


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_history_is_joined_to_a_file_of_any_kind(home, tmp_path, suffix):
    labels = pl.DataFrame(
        {"driver": [1, 1, 2, 3], "asked": ["2024-01-01T11:00:00Z", "2024-01-01T13:00:00Z", "2024-01-01T10:59:59Z", "2024-01-01T13:00:00Z"]}
    )
    write = {".csv": labels.write_csv, ".parquet": labels.write_parquet, ".jsonl": labels.write_ndjson}[suffix]
    write(tmp_path / f"labels{suffix}")
    words = (
        "historical",
        "-f",
        "stats:fare",
        "-f",
        "stats:city",
        "--labels",
        f"labels{suffix}",
        "--output",
        "joined.parquet",
        "--timestamp",
        "asked",
    )
    assert told(home, *words) == {"rows": 4, "features": 2, "output": "joined.parquet"}
    joined = pl.read_parquet(tmp_path / "joined.parquet")
    assert joined["stats__fare"].to_list() == [10.5, 20.5, None, None]
    assert joined["driver"].to_list() == [1, 1, 2, 3]
    served = told(home, *words, "--as-of", "served")
    assert served["rows"] == 4


def test_a_change_of_a_view_is_planned_applied_and_kept_as_a_version(home, tmp_path):
    (tmp_path / "project.py").write_text(PROJECT.replace('rota.sql("fare")', 'rota.sql("fare * 100")').replace('ttl="3650d"', 'ttl="730d"'))
    planned = ok(home.rota("plan", "project.py")).stdout
    assert "stats@v2" in planned
    assert "ttl: 3650d -> 730d" in planned
    assert "feature fare: fare -> fare * 100" in planned
    ok(home.rota("apply", "project.py"))
    assert [(each["number"], [change["what"] for change in each["differences"]]) for each in told(home, "versions", "stats")] == [
        (1, []),
        (2, ["ttl", "feature fare"]),
    ]
    assert "fare -> fare * 100" in ok(home.rota("features", "versions", "stats")).stdout
    assert told(home, "get", "stats@v1:fare", "-e", "driver=1")[0]["value"] == 20.5
    ok(home.rota("features", "materialize", "stats"))
    assert told(home, "get", "stats:city", "-e", "driver=1")[0]["status"] == "OUTSIDE_MAX_AGE"
    assert told(home, "retire", "stats@v1") == {"retired": "stats@v1", "online_rows_removed": 2}
    refused = home.rota("features", "retire", "stats@v2")
    assert refused.exit_code == 1
    assert "used by feature service fares" in refused.stderr


def test_what_a_project_does_not_declare_any_more_stays(home, tmp_path):
    (tmp_path / "project.py").write_text(PROJECT[: PROJECT.index("request =")])
    planned = ok(home.rota("plan", "project.py")).stdout
    assert planned.count("stays (not declared here)") == 2
    assert {"request", "fares"} <= set(planned.split())
    ok(home.rota("apply", "project.py"))
    assert (
        told(home, "get", "request:miles", "-e", "km=1.609344", "-e", "vip=true", "-e", "stops=1", "-e", "moment=2024-01-01T00:00:00Z")[0]["value"]
        == 1.0
    )


def test_the_catalog_is_searched_shown_and_its_users_are_told(home):
    assert [each["name"] for each in told(home, "search", "fare", "--owner", "anna", "--tag", "team=rides", "--kind", "feature")] == ["stats:fare"]
    assert told(home, "search", "no such thing") == []
    assert told(home, "usage", "stats:fare") == [{"kind": "feature_service", "name": "fares", "features": ["fare"], "version": 1}]
    assert told(home, "usage", "stats:city") == []
    shown = ok(home.rota("features", "show", "stats")).stdout
    for word in ("v1", "anna", "team=rides", "rides", "3650d", "fare"):
        assert word in shown


def test_what_came_since_is_materialized_incrementally(home, tmp_path):
    (tmp_path / "more.csv").write_text("id,driver,at,fare,city\nd,1,2024-01-02T10:00:00Z,30.5,Oslo\n")
    ok(home.rota("sources", "ingest", "rides", "more.csv"))
    ok(home.rota("features", "materialize", "--incremental"))
    assert told(home, "get", "stats:fare", "-e", "driver=1")[0]["value"] == 30.5


def test_a_file_source_that_is_nowhere_is_refused_when_it_is_applied(empty, tmp_path):
    (tmp_path / "project.py").write_text(PROJECT)
    result = empty.rota("apply", "project.py")
    assert result.exit_code == 1
    assert "source 'rides' has no fields: rides.csv could not be read here" in result.stderr
