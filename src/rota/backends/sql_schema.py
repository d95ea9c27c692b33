"""The tables of the SQL metadata store: one for each Kind of record, and those of events, lineage, audit and runs.

SCHEMA_VERSION counts incompatible changes. A new Kind needs none: a missing table is created when the store is opened.
Any other change of a table here: raise the number and add the step from the old layout in `sql_engine`.
"""

from sqlalchemy import DDL, BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, event

from rota.backends.stored_form import fields_of
from rota.records.kinds import KINDS, Kind

SCHEMA_VERSION = 1

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

for act in ("UPDATE", "DELETE"):
    trigger = f"CREATE TRIGGER audit_no_{act.lower()} BEFORE {act} ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    event.listen(audit, "after_create", DDL(trigger).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]
