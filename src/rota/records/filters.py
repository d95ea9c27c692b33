"""A search as data: conditions, order and page; `rota.manage.experiments.search_grammar` reads them from text, stores answer them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")

Entity = Literal["attribute", "metric", "parameter", "tag", "dataset"]
Operator = Literal["=", "!=", ">", ">=", "<", "<=", "LIKE", "ILIKE", "IN", "NOT IN", "IS NULL", "IS NOT NULL"]
View = Literal["active", "deleted", "all"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition; `value` is a tuple for IN and NOT IN, "" for IS NULL and IS NOT NULL.

    LIKE has % and _ as wildcards and no escape; it is case-sensitive, ILIKE takes the letters A-Z for a-z. Attributes of
    time (start_time, end_time, creation_time, ...) are compared in whole milliseconds since 1970, as MLflow's clients see
    them, and sorted by the microsecond.
    """

    entity: Entity
    key: str
    operator: Operator
    value: str | float | int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Order:
    """A field to sort by."""

    entity: Entity
    key: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """All conditions must hold. `page` is the `next` of the page before, for the same query; "" begins."""

    where: Sequence[Comparison] = ()
    order: Sequence[Order] = ()
    limit: int = 1_000
    page: str = ""
    view: View = "active"


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of the found items; `next` asks for the following ones, "" when there are none."""

    items: list[T]
    next: str = ""
