"""Continuous training: the standard pipeline as one durable run.

ingest -> validate_data (gate 1) -> transform -> train -> evaluate -> validate_model (gate 2) -> register. Each step's result,
its lineage and what it registered commit together; a run that is killed goes on behind its last finished step, and a gate that
refuses ends the run as blocked with its reason, leaving no version behind.
"""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from rota.durable.workflow import Blocked, Context, StepWork
from rota.errors import Interrupted, InvalidInput, NotFound, Refused
from rota.manage.datasets import build as datasets
from rota.manage.datasets import schemas
from rota.manage.datasets import versions as dataset_versions
from rota.manage.features.writer import Feed
from rota.manage.lineage import executions
from rota.manage.models import bundle as packing
from rota.manage.models import loading, model_aliases, model_versions, pickle_signing, transformation
from rota.manage.models.engine_choosing import EngineChooser
from rota.manage.models.engine_gate import MOST_REAL_ROWS
from rota.manage.models.own_metrics import MetricCalls
from rota.manage.repositories import Repositories
from rota.manage.signals import alerts
from rota.ports.compute import Compute
from rota.ports.models import ModelFormat
from rota.problems import registry
from rota.problems.intervals import metric_intervals
from rota.problems.problem_type import AGREEMENT, ProblemType, ScoredRows
from rota.records import check
from rota.records.check import CheckResult
from rota.records.dataset import DatasetVersion
from rota.records.model import EngineChoice, ModelBundle, ModelVersion, RegistrationParity, Transformation
from rota.records.record import decode, encode, plain
from rota.records.release import Endpoint
from rota.records.run import Deployed, Evaluation, PipelineRelease, TrainingPipeline
from rota.train import data_gate, gates, handoff, training_rows

GOLDEN_ROWS = 32
DRAWS = 100
"""Of the bootstrap behind the intervals of a candidate's metrics: each measures up to 100,000 rows once more."""
SLICES_WITH_INTERVALS = 20
"""Slices of a column that have intervals: those with most rows."""


