"""The metadata store on PostgreSQL beyond the law of the port: its errors in Rota's words, lost sessions, locks, who may enter."""

import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection

from rota.backends.sql import postgresql as postgres_engine
from rota.backends.sql.engine import open_engine, reading, write, writing
from rota.backends.sql.metadata import SqlMetadata, apply_batch
from rota.backends.sql.runs import SqlRuns
from rota.errors import Conflict, Corrupt, InvalidInput, Refused, RotaError, Unavailable
from rota.ports.metadata import Batch, Put
from rota.records.model import Alias
from rota.testing.metadata import alias, pushed, store
from rota.testing.runs import claim, queued

PASSWORD = "correct horse?/@:%"  # hostile in a URL


@pytest.fixture
def metadata(postgres_store: str) -> Iterator[SqlMetadata]:
    metadata = SqlMetadata(postgres_store)
    yield metadata
    metadata.close()


@pytest.fixture
def administer(postgres_store: str) -> Iterator[psycopg.Connection]:
    """A session of the owner in the same database."""
    with psycopg.connect(postgres_store, autocommit=True) as connection:
        yield connection


@pytest.fixture
def guarded(postgres_store: str, administer: psycopg.Connection) -> Iterator[str]:
    """The URL of a user whom the server asks for a password, without that password."""
    row = administer.execute("SELECT current_setting('hba_file'), pg_read_file(current_setting('hba_file'))").fetchone()
    assert row is not None
    file, rules = row

    def set_rules(text: str) -> None:
        lines = sql.SQL("COPY (SELECT unnest(string_to_array({}, chr(10)))) TO {}").format(text, file)
        administer.execute(lines)
        administer.execute("SELECT pg_reload_conf()")

    administer.execute(sql.SQL("CREATE ROLE guarded LOGIN PASSWORD {}").format(PASSWORD))
    set_rules("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules)
    yield postgres_store.replace("rota@", "guarded:PASSWORD@")
    set_rules(rules)
    administer.execute("DROP OWNED BY guarded")
    administer.execute("DROP ROLE guarded")


def refusal(url: str) -> RotaError:
    with pytest.raises(RotaError) as caught:
        open_engine(url)
    return caught.value


def told(error: BaseException) -> str:
    """Everything that a log could show of an error: the text, its causes, its facts."""
    return "".join(traceback.format_exception(error)) + str(getattr(error, "facts", ""))


# --- opening ---


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_database_is_named_by_its_usual_url(postgres_store: str, scheme: str) -> None:
    engine = open_engine(postgres_store.replace("postgresql", scheme))
    assert engine.dialect.driver == "psycopg"
    engine.dispose()


def test_a_password_opens_the_store_and_a_wrong_one_is_refused_without_showing_it(guarded: str, administer: psycopg.Connection) -> None:
    wrong = refusal(guarded.replace("PASSWORD", "s3sam3"))
    assert isinstance(wrong, Refused)
    assert "the user and the password of metadata_url" in str(wrong)
    assert "s3sam3" not in told(wrong)
    assert isinstance(refusal(guarded.replace(":PASSWORD", "")), Refused)
    administer.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guarded")
    quoted = PASSWORD.replace("%", "%25").replace("/", "%2F").replace("@", "%40").replace(":", "%3A").replace("?", "%3F").replace(" ", "%20")
    engine = open_engine(guarded.replace("PASSWORD", quoted))
    assert SqlMetadata(engine).find(Alias) == []
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (("127.0.0.1:", "nohost.invalid:"), Unavailable, "cannot be reached"),
        (("rota@", "nobody:s3sam3@"), Refused, "does not let this user in"),
        (("/store_", "/nothing_"), InvalidInput, "does not exist; create it"),
        (("/store_", "/?password=s3sam3&nonsense=1&x="), InvalidInput, "nonsense"),
    ],
)
def test_what_cannot_be_opened_is_told_without_the_password(postgres_store: str, change: tuple[str, str], kind: type[RotaError], words: str) -> None:
    error = refusal(postgres_store.replace(*change))
    assert type(error) is kind
    assert words in str(error)
    assert "s3sam3" not in told(error)


def test_a_server_that_does_not_run_is_unavailable() -> None:
    assert isinstance(refusal("postgresql://rota:s3sam3@127.0.0.1:1/rota"), Unavailable)


@pytest.mark.parametrize(
    "url", ["postgresql://rota:s3sam3@host:port/rota", "rota:s3sam3@host", "postgresql+psycopg2://rota:s3sam3@host/rota", "mysql://u:s3sam3@h"]
)
def test_a_url_that_is_none_is_refused_without_showing_its_password(url: str) -> None:
    error = refusal(url)
    assert isinstance(error, InvalidInput)
    assert "s3sam3" not in told(error)


def test_a_missing_driver_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InvalidInput, match=r"pip install 'rota\[postgres\]'"):
        open_engine("postgresql://rota@127.0.0.1/rota")


