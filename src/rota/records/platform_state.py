"""The state of a platform: its processes, what is not well, its queue, what is behind, its disk and its last backup, in figures."""

from collections.abc import Mapping

from rota.records.backup import Backup
from rota.records.condition import Condition, ProcessReport
from rota.records.record import Record
from rota.records.time import Micros


class MonitorChecks(Record, frozen=True):
    """How many checks of one kind of an endpoint's monitor are in a state: watching, learning, cannot or off."""

    endpoint: str
    check: str
    state: str
    checks: int


class PlatformState(Record, frozen=True):
    """The figures of a platform at `at_us`, by the machine's clock. `unmeasured` names parts of which nothing could be told, and why."""

    at_us: Micros
    processes: tuple[ProcessReport, ...] = ()
    conditions: tuple[Condition, ...] = ()
    """Those that are not well."""
    waiting_runs: Mapping[str, int] = {}
    """Runs that could go on now, by lane."""
    oldest_waiting_s: Mapping[str, float] = {}
    finished_runs: Mapping[str, int] = {}
    """Runs that ended, by status, of all events that are kept when the process began, and since."""
    journal_bytes: Mapping[str, int] = {}
    """Acknowledged bytes that are in no table yet, by stream."""
    journal_oldest_s: Mapping[str, float] = {}
    online_behind_bytes: Mapping[str, int] = {}
    """Pushed bytes that are not online yet, by source."""
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    home_bytes: Mapping[str, int] = {}
    """Bytes below the home, by its first folder."""
    last_backup: Backup | None = None
    """The newest complete one."""
    backups_running: int = 0
    audit_position: int | None = None
    monitor_checks: tuple[MonitorChecks, ...] = ()
    unmeasured: Mapping[str, str] = {}
