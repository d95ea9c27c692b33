"""Registered models and their aliases in MLflow's REST API. A protected alias moves only through governance's gate."""

from contextlib import suppress

from fastapi import APIRouter

from rota.errors import Conflict, NotFound
from rota.manage.experiments import search_grammar
from rota.manage.governance import alias_moves
from rota.manage.models import model_search, model_versions, registered_models
from rota.records.filters import Query
from rota.records.model import Alias, RegisteredModel
from rota.server.mlflow import version_form
from rota.server.mlflow.wire import (
    BASE,
    MAX_REGISTRY_TAG,
    Int64,
    KeyValue,
    MlflowCall,
    MlflowError,
    MlflowRequest,
    Text,
    invalid,
    limited_tags,
    route,
)

router = APIRouter(prefix=f"{BASE}/registered-models")
REASON = "through MLflow's API"


class CreateRegisteredModel(MlflowRequest, frozen=True):
    name: Text
    description: str = ""
    tags: tuple[KeyValue, ...] = ()


class RegisteredModelByName(MlflowRequest, frozen=True):
    name: Text


class UpdateRegisteredModel(MlflowRequest, frozen=True):
    name: Text
    description: str = ""


class RenameRegisteredModel(MlflowRequest, frozen=True):
    name: Text
    new_name: Text


class SetRegisteredModelTag(MlflowRequest, frozen=True):
    name: Text
    key: Text
    value: str = ""


class DeleteRegisteredModelTag(MlflowRequest, frozen=True):
    name: Text
    key: Text


class SetRegisteredModelAlias(MlflowRequest, frozen=True):
    name: Text
    alias: Text
    version: Text


class ModelVersionByAlias(MlflowRequest, frozen=True):
    name: Text
    alias: Text


class GetLatestVersions(MlflowRequest, frozen=True):
    name: Text
    stages: tuple[str, ...] = ()


class SearchRegisteredModels(MlflowRequest, frozen=True):
    filter: str = ""
    max_results: Int64 = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


@route(router, "POST", "/create", "model.register")
def create(call: MlflowCall, asked: CreateRegisteredModel) -> object:
    tags = limited_tags(asked.tags, MAX_REGISTRY_TAG)
    if tags.get(version_form.PROMPT, "").lower() == "true":
        raise invalid("prompts of language models are not kept here; register a model")
    model = RegisteredModel(asked.name, call.identity.project or "default", description=asked.description, tags=tags)
    try:
        made = registered_models.create(call.repositories.metadata, model, actor=call.identity.name, now_us=call.now_us)
    except Conflict as error:
        raise MlflowError("RESOURCE_ALREADY_EXISTS", f"Registered Model (name={asked.name}) already exists: {error}") from error
    return _shown(call, made)


@route(router, "GET", "/get", "model.read")
def get(call: MlflowCall, asked: RegisteredModelByName) -> object:
    return _shown(call, registered_models.get(call.repositories.metadata, asked.name))


@route(router, "GET POST", "/search", "model.read")
def search(call: MlflowCall, asked: SearchRegisteredModels) -> object:
    if not 0 < asked.max_results <= 1_000:
        raise invalid(f"max_results is {asked.max_results}; it must lie between 1 and 1000")
    query = Query(
        version_form.without_prompts(search_grammar.parse_filter(asked.filter, "registered_model")),
        search_grammar.parse_order(asked.order_by, "registered_model"),
        asked.max_results,
        asked.page_token,
    )
    page = model_search.models(call.repositories.metadata, query)
    models = [version_form.model(call.repositories.metadata, each) for each in page.items]
    return {"registered_models": models} | ({"next_page_token": page.next} if page.next else {})


@route(router, "PATCH", "/update", "model.register")
def update(call: MlflowCall, asked: UpdateRegisteredModel) -> object:
    changed = registered_models.update(
        call.repositories.metadata, asked.name, actor=call.identity.name, now_us=call.now_us, description=asked.description, moved=True
    )
    return _shown(call, changed)


