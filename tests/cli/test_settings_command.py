"""`rota settings` and `rota --version`: what is in force here, from where, and of which Rota."""

import json
import re

import rota


def test_the_settings_in_force_name_their_origin_and_hide_secrets(empty, monkeypatch):
    monkeypatch.setenv("ROTA_METADATA_URL", "postgresql://ana:hunter2@db/rota")
    monkeypatch.setenv("ROTA_WORKERS", "3")
    (empty.path.parent / "rota.toml").write_text("poll_s = 0.5")
    shown, parsed = empty.rota("settings"), empty.rota("settings", "--json")
    assert (shown.exit_code, parsed.exit_code) == (0, 0), shown.output + parsed.output
    assert "hunter2" not in shown.output + parsed.output
    lines = {line.split()[0]: line.split()[1:] for line in shown.output.splitlines()}
    assert lines["workers"] == ["3", "ROTA_WORKERS", "1", "to", "64"]
    assert lines["metadata_url"] == ["...", "ROTA_METADATA_URL"]
    rows = {row["name"]: row for row in json.loads(parsed.output)}
    assert list(rows) == list(rota.Settings.__struct_fields__)
    assert (rows["home"]["value"], rows["home"]["origin"]) == (str(empty.path), "option")
    assert (rows["poll_s"]["value"], rows["poll_s"]["origin"]) == (0.5, "rota.toml")
    assert (rows["signing_key"]["value"], rows["signing_key"]["origin"]) == ("", "default")
    assert not empty.path.exists(), "looking at settings makes no home"


def test_a_wrong_setting_is_one_line(empty, monkeypatch):
    monkeypatch.setenv("ROTA_WORKERS", "65")
    refused = empty.rota("settings")
    assert refused.exit_code == 1
    assert "workers = 65 is out of range" in refused.stderr


def test_the_reference_is_printed_as_markdown_and_only_that(empty, root):
    assert empty.rota("settings", "--markdown").output == (root / "docs" / "settings.md").read_text()
    assert "leave one of them out" in empty.rota("settings", "--markdown", "--json").stderr


def test_the_version_is_one_line(empty):
    shown = empty.rota("--version")
    assert shown.exit_code == 0
    assert re.fullmatch(rf"rota {re.escape(rota.__version__)} \(Python 3\.\d+\.\w+, \w+\)\n", shown.output)
