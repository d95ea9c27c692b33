"""Model versions in MLflow's REST API: registered from what a run or logged model left here, described, staged, deleted."""

import msgspec
from fastapi import APIRouter

from rota.errors import NotFound
from rota.manage.experiments import artifacts, search_grammar
from rota.manage.governance import alias_moves
from rota.manage.models import model_search, model_versions, registered_models
from rota.ports.metadata import Batch, transact
from rota.records.filters import Query
from rota.records.model import CHALLENGER, CHAMPION, Alias, ModelVersion
from rota.records.tracking import LoggedModel
from rota.server.mlflow import version_form
from rota.server.mlflow.registered_models import REASON, number_of, remove_alias
from rota.server.mlflow.wire import BASE, MAX_REGISTRY_TAG, KeyValue, MlflowCall, MlflowRequest, Text, invalid, limited_tags, missing, route

router = APIRouter(prefix=f"{BASE}/model-versions")
NEWEST_CHANGE = ("last_updated_timestamp DESC", "name ASC", "version_number DESC")
VERSIONS_TAG = "mlflow.modelVersions"
"""The tag of a logged model in which MLflow's clients look for its versions."""


class CreateModelVersion(MlflowRequest, frozen=True):
    name: Text
    source: Text
    run_id: str = ""
    model_id: str = ""
    description: str = ""
    tags: tuple[KeyValue, ...] = ()


class ModelVersionByNumber(MlflowRequest, frozen=True):
    name: Text
    version: Text


class UpdateModelVersion(ModelVersionByNumber, frozen=True, kw_only=True):
    description: str | None = None


class SetModelVersionTag(ModelVersionByNumber, frozen=True, kw_only=True):
    key: Text
    value: str = ""


class DeleteModelVersionTag(ModelVersionByNumber, frozen=True, kw_only=True):
    key: Text


class TransitionModelVersionStage(ModelVersionByNumber, frozen=True, kw_only=True):
    stage: Text
    archive_existing_versions: bool = False


class SearchModelVersions(MlflowRequest, frozen=True):
    filter: str = ""
    max_results: int = 10_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


@route(router, "POST", "/create", "model.register")
def create(call: MlflowCall, asked: CreateModelVersion) -> object:
    """The version keeps its own copy of the files; a source outside this platform is refused before anything is read."""
    registered_models.get(call.repositories.metadata, asked.name)
    tags = limited_tags(asked.tags, MAX_REGISTRY_TAG)
    logged = _check_source(call, asked)
    try:
        version = model_versions.create(
            call.repositories,
            model=asked.name,
            source=asked.source,
            run=asked.run_id,
            tags=tags,
            description=asked.description,
            actor=call.identity.name,
        )
    except NotFound as error:
        raise invalid(f"Invalid model version source: '{asked.source}'. {error}") from error
    if logged:
        transact(lambda: _note_on_model(call, logged, version))
    return _shown(call, version)


@route(router, "GET", "/get", "model.read")
def get(call: MlflowCall, asked: ModelVersionByNumber) -> object:
    return _shown(call, _known(call, asked))


@route(router, "GET POST", "/search", "model.read")
def search(call: MlflowCall, asked: SearchModelVersions) -> object:
    if not 0 < asked.max_results <= 200_000:
        raise invalid(f"max_results is {asked.max_results}; it must lie between 1 and 200000")
    query = Query(
        version_form.without_prompts(search_grammar.parse_filter(asked.filter, "model_version")),
        search_grammar.parse_order(asked.order_by or NEWEST_CHANGE, "model_version"),
        asked.max_results,
        asked.page_token,
    )
    metadata = call.repositories.metadata
    page = model_search.versions(metadata, query)
    aliases = {model: version_form.aliases_of(metadata, model) for model in {version.model for version in page.items}}
    versions = [version_form.version(version, aliases[version.model]) for version in page.items]
    return {"model_versions": versions} | ({"next_page_token": page.next} if page.next else {})


@route(router, "GET", "/get-download-uri", "model.read")
def get_download_uri(call: MlflowCall, asked: ModelVersionByNumber) -> object:
    version = _known(call, asked)
    if not version.artifacts:
        raise missing(f"{version.id} was trained by a pipeline of Rota and has no MLflow files; load it with rota.load or `rota models export`")
    return {"artifact_uri": artifacts.uri(version.artifacts)}


@route(router, "PATCH", "/update", "model.register")
def update(call: MlflowCall, asked: UpdateModelVersion) -> object:
    return _shown(call, _change(call, asked, description=asked.description))


@route(router, "POST", "/set-tag", "model.register")
def set_tag(call: MlflowCall, asked: SetModelVersionTag) -> object:
    _change(call, asked, tags=limited_tags([KeyValue(asked.key, asked.value)], MAX_REGISTRY_TAG))
    return {}


