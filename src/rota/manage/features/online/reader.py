"""Feature vectors for serving: all stored views of all rows in one read, folded, expired and completed at one moment."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from rota.errors import InvalidInput
from rota.manage.features.expressions import compiler
from rota.manage.features.online import codegen, row_codec, tiles
from rota.manage.features.online.codegen import AnswerLayout
from rota.manage.features.online.request_rows import EntityRows, checked
from rota.manage.features.online.response import Columns, Found, ManyRows, Naming, OneRow, OnlineResponse, Plan
from rota.manage.features.online.row_codec import RowView, entity_names, layout
from rota.manage.features.online.view_history import HistoryLookup, all_whole
from rota.manage.features.online.window_view import WindowView
from rota.manage.features.rows import coercion
from rota.ports.online import Online
from rota.records.data import FeatureService, FeatureView
from rota.records.time import Micros

StoredView = RowView | WindowView


class OnlineFeatures:
    """The features of one service, compiled once; thread-safe, for it holds nothing that changes.

    `histories` tells which of its views do not have their history online; answers say so of their values. `remote`: the store is a server,
    so that whoever asks for views may `wait` for it.
    """

    def __init__(self, online: Online, service: FeatureService, histories: HistoryLookup = all_whole, *, remote: bool = False) -> None:
        self._online = online
        self._histories = histories
        self.service = service
        self._fields = dict(service.request_fields)
        self._lookups = _lookups(service)
        self.waits = remote and bool(self._lookups)
        self._plan = _plan(service, [view for lookup in self._lookups for view in lookup.views])
        self._full = self._plan.named(service.feature_names)
        self._plain = codegen.one_request(self._fields)
        self._fetch = codegen.one_fetch([(lookup.join_keys, lookup.prefixes) for lookup in self._lookups], online.read)

    def check(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The request rows in the form that `vectors` takes; raises `InvalidInput` naming field, value and row."""
        return coercion.check_requests(self.service, requests)

    def vectors(self, requests: Sequence[Mapping[str, Any]], now_us: Micros) -> list[dict[str, Any]]:
        """One dict per checked request row, keys in `service.feature_names` order.

        An unknown entity, a null join key or a row older than its ttl gives nulls, never an error.
        """
        return self._looked_up(requests, now_us)[0]

    def look_up(self, requests: Sequence[Mapping[str, Any]], now_us: Micros) -> tuple[list[dict[str, Any]], OnlineResponse]:
        """`vectors`, and the answer that they were read from: it says why values are null (`reasons`) and what is not online (`warnings`)."""
        vectors, asked = self._looked_up(requests, now_us)
        return vectors, OnlineResponse(self._plan, self._full, asked, now_us, self._histories())

    def _looked_up(self, requests: Sequence[Mapping[str, Any]], now_us: Micros) -> tuple[list[dict[str, Any]], OneRow | ManyRows]:
        plan = self._plan
        if len(requests) == 1 and (datas := self._fetch(requests[0])) is not None:
            return [plan.one_vector(datas, requests[0], now_us)], OneRow(requests[0], datas)
        columns = {name: [row.get(name) for row in requests] for lookup in self._lookups for name in lookup.join_keys}
        found = self._found(columns)
        parts = plan.parts(found, requests, now_us)
        return list(map(plan.vector, *parts)) if parts else [{} for _ in requests], ManyRows(columns, len(requests), found)

    def read(self, entity_rows: EntityRows, now_us: Micros, *, full_feature_names: bool = True) -> OnlineResponse:
        """The features of request rows, given as dicts or as columns (Feast's two forms), with statuses and event times.

        Every row needs every field of `service.request_fields`; other fields are left out. An unknown entity, a null join key or a
        row older than its ttl gives nulls with a status that says so. With `full_feature_names=False` a feature goes by its own
        name, without its view's. Raises `InvalidInput` naming field, value and row, or two features that would have one name.
        """
        plan = self._plan
        naming = self._full if full_feature_names else self._short
        if type(entity_rows) is list and len(entity_rows) == 1 and type(entity_rows[0]) is dict:
            row = self._plain(entity_rows[0])
            if row is not None and (datas := self._fetch(row)) is not None:
                return OnlineResponse(plan, naming, OneRow(row, datas), now_us, self._histories())
        columns, count = checked(self._fields, entity_rows)
        return OnlineResponse(plan, naming, ManyRows(columns, count, self._found(columns)), now_us, self._histories())

    def _found(self, columns: Columns) -> list[Found]:
        """Read each entity of each view once, all of them from one snapshot."""
        if not self._lookups:
            return []
        keys: list[bytes] = []
        asked = []
        for lookup in self._lookups:
            entities, places = _distinct(entity_names([columns[name] for name in lookup.join_keys]))
            for prefix in lookup.prefixes:
                keys += [prefix + name for name in entities]
                asked.append((len(keys), places))
        values = self._online.read(keys)
        found, start = [], 0
        for end, places in asked:
            found.append(Found(values[start:end] if places is None else [*values[start:end], None], places))
            start = end
        return found

    @cached_property
    def _short(self) -> Naming:
        short = {f"{view.name}__{feature}": feature for view in self.service.views for feature in view.features}
        names = tuple([short[name] for name in self._plan.layout.names])
        taken = [*names, *self._plan.keys]
        twice = sorted({name for name in names if taken.count(name) > 1})
        if twice:
            raise InvalidInput(
                f"two of the features or request fields are called {twice[0]!r} without their view's name; ask for full_feature_names",
                feature=twice[0],
            )
        return self._plan.named(names)


