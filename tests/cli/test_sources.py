"""`rota sources` on a real home: look at an input, take it in, see what came and what was left out."""

import getpass
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rota.records.data import Contract, Source
from rota.records.schema import ColumnSchema
from rota.testing.story import SOURCE


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,origin,at,delay,note\na,JFK,2013-07-15,3,x\nb,JFK,2013-07-15,many,x\nc,EWR,2013-07-15,900,x\n")
    return path


@pytest.fixture
def promised(home, rows):
    contract = Contract("anna", (ColumnSchema("delay", "float", maximum=600),), freshness="1d")
    with home.open() as platform:
        platform.feed.register([Source(SOURCE.name, SOURCE.fields, "at", id_field="id", path=str(rows), contract=contract)])
    return home


def asked(home, *words):
    result = home.rota("sources", *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_look_at_an_input_tells_types_and_what_would_be_rejected_and_stores_nothing(promised):
    found = asked(promised, "test", "arrivals")
    assert (found["rows"], found["rejected"], found["undeclared"], found["missing"]) == (3, 2, ["note"], [])
    shown = promised.rota("sources", "test", "arrivals").stdout
    assert "delay: string, declared float\n" in shown
    assert "note: string, not declared\n" in shown
    assert "id: string\n" in shown
    assert "row 3: contract of anna (version 1): field 'delay': 900.0 is above 600" in shown
    assert asked(promised, "status")[0]["rows"] == 0


def test_what_was_taken_in_and_left_out_is_listed(promised):
    done = asked(promised, "ingest", "arrivals")
    assert (done["rows_in"], done["rows_out"], done["rejected"]) == (3, 1, 2)
    assert "more than 1d ago" in done["stale"]
    rejects = asked(promised, "rejects", "arrivals")
    assert [each["row"] for each in rejects] == [2, 3]
    assert json.loads(rejects[0]["raw"])["delay"] == "many"
    assert "many is no float" in promised.rota("sources", "rejects", "arrivals").stdout
    shown = asked(promised, "show", "arrivals")
    assert (shown["ingestions"][0]["actor"], shown["status"]["rejected"]) == (getpass.getuser(), 2)
    text = promised.rota("sources", "show", "arrivals").stdout
    assert "version 1 of anna" in text
    assert "3 read, 1 stored, 0 known, 2 rejected" in text
    assert "more than 1d ago" in " ".join(promised.rota("sources", "status", "arrivals").stdout.split())


def test_a_password_is_shown_nowhere(home, tmp_path, monkeypatch):
    with closing(sqlite3.connect(tmp_path / "hunter2.db")) as connection, connection:
        connection.execute("CREATE TABLE t AS SELECT 'a' AS id, '2013-07-15' AS at")
    monkeypatch.setenv("SHOP", "hunter2")
    fields = {"id": "string", "at": "timestamp"}
    with home.open() as platform:
        platform.feed.register(
            [
                Source("shop", fields, "at", url=f"sqlite:///{tmp_path}/${{SHOP}}.db", query="t"),
                Source("far", fields, "at", url="postgresql://u:${SHOP}@127.0.0.1:1/d", query="t"),
            ]
        )
    assert asked(home, "ingest", "shop")["rows_out"] == 1
    for words in (["list"], ["show", "shop"], ["show", "far"], ["test", "shop"], ["ingest", "far"], ["status"]):
        result = home.rota("sources", *words)
        assert "hunter2" not in result.output, words
        assert "Traceback" not in result.output
    assert home.rota("sources", "ingest", "far").exit_code == 1


@pytest.mark.parametrize("words", ["show nix", "test nix", "rejects nix", "status nix"])
def test_an_unknown_source_is_answered_with_the_known_ones(home, words):
    result = home.rota("sources", *words.split())
    assert result.exit_code == 1
    assert "the sources are ['arrivals']" in result.stderr


def test_a_source_without_an_input_cannot_be_looked_at(home):
    assert "no file and no database" in home.rota("sources", "test", "arrivals").stderr
