"""Drains: every stream of signals carried into its table, with or without a monitor; one that fails keeps no other from it."""

import logging

from rota.errors import is_engine_panic
from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes, labels, prediction_log
from rota.manage.signals.exactly_once import UNREAD
from rota.records.condition import Condition

logger = logging.getLogger("rota.manage")
STREAMS = (prediction_log.STREAM, labels.STREAM, business_outcomes.STREAM)


def drain_all(repositories: Repositories, read: set[str] | None = None) -> tuple[Condition, ...]:
    """Carry what is acknowledged into the tables; returns the streams that are not well, and why.

    `read` are the streams that this process has read from the beginning before, by which it met what is damaged in them, and becomes those
    that it has: of them nothing is read while every entry is in the table.
    """
    conditions, read = [], set[str]() if read is None else read
    for stream in STREAMS:
        for endpoint in stream.endpoints(repositories.journal):
            name = stream.table(endpoint)
            try:
                if name not in read or not _dropped_where_carried(repositories, name):
                    stream.flush(repositories.journal, repositories.tables, endpoint)
                read.add(name)
            except BaseException as error:
                if not isinstance(error, Exception) and not is_engine_panic(error):
                    raise
                message = f"entries of {name} cannot be carried into their table and wait in the journal: {error}"
                logger.debug("%s", message, extra={"action": "drain", "stream": name})  # the condition's alert tells it once
                conditions.append(Condition(f"journal:{name}", "failed", message, {"stream": name}))
    return (*conditions, *damage(repositories))


def _dropped_where_carried(repositories: Repositories, name: str) -> bool:
    """Whether every entry of a stream is in its table; then segments that nobody writes any more are dropped."""
    segments = repositories.journal.segments(name)
    if any(repositories.tables.sequence(name, segment) != size for segment, size in segments.items()):
        return False
    for segment, size in segments.items():
        repositories.journal.drop(name, segment, size)
    return True


def damage(repositories: Repositories) -> tuple[Condition, ...]:
    """Segments with damage, and entries that could not be read, by stream."""
    found: dict[str, list[str]] = {}
    for each in repositories.journal.damaged():
        found.setdefault(each.stream, []).append(f"{each.place}: {each.reason}")
    for stream in repositories.journal.streams():
        if stream.startswith(f"{UNREAD}/"):
            found.setdefault(stream.removeprefix(f"{UNREAD}/"), []).append(f"entries that this version cannot read were set apart as stream {stream}")
    return tuple(
        Condition(
            f"journal damage:{stream}",
            "degraded",
            f"{len(places)} damaged in the journal of {stream}, first {places[0]}; compare with a backup, then move the file out of the home",
            {"stream": stream, "places": places[:20]},
        )
        for stream, places in sorted(found.items())
    )