@route(router, "POST", "/rename", "model.register")
def rename(call: MlflowCall, asked: RenameRegisteredModel) -> object:
    renamed = registered_models.rename(
        call.repositories.metadata,
        asked.name,
        asked.new_name,
        actor=call.identity.name,
        now_us=call.now_us,
        reason=REASON,
        may_release=call.identity.may("model.release"),
    )
    return _shown(call, renamed)


@route(router, "DELETE", "/delete", "model.register")
def delete(call: MlflowCall, asked: RegisteredModelByName) -> object:
    registered_models.delete(
        call.repositories.metadata,
        asked.name,
        actor=call.identity.name,
        now_us=call.now_us,
        reason=REASON,
        may_release=call.identity.may("model.release"),
    )
    return {}


@route(router, "POST", "/set-tag", "model.register")
def set_tag(call: MlflowCall, asked: SetRegisteredModelTag) -> object:
    tags = limited_tags([KeyValue(asked.key, asked.value)], MAX_REGISTRY_TAG)
    registered_models.update(call.repositories.metadata, asked.name, actor=call.identity.name, now_us=call.now_us, tags=tags)
    return {}


@route(router, "DELETE", "/delete-tag", "model.register")
def delete_tag(call: MlflowCall, asked: DeleteRegisteredModelTag) -> object:
    registered_models.update(call.repositories.metadata, asked.name, actor=call.identity.name, now_us=call.now_us, removed_tags=[asked.key])
    return {}


@route(router, "GET POST", "/get-latest-versions", "model.read")
def get_latest_versions(call: MlflowCall, asked: GetLatestVersions) -> object:
    metadata = call.repositories.metadata
    model = registered_models.get(metadata, asked.name)
    stages = [version_form.stage(each) for each in asked.stages] or version_form.STAGES
    return {"model_versions": version_form.latest(metadata, model.name, version_form.aliases_of(metadata, model.name), stages)}


@route(router, "POST", "/alias", "model.register")
def set_alias(call: MlflowCall, asked: SetRegisteredModelAlias) -> object:
    """A protected alias needs an approved version and somebody who may release."""
    number = number_of(asked.version)
    model_versions.live(call.repositories.metadata, registered_models.get(call.repositories.metadata, asked.name).name, number)
    alias_moves.move(
        call.repositories,
        asked.name,
        asked.alias,
        number,
        actor=call.identity.name,
        reason=REASON,
        may_release=call.identity.may("model.release"),
    )
    return {}


@route(router, "DELETE", "/alias", "model.register")
def delete_alias(call: MlflowCall, asked: ModelVersionByAlias) -> object:
    """Removing one that is not there is no error."""
    registered_models.get(call.repositories.metadata, asked.name)
    with suppress(NotFound):
        remove_alias(call, asked.name, asked.alias)
    return {}


@route(router, "GET", "/alias", "model.read")
def get_by_alias(call: MlflowCall, asked: ModelVersionByAlias) -> object:
    metadata = call.repositories.metadata
    model = registered_models.get(metadata, asked.name)
    alias = metadata.get(Alias, model.name, asked.alias)
    if alias is None:
        raise invalid(f"Registered model alias {asked.alias} not found.")
    found = model_versions.live(metadata, model.name, alias.number)
    return {"model_version": version_form.version(found, version_form.aliases_of(metadata, model.name))}


def remove_alias(call: MlflowCall, model: str, alias: str) -> None:
    """Remove an alias through governance's gate."""
    alias_moves.remove(call.repositories, model, alias, actor=call.identity.name, reason=REASON, may_release=call.identity.may("model.release"))


def number_of(version: str) -> int:
    """A version's number; clients send it as a text."""
    if not (version.isascii() and version.isdigit() and len(version) <= 18):
        raise invalid(f"version {version[:50]!r} is not a number; versions are 1, 2, 3 ...")
    return int(version)


def _shown(call: MlflowCall, model: RegisteredModel) -> object:
    return {"registered_model": version_form.model(call.repositories.metadata, model)}
