"""The model card of a version: generated from what was recorded, with people's text beside it section by section.

A card is generated whenever it is read; only people's text is stored (`ModelCard`), with each change in the audit log.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from rota.errors import InvalidInput
from rota.manage.governance import evidence, readiness
from rota.manage.lineage.explain import Explanation, explain
from rota.manage.models import model_versions, registered_models, signatures
from rota.manage.repositories import Repositories
from rota.ports.metadata import Batch, Metadata, transact
from rota.records import check
from rota.records.breakdown import Breakdown
from rota.records.model import ModelCard, ModelVersion, RegisteredModel
from rota.records.project import UseCase
from rota.records.record import Record
from rota.records.run import Evaluation
from rota.records.time import Micros, iso

SECTIONS: Mapping[str, str] = {
    "purpose": "What it is for",
    "intended_use": "Intended use",
    "data": "Data",
    "features": "Features",
    "parameters": "Hyperparameters",
    "offline": "Quality on held-out data",
    "comparison": "Compared with the champion",
    "online": "Quality in use",
    "outcomes": "Business outcomes",
    "risk": "Risk",
    "governance": "Decisions",
    "aliases": "Alias history",
    "lineage": "Where it comes from",
    "limits": "Limits and caveats",
}
"""The sections in their order; people may write into each of them."""
MAX_TEXT = 10_000
_UNWRITTEN = {
    "intended_use": "Nobody has said yet for whom and for what it is meant, and for what it is not.",
    "limits": "Nobody has written down its limits yet.",
}


class Grid(Record, frozen=True):
    """A table of texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


class Section(Record, frozen=True):
    """A part of a card: what people wrote, named facts, tables; `missing` says in a sentence that there is nothing."""

    id: str
    title: str
    text: str = ""
    facts: Mapping[str, str] = {}
    grids: tuple[Grid, ...] = ()
    missing: str = ""


class Card(Record, frozen=True):
    """A model card as of `made_us`."""

    model: str
    number: int
    status: str
    made_us: Micros
    sections: tuple[Section, ...]
    edited_us: Micros = 0
    edited_by: str = ""

    @property
    def id(self) -> str:
        return f"{self.model}@{self.number}"


def card(repositories: Repositories, version: ModelVersion) -> Card:
    """The card of a version as everything stands now."""
    metadata = repositories.metadata
    now_us = max(repositories.clock.now_us(), version.created_us, version.updated_us)  # a replayed clock may stand still
    known = explain(repositories, version.id, at_us=now_us)
    written = metadata.get(ModelCard, version.model, version.number) or ModelCard(version.model, version.number)
    made: Mapping[str, tuple[Mapping[str, object], Iterable[Grid]]] = {
        "purpose": (_purpose(metadata, version), ()),
        "data": (_data(known), ()),
        "features": (signatures.facts(signatures.of_version(repositories.blobs, version)), _features(known)),
        "parameters": (known.parameters, ()),
        "offline": (_offline(known), evaluation_grids(scored) if (scored := _candidate(known)) else ()),
        "comparison": ({}, _comparison(known)),
        "online": (_online(metadata, version), _rollouts(known)),
        "outcomes": ({}, _outcomes(repositories, version)),
        "risk": ({}, _risk(metadata, known)),
        "governance": (_governance(metadata, version, known), _decisions(known)),
        "aliases": ({}, _aliases(known)),
        "lineage": (_lineage(known), ()),
    }
    sections = tuple(_section(name, written.sections.get(name, ""), *made.get(name, ({}, ()))) for name in SECTIONS)
    return Card(version.model, version.number, version.status, known.at_us, sections, written.edited_us, written.edited_by)


def edit(metadata: Metadata, model: str, number: int, section: str, text: str, *, actor: str, now_us: Micros) -> ModelCard:
    """Write a section of a version's card; an empty text takes back what was written there."""
    if section not in SECTIONS:
        raise InvalidInput(f"a card has no section {section!r}; it has {list(SECTIONS)}", section=section)
    if len(text) > MAX_TEXT or any(not (letter.isprintable() or letter in "\n\r\t") for letter in text):
        raise InvalidInput(f"the section {section!r} takes at most {MAX_TEXT} printable characters; this text has {len(text)}", section=section)

    def write() -> ModelCard:
        version = model_versions.live(metadata, model, number)
        before = metadata.get(ModelCard, model, number)
        sections = dict(before.sections) if before else {}
        old, new = sections.pop(section, ""), text.replace("\r\n", "\n").strip()
        if new:
            sections[section] = new
        after = ModelCard(model, number, sections, now_us, actor)
        batch = Batch()
        batch.put(after, replacing=before)
        batch.audit(actor, "card.edit", version.id, now_us, section=section, before=old, after=new)
        metadata.commit(batch)
        return after

    return transact(write)


