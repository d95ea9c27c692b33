"""What a search may ask of runs, experiments, models and versions: their attributes and types, other spellings, entities, operators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rota.records.filters import Entity

Subject = Literal["run", "experiment", "registered_model", "model_version", "logged_model"]
Kind = Literal["text", "number", "time"]

ENTITIES: Mapping[str, Entity] = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("parameter", "parameters", "param", "params"), "parameter"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
NUMERIC_OPERATORS = ("=", "!=", ">", ">=", "<", "<=")
TEXT_OPERATORS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
KEYED_OPERATORS = ("=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL")
DATASET_KEYS = ("name", "digest", "context")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What may be asked of a subject: attributes by name, other spellings of them, and what has keys of the user's own."""

    attributes: Mapping[str, Kind]
    spellings: Mapping[str, str]
    entities: tuple[Entity, ...]
    order_only: tuple[str, ...] = ()


VOCABULARIES: Mapping[Subject, Vocabulary] = {
    "run": Vocabulary(
        {"run_id": "text", "run_name": "text", "status": "text", "user_id": "text", "parent": "text", "start_time": "time", "end_time": "time"},
        {
            **dict.fromkeys(("created", "Created", "started"), "start_time"),
            **dict.fromkeys(("run name", "Run name", "Run Name", "name"), "run_name"),
            "ended": "end_time",
            "id": "run_id",
            "owner": "user_id",
        },
        ("attribute", "metric", "parameter", "tag", "dataset"),
    ),
    "experiment": Vocabulary(
        {"name": "text", "experiment_id": "text", "project": "text", "creation_time": "time", "last_update_time": "time"},
        {"id": "experiment_id"},
        ("attribute", "tag"),
    ),
    "registered_model": Vocabulary(
        {"name": "text", "owner": "text", "project": "text", "creation_timestamp": "time", "last_updated_timestamp": "time"},
        {"timestamp": "last_updated_timestamp"},
        ("attribute", "tag", "metric"),
    ),
    "model_version": Vocabulary(
        {
            **dict.fromkeys(("name", "run_id", "source_path", "owner", "status", "stage", "alias"), "text"),
            "version_number": "number",
            "creation_timestamp": "time",
            "last_updated_timestamp": "time",
        },
        {"version": "version_number", "timestamp": "last_updated_timestamp"},
        ("attribute", "tag", "metric", "parameter"),
    ),
    "logged_model": Vocabulary(
        {
            **dict.fromkeys(("name", "model_id", "model_type", "status", "source_run_id"), "text"),
            "creation_timestamp": "time",
            "last_updated_timestamp": "time",
        },
        {"creation_time": "creation_timestamp", "last_updated_time": "last_updated_timestamp"},
        ("attribute", "metric", "parameter", "tag"),
    ),
}
