"""What is known before anything is stored: declarations that could never work, found when a project is planned.

Each check gives sentences that name the record, the field and the value. They stand here and not in the records' constructors, so
that definitions which an older Rota took can still be read.
"""

import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import msgspec

from rota.errors import InvalidInput
from rota.manage.datasets import build as datasets
from rota.manage.features.expressions import compiler
from rota.manage.models import cron, strategies
from rota.problems import registry
from rota.records.data import Expression, FeatureService, FeatureView, Source
from rota.records.dataset import NO_LABEL, Dataset, DatasetDefinition, TimeSplit
from rota.records.record import Record, check_name, plain
from rota.records.release import Endpoint
from rota.records.run import Gate, TrainingPipeline, Trigger
from rota.records.signal import AlertKind, Monitor
from rota.records.time import micros
from rota.records.value_types import width
from rota.stats import concept_drift, drift, schema_validation

_TRIGGERS = ("schedule", "new_data", "alert")


def check(records: Sequence[Record], file: Path) -> None:
    """Raises `InvalidInput` with every declaration of a project that could never work; the project's folder must be importable."""
    pipelines = {record.name: record for record in records if isinstance(record, TrainingPipeline)}
    found = [f"{_title(record)}: {fault}" for record in records for fault in _faults(record, pipelines)]
    if len(found) == 1:
        raise InvalidInput(f"project file {str(file)!r}: {found[0]}", file=str(file))
    if found:
        listed = "".join(f"\n  {number}. {fault}" for number, fault in enumerate(found, 1))  # in one line they are still told apart
        raise InvalidInput(f"project file {str(file)!r} declares what cannot work:{listed}", file=str(file))


def _faults(record: Record, pipelines: Mapping[str, TrainingPipeline]) -> Iterator[str]:
    unstorable = list(_unstorable(record))
    yield from unstorable
    if unstorable:
        return
    match record:
        case TrainingPipeline():
            yield from _pipeline(record)
        case Dataset():
            yield from _dataset(record.name, record.definition)
        case Endpoint():
            yield from _said(lambda name: check_name("model", name), record.model, "model: ")
            own = pipelines.get(record.model)
            metrics = [metric.name for metric in own.metrics] if own is not None else []
            yield from strategies.faults(record.rollout, own.problem if own is not None else None, own=metrics)
        case Monitor():
            yield from _monitor(record)
        case FeatureView():
            yield from _view(record)
        case Source():
            yield from _source(record)
        case FeatureService():
            if not record.views:
                yield "views: it has none, so nothing can be asked of it; name the views whose features it reads"


def _title(record: Record) -> str:
    name = record.endpoint.name if isinstance(record, Monitor) else getattr(record, "name", getattr(record, "model", ""))
    return f"{type(record).__name__} {name!r}"


def _unstorable(record: Record) -> Iterator[str]:
    """Values that no store gives back as they were: infinite and NaN numbers, what JSON does not know, and what the field does not take."""
    before = len(record.__struct_fields__)
    for field in record.__struct_fields__:
        try:
            value = plain(getattr(record, field))
        except (TypeError, ValueError, RecursionError) as error:
            yield f"{field} cannot be stored: {error}; give numbers, texts, lists and dicts"
            continue
        before -= 1
        yield from (f"{path} = {number} is no finite number; leave it out, or give one" for path, number in _not_finite(field, value))
    if not before:
        yield from _misfits(record)


def _misfits(record: Record) -> Iterator[str]:
    """A value of another type than its field's, as reading the record back would find it; the path is that of the stored form."""
    try:
        msgspec.convert(plain(record), type(record))
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        yield f"{path.strip('`.') or 'it'}: {what[:1].lower()}{what[1:]}"
    except InvalidInput as error:
        yield str(error)


