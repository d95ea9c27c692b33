"""Nouns of the model registry and its governance."""

from collections.abc import Mapping
from typing import Any, Literal

from rota.records.data import FeatureService
from rota.records.record import Record
from rota.records.run import Problem
from rota.records.schema import Type
from rota.records.time import Micros

VersionStatus = Literal["registered", "approved", "rejected"]


class TransformedColumn(Record, frozen=True):
    """How one feature becomes one column of the model's matrix: a number as it is, or a text as its vocabulary's index."""

    name: str
    type: Type
    vocabulary: tuple[str, ...] = ()


class Transformation(Record, frozen=True):
    """The fitted preprocessing shared by training and serving: float64 matrix, null = NaN, unseen text = len(vocabulary)."""

    columns: tuple[TransformedColumn, ...]


class ModelBundle(Record, frozen=True):
    """Everything a prediction process needs, by digest: model bytes, transformation, features, golden rows.

    Golden rows are transformed matrix rows with the answers the model gave at registration; a process that cannot
    reproduce them to 1e-9 refuses the bundle.
    """

    model: str
    format: str
    blob: str
    problem: Problem
    features: FeatureService
    transformation: Transformation
    golden_rows: tuple[tuple[float | None, ...], ...]
    golden_answers: tuple[float, ...]
    dependencies: Mapping[str, str] = {}


class ModelVersion(Record, frozen=True):
    """An immutable numbered version of a model: what it is (bundle), where it comes from, how it was judged."""

    model: str
    number: int
    bundle: str
    format: str
    run: str
    dataset: str
    release: str
    created_us: Micros
    status: VersionStatus = "registered"
    metrics: Mapping[str, float] = {}
    parameters: Mapping[str, Any] = {}
    evaluation: str = ""
    statistics: str = ""
    trigger: str = "manual"

    @property
    def id(self) -> str:
        return f"{self.model}@{self.number}"


class Alias(Record, frozen=True):
    """A movable name of a version; its history is in the audit log."""

    model: str
    alias: str
    number: int
    since_us: Micros
    reason: str = ""


class Approval(Record, frozen=True):
    """A governance decision on a version with its reviewer, reason and evidence."""

    model: str
    number: int
    decision: Literal["approve", "reject", "request_changes"]
    reviewer: str
    reason: str
    evidence: Mapping[str, Any]
    at_us: Micros


class ReleasePolicy(Record, frozen=True):
    """How a model's versions are released.

    automatic: approved when both gates passed, and rolled out. semi-automatic: a person approves, the rollout starts by
    itself. manual: a person approves and starts the rollout.
    """

    model: str
    level: Literal["automatic", "semi-automatic", "manual"] = "automatic"
