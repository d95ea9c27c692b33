"""How much room a platform's disk has: one rule for housekeeping, readiness and `rota doctor`."""

import shutil
from pathlib import Path

from rota.records.condition import Condition

LOW_BYTES = 1_000_000_000
"""Less free space than this is told of; less than a tenth of it, and the next model or segment may not fit."""


def free_space(home: Path) -> Condition:
    """The condition "disk" of the file system on which a home lies. Its message names no path: it is shown to whoever probes a server."""
    try:
        disk = shutil.disk_usage(home)
    except OSError as error:
        return Condition("disk", "failed", f"the home cannot be looked at ({error.strerror})")
    facts = {"free_bytes": disk.free, "total_bytes": disk.total}
    if disk.free >= LOW_BYTES:
        return Condition("disk", "well", evidence=facts)
    message = f"{disk.free / 1e6:.0f} MB are free on the disk of the home; free space there, or `rota gc` with shorter `retention_*` settings"
    return Condition("disk", "failed" if disk.free < LOW_BYTES // 10 else "degraded", message, facts)
