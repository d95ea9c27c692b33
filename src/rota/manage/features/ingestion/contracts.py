"""Data contracts: what the owner of a source promises about its rows, checked on every row that comes in.

A row breaks a contract by a null where none may be, a text outside the domain, or a number outside the range. A share of
nulls (or of unknown texts) is judged over the rows that come together: at most ceil(share * rows) of them may be so, or
all of those break it. A kind of break whose policy in the column is "warn" or "ignore" is let through. Expectations on
whole distributions (comparators, unique values, counts) are the data gate's, not a contract's.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from rota.errors import InvalidInput, Refused
from rota.manage.features.ingestion import ingestion_log, quarantine
from rota.manage.features.rows import coercion
from rota.manage.features.rows.column_conversion import first, shown_row
from rota.ports.metadata import Metadata
from rota.ports.tables import Tables
from rota.records.data import Source
from rota.records.intake import Ingestion, Rejection
from rota.records.schema import ColumnSchema
from rota.records.time import Micros, iso, micros

Row = dict[str, Any]

_NULLS = "FEATURE_TYPE_LOW_FRACTION_PRESENT"
_DOMAIN = "ENUM_TYPE_UNEXPECTED_STRING_VALUES"


def reasons(source: Source, given: pl.DataFrame) -> pl.Series:
    """For each row why it breaks the contract of its source, null where it keeps it."""
    found = pl.Series("reason", [None] * given.height, dtype=pl.String)
    contract = source.contract
    if contract is None or not given.height:
        return found
    for column in contract.columns:
        for broken, expected in _broken(column, given[column.name]):
            shown = given[column.name].cast(pl.String).fill_null("null").str.slice(0, 100)
            who = f"contract of {contract.owner} (version {contract.version}): field {column.name!r}: "
            found = first(found, broken, pl.select(pl.lit(who) + shown + f" {expected}").to_series())
    return found


def split(source: Source, rows: pl.DataFrame, origin: str, positions: pl.Series | None) -> tuple[pl.DataFrame, list[Rejection]]:
    """The rows that keep the contract, and the others with their reason; `positions` are their row numbers if they are not 1, 2, 3 ..."""
    found = reasons(source, rows)
    broken = found.is_not_null()
    if not broken.any():
        return rows, []
    places = broken.arg_true().to_list()
    declared = rows.select(list(source.fields))
    numbers = [int(positions[i]) if positions is not None else i + 1 for i in places]
    return rows.filter(~broken), [Rejection(origin, number, found[i], shown_row(declared, i)) for i, number in zip(places, numbers, strict=True)]


def kept(metadata: Metadata, tables: Tables, source: Source, pushed: Sequence[Row], now_us: Micros) -> Sequence[Row]:
    """The pushed rows that keep the contract. The others are kept apart as rejects, or all are refused, which is recorded too."""
    if source.contract is None or not pushed:
        return pushed
    frame = coercion.frame(pushed, source.fields)
    _, broken = split(source, frame, "push", None)
    if not broken:
        return pushed
    if refuses(source):
        error = refusal(source, "push", broken[0].row, broken[0].reason)
        record = Ingestion(
            source.name, 0, rejected=len(broken), rejections=tuple(broken[:1]), at_us=now_us, actor="push", origin="push", reason=str(error)
        )
        ingestion_log.refuse(metadata, record)
        raise error
    quarantine.append(tables, source.name, broken[: quarantine.MOST], at_us=now_us)
    excluded = {each.row - 1 for each in broken}
    return [row for index, row in enumerate(pushed) if index not in excluded]


def refusal(source: Source, origin: str, row: int, reason: str) -> Refused:
    """The error for rows that a contract with on_break="refuse" keeps out: it names the owner, the field, the value and the row."""
    owner = source.contract.owner if source.contract else source.owner
    return Refused(
        f"source {source.name!r} takes none of these rows: {origin}, row {row}: {reason}; correct the data or ask {owner}, who owns the contract",
        source=source.name,
        owner=owner,
        row=row,
        reason=reason,
    )


def refuses(source: Source) -> bool:
    return source.contract is not None and source.contract.on_break == "refuse"


def staleness(source: Source, newest_us: Micros | None, now_us: Micros) -> str:
    """What to say of a source whose newest row is older than its contract allows; "" when it is fresh enough."""
    contract = source.contract
    if contract is None or contract.freshness is None:
        return ""
    if newest_us is None:
        return f"contract of {contract.owner}: source {source.name!r} has no rows yet; they must be at most {contract.freshness} old"
    if now_us - newest_us <= micros(contract.freshness):
        return ""
    return f"contract of {contract.owner}: the newest row of source {source.name!r} is of {iso(newest_us)}, more than {contract.freshness} ago"


def check(source: Source, stored: Source | None) -> None:
    """Refuse a contract that cannot be held against its source, or that was changed under an old version. For registration."""
    contract = source.contract
    before = stored.contract if stored else None
    if contract is None:
        if before is not None:
            raise Refused(
                f"source {source.name!r} has a contract of {before.owner} (version {before.version}), and this definition has none; keep it, or "
                "replace it by a Contract with a higher version that promises nothing",
                source=source.name,
            )
        return
    for column in contract.columns:
        _check_column(source, column)
    if before is not None and contract != before and contract.version <= before.version:
        raise Refused(
            f"the contract of source {source.name!r} was changed and is still version {contract.version}; give it version={before.version + 1}",
            source=source.name,
            version=contract.version,
        )


def _check_column(source: Source, column: ColumnSchema) -> None:
    if column.name not in source.fields:
        raise InvalidInput(
            f"the contract of source {source.name!r} speaks of {column.name!r}, which is none of its fields {list(source.fields)}", field=column.name
        )
    if column.type != source.fields[column.name]:
        raise InvalidInput(
            f"the contract of source {source.name!r} has {column.name!r} as {column.type}, the source as {source.fields[column.name]}",
            field=column.name,
        )


def _broken(column: ColumnSchema, values: pl.Series) -> Iterator[tuple[pl.Series, str]]:
    """Which rows break an expectation, and what was expected."""
    kind = "INT" if column.type == "int" else "FLOAT"
    nulls = values.is_null()
    if int(nulls.sum()) > math.ceil(column.max_null_share * values.len()) and _counts(column, _NULLS):
        most = "none" if column.max_null_share == 0 else f"at most {column.max_null_share:.1%} of the rows"
        yield nulls, f"where {most} may be null"
    if column.domain is not None and _counts(column, _DOMAIN):
        unknown = ~values.is_in(list(column.domain)).fill_null(value=True)
        if int(unknown.sum()) > math.ceil(column.max_unknown_share * values.len()):
            yield unknown, f"is not one of {list(column.domain)[:20]}"
    if column.minimum is not None and _counts(column, f"{kind}_TYPE_SMALL_{kind}"):
        yield (values < column.minimum).fill_null(value=False), f"is below {column.minimum}"
    if column.maximum is not None and _counts(column, f"{kind}_TYPE_BIG_{kind}"):
        yield (values > column.maximum).fill_null(value=False), f"is above {column.maximum}"


def _counts(column: ColumnSchema, kind: str) -> bool:
    return column.policy.get(kind, column.policy.get("*", "fail")) == "fail"
