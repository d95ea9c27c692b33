"""Settings: a variable beats the file, the file beats the default, and a typing mistake is seen."""

from pathlib import Path

import pytest

from rota.errors import InvalidInput
from rota.settings import Settings, load


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
    with pytest.raises(InvalidInput, match=rf"wrong type: .*{name.removeprefix('ROTA_').lower()}"):
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
