"""Checks of views and services by their structure: whether their rows can be found, and a request can ask for them.

They need nothing stored, so that `plan` refuses what `apply` would.
"""

from collections.abc import Iterator

from rota.errors import InvalidInput
from rota.records.data import FeatureService, FeatureView
from rota.records.schema import Type
from rota.records.value_types import family


def check_view(view: FeatureView) -> None:
    """Raises `InvalidInput` for a stored view whose rows nobody could find: without an entity, or by a key that is no exact value."""
    if not view.join_keys:
        raise InvalidInput(
            f"feature view {view.name!r} has no entity, so its rows could not be found; give it one, "
            "with a constant column of the source as its join key if there is one row for all",
            view=view.name,
        )
    twice = sorted({key for key in view.join_keys if view.join_keys.count(key) > 1})
    if twice:
        names = [entity.name for entity in view.entities if twice[0] in entity.join_keys]
        raise InvalidInput(f"feature view {view.name!r} is found twice by the join key {twice[0]!r}, of {names}; name it once", view=view.name)
    unfound = [key for key in view.join_keys if family(view.source.fields.get(key, "int")) in ("list", "decimal", "bytes")]
    if unfound:
        kinds = sorted({view.source.fields[key] for key in unfound})
        raise InvalidInput(f"feature view {view.name!r}: the join keys {unfound} are {kinds}; an entity is found by int or string", view=view.name)
    floats = [key for key in view.join_keys if view.source.fields.get(key) == "float"]
    if floats:
        raise InvalidInput(f"feature view {view.name!r}: the join keys {floats} are floats; an entity is found by int or string", view=view.name)


def check_service(service: FeatureService) -> None:
    """Raises `InvalidInput` for a service that cannot be asked: one request field of two types, or one name of two values."""
    fields: dict[str, tuple[Type, str]] = {}
    for name, kind, view in _request_fields(service):
        known, other = fields.setdefault(name, (kind, view))
        if known != kind:
            raise InvalidInput(
                f"feature service {service.name!r}: a request has one field {name!r}, but view {other!r} takes it as {known} and "
                f"view {view!r} as {kind}; declare it with one type in both, or rename one of them",
                service=service.name,
                field=name,
                views=[other, view],
            )
    features: dict[str, str] = {}
    for name, view in _feature_names(service):
        if name in features:
            clash = f"views {features[name]!r} and {view!r} both have a feature called {name!r} in full"
        elif name in fields:
            clash = f"{name!r} names a feature of view {view!r} and a request field of view {fields[name][1]!r}"
        else:
            features[name] = view
            continue
        raise InvalidInput(f"feature service {service.name!r}: {clash}; rename one", service=service.name, feature=name)


def _feature_names(service: FeatureService) -> Iterator[tuple[str, str]]:
    """Each feature's full name, with its view."""
    for view in service.views:
        for feature in view.features:
            yield f"{view.name}__{feature}", view.name


def _request_fields(service: FeatureService) -> Iterator[tuple[str, Type, str]]:
    """Each field that a view of the service takes out of a request: name, type, view."""
    for view in service.stored_views:
        for key in view.join_keys:
            if key in view.source.fields:  # the fields of a source may be known only where its files are
                yield key, view.source.fields[key], view.name
    for request in service.request_views:
        for name, kind in request.inputs.items():
            yield name, kind, request.name
