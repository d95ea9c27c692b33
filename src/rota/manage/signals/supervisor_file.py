"""What the supervisor of a home wrote down of its own state: it has no metadata store, so others read its file and raise the alerts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rota.errors import Corrupt
from rota.records.condition import Condition

FILE = Path("run") / "supervisor.json"


def supervisor_conditions(home: Path) -> list[Condition]:
    """What the supervisor of a home knew of its own state when it last wrote it down; of a home without one, nothing.

    Raises `Corrupt` when the file cannot be read: then nobody knows whether what it told of before is over.
    """
    file = home / FILE
    try:
        found: Mapping[str, Any] = json.loads(file.read_bytes())
        return msgspec.convert(found["conditions"], list[Condition])
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
        message = f"{file} cannot be read ({type(error).__name__}: {error}); the supervisor writes it again when something changes"
        raise Corrupt(message) from error
