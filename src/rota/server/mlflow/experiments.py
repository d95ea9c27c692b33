"""Experiments in MLflow's REST API."""

import random
from collections.abc import Mapping

import msgspec
from fastapi import APIRouter

from rota.errors import Conflict
from rota.manage import spellings
from rota.manage.experiments import artifacts, search_grammar
from rota.ports.metadata import Batch, transact
from rota.records.filters import Query, View
from rota.records.time import Micros
from rota.records.tracking import MAX_EXPERIMENT_NAME, Experiment
from rota.server.mlflow.wire import (
    BASE,
    MAX_EXPERIMENT_TAG,
    Int64,
    KeyValue,
    MlflowCall,
    MlflowError,
    MlflowRequest,
    Text,
    invalid,
    limited_tags,
    missing,
    pairs_of,
    route,
)

router = APIRouter(prefix=f"{BASE}/experiments")
VIEWS: Mapping[str, View] = {
    "": "active",
    "ACTIVE_ONLY": "active",
    "1": "active",
    "DELETED_ONLY": "deleted",
    "2": "deleted",
    "ALL": "all",
    "3": "all",
}


class CreateExperiment(MlflowRequest, frozen=True):
    name: Text
    artifact_location: str = ""
    tags: tuple[KeyValue, ...] = ()


class ExperimentById(MlflowRequest, frozen=True):
    experiment_id: Text


class GetExperimentByName(MlflowRequest, frozen=True):
    experiment_name: Text


class UpdateExperiment(MlflowRequest, frozen=True):
    experiment_id: Text
    new_name: Text


class SetExperimentTag(MlflowRequest, frozen=True):
    experiment_id: Text
    key: Text
    value: str = ""


class DeleteExperimentTag(MlflowRequest, frozen=True):
    experiment_id: Text
    key: Text


class SearchExperiments(MlflowRequest, frozen=True):
    filter: str = ""
    max_results: Int64 = 1_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""
    view_type: str | Int64 = ""


@route(router, "POST", "/create", "experiment.write")
def create(call: MlflowCall, asked: CreateExperiment) -> object:
    if asked.artifact_location and not asked.artifact_location.startswith(artifacts.SCHEME):
        raise invalid("artifacts are kept by Rota itself, next to everything else; leave artifact_location out")
    now_us = call.now_us
    experiment = Experiment(
        id=_new_id(),
        name=_checked(asked.name),
        project=call.identity.project or "default",
        created_us=now_us,
        updated_us=now_us,
        tags=limited_tags(asked.tags, MAX_EXPERIMENT_TAG),
    )
    _check_free(call, experiment.name)
    try:
        call.repositories.tracking.create_experiment(experiment)
    except Conflict as error:
        raise _taken(experiment.name) from error
    return {"experiment_id": experiment.id}


@route(router, "GET", "/get", "experiment.read")
def get(call: MlflowCall, asked: ExperimentById) -> object:
    return {"experiment": shown(existing(call, asked.experiment_id))}


@route(router, "GET", "/get-by-name", "experiment.read")
def get_by_name(call: MlflowCall, asked: GetExperimentByName) -> object:
    found = call.repositories.tracking.experiment_named(asked.experiment_name)
    if found is None:
        raise missing(f"there is no experiment named {asked.experiment_name!r}")
    return {"experiment": shown(found)}


@route(router, "GET POST", "/search", "experiment.read")
def search(call: MlflowCall, asked: SearchExperiments) -> object:
    if not 0 < asked.max_results <= 50_000:
        raise invalid(f"max_results is {asked.max_results}; it must lie between 1 and 50000")
    query = Query(
        search_grammar.parse_filter(asked.filter, "experiment"),
        search_grammar.parse_order(asked.order_by, "experiment"),
        asked.max_results,
        asked.page_token,
        view_of(asked.view_type),
    )
    page = call.repositories.tracking.search_experiments(query)
    return {"experiments": [shown(found) for found in page.items], "next_page_token": page.next}


@route(router, "POST", "/delete", "experiment.write")
def delete(call: MlflowCall, asked: ExperimentById) -> object:
    """Its runs are hidden with it, and shown again when it is restored."""
    transact(lambda: _mark(call, asked.experiment_id, call.now_us))
    return {}


@route(router, "POST", "/restore", "experiment.write")
def restore(call: MlflowCall, asked: ExperimentById) -> object:
    transact(lambda: _mark(call, asked.experiment_id, None))
    return {}


@route(router, "POST", "/update", "experiment.write")
def update(call: MlflowCall, asked: UpdateExperiment) -> object:
    name = _checked(asked.new_name)
    transact(lambda: _renamed(call, asked.experiment_id, name))
    return {}


