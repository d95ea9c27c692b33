"""The layout of a SQL store as it is found: made when the database is empty, brought up to date when an older Rota made it.

A store says its layout twice: `rota_schema` in one number that is cheap to look up and that older versions understand, and
`alembic_version` for Alembic, whose steps lie in `migrations/`. Alembic is loaded only when there is something to do.
"""

from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select

from rota.backends.sql import postgresql as postgres_engine
from rota.backends.sql import sqlite as sqlite_engine
from rota.backends.sql import tracking_schema as sql_tracking_schema
from rota.backends.sql.errors import name_of
from rota.backends.sql.schema import SCHEMA_VERSION, revision, version
from rota.errors import Corrupt, Refused

MIGRATIONS = Path(__file__).parent / "migrations"
LAYOUT = f"{SCHEMA_VERSION:04d}"
_SCHEMA = sql_tracking_schema.experiments.metadata  # of the records, with the tables of tracking that this module adds


def is_up_to_date(connection: Connection) -> bool:
    """Whether nothing is to be done; raises `Refused` for a database that is not ours to change, `Corrupt` for one with holes."""
    refuse_foreign(connection)
    present = _tables(connection)
    stored = connection.scalar(select(version.c.version)) if version.name in present else None
    if stored is None or stored < SCHEMA_VERSION:
        return False
    if stored > SCHEMA_VERSION:
        raise Refused(
            f"{name_of(connection.engine)} has schema version {stored}, this Rota knows {SCHEMA_VERSION}; upgrade rota to open it",
            stored=stored,
            known=SCHEMA_VERSION,
        )
    if missing := sorted(_SCHEMA.tables.keys() - present):
        raise Corrupt(f"{name_of(connection.engine)} lacks the tables {missing}; restore it from a backup", missing=missing)
    return True


def refuse_foreign(connection: Connection) -> None:
    """Raise `Refused` for a database with tables that are not Rota's."""
    present = _tables(connection)
    if present and version.name not in present:
        raise Refused(
            f"{name_of(connection.engine)} is another program's database (tables {sorted(present)[:5]}); give Rota one of its own",
            tables=sorted(present),
        )


def bring_up_to_date(connection: Connection) -> None:
    """Make or migrate the tables inside the caller's transaction, which lets nobody else do the same."""
    if is_up_to_date(connection):
        return
    if version.name in _tables(connection):
        _keep_copy(connection)
        migrate(connection)
    else:
        _create(connection)


def migrate(connection: Connection, to: str = "head") -> None:
    """Run Alembic's steps from the stored layout up to `to`."""
    from alembic import command  # noqa: PLC0415 - slow to load and seldom needed
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    if version.name in _tables(connection) and revision.name not in _tables(connection):
        command.stamp(config, "0001")
    command.upgrade(config, to)


def create_at(connection: Connection, layout: int) -> None:
    """Make the tables of an empty database as a layout, this one or an older one, has them."""
    if layout == SCHEMA_VERSION:
        _create(connection)
    else:
        migrate(connection, f"{layout:04d}")


def _create(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        postgres_engine.check_encoding(connection)
    _SCHEMA.create_all(connection)
    connection.execute(insert(version).values(version=SCHEMA_VERSION))
    connection.execute(insert(revision).values(version_num=LAYOUT))


def _keep_copy(connection: Connection) -> None:
    """The file as it was before the migration, beside it. A server's database is the operator's to back up."""
    if connection.dialect.name == "sqlite":
        file = Path(str(connection.engine.url.database))
        sqlite_engine.copy(file, file.with_name(f"{file.name}.before-{LAYOUT}"))


def _tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())
