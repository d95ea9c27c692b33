"""SqlTracking: experiments, runs and what is logged into them, in the database of the metadata."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, Table, delete, func, select, true, update

from rota.backends.shared.stored_form import checked_limit
from rota.backends.shared.tracked_form import (
    DEFAULT,
    EMPTY,
    changed_parameter,
    changed_run,
    check_asked,
    check_experiment,
    check_head,
    check_logged,
    check_run,
    chunks,
    deleted_experiment,
    deleted_run,
    experiment_fields,
    first_of_inputs,
    first_of_outputs,
    logged_at_start,
    newest,
    no_experiment,
    no_run,
    place,
    refuse_default,
    run_fields,
    taken,
    value_of,
)
from rota.backends.sql.bulk import insert_rows
from rota.backends.sql.engine import reading, write
from rota.backends.sql.metadata import apply_batch, insert_new
from rota.backends.sql.search import Subject, attempts
from rota.backends.sql.tracking_schema import (
    HEAD,
    RUN_TABLES,
    experiment_tags,
    experiments,
    metric_points,
    run_inputs,
    run_metrics,
    run_outputs,
    run_parameters,
    run_tags,
    tracked_runs,
)
from rota.errors import Conflict, InvalidInput
from rota.ports.metadata import Batch
from rota.ports.tracking import Logged, RunChange
from rota.records.filters import Page, Query
from rota.records.record import decode, encode
from rota.records.searching import page_start, page_token
from rota.records.tracking import MAX_EXPERIMENTS, Experiment, ExperimentRun, MetricPoint, RunInput, RunOutput

NOTHING = Batch()
_CHUNK = 1_000  # runs in one IN list

_TEXT_REPLACED = "(run, key) DO UPDATE SET value = excluded.value, rest = excluded.rest"
_NEWER = """(run, key) DO UPDATE SET value = excluded.value, step = excluded.step, at_us = excluded.at_us
WHERE (excluded.step, excluded.at_us) > (run_metrics.step, run_metrics.at_us)
OR ((excluded.step, excluded.at_us) = (run_metrics.step, run_metrics.at_us)
    AND run_metrics.value IS NOT NULL AND (excluded.value IS NULL OR excluded.value > run_metrics.value))"""

_RUNS = Subject(
    table=tracked_runs,
    identity=tracked_runs.c.key,
    attributes={
        "run_id": tracked_runs.c.id,
        "run_name": tracked_runs.c.name,
        "status": tracked_runs.c.status,
        "user_id": tracked_runs.c.owner,
        "parent": tracked_runs.c.parent,
    },
    times={"start_time": tracked_runs.c.started_us, "end_time": tracked_runs.c.ended_us},
    keyed={"metric": run_metrics, "parameter": run_parameters, "tag": run_tags},
    sets={"dataset": run_inputs},
    natural=(tracked_runs.c.started_us.desc(), tracked_runs.c.id),
    scope="experiment",
)
_EXPERIMENTS = Subject(
    table=experiments,
    identity=experiments.c.id,
    attributes={"experiment_id": experiments.c.id, "name": experiments.c.name, "project": experiments.c.project},
    times={"creation_time": experiments.c.created_us, "last_update_time": experiments.c.updated_us},
    keyed={"tag": experiment_tags},
    natural=(experiments.c.created_us.desc(), experiments.c.id),
    owner="experiment",
)


class SqlTracking:
    """`rota.ports.tracking.Tracking` on a database that `open_engine` opened.

    Writers of one run take turns: on SQLite all writers do, on PostgreSQL they lock the run's row first and the rows of
    `batch` last, so that no two wait for each other.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        if self.experiment(DEFAULT.id) is None:
            write(engine, lambda connection: insert_new(connection, experiments, [_experiment_row(DEFAULT)]))

    def create_experiment(self, experiment: Experiment, batch: Batch | None = None) -> None:
        check_experiment(experiment)

        def work(connection: Connection) -> None:
            if not insert_new(connection, experiments, [_experiment_row(experiment)]):
                known = connection.scalar(select(experiments.c.id).where(experiments.c.id == experiment.id))
                raise taken("experiment", known or experiment.name)
            _put_experiment_tags(connection, experiment)
            apply_batch(connection, batch or NOTHING)

        write(self._engine, work)

    def experiment(self, id: str) -> Experiment | None:
        return self._experiment_where(experiments.c.id == id)

    def experiment_named(self, name: str) -> Experiment | None:
        return self._experiment_where(experiments.c.name == name)

    def replace_experiment(self, experiment: Experiment, *, before: Experiment, batch: Batch | None = None) -> None:
        check_experiment(experiment)

        def work(connection: Connection) -> None:
            here = experiments.c.id == experiment.id
            rows = connection.execute(select(experiments).where(here).with_for_update()).all()
            if _experiments(connection, rows) != [before]:
                raise Conflict(f"experiment {experiment.id!r} is not as it was read; read it again, then decide", experiment=experiment.id)
            same_name = select(experiments.c.id).where(experiments.c.name == experiment.name, experiments.c.id != experiment.id)
            if connection.scalar(same_name) is not None:
                raise taken("experiment", experiment.name)
            connection.execute(update(experiments).where(here).values(_experiment_row(experiment)))
            connection.execute(delete(experiment_tags).where(experiment_tags.c.experiment == experiment.id))
            _put_experiment_tags(connection, experiment)
            apply_batch(connection, batch or NOTHING)

        write(self._engine, work)

    def search_experiments(self, query: Query) -> Page[Experiment]:
        check_asked(query, experiment_fields(DEFAULT))
        with reading(self._engine) as connection:
            rows, following = _page(connection, _EXPERIMENTS, query)
            return Page(_experiments(connection, rows), following)

    def create_run(self, run: ExperimentRun, batch: Batch | None = None) -> None:
        check_run(run)

        def work(connection: Connection) -> None:
            home = select(experiments.c.deleted_us).where(experiments.c.id == run.experiment).with_for_update(read=True, key_share=True)
            found = connection.execute(home).first()
            if found is None:
                raise no_experiment(run.experiment)
            if found.deleted_us is not None:
                raise deleted_experiment(run.experiment)
            if not insert_new(connection, tracked_runs, [_run_row(run)]):
                raise taken("run", run.id)
            key = connection.scalar(select(tracked_runs.c.key).where(tracked_runs.c.id == run.id))
            _log(connection, int(key or 0), run.experiment, logged_at_start(run))
            apply_batch(connection, batch or NOTHING)

        write(self._engine, work)

    def run(self, id: str) -> ExperimentRun | None:
        with reading(self._engine) as connection:
            rows = connection.execute(select(tracked_runs).where(tracked_runs.c.id == id)).all()
            return next(iter(_runs(connection, rows)), None)

    def change_run(self, id: str, change: RunChange, batch: Batch | None = None) -> ExperimentRun:
        def work(connection: Connection) -> ExperimentRun:
            row = _locked(connection, id)
            run = changed_run(_runs(connection, [row])[0], change)
            check_head(run)
            if change != RunChange():
                values = {"name": run.name, "status": run.status, "ended_us": run.ended_us, "deleted_us": run.deleted_us}
                connection.execute(update(tracked_runs).where(tracked_runs.c.key == row.key).values(values))
            apply_batch(connection, batch or NOTHING)
            return run

        return write(self._engine, work)

    def log(self, run: str, logged: Logged, batch: Batch | None = None) -> None:
        check_logged(logged)

        def work(connection: Connection) -> None:
            row = _locked(connection, run)
            if row.deleted_us is not None:
                raise deleted_run(run)
            _refuse_changed(connection, row, logged)
            _log(connection, row.key, row.experiment, logged)
            apply_batch(connection, batch or NOTHING)

        write(self._engine, work)

    def history(self, run: str, key: str, *, start: int = 0, limit: int = 25_000) -> list[MetricPoint]:
        points = metric_points.c
        series = select(points.rank, points.step, points.at_us).join(tracked_runs, tracked_runs.c.key == points.run)
        series = series.where(tracked_runs.c.id == run, points.key == key).order_by(points.step, points.at_us, points.rank)
        with reading(self._engine) as connection:
            rows = connection.execute(series.offset(max(start, 0)).limit(checked_limit(limit))).all()
        return [MetricPoint(key, value_of(row.rank), row.step, row.at_us) for row in rows]

    def search_runs(self, experiments: Sequence[str], query: Query) -> Page[ExperimentRun]:
        wanted = sorted(set(experiments))
        if len(wanted) > MAX_EXPERIMENTS:
            raise InvalidInput(f"a search covers at most {MAX_EXPERIMENTS} experiments, not {len(wanted)}; search them in parts")
        check_asked(query, run_fields(EMPTY))
        with reading(self._engine) as connection:
            rows, following = _page(connection, _RUNS, query, scope=wanted)
            return Page(_runs(connection, rows), following)

    def purge_runs(self, runs: Collection[str], batch: Batch | None = None) -> None:
        def work(connection: Connection) -> None:
            for ids in chunks(sorted(set(runs)), _CHUNK):
                _purge(connection, tracked_runs.c.id.in_(ids))
            apply_batch(connection, batch or NOTHING)

        write(self._engine, work)

    def purge_experiment(self, id: str, batch: Batch | None = None) -> None:
        refuse_default(id)

        def work(connection: Connection) -> None:
            connection.execute(delete(experiments).where(experiments.c.id == id))
            connection.execute(delete(experiment_tags).where(experiment_tags.c.experiment == id))
            _purge(connection, tracked_runs.c.experiment == id)
            apply_batch(connection, batch or NOTHING)

        write(self._engine, work)

    def _experiment_where(self, condition: Any) -> Experiment | None:
        with reading(self._engine) as connection:
            rows = connection.execute(select(experiments).where(condition)).all()
            return next(iter(_experiments(connection, rows)), None)


