"""Alert triggers that cannot fire yet: what an alert of their kind waits for, told when they are declared and where they are shown."""

from collections.abc import Iterable

from rota.records.run import TrainingPipeline
from rota.stats import concept_drift


def notes(pipelines: Iterable[TrainingPipeline], *, watched: bool) -> list[str]:
    """A sentence for each alert trigger of pipelines that waits for something; `watched`: whether an endpoint of the model has a monitor."""
    kinds = sorted({trigger.spec for pipeline in pipelines for trigger in pipeline.triggers if trigger.kind == "alert"})
    return [note for kind in kinds if (note := _note(kind, watched=watched))]


def _note(kind: str, *, watched: bool) -> str:
    if not watched:
        return f'on_alert("{kind}") never fires: no endpoint of the model has a monitor; declare a rota.Monitor'
    if kind == "performance":
        days, labels = concept_drift.LABELLED_DAYS, concept_drift.LEAST_LABELLED
        return f'on_alert("{kind}") cannot fire before {days} days with {labels} labels each; `rota monitor show ENDPOINT` counts them'
    return ""
