"""Settings: a variable beats the file, the file beats the default, and a typing mistake is seen."""

import re
from pathlib import Path

import pytest

from rota.errors import InvalidInput
from rota.rendering import settings_reference
from rota.settings import NOT_SETTINGS, SECRET_FILES, VARIABLES, Settings, descriptions, load, origins


def with_file(directory, text):
    (directory / "rota.toml").write_text(text)
    return directory


def test_without_anything_the_defaults_hold_and_stay_on_this_machine(tmp_path):
    settings = load(tmp_path, {})
    assert settings == Settings()
    assert (settings.home, settings.host, settings.clock) == (Path(".rota"), "127.0.0.1", "system")


def test_override_beats_variable_beats_file_beats_default(tmp_path):
    with_file(tmp_path, 'home = "/file"\nworkers = 2\nlease_s = 9\ncontrol_port = 1')
    settings = load(tmp_path, {"ROTA_WORKERS": "3", "ROTA_LEASE_S": "10", "PATH": "/bin"}, lease_s=11.5, host=None)
    assert (settings.home, settings.control_port, settings.workers, settings.lease_s) == (Path("/file"), 1, 3, 11.5)
    assert settings.host == "127.0.0.1"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_a_variable_is_read_as_its_fields_type(tmp_path, text, value):
    assert load(tmp_path, {"ROTA_SYNC": text}).sync is value


@pytest.mark.parametrize("wrong", ["ROTA_WORKER", "ROTA_", "ROTA_HOME_", "ROTA___CLASS__"])
def test_an_unknown_variable_is_an_error_that_names_it(tmp_path, wrong):
    with pytest.raises(InvalidInput, match=rf"unknown settings \['{wrong.removeprefix('ROTA_').lower()}'\].*known are \['home'"):
        load(tmp_path, {wrong: "1"})


@pytest.mark.parametrize("text", ["[rota]\nworkers = 2", "Workers = 2"])
def test_an_unknown_key_of_the_file_is_an_error(tmp_path, text):
    with pytest.raises(InvalidInput, match=r"unknown settings .*rota\.toml"):
        load(with_file(tmp_path, text), {})


@pytest.mark.parametrize("data", [b"workers = ", b"\xff\xfe", b"a = 1\na = 2", b"\0"])
def test_a_file_that_is_no_toml_is_named(tmp_path, data):
    (tmp_path / "rota.toml").write_bytes(data)
    with pytest.raises(InvalidInput, match=r"rota\.toml is not valid TOML"):
        load(tmp_path, {})


WRONG = {"ROTA_WORKERS": "many", "ROTA_SYNC": "perhaps", "ROTA_CLOCK": "sundial", "ROTA_LEASE_S": "", "ROTA_CONTROL_PORT": "1.5"}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_of_another_type_is_refused_by_name(tmp_path, name):
    with pytest.raises(InvalidInput, match=rf"{name}: the setting {name.removeprefix('ROTA_').lower()} = '{WRONG[name]}' does not fit: "):
        load(tmp_path, {name: WRONG[name]})


OUTSIDE = [
    ("workers", "0"),
    ("workers", "65"),
    ("control_port", "-1"),
    ("prediction_port", "65536"),
    ("lease_s", "nan"),
    ("lease_s", "inf"),
    ("poll_s", "0"),
]


@pytest.mark.parametrize(("name", "value"), OUTSIDE)
def test_a_value_out_of_range_is_refused_with_its_range(tmp_path, name, value):
    with pytest.raises(InvalidInput, match=f"setting {name} = .* must lie between"):
        load(tmp_path, {f"ROTA_{name.upper()}": value})


def test_the_range_holds_for_code_as_well():
    with pytest.raises(InvalidInput, match="workers = 0"):
        Settings(workers=0)


def test_secrets_are_not_shown():
    settings = Settings(metadata_url="postgresql://rota:hunter2@db/rota", alert_webhook="https://hooks/T0K3N", online_url="redis://:s3sam3@cache")
    for shown in (repr(settings), str(settings), f"{settings}"):
        assert "hunter2" not in shown
        assert "T0K3N" not in shown
        assert "s3sam3" not in shown
        assert "workers=1" in shown
    assert "alert_webhook=''" in repr(Settings())


def test_each_value_names_where_it_comes_from(tmp_path):
    (tmp_path / "url").write_text("redis://cache")
    with_file(tmp_path, "workers = 2\nlease_s = 9\npoll_s = 1.0")
    environ = {"ROTA_LEASE_S": "10", "ROTA_POLL_S": "2", "ROTA_ONLINE_URL_FILE": str(tmp_path / "url"), "ROTA_SIGNING_KEY": "k", "ROTA_LOG": "json"}
    found = origins(tmp_path, environ, poll_s=3.0, host=None)
    changed = {name: origin for name, origin in found.items() if origin != "default"}
    assert changed == {
        "workers": str(tmp_path / "rota.toml"),
        "lease_s": "ROTA_LEASE_S",
        "poll_s": "option",
        "online_url": "ROTA_ONLINE_URL_FILE",
        "signing_key": "ROTA_SIGNING_KEY",
    }
    assert list(found) == list(Settings.__struct_fields__)


def test_the_page_of_settings_is_the_generated_one(root):
    assert (root / "docs" / "settings.md").read_text() == settings_reference.markdown(), "`make docs` writes it anew"


def test_the_page_shows_every_setting_once_with_variable_type_default_range_and_reason():
    lines = [line for line in settings_reference.markdown().splitlines() if line.count(" | ") == 6 and line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert [row[0] for row in rows] == [f"`{name}`" for name in Settings.__struct_fields__]
    assert [row[1] for row in rows] == [f"`ROTA_{name.upper()}`" for name in Settings.__struct_fields__]
    shown = {name: (kind, default, limits) for name, _, kind, default, limits, _, _ in rows}
    assert shown["`lease_s`"] == ("number", "`5.0`", "1 to 3600 seconds")
    assert shown["`clock`"] == ("`system` or `replay`", "`system`", "")
    assert shown["`metadata_url`"] == ("text", "empty", "")
    secret = ["`metadata_url`", "`online_url`", "`signing_key`", "`alert_webhook`", "`audit_head_url`"]
    assert [row[0] for row in rows if row[5].endswith("*Secret.*")] == secret
    assert [row[6] for row in rows] == [about.reason for about in descriptions().values()]


def test_every_description_is_whole():
    for name, about in descriptions().items():
        assert about.text.endswith((".", ").")), name
        assert about.reason.endswith((".", ").")), name
        assert (about.low is None) == (about.high is None), name
        assert "|" not in about.text + about.reason, name


def test_the_page_names_every_variable_that_is_no_setting():
    assert set(re.findall(r"`(ROTA_\w+)` \| [A-Z`]", settings_reference.markdown())) >= set(VARIABLES)
    assert set(VARIABLES) | SECRET_FILES == NOT_SETTINGS
