"""The installed model formats by name, each imported at its first use: serving one kind of model loads no other library."""

import importlib
import importlib.util
import threading
from collections.abc import Iterator, Mapping

from rota.ports.models import ModelFormat, Seals


class FormatRegistry(Mapping[str, ModelFormat]):
    """Model formats by name, read-only.

    `known` gives each format's module, class and the libraries whose presence installs it; those in `sealed` are given the seals.
    """

    def __init__(
        self, known: Mapping[str, tuple[str, str, tuple[str, ...]]], *, sealed: frozenset[str] = frozenset(), seals: Seals | None = None
    ) -> None:
        self._known = {name: row for name, row in known.items() if all(importlib.util.find_spec(library) for library in row[2])}
        self._sealed, self._seals = sealed, seals
        self._opened: dict[str, ModelFormat] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> ModelFormat:
        with self._lock:
            if name not in self._opened:
                module, class_name, _ = self._known[name]
                made = getattr(importlib.import_module(module), class_name)
                self._opened[name] = made(self._seals) if name in self._sealed else made()
            return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
