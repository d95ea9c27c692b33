"""A store that an older Rota made becomes today's when it is opened: nothing is lost, whatever happens meanwhile.

`stores/0001.sql` is what the last code of layout 1 wrote, with rows of every kind, as `sqlite3` dumps it; `stores/0002.sql` what the
last code of layout 2 wrote when rows were pushed, flushed and materialized.
"""

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, create_engine, delete, insert, inspect, select, text

from rota.backends.sql.engine import open_engine, reading, writing
from rota.backends.sql.layout import LAYOUT, MIGRATIONS, migrate
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.backends.sql.tracking import SqlTracking
from rota.backends.sql.tracking_schema import experiments
from rota.errors import Refused
from rota.manage.features.definitions import registration
from rota.ports.metadata import Batch
from rota.records.filters import Query
from rota.records.intake import CatalogStamp, StreamClaim, ViewMaterialization
from rota.records.kinds import KINDS
from rota.records.model import Alias, AliasMove, ModelVersion, RegisteredModel
from rota.records.record import digest, encode
from rota.records.run import RunQuery
from rota.records.signal import Cursor
from rota.records.tracking import ArtifactFile, MetricPoint

SCHEMA = experiments.metadata
DUMP = Path(__file__).parent / "stores" / "0001.sql"
NOON_US = 1_373_889_600_000_000