def _locked(connection: Connection, id: str) -> Row[Any]:
    """A run's row, changed by nobody else until the transaction ends."""
    row = connection.execute(select(tracked_runs).where(tracked_runs.c.id == id).with_for_update(key_share=True)).first()
    if row is None:
        raise no_run(id)
    return row


def _refuse_changed(connection: Connection, run: Row[Any], logged: Logged) -> None:
    for keys in chunks(sorted(logged.parameters), _CHUNK):
        for row in connection.execute(select(run_parameters).where(run_parameters.c.run == run.key, run_parameters.c.key.in_(keys))):
            before, now = row.value + row.rest, logged.parameters[row.key]
            if before != now:
                raise changed_parameter(run.id, row.key, before, now)


def _log(connection: Connection, run: int, experiment: str, logged: Logged) -> None:
    """Write what was found free of contradictions; rows go in the order of their keys."""
    insert_rows(connection, run_parameters, _text_rows(run, logged.parameters), conflict="DO NOTHING")
    for keys in chunks(sorted(logged.removed_tags), _CHUNK):
        connection.execute(delete(run_tags).where(run_tags.c.run == run, run_tags.c.key.in_(keys)))
    insert_rows(connection, run_tags, _text_rows(run, logged.tags), conflict=_TEXT_REPLACED)
    if logged.metrics:
        points = sorted((run, point.key, *place(point)) for point in logged.metrics)
        insert_rows(connection, metric_points, points, conflict="DO NOTHING")
        last = newest(logged.metrics)
        insert_rows(connection, run_metrics, [_metric_row(run, experiment, last[key]) for key in sorted(last)], conflict=_NEWER)
    if logged.inputs:
        _put_inputs(connection, run, logged)
    if logged.outputs:
        after = _members(connection, run_outputs, run)
        outputs = first_of_outputs(logged.outputs).values()
        rows = [(run, output.model, output.step, after + number) for number, output in enumerate(outputs)]
        insert_rows(connection, run_outputs, rows, conflict="DO NOTHING")


