"""The wheel as others get it: built, installed beside the hash-pinned lock into an empty environment, with the source out of reach."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what it is made of."""
    root, copy = Path(__file__).resolve().parents[1], tmp_path_factory.mktemp("copy")
    shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy)
    call([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", "out"], copy)
    (built,) = (copy / "out").glob("rota-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A fresh virtual environment with the base lock and the wheel."""
    root, home = Path(__file__).resolve().parents[1], tmp_path_factory.mktemp("environment")
    call([sys.executable, "-m", "venv", "venv"], home)
    install(home, "--require-hashes", "-r", str(root / "requirements" / "base.txt"))
    install(home, "--no-deps", "--no-index", str(wheel))
    return home


def install(home: Path, *arguments: str) -> None:
    """Install with uv where it is there and reaches its registry, else with pip."""
    python = str(home / "venv" / "bin" / "python")
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None or subprocess.run([uv, "pip", "install", "--python", python, *arguments], capture_output=True, check=False).returncode != 0:
        call([python, "-m", "pip", "install", *arguments], home)


def call(arguments: list[str], folder: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(arguments, cwd=folder, env=environ, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_it_holds_the_package_its_types_and_its_licence_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"rota", "rota-0.1.0.dist-info"}
    assert "rota/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or "/." in name]


def test_it_is_imported_from_the_environment(environment):
    where = call([str(environment / "venv" / "bin" / "python"), "-c", "import rota; print(rota.__file__, rota.__version__)"], environment)
    assert where.startswith(str(environment)), where
    assert where.split()[1] == "0.1.0"


def test_every_public_name_works_with_the_base_requirements_alone(environment):
    program = "import rota\nfor name in dir(rota): getattr(rota, name)\nprint(len(dir(rota)))"
    assert int(call([str(environment / "venv" / "bin" / "python"), "-W", "error", "-c", program], environment)) > 30


def test_the_command_line_starts(environment):
    shown = call([str(environment / "venv" / "bin" / "rota"), "--help"], environment)
    assert "Continuous monitoring" in shown
    assert "demo" in shown
