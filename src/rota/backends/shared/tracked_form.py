"""What every tracking store does alike: what it accepts, which point of a metric is the newest, what a search sees of a run."""

import math
import re
import struct
from collections.abc import Iterable, Sequence
from typing import TypeVar

import msgspec

from rota.errors import Conflict, InvalidInput, NotFound, Refused
from rota.ports.tracking import Logged, RunChange
from rota.records.filters import Query
from rota.records.searching import Fields
from rota.records.tracking import (
    DEFAULT_EXPERIMENT,
    MAX_EXPERIMENT_NAME,
    MAX_KEY,
    MAX_PARAMETER,
    MAX_TAG,
    Experiment,
    ExperimentRun,
    MetricPoint,
    RunInput,
    RunOutput,
)

T = TypeVar("T")
DEFAULT = Experiment(DEFAULT_EXPERIMENT, "Default")
EMPTY = ExperimentRun("", "", "", "running", 0)
"""Shows which fields a search may name."""
MILLI_US = 1_000
MAX_INPUT_NAME = 500
MAX_DIGEST = 128
"""Characters of what names an input; with the others' limits they keep every index entry below PostgreSQL's 2,704 bytes."""
_INT64 = 2**63
_DOUBLE, _WHOLE = struct.Struct("<d"), struct.Struct("<q")
_LOW = 0x7FFF_FFFF_FFFF_FFFF
_UNKEEPABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL refuses a NUL, UTF-8 half a surrogate pair


def check_experiment(experiment: Experiment) -> None:
    """Raise `InvalidInput` for an experiment that no engine could give back."""
    _text("experiment id", experiment.id, MAX_KEY)
    _text("experiment name", experiment.name, MAX_EXPERIMENT_NAME)
    _text("project", experiment.project, MAX_KEY, least=0)
    _texts("tag", experiment.tags, MAX_TAG)
    for moment in (experiment.created_us, experiment.updated_us, experiment.deleted_us or 0):
        _whole(f"a time of experiment {experiment.id!r}", moment)


def check_run(run: ExperimentRun) -> None:
    """Raise `InvalidInput` for a run that no engine could give back."""
    check_head(run)
    check_logged(logged_at_start(run))


def check_head(run: ExperimentRun) -> None:
    """The same for what is not logged."""
    _text("run id", run.id, MAX_KEY)
    for what, text, most in (("run name", run.name, MAX_TAG), ("run owner", run.owner, MAX_TAG), ("parent run", run.parent, MAX_KEY)):
        _text(what, text, most, least=0)
    _texts("captured fact", run.source, None)
    for moment in (run.started_us, run.ended_us or 0, run.deleted_us or 0):
        _whole(f"a time of run {run.id!r}", moment)


def check_logged(logged: Logged) -> None:
    """Raise `InvalidInput` for a metric, parameter, tag, input or output that no engine could give back."""
    _texts("parameter", logged.parameters, MAX_PARAMETER)
    _texts("tag", logged.tags, MAX_TAG)
    for key in {point.key for point in logged.metrics}:
        _text("metric key", key, MAX_KEY)
    for point in logged.metrics:
        if not (-_INT64 <= point.step < _INT64 and -_INT64 <= point.at_us < _INT64):
            raise InvalidInput(f"metric {point.key!r}: step {point.step} and time {point.at_us} must fit into 64 bits", key=point.key)
    for data in logged.inputs:
        _text("input name", data.name, MAX_INPUT_NAME, least=0)
        _text("input digest", data.digest, MAX_DIGEST, least=0)
        for what, text in (("input source", data.source + data.source_type + data.node), ("input schema", data.schema), ("profile", data.profile)):
            _text(what, text, None, least=0)
        _texts("input tag", data.tags, MAX_TAG)
    for output in logged.outputs:
        _text("logged model", output.model, MAX_KEY)
        _whole(f"the step of output {output.model!r}", output.step)


def logged_at_start(run: ExperimentRun) -> Logged:
    """What a new run brings along."""
    return Logged(metrics=run.latest, parameters=run.parameters, tags=run.tags, inputs=run.inputs, outputs=run.outputs)


def rank(value: float) -> int:
    """A double as a whole number of 64 bits in the same order: -inf lowest, NaN above inf, one zero. `value_of` turns it back."""
    if math.isnan(value):
        return _LOW
    bits: int = _WHOLE.unpack(_DOUBLE.pack(value + 0.0))[0]
    return bits if bits >= 0 else bits ^ _LOW


def value_of(rank: int) -> float:
    """The double of a rank."""
    if rank == _LOW:
        return math.nan
    value: float = _DOUBLE.unpack(_WHOLE.pack(rank if rank >= 0 else rank ^ _LOW))[0]
    return value


def place(point: MetricPoint) -> tuple[int, int, int]:
    """Where a point stands in its series."""
    return (point.step, point.at_us, rank(point.value))


def newest(points: Iterable[MetricPoint]) -> dict[str, MetricPoint]:
    """The last point of each metric by (step, at_us, value)."""
    last: dict[str, tuple[tuple[int, int, int], MetricPoint]] = {}
    for point in points:
        where, seen = place(point), last.get(point.key)
        if seen is None or where > seen[0]:
            last[point.key] = (where, point)
    return {key: point for key, (_, point) in last.items()}