def _put_inputs(connection: Connection, run: int, logged: Logged) -> None:
    after = _members(connection, run_inputs, run)
    rows = [
        (run, data.name, data.digest, data.context, after + number, encode(data).decode())
        for number, data in enumerate(first_of_inputs(logged.inputs).values())
    ]
    insert_rows(connection, run_inputs, rows, conflict="DO NOTHING")


def _members(connection: Connection, table: Table, run: int) -> int:
    """The first position behind a run's members."""
    last = connection.scalar(select(func.max(table.c.position)).where(table.c.run == run))
    return 0 if last is None else int(last) + 1


def _text_rows(run: int, texts: Any) -> list[tuple[int, str, str, str]]:
    return [(run, key, text[:HEAD], text[HEAD:]) for key, text in sorted(texts.items())]


def _metric_row(run: int, experiment: str, point: MetricPoint) -> tuple[int, str, str, float | None, int, int]:
    value = None if point.value != point.value else point.value + 0.0
    return (run, point.key, experiment, value, point.step, point.at_us)


def _purge(connection: Connection, condition: Any) -> None:
    """Remove runs for good, from those that nothing refers to inwards."""
    keys = connection.scalars(select(tracked_runs.c.key).where(condition).with_for_update()).all()
    for some in chunks(keys, _CHUNK):
        for table in RUN_TABLES:
            connection.execute(delete(table).where(table.c.run.in_(some)))
        connection.execute(delete(tracked_runs).where(tracked_runs.c.key.in_(some)))


