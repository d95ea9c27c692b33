"""Versions of feature views: which definitions a view has had, what changed between them, and giving one up."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.features.online.row_codec import prefix
from rota.ports.metadata import Batch, Metadata
from rota.records.data import Feature, FeatureView, FeatureViewVersion, OnDemandFeatureView
from rota.records.intake import CatalogStamp
from rota.records.record import digest, encode
from rota.records.time import Micros, micros

View = FeatureView | OnDemandFeatureView
CATALOG = "features"
"""More records than a catalog has: `find` is asked for every one."""


@dataclass(frozen=True, slots=True)
class DefinitionDifference:
    """One thing in which two definitions of a view differ; "" where one of them does not have it."""

    what: str
    before: str
    after: str


def of(metadata: Metadata, view: str) -> list[FeatureViewVersion]:
    """Every version that a view has had, oldest first."""
    return metadata.find(FeatureViewVersion, {"name": view}, order="number")


def newest(metadata: Metadata, view: str) -> FeatureViewVersion | None:
    """The version in force (it may be retired), or None for a view that was never registered."""
    found = metadata.page(FeatureViewVersion, {"name": view}, order="-number", limit=1).items
    return found[0] if found else None


def get(metadata: Metadata, view: str, number: int) -> FeatureViewVersion:
    """A version, or `NotFound` naming those that exist."""
    found = metadata.get(FeatureViewVersion, view, number)
    if found is None:
        known = [f"{view}@v{version.number}" for version in of(metadata, view)]
        raise NotFound(f"there is no version {view}@v{number}; there are {known or 'none'}", view=view, number=number)
    return found


def named(reference: str) -> tuple[str, int]:
    """View and number of "view@v2"."""
    view, _, number = reference.partition("@v")
    if not view or not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise InvalidInput(f"{reference[:200]!r} is no version of a view; write VIEW@vNUMBER, for example weather@v1", reference=reference[:200])
    return view, int(number)


def identity(view: View) -> str:
    """A digest of what a view's values follow from; owner, descriptions and tags are no part of it."""
    if isinstance(view, FeatureView):
        return digest(encode([prefix(view).hex(), micros(view.ttl) if view.ttl is not None else None]))
    return digest(encode([sorted(view.inputs.items()), [(name, feature.identity) for name, feature in _sorted(view)]]))


def added(metadata: Metadata, before: View | None, view: View, now_us: Micros) -> list[FeatureViewVersion]:
    """The versions to store when `view` takes the place of `before`: none when its values follow from the same things.

    A view that was registered before versions were kept gets its first one now.
    """
    known = newest(metadata, view.name)
    made = []
    if known is None and before is not None:
        known = FeatureViewVersion(view.name, 1, before, now_us)
        made.append(known)
    if known is None or known.retired_us is not None or identity(known.view) != identity(view):
        made.append(FeatureViewVersion(view.name, known.number + 1 if known else 1, view, now_us))
    return made


def differences(before: View, after: View) -> list[DefinitionDifference]:
    """What differs between two definitions, in the words in which they are written."""
    old, new = _facts(before), _facts(after)
    return [
        DefinitionDifference(what, old.get(what, ""), new.get(what, ""))
        for what in dict.fromkeys([*old, *new])
        if old.get(what, "") != new.get(what, "")
    ]


def retirement(version: FeatureViewVersion, users: Sequence[str], before: CatalogStamp | None, *, actor: str, now_us: Micros) -> Batch:
    """The batch that gives a version up, so that no row is brought online for it any more; refused while somebody uses it."""
    name = f"{version.name}@v{version.number}"
    if users:
        raise Refused(
            f"{name} is used by {', '.join(users[:10])}{' and others' if len(users) > 10 else ''}; retire it when nothing reads it", view=name
        )
    batch = Batch()
    batch.put(msgspec.structs.replace(version, retired_us=now_us), replacing=version)
    batch.put(CatalogStamp(CATALOG, before.changes + 1 if before else 1), replacing=before)
    batch.audit(actor, "feature_view.retire", name, now_us)
    return batch


def _facts(view: View) -> dict[str, str]:
    if isinstance(view, OnDemandFeatureView):
        facts: dict[str, str] = {f"input {name}": kind for name, kind in view.inputs.items()}
    else:
        facts = {
            "source": view.source.name,
            "join keys": ", ".join(view.join_keys),
            "timestamp field": view.source.timestamp_field,
            "ttl": view.ttl or "never",
            "hop": view.hop if view.windowed else "",
        }
    facts |= {f"feature {name}": shown(feature) for name, feature in _sorted(view)}
    facts |= {"owner": view.owner, "description": view.description, "tags": ", ".join(f"{key}={value}" for key, value in sorted(view.tags.items()))}
    return facts


def shown(feature: Feature) -> str:
    """A feature as a person writes it."""
    return f"{feature.aggregation}({feature.text}) over {feature.window}" if feature.aggregation else feature.text


def _sorted(view: View) -> list[tuple[str, Feature]]:
    return sorted(view.features.items(), key=lambda item: item[0])
