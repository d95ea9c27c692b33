"""A search as SQL: the meaning of `rota.records.searching`, answered by a database and its indexes."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, FromClause, Select, Table, and_, false, func, literal, not_, or_, select, true

from rota.backends.shared.tracked_form import MILLI_US
from rota.backends.sql.tracking_schema import HEAD
from rota.errors import InvalidInput
from rota.records.filters import Comparison, Entity, Order, Query
from rota.records.searching import lowered

_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {"=": eq, "!=": ne, ">": gt, ">=": ge, "<": lt, "<=": le}
_GLOB = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
_INT64 = 2**63
RARE = 300
"""Rows of a condition that are worth to begin a search with."""


@dataclass(frozen=True)
class Subject:
    """What is searched: a table, its attributes, and the tables that hang on its rows by column `owner`.

    `keyed` tables have a row for each key of an entity, `sets` one for each member; `times` are in microseconds. `natural`
    is the order of equal rows, newest first.
    """

    table: Table
    identity: Column[Any]
    attributes: Mapping[str, Column[Any]]
    times: Mapping[str, Column[Any]]
    keyed: Mapping[Entity, Table]
    natural: tuple[ColumnElement[Any], ...]
    owner: str = "run"
    sets: Mapping[Entity, Table] = field(default_factory=dict)
    scope: str = ""
    """A column of `table` that keyed tables with an index of ordered values repeat."""


def attempts(connection: Connection, subject: Subject, query: Query, *, scope: Sequence[str] = ()) -> Iterator[Select[Any]]:
    """Statements of which the last finds all rows, in order; an earlier one that fills a page has the same page, sooner.

    The view and the page are the caller's to add, and to check what is asked. `scope` are the wanted values of the scope
    column. No statement relies on statistics: SQLite has none, so it could not tell a rare value from a frequent one.
    """
    dialect = connection.dialect.name
    rare, others = _rare(connection, subject, query, scope)
    if rare is not None:
        if rare:
            yield _searched(subject, others, dialect).where(subject.identity.in_(rare), _within(subject, scope, by_index=False))
        return
    within = _within(subject, scope)
    if query.order and query.order[0].entity == "metric" and not _filtering(query.where, query.order[0]):
        yield _searched(subject, query, dialect, leading=True).where(within)
    yield _searched(subject, query, dialect).where(within)


def _within(subject: Subject, scope: Sequence[str], *, by_index: bool = True) -> ColumnElement[bool]:
    if not subject.scope:
        return true()
    column = subject.table.c[subject.scope]
    if not by_index:  # not the bare column: SQLite would rather go through its index than look up some rows by their numbers
        return column.concat("").in_(scope)
    return column == scope[0] if len(scope) == 1 else column.in_(scope)


def _rare(connection: Connection, subject: Subject, query: Query, scope: Sequence[str]) -> tuple[Sequence[Any] | None, Query]:
    """The rows of a condition that holds for few, and the query without it; a look into an index for each condition it can answer."""
    for comparison in query.where:
        table = subject.keyed.get(comparison.entity)
        if table is None or comparison.operator not in (("=", ">", ">=", "<", "<=") if comparison.entity == "metric" else ("=",)):
            continue
        fits: list[ColumnElement[bool]] = [table.c.key == comparison.key, _Fit(subject, connection.dialect.name).value(table, comparison)]
        if subject.scope in table.c:
            fits.append(table.c[subject.scope].in_(scope))
        rows = connection.scalars(select(table.c[subject.owner]).where(*fits).limit(RARE + 1)).all()
        if len(rows) <= RARE:
            return rows, replace(query, where=[other for other in query.where if other is not comparison])
    return None, query


def _searched(subject: Subject, query: Query, dialect: str, *, leading: bool = False) -> Select[Any]:
    """All rows; or those alone that have a number to sort by first, which lead, so that its index gives them in order."""
    fit = _Fit(subject, dialect)
    source: FromClause = subject.table
    conditions: list[ColumnElement[bool]] = []
    order: list[ColumnElement[Any]] = []
    left = list(query.where)
    for number, by in enumerate(query.order):
        if by.entity == "attribute":
            order += fit.order_by_attribute(by)
            continue
        table = subject.keyed[by.entity].alias(f"by_{number}")
        here = and_(table.c[subject.owner] == subject.identity, table.c.key == by.key)
        filtering = _filtering(left, by)
        complete = any(each.operator != "!=" for each in filtering)
        if leading and number == 0:
            conditions.append(table.c.value.is_not(None))
            complete = True
        if filtering or complete:  # rows without the key are out, so that the search may begin at the index that has the order
            left = [comparison for comparison in left if comparison not in filtering]
            conditions += [fit.value(table, comparison) for comparison in filtering]
            if subject.scope in table.c:
                here = and_(here, table.c[subject.scope] == subject.table.c[subject.scope])
            source = source.join(table, here)
        else:
            source = source.outerjoin(table, here)
        order += _order_by_value(table, by, owner=subject.owner, complete=complete)
    conditions += [fit.condition(comparison) for comparison in left]
    return select(subject.table).select_from(source).where(*conditions).order_by(*order, *subject.natural)


def _filtering(where: Sequence[Comparison], by: Order) -> list[Comparison]:
    """The conditions on what is sorted by that its absence fails."""
    return [each for each in where if (each.entity, each.key) == (by.entity, by.key) and each.operator not in ("IS NULL", "IS NOT NULL")]


@dataclass(frozen=True)
class _Fit:
    """Conditions on a subject in the words of one engine."""

    subject: Subject
    dialect: str

    def condition(self, comparison: Comparison) -> ColumnElement[bool]:
        subject, entity, key = self.subject, comparison.entity, comparison.key
        if entity == "attribute":
            return self._attribute_fits(comparison)
        if entity in subject.sets:
            members = subject.sets[entity]
            member = select(literal(1)).select_from(members).where(members.c[subject.owner] == subject.identity)
            return member.where(self._text_fits(members.c[key], comparison)).correlate(subject.table).exists()
        table = subject.keyed[entity]
        row = select(literal(1)).select_from(table).where(table.c[subject.owner] == subject.identity, table.c.key == key).correlate(subject.table)
        if comparison.operator == "IS NULL":
            return not_(row.exists())
        return row.exists() if comparison.operator == "IS NOT NULL" else row.where(self.value(table, comparison)).exists()

    def _attribute_fits(self, comparison: Comparison) -> ColumnElement[bool]:
        column = self.subject.times.get(comparison.key)
        timed = column is not None
        if column is None:
            column = self.subject.attributes[comparison.key]
        if comparison.operator in ("IS NULL", "IS NOT NULL"):
            return column.is_(None) if comparison.operator == "IS NULL" else column.is_not(None)
        return _time_fits(column, comparison) if timed else self._text_fits(column, comparison)

    def value(self, table: FromClause, comparison: Comparison) -> ColumnElement[bool]:
        """Whether the value of a keyed row fits."""
        if comparison.entity == "metric":
            return _number_fits(table.c.value, comparison)
        if "rest" not in table.c:
            return self._text_fits(table.c.value, comparison)
        if comparison.operator == "=":
            text = str(comparison.value)
            return and_(table.c.value == text[:HEAD], table.c.rest == text[HEAD:])
        return self._text_fits(table.c.value.concat(table.c.rest), comparison)

    def order_by_attribute(self, by: Order) -> list[ColumnElement[Any]]:
        column = self.subject.times.get(by.key)
        if column is None:
            column = self.subject.attributes[by.key]
        directed = column.desc() if by.descending else column
        return [column.is_(None), directed] if column.nullable else [directed]

    def _text_fits(self, column: ColumnElement[Any], comparison: Comparison) -> ColumnElement[bool]:
        operator, value = comparison.operator, comparison.value
        if isinstance(value, tuple):
            return column.in_(value) if operator == "IN" else column.not_in(value)
        if operator in ("LIKE", "ILIKE"):
            return self._like(column, str(value)) if operator == "LIKE" else self._like(func.lower(column), lowered(str(value)))
        if not isinstance(value, str):
            return column.is_not(None) if operator == "!=" else false()
        fits: ColumnElement[bool] = _COMPARED[operator](column, value)
        return fits

    def _like(self, column: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
        """SQLite's LIKE takes A for a, its GLOB does not; PostgreSQL's LIKE has an escape that ours has not."""
        if self.dialect == "sqlite":
            return column.op("GLOB", is_comparison=True)(pattern.translate(_GLOB))
        return column.like(pattern.replace("\\", "\\\\"))


def _number_fits(column: ColumnElement[Any], comparison: Comparison) -> ColumnElement[bool]:
    """NULL is a NaN, which differs from everything."""
    value = comparison.value
    if isinstance(value, str | tuple) or comparison.operator not in _COMPARED:
        raise InvalidInput(f"metric {comparison.key!r} is compared with a number by one of {list(_COMPARED)}, not {comparison.operator} {value!r}")
    if comparison.operator == "!=":
        return or_(column.is_(None), column != float(value))
    fits: ColumnElement[bool] = false() if math.isnan(value) else _COMPARED[comparison.operator](column, float(value))
    return fits


def _time_fits(column: Column[Any], comparison: Comparison) -> ColumnElement[bool]:
    """Whole milliseconds, compared on the microseconds that the index has: at >= 5 ms is at_us >= 5000, at <= 5 ms is at_us < 6000."""
    value, operator = comparison.value, comparison.operator
    if isinstance(value, str | tuple) or operator not in _COMPARED or not math.isfinite(value):
        raise InvalidInput(f"{comparison.key} is compared with milliseconds by one of {list(_COMPARED)}, not {operator} {value!r}")
    if operator in ("=", "!="):
        same = and_(_from(column, math.ceil(value)), not_(_from(column, math.floor(value) + 1)))
        return same if operator == "=" else and_(column.is_not(None), not_(same))
    reached = _from(column, math.floor(value) + 1 if operator in (">", "<=") else math.ceil(value))
    return reached if operator in (">", ">=") else and_(column.is_not(None), not_(reached))


def _from(column: Column[Any], milliseconds: int) -> ColumnElement[bool]:
    at_us = milliseconds * MILLI_US
    if not -_INT64 <= at_us < _INT64:
        return false() if at_us > 0 else column.is_not(None)
    return column >= at_us


def _order_by_value(table: FromClause, by: Order, *, owner: str, complete: bool) -> list[ColumnElement[Any]]:
    """Values, then NaN (NULL in its row), then what has no row; `complete` when neither of the latter can occur."""
    values: list[ColumnElement[Any]] = [table.c[name] for name in ("value", "rest") if name in table.c]
    directed: list[ColumnElement[Any]] = [value.desc() for value in values] if by.descending else values
    return directed if complete else [table.c[owner].is_(None), table.c.value.is_(None), *directed]