def _not_finite(path: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(_not_finite(f"{path}.{name}", each) for name, each in value.items())
    elif isinstance(value, list | tuple):
        yield from chain.from_iterable(_not_finite(f"{path}[{i}]", each) for i, each in enumerate(value))


def _pipeline(pipeline: TrainingPipeline) -> Iterator[str]:
    yield from _dataset(pipeline.name, pipeline.dataset)
    yield from _inputs(pipeline)
    yield from _training_function(pipeline)
    yield from _weight(pipeline)
    if pipeline.problem not in registry.PROBLEMS:
        known = ", ".join(f"{name} ({kind.summary})" for name, kind in registry.PROBLEMS.items())
        yield f"problem = {pipeline.problem!r} is unknown; known are {known}"
    else:
        yield from _label(pipeline)
        yield from _group(pipeline)
        yield from _unlabelled(pipeline)
        yield from _own_metrics(pipeline)
        for number, gate in enumerate(pipeline.gates):
            yield from (f"gates[{number}] {fault}" for fault in _gate(gate, pipeline))
    for number, trigger in enumerate(pipeline.triggers):
        yield from (f"triggers[{number}] {fault}" for fault in _trigger(trigger))
    for number, trigger in enumerate(pipeline.triggers):
        before = pipeline.triggers[:number]
        if trigger.kind != "schedule" and any((other.kind, other.spec) == (trigger.kind, trigger.spec) for other in before):
            yield f"triggers[{number}] {trigger.kind} {trigger.spec}".rstrip() + " is there twice, and only the first would be asked; keep one"
    for field in ("max_runs_per_week", "give_up_after"):
        if getattr(pipeline, field) < 1:
            yield f"{field} = {getattr(pipeline, field)} lets no trigger ever start a run; give at least 1"


def _trigger(trigger: Trigger) -> Iterator[str]:
    if trigger.kind not in _TRIGGERS:
        yield f"kind = {trigger.kind!r} starts nothing by itself; declare one of {list(_TRIGGERS)}"
    yield from _said(micros, trigger.cooldown, "cooldown: ")
    if trigger.kind == "schedule":
        yield from _said(cron.check, trigger.spec, "")
    elif trigger.kind == "new_data" and trigger.rows < 1:
        yield f"new_data: rows = {trigger.rows}; give at least 1"
    elif trigger.kind == "alert" and trigger.spec not in (kinds := [kind for kind in get_args(AlertKind) if kind not in ("platform", "rollout")]):
        yield f"on_alert: no alert of an endpoint has the kind {trigger.spec!r}; the kinds are {kinds}"


def _own_metrics(pipeline: TrainingPipeline) -> Iterator[str]:
    """A worker imports the functions by their text, and calls each with two columns, or with the rows."""
    for number, own in enumerate(pipeline.metrics):
        if registry.metric_of_any(own.name) is not None:
            yield f"metrics[{number}]: {own.name!r} is the name of a metric of Rota's; give the function another"
        if any(own.name == other.name for other in pipeline.metrics[:number]):
            yield f"metrics[{number}]: {own.name!r} is there twice; keep one"
        module, _, name = own.function.partition(":")
        try:
            parameters = len(inspect.signature(getattr(importlib.import_module(module), name)).parameters)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything, and the plan has to say what
            yield f"metrics[{number}] = {own.function!r} cannot be imported: {type(error).__name__}: {error}"
            continue
        if parameters not in (1, 2):
            yield f"metrics[{number}] = {own.function!r} takes {parameters} parameters; it is called with (truth, answers), or with the scored rows"


def _gate(gate: Gate, pipeline: TrainingPipeline) -> Iterator[str]:
    problem, own = pipeline.problem, {each.name: registry.own_metric(each) for each in pipeline.metrics}
    known = registry.metric(problem, gate.metric) or own.get(gate.metric)
    if known is None:
        others = [name for name, kind in registry.PROBLEMS.items() if gate.metric in kind.metrics]
        of = f"belongs to {', '.join(others)}" if others else "is unknown"
        yield f"{gate.kind}: the metric {gate.metric!r} {of}; a {problem} is measured by {[*registry.PROBLEMS[problem].metrics, *own]}"
        return
    right = "at_least" if known.higher_is_better else "at_most"
    if gate.word and gate.word != right:
        better, written = "larger" if known.higher_is_better else "smaller", f"({gate.metric!r}, {gate.bound:g})"
        yield f"{gate.word}{written}: {gate.metric} is better when it is {better}; write {right}{written}"
    beyond = gate.bound > known.best if known.higher_is_better else gate.bound < known.best
    if gate.kind != "champion" and beyond:
        yield f"{gate.kind} {gate.metric}: its bound {gate.bound:g} can never be met; the best that {gate.metric} can be is {known.best:g}"
    width = known.highest - known.lowest
    if gate.kind == "champion" and abs(gate.bound) >= width:
        never = "never be met" if gate.bound < 0 else "never refuse"
        yield f"champion {gate.metric}: its margin {gate.bound:g} can {never}; {gate.metric} lies between {known.lowest:g} and {known.highest:g}"
    if gate.kind == "slice" and gate.min_rows < 1:
        yield f"slice {gate.metric}: min_rows = {gate.min_rows}; give at least 1"


def _inputs(pipeline: TrainingPipeline) -> Iterator[str]:
    """A model reads a matrix: every feature is a number of columns."""
    try:
        kinds = datasets.declared_types(pipeline.dataset.features)
    except InvalidInput:
        return  # what is wrong with a view is told otherwise
    for name, kind in kinds.items():
        yield from (f"feature {name!r}: {fault}" for fault in _said(width, kind, ""))


def _weight(pipeline: TrainingPipeline) -> Iterator[str]:
    """A weight is a number that is read from the label's own row."""
    if pipeline.weight is None:
        return
    text = pipeline.weight.text
    try:
        kind = compiler.check(pipeline.weight.expression, pipeline.dataset.labels.fields)
    except InvalidInput as error:
        yield f"weight: {error}"
        return
    if kind in ("string", "timestamp"):
        yield f'weight: {text!r} is a {"text" if kind == "string" else "time"}; a weight is a number, as in "amount" or "coalesce(weight, 1)"'
    if pipeline.weight.aggregation:
        yield f"weight: {text!r} is the {pipeline.weight.aggregation} of a window; a weight is read from its own row, so give rota.sql(...)"


def _label(pipeline: TrainingPipeline) -> Iterator[str]:
    """A label must be such as the problem has: texts name classes."""
    definition, kind = pipeline.dataset, registry.PROBLEMS[pipeline.problem]
    try:
        is_text = datasets.label_type(definition) == "string"
    except InvalidInput:
        return  # what is wrong with it is told otherwise
    if is_text and not kind.label.fits("text"):
        texts = [name for name, each in registry.PROBLEMS.items() if each.label.fits("text")]
        text = definition.label.text
        yield f"label: {text!r} is a text, and a {pipeline.problem} has {kind.label.allowed} for labels; texts are labels of {', '.join(texts)}"
    if definition.targets and not (kind.label.fits(dict.fromkeys(definition.targets, 1.0)) and kind.takes(tuple(definition.targets))):
        yield f"label: it has the targets {list(definition.targets)}, and a {pipeline.problem} is {kind.summary}"


def _unlabelled(pipeline: TrainingPipeline) -> Iterator[str]:
    """Rows without a label train a model that learns without them, and no other."""
    if pipeline.dataset.unlabelled and registry.PROBLEMS[pipeline.problem].agreement is None:
        others = [name for name, kind in registry.PROBLEMS.items() if kind.agreement is not None]
        yield f"dataset: it takes rows without a label, and a {pipeline.problem} learns from labels; without them learn models of {', '.join(others)}"


def _group(pipeline: TrainingPipeline) -> Iterator[str]:
    """Where rows are judged by groups, a group is declared: without it no metric is defined, at training and in the monitor."""
    if registry.PROBLEMS[pipeline.problem].needs_groups and not pipeline.group:
        fields = sorted(pipeline.dataset.labels.fields)
        yield (
            f"group: a {pipeline.problem} is judged by groups of rows; name the field of the label source by whose value rows belong together, such "
            f'as group="search_id" (its fields are {fields})'
        )


def _dataset(name: str, definition: DatasetDefinition) -> Iterator[str]:
    yield from _said(lambda d: datasets.check(name, d), definition, "")
    never = definition.unlabelled and definition.label == NO_LABEL
    for what, text in (("label", "" if never else definition.label.expression), ("filter", definition.filter)):
        if text and not _reads_a_column(text, definition):
            yield f"dataset: its {what} {getattr(text, 'text', text)!r} reads no column, so it is the same for every row"
    window_us = micros(definition.window)
    if not window_us:
        yield f'dataset: window = {definition.window!r} holds no rows; write how far back it reaches, as in "180d"'
    elif isinstance(definition.split, TimeSplit) and not 0 < micros(definition.split.test) < window_us:
        yield (
            f"dataset: TimeSplit(test={definition.split.test!r}) of window = {definition.window!r} leaves no rows for "
            f"{'the test' if not micros(definition.split.test) else 'training'}; hold out a part of the window"
        )


def _reads_a_column(text: Expression, definition: DatasetDefinition) -> bool:
    try:
        return bool(compiler.columns_of_all([text], definition.labels.fields))
    except InvalidInput:
        return True  # what is wrong with it is told otherwise


def _training_function(pipeline: TrainingPipeline) -> Iterator[str]:
    """A worker imports the function by its text and calls it with the data and the parameters; here it is done but for the call."""
    module, _, name = str(pipeline.train).partition(":")
    if module == "__main__":
        yield f"train = {pipeline.train!r} is defined in a script; a worker imports it, so define it in the project file or a module beside it"
        return
    try:
        function = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's module may raise anything, and the plan has to say what
        yield f"train = {pipeline.train!r} cannot be imported: {type(error).__name__}: {error}"
        return
    if not callable(function):
        yield f"train = {pipeline.train!r} is a {type(function).__name__}, no function"
        return
    try:
        inspect.signature(function).bind(object(), **pipeline.parameters)
    except TypeError as error:
        given = ", ".join(["data", *(f"{name}=..." for name in pipeline.parameters)])
        yield f"train = {pipeline.train!r} cannot be called as {name}({given}): {error}"
    except ValueError:
        return  # a function of a compiled module tells no signature


def _monitor(monitor: Monitor) -> Iterator[str]:
    yield from _said(cron.check, monitor.schedule, "schedule: ")
    least = max(drift.LEAST_REFERENCE, concept_drift.LEAST_REFERENCE)
    if monitor.reference_days < least:
        yield f"reference_days = {monitor.reference_days} could never judge drift, which is compared with at least {least} days"
    if monitor.gap_days < 0:
        yield f"gap_days = {monitor.gap_days} would compare a day with itself; give 0 or more"


def _view(view: FeatureView) -> Iterator[str]:
    if view.ttl is not None and not micros(view.ttl):
        yield f"ttl = {view.ttl!r}: every value would be too old at once; leave it out for values that never expire"
    for name, feature in view.features.items():
        if feature.window is not None and not micros(feature.window):
            yield f'features.{name}: window = {feature.window!r} holds no rows; write how far back it reaches, as in "3h"'


def _source(source: Source) -> Iterator[str]:
    contract = source.contract
    if contract is not None:
        names = [column.name for column in contract.columns]
        yield from (
            f"contract.columns: {name!r} is there twice; give a column one expectation" for name in sorted({n for n in names if names.count(n) > 1})
        )
        for column in contract.columns:
            if unknown := sorted(set(column.policy) - {*schema_validation.POLICY, schema_validation.EVERY_KIND}):
                yield f"contract.columns {column.name!r}: policy names {unknown}, which are no kinds of anomalies"
    if contract is not None and contract.freshness is not None and not micros(contract.freshness):
        yield f'contract.freshness = {contract.freshness!r} is broken by every row; write how old the newest row may be, as in "1d"'


def _said(act: Callable[[Any], object], value: Any, prefix: str) -> Iterator[str]:
    """The refusal of a check that raises, as a sentence."""
    try:
        act(value)
    except InvalidInput as error:
        yield f"{prefix}{error}"
