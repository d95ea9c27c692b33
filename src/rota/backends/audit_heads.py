"""Places outside of the platform that are told where the audit log ends: a file that only grows, a web hook."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from rota.backends.web_hooks import Target, post
from rota.errors import RotaError
from rota.records.record import encode
from rota.records.time import Micros, iso

log = logging.getLogger("rota.manage")


def to_file(path: Path) -> Callable[[int, str, Micros], None]:
    """Appends a line "POSITION:HASH TIME", synced; a file that takes none is told of, and tried again with the next head."""

    def keep(position: int, digest: str, at_us: Micros) -> None:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            with os.fdopen(descriptor, "a") as file:
                file.write(f"{position}:{digest} {iso(at_us)}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.error("the audit head cannot be kept in %s: %s", path, error.strerror, extra={"action": "audit_head"})

    return keep


def to_web_hook(url: str, *, private: bool = False, timeout_s: float = 5.0) -> Callable[[int, str, Micros], None]:
    """Posts {"position", "hash", "at"} as JSON; a receiver that does not take it is told of, and gets the next head."""
    target = Target.of(url, private=private)

    def keep(position: int, digest: str, at_us: Micros) -> None:
        body = encode({"position": position, "hash": digest, "at": iso(at_us)})
        headers = {"content-type": "application/json", "user-agent": "rota", "idempotency-key": f"audit-head-{position}"}
        try:
            status = post(target, body, headers, timeout_s=timeout_s)
        except RotaError as error:
            log.error("the web hook %s did not take the audit head: %s", target.shown, error, extra={"action": "audit_head"})
            return
        if not 200 <= status < 300:
            log.error("the web hook %s answered %s to the audit head", target.shown, status, extra={"action": "audit_head"})

    return keep
