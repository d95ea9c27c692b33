"""Registered models and their versions on MLflow's wire. Stages are a view of aliases; MLflow itself has deprecated them.

Production is the alias champion, Staging the alias challenger; a version that was sent to the archive carries a tag.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rota.manage.models import model_versions
from rota.ports.metadata import Metadata
from rota.records.filters import Comparison
from rota.records.model import CHALLENGER, CHAMPION, Alias, ModelVersion, RegisteredModel
from rota.server.mlflow.experiments import millis
from rota.server.mlflow.wire import invalid, pairs_of

PROMPT = "mlflow.prompt.is_prompt"
ARCHIVED_TAG = "rota.archived"
ALIAS_OF_STAGE: Mapping[str, str] = {"Production": CHAMPION, "Staging": CHALLENGER}
STAGES = ("None", "Staging", "Production", "Archived")


def stage(name: str) -> str:
    """The stage as MLflow writes it."""
    for known in STAGES:
        if known.lower() == name.lower():
            return known
    raise invalid(f"stage {name!r} is not known; it is one of {list(STAGES)}")


def aliases_of(metadata: Metadata, model: str) -> list[Alias]:
    """The aliases of a model by name."""
    return metadata.find(Alias, {"model": model}, order="alias")


def version(found: ModelVersion, aliases: Iterable[Alias]) -> dict[str, Any]:
    """A version; `aliases` are its model's. What cannot be served by Rota itself says so in its status message."""
    names = [alias.alias for alias in aliases if alias.number == found.number]
    return {
        "name": found.model,
        "version": str(found.number),
        "creation_timestamp": millis(found.created_us),
        "last_updated_timestamp": millis(found.updated_us or found.created_us),
        "user_id": found.registered_by or found.owner,
        "current_stage": stage_of(found, names),
        "description": found.description,
        "source": found.source,
        "run_id": found.experiment_run or found.run,
        "run_link": "",
        "status": "READY",
        "status_message": found.unservable,
        "tags": pairs_of({key: value for key, value in found.tags.items() if key != ARCHIVED_TAG}),
        "aliases": names,
    }


def model(metadata: Metadata, found: RegisteredModel) -> dict[str, Any]:
    """A registered model with the newest version of each stage."""
    aliases = aliases_of(metadata, found.name)
    return {
        "name": found.name,
        "creation_timestamp": millis(found.created_us),
        "last_updated_timestamp": millis(found.updated_us),
        "user_id": found.owner,
        "description": found.description,
        "latest_versions": latest(metadata, found.name, aliases, STAGES),
        "tags": pairs_of(found.tags),
        "aliases": [{"alias": alias.alias, "version": str(alias.number)} for alias in aliases],
    }


def latest(metadata: Metadata, name: str, aliases: Sequence[Alias], stages: Sequence[str]) -> list[dict[str, Any]]:
    """The newest version of each of the stages that has one."""
    newest: dict[str, dict[str, Any]] = {}
    for found in model_versions.of_model(metadata, name):
        form = version(found, aliases)
        newest[form["current_stage"]] = form
    return [newest[each] for each in stages if each in newest]


def stage_of(found: ModelVersion, aliases: Sequence[str]) -> str:
    """The stage that a version's aliases, or its tag, mean."""
    for name, alias in ALIAS_OF_STAGE.items():
        if alias in aliases:
            return name
    return "Archived" if ARCHIVED_TAG in found.tags else "None"


def without_prompts(conditions: Sequence[Comparison]) -> list[Comparison]:
    """Clients leave out prompts of language models in every search; there are none here, so the condition holds for everything."""
    return [each for each in conditions if not (each.entity == "tag" and each.key == PROMPT and each.operator == "!=")]
