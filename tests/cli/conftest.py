"""A real home on disk, and the command line over it."""

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rota import wiring
from rota.cli.app import app
from rota.settings import Settings
from rota.testing import story


@dataclasses.dataclass(frozen=True)
class Home:
    """A home directory and the command line over it."""

    path: Path

    def rota(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["--home", str(self.path), *arguments])

    def open(self) -> AbstractContextManager[wiring.Platform]:
        """The platform itself, between two commands: a process opens a home once at a time."""
        return wiring.opened(Settings(home=self.path))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path / "home")


@pytest.fixture
def home(empty: Home) -> Home:
    with empty.open() as platform:
        story.tell(platform.repositories.metadata, platform.repositories.runs)
        story.track(platform.repositories.tracking)
    return empty