def test_another_programs_database_is_refused(postgres_empty: Callable[[], str]) -> None:
    url = postgres_empty()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE cookies (id int)")
    assert "cookies" in str(refusal(url))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (1,)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0")
    error = refusal(postgres_url.replace("/postgres", "/latin"))
    assert isinstance(error, InvalidInput)
    assert "encoding UTF8" in str(error)


def test_two_stores_may_share_a_database_in_schemas_of_their_own(postgres_empty: Callable[[], str]) -> None:
    url = postgres_empty()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA one")
        connection.execute("CREATE SCHEMA two")
    one, two = (SqlMetadata(f"{url}?options=-csearch_path%3D{name}") for name in ("one", "two"))
    store(one, alias())
    assert (one.find(Alias), two.find(Alias)) == ([alias()], [])
    one.close()
    two.close()


def test_processes_that_open_an_empty_database_at_once_make_one_store(postgres_empty: Callable[[], str]) -> None:
    url = postgres_empty()
    script = "import sys; from rota.backends.sql.engine import open_engine; open_engine(sys.argv[1]).dispose()"
    children = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(2)]
    assert [child.wait(300) for child in children] == [0] * 2
    metadata = SqlMetadata(url)
    assert metadata.find(Alias) == []
    metadata.close()


# --- sessions ---


def test_a_session_that_was_lost_meanwhile_is_replaced(metadata: SqlMetadata, administer: psycopg.Connection) -> None:
    store(metadata, alias())
    end_sessions(administer)
    assert metadata.find(Alias) == [alias()]
    end_sessions(administer)
    store(metadata, alias("b"))
    assert len(metadata.find(Alias)) == 2


def test_a_session_lost_in_the_middle_of_a_transaction_writes_nothing(metadata: SqlMetadata, administer: psycopg.Connection) -> None:
    def put_and_lose(connection: Connection) -> None:
        apply_batch(connection, Batch(puts=[Put(alias())]))
        end_sessions(administer)
        apply_batch(connection, Batch(puts=[Put(alias("b"))]))

    with pytest.raises(Unavailable, match="ended the session"):
        write(metadata.engine, put_and_lose)
    assert metadata.find(Alias) == []


def end_sessions(administer: psycopg.Connection) -> None:
    ended = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'rota' AND datname = current_database()"
    assert all(row == (True,) for row in administer.execute(ended).fetchall())


def test_a_forked_child_uses_connections_of_its_own(postgres_store: str) -> None:
    script = """
import os, sys
from rota.backends.sql.metadata import SqlMetadata
from rota.records.model import Alias
metadata = SqlMetadata(sys.argv[1])
def session():
    with metadata.engine.connect() as connection:
        return connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
before = session()
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, str(session()).encode())
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert int(os.read(read, 20)) != before
assert session() == before
metadata.close()
"""
    assert subprocess.run([sys.executable, "-W", "error", "-c", script, postgres_store], check=False, timeout=300).returncode == 0


def test_commits_are_durable_also_where_the_server_is_set_to_be_hasty(postgres_store: str, administer: psycopg.Connection) -> None:
    administer.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(sql.Identifier(postgres_store.rpartition("/")[2])))
    metadata = SqlMetadata(postgres_store)
    with reading(metadata.engine) as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "30s"
    metadata.close()


# --- transactions ---


