"""ML Metadata's vocabulary over Rota's lineage nodes: which kind is an Artifact, which an Execution, which a Context.

An artifact is what was made and is never changed again, an execution is something that ran, a context groups both. The part
of a node before the colon is its kind; the table below says what each kind is and under which type name it is known.
"""

from dataclasses import dataclass
from typing import Literal

Concept = Literal["artifact", "execution", "context"]


@dataclass(frozen=True, slots=True)
class NodeType:
    """What the nodes of one kind are; `about` is for people."""

    kind: str
    concept: Concept
    name: str
    about: str


TYPES: tuple[NodeType, ...] = (
    NodeType("source", "artifact", "SourceTable", "a source's rows at one version of its table"),
    NodeType("feature_view_version", "artifact", "FeatureView", "one definition that a feature view has had"),
    NodeType("dataset_version", "artifact", "Dataset", "an immutable dataset version"),
    NodeType("statistics", "artifact", "Statistics", "statistics and anomalies of a dataset"),
    NodeType("schema", "artifact", "Schema", "a schema version that data is held against"),
    NodeType("transformation", "artifact", "Transformation", "a fitted transformation"),
    NodeType("bundle", "artifact", "ModelBundle", "model bytes with everything that a prediction process needs"),
    NodeType("evaluation", "artifact", "Evaluation", "metrics of a candidate, and of the champion on the same rows"),
    NodeType("model_version", "artifact", "Model", "a registered model version"),
    NodeType("logged_model", "artifact", "LoggedModel", "a model that a tracked run logged"),
    NodeType("review_request", "artifact", "ReviewRequest", "somebody asked for a decision on a version"),
    NodeType("risk_answer", "artifact", "RiskAnswer", "an answer to a risk question"),
    NodeType("approval", "artifact", "Approval", "a governance decision"),
    NodeType("alias_move", "artifact", "AliasMove", "one entry of an alias's history"),
    NodeType("model_card", "artifact", "ModelCard", "what people wrote on a version's card"),
    NodeType("pipeline_release", "artifact", "PipelineRelease", "a project's sources with their environment lock"),
    NodeType("release", "artifact", "Release", "what an endpoint serves: one revision of its traffic split"),
    NodeType("rollout", "artifact", "Rollout", "a progressive delivery with its verdicts"),
    NodeType("monitor_slice", "artifact", "MonitorSlice", "what was measured in one slice of time"),
    NodeType("alert", "artifact", "Alert", "a breach seen by a monitor or a gate"),
    NodeType("prediction", "artifact", "Prediction", "one answer of an endpoint"),
    NodeType("blob", "artifact", "File", "bytes under their digest"),
    NodeType("artifact_file", "artifact", "ArtifactFile", "a file below an artifact root"),
    NodeType("schedule", "artifact", "Trigger", "a tick of a schedule"),
    NodeType("new_data", "artifact", "Trigger", "an arrival of rows"),
    NodeType("manual", "artifact", "Trigger", "a person's wish"),
    NodeType("run", "execution", "Run", "a durable run of a workflow, with its steps"),
    NodeType("experiment_run", "execution", "ExperimentRun", "a tracked run of development"),
    NodeType("ingestion", "execution", "Ingestion", "rows taken into a source"),
    NodeType("experiment", "context", "Experiment", "a named group of tracked runs"),
    NodeType("pipeline", "context", "Pipeline", "a deployed pipeline"),
    NodeType("registered_model", "context", "RegisteredModel", "a name under which versions are registered"),
    NodeType("endpoint", "context", "Endpoint", "an address that predicts"),
    NodeType("project", "context", "Project", "what was applied together"),
)
_OTHER = NodeType("", "artifact", "Other", "written by another version of this program")
_BY_KIND = {each.kind: each for each in TYPES}


def type_of(node: str) -> NodeType:
    """What a node is; one of an unknown kind is an artifact of the type "Other"."""
    return _BY_KIND.get(node.partition(":")[0], _OTHER)


def key_of(node: str) -> str:
    """What identifies a node among those of its kind."""
    return node.partition(":")[2]


def event_type(cause: str, effect: str) -> str:
    """INPUT: an execution read it; OUTPUT: an execution made it; DERIVED: one thing follows from another of its sort."""
    kinds = type_of(cause).concept, type_of(effect).concept
    return {("artifact", "execution"): "INPUT", ("execution", "artifact"): "OUTPUT"}.get(kinds, "DERIVED")
