"""A real home on disk, and the command line over it."""

import dataclasses
import shutil
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


@pytest.fixture(scope="session")
def tracked_home(told_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed home with a story's worth of records and of tracked runs, to be copied."""
    path = shutil.copytree(told_home, tmp_path_factory.mktemp("tracked") / "home")
    with wiring.opened(Settings(home=path)) as platform:
        story.track(platform.repositories.tracking)
    return path


@pytest.fixture
def empty(_copied_stores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path / "home")


@pytest.fixture
def home(empty: Home, tracked_home: Path) -> Home:
    shutil.copytree(tracked_home, empty.path)
    return empty