@dataclass(frozen=True, slots=True)
class TrainWorkflow:
    """Runs a deployed pipeline once.

    `release_tree` gives the directory of a release's sources; `fit` is the "module:name" of what `compute` calls to fit a model;
    `temporary` is where matrices lie meanwhile (None: the system's temporary directory); `engines` choose what serves a model (None: the library
    of its format).
    """

    repositories: Repositories
    feed: Feed
    compute: Compute
    formats: Mapping[str, ModelFormat]
    release_tree: Callable[[PipelineRelease], Path]
    timeout_s: float
    fit: str
    temporary: Callable[[], Path | None] = lambda: None
    engines: EngineChooser | None = None

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        begun = context.step("begin", lambda work: self._begin(work, arguments))
        deployed = msgspec.convert(begun["deployed"], Deployed)
        dataset = msgspec.convert(context.step("ingest", lambda work: self._ingest(work, deployed)), DatasetVersion)
        checked = context.step("validate_data", lambda work: self._validate_data(work, deployed, dataset))
        if checked["refused"]:
            raise Blocked(f"blocked by data validation: {checked['refused']}")
        fitted = context.step("transform", lambda work: self._transform(work, dataset, deployed))
        trained = context.step("train", lambda work: self._train(work, deployed, dataset, fitted["transformation"]), retry=deployed.definition.retry)
        scored = context.step("evaluate", lambda work: self._evaluate(work, deployed, dataset, trained["bundle"]))
        judged = context.step("validate_model", lambda _: self._validate_model(deployed, scored))
        if judged["refused"]:
            raise Blocked(f"blocked by model validation: {judged['refused']}")
        outcome: dict[str, Any] = context.step("register", lambda work: self._register(work, deployed, dataset, trained, scored))
        return outcome

    def _begin(self, work: StepWork, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Fix which definition and release this run uses, so that a deployment in the middle changes nothing."""
        deployed = self.repositories.metadata.get(Deployed, arguments["pipeline"], arguments["environment"])
        if deployed is None:
            raise NotFound(f"pipeline {arguments['pipeline']!r} is not deployed in {arguments['environment']!r}; `rota apply` deploys it")
        work.used(f"pipeline_release:{deployed.release}")
        return {"deployed": plain(deployed), "components": executions.components()}

    def _ingest(self, work: StepWork, deployed: Deployed) -> Any:
        definition = deployed.definition.dataset
        for source in datasets.source_names(definition):
            self.feed.refresh(source)
        prepared = dataset_versions.prepare(self.repositories, deployed.pipeline, definition, environment=deployed.environment, now_us=work.now_us)
        version = prepared.version
        if not prepared.new:
            work.used(f"dataset_version:{version.id}")
            return plain(version)
        version = msgspec.structs.replace(version, run=work.run.id)
        work.batch.create(version)
        work.used(*dataset_versions.source_nodes(version))
        work.made(f"dataset_version:{version.id}")
        return plain(version)

    def _validate_data(self, work: StepWork, deployed: Deployed, dataset: DatasetVersion) -> dict[str, Any]:
        """Gate 1. The first dataset of a pipeline becomes its schema; later ones are held against it, and follow changed features."""
        metadata = self.repositories.metadata
        rows = datasets.read(self.repositories.tables, dataset)
        present = schemas.active(metadata, deployed.pipeline)
        schema = data_gate.active_schema(present, deployed.pipeline, deployed.definition.dataset, rows, dataset, now_us=work.now_us)
        if schema is not present:
            base = schemas.newest_version(metadata, deployed.pipeline)
            schema = schemas.add(work.batch, schema, base=base, author=work.run.id, now_us=work.now_us)
        endpoints = metadata.find(Endpoint, {"model": deployed.pipeline})
        open_faults = [a for e in endpoints for a in alerts.open_alerts(metadata, e.name) if a.severity == "critical" and a.kind.endswith("_skew")]
        controls = data_gate.controls(self.repositories, schema, dataset)
        result = data_gate.judge(schema, rows, deployed.definition.dataset.features.feature_names, open_faults, controls)
        statistics = self.repositories.blobs.put(encode({"statistics": result.statistics, "anomalies": result.anomalies}))
        work.made(f"statistics:{statistics}")
        work.used(f"schema:{schema.name}@{schema.version}")
        refused = data_gate.refusal(schema, result)
        if refused:
            self._raise_gate_alert(work, deployed, "data validation", refused)
        else:
            self._resolve_gate_alerts(work, deployed, "data validation")
        found = {"refused": refused, "anomalies": plain(result.anomalies), "schema": schema.version, "statistics": statistics}
        return found | {"checks": plain(_first(result.checks) if present is None else result.checks)}

    def _transform(self, work: StepWork, dataset: DatasetVersion, deployed: Deployed) -> dict[str, Any]:
        """Fit the transformation on the training rows only."""
        rows = training_rows.parts(deployed.definition, self._rows(dataset, test=False)).train
        service = deployed.definition.dataset.features
        fitted = transformation.fit(datasets.feature_types(rows, service.feature_names, datasets.declared_types(service)), rows)
        blob = self.repositories.blobs.put(encode(fitted))
        work.made(f"transformation:{blob}")
        return {"transformation": blob}

    def _train(self, work: StepWork, deployed: Deployed, dataset: DatasetVersion, blob: str) -> dict[str, Any]:
        """Call the project's training function in a process of its own and keep the model as a bundle."""
        blobs = self.repositories.blobs
        release = self._release(deployed)
        fitted = decode(blobs.get(blob), Transformation)
        data = training_rows.data(deployed.definition, self.repositories.tables.scan(dataset.table, version=dataset.table_version))
        with tempfile.TemporaryDirectory(prefix="rota-train-", dir=self.temporary()) as name:
            folder = Path(name)
            handoff.save(folder, data, fitted)
            frame = handoff.load(folder)[0].train.frame
            out = folder / "model"
            arguments = {
                "train": deployed.definition.train,
                "folder": str(folder),
                "out": str(out),
                "parameters": dict(deployed.definition.parameters),
                "problem": deployed.definition.problem,
                "pickle": pickle_signing.is_allowed(self.repositories.metadata, deployed.pipeline),
            }
            try:
                tree = self.release_tree(release)
                made = self.compute.run(self.fit, arguments, path=tree, timeout_s=self.timeout_s, stopped=work.stopped)
            except Interrupted as error:
                raise Interrupted(f"training function {deployed.definition.train!r}: {error}", **error.facts) from error
            except Refused as error:
                empty = [each.name for each in frame if each.null_count() == len(each)]
                if not empty:
                    raise
                seen = f"{error}\nfeatures that are null in each of the {frame.height} training rows: {empty}"
                raise Refused(seen, **error.facts) from error
            model = out.read_bytes()
            columns = msgspec.convert(made["transformation"], Transformation)
            golden = transformation.matrix(columns, frame[np.linspace(0, frame.height - 1, GOLDEN_ROWS, dtype=int)])
        ingredients = packing.Ingredients(
            model=deployed.pipeline,
            format=made["format"],
            problem=deployed.definition.problem,
            features=deployed.definition.dataset.features,
            transformation=columns,
            golden=golden,
            dependencies=made["libraries"],
            classes=tuple(made["classes"]) if deployed.definition.problem == "classification" else (),
            outputs=_outputs(deployed.definition, made["outputs"]),
            **_group(deployed.definition),
        )

        def choose(bundle: ModelBundle, data: bytes) -> EngineChoice | None:
            if self.engines is None:
                return None
            real = frame[np.linspace(0, frame.height - 1, min(frame.height, MOST_REAL_ROWS), dtype=int)]
            return self.engines.choose(blobs, bundle, data, None if columns.has_texts else transformation.matrix(columns, real), work.stopped)

        digest = packing.pack(blobs, self.formats, ingredients, model, choose=choose)
        work.made(f"bundle:{digest}")
        told = {name: made[name] for name in ("format", "libraries", "classes", "outputs", "parity")}
        return {"bundle": digest, "rows": frame.height, **told}

    def _evaluate(self, work: StepWork, deployed: Deployed, dataset: DatasetVersion, bundle: str) -> dict[str, Any]:
        """Score candidate and champion on the same test rows."""
        rows = self._rows(dataset, test=True)
        champion = model_aliases.aliased_version(self.repositories.metadata, deployed.pipeline)
        calls = MetricCalls(self.compute, self.release_tree(self._release(deployed)), self.timeout_s, work.stopped, self.temporary())
        evaluation, answers = self._score(deployed, dataset, rows, _Scored(f"candidate of {work.run.id}", bundle, is_new=True), calls)
        scored = {"candidate": evaluation}
        if champion is not None:
            work.used(f"model_version:{champion.id}")
            scored["champion"], others = self._score(deployed, dataset, rows, _Scored(champion.id, champion.bundle), calls)
            scored["candidate"] = _with_agreement(registry.problem_type(deployed.definition.problem), evaluation, answers, others)
        blob = self.repositories.blobs.put(encode(scored))
        work.made(f"evaluation:{blob}")
        return {"evaluation": blob, **{name: plain(evaluation) for name, evaluation in scored.items()}}

    def _score(
        self, deployed: Deployed, dataset: DatasetVersion, rows: pl.DataFrame, model: "_Scored", calls: MetricCalls
    ) -> tuple[Evaluation, NDArray[Any]]:
        """The evaluation of a model on the test rows, and its answers to them. Where rows need no label, metrics are those of the labelled ones."""
        loaded = loading.load(self.repositories.blobs, self.formats, model.bundle, name=deployed.pipeline)
        missing = [name for name in loaded.bundle.transformation.features if name not in rows.columns]
        if missing:
            raise InvalidInput(
                f"{model.name} needs the features {missing}, which dataset {dataset.name}@{dataset.number} lacks; give the new model a new name"
            )
        answers = loaded.predictor.predict(transformation.matrix(loaded.bundle.transformation, rows))
        problem, names = deployed.definition.problem, loaded.bundle.names
        columns = sorted({gate.column for gate in deployed.definition.gates if gate.column})
        kind, height = registry.problem_type(problem), rows.height
        weights, groups = training_rows.weights(deployed.definition, rows), training_rows.groups(deployed.definition, rows)
        labels = datasets.labels(rows, deployed.definition.dataset)
        every = ScoredRows(registry.truth_of(problem, names, labels), answers, names, weights, groups)
        known = labels.is_not_null().to_numpy() if deployed.definition.dataset.unlabelled else np.ones(rows.height, dtype=bool)
        some = every.where(known)
        scored = replace(registry.checked(problem, some.truth, some.answers, outputs=names), weights=some.weights, groups=some.groups)
        every = scored if known.all() else _with_unknown(every, known)
        whole, parts = calls.measured(deployed.definition.metrics, every, {column: rows[column] for column in columns})
        rows = rows.filter(known)
        slices = {column: _by_slice(kind, rows[column], scored, parts.get(column, {})) for column in columns}
        found = Evaluation(model.name, f"{dataset.name}@{dataset.number}", height, kind.evaluate(scored) | whole, slices)
        if not model.is_new or not len(scored):
            return found, answers
        moments = rows[datasets.AT].to_numpy()
        known_well = msgspec.structs.replace(
            found,
            intervals=metric_intervals(kind, scored, moments_us=moments, draws=DRAWS),
            slice_intervals={column: _slice_intervals(kind, rows[column], scored, moments) for column in columns},
            breakdown=kind.breakdown(scored),
        )
        return known_well, answers

    def _release(self, deployed: Deployed) -> PipelineRelease:
        release = self.repositories.metadata.get(PipelineRelease, deployed.release)
        if release is None:
            raise NotFound(f"pipeline release {deployed.release} is unknown; apply the project again", release=deployed.release)
        return release

    def _validate_model(self, deployed: Deployed, scored: Mapping[str, Any]) -> dict[str, Any]:
        candidate = msgspec.convert(scored["candidate"], Evaluation)
        champion = msgspec.convert(scored["champion"], Evaluation) if "champion" in scored else None
        results = gates.judge(deployed.definition.gates, candidate, champion, own=deployed.definition.metrics)
        refused = gates.refusal(deployed.definition.gates, results, first=champion is None)
        return {
            "refused": refused,
            "gates": plain(results),
            "not_judged": check.unjudged(results) or (["no gate is declared"] if not results else []),
        }

    def _register(
        self, work: StepWork, deployed: Deployed, dataset: DatasetVersion, trained: Mapping[str, Any], scored: Mapping[str, Any]
    ) -> dict[str, Any]:
        version = ModelVersion(
            model=deployed.pipeline,
            number=model_versions.next_number(self.repositories.metadata, deployed.pipeline),
            bundle=trained["bundle"],
            format=trained["format"],
            run=work.run.id,
            dataset=f"{dataset.name}@{dataset.number}",
            release=deployed.release,
            created_us=work.now_us,
            metrics=scored["candidate"]["metrics"],
            parameters=dict(deployed.definition.parameters),
            evaluation=scored["evaluation"],
            trigger=work.run.trigger,
            classes=tuple(trained.get("classes", ())),
            outputs=_outputs(deployed.definition, trained.get("outputs", ())),
            problem=deployed.definition.problem,
            group=str(_group(deployed.definition).get("group", "")),
            parity=msgspec.convert(trained["parity"], RegistrationParity) if "parity" in trained else None,
            engine=decode(self.repositories.blobs.get(trained["bundle"]), ModelBundle).engine,
        )
        model_versions.register(work.batch, self.repositories.metadata, version)
        work.made(f"model_version:{version.id}")
        work.batch.link(f"model_version:{version.id}", [f"dataset_version:{version.dataset}", f"bundle:{version.bundle}"], work.now_us)
        return {"version": version.number, "metrics": dict(version.metrics)}

    def _raise_gate_alert(self, work: StepWork, deployed: Deployed, gate: str, message: str) -> None:
        for endpoint in self.repositories.metadata.find(Endpoint, {"model": deployed.pipeline}):
            breach = alerts.Breach("gate", gate, "critical", f"training of {deployed.pipeline} blocked by {gate}: {message}", {"run": work.run.id})
            alerts.raise_or_touch(work.batch, self.repositories.metadata, endpoint.name, breach, now_us=work.now_us, run=work.run.id)

    def _resolve_gate_alerts(self, work: StepWork, deployed: Deployed, gate: str) -> None:
        for endpoint in self.repositories.metadata.find(Endpoint, {"model": deployed.pipeline}):
            for alert in alerts.open_alerts(self.repositories.metadata, endpoint.name):
                if (alert.kind, alert.subject) == ("gate", gate):
                    alerts.resolve(work.batch, alert, now_us=work.now_us, actor=work.run.id, reason=f"{gate} let a training pass")

    def _rows(self, dataset: DatasetVersion, *, test: bool) -> pl.DataFrame:
        return datasets.read(self.repositories.tables, dataset).filter(pl.col(datasets.TEST) == test)


@dataclass(frozen=True, slots=True)
class _Scored:
    """What an evaluation calls the model, its bundle, and whether it is the candidate, whose metrics get intervals."""

    name: str
    bundle: str
    is_new: bool = False


def _outputs(definition: TrainingPipeline, outputs: Sequence[str]) -> tuple[str, ...]:
    """The names of what a model answers: those of the targets that it was trained on where it has as many, its own where these speak of them."""
    targets = tuple(definition.dataset.targets)
    if targets and registry.problem_type(definition.problem).targets(tuple(outputs)) == targets:
        return tuple(outputs)
    if targets and len(outputs) != len(targets):
        raise InvalidInput(
            f"the dataset of {definition.name!r} has the targets {list(targets)}, and the model that was trained answers {len(outputs) or 1} a row; "
            "train it on every column of data.train.y"
        )
    return targets or tuple(outputs)


def _group(definition: TrainingPipeline) -> dict[str, Any]:
    """The field of a request that names a row's group, with its type, where the problem judges rows by groups."""
    if not registry.problem_type(definition.problem).needs_groups:
        return {}
    return {"group": definition.group, "group_type": definition.dataset.labels.fields[definition.group]}


def _first(checks: Sequence[CheckResult]) -> list[CheckResult]:
    """The checks of a first dataset, out of which the schema was made: it cannot break what was inferred from it."""
    missing = "this first dataset became the schema; the next is held against it"
    schema = [
        msgspec.structs.replace(c, outcome="inconclusive", message=missing, missing=missing, state="learning") for c in checks if c.check == "schema"
    ]
    return [*schema, *(c for c in checks if c.check != "schema")]


def _with_agreement(kind: ProblemType, evaluation: Evaluation, answers: NDArray[Any], champions: NDArray[Any]) -> Evaluation:
    """The evaluation of a candidate, with how far its answers agree with its champion's, where models of the problem may be compared so."""
    found = math.nan if kind.agreement is None else kind.agreement(answers, champions)
    return evaluation if math.isnan(found) else msgspec.structs.replace(evaluation, metrics={**evaluation.metrics, AGREEMENT: found})


def _with_unknown(rows: ScoredRows, known: NDArray[np.bool_]) -> ScoredRows:
    """Rows of which some have no label: their truth is NaN, or None where it is a text."""
    if rows.truth.dtype != object:
        return rows
    truth = rows.truth.copy()
    truth[~known] = None
    return replace(rows, truth=truth)


def _slice_intervals(kind: ProblemType, values: pl.Series, scored: ScoredRows, moments: NDArray[Any]) -> dict[str, dict[str, tuple[float, float]]]:
    """The bounds of the metrics of the SLICES_WITH_INTERVALS values with most rows, where these have four days."""
    largest = values.drop_nulls().value_counts(name="rows").sort("rows", values.name, descending=[True, False]).head(SLICES_WITH_INTERVALS)
    found = {}
    for value in largest[values.name].sort().to_list():
        inside = (values == value).fill_null(False).to_numpy()
        found[str(value)] = metric_intervals(kind, scored.where(inside), moments_us=moments[inside], draws=DRAWS)
    return {value: bounds for value, bounds in found.items() if bounds}


def _by_slice(kind: ProblemType, values: pl.Series, scored: ScoredRows, own: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    found = {}
    for value in values.drop_nulls().unique().sort().to_list():
        inside = (values == value).fill_null(False).to_numpy()
        found[str(value)] = {"rows": float(inside.sum()), **kind.evaluate(scored.where(inside)), **own.get(str(value), {})}
    return found