def first_of_inputs(inputs: Iterable[RunInput]) -> dict[tuple[str, str], RunInput]:
    """Inputs by what makes them the same, the first of equal ones."""
    found: dict[tuple[str, str], RunInput] = {}
    for data in inputs:
        found.setdefault((data.name, data.digest), data)
    return found


def first_of_outputs(outputs: Iterable[RunOutput]) -> dict[str, RunOutput]:
    """Outputs by model, the first of equal ones."""
    found: dict[str, RunOutput] = {}
    for output in outputs:
        found.setdefault(output.model, output)
    return found


def run_fields(run: ExperimentRun, *, unit_us: int = MILLI_US) -> Fields:
    """What a search sees of a run; times in milliseconds where they are compared, in microseconds where they sort."""
    return {
        "attribute": {
            "run_id": run.id,
            "run_name": run.name,
            "status": run.status,
            "user_id": run.owner,
            "parent": run.parent,
            "start_time": run.started_us // unit_us,
            "end_time": None if run.ended_us is None else run.ended_us // unit_us,
        },
        "metric": run.metrics,
        "parameter": run.parameters,
        "tag": run.tags,
        "dataset": {
            "name": tuple(data.name for data in run.inputs),
            "digest": tuple(data.digest for data in run.inputs),
            "context": tuple(data.context for data in run.inputs if data.context is not None),
        },
    }


def experiment_fields(experiment: Experiment, *, unit_us: int = MILLI_US) -> Fields:
    """What a search sees of an experiment."""
    return {
        "attribute": {
            "experiment_id": experiment.id,
            "name": experiment.name,
            "project": experiment.project,
            "creation_time": experiment.created_us // unit_us,
            "last_update_time": experiment.updated_us // unit_us,
        },
        "tag": experiment.tags,
    }


def check_asked(query: Query, fields: Fields) -> None:
    """Raise `InvalidInput` for a query about what the things with such fields do not have."""
    orders = [(order.entity, order.key) for order in query.order]
    for entity, key in [*((comparison.entity, comparison.key) for comparison in query.where), *orders]:
        if entity not in fields:
            raise InvalidInput(f"nothing can be searched or sorted by {entity} {key!r} here; possible are {list(fields)}", key=key)
        if entity in ("attribute", "dataset") and key not in fields[entity]:
            raise InvalidInput(f"there is no {entity} {key!r} to search or sort by; possible are {list(fields[entity])}", key=key)
    if any(comparison.entity == "dataset" and comparison.operator in ("IS NULL", "IS NOT NULL") for comparison in query.where):
        raise InvalidInput("a run may have read many datasets, so none of them is null")
    if any(entity == "dataset" for entity, _ in orders):
        raise InvalidInput("a run may have read many datasets, so runs have no order by one")


def no_experiment(id: str) -> NotFound:
    return NotFound(f"there is no experiment {id!r}; create it first", experiment=id)


def no_run(id: str) -> NotFound:
    return NotFound(f"there is no run {id!r}; was it purged, or does it live in another home?", run=id)


def deleted_run(id: str) -> Refused:
    return Refused(f"run {id!r} is deleted; restore it before logging into it", run=id)


def deleted_experiment(id: str) -> Refused:
    return Refused(f"experiment {id!r} is deleted; restore it before starting runs in it", experiment=id)


def taken(what: str, name: str) -> Conflict:
    return Conflict(f"{what} {name!r} exists already, perhaps deleted; use it, restore it, or take another", name=name)


def changed_run(run: ExperimentRun, change: RunChange) -> ExperimentRun:
    """A run with the fields that a change gives."""
    return msgspec.structs.replace(
        run,
        name=run.name if change.name is None else change.name,
        status=run.status if change.status is None else change.status,
        ended_us=run.ended_us if change.ended_us is None else change.ended_us,
        deleted_us=run.deleted_us if change.deleted_us is None else change.deleted_us or None,
    )


def changed_parameter(run: str, key: str, before: str, now: str) -> InvalidInput:
    message = f"parameter {key!r} of run {run!r} is {before[:200]!r} already and cannot become {now[:200]!r}; parameters are written once"
    return InvalidInput(message, run=run, key=key, before=before, now=now)


def refuse_default(id: str) -> None:
    """The default experiment is always there."""
    if id == DEFAULT_EXPERIMENT:
        raise Refused(f'experiment {id!r} ("{DEFAULT.name}") is always there; purge its runs instead', experiment=id)


def chunks(values: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _texts(what: str, texts: object, most: int | None) -> None:
    for key, value in dict(texts).items():  # type: ignore[call-overload]
        _text(f"{what} key", key, MAX_KEY)
        _text(f"{what} {key!r}", value, most, least=0)


def _text(what: str, text: str, most: int | None, *, least: int = 1) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"{what} {text!r} is no text", what=what)
    if len(text) < least or (most is not None and len(text) > most):
        shown = text if len(text) <= 80 else f"{text[:80]}..."
        raise InvalidInput(f"{what} {shown!r} has {len(text)} characters; allowed are {least} to {most}", what=what)
    if _UNKEEPABLE.search(text):
        raise InvalidInput(f"{what} {text[:80]!r} holds a NUL or half a character, which no engine keeps", what=what)


def _whole(what: str, number: int) -> None:
    if not isinstance(number, int) or not -_INT64 <= number < _INT64:
        raise InvalidInput(f"{what} is {number!r}, which is no whole number of 64 bits", what=what)