class _Lookup:
    """The stored views of a service that are found by the same join keys."""

    def __init__(self, join_keys: tuple[str, ...]) -> None:
        self.join_keys = join_keys
        self.views: list[StoredView] = []
        self.prefixes: list[bytes] = []


def _lookups(service: FeatureService) -> list[_Lookup]:
    found: dict[tuple[str, ...], _Lookup] = {}
    for view in service.stored_views:
        lookup = found.setdefault(view.join_keys, _Lookup(view.join_keys))
        lookup.views.append(stored_view(view))
        lookup.prefixes.append(row_codec.prefix(view))
    return list(found.values())


def _plan(service: FeatureService, views: Sequence[StoredView]) -> Plan:
    names = [f"{view.view.name}__{name}" for view in views for name, _ in layout(view.view)]
    names += [f"{view.name}__{name}" for view in service.request_views for name in view.features]
    computes = [compiler.compile_values([feature.expression for feature in view.features.values()], view.inputs) for view in service.request_views]
    widths = [*(len(view.empty) for view in views), *(len(view.features) for view in service.request_views)]
    place = {name: index for index, name in enumerate(names)}
    named = AnswerLayout(service.feature_names, tuple([place[name] for name in service.feature_names]), tuple(widths))
    return Plan(_join_keys(service), named, views, computes)


def _join_keys(service: FeatureService) -> list[str]:
    return list(dict.fromkeys([key for view in service.stored_views for key in view.join_keys]))


def _distinct(names: Sequence[bytes | None]) -> tuple[Sequence[bytes], Sequence[int] | None]:
    """Each entity once, and for each row the place of its entity among them (-1: it has none); None when all rows differ."""
    known = dict.fromkeys(names)
    if None not in known:
        if len(known) == len(names):
            return names, None  # type: ignore[return-value]  # none of them is None
    else:
        del known[None]
    entities: list[bytes] = list(known)  # type: ignore[arg-type]  # as above
    place: dict[bytes | None, int] = {name: index for index, name in enumerate(entities)} | {None: -1}
    return entities, [place[name] for name in names]


def stored_view(view: FeatureView) -> StoredView:
    return WindowView(view) if view.windowed else RowView(view)


def upserts(view: StoredView, events: Sequence[Mapping[str, Any]], created_us: Micros) -> list[tuple[bytes, bytes]]:
    """What `Online.update` with `merge` takes to bring checked rows of the source into a view; rows without an entity are left out."""
    pairs = []
    for event in events:
        key = view.key(event)
        if key is not None:
            pairs.append((key, view.encode(event, created_us)))
    return pairs


def merge(old: bytes | None, new: bytes) -> bytes:
    """Rows: the newest stays. Tiles: they add up."""
    if not old:
        return new
    return tiles.joined(old, new) if new[:1] in tiles.TAGS else row_codec.newest(old, new)
