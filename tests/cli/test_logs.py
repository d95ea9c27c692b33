"""Log lines of the processes: facts for people in one line, or a JSON object with every extra field."""

import json
import logging
import sys

import pytest

from rota.cli.logs import JsonLines, Lines, configure
from rota.errors import InvalidInput


def record(message="child died", **extra):
    made = logging.getLogger("rota.server").makeRecord("rota.server", logging.WARNING, "f", 1, message, (), None, extra=extra)
    made.created = 1_373_889_600.25
    return made


def test_a_line_for_people_names_time_process_level_and_facts():
    assert Lines("up").format(record(action="child_died", child="worker-0", exit=-9)) == "12:00:00 up WARNING child died  child=worker-0 exit=-9"


def test_a_json_line_holds_every_extra_field():
    assert json.loads(JsonLines("up").format(record(action="child_died", pid=7))) == {
        "at": "2013-07-15T12:00:00.250000Z",
        "process": "up",
        "logger": "rota.server",
        "level": "warning",
        "message": "child died",
        "action": "child_died",
        "pid": 7,
    }


def test_an_exception_stays_within_one_json_line():
    try:
        raise ValueError("no\nway")
    except ValueError:
        failed = record()
        failed.exc_info = sys.exc_info()
    line = JsonLines("up").format(failed)
    assert "\n" not in line
    assert "ValueError: no\nway" in json.loads(line)["exception"]


def test_what_is_not_json_by_itself_is_logged_as_text():
    assert json.loads(JsonLines("up").format(record(where={1})))["where"] == "{1}"


def test_a_misspelt_form_is_an_error(monkeypatch):
    monkeypatch.setenv("ROTA_LOG", "jsn")
    with pytest.raises(InvalidInput, match="write json"):
        configure("up")
