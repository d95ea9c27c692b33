"""`rota data`: a declared dataset is built, shown, profiled, compared and exported from the command line."""

import json

import polars as pl
import pytest

PROJECT = """
import rota
airport = rota.Entity("airport", ["origin"])
fields = {"id": "string", "origin": "string", "at": "timestamp", "delay": "float"}
flights = rota.Source("flights", fields=fields, timestamp_field="at", id_field="id")
delays = rota.FeatureView("delays", [airport], flights, features={"last": rota.sql("delay")})
features = rota.FeatureService("late", [delays])
definition = rota.DatasetDefinition(
    features, labels=flights, label=rota.sql("delay > 15"), timestamp="at", window="9999d", filter="delay >= 0", split=rota.RandomSplit(0.25)
)
late = rota.Dataset("late-flights", definition, owner="anna")
"""


@pytest.fixture
def built(empty, tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "project.py").write_text(PROJECT)
    assert empty.rota("apply", str(tmp_path / "project" / "project.py")).exit_code == 0
    push(empty, 0, 120)
    result = empty.rota("data", "build", "late-flights")
    assert result.exit_code == 0, result.stderr
    return empty, result.output


def push(home, first, last):
    with home.open() as platform:
        rows = [
            {"id": f"f{n}", "origin": "JLE"[n % 3], "at": 1_372_636_800_000_000 + n * 3_600_000_000, "delay": n % 40 - 1.0}
            for n in range(first, last)
        ]
        platform.features.push("flights", rows)


def test_a_build_says_what_it_made_and_that_nothing_is_new(built):
    home, said = built
    assert "late-flights@1 built: 117 rows" in said
    assert "25% of the rows, drawn by id with seed 0" in said
    assert "late-flights@1 holds these rows already" in home.rota("data", "build", "late-flights").output
    push(home, 120, 130)
    answer = json.loads(home.rota("data", "build", "late-flights", "--json").stdout)
    assert (answer["new"], answer["version"]["number"]) == (True, 2)
    listed = json.loads(home.rota("data", "list", "--json").stdout)
    assert [each["number"] for each in listed] == [2, 1]
    assert "anna" in home.rota("data", "definitions").output


def test_a_home_without_datasets_says_how_to_declare_one(empty):
    assert "rota.Dataset" in empty.rota("data", "definitions").output
    assert json.loads(empty.rota("data", "definitions", "--json").stdout) == []


def test_the_environment_of_the_home_is_that_of_the_version(built, monkeypatch):
    home, _ = built
    monkeypatch.setenv("ROTA_ENVIRONMENT", "staging")
    assert json.loads(home.rota("data", "build", "late-flights", "--json").stdout)["version"]["environment"] == "staging"
    assert "staging" in home.rota("data", "list").output


def test_show_profile_and_diff_print_for_people_and_programs(built):
    home, _ = built
    push(home, 120, 150)
    home.rota("data", "build", "late-flights")
    shown = home.rota("data", "show", "late-flights@2").output
    assert "completeness 1.0000" in shown
    profile = home.rota("data", "profile", "late-flights@1").output
    assert "timeliness" in profile
    assert "delays__last" in profile
    parsed = json.loads(home.rota("data", "profile", "late-flights@1", "--json").stdout)
    assert parsed["profile"]["rows"] == 117
    assert parsed["charts"]["delay"]["hconcat"]
    changed = home.rota("data", "diff", "late-flights@1", "late-flights@2")
    assert "117 in both, 0 only in late-flights@1, 29 only in late-flights@2" in " ".join(changed.output.split()), changed.output
    assert json.loads(home.rota("data", "diff", "late-flights@1", "late-flights@2", "--json").stdout)["new_rows"] == 29


def test_a_report_is_written_whole_and_only_as_html_or_json(built, tmp_path):
    home, _ = built
    report = tmp_path / "report.html"
    assert f"wrote {report}" in home.rota("data", "profile", "late-flights@1", "--output", str(report)).output.replace("\n", "")
    assert "late-flights@1" in report.read_text()
    assert home.rota("data", "profile", "late-flights@1", "--output", str(tmp_path / "charts.json")).exit_code == 0
    assert json.loads((tmp_path / "charts.json").read_text())["charts"]
    refused = home.rota("data", "profile", "late-flights@1", "--output", str(tmp_path / "x.pdf"))
    assert (refused.exit_code, "'.pdf'" in refused.stderr) == (1, True)
    missing = home.rota("data", "profile", "late-flights@1", "--output", str(tmp_path / "nix" / "report.html"))
    assert (missing.exit_code, "cannot be written" in missing.stderr) == (1, True)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_an_export_holds_the_rows_of_one_side_or_of_both_in_their_order(built, tmp_path, suffix):
    home, _ = built
    read = pl.read_parquet if suffix == ".parquet" else pl.read_csv
    heights = {}
    for side in ("train", "test", "both"):
        file = tmp_path / f"{side}{suffix}"
        assert home.rota("data", "export", "late-flights@1", "--output", str(file), "--side", side).exit_code == 0
        heights[side] = read(file).height
        assert read(file)["row"].is_sorted()
    assert heights["train"] + heights["test"] == heights["both"] == 117
    assert set(read(tmp_path / f"test{suffix}")["is_test"]) == {True}
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("build nix", "declared are ['late-flights']"),
        ("profile late-flights@7", "rota data list"),
        ("diff late-flights@1 late-flights", "NAME@NUMBER"),
        ("export late-flights@1 --output rows.xlsx", ".parquet or .csv"),
    ],
)
def test_an_error_is_one_line_with_a_way_on(built, words, hint):
    result = built[0].rota("data", *words.split())
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
    assert hint in result.stderr
