"""Release policies as files: the format of policy.toml, and storing and reading the policy of a model.

level = "semi-automatic"        # automatic | semi-automatic | manual
four_eyes = true                # who registered, owns or presented a version cannot approve it
approvals = 2                   # so many different people
valid = "90d"                   # an approval opens gates for so long; left out: for good
protected = ["champion"]        # aliases that point at approved versions only

[[questions]]
id = "bias"
category = "ethical"            # business | legal | ethical
text = "Which groups could be treated unfairly, and how was that tested?"
required = true
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from rota.errors import InvalidInput
from rota.manage.models import registered_models
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.model import ReleasePolicy, RiskQuestion
from rota.records.record import check_name, plain
from rota.records.time import Micros

FILE = "policy.toml"
_KEYS = frozenset(ReleasePolicy.__struct_fields__)
_QUESTION_KEYS = frozenset(RiskQuestion.__struct_fields__)


def read(file: Path, model: str = "", *, otherwise: str = "") -> ReleasePolicy:
    """The policy that a file describes: for `model`, for the one that the file names ("*": every model without its own), or else `otherwise`."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"policy file {str(file)!r} cannot be read: {error}", file=str(file)) from error
    return parse(text, model, otherwise=otherwise, name=str(file))


def parse(text: str, model: str = "", *, otherwise: str = "", name: str = FILE) -> ReleasePolicy:
    """The policy of a TOML text; unknown keys, wrong types and another model than asked for are errors."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"policy file {name!r} is not valid TOML: {error}", file=name) from error
    _check_keys(values, name)
    named = str(values.get("model", ""))
    if model and named not in ("", model):
        raise InvalidInput(f"policy file {name!r} is for model {named!r}, not for {model!r}; leave `model` out to use it for any", file=name)
    model = model or named or otherwise
    if not model:
        raise InvalidInput(f"policy file {name!r} names no model; add `model = ...` to it", file=name)
    values["model"] = check_model(model)
    values.setdefault("level", "semi-automatic")
    try:
        return msgspec.convert(values, ReleasePolicy)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"policy file {name!r} does not fit: {error}", file=name) from error


def put(metadata: Metadata, policy: ReleasePolicy, *, actor: str, now_us: Micros) -> ReleasePolicy:
    """Put a policy in force; the audit entry keeps the one before and the one after."""
    check_model(policy.model)
    registered_models.check_spelling(metadata, policy.model)

    def change() -> ReleasePolicy:
        before = metadata.get(ReleasePolicy, policy.model)
        if before == policy:
            return policy
        batch = Batch()
        batch.put(policy, replacing=before)
        batch.audit(actor, "policy.set", policy.model, now_us, before=plain(before) if before else None, after=plain(policy))
        metadata.commit(batch)
        return policy

    return transact(change)


def check_model(model: str) -> str:
    """The model's name, or "*"."""
    return model if model == registered_models.ANY else check_name("model", model)


def _check_keys(values: dict[str, Any], name: str) -> None:
    if unknown := sorted(set(values) - _KEYS):
        raise InvalidInput(f"policy file {name!r} has unknown keys {unknown}; known are {sorted(_KEYS)}", file=name)
    questions = values.get("questions", [])
    for question in questions if isinstance(questions, list) else ():
        if isinstance(question, dict) and (unknown := sorted(set(question) - _QUESTION_KEYS)):
            raise InvalidInput(f"policy file {name!r}: a question has unknown keys {unknown}; known are {sorted(_QUESTION_KEYS)}", file=name)
