"""A real home on disk, and the command line over it."""

import dataclasses
from collections.abc import Iterator
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


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.chdir(tmp_path)
    return Home(tmp_path / "home")


@pytest.fixture
def home(empty: Home) -> Home:
    with wiring.opened(Settings(home=empty.path)) as platform:
        story.tell(platform.repositories.metadata, platform.repositories.runs)
    return empty


@pytest.fixture
def platform(home: Home) -> Iterator[wiring.Platform]:
    with wiring.opened(Settings(home=home.path)) as opened:
        yield opened
