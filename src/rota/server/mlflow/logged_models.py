"""Logged models in MLflow's REST API: a model has its own identity, files and status before anybody registers it."""

import re
import uuid
from collections.abc import Callable, Mapping, Sequence

import msgspec
from fastapi import APIRouter

from rota.manage.experiments import artifacts, search_grammar
from rota.ports.metadata import Batch, transact
from rota.records.filters import Query
from rota.records.searching import Fields, matches, ordered, paged
from rota.records.tracking import LoggedModel, LoggedModelStatus, ModelMetric
from rota.server.mlflow import folders
from rota.server.mlflow.experiments import active, millis
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
    number,
    pairs_of,
    route,
)

router = APIRouter(prefix=f"{BASE}/logged-models")
STATUSES: Mapping[str, LoggedModelStatus] = {
    "LOGGED_MODEL_READY": "ready",
    "2": "ready",
    "LOGGED_MODEL_UPLOAD_FAILED": "failed",
    "3": "failed",
    "LOGGED_MODEL_PENDING": "pending",
    "1": "pending",
}
SHOWN_STATUS: Mapping[LoggedModelStatus, str] = {
    "pending": "LOGGED_MODEL_PENDING",
    "ready": "LOGGED_MODEL_READY",
    "failed": "LOGGED_MODEL_UPLOAD_FAILED",
}
_BAD_NAME = re.compile(r"[/:.%\"']")


class CreateLoggedModel(MlflowRequest, frozen=True):
    experiment_id: Text
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()


class LoggedModelById(MlflowRequest, frozen=True):
    model_id: Text
    allow_deleted: str | bool = False


class FinalizeLoggedModel(MlflowRequest, frozen=True):
    model_id: Text
    status: str | int


class SetLoggedModelTags(MlflowRequest, frozen=True):
    model_id: Text
    tags: tuple[KeyValue, ...] = ()


class DeleteLoggedModelTag(MlflowRequest, frozen=True):
    model_id: Text
    tag_key: Text


class LogLoggedModelParams(MlflowRequest, frozen=True):
    model_id: Text
    params: tuple[KeyValue, ...] = ()


class ListLoggedModelArtifacts(MlflowRequest, frozen=True):
    model_id: Text
    artifact_directory_path: str = ""


class SearchLoggedModelsDataset(MlflowRequest, frozen=True):
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchLoggedModelsOrder(MlflowRequest, frozen=True):
    field_name: Text
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchLoggedModels(MlflowRequest, frozen=True):
    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    datasets: tuple[SearchLoggedModelsDataset, ...] = ()
    max_results: Int64 = 100
    order_by: tuple[SearchLoggedModelsOrder, ...] = ()
    page_token: str = ""


@route(router, "POST", "", "experiment.write")
def create(call: MlflowCall, asked: CreateLoggedModel) -> object:
    if _BAD_NAME.search(asked.name):
        raise invalid(f"model name {asked.name!r} is not allowed; leave out / : . % and quotes")
    experiment = active(call, asked.experiment_id)
    if asked.source_run_id and call.repositories.tracking.run(asked.source_run_id) is None:
        raise missing(f"there is no run with id {asked.source_run_id!r}")
    identity, now_us = f"m-{uuid.uuid4().hex}", call.now_us
    model = LoggedModel(
        identity,
        experiment.id,
        asked.name or f"model-{identity[2:10]}",
        asked.source_run_id,
        type=asked.model_type,
        created_us=now_us,
        updated_us=now_us,
        tags=limited_tags(asked.tags, MAX_EXPERIMENT_TAG),
        parameters={pair.key: pair.value for pair in asked.params},
    )
    batch = Batch()
    batch.create(model)
    if model.run:
        batch.link(f"logged_model:{model.id}", [f"experiment_run:{model.run}"], now_us)
    call.repositories.metadata.commit(batch)
    return {"model": shown(model)}


@route(router, "GET", "/{model_id}", "experiment.read")
def get(call: MlflowCall, asked: LoggedModelById) -> object:
    return {"model": shown(known(call, asked.model_id, deleted=str(asked.allow_deleted).lower() == "true"))}


