"""Where a running platform listens: HOME/ports.json, written by its supervisor and read by whoever wants to reach it."""

import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path

from rota.errors import InvalidInput, Unavailable
from rota.settings import Settings


def publish(home: Path, ports: Mapping[str, object]) -> None:
    """Say where the servers listen and which processes there are, replaced atomically."""
    temporary = home / "ports.json.new"
    temporary.write_text(json.dumps(ports))
    temporary.replace(home / "ports.json")


def published(home: Path) -> dict[str, object]:
    """What a running supervisor published about a home; `Unavailable` when none is up."""
    try:
        found = json.loads((home / "ports.json").read_text())
    except FileNotFoundError:
        raise Unavailable(
            f"no platform runs on {home}: there is no {home / 'ports.json'}; start it with `rota up`, or name its home with --home or ROTA_HOME",
            home=str(home),
        ) from None
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{home / 'ports.json'} is damaged: {error}; remove it and start `rota up` again") from error
    return dict(found)


def is_published(home: Path) -> bool:
    """Whether a supervisor published where it listens; one that was killed leaves that behind."""
    return (home / "ports.json").exists()


def withdraw(home: Path) -> None:
    """The platform is down."""
    (home / "ports.json").unlink(missing_ok=True)


def exposed(settings: Settings) -> bool:
    """Whether other machines can reach the servers."""
    if settings.host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return True