def test_a_reader_sees_one_snapshot_and_cannot_write(metadata: SqlMetadata) -> None:
    store(metadata, alias())
    with reading(metadata.engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM alias").scalar() == 1
        store(metadata, alias("b"))
        assert connection.exec_driver_sql("SELECT count(*) FROM alias").scalar() == 1
    with pytest.raises(Unavailable, match="takes no changes"), reading(metadata.engine) as connection:
        connection.exec_driver_sql("DELETE FROM alias")
    assert len(metadata.find(Alias)) == 2


def test_writers_that_stand_in_each_others_way_both_succeed(metadata: SqlMetadata) -> None:
    """Two batches put the same records in opposite order, so PostgreSQL must undo one of them."""
    both_began = threading.Barrier(2)

    def put(first: str, second: str) -> int:
        tries = []

        def work(connection: Connection) -> None:
            tries.append(first)
            connection.exec_driver_sql(f"INSERT INTO cursor VALUES ('{first}', '{{}}') ON CONFLICT (consumer) DO UPDATE SET body = 'x'")
            if len(tries) == 1:
                both_began.wait(60)
            connection.exec_driver_sql(f"INSERT INTO cursor VALUES ('{second}', '{{}}') ON CONFLICT (consumer) DO UPDATE SET body = 'x'")

        write(metadata.engine, work)
        return len(tries)

    with ThreadPoolExecutor(2) as pool:
        tries = list(pool.map(put, ("a", "b"), ("b", "a")))
    assert min(tries) == 1 < max(tries)


def test_an_earlier_position_is_never_committed_later(metadata: SqlMetadata) -> None:
    """While one writer's events are not committed, another's get no position."""
    with writing(metadata.engine) as connection:
        postgres_engine.lock(connection, "order")
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(metadata.commit, Batch(events=[pushed("later")]))
            with pytest.raises(TimeoutError):
                other.result(timeout=0.2)
            store(metadata, alias())  # who appends nothing does not wait
            assert metadata.find(Alias) == [alias()]
            apply_batch(connection, Batch(events=[pushed("earlier")]))
            connection.commit()
            other.result(timeout=60)
    assert [event.subject for event in metadata.events(0)] == ["earlier", "later"]


def test_a_writer_that_never_gets_its_turn_is_told_so(metadata: SqlMetadata, administer: psycopg.Connection) -> None:
    store(metadata, alias())
    administer.execute("BEGIN")
    administer.execute("SELECT * FROM alias FOR UPDATE")
    with metadata.engine.connect() as connection:  # the pool's only one, so the next writer gets it
        connection.exec_driver_sql("SET lock_timeout = '50ms'")
        connection.commit()
    with pytest.raises(Unavailable, match="held by another writer"):
        store(metadata, alias(number=2))
    administer.execute("ROLLBACK")
    assert metadata.find(Alias) == [alias()]


@pytest.mark.parametrize("statement", ["UPDATE audit SET hash = 'x'", "DELETE FROM audit", "DELETE FROM audit WHERE false", "TRUNCATE audit"])
def test_the_database_itself_refuses_to_change_the_audit_log(metadata: SqlMetadata, administer: psycopg.Connection, statement: str) -> None:
    batch = Batch()
    batch.audit("ada", "promote", "flights", 1)
    metadata.commit(batch)
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
        administer.execute(statement)
    with pytest.raises(Conflict, match="append-only"), writing(metadata.engine) as connection:
        connection.exec_driver_sql(statement)
    assert len(metadata.audit()) == 1


def test_damage_and_unfit_values_have_their_own_errors(metadata: SqlMetadata, administer: psycopg.Connection) -> None:
    batch = Batch()
    batch.link("nul \x00", ["a"], 1)
    with pytest.raises(InvalidInput, match="cannot hold a value"):
        metadata.commit(batch)
    with pytest.raises(InvalidInput, match="no key of more than"):
        store(metadata, alias(os.urandom(6_000).hex()))
    administer.execute("DROP TABLE alias")
    with pytest.raises(Corrupt, match="tables that Rota made"):
        metadata.find(Alias)


def test_errors_and_logs_show_no_stored_value(metadata: SqlMetadata, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    batch = Batch()
    batch.link("token-s3sam3", ["nul \x00"], 1)
    with pytest.raises(InvalidInput) as caught:
        metadata.commit(batch)
    assert "s3sam3" not in told(caught.value)
    assert "s3sam3" not in caplog.text


# --- the queue ---


def test_leases_end_by_the_servers_clock(metadata: SqlMetadata, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_s = [0.0]
    monkeypatch.setattr("time.time", lambda: wrong_s[0])
    runs = SqlRuns(metadata.engine)
    runs.submit(queued())
    lease = claim(runs, lease_s=60)
    wrong_s[0] = 1e12
    assert runs.claim("w2", 0, lease_s=60) is None
    runs.renew(lease, lease_s=1e-6)
    assert claim(runs, "w2").run.attempts == 2


def test_an_exclusive_submit_waits_for_one_that_is_not_committed(metadata: SqlMetadata, administer: psycopg.Connection) -> None:
    runs = SqlRuns(metadata.engine)
    store(metadata, alias())
    administer.execute("BEGIN")
    administer.execute("SELECT * FROM alias FOR UPDATE")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(runs.submit, queued("r1"), Batch(puts=[Put(alias(number=2))]), exclusive=True)
        wait_for_waiting(administer, 1, first)
        second = pool.submit(runs.submit, queued("r2"), exclusive=True)
        wait_for_waiting(administer, 2, second)
        administer.execute("COMMIT")
        assert (first.result(60), second.result(60)) == (True, False)
    assert [run.id for run in runs.find()] == ["r1"]


def wait_for_waiting(administer: psycopg.Connection, sessions: int, one: Future[bool]) -> None:
    waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    while administer.execute(waiting).fetchone() != (sessions,) and not one.done():
        time.sleep(0.01)


def test_claims_at_the_same_moment_get_different_runs_and_fences(metadata: SqlMetadata) -> None:
    runs = SqlRuns(metadata.engine)
    for number in range(40):
        runs.submit(queued(f"r{number}"))
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda worker: runs.claim(f"w{worker}", 0, lease_s=60), range(40)))
    assert len({lease.run.id for lease in leases if lease}) == len({lease.fence for lease in leases if lease}) == 40


def test_a_run_that_somebody_holds_does_not_keep_others_from_being_claimed(metadata: SqlMetadata) -> None:
    runs = SqlRuns(metadata.engine)
    runs.submit(queued("first", created_us=1))
    runs.submit(queued("second", created_us=2))
    with writing(metadata.engine) as connection:
        connection.exec_driver_sql("SELECT * FROM runs WHERE id = 'first' FOR UPDATE")
        assert claim(runs).run.id == "second"
        assert runs.claim("w1", 0, lease_s=600) is None
    assert claim(runs).run.id == "first"
