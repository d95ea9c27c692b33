"""`rota backup` and `rota restore`: what they print, when they end with 1, and who may give them."""

import json
from pathlib import Path

from rota.manage.access import tokens


def test_a_backup_is_made_listed_verified_pruned_and_restored(home, tmp_path):
    place = str(tmp_path / "place")
    made = home.rota("backup", place, "--json")
    assert made.exit_code == 0, made.output
    first = json.loads(made.output)["id"]
    assert home.rota("backup", "make", place).exit_code == 0
    listed = json.loads(home.rota("backup", "list", place, "--json").output)
    assert [each["id"] == first for each in listed] == [False, True]
    assert "is whole" in home.rota("backup", "verify", place, "--id", first).output
    pruned = json.loads(home.rota("backup", "prune", place, "--keep", "1", "--json").output)
    assert pruned["removed"] == [first]
    done = home.rota("restore", place, "--home", str(tmp_path / "new"))
    assert done.exit_code == 0, done.output
    assert "nothing that was acknowledged later is in it" in done.output
    before, after = home.rota("models", "list", "--json"), type(home)(tmp_path / "new").rota("models", "list", "--json")
    assert json.loads(before.output) == json.loads(after.output) != []


def test_damage_is_named_and_ends_with_1(home, tmp_path):
    place = tmp_path / "place"
    home.rota("backup", str(place))
    for path in place.glob("objects/*/*"):
        path.write_bytes(path.read_bytes()[:-1])
    found = home.rota("backup", "verify", str(place))
    assert found.exit_code == 1
    assert "damaged" in found.output
    as_json = home.rota("backup", "verify", str(place), "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.output)["damages"]
    assert home.rota("restore", str(place), "--home", str(tmp_path / "new")).exit_code == 1
    assert not (tmp_path / "new").exists()


def test_only_the_owner_backs_up(home, tmp_path, monkeypatch):
    with home.open() as platform:
        now_us = platform.access.wall.now_us()
        _, secret = tokens.create(platform.repositories.metadata, "olga", "operator", actor="owner", now_us=now_us)
    monkeypatch.setenv("ROTA_TOKEN", secret)
    refused = home.rota("backup", str(tmp_path / "place"))
    assert refused.exit_code == 1
    assert "platform.backup" in refused.stderr
    assert not Path(tmp_path / "place").exists()


def test_help_shows_an_example(home):
    for words in (("backup", "make"), ("backup", "verify"), ("backup", "list"), ("backup", "prune"), ("restore",)):
        assert "Example: rota" in home.rota(*words, "--help").output
    assert "make" in home.rota("backup", "--help").output
