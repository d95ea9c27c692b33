"""Register a build as the next immutable dataset version, with profile, schema and quality; an identical build gives the newest again.

The record is committed last: a build that is killed before leaves a table and blobs by content, which the next build of the
same state takes over, and no version. Two builders at once get two numbers, or share one when they built the same rows.
"""

from dataclasses import dataclass

import msgspec
import polars as pl

from rota.errors import NotFound
from rota.manage.datasets import build as datasets
from rota.manage.datasets import profiles, schemas
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.dataset import Dataset, DatasetDefinition, DatasetVersion
from rota.records.record import encode
from rota.records.time import Micros

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Prepared:
    """A version with all its facts. `new`: it has to be committed yet; otherwise it is stored, and holds these very rows."""

    version: DatasetVersion
    rows: pl.DataFrame
    new: bool


def prepare(repositories: Repositories, name: str, definition: DatasetDefinition, *, environment: str, now_us: Micros) -> Prepared:
    """Build a definition. The version of the same rows as the newest one is the newest one."""
    metadata, blobs = repositories.metadata, repositories.blobs
    number = datasets.next_number(metadata, name)
    built = datasets.build(repositories.tables, name, number, definition, now_us=now_us)
    newest = metadata.get(DatasetVersion, name, number - 1) if number > 1 else None
    if newest is not None and (newest.digest, newest.environment) == (built.version.digest, environment):
        return Prepared(newest, built.rows, new=False)
    profile = profiles.profile(built.rows, definition, built.version.id, expected=schemas.active(metadata, name), now_us=now_us)
    version = msgspec.structs.replace(
        built.version,
        environment=environment,
        statistics=blobs.put(encode(profile)),
        schema=blobs.put(encode(profiles.schema(built.rows, definition, built.version.id))),
        definition=blobs.put(encode(definition)),
        quality=profiles.scores(profile),
    )
    return Prepared(version, built.rows, new=True)


def build_named(repositories: Repositories, name: str, *, environment: str, actor: str) -> Prepared:
    """Build a dataset of the catalog and commit its version; `new` says whether there was something new."""
    dataset = get_definition(repositories.metadata, name)

    def build() -> Prepared:
        now_us = repositories.clock.now_us()
        made = prepare(repositories, name, dataset.definition, environment=environment, now_us=now_us)
        if not made.new:
            return made
        batch = Batch()
        batch.create(made.version)
        batch.link(f"dataset_version:{made.version.id}", source_nodes(made.version), now_us)
        batch.audit(actor, "dataset.build", made.version.id, now_us, digest=made.version.digest, environment=environment)
        repositories.metadata.commit(batch)  # Conflict: another builder took the number; what it made may be the same rows
        return made

    return transact(build, attempts=_TRIES, busy=f"dataset {name!r} was not built, other builders were a moment earlier; build it again")


def get_definition(metadata: Metadata, name: str) -> Dataset:
    """The dataset of a name in the catalog."""
    dataset = metadata.get(Dataset, name)
    if dataset is None:
        known = [each.name for each in metadata.find(Dataset)]
        raise NotFound(f"there is no dataset {name!r}; declared are {known}: put a rota.Dataset into the project file and apply it", dataset=name)
    return dataset


def source_nodes(version: DatasetVersion) -> list[str]:
    """The lineage nodes of the source versions that a dataset version was built from."""
    return [f"source:{source}@{at}" for source, at in version.sources.items()]
