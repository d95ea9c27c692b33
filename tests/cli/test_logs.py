"""Log lines of the processes: facts for people in one line, or a JSON object with every extra field."""

import contextlib
import json
import logging
import os
import sys

import pytest

from rota.cli.logs import JsonLines, Lines, PatientHandler, configure
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


def test_a_pipe_that_nobody_reads_keeps_nobody_waiting_and_what_was_dropped_is_told():
    reading, writing = os.pipe()
    handler = PatientHandler(writing, most=5)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(2_000):
        handler.emit(record(f"{number} {'x' * 100}"))
    assert handler.dropped > 0
    os.set_blocking(reading, False)
    taken = b""
    while handler._waiting.unfinished_tasks:
        with contextlib.suppress(BlockingIOError):
            taken += os.read(reading, 65_536)
    handler.emit(record("the last"))
    os.set_blocking(reading, True)
    taken += os.read(reading, 65_536)
    lines = taken.decode().splitlines()
    told = [int(line.split()[0]) for line in lines if "lines of this log were dropped" in line]
    assert len(lines) - len(told) + sum(told) == 2_001
    assert lines[-1] == "the last"
    os.close(writing)
    os.close(reading)


def test_a_full_disk_is_survived():
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        handler = PatientHandler(full.fileno())
        for _ in range(3):
            handler.emit(record("lost"))
        assert handler.dropped == 3
