"""Online rows in memory: the reference that says what every online store does."""

import secrets
import threading
from collections.abc import Iterable, Sequence

from rota.backends.shared.safe_names import check_keys, position_key
from rota.ports.online import Merge, StoreReport


class MemoryOnline:
    """Online (port) of one process, gone with it. An update builds the next state apart, so a failing merge changes nothing."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._positions: dict[bytes, int] = {}
        self._lock = threading.Lock()
        self._identity = secrets.token_hex(8)

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        check_keys(keys)
        rows = self._rows
        return [rows.get(key) for key in keys]

    def update(self, rows: Iterable[tuple[bytes, bytes]], merge: Merge, *, position: tuple[str, int] | None = None) -> bool:
        changes = list(rows)
        check_keys([key for key, _ in changes])
        with self._lock:
            if position and position[1] <= self.position(position[0]):
                return False
            following = dict(self._rows)
            for key, new in changes:
                following[key] = merge(following.get(key), new)
            self._rows = following
            if position:
                self._positions[position_key(position[0])] = position[1]
            return True

    def position(self, stream: str) -> int:
        return self._positions.get(position_key(stream), -1)

    def delete(self, prefix: bytes) -> int:
        with self._lock:
            kept = {key: value for key, value in self._rows.items() if not key.startswith(prefix)}
            deleted = len(self._rows) - len(kept)
            self._rows = kept
            return deleted

    def report(self) -> StoreReport:
        return StoreReport(self._identity)

    def close(self) -> None:
        """Nothing is held open."""
