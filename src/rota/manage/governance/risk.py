"""Risk questions: what a policy asks about a version, the answers, and which of them still block an approval."""

from collections.abc import Mapping

import msgspec

from rota.errors import InvalidInput, NotFound
from rota.manage.models import model_versions, registered_models
from rota.ports.metadata import Batch, Metadata
from rota.records.model import ModelVersion, ReleasePolicy, RiskAnswer
from rota.records.signal import Event
from rota.records.time import Micros


def answers(metadata: Metadata, version: ModelVersion) -> dict[str, RiskAnswer]:
    """The newest answer to each question about a version."""
    found = metadata.find(RiskAnswer, {"model": version.model, "number": version.number}, order="at_us")
    return {answer.question: answer for answer in found}


def obstacles(policy: ReleasePolicy, answers: Mapping[str, RiskAnswer]) -> list[str]:
    """Why the questions do not allow an approval: each required one without an answer, each one with an unacceptable answer."""
    unanswered = [q for q in policy.questions if q.required and q.id not in answers]
    return [f"the {q.category} question {q.id!r} is not answered" for q in unanswered] + unacceptable(policy, answers)


def unacceptable(policy: ReleasePolicy, answers: Mapping[str, RiskAnswer]) -> list[str]:
    """The policy's questions that were answered, but not acceptably."""
    bad = [(q, answers[q.id]) for q in policy.questions if q.id in answers and not answers[q.id].acceptable]
    return [f"the {q.category} question {q.id!r} was not answered acceptably ({answer.answered_by})" for q, answer in bad]


def answer(metadata: Metadata, model: str, number: int, question: str, *, text: str, acceptable: bool, actor: str, now_us: Micros) -> RiskAnswer:
    """Answer a question about a version; an earlier answer stays in the history and no longer counts.

    The version is touched, so that nobody approves it at the same moment without having seen this answer.
    """
    if not text.strip():
        raise InvalidInput(f"the answer to {question!r} is empty; say what was examined and found", question=question)

    def store() -> RiskAnswer:
        version = model_versions.live(metadata, model, number)
        known = [q.id for q in registered_models.release_policy(metadata, model).questions]
        if question not in known:
            raise NotFound(f"the policy of {model!r} asks no question {question!r}; it asks {known or 'none'}", model=model, question=question)
        at_us = max(now_us, version.updated_us + 1)
        made = RiskAnswer(model, number, question, at_us, text.strip(), acceptable, actor)
        batch = Batch()
        batch.put(msgspec.structs.replace(version, updated_us=at_us), replacing=version)
        batch.create(made)
        batch.event(Event("risk.answered", version.id, now_us, {"model": model, "number": number, "question": question}))
        batch.audit(actor, "risk.answer", version.id, now_us, question=question, answer=made.answer, acceptable=acceptable)
        metadata.commit(batch)
        return made

    return registered_models.retried(store)
