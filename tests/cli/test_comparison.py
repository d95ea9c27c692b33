"""Two files compared on the command line, without a home."""

import json
import subprocess
import sys

import polars as pl
import pytest


@pytest.fixture
def files(tmp_path):
    pl.DataFrame({"age": [20 + i % 40 for i in range(400)], "plan": ["a", "b"] * 200}).write_parquet(tmp_path / "before.parquet")
    pl.DataFrame({"age": [60 + i % 40 for i in range(400)], "plan": ["a", "b"] * 200}).write_csv(tmp_path / "after.csv")
    return tmp_path


def rota(folder, *words):
    return subprocess.run([sys.executable, "-m", "rota.cli", "data", "compare", *words], cwd=folder, capture_output=True, text=True, check=False)


def test_two_files_are_compared_without_a_home(files):
    done = rota(files, "before.parquet", "after.csv", "--output", "report.html", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["drifted"] == ["age"]
    assert "age" in (files / "report.html").read_text()
    assert not (files / ".rota").exists()


def test_strict_ends_with_one_and_the_table_says_why(files):
    done = rota(files, "before.parquet", "after.csv", "--strict")
    assert done.returncode == 1
    assert "of 100 values lie elsewhere" in done.stdout
    assert rota(files, "before.parquet", "before.parquet", "--strict").returncode == 0


def test_a_file_that_is_not_there_is_one_line(files):
    done = rota(files, "before.parquet", "gone.parquet")
    assert (done.returncode, done.stderr) == (1, "rota: there is no file gone.parquet\n")
