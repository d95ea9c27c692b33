"""Nouns of access: permissions, the roles that hold them, and tokens.

The table ROLES is the whole policy: what is not in it is forbidden. Training, registering, approving and releasing a
model are four permissions, and no role but the owner's holds all of them.
"""

from collections.abc import Mapping
from typing import Literal

from rota.records.record import Record
from rota.records.time import Micros

Permission = Literal[
    "platform.read",
    "platform.operate",
    "platform.backup",
    "token.manage",
    "data.read",
    "data.push",
    "data.write",
    "experiment.read",
    "experiment.write",
    "pipeline.read",
    "pipeline.deploy",
    "train.start",
    "model.read",
    "model.register",
    "model.approve",
    "model.release",
    "model.unsafe",
    "monitor.read",
    "monitor.act",
    "predict",
    "features",
    "label",
    "outcome.write",
    "lineage.read",
    "note.write",
    "audit.read",
]
Role = Literal["owner", "data_scientist", "data_engineer", "ml_engineer", "application", "reviewer", "auditor", "operator"]

PERMISSIONS: Mapping[Permission, str] = {
    "platform.read": "see the overview, events and the loop's state",
    "platform.operate": "advance a replayed clock, collect garbage, set retention",
    "platform.backup": "back the platform up, with every secret of its home",
    "token.manage": "make, list and revoke tokens",
    "data.read": "read sources, features, datasets and schemas",
    "data.push": "push rows of a source",
    "data.write": "ingest, materialise, build datasets, edit and freeze schemas",
    "experiment.read": "read experiments, runs and their artifacts",
    "experiment.write": "track runs, write their artifacts, delete and restore them",
    "pipeline.read": "read pipelines, releases and durable runs",
    "pipeline.deploy": "apply a project",
    "train.start": "start a training run",
    "model.read": "read models, versions, reviews and rollouts",
    "model.register": "register versions, edit what describes them, move unprotected aliases, ask for a review",
    "model.approve": "answer risk questions, approve, reject, ask for changes, set a policy",
    "model.release": "start a rollout, roll back, move protected aliases",
    "model.unsafe": "allow a model that is kept as pickle",
    "monitor.read": "read alerts, slices and the prediction log",
    "monitor.act": "acknowledge alerts, start a monitor run",
    "predict": "ask an endpoint for predictions",
    "features": "read online features at the prediction port",
    "label": "report the labels of predictions",
    "outcome.write": "report business outcomes",
    "lineage.read": "walk the lineage graph",
    "note.write": "write notes",
    "audit.read": "read and verify the audit log",
}
_READ: frozenset[Permission] = frozenset(
    {"platform.read", "data.read", "experiment.read", "pipeline.read", "model.read", "monitor.read", "lineage.read"}
)
ROLES: Mapping[Role, frozenset[Permission]] = {
    "owner": frozenset(PERMISSIONS),
    "data_scientist": _READ | {"features", "experiment.write", "train.start", "model.register", "note.write"},
    "data_engineer": _READ | {"features", "data.push", "data.write", "note.write"},
    "ml_engineer": _READ | {"features", "experiment.write", "pipeline.deploy", "train.start", "model.register", "monitor.act", "note.write"},
    "application": frozenset({"data.push", "predict", "features", "label", "outcome.write"}),
    "reviewer": _READ | {"model.approve", "model.unsafe", "audit.read", "note.write"},
    "auditor": _READ | {"audit.read"},
    "operator": _READ | {"platform.operate", "model.release", "monitor.act", "note.write"},
}


class AccessToken(Record, frozen=True):
    """A token of somebody, known by the SHA-256 of its secret; the secret itself is shown once and never stored.

    `project`, `environment` and `endpoint` limit it ("" = any); one of an endpoint predicts and labels there, and does nothing else.
    A revoked or expired token opens nothing.
    """

    id: str
    holder: str
    role: Role
    hash: str
    created_us: Micros
    created_by: str
    expires_us: Micros | None = None
    project: str = ""
    environment: str = ""
    revoked_us: Micros | None = None
    endpoint: str = ""


class BrowserSession(Record, frozen=True):
    """A browser that entered with a token, known by the SHA-256 of the id in its cookie; the id itself is stored nowhere but there.

    `token` is the id of the token ("" for the owner's), `entered_with` the hash of its secret: a session opens what its token opens, as long
    as that does. `used_us` is kept coarsely. One that was ended, that lay idle or grew old opens nothing.
    """

    id: str
    hash: str
    token: str
    holder: str
    entered_with: str
    created_us: Micros
    used_us: Micros
    ended_us: Micros | None = None


class Identity(Record, frozen=True):
    """Who acts: a token's holder with its role and limits."""

    name: str
    role: Role
    project: str = ""
    token: str = ""
    endpoint: str = ""

    def may(self, permission: Permission) -> bool:
        return permission in ROLES[self.role]