OPEN = """
import os, signal, sys
from sqlalchemy import Engine, event
from rota.backends.sql.engine import open_engine

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if sys.argv[2:] and statement.strip().startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

open_engine(sys.argv[1]).dispose()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    return f"sqlite:///{tmp_path}/metadata.db" if request.param == "sqlite" else request.getfixturevalue("postgres_empty")()


@pytest.fixture
def old(empty: str, tmp_path: Path) -> str:
    """The URL of a store of layout 1 with data."""
    dumped = tmp_path / "dumped.db"
    with closing(sqlite3.connect(dumped)) as connection:
        connection.executescript(DUMP.read_text())
    if empty.startswith("sqlite"):
        shutil.move(dumped, empty.removeprefix("sqlite:///"))
    else:
        copy_rows(dumped, empty)
    return empty


@pytest.fixture
def second(empty: str, tmp_path: Path) -> str:
    """The URL of a store of layout 2 with a catalog, pushed rows that were flushed, and views that were materialized."""
    dumped = tmp_path / "dumped.db"
    with closing(sqlite3.connect(dumped)) as connection:
        connection.executescript(DUMP.with_name("0002.sql").read_text())
    if empty.startswith("sqlite"):
        shutil.move(dumped, empty.removeprefix("sqlite:///"))
    else:
        copy_rows(dumped, empty, "0002")
    return empty


@pytest.fixture
def opened() -> Iterator[Callable[[str], Engine]]:
    engines: list[Engine] = []

    def opened_here(url: str) -> Engine:
        engines.append(open_engine(url))
        return engines[-1]

    yield opened_here
    for engine in engines:
        engine.dispose()


def bare(url: str) -> Engine:
    """The database as it is."""
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def copy_rows(file: Path, url: str, layout: str = "0001") -> None:
    """The rows of a SQLite store in a new PostgreSQL one of its layout; layout 1 did not know Alembic."""
    source, target = create_engine(f"sqlite:///{file}"), bare(url)
    tables = MetaData()
    with writing(target) as there, source.connect() as here:
        migrate(there, layout)
        if layout == "0001":
            there.execute(text("DROP TABLE alembic_version"))
        tables.reflect(there)
        for table in reversed(tables.sorted_tables):
            if table.name != "audit":  # which refuses, and is empty
                there.execute(delete(table))
        for table in tables.sorted_tables:
            if rows := [dict(row._mapping) for row in here.execute(select(text("*")).select_from(text(table.name)))]:
                flags = [column.name for column in table.columns if str(column.type) == "BOOLEAN"]
                there.execute(insert(table), [row | {name: bool(row[name]) for name in flags} for row in rows])
        for name in ("events", "runs"):
            there.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'position'), (SELECT max(position) FROM {name}))"))
    source.dispose()
    target.dispose()


def layout(engine: Engine) -> dict[str, object]:
    """What the catalog says of every table: columns, keys, indexes."""
    with engine.connect() as connection:
        seen = inspect(connection)
        return {
            name: (
                sorted(
                    (c["name"], str(c["type"]), getattr(c["type"], "collation", None), c["nullable"], str(c["default"]))
                    for c in seen.get_columns(name)
                ),
                seen.get_pk_constraint(name)["constrained_columns"],
                sorted((str(index["name"]), tuple(index["column_names"]), bool(index["unique"])) for index in seen.get_indexes(name)),
                sorted(tuple(constraint["column_names"]) for constraint in seen.get_unique_constraints(name)),
            )
            for name in seen.get_table_names()
        }


def guards(engine: Engine) -> list[object]:
    """The triggers of a database."""
    catalog = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY 1"
    if engine.dialect.name == "postgresql":
        catalog = (
            "SELECT tgname, pg_get_triggerdef(oid), prosrc FROM pg_trigger, LATERAL (SELECT prosrc FROM pg_proc WHERE oid = tgfoid) f ORDER BY 1"
        )
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(catalog))]


def rows_in(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {name: connection.scalar(text(f"SELECT count(*) FROM {name}")) or 0 for name in inspect(connection).get_table_names()}


def test_every_record_of_an_older_store_reads_back(old: str, opened: Callable[[str], Engine]) -> None:
    before = bare(old)
    counted = rows_in(before)
    before.dispose()
    metadata = SqlMetadata(opened(old))
    for kind in KINDS:
        if kind.name in counted:
            assert len(metadata.find(kind.record)) == counted[kind.name] > 0, kind.name
    events, entries = metadata.events(0), metadata.audit()
    assert (len(events), len(entries)) == (counted["events"], counted["audit"])
    assert [entry.previous for entry in entries] == ["", *(entry.hash for entry in entries[:-1])]
    for entry in entries:
        assert entry.hash == digest(entry.previous.encode() + encode(msgspec.structs.replace(entry, hash="")))
    assert metadata.edges(["model_version:delay@1"], "causes")
    batch = Batch()
    batch.event(events[0])
    metadata.commit(batch)
    assert metadata.events(0)[-1].position > events[-1].position


def test_runs_and_their_journals_go_on(old: str, opened: Callable[[str], Engine]) -> None:
    runs = SqlRuns(opened(old))
    assert [(run.id, run.status) for run in runs.find(RunQuery(newest_first=False))] == [("r1", "parked"), ("r2", "queued")]
    assert [step.name for step in runs.journal("r1")] == ["ingest"]
    assert runs.signals("r2") == {"cancel": {"by": "ada"}}
    lease = runs.claim("w2", NOON_US, lease_s=600)
    assert lease is not None
    assert (lease.run.id, lease.fence) == ("r2", 2)


def test_experiment_runs_that_were_records_are_tracked_runs(old: str, opened: Callable[[str], Engine]) -> None:
    engine = opened(old)
    tracking, metadata = SqlTracking(engine), SqlMetadata(engine)
    late = tracking.experiment_named("late-flights")
    assert late is not None
    assert (len(late.id), late.id.isdigit(), late.created_us, late.updated_us) == (18, True, NOON_US, NOON_US + 4)
    assert [run.id for run in tracking.search_runs([late.id], Query()).items] == ["a4", "a2", "a1"]
    run = tracking.run("a1")
    assert run is not None
    assert (run.experiment, run.name, run.status, run.started_us, run.ended_us) == (late.id, "deeper trees", "finished", NOON_US, NOON_US + 9)
    assert run.parameters == {"depth": "8", "rate": "0.1", "early": "True", "none": "None", "deep": '{"list":[1,2.5]}', "name": "gbm"}
    assert run.metrics == {"log_loss": 0.46, "auc": 0.7}
    assert tracking.history("a1", "auc") == [MetricPoint("auc", 0.7, 0, NOON_US + 9)]
    assert run.tags["note"] == "tür ☕ '\" ; DROP TABLE"
    assert run.source == {"commit": "c0ffee", "seeds": "7", "packages": "e" * 64}
    root = f"{late.id}/a1/artifacts"
    assert metadata.find(ArtifactFile) == [ArtifactFile(root, "importance.svg", "c" * 64, 0, NOON_US)]
    assert [edge.cause for edge in metadata.edges([f"artifact_file:{root}@importance.svg"], "causes")] == ["experiment_run:a1"]
    default = tracking.run("a3")
    assert default is not None
    assert (default.experiment, default.status, default.tags["error"]) == ("0", "failed", "ValueError: x")
    long = tracking.run("a4")
    assert long is not None
    assert long.parameters == {"text": "x" * 7_000}


def test_what_runs_log_after_the_migration_stands_beside_the_old(old: str, opened: Callable[[str], Engine]) -> None:
    tracking = SqlTracking(opened(old))
    run = tracking.run("a2")
    assert run is not None
    fresh = type(run)("a9", run.experiment, "new", "running", NOON_US + 9, parameters={"depth": "9"})
    tracking.create_run(fresh)
    assert tracking.run("a9") == fresh
    assert tracking.run("a2") == run


def test_models_are_registered_and_aliases_have_a_history(old: str, opened: Callable[[str], Engine]) -> None:
    metadata = SqlMetadata(opened(old))
    models = metadata.find(RegisteredModel)
    assert [(model.name, model.created_us, model.updated_us) for model in models] == [
        ("delay", NOON_US + 1, NOON_US + 2),
        ("other", NOON_US - 5, NOON_US - 5),
    ]
    assert metadata.find(RegisteredModel, {"project": "default"}) == models
    alias = metadata.get(Alias, "delay", "champion")
    assert alias is not None
    assert metadata.find(AliasMove, {"number": 1}) == [AliasMove("delay", "champion", 1, 1, 0, alias.since_us, "", "")]
    assert len(metadata.find(ModelVersion, {"owner": ""})) == len(metadata.find(ModelVersion, {"experiment_run": ""})) == 3


def test_what_cursors_stood_for_are_records_and_cursors_are_what_they_say(second: str, opened: Callable[[str], Engine]) -> None:
    metadata = SqlMetadata(opened(second))
    segment, at_us = "0000000000000001.seg", 1_373_860_800_000_000
    assert metadata.find(Cursor) == [Cursor(f"arrived/sales/push/{segment}", 306), Cursor("loop", 3)]
    assert metadata.find(StreamClaim) == [StreamClaim("sales", segment, 255, 306, 1)]
    assert metadata.find(ViewMaterialization) == [
        ViewMaterialization("newest", "764217f54f391581", at_us, 0, 1),
        ViewMaterialization("windows", "7613c3b8e60265e3", at_us, 0, 6),
    ]
    assert metadata.find(CatalogStamp) == [CatalogStamp("features", 1)]
    assert registration.catalog(metadata) == 1
    batch = Batch()
    batch.put(StreamClaim("sales", segment, 306, 400, 2), replacing=StreamClaim("sales", segment, 255, 306, 1))
    metadata.commit(batch)


def test_a_materialization_without_a_table_version_and_a_claim_that_was_never_whole(second: str, opened: Callable[[str], Engine]) -> None:
    before = bare(second)
    with before.begin() as connection:
        for consumer, position in (("materialized-version/newest/764217f54f391581", -1), ("flush-start/sales/torn.seg", 7)):
            body = f'{{"consumer":"{consumer}","position":{position}}}'
            connection.execute(text("DELETE FROM cursor WHERE consumer = :consumer"), {"consumer": consumer})
            connection.execute(text("INSERT INTO cursor VALUES (:consumer, :body)"), {"consumer": consumer, "body": body})
    before.dispose()
    metadata = SqlMetadata(opened(second))
    found = metadata.get(ViewMaterialization, "newest", "764217f54f391581")
    assert found is not None
    assert found.version is None
    assert [claim.segment for claim in metadata.find(StreamClaim)] == ["0000000000000001.seg"]
    assert len(metadata.find(Cursor)) == 2


def test_a_migrated_store_is_laid_out_as_a_new_one(old: str, opened: Callable[[str], Engine], request: pytest.FixtureRequest, tmp_path: Path) -> None:
    new = f"sqlite:///{tmp_path}/new.db" if old.startswith("sqlite") else request.getfixturevalue("postgres_empty")()
    migrated, made = opened(old), opened(new)
    assert layout(migrated) == layout(made)
    assert guards(migrated) == guards(made)
    for engine in (migrated, made):
        with reading(engine) as connection:
            assert connection.scalar(text("SELECT version FROM rota_schema")) == int(LAYOUT)
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == LAYOUT


def test_the_steps_lead_to_the_tables_of_the_code(old: str, opened: Callable[[str], Engine]) -> None:
    with reading(opened(old)) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = [f"{act} {thing.name if hasattr(thing, 'name') else thing}" for act, thing, *_ in compare_metadata(context, SCHEMA)]
    assert differences == [], (
        "the tables of the code (records/kinds.py, sql/schema.py, sql/tracking_schema.py) and the steps of sql/migrations/versions differ. "
        "If the newest step was not released yet, complete it; otherwise raise SCHEMA_VERSION in sql/schema.py and write the next "
        "step, vNNNN_what_changes.py, with record_table() for a new kind and index_field() for a new index field (migrations/steps.py)"
    )


def test_the_newest_step_has_the_number_of_the_layout() -> None:
    steps = ScriptDirectory(str(MIGRATIONS))
    assert steps.get_heads() == [LAYOUT]
    numbers = [step.revision for step in steps.walk_revisions()][::-1]
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]
    assert sorted(path.name[:6] for path in (MIGRATIONS / "versions").glob("v*.py")) == [f"v{number}_"[:6] for number in numbers]


def test_a_copy_of_the_file_is_kept(old: str, opened: Callable[[str], Engine], tmp_path: Path) -> None:
    opened(old)
    copies = sorted(path.name for path in tmp_path.glob("*before*"))
    if old.startswith("postgresql"):
        assert copies == []
        return
    assert copies == [f"metadata.db.before-{LAYOUT}"]
    with closing(sqlite3.connect(tmp_path / copies[0])) as connection:
        assert connection.execute("SELECT version FROM rota_schema").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM experiment_run").fetchone() == (5,)
    assert (tmp_path / copies[0]).stat().st_mode == (tmp_path / "metadata.db").stat().st_mode


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("CREATE TABLE alembic_version", marks=pytest.mark.slow),
        pytest.param("INSERT INTO run_metrics", marks=pytest.mark.slow),
        "DROP TABLE experiment_run",
        pytest.param("UPDATE alembic_version", marks=pytest.mark.slow),
    ],
)
def test_a_migration_killed_half_way_changed_nothing_and_begins_again(old: str, opened: Callable[[str], Engine], at: str) -> None:
    before = bare(old)
    seen, counted = layout(before), rows_in(before)
    before.dispose()
    killed = subprocess.run([sys.executable, "-c", OPEN, old, at], check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    after = bare(old)
    assert (layout(after), rows_in(after)) == (seen, counted)
    after.dispose()
    assert SqlTracking(opened(old)).run("a1") is not None


def test_processes_that_open_an_old_store_at_once_migrate_it_once(old: str, opened: Callable[[str], Engine]) -> None:
    children = [subprocess.Popen([sys.executable, "-c", OPEN, old]) for _ in range(2)]
    assert [child.wait(300) for child in children] == [0] * 2
    assert len(SqlMetadata(opened(old)).find(RegisteredModel)) == 2


def test_opening_a_store_of_today_loads_no_alembic(empty: str) -> None:
    script = """
import sys
from rota.backends.sql.engine import open_engine
open_engine(sys.argv[1]).dispose()  # makes it
open_engine(sys.argv[1]).dispose()
assert "alembic" not in sys.modules
"""
    assert subprocess.run([sys.executable, "-c", script, empty], check=False, timeout=300).returncode == 0


def test_a_store_of_a_newer_rota_is_refused_and_stays_as_it_is(empty: str, opened: Callable[[str], Engine]) -> None:
    with writing(opened(empty)) as connection:
        connection.execute(text("UPDATE rota_schema SET version = version + 1"))
        connection.execute(text("DROP TABLE note"))
    with pytest.raises(Refused, match="upgrade rota"):
        open_engine(empty)
