"""The use-case record: why a project exists, in the words of the people who asked for it."""

from rota.errors import InvalidInput
from rota.records.record import Record, check_name


class UseCase(Record, frozen=True):
    """What a project is for: stated before the first model, shown on every model's card.

    `models` names the models (pipelines) it speaks of; without any it speaks of all models of its project.
    """

    name: str
    task: str
    business_measure: str
    evaluation_metric: str
    data: str = ""
    training: str = ""
    serving: str = ""
    owner: str = ""
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("use case", self.name)
        for field in ("task", "business_measure", "evaluation_metric"):
            if not getattr(self, field).strip():
                raise InvalidInput(f"use case {self.name!r}: {field} is empty; state it in a sentence", field=field)
