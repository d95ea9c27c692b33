"""Runs in MLflow's REST API: created, ended, searched, deleted and restored."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter

from rota.manage.experiments import search_grammar
from rota.ports.metadata import Batch
from rota.ports.tracking import RunChange
from rota.records.filters import Comparison, Query
from rota.records.time import Micros
from rota.records.tracking import MAX_EXPERIMENTS, ExperimentRun
from rota.server.mlflow import run_form
from rota.server.mlflow.experiments import active, existing, view_of
from rota.server.mlflow.wire import BASE, Int64, KeyValue, Millis, MlflowCall, MlflowRequest, Text, invalid, missing, route, run_tags

router = APIRouter(prefix=BASE)
FEW_EXPERIMENTS = 20
_PLAIN_TAGS = {run_form.RUN_NAME: "run_name", run_form.USER: "user_id", run_form.PARENT: "parent"}
"""Tags that are fields of the record: a condition on one is a condition on that attribute."""


class RunRequest(MlflowRequest, frozen=True):
    """Names a run; older clients call the id `run_uuid`, newer ones send both."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def run(self) -> str:
        found = self.run_id or self.run_uuid
        if not found:
            raise invalid("Missing value for required parameter 'run_id'.")
        return found


class CreateRun(MlflowRequest, frozen=True):
    experiment_id: Text
    user_id: str = ""
    start_time: Millis = 0
    run_name: str = ""
    tags: tuple[KeyValue, ...] = ()


class UpdateRun(RunRequest, frozen=True):
    status: str | int = ""
    end_time: Millis | None = None
    run_name: str = ""


class SearchRuns(MlflowRequest, frozen=True):
    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: str | Int64 = ""
    max_results: Int64 = 1_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


@route(router, "POST", "/runs/create", "experiment.write")
def create(call: MlflowCall, asked: CreateRun) -> object:
    experiment = active(call, asked.experiment_id)
    tags = run_tags(asked.tags)
    tagged = tags.pop(run_form.RUN_NAME, "")
    if asked.run_name and tagged and asked.run_name != tagged:
        raise invalid(f"run_name is {asked.run_name!r} but the tag {run_form.RUN_NAME} says {tagged!r}; send one of them")
    identity = uuid.uuid4().hex
    run = ExperimentRun(
        identity,
        experiment.id,
        asked.run_name or tagged or f"run-{identity[:8]}",
        "running",
        asked.start_time * 1_000 or call.now_us,
        owner=tags.get(run_form.USER) or asked.user_id or call.identity.name,
        parent=tags.get(run_form.PARENT, ""),
        tags=tags,
        source=run_form.source_of(tags),
    )
    call.repositories.tracking.create_run(run)
    return {"run": run_form.shown(run)}


@route(router, "GET", "/runs/get", "experiment.read")
def get(call: MlflowCall, asked: RunRequest) -> object:
    run = _known(call, asked.run)
    return {"run": run_form.shown(run, deleted=existing(call, run.experiment).deleted_us is not None)}


@route(router, "POST", "/runs/update", "experiment.write")
def update(call: MlflowCall, asked: UpdateRun) -> object:
    run = active_run(call, asked.run)
    if asked.status and str(asked.status) not in run_form.STATUSES:
        raise invalid(f"run status {asked.status!r} is not known; it is one of {[name for name in run_form.STATUSES if name.isupper()]}")
    status = run_form.STATUSES.get(str(asked.status))
    ended_us = None if asked.end_time is None else asked.end_time * 1_000
    changed = call.repositories.tracking.change_run(run.id, RunChange(asked.run_name or None, status, ended_us))
    return {"run_info": run_form.info(changed)}


@route(router, "POST", "/runs/delete", "experiment.write")
def delete(call: MlflowCall, asked: RunRequest) -> object:
    _mark(call, asked.run, call.now_us, "run.delete")
    return {}


@route(router, "POST", "/runs/restore", "experiment.write")
def restore(call: MlflowCall, asked: RunRequest) -> object:
    _mark(call, asked.run, 0, "run.restore")
    return {}


@route(router, "POST", "/runs/search", "experiment.read")
def search(call: MlflowCall, asked: SearchRuns) -> object:
    if not 0 < asked.max_results <= 50_000:
        raise invalid(f"max_results is {asked.max_results}; it must lie between 1 and 50000")
    if len(asked.experiment_ids) > MAX_EXPERIMENTS:
        raise invalid(f"a search covers at most {MAX_EXPERIMENTS} experiments, not {len(asked.experiment_ids)}; search them in parts")
    view = view_of(asked.run_view_type)
    where = [_of_attribute(each) for each in search_grammar.parse_filter(asked.filter, "run")]
    query = Query(where, search_grammar.parse_order(asked.order_by, "run"), asked.max_results, asked.page_token, view)
    gone = _deleted(call, asked.experiment_ids)
    searched = [each for each in asked.experiment_ids if view != "active" or each not in gone]
    if gone and gone == set(searched):
        query = replace(query, view="all")
    page = call.repositories.tracking.search_runs(searched, query)
    runs = [run_form.shown(run, deleted=run.experiment in gone) for run in page.items]
    return {"runs": runs} | ({"next_page_token": page.next} if page.next else {})


def _deleted(call: MlflowCall, experiments: Sequence[str]) -> set[str]:
    """Which of the experiments are deleted: asked one by one where they are few; clients name thousands when they search all."""
    tracking = call.repositories.tracking
    if len(experiments) <= FEW_EXPERIMENTS:
        return {each for each in experiments if (found := tracking.experiment(each)) and found.deleted_us is not None}
    deleted: set[str] = set()
    query = Query(limit=10_000, view="deleted")
    while True:
        page = tracking.search_experiments(query)
        deleted |= {each.id for each in page.items}
        if not page.next:
            return deleted.intersection(experiments)
        query = replace(query, page=page.next)


def _known(call: MlflowCall, identity: str) -> ExperimentRun:
    run = call.repositories.tracking.run(identity)
    if run is None:
        raise missing(f"there is no run with id {identity!r}")
    return run


def active_run(call: MlflowCall, identity: str) -> ExperimentRun:
    """A run that is not deleted."""
    run = _known(call, identity)
    if run.deleted_us is not None:
        raise invalid(f"the run {identity!r} must be in the 'active' state; it is deleted, restore it first")
    return run


def _mark(call: MlflowCall, identity: str, deleted_us: Micros, action: str) -> None:
    run = _known(call, identity)
    if (run.deleted_us is None) == (deleted_us == 0):
        return
    batch = Batch()
    batch.audit(call.identity.name, action, identity, call.now_us, experiment=run.experiment, name=run.name)
    call.repositories.tracking.change_run(identity, RunChange(deleted_us=deleted_us), batch)


def _of_attribute(condition: Comparison) -> Comparison:
    plain = _PLAIN_TAGS.get(condition.key) if condition.entity == "tag" else None
    return replace(condition, entity="attribute", key=plain) if plain else condition