@route(router, "POST", "/set-experiment-tag", "experiment.write")
def set_experiment_tag(call: MlflowCall, asked: SetExperimentTag) -> object:
    new = limited_tags([KeyValue(asked.key, asked.value)], MAX_EXPERIMENT_TAG)
    transact(lambda: _tagged(call, asked.experiment_id, new))
    return {}


@route(router, "POST", "/delete-experiment-tag", "experiment.write")
def delete_experiment_tag(call: MlflowCall, asked: DeleteExperimentTag) -> object:
    transact(lambda: _tagged(call, asked.experiment_id, {}, removed=asked.key))
    return {}


def existing(call: MlflowCall, identity: str) -> Experiment:
    """An experiment, deleted or not."""
    found = call.repositories.tracking.experiment(identity)
    if found is None:
        raise missing(f"there is no experiment with id {identity!r}")
    return found


def active(call: MlflowCall, identity: str) -> Experiment:
    """An experiment that is not deleted."""
    found = existing(call, identity)
    if found.deleted_us is not None:
        raise invalid(f"the experiment {identity!r} must be in the 'active' state; it is deleted, restore it first")
    return found


def view_of(value: str | int) -> View:
    """Which things a search looks at."""
    try:
        return VIEWS[str(value)]
    except KeyError:
        raise invalid(f"view type {value!r} is not known; it is one of {[name for name in VIEWS if name.isupper()]}") from None


def millis(at_us: Micros | None) -> int:
    """MLflow counts milliseconds."""
    return (at_us or 0) // 1_000


def shown(experiment: Experiment) -> dict[str, object]:
    """An experiment on the wire."""
    return {
        "experiment_id": experiment.id,
        "name": experiment.name,
        "artifact_location": artifacts.uri(experiment.id),
        "lifecycle_stage": "active" if experiment.deleted_us is None else "deleted",
        "creation_time": millis(experiment.created_us),
        "last_update_time": millis(experiment.updated_us),
        "tags": pairs_of(experiment.tags),
    }


def _mark(call: MlflowCall, identity: str, deleted_us: Micros | None) -> None:
    before = existing(call, identity)
    if (before.deleted_us is None) == (deleted_us is None):
        raise missing(f"there is no {'deleted' if deleted_us is None else 'active'} experiment with id {identity!r}")
    batch = Batch()
    verb = "experiment.restore" if deleted_us is None else "experiment.delete"
    batch.audit(call.identity.name, verb, identity, call.now_us, name=before.name)
    after = msgspec.structs.replace(before, deleted_us=deleted_us, updated_us=call.now_us)
    call.repositories.tracking.replace_experiment(after, before=before, batch=batch)


def _tagged(call: MlflowCall, identity: str, new: Mapping[str, str], removed: str = "") -> None:
    before = active(call, identity)
    if removed and removed not in before.tags:
        raise missing(f"experiment {identity!r} has no tag {removed!r}")
    tags = {key: value for key, value in {**before.tags, **new}.items() if key != removed}
    after = msgspec.structs.replace(before, tags=tags)
    call.repositories.tracking.replace_experiment(after, before=before)


def _renamed(call: MlflowCall, identity: str, name: str) -> None:
    before = active(call, identity)
    named = call.repositories.tracking.experiment_named(name)
    if named is not None and named.id != identity:
        raise _taken(name)
    _check_free(call, name, besides=before.name)
    after = msgspec.structs.replace(before, name=name, updated_us=call.now_us)
    call.repositories.tracking.replace_experiment(after, before=before)


def _check_free(call: MlflowCall, name: str, *, besides: str = "") -> None:
    """Raise when another experiment's name reads like this one; the equal one is told by `_taken`."""
    try:
        spellings.check_experiment(call.repositories.tracking, name, besides=besides)
    except Conflict as error:
        raise MlflowError("RESOURCE_ALREADY_EXISTS", str(error)) from error


def _taken(name: str) -> MlflowError:
    return MlflowError(
        "RESOURCE_ALREADY_EXISTS", f"Experiment(name={name}) already exists, perhaps deleted; use it, restore it, or take another name"
    )


def _checked(name: str) -> str:
    if len(name) > MAX_EXPERIMENT_NAME:
        raise invalid(f"the experiment's name has {len(name)} characters; at most {MAX_EXPERIMENT_NAME} are allowed")
    return name


def _new_id() -> str:
    """18 digits, as MLflow's file store chose them: some clients take an experiment's id for a number."""
    return str(random.SystemRandom().randrange(10**17, 10**18))
