"""`FileSource`: a source of files whose fields are read from them when it is declared."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rota.errors import NotFound, Unavailable
from rota.manage.features.rows.field_inference import inferred_fields
from rota.records.data import Contract, Source
from rota.records.fields import Field, typed
from rota.records.file_format import FileFormat


def FileSource(  # noqa: N802, PLR0913 - Feast's name of what is a source here, with its fields spelled out for editors
    name: str,
    path: str | Path,
    *,
    timestamp_field: str,
    created_timestamp_column: str | None = None,
    fields: Mapping[str, Any] | Sequence[Field] | None = None,
    id_field: str | None = None,
    owner: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    contract: Contract | None = None,
    null_values: Sequence[str] = (),
    timestamp_format: str = "",
    delimiter: str = ",",
    decimal: str = ".",
    encoding: str = "utf-8",
) -> Source:
    """A source of CSV, Parquet or JSON lines files: a path, a glob or an s3:// glob.

    `timestamp_field` is the column with the time at which a row's facts were known, `created_timestamp_column` the one with the
    time at which the row was written. `id_field` names rows: of rows with one id the one created last counts. `null_values`,
    `timestamp_format`, `delimiter`, `decimal` and `encoding` tell how the files are written (see `rota.FileFormat`). Without `fields`
    their names and types are read from the files. Where there are no files (a worker imports the project on another machine)
    the fields stay unknown: everything can still be declared over the source, and registering it is refused. Raises
    `InvalidInput` for files that cannot be read and for columns that the fields lack.

    >>> rota.FileSource("weather", "weather/*.parquet", timestamp_field="observed_at")   # doctest: +SKIP
    """
    words = tuple([null_values] if isinstance(null_values, str) else null_values)
    form = FileFormat(words, timestamp_format, delimiter, decimal, encoding, as_written=not fields)
    needed = [column for column in (timestamp_field, created_timestamp_column, id_field) if column is not None]
    known = typed(fields) if fields else _read_fields(str(path), form, needed)
    if not fields:  # a CSV file has its times as texts, a Parquet file perhaps as whole microseconds
        known |= {
            column: "timestamp" for column in (timestamp_field, created_timestamp_column or timestamp_field) if known.get(column) in ("string", "int")
        }
    return Source(
        name,
        known,
        timestamp_field,
        path=str(path),
        created_field=created_timestamp_column,
        id_field=id_field,
        owner=owner,
        description=description,
        tags=tags or {},
        contract=contract,
        format=form,
    )


def _read_fields(path: str, form: FileFormat, needed: Sequence[str]) -> dict[str, Any]:
    try:
        return dict(inferred_fields(path, form, needed=needed))
    except (NotFound, Unavailable):
        return {}
