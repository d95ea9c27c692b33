"""References: "view:feature", "view@v2:feature" or the name of a service become the service that reads just these features."""

import difflib
import re
from collections.abc import Iterable, Sequence

from rota.errors import InvalidInput, NotFound
from rota.manage.features.definitions import versions
from rota.manage.features.definitions.service_check import check_service
from rota.manage.features.definitions.versions import View
from rota.ports.metadata import Metadata
from rota.records.data import FeatureService, FeatureView, OnDemandFeatureView

Features = Sequence[str] | str | FeatureService
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(rf"({_NAME})(?:@v([0-9]{{1,9}}))?:({_NAME})")
_SERVICE = re.compile(_NAME)
_SHOWN = 120
REQUESTED = "requested"
"""The name of a service that stands for a list of references."""


def service(metadata: Metadata, features: Features) -> FeatureService:
    """The service that reads exactly these features, in this order.

    A view of which only some features are asked for keeps its whole definition: its online rows are those of the view.
    Raises `InvalidInput` for a text that is no reference, for two versions of one view in a list and for what cannot be asked together;
    `NotFound` with near names for what does not exist.
    """
    if isinstance(features, FeatureService):
        check_service(features)
        return features
    if isinstance(features, str):
        return _asked(metadata, [features]) if ":" in features else registered(metadata, features)
    return _asked(metadata, features)


def registered(metadata: Metadata, name: str) -> FeatureService:
    """A registered service by its name."""
    found = metadata.get(FeatureService, name) if isinstance(name, str) and _SERVICE.fullmatch(name) else None
    if found is None:
        known = [each.name for each in metadata.find(FeatureService)]
        raise NotFound(f"there is no feature service {_short(name)}; {_near(name, known)}", service=_cut(name))
    return found


def view(metadata: Metadata, name: str, number: int | None = None) -> View:
    """The definition of a view that is in force, or of one of its versions; `NotFound` for one that does not exist or is retired."""
    if not _SERVICE.fullmatch(name):
        raise NotFound(f"there is no feature view {_short(name)}; {_near(name, _view_names(metadata))}", view=_cut(name))
    version = versions.newest(metadata, name) if number is None else versions.get(metadata, name, number)
    if version is None:
        found = metadata.get(FeatureView, name)  # registered before versions were kept
        if found is None:
            raise NotFound(f"there is no feature view {_short(name)}; {_near(name, _view_names(metadata))}", view=_cut(name))
        return found
    if version.retired_us is not None:
        left = [f"{name}@v{each.number}" for each in versions.of(metadata, name) if each.retired_us is None]
        raise NotFound(f"{name}@v{version.number} is retired; there are {left or 'no other versions'}", view=name)
    if number is None:  # what is no part of a version (owner, description, tags) may have changed since
        return metadata.get(FeatureView, name) or metadata.get(OnDemandFeatureView, name) or version.view
    return version.view


def view_of_any_age(metadata: Metadata, name: str, feature: str = "") -> View:
    """The newest definition of a view, also of a retired one; `NotFound` for an unknown view or feature."""
    newest = versions.newest(metadata, name) if _SERVICE.fullmatch(name) else None
    found = newest.view if newest else view(metadata, name)
    if feature and not any(feature in each.features for each in (found, *(version.view for version in versions.of(metadata, name)))):
        raise NotFound(f"view {name!r} has no feature {_short(feature)}; {_near(feature, found.features)}", view=name, feature=_cut(feature))
    return found


def _asked(metadata: Metadata, features: Sequence[str]) -> FeatureService:
    parsed = [_parsed(reference) for reference in features]
    if not parsed:
        raise InvalidInput("no feature is asked for; give for example 'weather:temp' or the name of a feature service")
    views: dict[str, View] = {}
    numbers: dict[str, int | None] = {}
    for name, number, feature in parsed:
        if numbers.setdefault(name, number) != number:
            raise InvalidInput(f"two versions of view {name!r} are asked for at once; ask for each on its own", view=name)
        if name not in views:
            views[name] = view(metadata, name, number)
        if feature not in views[name].features:
            raise NotFound(f"view {name!r} has no feature {feature!r}; {_near(feature, views[name].features)}", view=name, feature=feature)
    asked = FeatureService(REQUESTED, tuple(views.values()), selected=tuple(f"{name}__{feature}" for name, _, feature in parsed))
    check_service(asked)
    return asked


def _parsed(reference: str) -> tuple[str, int | None, str]:
    match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
    if match is None:
        raise InvalidInput(f"{_short(reference)} is no feature; write 'view:feature' or 'view@v2:feature'", reference=_cut(reference))
    return match[1], int(match[2]) if match[2] else None, match[3]


def _view_names(metadata: Metadata) -> list[str]:
    views: list[View] = [*metadata.find(FeatureView), *metadata.find(OnDemandFeatureView)]
    return [view.name for view in views]


def _near(name: object, known: Iterable[str]) -> str:
    """What is most like the name among the known ones."""
    names = sorted(known)
    close = difflib.get_close_matches(_cut(name), names, n=3, cutoff=0.5)
    if close:
        return f"is it {' or '.join(repr(each) for each in close)}?"
    return f"there are {names[:20]}{' and others' if len(names) > 20 else ''}" if names else "there are none yet"


def _cut(name: object) -> str:
    return str(name)[:_SHOWN]


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