@route(router, "PATCH", "/{model_id}", "experiment.write")
def finalize(call: MlflowCall, asked: FinalizeLoggedModel) -> object:
    status = STATUSES.get(str(asked.status))
    if status is None or status == "pending":
        raise invalid(f"status {asked.status!r} ends no upload; send LOGGED_MODEL_READY or LOGGED_MODEL_UPLOAD_FAILED")
    return {"model": shown(_changed(call, asked.model_id, lambda before: msgspec.structs.replace(before, status=status, updated_us=call.now_us)))}


@route(router, "DELETE", "/{model_id}", "experiment.write")
def delete(call: MlflowCall, asked: LoggedModelById) -> object:
    _changed(call, asked.model_id, lambda before: msgspec.structs.replace(before, deleted_us=call.now_us, updated_us=call.now_us))
    return {}


@route(router, "PATCH", "/{model_id}/tags", "experiment.write")
def set_tags(call: MlflowCall, asked: SetLoggedModelTags) -> object:
    new = limited_tags(asked.tags, MAX_EXPERIMENT_TAG)
    return {"model": shown(_changed(call, asked.model_id, lambda before: msgspec.structs.replace(before, tags={**before.tags, **new})))}


@route(router, "DELETE", "/{model_id}/tags/{tag_key:path}", "experiment.write")
def delete_tag(call: MlflowCall, asked: DeleteLoggedModelTag) -> object:
    def drop(before: LoggedModel) -> LoggedModel:
        if asked.tag_key not in before.tags:
            raise missing(f"logged model {before.id!r} has no tag {asked.tag_key!r}")
        return msgspec.structs.replace(before, tags={key: value for key, value in before.tags.items() if key != asked.tag_key})

    _changed(call, asked.model_id, drop)
    return {}


@route(router, "POST", "/{model_id}/params", "experiment.write")
def log_params(call: MlflowCall, asked: LogLoggedModelParams) -> object:
    """A parameter is written once; where one of them is known already, none is taken."""
    new: dict[str, str] = {}
    for pair in asked.params:
        if pair.key in new:
            raise MlflowError("BAD_REQUEST", f"parameter {pair.key!r} is there twice; a parameter of a model is written once")
        new[pair.key] = pair.value

    def add(before: LoggedModel) -> LoggedModel:
        for key in new.keys() & before.parameters.keys():
            was = before.parameters[key]
            raise MlflowError("BAD_REQUEST", f"model {before.id!r} has the parameter {key!r} already, {was!r}; a parameter is written once")
        return msgspec.structs.replace(before, parameters={**before.parameters, **new})

    _changed(call, asked.model_id, add)
    return {}


@route(router, "GET", "/{model_id}/artifacts/directories", "experiment.read")
def list_files(call: MlflowCall, asked: ListLoggedModelArtifacts) -> object:
    root = artifacts.model_root(known(call, asked.model_id))
    return {"files": folders.listed(call, root, asked.artifact_directory_path), "root_uri": artifacts.uri(root)}


@route(router, "POST", "/search", "experiment.read")
def search(call: MlflowCall, asked: SearchLoggedModels) -> object:
    if not 0 < asked.max_results <= 1_000:
        raise invalid(f"max_results is {asked.max_results}; it must lie between 1 and 1000")
    if not asked.experiment_ids:
        raise invalid("Missing value for required parameter 'experiment_ids'.")
    if any(not each.dataset_name for each in asked.datasets):
        raise invalid("a dataset needs its dataset_name")
    query = Query(search_grammar.parse_filter(asked.filter, "logged_model"), limit=asked.max_results, page=asked.page_token)
    models = [model for experiment in dict.fromkeys(asked.experiment_ids) for model in _of_experiment(call, experiment)]
    models.sort(key=lambda model: (-model.created_us, model.id))
    if asked.datasets and not any(each.entity == "metric" for each in query.where):
        models = [model for model in models if any(_on(metric, data) for metric in model.metrics for data in asked.datasets)]
    models = [model for model in models if all(matches(each, _fields(model, asked.datasets)) for each in query.where)]
    for each in reversed(asked.order_by):
        order = search_grammar.parse_order([f"{each.field_name} {'ASC' if each.ascending else 'DESC'}"], "logged_model")
        data = SearchLoggedModelsDataset(each.dataset_name, each.dataset_digest)
        models = ordered(models, order, lambda model, data=data: _fields(model, [data], single=True))  # type: ignore[misc]
    page = paged(models, query, scope=repr((asked.experiment_ids, asked.datasets, asked.order_by)))
    return {"models": [shown(model) for model in page.items]} | ({"next_page_token": page.next} if page.next else {})


