"""What a supervisor knows of its state: said once, counted while it lasts, read by others from a file."""

import logging

import pytest

from rota.errors import Corrupt
from rota.manage.signals.supervisor_file import supervisor_conditions
from rota.settings import Settings
from rota.supervisor import processes
from rota.supervisor.processes import Supervisor
from rota.supervisor.troubles import Troubles


def test_a_change_is_one_line_however_often_it_is_seen(caplog):
    caplog.set_level(logging.INFO, "rota.supervisor")
    troubles = Troubles()
    for count in range(50):
        troubles.seen("child:serve-0", f"serve-0 died for the {count}th time")
    troubles.over("child:serve-0")
    troubles.over("child:serve-0")
    assert [(record.levelname, getattr(record, "count", None)) for record in caplog.records] == [("WARNING", None), ("INFO", 50)]
    troubles.seen("child:serve-0", "serve-0 cannot be started: Too many open files")
    assert len(caplog.records) == 3


def test_what_was_written_is_what_is_read(tmp_path):
    troubles = Troubles()
    troubles.seen("child:worker-0", "worker-0 was killed by SIGKILL", status="failed", exit=-9)
    troubles.over("child:server")
    troubles.write(tmp_path)
    assert supervisor_conditions(tmp_path) == list(troubles.conditions())
    assert {each.name: each.status for each in troubles.conditions()} == {"child:server": "well", "child:worker-0": "failed"}
    assert (tmp_path / "run" / "supervisor.json").stat().st_mode & 0o077 == 0


def test_a_home_that_was_never_up_has_none(tmp_path):
    assert supervisor_conditions(tmp_path) == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"conditions": [{"name": 1}]}', b"\xff\xfe"])
def test_a_damaged_file_says_so_and_not_that_all_is_well(tmp_path, damage):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "supervisor.json").write_bytes(damage)
    with pytest.raises(Corrupt, match="cannot be read"):
        supervisor_conditions(tmp_path)


def test_a_fault_of_the_supervisors_own_round_is_over_when_a_round_goes_through(tmp_path, monkeypatch):
    supervisor, rounds = Supervisor(Settings(home=tmp_path)), [OSError("no descriptor is left"), 0.0]

    def tend(_: Supervisor) -> float:
        found = rounds.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(Supervisor, "_tend", tend)
    monkeypatch.setattr(processes, "TRY_AGAIN_S", 0.0)
    supervisor._watch()
    (ill,) = supervisor.troubles.conditions()
    assert (ill.name, ill.status) == ("supervisor", "degraded")
    supervisor._watch()
    (ended,) = supervisor.troubles.conditions()
    assert ended.status == "well"
