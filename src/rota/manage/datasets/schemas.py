"""Schemas: numbered versions under a name. The active schema, which fresh data is validated against, is the last frozen version.

An inference or an edit makes the next version and leaves the active one as it is; freezing a version makes it active, and
freezing an older one again brings it back. Two people who edit at once get two answers: the second is told by a `Conflict`.
"""

import msgspec

from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage import spellings
from rota.manage.models import model_aliases
from rota.ports.metadata import Batch, Metadata
from rota.records.record import check_name
from rota.records.schema import Schema
from rota.records.time import Micros

_FROZEN_BEFORE = 20


def active(metadata: Metadata, name: str) -> Schema | None:
    """The active version: the one frozen last; None when none was frozen."""
    return next(iter(_frozen(metadata, name, limit=1)), None)


def newest(metadata: Metadata, name: str) -> Schema | None:
    """The version with the highest number, frozen or not."""
    return next(iter(metadata.page(Schema, {"name": name}, order="-version", limit=1).items), None)


def newest_version(metadata: Metadata, name: str) -> int:
    """The highest number of a version; 0 when there is none."""
    found = newest(metadata, name)
    return 0 if found is None else found.version


def get(metadata: Metadata, reference: str) -> Schema:
    """The schema that "NAME@VERSION" or "NAME" (the newest version) names."""
    name, at, number = reference.partition("@")
    if at and not number.isdecimal():
        raise InvalidInput(f'schema {reference!r} is not NAME or NAME@VERSION; for example "flight-delay@2"', schema=reference)
    found = metadata.get(Schema, name, int(number)) if at else newest(metadata, name)
    if found is not None:
        return found
    known = [schema.version for schema in metadata.find(Schema, {"name": name})]
    raise NotFound(
        f"schema {name!r} has no version {number}; it has {known}"
        if known
        else f"there is no schema {name!r}; the first training run of a pipeline infers and freezes one, or `rota data schema infer` does",
        schema=reference,
    )


def serving(metadata: Metadata, model: str) -> Schema | None:
    """The active schema of the requests to a model's champion.

    After a change of features the newest frozen version is that of the next champion; the present one still answers for the
    columns that it was trained with, so the newest frozen version with just these holds.
    """
    champion = model_aliases.aliased_version(metadata, model)
    trained = None if champion is None else _trained_on(metadata, champion.run, model)
    frozen = _frozen(metadata, model, limit=_FROZEN_BEFORE)
    if trained is None:
        return next(iter(frozen), None)
    columns = {column.name for column in trained.columns}
    return next((schema for schema in frozen if {column.name for column in schema.columns} == columns), trained)


def add(batch: Batch, schema: Schema, *, base: int, author: str, now_us: Micros) -> Schema:
    """Put a schema into the batch as the version after `base` (0: the first); `Conflict` at commit when another came first."""
    check_name("schema", schema.name)
    made = msgspec.structs.replace(schema, version=base + 1, author=author, created_us=now_us)
    batch.create(made)
    batch.audit(author, "schema.add", f"{made.name}@{made.version}", now_us, dataset=made.dataset, frozen=made.frozen_us is not None)
    return made


def create(metadata: Metadata, schema: Schema, *, author: str, now_us: Micros) -> Schema:
    """Store an inferred schema as the next version of its name; not active before it is frozen."""
    base = newest_version(metadata, schema.name)
    if not base:
        spellings.check(metadata, spellings.SCHEMAS, schema.name)
    return _store(metadata, schema, base=base, author=author, now_us=now_us)


def edit(metadata: Metadata, edited: Schema, *, author: str, now_us: Micros) -> Schema:
    """Store an edited schema as the next version. Its `version` is the one that was edited, and must be the newest still.

    An edit that changes nothing stores nothing and gives the newest version.
    """
    before = get(metadata, edited.name)
    if before.version != edited.version:
        raise _overtaken(edited.name, edited.version, before.version)
    clean = msgspec.structs.replace(edited, frozen_us=None, author="", created_us=0)
    if clean == msgspec.structs.replace(before, frozen_us=None, author="", created_us=0):
        return before
    return _store(metadata, clean, base=edited.version, author=author, now_us=now_us)


def freeze(metadata: Metadata, reference: str, *, author: str, now_us: Micros) -> Schema:
    """Make a version the active one. The others stay, and can be made active again."""
    batch = Batch()
    before = get(metadata, reference)
    present = active(metadata, before.name)
    if present == before:
        return before
    later_us = now_us if present is None or present.frozen_us is None else max(now_us, present.frozen_us + 1)
    frozen = msgspec.structs.replace(before, frozen_us=later_us)
    batch.put(frozen, replacing=before)
    batch.audit(author, "schema.freeze", f"{frozen.name}@{frozen.version}", now_us, instead_of=0 if present is None else present.version)
    metadata.commit(batch)
    return frozen


def _frozen(metadata: Metadata, name: str, *, limit: int) -> list[Schema]:
    """Frozen versions, the one frozen last first."""
    found = metadata.page(Schema, {"name": name}, order="-frozen_us", limit=limit).items
    return sorted((s for s in found if s.frozen_us is not None), key=lambda s: (s.frozen_us or 0, s.version), reverse=True)


def _trained_on(metadata: Metadata, run: str, name: str) -> Schema | None:
    """The schema that a run's data was held against, by its lineage."""
    prefix = f"schema:{name}@"
    used = [edge.cause for edge in metadata.edges([f"run:{run}"], "causes") if edge.cause.startswith(prefix)]
    return next((schema for node in used if (schema := metadata.get(Schema, name, int(node.removeprefix(prefix)))) is not None), None)


def _store(metadata: Metadata, schema: Schema, *, base: int, author: str, now_us: Micros) -> Schema:
    batch = Batch()
    made = add(batch, msgspec.structs.replace(schema, frozen_us=None), base=base, author=author, now_us=now_us)
    try:
        metadata.commit(batch)
    except Conflict as error:
        raise _overtaken(made.name, base, made.version) from error
    return made


def _overtaken(name: str, edited: int, now: int) -> Conflict:
    return Conflict(
        f"schema {name!r} was edited from version {edited} while version {now} appeared; edit what `rota data schema show {name}` prints now",
        schema=name,
        version=now,
    )