@route(router, "DELETE", "/delete-tag", "model.register")
def delete_tag(call: MlflowCall, asked: DeleteModelVersionTag) -> object:
    _change(call, asked, removed_tags=(asked.key,))
    return {}


@route(router, "DELETE", "/delete", "model.register")
def delete(call: MlflowCall, asked: ModelVersionByNumber) -> object:
    """Its aliases are removed first, as MLflow does; a protected one obeys the gate."""
    version = _known(call, asked)
    metadata = call.repositories.metadata
    named = [alias.alias for alias in version_form.aliases_of(metadata, version.model) if alias.number == version.number]
    for alias in sorted(named, key=lambda alias: not registered_models.is_protected(metadata, version.model, alias)):
        remove_alias(call, version.model, alias)
    model_versions.delete(metadata, version.model, version.number, actor=call.identity.name, now_us=call.now_us, reason=REASON)
    return {}


@route(router, "POST", "/transition-stage", "model.register")
def transition_stage(call: MlflowCall, asked: TransitionModelVersionStage) -> object:
    """Production moves the alias champion, Staging the alias challenger; Archived and None take them away."""
    stage = version_form.stage(asked.stage)
    alias = version_form.ALIAS_OF_STAGE.get(stage, "")
    if asked.archive_existing_versions and not alias:
        raise invalid(f"versions in the stage {stage!r} cannot be archived; only those in Staging and Production")
    version = _known(call, asked)
    metadata = call.repositories.metadata
    before = metadata.get(Alias, version.model, alias) if alias else None
    for other in {CHAMPION, CHALLENGER} - {alias}:
        found = metadata.get(Alias, version.model, other)
        if found is not None and found.number == version.number:
            remove_alias(call, version.model, other)
    if alias and (before is None or before.number != version.number):
        alias_moves.move(
            call.repositories,
            version.model,
            alias,
            version.number,
            actor=call.identity.name,
            reason=f"stage {stage} {REASON}",
            may_release=call.identity.may("model.release"),
        )
    if asked.archive_existing_versions and before is not None and before.number != version.number:
        _change(call, ModelVersionByNumber(asked.name, str(before.number)), tags={version_form.ARCHIVED_TAG: "true"}, moved=True)
    archived = {version_form.ARCHIVED_TAG: "true"} if stage == "Archived" else None
    registered_models.touch(metadata, version.model, now_us=call.now_us)
    return _shown(call, _change(call, asked, tags=archived, removed_tags=() if archived else (version_form.ARCHIVED_TAG,), moved=True))


def _known(call: MlflowCall, asked: ModelVersionByNumber) -> ModelVersion:
    model = registered_models.get(call.repositories.metadata, asked.name)
    return model_versions.live(call.repositories.metadata, model.name, number_of(asked.version))


def _change(
    call: MlflowCall,
    asked: ModelVersionByNumber,
    *,
    description: str | None = None,
    tags: dict[str, str] | None = None,
    removed_tags: tuple[str, ...] = (),
    moved: bool = False,
) -> ModelVersion:
    version = _known(call, asked)
    return model_versions.update(
        call.repositories.metadata,
        version.model,
        version.number,
        actor=call.identity.name,
        now_us=call.now_us,
        description=description,
        tags=tags,
        removed_tags=removed_tags,
        moved=moved or description is not None,
    )


def _shown(call: MlflowCall, version: ModelVersion) -> object:
    return {"model_version": version_form.version(version, version_form.aliases_of(call.repositories.metadata, version.model))}


def _check_source(call: MlflowCall, asked: CreateModelVersion) -> str:
    """The logged model that a source means, "" for another one; a run or model that is named beside it must be the source's."""
    if asked.source.startswith("models:/") and not asked.source.startswith("models:/m-"):
        return ""
    try:
        place = artifacts.resolve(call.repositories, asked.source)
    except NotFound as error:
        raise invalid(f"Invalid model version source: '{asked.source}'. {error}") from error
    if (asked.run_id and place.run and asked.run_id != place.run) or (asked.model_id and asked.model_id != place.model):
        raise invalid(f"Invalid model version source: '{asked.source}'. It belongs to another run or model than the request says.")
    return place.model


def _note_on_model(call: MlflowCall, identity: str, version: ModelVersion) -> None:
    before = call.repositories.metadata.get(LoggedModel, identity)
    if before is None:
        return
    try:
        known = msgspec.json.decode(before.tags.get(VERSIONS_TAG, "[]"), type=list[dict[str, str | int]])
    except msgspec.DecodeError:  # somebody's own tag of that name
        known = []
    entry = {"name": version.model, "version": str(version.number)}
    others = [each for each in known if (each.get("name"), str(each.get("version"))) != (version.model, str(version.number))]
    tags = {**before.tags, VERSIONS_TAG: msgspec.json.encode([*others, entry]).decode()}
    batch = Batch()
    batch.put(msgspec.structs.replace(before, tags=tags), replacing=before)
    call.repositories.metadata.commit(batch)