def _page(connection: Connection, subject: Subject, query: Query, *, scope: Sequence[str] = ()) -> tuple[list[Row[Any]], str]:
    """The rows of a page and the token of the next one."""
    start = page_start(query, scope=repr(scope))
    seen = {"active": subject.table.c.deleted_us.is_(None), "deleted": subject.table.c.deleted_us.is_not(None), "all": true()}[query.view]
    rows: Sequence[Row[Any]] = []
    for found in attempts(connection, subject, query, scope=scope):
        rows = connection.execute(found.where(seen).offset(start).limit(query.limit + 1)).all()
        if len(rows) > query.limit:
            break
    following = page_token(query, start + query.limit, scope=repr(scope)) if len(rows) > query.limit else ""
    return list(rows[: query.limit]), following


def _runs(connection: Connection, rows: Sequence[Row[Any]]) -> list[ExperimentRun]:
    """Whole runs for their rows: one query for each kind of thing logged, however many runs."""
    return [run for some in chunks(rows, _CHUNK) for run in _filled(connection, some)]


def _filled(connection: Connection, rows: Sequence[Row[Any]]) -> list[ExperimentRun]:
    keys = [row.key for row in rows]
    if not keys:
        return []

    def of_runs(table: Table, *order: Any) -> Sequence[Any]:
        return connection.execute(select(table).where(table.c.run.in_(keys)).order_by(table.c.run, *order)).all()

    parameters: dict[int, dict[str, str]] = defaultdict(dict)
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    latest: dict[int, list[MetricPoint]] = defaultdict(list)
    inputs: dict[int, list[RunInput]] = defaultdict(list)
    outputs: dict[int, list[RunOutput]] = defaultdict(list)
    for run, key, value, rest in of_runs(run_parameters, run_parameters.c.key):
        parameters[run][key] = value + rest
    for run, key, value, rest in of_runs(run_tags, run_tags.c.key):
        tags[run][key] = value + rest
    for run, key, _, value, step, at_us in of_runs(run_metrics, run_metrics.c.key):
        latest[run].append(MetricPoint(key, float("nan") if value is None else value, step, at_us))
    for row in of_runs(run_inputs, run_inputs.c.position):
        inputs[row.run].append(decode(row.body, RunInput))
    for row in of_runs(run_outputs, run_outputs.c.position):
        outputs[row.run].append(RunOutput(row.model, row.step))
    return [
        _run_of(
            row,
            parameters=parameters[row.key],
            tags=tags[row.key],
            latest=tuple(latest[row.key]),
            inputs=tuple(inputs[row.key]),
            outputs=tuple(outputs[row.key]),
        )
        for row in rows
    ]


def _run_of(row: Any, **logged: Any) -> ExperimentRun:
    return ExperimentRun(
        id=row.id,
        experiment=row.experiment,
        name=row.name,
        status=row.status,
        started_us=row.started_us,
        ended_us=row.ended_us,
        owner=row.owner,
        parent=row.parent,
        source=decode(row.source, dict[str, str]),
        deleted_us=row.deleted_us,
        **logged,
    )


def _run_row(run: ExperimentRun) -> dict[str, Any]:
    names = ("id", "experiment", "name", "status", "owner", "parent", "started_us", "ended_us", "deleted_us")
    return {name: getattr(run, name) for name in names} | {"source": encode(dict(run.source)).decode()}


def _experiments(connection: Connection, rows: Sequence[Row[Any]]) -> list[Experiment]:
    tags: dict[str, dict[str, str]] = defaultdict(dict)
    for some in chunks([row.id for row in rows], _CHUNK):
        for owner, key, value in connection.execute(select(experiment_tags).where(experiment_tags.c.experiment.in_(some))):
            tags[owner][key] = value
    return [Experiment(row.id, row.name, row.project, row.created_us, row.updated_us, tags[row.id], row.deleted_us) for row in rows]


def _experiment_row(experiment: Experiment) -> dict[str, Any]:
    return {name: getattr(experiment, name) for name in ("id", "name", "project", "created_us", "updated_us", "deleted_us")}


def _put_experiment_tags(connection: Connection, experiment: Experiment) -> None:
    rows = [(experiment.id, key, value) for key, value in sorted(experiment.tags.items())]
    insert_rows(connection, experiment_tags, rows, conflict="DO NOTHING")
