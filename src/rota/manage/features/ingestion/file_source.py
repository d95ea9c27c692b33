"""Sources that look at their files when they are declared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rota.errors import NotFound, Unavailable
from rota.manage.features.rows.file_readers import inferred_fields
from rota.records.data import Source
from rota.records.fields import typed


def FileSource(  # noqa: N802 - Feast's name of what is a source here
    name: str,
    path: str | Path,
    *,
    timestamp_field: str,
    created_timestamp_column: str | None = None,
    fields: Mapping[str, Any] | None = None,
    **words: Any,
) -> Source:
    """A source of CSV, Parquet or JSON lines files: a path, a glob or an s3:// glob.

    Without `fields` their names and types are read from the files. Where there are none (a worker imports the project on another
    machine) the fields stay unknown: everything can still be declared over the source, and registering it is refused. Other
    words are those of `Source`, for example `id_field`, `owner`, `description`, `tags`, `contract`.

    >>> rota.FileSource("weather", "weather/*.parquet", timestamp_field="observed_at")   # doctest: +SKIP
    """
    known = typed(fields) if fields else _looked_up(str(path))
    if not fields:  # a CSV file has its times as texts, a Parquet file perhaps as whole microseconds
        known |= {
            column: "timestamp" for column in (timestamp_field, created_timestamp_column or timestamp_field) if known.get(column) in ("string", "int")
        }
    return Source(name, known, timestamp_field, path=str(path), created_field=created_timestamp_column, **words)


def _looked_up(path: str) -> dict[str, Any]:
    try:
        return dict(inferred_fields(path))
    except (NotFound, Unavailable):
        return {}
