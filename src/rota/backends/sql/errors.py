"""The errors of the SQL engines in Rota's words. A message names the database, never a password, a statement or its values."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, exc

from rota.errors import Conflict, Corrupt, InvalidInput, Refused, RotaError, Unavailable

Meaning = tuple[str, type[RotaError], str]

OVERTAKEN = ("40001", "40P01")
"""Codes of a transaction that PostgreSQL undid for the sake of another one: the same transaction may succeed at once."""


def name_of(engine: Engine) -> str:
    """The database as people know it: a file, or a name and its host."""
    url = engine.url
    return str(url.database) if url.get_backend_name() == "sqlite" else f"PostgreSQL {url.database or ''} at {url.host or 'its default host'}"


@contextmanager
def translated(engine: Engine) -> Iterator[None]:
    """Errors of the block in Rota's words; one that nobody foresaw is a mistake of ours and stays as it is."""
    try:
        yield
    except exc.TimeoutError as error:
        raise Unavailable(f"all connections to {name_of(engine)} are in use: {error}; use fewer threads or try again", code="POOL") from error
    except (exc.DBAPIError, sqlite3.Error) as error:  # the driver's own come from PRAGMAs outside SQLAlchemy's transactions
        driver = error.orig if isinstance(error, exc.DBAPIError) else error
        ours = _of_sqlite(driver, name_of(engine)) if isinstance(driver, sqlite3.Error) else _of_postgres(driver, name_of(engine))
        if ours is None:
            raise
        raise ours from error
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidInput(f"a value does not fit into the metadata store: {error}") from error


_SQLITE: tuple[Meaning, ...] = (
    ("SQLITE_BUSY", Unavailable, "is held by another writer for too long; look for a stopped process that has it open, then try again"),
    ("SQLITE_LOCKED", Unavailable, "is held by another connection of this process; try again"),
    ("SQLITE_FULL", Unavailable, "does not fit on its disk; nothing was written, free some space and try again"),
    ("SQLITE_CANTOPEN", Unavailable, "cannot be opened; check that its directory exists and belongs to this user, and that nobody removed it"),
    ("SQLITE_READONLY", Unavailable, "cannot be written; check the permissions of the file and its directory"),
    ("SQLITE_PERM", Unavailable, "cannot be used; check the permissions of the file and its directory"),
    ("SQLITE_IOERR", Unavailable, "lies on a disk that failed; check the disk, then try again"),
    ("SQLITE_NOTADB", Corrupt, "is not a SQLite database; restore it from a backup or give Rota another path"),
    ("SQLITE_CORRUPT", Corrupt, "is damaged; restore it from a backup"),
    ("SQLITE_ERROR", Corrupt, "does not have the tables that Rota made; restore it from a backup"),
    ("SQLITE_CONSTRAINT", Conflict, "refused a change that breaks its rules"),
)

_POSTGRES: tuple[Meaning, ...] = (
    ("40", Unavailable, "undid a transaction that stood in another one's way; nothing was written, try again"),
    ("53100", Unavailable, "has a full disk; nothing was written, free some space and try again"),
    ("53300", Unavailable, "takes no more connections; raise max_connections or run fewer processes"),
    ("53", Unavailable, "is out of resources; nothing was written, try again"),
    ("55P03", Unavailable, "is held by another writer for too long; look for a session that is idle in a transaction, then try again"),
    ("25006", Unavailable, "takes no changes, it is a standby or set to read only; give the URL of the primary"),
    ("57", Unavailable, "ended the session or is not ready; try again"),
    ("58", Unavailable, "has a failing disk or system; look at its log, then try again"),
    ("08", Unavailable, "cannot be reached; check that it runs and that this host may connect"),
    ("28", Refused, "does not let this user in; check the user and the password of metadata_url"),
    ("42501", Refused, "does not allow this user to do that; give it a database of its own"),
    ("3D000", InvalidInput, "does not exist; create it with encoding UTF8"),
    ("3F000", InvalidInput, "has no schema of that name; create it or correct search_path in metadata_url"),
    ("42P01", Corrupt, "does not have the tables that Rota made; restore it from a backup"),
    ("42703", Corrupt, "does not have the columns that Rota made; restore it from a backup"),
    ("XX", Corrupt, "is damaged; look at its log and restore it from a backup"),
    ("54", InvalidInput, "keeps no key of more than some 2,000 letters"),
    ("23", Conflict, "refused a change that breaks its rules"),
    ("22", InvalidInput, "cannot hold a value"),
)

# A session that was never opened has no code; libpq tells why in English or in the server's language.
_REFUSED_AT_THE_DOOR = (("authentication failed", "28P01"), ("no password supplied", "28P01"), ("no pg_hba.conf entry", "28000"), ("role ", "28000"))


def _of_sqlite(error: sqlite3.Error, name: str) -> RotaError | None:
    return _meant(_SQLITE, getattr(error, "sqlite_errorname", ""), error, name)


def _of_postgres(error: BaseException | None, name: str) -> RotaError | None:
    return None if error is None else _meant(_POSTGRES, _sqlstate(error), error, name)


def _sqlstate(error: BaseException) -> str:
    code = getattr(error, "sqlstate", None)
    if code is not None:
        return str(code)
    kind, said = type(error).__name__, str(error)
    if kind in {"ProgrammingError", "DataError"}:  # an unknown option of the URL; a NUL in a text
        return "22000"
    if "database" in said and "does not exist" in said:
        return "3D000"
    return next((code for words, code in _REFUSED_AT_THE_DOOR if words in said), "08000")


def _meant(meanings: tuple[Meaning, ...], code: str, error: BaseException, name: str) -> RotaError | None:
    for prefix, kind, meaning in meanings:
        if code.startswith(prefix):
            return kind(f"{name} {meaning} ({' '.join(str(error).split())})", database=name, code=code)
    return None
