"""SqlRuns: the durable queue in the same database as the metadata, so a step and its consequences are one transaction.

A lease is a row: who works on the run, until when, and a fence that grows with every claim of any run. Whoever writes
states its fence; a worker that was stopped past its lease finds a newer one and writes nothing.
"""

import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Double, Engine, Row, Select, and_, cast, delete, func, or_, select, tuple_, update

from rota.backends.shared.page_token import page_limit, token_of, values_after
from rota.backends.shared.run_transitions import check_lease_s, check_signal, check_step, claimed, ended, held, parked, run_listing, submitted
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
from rota.records.time import Micros

_AT_ONCE = 500


class SqlRuns:
    """`rota.ports.runs.Runs` on a database that `open_engine` opened.

    `lease_clock` gives the seconds that leases are measured in; all workers of a store must share it, so by default it is
    the machine's wall clock on SQLite and the server's on PostgreSQL.
    """

    def __init__(self, engine: Engine, *, lease_clock: Callable[[], float] | None = None) -> None:
        self.engine = engine
        self._lease_clock = lease_clock or (_server_s if engine.dialect.name == "postgresql" else time.time)

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
        runnable = _runnable(now_us, self._lease_clock(), workflows)
        with reading(self.engine) as connection:  # idle polling must not take the write lock
            if connection.execute(select(runs.c.id).where(runnable).limit(1)).first() is None:
                return None
        oldest = select(runs).where(runnable).order_by(runs.c.created_us, runs.c.position).limit(1).with_for_update(skip_locked=True)
        with writing(self.engine) as connection:
            row = connection.execute(oldest).first()
            if row is None:
                return None
            lock(connection, "fence")
            fence = (connection.scalar(select(func.max(runs.c.fence))) or 0) + 1
            run = claimed(_run_of(row), worker, fence, now_us)
            _store(connection, run, lease_until=self._lease_clock() + lease_s, signalled=False)
        return Lease(run, worker, fence)

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

    def park(self, lease: Lease, *, wake_us: Micros, waiting_for: str = "") -> None:
        early = select(signals.c.name).where(signals.c.run == lease.run.id, signals.c.name == waiting_for)
        with writing(self.engine) as connection:
            run = parked(_held(connection, lease), wake_us, waiting_for)
            if connection.execute(early).first() is None:
                _store(connection, run)  # `signalled` stays true when a signal came since the claim
            else:
                _store(connection, run, signalled=True)

    def finish(self, lease: Lease, status: RunStatus, *, ended_us: Micros, result: Any = None, error: str = "", batch: Batch | None = None) -> None:
        def work(connection: Connection) -> None:
            _store(connection, ended(_held(connection, lease), status, ended_us, result, error))
            apply_batch(connection, batch or Batch())

        write(self.engine, work)

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
    values = {name: getattr(row, name) for name in _RUN_FIELDS}
    return Run(**values | {name: msgspec.json.decode(values[name]) for name in _JSON_FIELDS})


def _store(connection: Connection, run: Run, **lease: object) -> None:
    connection.execute(update(runs).where(runs.c.id == run.id).values(_row_of(run) | lease))


def _held(connection: Connection, lease: Lease) -> Run:
    row = connection.execute(select(runs).where(runs.c.id == lease.run.id).with_for_update()).first()
    return held(None if row is None else _run_of(row), lease)


def _has_open_run(connection: Connection, run: Run) -> bool:
    query = select(runs.c.id).where(runs.c.workflow == run.workflow, runs.c.subject == run.subject, ~runs.c.ended).limit(1)
    return connection.execute(query).first() is not None


def _runnable(now_us: Micros, lease_now: float | ColumnElement[float], workflows: Collection[str] | None) -> ColumnElement[bool]:
    due = or_(runs.c.wake_us <= now_us, runs.c.signalled)
    ready = or_(
        runs.c.status == "queued",
        and_(runs.c.status == "parked", due),
        and_(runs.c.status == "running", runs.c.lease_until <= lease_now),
    )
    chosen = [] if workflows is None else [runs.c.workflow.in_(sorted(workflows))]
    return and_(~runs.c.ended, ready, *chosen)
