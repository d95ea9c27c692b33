"""Fields of a source read off its files: names and the types that fit the values of their first rows.

CSV has texts only, so a column is a number where its texts are written as one writes numbers: digits with a leading zero or a plus
sign and integers beyond 64 bits are texts, because as numbers they would not come back as they were. In Parquet and JSON lines a text is one.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from rota import found_files
from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.features.rows import column_conversion, file_cells, file_readers
from rota.manage.features.rows.column_conversion import Raw
from rota.manage.features.rows.file_look import FileLook
from rota.records.file_format import FileFormat
from rota.records.schema import Type

_log = logging.getLogger("rota.manage")
SAMPLE_ROWS = 1_000
_INTEGER = r"^-?(?:0|[1-9][0-9]*)$"
_NUMBER = (
    r"^(?:-?(?:0|[1-9][0-9]*)|[+-]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|-?(?:0|[1-9][0-9]*)[eE][+-]?[0-9]+|[+-]?(?i:nan))$"
)
_DIGITS = r"^\s*[+-]?[0-9.]+\s*$"
_EXACT = 2**53
_MOST = 2**63
_FORMAT = FileFormat()


@dataclass(frozen=True, slots=True)
class InferredFields:
    """Fields of a source by its file: their types, and columns whose type no field can have."""

    fields: dict[str, Type]
    left_out: dict[str, str]


def inferred_fields(path: str | Path, form: FileFormat = _FORMAT, *, needed: Sequence[str] = ()) -> dict[str, Type]:
    """Names and types of the columns of a local file, or of the first that a glob matches, out of its header or footer and first rows.

    Columns of types that no field can have are left out, which is logged. Raises `NotFound` where there is no file, `Unavailable` for s3:// (give
    the fields of such a source), `InvalidInput` for a header with empty or equal names, for a column that may be numbers or texts, and where
    a needed column is left out.
    """
    if "://" in str(path):
        raise Unavailable(f"the fields of {str(path)!r} are not looked up when it is declared; give them", path=str(path))
    names = sorted(str(file.path) for file in found_files.matching(str(path)))
    if not names:
        raise NotFound(f"no file matches {str(path)!r}; give a CSV, Parquet or JSON lines file, or a glob of them", path=str(path))
    look = FileLook()
    sample = next(file_readers.chunks(Path(names[0]), None, rows=SAMPLE_ROWS, form=form, look=look), None)
    _check_names(look.names, names[0])
    if sample is None:
        return dict.fromkeys(look.names, "string")
    found = _types(sample, form, names[0])
    lost = [name for name in needed if name in found.left_out]
    if lost:
        raise InvalidInput(f"{names[0]}: column {lost[0]!r} has the type {found.left_out[lost[0]]}, which no field can have", column=lost[0])
    if found.left_out:
        _log.warning("columns of %s are left out, because no field has their types: %s", names[0], found.left_out, extra={"action": "infer"})
    return found.fields


def inferred(column: pl.Series, *, cells: bool = False, form: FileFormat = _FORMAT) -> Type:
    """The type that fits every value of a column; cells of CSV are looked into."""
    dtype = column.dtype
    if dtype == pl.String and column.null_count() < column.len():
        return _of_texts(column.drop_nulls(), form, cells=cells)
    if dtype.is_integer() or (isinstance(dtype, pl.Decimal) and dtype.scale == 0):
        return "int" if _within_64_bits(column) else "string"
    if dtype.is_float() or isinstance(dtype, pl.Decimal):
        return "float"
    return "bool" if dtype == pl.Boolean else "timestamp" if isinstance(dtype, pl.Datetime) or dtype == pl.Date else "string"


def _types(sample: Raw, form: FileFormat, file: str) -> InferredFields:
    fields: dict[str, Type] = {}
    left_out = {}
    good = sample.frame.filter(~pl.Series([place in sample.faults for place in range(sample.frame.height)], dtype=pl.Boolean))
    for column in good:
        if column.name == "_" and column.dtype == pl.Null:
            continue
        if lists := _of_lists(column):
            fields[column.name] = lists
            continue
        if strange := _of_no_field(column):
            left_out[column.name] = strange
            continue
        known = (
            column.set(column.is_in(list(form.null_values)).fill_null(value=False), None)
            if form.null_values and column.dtype == pl.String
            else column
        )
        fields[column.name] = inferred(known, cells=sample.cells, form=form)
        if sample.cells and fields[column.name] == "string":
            _check_words(known, form, file)
    return InferredFields(fields, left_out)


def _of_lists(column: pl.Series) -> Type | None:
    """The type of a column of lists of numbers; None for any other."""
    if column.dtype == pl.Binary:
        return "bytes"
    if isinstance(column.dtype, pl.List | pl.Array) and column.dtype.inner.is_numeric():
        return "int[]" if column.dtype.inner.is_integer() else "float[]"
    known = [value for value in column if value is not None] if column.dtype == pl.Object else []
    if not known or not all(isinstance(value, list) for value in known):
        return None
    kinds = {type(each) for value in known for each in value}
    return None if not kinds <= {int, float} else "int[]" if kinds == {int} else "float[]"


def _of_no_field(column: pl.Series) -> str:
    """The type of a column that no field can have; "" for any other."""
    if column.dtype == pl.Object:
        return next((type(value).__name__ for value in column.to_list() if isinstance(value, dict | list)), "")
    if column.dtype.is_integer() and not _within_64_bits(column):
        return f"{column.dtype} with numbers beyond 64 bits"
    return str(column.dtype) if column.dtype.is_nested() or column.dtype in (pl.Time, pl.Duration, pl.Binary) else ""


def _check_names(names: Sequence[str], file: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1 and name})
    if twice:
        raise InvalidInput(f"{file}: its header names {twice} more than once; give each column its own name, or declare fields=", columns=twice)
    if "" in names:
        raise InvalidInput(
            f"{file}: column {names.index('') + 1} of its header has no name (as pandas writes an index); name it, or declare fields=",
            column=names.index("") + 1,
        )


def _check_words(column: pl.Series, form: FileFormat, file: str) -> None:
    """Refuse to guess what a column of numbers with words such as NA among them is."""
    texts = column.drop_nulls()
    word = texts.str.contains(file_cells.NULL_WORD)
    others = texts.filter(~word & (texts.str.strip_chars() != ""))
    if not word.any() or not others.len():
        return
    kind = _of_texts(others, form, cells=True)
    if kind != "string":
        words = sorted(texts.filter(word).str.strip_chars().unique().to_list())
        raise InvalidInput(
            f"{file}: column {column.name!r} is {kind}, but for the words {words}; if they stand for missing values, give null_values={words}, else "
            "declare fields=",
            column=column.name,
            words=words,
        )


def _of_texts(texts: pl.Series, form: FileFormat, *, cells: bool) -> Type:
    bare = texts.str.strip_chars()
    bare = bare.filter(bare != "")
    if cells and bare.len() and form.timestamp_format and file_cells.timed(bare, form.timestamp_format).null_count() == 0:
        return "timestamp"
    number = _number(bare, form) if cells and bare.len() else None
    if number is not None:
        return number
    if cells and bare.len() and column_conversion.fits(texts, "bool", cells=True):
        return "bool"
    return (
        "timestamp" if bare.len() and column_conversion.fits(texts, "timestamp", cells=cells) and not bare.str.contains(_DIGITS).any() else "string"
    )


def _number(bare: pl.Series, form: FileFormat) -> Type | None:
    """The kind of number that every text is, "string" where one would not come back as it was; None where they are none."""
    if form.decimal == ",":
        bare = bare.str.replace(".", "_", literal=True).str.replace(",", ".", literal=True)
    if bare.str.contains(_INTEGER).all():
        return "int" if all(-_MOST <= int(text) < _MOST for text in bare.to_list()) else "string"
    if bare.str.contains(_NUMBER).all():
        return "float" if all(map(_exact, bare.to_list())) else "string"
    return None


def _exact(text: str) -> bool:
    """Whether a number is a float as it is written: digits without a point must be few enough."""
    return abs(int(text)) <= _EXACT if text.lstrip("-").isdigit() else not math.isinf(float(text))


def _within_64_bits(column: pl.Series) -> bool:
    return column.cast(pl.Int64, strict=False).null_count() == column.null_count()
