"""The proof that an audit log is the one that was written: what a chain finds by itself, and what only a kept head finds."""

import json
import sqlite3
from contextlib import closing

import pytest

from rota import wiring
from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import InvalidInput
from rota.manage.lineage import audit_chain
from rota.ports.metadata import Batch
from rota.records.record import decode, digest, encode
from rota.records.signal import AuditEntry
from rota.settings import Settings

ENTRIES = 12


def write(metadata, count, *, start=0):
    for number in range(start, start + count):
        batch = Batch()
        batch.audit("anna", "version.approve", f"delay@{number}", number, reason="good")
        metadata.commit(batch)


@pytest.fixture
def home(tmp_path):
    with wiring.opened(Settings(home=tmp_path)) as platform:
        write(platform.repositories.metadata, ENTRIES)
    return tmp_path


def tampered(home, *statements):
    """Change the audit log behind the store's back, triggers dropped."""
    with closing(sqlite3.connect(home / "metadata.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


def rewritten(home, change):
    """Let somebody change an entry and compute every later hash anew, as the owner of the file can."""
    with closing(sqlite3.connect(home / "metadata.db")) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(audit)")]
        rows = [dict(zip(columns, row, strict=True)) for row in connection.execute("SELECT * FROM audit ORDER BY position")]
    previous, statements = "", []
    for row in rows:
        entry = decode(change(row["body"]), AuditEntry)
        body = encode(type(entry)(entry.actor, entry.action, entry.subject, entry.at_us, entry.body, entry.position, previous, ""))
        previous = digest(previous.encode() + body)
        statements.append(f"UPDATE audit SET body = '{body.decode()}', hash = '{previous}' WHERE position = {row['position']}")
    tampered(home, *statements)


def check(home, *kept):
    with wiring.opened(Settings(home=home)) as platform:
        return audit_chain.verify_audit(platform.repositories.metadata, *kept)


def head(home):
    with wiring.opened(Settings(home=home)) as platform:
        return audit_chain.head(platform.repositories.metadata)


def test_a_log_as_it_was_written_is_whole_and_reaches_its_head(home):
    assert check(home) == audit_chain.AuditCheck(ENTRIES)
    assert check(home, head(home)) == audit_chain.AuditCheck(ENTRIES)
    assert head(home).position == ENTRIES


@pytest.mark.parametrize(
    ("statements", "broken_at"),
    [
        pytest.param(["UPDATE audit SET body = replace(body, 'good', 'evil') WHERE position = 5"], 5, id="edited"),
        pytest.param(["UPDATE audit SET body = replace(body, 'anna', 'otto') WHERE position = 1"], 1, id="another actor"),
        pytest.param(["DELETE FROM audit WHERE position = 1"], 1, id="first deleted"),
        pytest.param(["DELETE FROM audit WHERE position = 7"], 7, id="deleted"),
        pytest.param(["DELETE FROM audit WHERE position = 7", "UPDATE audit SET position = position - 1 WHERE position > 7"], 7, id="closed up"),
        pytest.param(
            [
                "UPDATE audit SET position = -3 WHERE position = 3",
                "UPDATE audit SET position = 3 WHERE position = 4",
                "UPDATE audit SET position = 4 WHERE position = -3",
            ],
            3,
            id="reordered",
        ),
        pytest.param(
            [
                "UPDATE audit SET position = -position WHERE position > 4",
                "UPDATE audit SET position = 1 - position WHERE position < 0",
                "INSERT INTO audit SELECT 5, previous, hash, body FROM audit WHERE position = 4",
            ],
            5,
            id="inserted",
        ),
    ],
)
def test_every_change_of_a_chain_is_found_where_it_begins(home, statements, broken_at):
    tampered(home, *statements)
    found = check(home)
    assert (found.broken_at, found.entries) == (broken_at, broken_at - 1), found.reason


def test_a_cut_tail_is_found_only_by_a_head_that_was_kept(home):
    kept = head(home)
    tampered(home, f"DELETE FROM audit WHERE position > {ENTRIES - 3}")
    assert check(home).broken_at == 0
    found = check(home, kept)
    assert found.broken_at == ENTRIES - 2
    assert "its tail was cut off" in found.reason


def test_a_log_emptied_altogether_is_found_too(home):
    kept = head(home)
    tampered(home, "DELETE FROM audit")
    assert check(home) == audit_chain.AuditCheck(0)
    assert check(home, kept).broken_at == 1


def test_a_log_written_anew_with_fitting_hashes_is_found_only_by_a_head_that_was_kept(home):
    kept = head(home)
    rewritten(home, lambda body: body.replace("good", "evil"))
    assert check(home).broken_at == 0
    assert "written anew" in check(home, kept).reason


def test_a_head_of_long_ago_still_holds_when_the_log_has_grown(home):
    kept = head(home)
    with wiring.opened(Settings(home=home)) as platform:
        write(platform.repositories.metadata, 5, start=100)
    assert check(home, kept) == audit_chain.AuditCheck(ENTRIES + 5)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 1_000, 1_001])
