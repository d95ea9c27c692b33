"""Logging into runs in MLflow's REST API: metrics, parameters, tags, inputs and outputs, and reading a metric's series."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
from fastapi import APIRouter

from rota.errors import Refused
from rota.ports.metadata import Batch, transact
from rota.ports.tracking import Logged, RunChange
from rota.records.tracking import LoggedModel, MetricPoint, RunInput, RunOutput
from rota.server.mlflow import logged_metrics, run_form
from rota.server.mlflow.logged_metrics import ModelPoint
from rota.server.mlflow.runs import RunRequest, active_run
from rota.server.mlflow.wire import (
    BASE,
    Int64,
    KeyValue,
    Millis,
    MlflowCall,
    MlflowRequest,
    Text,
    check_key,
    invalid,
    missing,
    parameters,
    route,
    run_tags,
)

router = APIRouter(prefix=BASE)
MAX_METRICS = 1_000
MAX_PAIRS = 100
MAX_ENTITIES = 1_000
MAX_DATASET_NAME = 500
MAX_DATASET_DIGEST = 36
MAX_DATASET_TEXT = 16_777_215


class MlflowMetric(MlflowRequest, frozen=True):
    key: Text
    value: float
    timestamp: Millis
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogMetric(RunRequest, frozen=True, kw_only=True):
    key: Text
    value: float
    timestamp: Millis
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogParamOrTag(RunRequest, frozen=True, kw_only=True):
    key: Text
    value: str = ""


class DeleteRunTag(RunRequest, frozen=True, kw_only=True):
    key: Text


class LogBatch(RunRequest, frozen=True):
    metrics: tuple[MlflowMetric, ...] = ()
    params: tuple[KeyValue, ...] = ()
    tags: tuple[KeyValue, ...] = ()


class MlflowDataset(MlflowRequest, frozen=True):
    name: Text
    digest: Text
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(MlflowRequest, frozen=True):
    dataset: MlflowDataset
    tags: tuple[KeyValue, ...] = ()


class ModelInput(MlflowRequest, frozen=True):
    model_id: Text


class ModelOutput(MlflowRequest, frozen=True):
    model_id: Text
    step: Int64 = 0


class LogInputs(RunRequest, frozen=True):
    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[ModelInput, ...] = ()


class LogOutputs(RunRequest, frozen=True):
    models: tuple[ModelOutput, ...] = ()


class LogModel(RunRequest, frozen=True):
    model_json: str = ""


class GetMetricHistory(RunRequest, frozen=True, kw_only=True):
    metric_key: Text
    page_token: str = ""
    max_results: Int64 | None = None


@route(router, "POST", "/runs/log-metric", "experiment.write")
def log_metric(call: MlflowCall, asked: LogMetric) -> object:
    given = MlflowMetric(asked.key, asked.value, asked.timestamp, asked.step, asked.model_id, asked.dataset_name, asked.dataset_digest)
    _log_metrics(call, asked.run, [given], Logged())
    return {}


@route(router, "POST", "/runs/log-parameter", "experiment.write")
def log_parameter(call: MlflowCall, asked: LogParamOrTag) -> object:
    _log(call, asked.run, Logged(parameters=parameters([KeyValue(asked.key, asked.value)])))
    return {}


@route(router, "POST", "/runs/set-tag", "experiment.write")
def set_tag(call: MlflowCall, asked: LogParamOrTag) -> object:
    _log(call, asked.run, Logged(tags=run_tags([KeyValue(asked.key, asked.value)])))
    return {}


@route(router, "POST", "/runs/delete-tag", "experiment.write")
def delete_tag(call: MlflowCall, asked: DeleteRunTag) -> object:
    run = active_run(call, asked.run)
    if asked.key not in run.tags:
        raise missing(f"run {run.id!r} has no tag {asked.key!r}")
    _log(call, run.id, Logged(removed_tags=[asked.key]))
    return {}


@route(router, "POST", "/runs/log-batch", "experiment.write")
def log_batch(call: MlflowCall, asked: LogBatch) -> object:
    for what, count, limit in (
        ("metrics", len(asked.metrics), MAX_METRICS),
        ("params", len(asked.params), MAX_PAIRS),
        ("tags", len(asked.tags), MAX_PAIRS),
        ("metrics, params and tags", len(asked.metrics) + len(asked.params) + len(asked.tags), MAX_ENTITIES),
    ):
        if count > limit:
            raise invalid(f"a batch holds at most {limit} {what}, this one has {count}; send several")
    _log_metrics(call, asked.run, asked.metrics, Logged(parameters=parameters(asked.params), tags=run_tags(asked.tags)))
    return {}


@route(router, "POST", "/runs/log-inputs", "experiment.write")
def log_inputs(call: MlflowCall, asked: LogInputs) -> object:
    inputs = [_input(each) for each in asked.datasets]
    for each in asked.models:
        _logged_model(call, each.model_id)
        inputs.append(RunInput(each.model_id, each.model_id, run_form.LOGGED_MODEL, node=f"logged_model:{each.model_id}"))
    _log(call, asked.run, Logged(inputs=inputs))
    return {}


@route(router, "POST", "/runs/outputs", "experiment.write")
def log_outputs(call: MlflowCall, asked: LogOutputs) -> object:
    if not asked.models:
        raise invalid("Missing value for required parameter 'models'.")
    for each in asked.models:
        _logged_model(call, each.model_id)
    _log(call, asked.run, Logged(outputs=[RunOutput(each.model_id, each.step) for each in asked.models]))
    return {}


@route(router, "POST", "/runs/log-model", "experiment.write")
def log_model(call: MlflowCall, asked: LogModel) -> object:
    """What older clients send besides the files of a model: kept as the tag in which they look for it."""
    try:
        model = msgspec.json.decode(asked.model_json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"model_json is not JSON: {error}") from error
    lacking = {"artifact_path", "flavors", "utc_time_created", "run_id"} - set(model if isinstance(model, dict) else ())
    if lacking:
        raise invalid(f"model_json lacks {sorted(lacking)}; send the fields of the MLmodel file")
    before = active_run(call, asked.run).tags.get("mlflow.log-model.history", "[]")
    history = msgspec.json.encode([*msgspec.json.decode(before), model]).decode()
    _log(call, asked.run, Logged(tags={"mlflow.log-model.history": history}))
    return {}


@route(router, "GET", "/metrics/get-history", "experiment.read")
def get_history(call: MlflowCall, asked: GetMetricHistory) -> object:
    """Without `max_results` the whole series, as older clients expect."""
    if asked.max_results is not None and asked.max_results <= 0:
        raise invalid(f"max_results is {asked.max_results}; it must be positive")
    if asked.page_token and not (asked.page_token.isascii() and asked.page_token.isdigit() and len(asked.page_token) < 16):
        raise invalid(f"page token {asked.page_token[:50]!r} is not one of this route's")
    start = int(asked.page_token or 0)
    limit = asked.max_results or 2**31
    found = call.repositories.tracking.history(asked.run, asked.metric_key, start=start, limit=limit + 1)
    shown = [run_form.metric(point) for point in found[:limit]]
    return {"metrics": shown} | ({"next_page_token": str(start + limit)} if len(found) > limit else {})


def _logged_model(call: MlflowCall, identity: str) -> LoggedModel:
    found = call.repositories.metadata.get(LoggedModel, identity)
    if found is None or found.deleted_us is not None:
        raise missing(f"there is no logged model with id {identity!r}")
    return found


def _log(call: MlflowCall, identity: str, logged: Logged, batch: Batch | None = None) -> None:
    """Log into a run; its name is a field, which MLflow sets through a tag."""
    tags = dict(logged.tags)
    name = tags.pop(run_form.RUN_NAME, "")
    try:
        call.repositories.tracking.log(identity, replace(logged, tags=tags), batch)
    except Refused as error:
        raise invalid(f"the run {identity!r} must be in the 'active' state: {error}") from error
    if name:
        call.repositories.tracking.change_run(identity, RunChange(name))


def _log_metrics(call: MlflowCall, identity: str, given: Sequence[MlflowMetric], logged: Logged) -> None:
    """Log metrics; those that judge a logged model are noted on it in the same transaction."""
    for key in {each.key for each in given}:
        check_key("metric", key)
    logged = replace(logged, metrics=[MetricPoint(each.key, each.value, each.step, each.timestamp * 1_000) for each in given])
    judged = [each for each in given if each.model_id]
    if not judged:
        _log(call, identity, logged)
        return
    points = [ModelPoint(each.model_id, identity, each.dataset_name, each.dataset_digest, p) for each, p in zip(given, logged.metrics, strict=True)]

    def log_both() -> None:
        batch = Batch()
        logged_metrics.note(call.repositories.metadata, batch, [point for point in points if point.model])
        _log(call, identity, logged, batch)

    transact(log_both)


def _input(given: DatasetInput) -> RunInput:
    data = given.dataset
    for what, value, limit in (
        ("name", data.name, MAX_DATASET_NAME),
        ("digest", data.digest, MAX_DATASET_DIGEST),
        ("schema", data.schema, MAX_DATASET_TEXT),
        ("source", data.source, MAX_DATASET_TEXT),
        ("profile", data.profile, MAX_DATASET_TEXT),
    ):
        if len(value) > limit:
            raise invalid(f"the dataset's {what} has {len(value)} characters; at most {limit} are allowed")
    tags = {pair.key: pair.value for pair in given.tags}
    return RunInput(data.name, data.digest, data.source_type, data.source, schema=data.schema, profile=data.profile, tags=tags)
