"""The tables of the SQL metadata store: one for each Kind of record, and those of events, lineage, audit and runs.

SCHEMA_VERSION counts the layouts. Whoever changes a table, adds a Kind or an index field raises the number and writes the
step from the layout before as `migrations/versions/vNNNN_*.py`; an older Rota then refuses the store instead of harming it.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    event,
)

from rota.backends.shared.stored_form import fields_of
from rota.records.kinds import KINDS, Kind

SCHEMA_VERSION = 5

# Keys sort by code point in every engine, as they do in Python; PostgreSQL's default collation would follow a language.
_Name = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite numbers rows by itself only in a column that is literally INTEGER.
_Position = BigInteger().with_variant(Integer(), "sqlite")

schema = MetaData()


def _table_of(kind: Kind) -> Table:
    fields = fields_of(kind).values()
    columns = [Column(field.column, BigInteger() if field.number and not field.key else _Name, primary_key=field.key) for field in fields]
    indexes = [Index(f"{kind.name}_{field.column}", field.column) for field in fields if not field.key]
    return Table(kind.name, schema, *columns, Column("body", Text, nullable=False), *indexes)


KIND_TABLES = {kind: _table_of(kind) for kind in KINDS}

version = Table("rota_schema", schema, Column("version", Integer, primary_key=True, autoincrement=False))
revision = Table(
    "alembic_version", schema, Column("version_num", String(32), nullable=False), PrimaryKeyConstraint("version_num", name="alembic_version_pkc")
)

events = Table(
    "events",
    schema,
    Column("position", _Position, primary_key=True, autoincrement=True),
    Column("body", Text, nullable=False),
    sqlite_autoincrement=True,  # a position is never given twice, also after the newest events were removed
)

edges = Table(
    "edges",
    schema,
    Column("cause", _Name, primary_key=True),
    Column("effect", _Name, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Index("edges_effect", "effect", "cause"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    schema,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("body", Text, nullable=False),
)

runs = Table(
    "runs",
    schema,
    Column("position", _Position, primary_key=True, autoincrement=True),
    Column("id", _Name, nullable=False, unique=True),
    Column("workflow", _Name, nullable=False),
    Column("subject", _Name, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("started_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("wake_us", BigInteger, nullable=False),
    Column("waiting_for", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, index=True),
    Column("attempts", BigInteger, nullable=False),
    Column("result", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("signalled", Boolean, nullable=False),
    Column("lease_until", Double, nullable=False),
    Column("parked_us", BigInteger),
    Column("sleep_us", BigInteger),
    Column("ahead_us", BigInteger),
    Index("runs_open", "ended", "created_us", "position"),
    Index("runs_created", "created_us", "position"),
    Index("runs_subject", "workflow", "subject", "created_us"),
)

steps = Table(
    "steps",
    schema,
    Column("run", _Name, primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

signals = Table(
    "signals",
    schema,
    Column("run", _Name, primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("payload", Text, nullable=False),
)

_REFUSED = "SELECT RAISE(ABORT, 'the audit log is append-only')"
# INSERT OR REPLACE would delete without asking the trigger of DELETE.
_REPLACED = "BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE position = NEW.position)"
_RAISED = "RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'integrity_constraint_violation'"

APPEND_ONLY: dict[str, tuple[str, ...]] = {
    "sqlite": (
        f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN {_REFUSED}; END",
        f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN {_REFUSED}; END",
        f"CREATE TRIGGER audit_no_replace {_REPLACED} BEGIN {_REFUSED}; END",
    ),
    "postgresql": (
        f"CREATE FUNCTION rota_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_RAISED}; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION rota_append_only()",
    ),
}
"""What lets the engine itself refuse to change the audit log."""
for dialect, statements in APPEND_ONLY.items():
    for statement in statements:
        event.listen(audit, "after_create", DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]