def test_the_head_is_the_last_entry_however_long_the_log(count):
    metadata = MemoryMetadata()
    write(metadata, count)
    found = audit_chain.head(metadata)
    assert found.position == count
    assert found.hash == (metadata.audit(count - 1)[0].hash if count else "")
    assert audit_chain.parse_head(str(found)) == found


@pytest.mark.parametrize("text", ["", "7", "7:", "x:" + "0" * 64, "7:" + "g" * 64, "7:" + "0" * 63, json.dumps({"position": 7})])
def test_what_is_no_head_is_told_so(text):
    if text == "7:":
        assert audit_chain.parse_head(text).hash == ""
        return
    with pytest.raises(InvalidInput, match="POSITION:HASH"):
        audit_chain.parse_head(text)


def test_a_worker_says_the_head_in_its_log_once_an_hour(home, caplog):
    caplog.set_level("INFO", "rota.manage")
    with wiring.opened(Settings(home=home)) as platform:
        platform.housekeeping.run()
        platform.housekeeping.run()
    assert [record.message for record in caplog.records if record.message.startswith("audit head")] == [f"audit head {head(home)}"]


@pytest.mark.parametrize("body", ["{", "[]", "null", '{"actor": 7}', ""])
def test_an_entry_that_cannot_be_read_breaks_the_chain_where_it_stands(home, body):
    tampered(home, f"UPDATE audit SET body = '{body}' WHERE position = 7")
    found = check(home)
    assert (found.entries, found.broken_at, "cannot be read" in found.reason) == (6, 7, True)


def test_heads_that_went_into_a_file_find_a_tail_that_was_cut_off(home, tmp_path):
    kept = tmp_path / "elsewhere" / "heads"
    kept.parent.mkdir()
    settings = Settings(home=home, audit_head_file=str(kept), audit_head_s=1.0)
    for start in (0, 100):
        with wiring.opened(settings) as platform:
            platform.housekeeping.run()
            write(platform.repositories.metadata, 3, start=start)
            platform.housekeeping._head_logged_us = 0
            platform.housekeeping.run()
    heads = audit_chain.parse_heads(kept.read_text())
    assert [each.position for each in heads] == [12, 15, 15, 18]
    assert check(home, *heads) == audit_chain.AuditCheck(18)
    tampered(home, "DELETE FROM audit WHERE position > 14")
    assert check(home) == audit_chain.AuditCheck(14)
    assert check(home, *heads).broken_at == 15
    assert "tail was cut off" in check(home, *heads).reason
    assert check(home, heads[0], audit_chain.Head(12, "0" * 64)).broken_at == 12


def test_a_file_of_heads_that_takes_none_is_told_of_and_stops_nothing(home, tmp_path, caplog):
    with wiring.opened(Settings(home=home, audit_head_file=str(tmp_path / "nowhere" / "heads"))) as platform:
        platform.housekeeping.run()
    assert "cannot be kept in" in caplog.text
    with pytest.raises(InvalidInput, match="holds none"):
        audit_chain.parse_heads("\n")