def known(call: MlflowCall, identity: str, *, deleted: bool = False) -> LoggedModel:
    """A logged model."""
    found = call.repositories.metadata.get(LoggedModel, identity)
    if found is None or (found.deleted_us is not None and not deleted):
        raise missing(f"there is no logged model with id {identity!r}")
    return found


def shown(model: LoggedModel) -> dict[str, object]:
    """A logged model on the wire."""
    return {
        "info": {
            "model_id": model.id,
            "experiment_id": model.experiment,
            "name": model.name,
            "creation_timestamp_ms": millis(model.created_us),
            "last_updated_timestamp_ms": millis(model.updated_us),
            "artifact_uri": artifacts.uri(artifacts.model_root(model)),
            "status": SHOWN_STATUS[model.status],
            "model_type": model.type,
            "source_run_id": model.run,
            "tags": pairs_of(model.tags),
        },
        "data": {"params": pairs_of(model.parameters), "metrics": [_metric(model, each) for each in model.metrics]},
    }


def _changed(call: MlflowCall, identity: str, change: Callable[[LoggedModel], LoggedModel]) -> LoggedModel:
    """A model as `change` makes it of the stored one. Tags, parameters and metrics do not move its moment, as in MLflow."""

    def attempt() -> LoggedModel:
        before = known(call, identity)
        after = change(before)
        batch = Batch()
        batch.put(after, replacing=before)
        call.repositories.metadata.commit(batch)
        return after

    return transact(attempt)


def _of_experiment(call: MlflowCall, experiment: str) -> list[LoggedModel]:
    found = call.repositories.metadata.find(LoggedModel, {"experiment": experiment})
    return [model for model in found if model.deleted_us is None]


def _fields(model: LoggedModel, datasets: Sequence[SearchLoggedModelsDataset], *, single: bool = False) -> Fields:
    """What a search sees of a model; a metric that was measured on several of the datasets has several values, to sort by the newest."""
    metrics: dict[str, tuple[float, ...]] = {}
    for metric in sorted(model.metrics, key=lambda metric: (metric.at_us, metric.step)):
        if not datasets or any(_on(metric, data) for data in datasets):
            metrics[metric.key] = (*metrics.get(metric.key, ()), metric.value)
    return {
        "attribute": {
            "model_id": model.id,
            "name": model.name,
            "model_type": model.type,
            "status": model.status,
            "source_run_id": model.run,
            "creation_timestamp": millis(model.created_us),
            "last_updated_timestamp": millis(model.updated_us),
        },
        "metric": {key: values[-1] for key, values in metrics.items()} if single else metrics,
        "parameter": model.parameters,
        "tag": model.tags,
    }


def _on(metric: ModelMetric, data: SearchLoggedModelsDataset) -> bool:
    return data.dataset_name in ("", metric.dataset) and data.dataset_digest in ("", metric.digest)


def _metric(model: LoggedModel, metric: ModelMetric) -> dict[str, object]:
    found: dict[str, object] = {
        "key": metric.key,
        "value": number(metric.value),
        "timestamp": millis(metric.at_us),
        "step": metric.step,
        "model_id": model.id,
    }
    data = {"run_id": metric.run, "dataset_name": metric.dataset, "dataset_digest": metric.digest}
    return found | {name: value for name, value in data.items() if value}