def _section(id: str, text: str, facts: Mapping[str, object], grids: Iterable[Grid]) -> Section:
    shown_facts = {name: shown(value) for name, value in facts.items() if value not in ("", None)}
    full = tuple(grid for grid in grids if grid.rows)
    missing = "" if text or shown_facts or full else _UNWRITTEN.get(id, "Nothing was recorded.")
    return Section(id, SECTIONS[id], text, shown_facts, full, missing)


def shown(value: object) -> str:
    """A value as a card shows it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _purpose(metadata: Metadata, version: ModelVersion) -> dict[str, object]:
    model = metadata.get(RegisteredModel, version.model)
    case = use_case(metadata, version.model)
    told: dict[str, object] = {
        "owner": version.owner or (model.owner if model else ""),
        "description": version.description,
        "an answer is": version.answer,
    }
    if model is not None:
        told["model"] = model.description
    if case is not None:
        asked = ("task", "business_measure", "evaluation_metric", "data", "training", "serving", "owner")
        told |= {"use case": case.name} | {f"use case: {name.replace('_', ' ')}": getattr(case, name) for name in asked}
    return told


def use_case(metadata: Metadata, model: str) -> UseCase | None:
    """The use case that names the model, else one that speaks of all models."""
    cases = metadata.find(UseCase, order="name")
    return next((case for case in cases if model in case.models), next((case for case in cases if not case.models), None))


def _data(known: Explanation) -> dict[str, object]:
    dataset = known.dataset
    if dataset is None:
        return {"dataset": known.version.dataset}
    return {
        "dataset": dataset.id,
        "period": f"{iso(dataset.start_us)} to {iso(dataset.end_us)}",
        "rows": f"{dataset.rows} ({dataset.train_rows} to train on, {dataset.test_rows} to test on)",
        "test rows from": iso(dataset.test_from_us),
        "sources": ", ".join(f"{name} at table version {number}" for name, number in dataset.sources.items()),
        "quality": ", ".join(f"{name} {shown(score)}" for name, score in dataset.quality.items()),
        "digest": dataset.digest,
    }


def _features(known: Explanation) -> list[Grid]:
    rows = [(str(view["name"]), ", ".join(map(str, view["features"]))) for view in known.features]
    return [Grid(("view", "features"), tuple(rows))]


def _offline(known: Explanation) -> dict[str, object]:
    candidate = known.evaluation.get("candidate") or {}
    bounds = candidate.get("intervals") or {}
    facts: dict[str, object] = {name: with_interval(value, bounds.get(name)) for name, value in known.version.metrics.items()}
    if rows := candidate.get("rows"):
        facts["test rows"] = rows
    return facts | {f"gate {gate.check}": f"{check.WORDS[gate.outcome]}: {gate.message}" for gate in known.gates}


def _candidate(known: Explanation) -> Evaluation | None:
    found = known.evaluation.get("candidate")
    return msgspec.convert(found, Evaluation) if found else None


def with_interval(value: object, bounds: Sequence[float] | None) -> str:
    """A metric with the bounds between which it lies with 95 %, where they are known."""
    return f"{shown(value)} (95 %: {shown(bounds[0])} to {shown(bounds[1])})" if bounds else shown(value)


def evaluation_grids(scored: Evaluation) -> list[Grid]:
    """The slices of an evaluation with their intervals, and what lies behind its metrics."""
    slices = [_metric_grid(f"by {column}", "value", list(by.items()), scored.slice_intervals.get(column)) for column, by in scored.slices.items()]
    return [*slices, *breakdown_grids(scored.breakdown)]


def breakdown_grids(found: Breakdown | None) -> list[Grid]:
    """Tables of each class, label or target, of who was taken for whom, and of the calibration; what is left out stands in a title."""
    if found is None:
        return []
    beyond = f"; {found.left_out_sentence}" if found.left_out else ""
    grids = [_metric_grid(f"one by one{beyond}", "name", list(found.by_name.items()))] if found.by_name else []
    if found.confusion:
        rows = tuple((name, *map(shown, row)) for name, row in zip(found.classes, found.confusion, strict=True))
        grids.append(Grid(("true \\ answered", *found.classes), rows, f"confusion, in rows{beyond}"))
    if found.calibration:
        bins = tuple((f"{b.low:g} to {b.high:g}", shown(b.rows), shown(b.answered), shown(b.share)) for b in found.calibration)
        grids.append(Grid(("probability answered", "rows", "mean answered", "came true"), bins, "calibration"))
    return grids


def _comparison(known: Explanation) -> list[Grid]:
    named = {"candidate": known.version.id}
    sides = [(named.get(role, f"{role} {found['model']}"), found["metrics"]) for role, found in known.evaluation.items()]
    dataset = next((known.evaluation[role]["dataset"] for role in known.evaluation), "")
    return [_metric_grid(f"on the test rows of {dataset}", "model", sides)] if len(sides) > 1 else []


def _metric_grid(
    title: str, first: str, rows: Sequence[tuple[str, Mapping[str, Any]]], bounds: Mapping[str, Mapping[str, Any]] | None = None
) -> Grid:
    names = sorted({name for _, metrics in rows for name in metrics})
    within = bounds or {}
    told = (
        (label, *(with_interval(metrics[name], within.get(label, {}).get(name)) if name in metrics else "" for name in names))
        for label, metrics in rows
    )
    return Grid((first, *names), tuple(told), title)


def _online(metadata: Metadata, version: ModelVersion) -> dict[str, object]:
    measured = evidence.online(metadata, version)["performance"]
    return {f"{name} on {endpoint}": value for endpoint, found in measured.items() for name, value in found.items()}


def _rollouts(known: Explanation) -> list[Grid]:
    rows = [(iso(r.started_us), r.endpoint, r.state.replace("_", " "), str(r.champion or "none"), r.reason) for r in known.rollouts]
    return [Grid(("rollout began", "endpoint", "state", "against", "reason"), tuple(rows))]


def _outcomes(repositories: Repositories, version: ModelVersion) -> list[Grid]:
    columns = ("outcome", "reported", "sum", "mean", "per prediction")
    grids = []
    for endpoint, found in evidence.earned(repositories, version).items():
        rows = tuple((k["name"], str(k["count"]), shown(k["total"]), shown(k["mean"]), shown(k["per_prediction"])) for k in found["kpis"])
        grids.append(Grid(columns, rows, f"{endpoint}, {found['predictions']} predictions"))
    return grids


def _risk(metadata: Metadata, known: Explanation) -> list[Grid]:
    asked = {question.id: question for question in registered_models.release_policy(metadata, known.version.model).questions}
    newest = {answer.question: answer for answer in known.risks}
    rows = []
    for name in dict.fromkeys([*asked, *newest]):
        question, answer = asked.get(name), newest.get(name)
        verdict = "open" if answer is None else "acceptable" if answer.acceptable else "blocks"
        said = ("", "") if answer is None else (answer.answer, f"{answer.answered_by}, {iso(answer.at_us)}")
        rows.append((question.category if question else "", question.text if question else name, said[0], verdict, said[1]))
    return [Grid(("category", "question", "answer", "verdict", "by"), tuple(rows))]


def _governance(metadata: Metadata, version: ModelVersion, known: Explanation) -> dict[str, object]:
    standing = readiness.readiness(metadata, version, now_us=known.at_us)
    return {
        "status": f"{version.status} ({version.approval_status})",
        "may be released": "; ".join(standing.missing) or "yes",
        "approvals end": iso(standing.expires_us) if standing.expires_us else "",
        "policy": standing.policy.level,
        "registered by": version.registered_by,
    }


def _decisions(known: Explanation) -> list[Grid]:
    rows = [
        (iso(a.at_us), a.decision.replace("_", " "), a.reviewer, a.reason, iso(a.expires_us) if a.expires_us else "for good") for a in known.approvals
    ]
    return [Grid(("at", "decision", "by", "reason", "until"), tuple(rows))]


def _aliases(known: Explanation) -> list[Grid]:
    rows = [(iso(m.at_us), m.alias, str(m.before or "none"), str(m.number or "none"), m.actor, m.reason) for m in known.alias_moves]
    return [Grid(("at", "alias", "from", "to", "by", "reason"), tuple(rows))]


def _lineage(known: Explanation) -> dict[str, object]:
    version, code = known.version, known.code
    facts: dict[str, object] = {"registered": iso(version.created_us), "cause": version.trigger, "run": version.run or version.experiment_run}
    if known.alert is not None:
        facts["alert"] = f"{known.alert.kind} of {known.alert.subject}: {known.alert.message}"
    if code is not None:
        facts |= {"commit": (code.commit or "none") + (" with local changes" if code.dirty else ""), "lock": code.lock, "python": code.python}
    if known.execution is not None:
        facts["executed by"] = known.execution.executor
    parity = version.parity.sentence if version.parity else ""
    engine = version.engine.sentence if version.engine else ""
    return facts | {"source": version.source, "format": version.format, "bundle": version.bundle, "registration parity": parity, "engine": engine}
