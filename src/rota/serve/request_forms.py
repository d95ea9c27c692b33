"""Rows in the forms of other servers: instances (KServe V1, Vertex, TensorFlow Serving), columns, MLflow's `/invocations`, CSV.

Exactly one form is given. A row is an object by field, a list of values in the order of the endpoint's fields, or one value where it has one field.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import msgspec
import polars as pl
from polars.exceptions import PolarsError

from rota.errors import InvalidInput
from rota.manage.features.rows import column_conversion
from rota.records.schema import Type
from rota.serve.replies import Stop, decode, failure


class SplitFrame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A frame as pandas writes it with orient="split"."""

    columns: list[str]
    data: list[list[Any]]
    index: list[Any] | None = None


class FormRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request of rows in one of the forms; `inputs` are rows or columns. `ids` names the rows."""

    rows: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    columns: dict[str, list[Any]] | None = None
    inputs: list[Any] | dict[str, list[Any]] | None = None
    dataframe_split: SplitFrame | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    ids: list[str] | None = None
    params: dict[str, Any] | None = None
    parameters: dict[str, Any] | None = None
    signature_name: str = ""


_FORMS = ("rows", "instances", "columns", "inputs", "dataframe_split", "dataframe_records")
_decoder = msgspec.json.Decoder(FormRequest)


def read(
    body: bytes, fields: Mapping[str, Type], most_rows: int, *, order: Sequence[str] = (), csv: bool = False
) -> tuple[list[dict[str, Any]], list[str] | None]:
    """The rows of a body and their ids; raises `InvalidInput` naming the form or row that does not fit. `order` is that of the model's columns."""
    names = list(order) or list(fields)
    if csv:
        return _csv(body, fields), None
    request = decode(_decoder, body, most_rows)
    given = [form for form in _FORMS if getattr(request, form) is not None]
    if len(given) != 1:
        raise InvalidInput(f"the body has {given or 'none'} of the forms {', '.join(_FORMS)}; give rows in one of them")
    if asked := {**(request.params or {}), **(request.parameters or {})}:
        raise InvalidInput(f"the model takes no parameters, and was given {sorted(asked)[:10]}")
    data: Any = getattr(request, given[0])
    if isinstance(data, SplitFrame):
        return [_of_list(data.columns, row, place) for place, row in enumerate(data.data)], request.ids
    if isinstance(data, dict):
        return _of_columns(data), request.ids
    return [_row(row, names, place) for place, row in enumerate(data)], request.ids


def _row(row: Any, names: Sequence[str], place: int) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    return _of_list(names, row if isinstance(row, list) else [row], place)


def _of_list(names: Sequence[str], row: Sequence[Any], place: int) -> dict[str, Any]:
    if len(row) != len(names):
        raise InvalidInput(f"row {place} has {len(row)} values for the fields {list(names)[:50]}; give one for each, or an object", row=place)
    return dict(zip(names, row, strict=True))


def _of_columns(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    lengths = {name: len(cells) for name, cells in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"the columns have different lengths: {dict(list(lengths.items())[:50])}; give as many values in each")
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _csv(body: bytes, fields: Mapping[str, Type]) -> list[dict[str, Any]]:
    try:
        texts = pl.read_csv(BytesIO(body), infer_schema=False)
    except (PolarsError, UnicodeDecodeError) as error:
        raise Stop(failure(400, f"the body is no CSV that is read here: {str(error)[:200]}")) from None
    known = {name: kind for name, kind in fields.items() if name in texts.columns}
    conformed = column_conversion.conform(texts.select(list(known)), known, what="the body", cells=True) if known else texts.select([])
    return texts.with_columns(conformed.get_columns()).to_dicts()
