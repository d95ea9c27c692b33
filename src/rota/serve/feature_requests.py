"""Online features over HTTP in the wire shape of Feast's feature server, so that its clients need another address only.

    {"features": ["view:feature", ...] or "feature_service": NAME, "entities": {join key: [value, ...]}, "full_feature_names": false}
    -> {"metadata": {"feature_names": [...]}, "results": [{"values": [...], "statuses": [...], "event_timestamps": [...]}, ...]}

There is one result for each name, the join keys first; in it one entry for each row. A value without an event time has the epoch
there, as with Feast; an infinite number, for which JSON has no word, is null with the status PRESENT.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from rota.errors import InvalidInput
from rota.manage.features.online.response import OnlineResponse
from rota.records.limits import ONLINE_VALUES
from rota.records.time import iso

MOST_ROWS = 100_000
_encode = msgspec.json.Encoder().encode


class FeatureRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /get-online-features."""

    entities: dict[str, list[Any]]
    features: list[str] = []
    feature_service: str | None = None
    full_feature_names: bool = False


class FeatureReader(Protocol):
    """Whoever reads online features by reference, with Feast's call. Thread-safe."""

    def get_online_features(
        self, features: Sequence[str] | str, entity_rows: Mapping[str, Sequence[Any]], *, full_feature_names: bool
    ) -> OnlineResponse: ...


def answer(reader: FeatureReader, request: FeatureRequest) -> bytes:
    """The body of the response; raises `InvalidInput` and `NotFound` naming what does not fit."""
    rows = max(map(len, request.entities.values()), default=0)
    _bounded(rows, MOST_ROWS, "rows")
    _bounded(rows * len(request.features), ONLINE_VALUES, "values")
    response = reader.get_online_features(_asked(request), request.entities, full_feature_names=request.full_feature_names)
    _bounded(len(response) * len(response.names), ONLINE_VALUES, "values")
    columns = list(response.columns())
    times = {id(column.event_times): column.event_times for column in columns}  # features of one view share the list: it is written once
    written = {key: msgspec.Raw(_encode([iso(at_us or 0) for at_us in each])) for key, each in times.items()}
    results = [{"values": column.values, "statuses": column.statuses, "event_timestamps": written[id(column.event_times)]} for column in columns]
    return _encode({"metadata": {"feature_names": [column.name for column in columns]}, "results": results})


def _asked(request: FeatureRequest) -> Sequence[str] | str:
    if bool(request.features) == (request.feature_service is not None):
        raise InvalidInput('name what is asked for: either "features" (a list of "view:feature") or "feature_service" (its name)')
    if request.feature_service is None:
        return request.features
    if ":" in request.feature_service:
        raise InvalidInput(f'{request.feature_service[:200]!r} is no name of a feature service; features are named in the list "features"')
    return request.feature_service


def _bounded(count: int, most: int, what: str) -> None:
    if count > most:
        raise InvalidInput(f"the request asks for {count} {what}, at most {most} are answered at once; ask in portions", limit=most)
