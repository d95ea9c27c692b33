"""The files for service managers: their programs, settings and users are real ones."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from rota.cli.app import ENTRIES
from rota.settings import Settings

VARIABLES = {f"ROTA_{name.upper()}" for name in Settings.__struct_fields__} | {"ROTA_LOG"}


@pytest.mark.parametrize("name", ["rota.service", "Containerfile", "compose.yaml"])
def test_every_setting_that_a_file_names_is_one(root: Path, name: str) -> None:
    named = set(re.findall(r"\bROTA_[A-Z_]+\b", (root / "packaging" / name).read_text()))
    assert named
    assert named <= VARIABLES


def test_the_unit_is_one_for_systemd_and_its_commands_are_rota_s(root: Path, tmp_path: Path) -> None:
    text = (root / "packaging" / "rota.service").read_text()
    assert set(re.findall(r"^Exec\w+=/opt/rota/bin/rota (\w+)", text, re.MULTILINE)) <= {entry.name for entry in ENTRIES}
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here; to run this test: apt-get install systemd")
    unit = tmp_path / "rota.service"
    unit.write_text(text.replace("/opt/rota/bin/rota", shutil.which("true") or "/bin/true").replace("=rota\n", "=root\n"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "rota.service" not in done.stderr, done.stderr


def test_the_composition_depends_on_what_it_has_and_publishes_on_the_loopback_only(root: Path) -> None:
    composed = yaml.safe_load((root / "packaging" / "compose.yaml").read_text())
    services = composed["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= composed["volumes"].keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    wanted = re.search(r"EXTRAS: (.*)", (root / "packaging" / "compose.yaml").read_text())
    known = re.search(r"\[project.optional-dependencies\](.*?)\n\[", (root / "pyproject.toml").read_text(), re.DOTALL)
    assert wanted is not None
    assert known is not None
    assert all(re.search(rf"^{extra} = ", known[1], re.MULTILINE) for extra in wanted[1].split(","))
