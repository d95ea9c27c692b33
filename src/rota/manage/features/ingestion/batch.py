"""Batch ingestion: rows of files, tables, databases and outcomes into a source's offline table, each row once.

`file_ingestion` reads contents from their beginning, `watermark_ingestion` what is new of a database or of outcomes;
`ingestion_run` stores their chunks once, whatever is killed on the way.
"""

from pathlib import Path
from typing import Any

from rota.errors import InvalidInput, NotFound, RotaError, Unavailable
from rota.manage.features.ingestion import source_status, watermarks
from rota.manage.features.ingestion.file_ingestion import ingest_files, ingest_frame
from rota.manage.features.ingestion.ingestion_run import IngestionRun, IngestionStores
from rota.manage.features.ingestion.watermark_ingestion import ingest_incrementally
from rota.manage.features.rows import table_adapters
from rota.ports.clock import Clock
from rota.ports.inputs import Inputs
from rota.ports.journal import Journal
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.intake import Ingestion


class BatchIngestion:
    """Ingests into the sources of a platform. Thread-safe; any number of processes may ingest."""

    def __init__(self, metadata: Metadata, tables: Tables, journal: Journal, clock: Clock, inputs: Inputs | None) -> None:
        self._stores = IngestionStores(metadata, tables, journal, clock, inputs)

    def ingest(self, source: str, path: str | Path | None = None, *, actor: str = "owner", final: bool = False) -> Ingestion:
        """Ingest what is new of a source: its files, its database, its endpoint's outcomes, or the files of another path or glob.

        A file is taken once by its content, and a CSV or JSON lines file that grew is read on behind what was taken; a database's row
        once by its watermark and its values; with an id field a row is taken once by its values, and a changed row is a correction.
        Rows that cannot be read or break a contract are rejected, kept apart and counted. A last line without an end waits (a notice
        says so) until the file was not changed for an hour, or `final` says that it is finished. Raises `NotFound` for an unknown source or where no
        file matches, `Refused` with nothing stored where a contract refuses. A file that cannot be read does not stop the
        others: `InvalidInput` is raised when they were taken (`Unavailable` where a retry may help), and says what was stored.
        """
        definition = source_status.get(self._stores.metadata, source)
        run = IngestionRun(self._stores, definition, actor)
        outcomes = watermarks.is_outcomes(definition)
        pattern = str(path) if path is not None else None if outcomes else definition.path
        if pattern is None and definition.path is None and definition.url is None:
            raise InvalidInput(f"source {source!r} has no path and no url; give a path to ingest from", source=source)
        if pattern is not None:
            system = self._inputs(definition).files
            ingest_files(run, system, system.find(pattern), final=final)
        if path is None and definition.url is not None:
            ingest_incrementally(run, watermarks.database(self._inputs(definition).databases, definition))
        if path is None and outcomes:
            ingest_incrementally(run, watermarks.outcomes(self._stores.tables, self._stores.journal, definition))
        done = run.close()
        if run.failures:
            raise _failed(run, done)
        return done

    def ingest_table(self, source: str, table: Any, *, actor: str = "owner") -> Ingestion:
        """Ingest a table: polars, pandas, anything with Arrow's C stream interface, or a list of dicts; each content once.

        Columns that the source does not declare are left out. Raises as `ingest`.
        """
        definition = source_status.get(self._stores.metadata, source)
        frame = table_adapters.columns(table, what=f"the table for source {source!r}")
        run = IngestionRun(self._stores, definition, actor)
        ingest_frame(run, frame)
        return run.close()

    def refresh(self, source: str) -> Ingestion | None:
        """Ingest what is new of a source; None for one without path and url. Files that are not on this machine are not missed."""
        definition = source_status.get(self._stores.metadata, source)
        if definition.path is None and definition.url is None:
            return None
        try:
            return self.ingest(source, actor="refresh")
        except NotFound:
            if definition.url is not None or watermarks.is_outcomes(definition):
                raise
            return None

    def _inputs(self, source: Source) -> Inputs:
        if self._stores.inputs is None:
            raise InvalidInput(f"source {source.name!r} cannot be read here: the platform was opened without inputs", source=source.name)
        return self._stores.inputs


def _failed(run: IngestionRun, done: Ingestion) -> RotaError:
    """The error for files that could not be taken, and what was stored nevertheless."""
    (name, error), *others = run.failures
    if not others and len(run.origins) == 1 and not run.stored:
        return error
    kind = Unavailable if all(isinstance(each, Unavailable) for _, each in run.failures) else InvalidInput
    more = f"; nor were {', '.join(name for name, _ in others[:20])}{', ...' if len(others) > 20 else ''}: {others[0][1]}" if others else ""
    stored = f"{run.stored} rows were stored by this ingestion, and {done.files} of {len(run.origins)} inputs are taken"
    return kind(f"{error} ({name} was not taken to its end{more}). {stored}", files=[name for name, _ in run.failures], stored=run.stored)
