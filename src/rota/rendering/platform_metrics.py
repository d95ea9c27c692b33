"""The figures of a platform as metrics for Prometheus: its processes, queue, conditions, lag, disk, backups and audit log."""

from collections import Counter
from collections.abc import Mapping

from rota.manage.signals.silences import is_heard
from rota.records.platform_state import PlatformState
from rota.rendering.exposition import MetricFamily, MetricLabels

PUBLIC = frozenset({"status"})
"""Labels that name nothing of the platform."""


def of(state: PlatformState) -> list[MetricFamily]:
    """Every metric of the platform, with all its labels; what could not be measured has no samples and counts in `rota_unmeasured_parts`."""
    return [
        _gauge("rota_process_up", "1 while the process was heard of within 30 s, else 0.", _by_process(state, up=True)),
        _gauge("rota_process_report_age_seconds", "Time since the process last told of itself.", _by_process(state, up=False), largest=True),
        _gauge("rota_process_resident_bytes", "Memory of the process that lies in RAM.", _figure(state, "resident_bytes")),
        _gauge("rota_process_connections", "Open connections of the process.", _figure(state, "connections")),
        _gauge("rota_process_requests_in_flight", "Requests that the process is answering.", _figure(state, "requests_in_flight")),
        _gauge("rota_queue_runs", "Runs that could go on now, by lane.", _by("lane", state.waiting_runs)),
        _gauge("rota_queue_oldest_seconds", "How long the oldest of them could have gone on.", _by("lane", state.oldest_waiting_s), largest=True),
        MetricFamily.of("rota_runs_finished_total", "counter", "Runs that ended, by status.", _by("status", state.finished_runs)),
        _gauge("rota_conditions", "Parts of the platform that are not well, by status.", _conditions(state)),
        _gauge("rota_journal_behind_bytes", "Acknowledged bytes of the journal that are in no table yet.", _by("stream", state.journal_bytes)),
        _gauge("rota_journal_oldest_seconds", "Age of the oldest such entry.", _by("stream", state.journal_oldest_s), largest=True),
        _gauge("rota_online_behind_bytes", "Pushed bytes that are not in the online store yet.", _by("source", state.online_behind_bytes)),
        _gauge("rota_disk_free_bytes", "Free bytes where the home lies.", _known(state.disk_free_bytes)),
        _gauge("rota_disk_size_bytes", "Size of that file system.", _known(state.disk_total_bytes)),
        _gauge("rota_home_bytes", "Bytes below the home, by its first folder; looked at once a minute.", _by("folder", state.home_bytes)),
        _gauge("rota_backup_age_seconds", "Time since the last complete backup ended; none without one.", _backup_age(state)),
        _gauge("rota_backups_running", "Backups that are being made.", {(): state.backups_running}),
        _gauge("rota_audit_position", "Position of the last entry of the audit log.", _known(state.audit_position)),
        _gauge("rota_monitor_checks", "Checks of monitors by kind and state: watching, learning, cannot, off.", _monitor_checks(state)),
        _gauge("rota_unmeasured_parts", "Parts that did not answer when they were measured.", _unmeasured(state)),
    ]


def _gauge(name: str, meaning: str, samples: dict[MetricLabels, float], *, largest: bool = False) -> MetricFamily:
    return MetricFamily.of(name, "gauge", meaning, samples, total="max" if largest else "sum")


def _by(label: str, values: Mapping[str, float]) -> dict[MetricLabels, float]:
    return {((label, name),): value for name, value in values.items()}


def _figure(state: PlatformState, figure: str) -> dict[MetricLabels, float]:
    """A figure of every process that is there and tells it."""
    return {
        (("process", each.process), ("kind", each.kind)): each.figures[figure]
        for each in state.processes
        if figure in each.figures and is_heard(each, state.at_us)
    }


def _by_process(state: PlatformState, *, up: bool) -> dict[MetricLabels, float]:
    return {
        (("process", each.process), ("kind", each.kind)): is_heard(each, state.at_us) if up else abs(state.at_us - each.at_us) / 1e6
        for each in state.processes
    }


def _conditions(state: PlatformState) -> dict[MetricLabels, float]:
    """Each that is not well with its name; a status that none has is a 0, so that an alarm on it has something to look at."""
    named: dict[MetricLabels, float] = {(("condition", each.name), ("status", each.status)): 1 for each in state.conditions}
    seen = Counter(each.status for each in state.conditions)
    return named | {(("condition", ""), ("status", status)): 0 for status in ("degraded", "failed") if not seen[status]}


def _known(value: float | None) -> dict[MetricLabels, float]:
    return {} if value is None else {(): value}


def _backup_age(state: PlatformState) -> dict[MetricLabels, float]:
    last = state.last_backup
    return {} if last is None or last.ended_us is None else {(): max(0.0, (state.at_us - last.ended_us) / 1e6)}


def _monitor_checks(state: PlatformState) -> dict[MetricLabels, float]:
    return {(("endpoint", each.endpoint), ("check", each.check), ("state", each.state)): each.checks for each in state.monitor_checks}


def _unmeasured(state: PlatformState) -> dict[MetricLabels, float]:
    return {(("part", part),): 1 for part in state.unmeasured} or {(): 0}
