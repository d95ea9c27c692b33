"""How the files of a source are written: words for null, form of times, delimiter, decimal mark, encoding."""

import codecs
from datetime import UTC, datetime

import msgspec

from rota.errors import InvalidInput
from rota.records.record import Record

EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Formats of a timestamp that is a number, and how many microseconds one of its units has."""
_PROBE = datetime(2013, 11, 25, 21, 43, 58, tzinfo=UTC)
_NO_DELIMITER = '"\r\n.+-_'


class FileFormat(Record, frozen=True):
    """How the files of a source are written, where that is not what Rota expects.

    `null_values` are texts that mean null (an empty cell does so without them; "" makes a quoted empty cell null too).
    `timestamp_format` is the form of the times, in the directives of Python's `strptime`, or "epoch_s", "epoch_ms", "epoch_us"
    for numbers since 1970-01-01 UTC; "" is ISO 8601 or microseconds. `decimal` is the decimal mark of floats. These three hold for
    texts in every form of file; `delimiter` (one ASCII character) and `encoding` (a codec of Python) for CSV, `encoding` for JSON lines too.
    With `as_written` a number of CSV that would be written otherwise (00123, +7) is no number: so it is where the fields were read off the files.
    """

    null_values: tuple[str, ...] = ()
    timestamp_format: str = ""
    delimiter: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    as_written: bool = False

    def __post_init__(self) -> None:
        words = (self.null_values,) if isinstance(self.null_values, str) else tuple(self.null_values)
        if not all(isinstance(word, str) for word in words):
            raise InvalidInput(f"null_values is {list(words)!r}; give the texts that mean null, such as null_values=['NA']", null_values=list(words))
        msgspec.structs.force_setattr(self, "null_values", words)
        if (
            len(self.delimiter) != 1
            or not self.delimiter.isascii()
            or self.delimiter.isalnum()
            or self.delimiter in _NO_DELIMITER
            or self.delimiter == "\0"
        ):
            raise InvalidInput(
                f"delimiter is {self.delimiter!r}; give one character such as ',', ';', '|' or '\\t', no letter, digit, quote or line end",
                delimiter=self.delimiter,
            )
        if self.decimal not in (".", ","):
            raise InvalidInput(f"decimal is {self.decimal!r}; give '.' or ','", decimal=self.decimal)
        _check_times(self.timestamp_format)
        msgspec.structs.force_setattr(self, "encoding", _codec(self.encoding))

    @property
    def plain_text(self) -> bool:
        """Whether the files are UTF-8, which is read as it is."""
        return self.encoding == "utf-8"


def _check_times(form: str) -> None:
    """Refuse a form in which a moment, written to the minute, does not come back with its day."""
    if not form or form in EPOCHS:
        return
    if "%Z" in form:
        raise InvalidInput(
            f"timestamp_format is {form!r}: what %Z means depends on the machine that reads it; write offsets and read them with %z",
            timestamp_format=form,
        )
    try:
        back = datetime.strptime(_PROBE.strftime(form), form)  # noqa: DTZ007 - only its day is looked at
    except ValueError as error:
        raise InvalidInput(
            f"timestamp_format is {form!r}, which is no form of a time: {error}; give directives of strptime such as '%d/%m/%Y %H:%M', "
            f"or one of {list(EPOCHS)}",
            timestamp_format=form,
        ) from error
    if back.date() != _PROBE.date() or ("%I" in form and "%p" not in form):
        raise InvalidInput(
            f"timestamp_format is {form!r}, in which a time has no full date or no half of its day; name year, month and day, and %p with %I",
            timestamp_format=form,
        )


def _codec(encoding: str) -> str:
    """The usual name of a codec for text: "utf-8" for all of its names."""
    try:
        found = codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"encoding is {encoding!r}, which is no encoding of text; give 'utf-8', 'latin-1', 'cp1252', 'utf-16' or another codec of Python",
            encoding=encoding,
        ) from error
    return "utf-8" if found.name in ("utf-8", "utf-8-sig", "ascii") else found.name
