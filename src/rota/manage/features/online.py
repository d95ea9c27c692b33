"""Feature vectors for serving: all stored views of all rows in one read, folded, expired and completed at one moment."""

from collections.abc import Mapping, Sequence
from typing import Any

from rota.manage.features import expressions, rows, stored, windows
from rota.manage.features.stored import RowView, layout
from rota.manage.features.windows import WindowView
from rota.ports.online import Online
from rota.records.data import FeatureService, FeatureView
from rota.records.time import Micros

StoredView = RowView | WindowView


class OnlineFeatures:
    """The features of one service, compiled once; thread-safe, for it holds nothing that changes."""

    def __init__(self, online: Online, service: FeatureService) -> None:
        self._online = online
        self.service = service
        self._views: list[tuple[StoredView, list[str]]] = []
        self._requests = []
        for view in service.views:
            if isinstance(view, FeatureView):
                self._views.append((stored_view(view), [f"{view.name}__{name}" for name, _ in layout(view)]))
            else:
                sqls = {f"{view.name}__{name}": feature.sql for name, feature in view.features.items()}
                self._requests.append(expressions.compile_row(sqls, view.inputs))
        self._blank = dict.fromkeys(service.feature_names)

    def check(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The request rows in the form that `vectors` takes; raises `InvalidInput` naming field, value and row."""
        return rows.check_requests(self.service, requests)

    def vectors(self, requests: Sequence[Mapping[str, Any]], now_us: Micros) -> list[dict[str, Any]]:
        """One dict per checked request row, keys in `service.feature_names` order.

        An unknown entity, a null join key or a row older than its ttl gives nulls, never an error.
        """
        vectors = [self._blank.copy() for _ in requests]
        if self._views:
            self._fill(vectors, requests, now_us)
        for compute in self._requests:
            for vector, request in zip(vectors, requests, strict=True):
                vector.update(compute(request))
        return vectors

    def _fill(self, vectors: Sequence[dict[str, Any]], requests: Sequence[Mapping[str, Any]], now_us: Micros) -> None:
        """Read each entity of each view once, decode it once, and copy it into every row that asks for it."""
        asked: list[dict[Any, list[dict[str, Any]]]] = []  # for each view: entity -> the vectors that want it
        for view, _ in self._views:
            entities: dict[Any, list[dict[str, Any]]] = {}
            entity_of = view.entity_of
            for request, vector in zip(requests, vectors, strict=True):
                entities.setdefault(entity_of(request), []).append(vector)
            asked.append(entities)
        keys = [view.key_of(entity) for (view, _), entities in zip(self._views, asked, strict=True) for entity in entities]
        values = iter(self._online.read([key for key in keys if key is not None]))
        places = iter(keys)
        for (view, names), entities in zip(self._views, asked, strict=True):
            for wanting in entities.values():
                if next(places) is not None and (data := next(values)):
                    features = dict(zip(names, view.decode(data, now_us), strict=True))
                    for vector in wanting:
                        vector.update(features)


def stored_view(view: FeatureView) -> StoredView:
    return WindowView(view) if view.windowed else RowView(view)


def upserts(view: StoredView, events: Sequence[Mapping[str, Any]], created_us: Micros) -> list[tuple[bytes, bytes]]:
    """What `Online.update` with `merge` takes to bring checked rows of the source into a view; rows without an entity are left out."""
    pairs = []
    for event in events:
        key = view.key(event)
        if key is not None:
            pairs.append((key, view.encode(event) if isinstance(view, WindowView) else view.encode(event, created_us)))
    return pairs


def merge(old: bytes | None, new: bytes) -> bytes:
    """Rows: the newest stays. Tiles: they add up."""
    if not old:
        return new
    return windows.add(old, new) if new[:1] == windows.TILES else stored.newest(old, new)
