"""The datasets of a platform's catalog: declared in project files, built into immutable versions."""

from dataclasses import dataclass

from rota.manage.datasets import build, versions
from rota.manage.datasets.versions import Prepared
from rota.manage.features.writer import Feed
from rota.manage.repositories import Repositories


@dataclass(frozen=True, slots=True)
class DatasetCatalog:
    """Builds the datasets of the catalog from the sources of this home."""

    repositories: Repositories
    feed: Feed
    environment: str

    def build(self, name: str, *, actor: str = "owner") -> Prepared:
        """Build the next version of a dataset; `new` is False when the newest version holds these very rows.

        What was pushed and what is new of each source's input is taken in first. Raises `NotFound` for an undeclared name.
        """
        definition = versions.get_definition(self.repositories.metadata, name).definition
        for source in build.source_names(definition):
            self.feed.refresh(source)
        return versions.build_named(self.repositories, name, environment=self.environment, actor=actor)
