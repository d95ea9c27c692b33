"""SqlRuns: the durable queue in the same database as the metadata, so a step and its consequences are one transaction.

A lease is a row: who works on the run, until when, and a fence that grows with every claim of any run. Whoever writes
states its fence; a worker that was stopped past its lease finds a newer one and writes nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Double, Engine, Row, Select, and_, cast, delete, func, or_, select, tuple_, update

from rota.backends.shared.lease_watch import LeaseWatch
from rota.backends.shared.page_token import page_limit, token_of, values_after
from rota.backends.shared.run_transitions import (
    CLOCK_JUMP_US,
    cancelled,
    check_after_s,
    check_lease_s,
    check_signal,
    check_step,
    claimed,
    ended,
    held,
    is_from_later,
    parked,
    rebase_told,
    rebased,
    run_listing,
    submitted,
)
from rota.backends.shared.stored_form import body_of, json_of
from rota.backends.sql.engine import reading, write, writing
from rota.backends.sql.metadata import apply_batch, insert_new
from rota.backends.sql.postgresql import lock, lock_for
from rota.backends.sql.schema import runs, signals, steps
from rota.errors import Conflict, NotFound
from rota.ports.metadata import Batch
from rota.records.filters import Page
from rota.records.record import decode
from rota.records.run import ENDED, EVERY_RUN, Lease, Run, RunQuery, RunStatus, Step
from rota.records.signal import Event
from rota.records.time import Micros

logger = logging.getLogger("rota.durable")
_AT_ONCE = 500


class SqlRuns:
    """`rota.ports.runs.Runs` on a database that `open_engine` opened.

    `lease_clock` gives the seconds that leases are measured in; all workers of a store must share it, so by default it is the machine's
    monotonic clock on SQLite, which nobody can set, and the server's clock on PostgreSQL. `watch` is this process's monotonic clock.
    """

    def __init__(self, engine: Engine, *, lease_clock: Callable[[], float] | None = None, watch: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self._lease_clock = lease_clock or (_server_s if engine.dialect.name == "postgresql" else time.monotonic)
        self._watch = LeaseWatch(watch)
        self._watching = threading.Lock()

    def submit(self, run: Run, batch: Batch | None = None, *, exclusive: bool = False) -> bool:
        row = _row_of(submitted(run)) | {"lease_until": 0.0, "signalled": False}

        def work(connection: Connection) -> bool:
            if exclusive:
                lock_for(connection, f"run {run.workflow} {run.subject}")
                if _has_open_run(connection, run):
                    return False
            if not insert_new(connection, runs, [row]):
                return False
            apply_batch(connection, batch or Batch())
            return True

        return write(self.engine, work)

    def claim(self, worker: str, now_us: Micros, *, lease_s: float, workflows: Collection[str] | None = None) -> Lease | None:
        check_lease_s(lease_s)
        chosen = _open(workflows)
        with reading(self.engine) as connection:  # idle polling must not take the write lock
            runnable = _runnable(now_us, self._lease_clock(), self._over(connection, lease_s))
            later = and_(runs.c.status == "parked", runs.c.parked_us > now_us + CLOCK_JUMP_US)
            found = connection.execute(select(runs.c.status, runs.c.parked_us).where(chosen, or_(runnable, later)).limit(1)).first()
        if found is None:
            return None
        oldest = select(runs).where(chosen, runnable).order_by(runs.c.created_us, runs.c.position).limit(1).with_for_update(skip_locked=True)
        with writing(self.engine) as connection:
            for waiting in connection.execute(select(runs).where(chosen, later).with_for_update(skip_locked=True)).all():
                _rebase(connection, waiting, now_us)
            row = connection.execute(oldest).first()
            if row is None:
                return None
            run = _run_of(row)
            if run.error.startswith(_DAMAGED):
                _set_apart(connection, run, now_us)
            else:
                lock(connection, "fence")
                fence = (connection.scalar(select(func.max(runs.c.fence))) or 0) + 1
                run = claimed(run, worker, fence, now_us)
                _store(connection, run, lease_until=self._lease_clock() + lease_s, signalled=False)
                return Lease(run, worker, fence)
        logger.error("run set apart: %s", run.error, extra={"action": "run_set_apart", "run": run.id})
        return self.claim(worker, now_us, lease_s=lease_s, workflows=workflows)

    def _over(self, connection: Connection, lease_s: float) -> list[tuple[str, int, float]]:
        """Leases that end in the future by the clock, and that were seen to stand still."""
        held_now = select(runs.c.id, runs.c.fence, runs.c.lease_until).where(
            ~runs.c.ended, runs.c.status.in_(("running", "parked")), runs.c.lease_until > self._lease_clock()
        )
        found = [(row.id, row.fence, row.lease_until) for row in connection.execute(held_now)]
        with self._watching:
            return self._watch.over(found, lease_s=lease_s)

    def renew(self, lease: Lease, *, lease_s: float) -> None:
        check_lease_s(lease_s)
        with writing(self.engine) as connection:
            _store(connection, _held(connection, lease), lease_until=self._lease_clock() + lease_s)

    def journal(self, run_id: str) -> list[Step]:
        query = select(steps.c.body).where(steps.c.run == run_id).order_by(steps.c.position, steps.c.name)
        with reading(self.engine) as connection:
            bodies = connection.scalars(query).all()
        return [decode(body, Step) for body in bodies]

    def record(self, lease: Lease, step: Step, batch: Batch) -> None:
        check_step(lease, step)
        row = {"run": step.run, "name": step.name, "position": step.position, "body": body_of(step)}

        def work(connection: Connection) -> None:
            _held(connection, lease)
            if not insert_new(connection, steps, [row]):
                raise Conflict(
                    f"run {step.run!r} has a result of step {step.name!r} already; replay it from the journal", run=step.run, step=step.name
                )
            apply_batch(connection, batch)

        write(self.engine, work)

    def park(self, lease: Lease, *, wake_us: Micros, waiting_for: str = "", now_us: Micros = 0, after_s: float = 0.0) -> None:
        check_after_s(after_s)
        early = select(signals.c.name).where(signals.c.run == lease.run.id, signals.c.name == waiting_for)
        with writing(self.engine) as connection:
            run = parked(_held(connection, lease), wake_us, waiting_for, now_us)
            until = self._lease_clock() + after_s if after_s else 0.0
            if connection.execute(early).first() is None:
                _store(connection, run, lease_until=until)  # `signalled` stays true when a signal came since the claim
            else:
                _store(connection, run, lease_until=until, signalled=True)

    def finish(self, lease: Lease, status: RunStatus, *, ended_us: Micros, result: Any = None, error: str = "", batch: Batch | None = None) -> None:
        def work(connection: Connection) -> None:
            _store(connection, ended(_held(connection, lease), status, ended_us, result, error))
            apply_batch(connection, batch or Batch())

        write(self.engine, work)

    def cancel(self, run_id: str, *, ended_us: Micros, reason: str = "", batch: Batch | None = None) -> Run:
        def work(connection: Connection) -> Run:
            row = connection.execute(select(runs).where(runs.c.id == run_id).with_for_update()).first()
            run = cancelled(None if row is None else _run_of(row), run_id, ended_us, reason)
            _store(connection, run)
            apply_batch(connection, batch or Batch())
            return run

        return write(self.engine, work)

    def signal(self, run_id: str, name: str, payload: Any) -> None:
        check_signal(run_id, name)
        row = {"run": run_id, "name": name, "payload": json_of(payload)}
        with writing(self.engine) as connection:
            if connection.execute(update(runs).where(runs.c.id == run_id).values(signalled=True)).rowcount == 0:
                raise NotFound(f"run {run_id!r} does not exist, so it cannot get signal {name!r}", run=run_id)
            insert_new(connection, signals, [row])

    def signals(self, run_id: str) -> dict[str, Any]:
        query = select(signals.c.name, signals.c.payload).where(signals.c.run == run_id).order_by(signals.c.name)
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        return {row.name: msgspec.json.decode(row.payload) for row in rows}

    def forget(self, names: Collection[str]) -> int:
        ordered, forgotten = sorted(set(names)), 0
        newest = select(func.max(runs.c.fence)).scalar_subquery()  # the next fence follows from it, so its run stays
        for start in range(0, len(ordered), _AT_ONCE):
            some = ordered[start : start + _AT_ONCE]
            with writing(self.engine) as connection:
                over = connection.scalars(select(runs.c.id).where(runs.c.id.in_(some), runs.c.ended, runs.c.fence < newest).with_for_update()).all()
                for hanging in (steps, signals):
                    connection.execute(delete(hanging).where(hanging.c.run.in_(over)))
                forgotten += connection.execute(delete(runs).where(runs.c.id.in_(over))).rowcount
        return forgotten

    def get(self, run_id: str) -> Run | None:
        with reading(self.engine) as connection:
            row = connection.execute(select(runs).where(runs.c.id == run_id)).first()
        return None if row is None else _run_of(row)

    def find(self, query: RunQuery = EVERY_RUN) -> list[Run]:
        with reading(self.engine) as connection:
            return [_run_of(row) for row in connection.execute(_sorted(query))]

    def page(self, query: RunQuery = EVERY_RUN, *, after: str = "", limit: int = 1_000) -> Page[Run]:
        statement = _sorted(query).limit(page_limit(limit) + 1)
        if after:
            last = tuple_(*values_after(run_listing(query), after, ((int,), (int,))))
            statement = statement.where(tuple_(*_AGE) < last if query.newest_first else tuple_(*_AGE) > last)
        with reading(self.engine) as connection:
            rows = connection.execute(statement).all()
        more, last_row = len(rows) > limit, rows[:limit][-1] if rows else None
        token = token_of(run_listing(query), (last_row.created_us, last_row.position)) if more and last_row is not None else ""
        return Page([_run_of(row) for row in rows[:limit]], token)


_AGE = (runs.c.created_us, runs.c.position)
_RUN_FIELDS = Run.__struct_fields__
_JSON_FIELDS = ("arguments", "result")
_WAITING_FIELDS = ("parked_us", "sleep_us", "ahead_us")
_DAMAGED = "its record is damaged: "


def _server_s() -> ColumnElement[float]:
    return cast(func.extract("epoch", func.clock_timestamp()), Double)


def _sorted(query: RunQuery) -> Select[Any]:
    statement = select(runs)
    for column, wanted in ((runs.c.workflow, query.workflow), (runs.c.subject, query.subject)):
        if wanted:
            statement = statement.where(column == wanted)
    if query.statuses:
        statement = statement.where(runs.c.status.in_(sorted(query.statuses)))
    return statement.order_by(*(column.desc() if query.newest_first else column.asc() for column in _AGE))


def _row_of(run: Run) -> dict[str, Any]:
    row = {name: getattr(run, name) for name in _RUN_FIELDS}
    return row | {name: json_of(row[name]) for name in _JSON_FIELDS} | {"ended": run.status in ENDED}


def _run_of(row: Row[Any]) -> Run:
    """The run of a row; of one that cannot be read what can be, and why in its error: one such record hides no other."""
    values = {name: getattr(row, name) for name in _RUN_FIELDS}
    values |= {name: values[name] or 0 for name in _WAITING_FIELDS}
    try:
        return Run(**values | {name: msgspec.json.decode(values[name]) for name in _JSON_FIELDS})
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Run(**values | {"arguments": {}, "result": None, "error": f"{_DAMAGED}{error}"})


def _set_apart(connection: Connection, run: Run, now_us: Micros) -> None:
    """End a run that cannot be read, and say so; what is stored of it stays as it is, to be looked at."""
    ending = {"status": "failed", "ended": True, "ended_us": now_us, "error": run.error}
    connection.execute(update(runs).where(runs.c.id == run.id).values(ending))
    batch = Batch()
    batch.event(Event("run.finished", run.id, now_us, {"workflow": run.workflow, "subject": run.subject, "status": "failed"}))
    batch.audit("rota", "run.set_apart", run.id, now_us, error=run.error)
    apply_batch(connection, batch)


def _rebase(connection: Connection, row: Row[Any], now_us: Micros) -> None:
    """What is left of a wait stays, now that the clock was set back; in the audit log, for it changes when a run acts."""
    run = _run_of(row)
    if is_from_later(run, now_us) and not run.error.startswith(_DAMAGED):
        after = rebased(run, now_us)
        _store(connection, after)
        apply_batch(connection, rebase_told(run, after, now_us))


def _store(connection: Connection, run: Run, **lease: object) -> None:
    connection.execute(update(runs).where(runs.c.id == run.id).values(_row_of(run) | lease))


def _held(connection: Connection, lease: Lease) -> Run:
    row = connection.execute(select(runs).where(runs.c.id == lease.run.id).with_for_update()).first()
    return held(None if row is None else _run_of(row), lease)


def _has_open_run(connection: Connection, run: Run) -> bool:
    query = select(runs.c.id).where(runs.c.workflow == run.workflow, runs.c.subject == run.subject, ~runs.c.ended).limit(1)
    return connection.execute(query).first() is not None


def _open(workflows: Collection[str] | None) -> ColumnElement[bool]:
    """The runs of a lane that have not ended."""
    return ~runs.c.ended if workflows is None else and_(~runs.c.ended, runs.c.workflow.in_(sorted(workflows)))


def _runnable(now_us: Micros, lease_now: float | ColumnElement[float], over: Collection[tuple[str, int, float]]) -> ColumnElement[bool]:
    due = or_(runs.c.wake_us <= now_us, runs.c.signalled)
    stood_still = [and_(runs.c.id == run, runs.c.fence == fence, runs.c.lease_until == until) for run, fence, until in over]
    free = or_(runs.c.lease_until <= lease_now, *stood_still)
    return or_(
        runs.c.status == "queued",
        and_(runs.c.status == "parked", due, free),
        and_(runs.c.status == "running", free),
    )
