"""How long the texts of a request's body are and how many entries its lists and tags have, by the names of their fields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rota.errors import InvalidInput

NAME = 1_000
ENTRIES = 10_000
TAGS = 1_000
NAMES = frozenset(
    [
        "alias",
        "author",
        "dataset",
        "dimension",
        "endpoint",
        "environment",
        "expires",
        "hold",
        "holder",
        "metric",
        "model",
        "name",
        "new_name",
        "owner",
        "project",
        "run",
        "run_name",
        "schedule",
        "section",
        "shadow",
        "timestamp",
        "unit",
    ]
)
"""Fields that hold a name or another word, wherever they stand."""


@dataclass(frozen=True, slots=True)
class TextLimits:
    """The longest text of a field that is no name, in characters, unless it is among `longer`; None there: another rule bounds it."""

    usual: int
    longer: Mapping[str, int | None]
    entries: Mapping[str, int | None]

    def longest(self, field: str) -> int | None:
        """Characters that a text of this field may have."""
        return NAME if field in NAMES else self.longer.get(field, self.usual)

    def most(self, field: str) -> int | None:
        """Entries that a list or an object of this field may have."""
        return self.entries.get(field, ENTRIES)

    def check(self, record: Any) -> None:
        """Raise `InvalidInput`, naming the field, for a text or a list of a decoded body that is beyond these limits.

        Lists of objects without a shape are rows, which are counted apart.
        """
        for field in getattr(record, "__struct_fields__", ()):
            self._check(field, getattr(record, field))

    def check_text(self, field: str, text: str) -> None:
        """The same for one text."""
        most = self.longest(field)
        if most is not None and len(text) > most:
            raise InvalidInput(
                f"{field!r} has {len(text)} characters, at most {most} are taken; shorten it, or keep the whole as an artifact",
                field=field,
                limit=most,
            )

    def _check(self, field: str, value: Any) -> None:
        if isinstance(value, str):
            self.check_text(field, value)
        elif isinstance(value, list | tuple | dict):
            if value and not isinstance(value, dict) and isinstance(value[0], dict):
                return
            self._check_count(field, len(value))
            for each in value:
                self._check(field, each)
            for each in value.values() if isinstance(value, dict) else ():
                self._check(field, each)
        else:
            self.check(value)

    def _check_count(self, field: str, count: int) -> None:
        most = self.most(field)
        if most is not None and count > most:
            raise InvalidInput(f"{field!r} has {count} entries, at most {most} are taken; send fewer", field=field, limit=most)


OWN = TextLimits(
    10_000,
    {"description": 100_000, "text": 100_000, "tags": 100_000, "toml": 1_000_000},
    {"tags": TAGS, "removed_tags": TAGS, "domain": 100_000, "values": 100_000, "rare": 100_000},
)
"""Bodies and forms of Rota's own."""
MLFLOW = TextLimits(
    100_000,
    {"value": None, "filter": None, "order_by": None, "model_json": 1_000_000, "schema": 1_048_575, "profile": 16_777_215},
    {"experiment_ids": None, "order_by": None, "tags": TAGS},
)
"""MLflow's bodies, beside the limits that its own server has."""
