"""The answer to an online read, shaped when it is asked for: columns, rows, and of each value its status and event time.

Statuses have Feast's names:
    PRESENT           the value
    NULL_VALUE        the entity has a row, and this feature is null in it
    NOT_FOUND         nothing is stored of the entity (or one of its join keys is null): null
    OUTSIDE_MAX_AGE   the entity's row is older than the view's ttl: null
and one is Rota's own:
    HISTORY_NOT_ONLINE   the history of the view is not in the online store: null, or a value made of what was pushed since
A join key and a feature computed from the request are PRESENT, or NULL_VALUE when they are null; they have no event time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar, cast

from rota.manage.features.online import codegen
from rota.manage.features.online.codegen import AnswerLayout, Compute, StoredView
from rota.manage.features.online.row_codec import RowView, event_time
from rota.manage.features.online.view_history import Histories
from rota.records.time import SECOND_US, Micros

T = TypeVar("T")
Status = Literal["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE", "HISTORY_NOT_ONLINE"]
Columns = Mapping[str, Sequence[Any]]
Values = Sequence[tuple[Any, ...]]


class Found(NamedTuple):
    """What the store holds of a view: a value for each distinct entity, and for each row the place of its entity there.

    `places` is None when every row has its own entity; the place -1 is that of rows without an entity.
    """

    datas: Sequence[bytes | None]
    places: Sequence[int] | None = None

    def of_rows(self, made: Sequence[T]) -> Sequence[T]:
        """What was made of each distinct entity, for each row."""
        return made if self.places is None else [made[place] for place in self.places]


class FeatureColumn(NamedTuple):
    """One column of the answer; an event time is None where nothing was found and where the value came with the request."""

    name: str
    values: Sequence[Any]
    statuses: Sequence[Status]
    event_times: Sequence[Micros | None]


class Plan:
    """How answers of one service are made: the stored views, then the on-demand ones, and which of their values has which name.

    `keys` are the fields of the request that the answer begins with: the join keys.
    """

    def __init__(self, keys: Sequence[str], layout: AnswerLayout, views: Sequence[StoredView], computes: Sequence[Compute]) -> None:
        self.layout = layout
        self.views = tuple(views)
        self.computes = tuple(computes)
        self.keys = tuple(keys)
        self.vector = codegen.vector(layout)
        self.one_vector = codegen.one_answer(layout, views, computes, (), listed=False)

    def parts(self, found: Sequence[Found], rows: Sequence[Mapping[str, Any]], now_us: Micros) -> list[Values]:
        """The values of each view for all rows, at a moment."""
        parts: list[Values] = [each.of_rows(_decoded(view, each.datas, now_us)) for view, each in zip(self.views, found, strict=True)]
        return parts + [[compute(row) for row in rows] for compute in self.computes]

    def named(self, names: tuple[str, ...]) -> "Naming":
        """The features under these names."""
        layout = replace(self.layout, names=names)
        return Naming(names, codegen.one_answer(layout, self.views, self.computes, self.keys, listed=True))

    def pick(self, values: Sequence[T]) -> list[T]:
        """What the answer takes of something there is for each value."""
        return [values[place] for place in self.layout.places]


class Naming(NamedTuple):
    """What the features of an answer are called, and the `to_dict` of one row that calls them so."""

    names: tuple[str, ...]
    one_dict: codegen.Answer


class OneRow(NamedTuple):
    """A single request row, and what the store has of each view."""

    row: Mapping[str, Any]
    datas: Sequence[bytes | None]


class ManyRows(NamedTuple):
    """Request rows as columns, how many there are, and what the store has of each view."""

    columns: Columns
    size: int
    found: Sequence[Found]


class OnlineResponse:
    """The answer to one read. Values are decoded when they are asked for, and statuses cost nothing to who does not ask."""

    __slots__ = ("_asked", "_histories", "_naming", "_now_us", "_plan", "_values_made")

    def __init__(self, plan: Plan, naming: Naming, asked: OneRow | ManyRows, now_us: Micros, histories: Histories) -> None:
        self._histories = histories
        self._plan = plan
        self._naming = naming
        self._asked = asked
        self._now_us = now_us
        self._values_made: Sequence[Sequence[Any]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names in the order in which they were asked for."""
        return self._naming.names

    def __len__(self) -> int:
        return self._rows().size

    def to_dict(self, *, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """Feast's form: for each join key, then each feature, the values of all rows.

        With `include_event_timestamps` the event time of every value besides, as NAME__ts in whole seconds (0: it has none).
        """
        asked = self._asked
        if type(asked) is OneRow and not include_event_timestamps:
            return self._naming.one_dict(asked.datas, asked.row, self._now_us)
        made = {name: list(column) for name, column in self._named_values()}
        if include_event_timestamps:
            made |= {f"{each.name}__ts": [(at_us or 0) // SECOND_US for at_us in each.event_times] for each in self.columns()}
        return made

    def rows(self) -> list[dict[str, Any]]:
        """One dict per row: its join keys, then its features."""
        columns = dict(self._named_values())
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def statuses(self) -> dict[str, list[Status]]:
        """For each name of `to_dict` the status of each row's value."""
        return {each.name: list(each.statuses) for each in self.columns()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which of the views do not have all of their history online, and what to do about it; empty when all have."""
        return tuple([self._histories[view.prefix].problem for view in self._plan.views if view.prefix in self._histories])

    def reasons(self) -> dict[str, Sequence[Status | None] | None]:
        """For each feature why rows have no value, or none to be trusted (None where nothing stands in the way, or instead of all)."""
        return {name: reasons for name, (reasons, _) in zip(self._naming.names, self._described(), strict=True)}

    def event_times(self) -> dict[str, list[Micros | None]]:
        """For each name of `to_dict` the event time of each row's value in microseconds, also of a value outside its max age."""
        return {each.name: list(each.event_times) for each in self.columns()}

    def columns(self) -> Iterator[FeatureColumn]:
        """Every column with its values, statuses and event times; columns of one view share their event times."""
        columns, size, _ = self._rows()
        never: list[None] = [None] * size
        present: list[Status] = ["PRESENT"] * size
        described: list[tuple[Sequence[Any], Sequence[Status | None] | None, Sequence[Micros | None]]]
        described = [(columns[name], None, never) for name in self._plan.keys]
        described += [(values, *row) for values, row in zip(self._values(), self._described(), strict=True)]
        for name, (values, reasons, times) in zip((*self._plan.keys, *self._naming.names), described, strict=True):
            clear = reasons is None and None not in values
            yield FeatureColumn(name, values, present if clear else _statuses(values, reasons or never), times)

    def _rows(self) -> ManyRows:
        asked = self._asked
        if type(asked) is OneRow:
            asked = self._asked = ManyRows({name: [value] for name, value in asked.row.items()}, 1, [Found((data,)) for data in asked.datas])
        return cast("ManyRows", asked)

    def _named_values(self) -> Iterator[tuple[str, Sequence[Any]]]:
        columns = self._rows().columns
        yield from ((name, columns[name]) for name in self._plan.keys)
        yield from zip(self._naming.names, self._values(), strict=True)

    def _values(self) -> Sequence[Sequence[Any]]:
        """The column of each feature."""
        columns, count, found = self._rows()
        if not count:
            return [[] for _ in self._naming.names]
        if self._values_made is None:
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)] if self._plan.computes else ()
            parts = self._plan.parts(found, rows, self._now_us)
            self._values_made = self._plan.pick([column for part in parts for column in zip(*part, strict=True)])
        return self._values_made

    def _described(self) -> list[tuple[Sequence[Status | None] | None, Sequence[Micros | None]]]:
        """For each feature why rows have no value (None where they may have one, or instead of all), and the rows' event times."""
        _, size, found = self._rows()
        described: list[tuple[Sequence[Status | None] | None, Sequence[Micros | None]]] = []
        for view, each in zip(self._plan.views, found, strict=True):
            times = [event_time(data) if data else None for data in each.datas]
            oldest_us = self._now_us - view.ttl_us
            reasons = [_reason(at_us, oldest_us) for at_us in times]
            of_rows = each.of_rows(reasons) if any(reasons) else None
            history = self._histories.get(view.prefix)
            if history is not None and history.state == "not online":
                of_rows = ["HISTORY_NOT_ONLINE"] * size
            described += [(of_rows, each.of_rows(times))] * len(view.empty)
        never: list[None] = [None] * size
        described += [(None, never)] * (sum(self._plan.layout.widths) - len(described))
        return self._plan.pick(described)


def _decoded(view: StoredView, datas: Sequence[bytes | None], now_us: Micros) -> Values:
    return view.decode_all(datas, now_us) if isinstance(view, RowView) else [view.decode(data, now_us) for data in datas]


def _reason(at_us: Micros | None, oldest_us: float) -> Status | None:
    if at_us is None:
        return "NOT_FOUND"
    return "OUTSIDE_MAX_AGE" if at_us < oldest_us else None


def _statuses(column: Sequence[Any], reasons: Sequence[Status | None]) -> list[Status]:
    return [reason or ("NULL_VALUE" if value is None else "PRESENT") for value, reason in zip(column, reasons, strict=True)]
