"""Online rows in Redis (6 or newer) or Valkey: the same keys and bytes as in LMDB, shared by every host of a platform.

All keys of a platform begin with its namespace: `NAME:r:` + key for rows, `NAME:p:` + stream for positions, `NAME:writes` counts
the transactions and `NAME:turn` says whose turn it is. An update reads what it merges, and writes in one MULTI/EXEC that fails when
`NAME:writes` has moved; then it reads again. Who lost a few times takes the turn, for which others wait, so that a rebuild
of a million rows is not overtaken for ever by small pushes. No key expires: a view's ttl is applied when it is read, and a row
is given up with its view.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rota.backends.shared.safe_names import check_keys, position_key
from rota.errors import InvalidInput, Refused, RotaError, Unavailable
from rota.ports.online import Merge, StoreReport
from rota.records.record import check_name

_CHUNK = 1_000
_LOST_BEFORE_TURN = 3
_TURN_MS = 15_000
_PAUSE_S = 0.002
_NOT_ALLOWED = ("WRONGPASS", "NOAUTH", "NOPERM")


class RedisOnline:
    """Online (port) in the database of a URL such as redis://:password@host:6379/0 (rediss:// for TLS, unix:// for a socket).

    A read is one MGET. An update is written by one transaction, during which the server answers nobody else (about a
    second for a million rows). What the server itself loses (a restart without appendonly, a failover) is what its settings allow:
    `materialize` brings it back. `delete` scans the whole database and removes in batches: after a kill, repeat it. The server must
    run with maxmemory-policy noeviction, or it forgets rows when it is full. `timeout_s` bounds each answer, `patience_s` the time in
    which an update may be overtaken by others.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "rota",
        timeout_s: float = 10.0,
        patience_s: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._shown = _without_secret(url)
        try:
            self._client = redis.Redis.from_url(
                url,
                socket_timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),  # a repeated EXEC might write twice
                health_check_interval=0,
                decode_responses=False,
            )
        except ValueError as error:
            raise InvalidInput(
                f"setting online_url {self._shown!r} is no URL of a Redis: {error}; write redis://host:6379/0", setting="online_url"
            ) from None
        start = check_name("online namespace", namespace).encode()
        self._rows, self._positions, self._writes, self._turn = start + b":r:", start + b":p:", start + b":writes", start + b":turn"
        self._patience_s = patience_s
        self._pause = pause
        self._setbacks, self._count = 0, -1
        self._reporting = threading.Lock()
        with self._errors("opening"):
            self._client.ping()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        check_keys(keys)
        if not keys:
            return []
        rows = self._rows
        with self._errors("reading"):
            return cast("list[bytes | None]", self._client.mget([rows + key for key in keys]))

    def update(self, rows: Iterable[tuple[bytes, bytes]], merge: Merge, *, position: tuple[str, int] | None = None) -> bool:
        changes = [(self._rows + key, new) for key, new in _checked(rows)]
        place = None if position is None else (self._positions + position_key(position[0]), position[1])
        until, token, lost = time.monotonic() + self._patience_s, b"", 0
        try:
            while time.monotonic() < until:
                with self._errors("updating"):
                    done = self._try(changes, merge, place, token)
                if done is not None:
                    return done
                lost += 1
                token = token or (os.urandom(8) if lost >= _LOST_BEFORE_TURN else b"")
                self._pause(_PAUSE_S * min(lost, 10))
        finally:
            if token:
                self._give_back(token)
        raise Unavailable(f"other writers kept changing the online store {self._shown} for {self._patience_s:g} s; try again", url=self._shown)

    def position(self, stream: str) -> int:
        with self._errors("reading"):
            return _number(cast("bytes | None", self._client.get(self._positions + position_key(stream))))

    def delete(self, prefix: bytes) -> int:
        deleted = 0
        pattern = _literally(self._rows + prefix) + b"*"
        with self._errors("deleting"):
            keys: list[bytes] = []
            for key in self._client.scan_iter(match=pattern, count=_CHUNK):
                keys.append(key)
                if len(keys) >= _CHUNK:
                    deleted += self._unlink(keys)
                    keys = []
            return deleted + self._unlink(keys)

    def report(self) -> StoreReport:
        with self._reporting:  # one after the other: an older count must not pass for a newer one
            with self._errors("asking"), self._client.pipeline(transaction=False) as pipe:
                pipe.info()
                pipe.get(self._writes)
                info, writes = pipe.execute(raise_on_error=False)
            return self._reported(info, writes)

    def close(self) -> None:
        self._client.close()

    def _reported(self, info: Any, writes: Any) -> StoreReport:
        """Out of INFO, and of the count of updates, which only somebody else's hand can set back."""
        for answer in (info, writes):
            if isinstance(answer, redis.RedisError) and not str(answer).startswith(_NOT_ALLOWED):
                raise self._translated("asking", answer) from answer
        count = -1 if writes is None or isinstance(writes, redis.RedisError) else int(writes)
        self._setbacks += count < self._count
        self._count = count
        if isinstance(info, redis.RedisError):
            problem = f"the user of online_url may not ask the server about itself ({info}); allow INFO, or a restart of the server is not noticed"
            return StoreReport(f"?:{self._setbacks}", problem=problem)
        run, evicted, policy = info.get("run_id", "?"), int(info.get("evicted_keys", 0)), info.get("maxmemory_policy", "noeviction")
        evicts = bool(int(info.get("maxmemory", 0))) and policy != "noeviction"
        forgets = f"the server of {self._shown} forgets rows when it is full (maxmemory-policy {policy}); set noeviction there"
        return StoreReport(f"{run}:{self._setbacks}", f"{run}:{evicted}" if evicted else "", forgets if evicts else "")

    def _try(self, changes: Sequence[tuple[bytes, bytes]], merge: Merge, place: tuple[bytes, int] | None, token: bytes) -> bool | None:
        """One attempt: True when written, False when the position was already reached, None when somebody else wrote meanwhile."""
        pipe: Any
        with self._client.pipeline(transaction=True) as pipe:
            pipe.watch(self._writes)
            if not self._may_write(pipe, token):
                return None
            if place is not None and place[1] <= _number(pipe.get(place[0])):
                return False
            made = self._merged(pipe, changes, merge, token)
            pipe.multi()
            pipe.incr(self._writes)
            if place is not None:
                pipe.set(place[0], place[1])
            items = list(made.items())
            for start in range(0, len(items), _CHUNK):
                pipe.mset(dict(items[start : start + _CHUNK]))
            try:
                pipe.execute()
            except redis.WatchError as error:
                broken = error.__context__
                if isinstance(broken, redis.ConnectionError | redis.TimeoutError):  # it may have been written: not to be tried again here
                    raise broken from None
                return None
        return True

    def _may_write(self, pipe: Any, token: bytes) -> bool:
        """Whether nobody else has the turn; with a token, after trying to take it."""
        if token:
            pipe.set(self._turn, token, nx=True, px=_TURN_MS)
        return pipe.get(self._turn) in (None, token or None)

    def _give_back(self, token: bytes) -> None:
        """End the own turn, however the update ended; where that fails it runs out by itself."""
        with suppress(redis.RedisError):
            if self._client.get(self._turn) == token:
                self._client.delete(self._turn)

    def _merged(self, pipe: Any, changes: Sequence[tuple[bytes, bytes]], merge: Merge, token: bytes) -> dict[bytes, bytes]:
        """The new value of each key. The keys are read in portions: a writer in between makes the transaction fail."""
        keys = list(dict.fromkeys([key for key, _ in changes]))
        made: dict[bytes, Any] = {}
        for start in range(0, len(keys), _CHUNK):
            part = keys[start : start + _CHUNK]
            made.update(zip(part, pipe.mget(part), strict=True))
            if token:
                pipe.set(self._turn, token, xx=True, px=_TURN_MS)
        for key, new in changes:
            made[key] = merge(made[key], new)
        return made

    def _unlink(self, keys: Sequence[bytes]) -> int:
        if not keys:
            return 0
        with self._client.pipeline(transaction=True) as pipe:
            pipe.incr(self._writes)  # an update that has read these rows must not bring them back
            pipe.unlink(*keys)
            return int(pipe.execute()[1])

    @contextmanager
    def _errors(self, act: str) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise self._translated(act, error) from error

    def _translated(self, act: str, error: redis.RedisError) -> RotaError:
        facts = {"url": self._shown, "setting": "online_url"}
        where, said = f"{act} the online store {self._shown}", str(error)
        if isinstance(error, redis.AuthenticationError) or said.startswith(_NOT_ALLOWED):
            return Refused(f"{where}: the server refuses the user or password ({said}); check the setting online_url", **facts)
        if isinstance(error, redis.exceptions.OutOfMemoryError) or said.startswith("OOM"):
            message = f"{where} failed, for it is full; raise its maxmemory or delete old rows (online_size_mb is the embedded store's size)"
            return Unavailable(message, **facts)
        return Unavailable(f"{where} failed: {said}; check that it runs, and the setting online_url", **facts)


def _checked(rows: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    changes = list(rows)
    check_keys([key for key, _ in changes])
    return changes


def _number(stored: bytes | None) -> int:
    return -1 if stored is None else int(stored)


def _literally(key: bytes) -> bytes:
    """The key as a pattern that matches it and nothing else."""
    return b"".join([b"\\" + bytes([byte]) if byte in b"*?[]^\\-" else bytes([byte]) for byte in key])


def _without_secret(url: str) -> str:
    """The URL without what stands before the host, and without its query, where passwords are written."""
    start, _, rest = url.partition("://")
    address = rest.partition("?")[0]
    return f"{start}://{address.rpartition('@')[2]}" if rest else "..."
