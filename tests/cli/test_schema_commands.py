"""`rota data schema`: from a file to an active schema and its edits, and data held against it with an exit code."""

import json
from pathlib import Path

import polars as pl
import pytest

FRAME = pl.DataFrame({"temp": [float(i) for i in range(100)], "carrier": ["UA", "AA"] * 50, "late": [True, False] * 50})


@pytest.fixture
def files(empty):
    FRAME.write_parquet("clean.parquet")
    FRAME.drop("late").write_parquet("asked.parquet")
    FRAME.with_columns(temp=pl.lit(451.0), late=pl.lit(None, pl.Boolean)).write_csv("broken.csv")
    return empty


def schema(home, *words):
    result = home.rota("data", "schema", *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_file_becomes_a_law_and_other_files_are_held_against_it(files):
    made = schema(files, "infer", "clean.parquet", "--name", "flights", "--label", "late", "--freeze")
    assert (made["version"], made["dataset"], made["frozen_us"] > 0, bool(made["author"])) == (1, "clean.parquet", True, True)
    assert files.rota("data", "schema", "validate", "flights", "clean.parquet").exit_code == 0
    assert schema(files, "validate", "flights", "asked.parquet", "--environment", "SERVING") == []
    missing = files.rota("data", "schema", "validate", "flights", "asked.parquet", "--environment", "TRAINING")
    assert missing.exit_code == 1
    assert "SCHEMA_MISSING_COLUMN" in missing.output
    broken = files.rota("data", "schema", "validate", "flights", "broken.csv", "--json")
    assert broken.exit_code == 1
    found = {(a["feature"], a["kind"]) for a in json.loads(broken.stdout)}
    assert ("temp", "FLOAT_TYPE_BIG_FLOAT") in found


def test_only_a_failing_anomaly_fails_the_command(files):
    schema(files, "infer", "clean.parquet", "--name", "flights", "--freeze")
    FRAME.with_columns(temp=pl.lit(451.0)).write_parquet("warm.parquet")
    assert files.rota("data", "schema", "validate", "flights", "warm.parquet").exit_code == 0
    schema(files, "edit", "flights", "--policy", "temp.FLOAT_TYPE_BIG_FLOAT=fail", "--freeze")
    assert files.rota("data", "schema", "validate", "flights", "warm.parquet").exit_code == 1
    assert files.rota("data", "schema", "validate", "flights@1", "warm.parquet").exit_code == 0


def test_edits_are_versions_with_an_author_and_a_difference(files):
    schema(files, "infer", "clean.parquet", "--name", "flights")
    edited = files.rota("data", "schema", "edit", "flights", "--set", "temp.maximum=130", "--set", "carrier.domain+=XX", "--remove", "late")
    assert edited.exit_code == 0, edited.output
    assert "rota data schema freeze flights" in edited.output
    found = schema(files, "diff", "flights@1", "flights@2")
    assert {(d["column"], d["field"], d["after"]) for d in found} == {
        ("temp", "maximum", "130"),
        ("carrier", "domain", "+XX"),
        ("late", "column", "removed"),
    }
    assert "nothing changes" in files.rota("data", "schema", "edit", "flights").output
    assert [s["version"] for s in schema(files, "list", "flights")] == [2, 1]


def test_a_whole_schema_is_edited_in_a_file_and_an_old_file_is_told_apart(files):
    schema(files, "infer", "clean.parquet", "--name", "flights")
    assert files.rota("data", "schema", "show", "flights", "--output", "s.json").exit_code == 0
    text = json.loads(Path("s.json").read_text())
    text["columns"][0]["maximum"] = 130
    Path("s.json").write_text(json.dumps(text))
    assert schema(files, "edit", "flights", "--file", "s.json")["version"] == 2
    again = files.rota("data", "schema", "edit", "flights", "--file", "s.json", "--set", "temp.maximum=140")
    assert again.exit_code == 1
    assert "version 2 appeared" in again.output


def test_drift_is_compared_with_the_data_before(files):
    schema(files, "infer", "clean.parquet", "--name", "flights")
    schema(files, "edit", "flights", "--set", "carrier.drift.infinity_norm=0.1", "--policy", "COMPARATOR_L_INFTY_HIGH=fail")
    FRAME.with_columns(carrier=pl.lit("UA")).write_parquet("united.parquet")
    assert files.rota("data", "schema", "validate", "flights", "united.parquet").exit_code == 0
    compared = files.rota("data", "schema", "validate", "flights", "united.parquet", "--previous", "clean.parquet")
    assert compared.exit_code == 1
    assert "COMPARATOR_L_INFTY_HIGH" in compared.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("infer nix.parquet", "no file"),
        ("infer flights", "--from-pipeline"),
        ("infer flights --from-pipeline", "rota train flights"),
        ("infer clean.parquet --label nix", "to be the label"),
        ("infer clean.parquet --name ../up", "is not allowed"),
        ("edit nix --set a.b=1", "rota data schema infer"),
        ("edit nix --file nix.json", "show nix --output"),
        ("validate nix clean.parquet", "no schema 'nix'"),
    ],
)
def test_what_cannot_be_done_says_what_can(files, words, message):
    result = files.rota("data", "schema", *words.split())
    assert result.exit_code == 1
    assert message in result.output
