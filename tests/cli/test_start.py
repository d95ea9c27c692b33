"""What a command imports before it does anything: a list of records needs the metadata store and nothing heavy."""

import json
import subprocess
import sys

import pytest

from rota.cli.app import LISTS, load

HEAVY = {"polars", "deltalake", "lmdb", "numpy", "sklearn", "lightgbm", "pandas", "pyarrow", "fastapi", "starlette", "uvicorn", "sqlglot", "jinja2"}
PROGRAM = """
import json, sys
from rota.cli.app import main
sys.argv = ["rota", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} | {name for name in sys.modules if name.startswith("rota.")})))
"""


def imported_by(home, *words):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(["--home", str(home), *words])], capture_output=True, text=True, check=False, cwd=home.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("words", [*sorted(LISTS), ("runs", "list", "--experiment", "trees")], ids=" ".join)
def test_a_list_of_records_imports_no_heavy_engine(home, words):
    imported = imported_by(home.path, *words)
    assert imported & HEAVY == set()
    assert {"rota.engines", "rota.wiring"} & imported == set()
    assert "sqlalchemy.dialects.postgresql" not in imported


def test_the_version_and_the_help_need_no_engine_at_all(tmp_path):
    for words in ("--version", "--help"):
        imported = imported_by(tmp_path / "none", words)
        assert imported & (HEAVY | {"sqlalchemy", "rota.record_engines"}) == set()


def test_the_check_would_see_an_engine(home):
    assert "polars" in imported_by(home.path, "sources", "list")


def test_the_light_file_holds_exactly_these_commands_and_their_groups_hold_them_too():
    for noun in {noun for noun, _ in LISTS}:
        verbs = {verb for name, verb in LISTS if name == noun}
        assert set(load(noun, file="lists").commands) == verbs, noun
        assert verbs < set(load(noun).commands), noun


def test_the_help_of_a_batch_names_its_command_and_only_its_options():
    done = subprocess.run([sys.executable, "-m", "rota.cli", "predict", "batch", "--help"], capture_output=True, text=True, check=True)
    assert "Usage: rota predict batch" in done.stdout
    assert "completion" not in done.stdout
