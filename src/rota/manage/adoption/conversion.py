"""Convert a foreign model's file in a process of its own, because the parsers of frameworks are native code.

A file that kills its parser kills that process and nothing else; what comes out is Rota's own form and plain values.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rota.errors import InvalidInput, RotaError
from rota.manage.adoption import author_comparison, column_mapping, mlmodel
from rota.manage.adoption.mlmodel import Column, Signature
from rota.manage.models import golden_answers, loading, transformation
from rota.manage.models.engine_gate import MOST_REAL_ROWS
from rota.manage.models.parity import AuthorAnswers
from rota.ports.models import ModelFormat, SealedFormat
from rota.problems import output_names, registry
from rota.records.data import FeatureService
from rota.records.model import GoldenAnswer, GoldenRow, ModelTensor, RegistrationParity, Transformation
from rota.records.record import Record, decode
from rota.records.run import Problem


class Converted(Record, frozen=True):
    """What the process found: the model in the form of `format`, its bytes in `out`; or in one sentence why it cannot be served."""

    unservable: str = ""
    format: str = ""
    problem: Problem = "regression"
    features: FeatureService | None = None
    transformation: Transformation = Transformation(())
    golden_rows: tuple[GoldenRow, ...] = ()
    golden_answers: tuple[GoldenAnswer, ...] = ()
    dependencies: Mapping[str, str] = {}
    classes: tuple[str, ...] = ()
    parity: RegistrationParity = RegistrationParity()
    outputs: tuple[str, ...] = ()
    input_tensors: tuple[ModelTensor, ...] = ()
    output_tensor: ModelTensor | None = None


class ConversionRequest(Record, frozen=True):
    """What the process shall read. `folder` holds `file` and perhaps `example` and `author`; `pickle` says that somebody allowed it.

    `outputs` are the names that the signature has for the columns of an answer, `tensor` and `dtype` what it says of an array without columns.
    """

    model: str
    format: str
    folder: str
    file: str
    out: str
    columns: tuple[tuple[str, str], ...] = ()
    width: int = 0
    example: str = ""
    author: str = ""
    pins: Mapping[str, str] = {}
    problem: Problem | None = None
    pickle: bool = False
    outputs: tuple[str, ...] = ()
    tensor: str = ""
    dtype: str = ""


def convert(order: ConversionRequest, formats: Mapping[str, ModelFormat]) -> Converted:
    """Read the file, let the model answer its golden rows, and write it in Rota's form to `out`."""
    try:
        return _converted(order, formats)
    except RotaError as error:
        said = str(error)
    except Exception as error:  # noqa: BLE001 - a foreign model may raise anything, and its version has to say what
        said = f"the model cannot be read or does not answer: {type(error).__name__}: {error}"
    return Converted(unservable=" ".join(said.split())[:1_000])


def _converted(order: ConversionRequest, formats: Mapping[str, ModelFormat]) -> Converted:
    if order.format not in formats:
        raise InvalidInput(f"its format {order.format!r} is not installed here; installed are {sorted(formats)}")
    folder = Path(order.folder)
    format_, data = _safest(order, formats, (folder / order.file).read_bytes())
    opened = loading.reading(format_.unlocked(order.model, data, "") if isinstance(format_, SealedFormat) else format_, order.problem)
    found = column_mapping.served(order.model, _signature(order), inputs := opened.describe(data))
    rows = mlmodel.example_rows((folder / order.example).read_bytes(), found.columns) if order.example else []
    matrix = column_mapping.golden(found, rows)
    predictor = opened.loads(data)
    answers = predictor.predict(matrix)
    recorded = _recorded(folder / order.author, found.columns) if order.author else None
    problem = order.problem or (recorded.problem if recorded else None) or inputs.problem or _problem_of(answers)
    own = (recorded.outputs if recorded else ()) or inputs.outputs
    outputs = output_names.named(problem, answers.shape[1] if answers.ndim == 2 else 1, own, order.outputs)
    _check_answers(problem, outputs, answers, len(matrix))
    parity = author_comparison.compared(opened, data, found, rows, predictor, recorded=recorded, problem=problem, outputs=outputs)
    Path(order.out).write_bytes(data)
    if not found.transformation.has_texts:
        np.save(rows_file(order.out), column_mapping.golden(found, rows, most=MOST_REAL_ROWS))
    return Converted(
        format=format_.name,
        problem=problem,
        features=found.features,
        transformation=found.transformation,
        golden_rows=transformation.golden(matrix),
        golden_answers=golden_answers.kept(answers),
        dependencies=_dependencies(order, opened),
        classes=((recorded.classes if recorded else ()) or inputs.classes) if problem == "classification" else (),
        parity=parity,
        outputs=outputs,
        input_tensors=column_mapping.tensors(found, _signature(order), inputs),
        output_tensor=inputs.answer,
    )


def rows_file(out: str) -> Path:
    """Where real rows of the model's matrix lie beside its bytes."""
    return Path(f"{out}.npy")


def _problem_of(answers: np.ndarray) -> Problem:
    """The problem of a model that does not say it, by what it answers: numbers, texts, or anything else."""
    if answers.dtype != object:
        return "regression"
    return "text" if all(isinstance(answer, str) for answer in answers) else "custom"


def _check_answers(problem: Problem, outputs: tuple[str, ...], answers: np.ndarray, rows: int) -> None:
    """Golden rows must be answered as the problem answers: finite numbers, one or as many as there are outputs."""
    kind = registry.problem_type(problem)
    wanted = (rows, *answers.shape[1:2]) if kind.answer.is_list else (rows, len(outputs)) if outputs else (rows,)
    finite = answers.dtype == object or np.isfinite(answers).all()
    if answers.shape != wanted or not finite or not kind.takes(outputs):
        raise InvalidInput(
            f"the model answered {answers[:3].tolist()} ... to {rows} rows; a {problem} gives "
            f"{'one finite number' if kind.needs_outputs == 'never' else 'finite numbers, one for each output,'} a row"
        )


def _recorded(file: Path, columns: Sequence[Column]) -> AuthorAnswers | None:
    """What the author's object answered when the model was kept, by the columns that are served; None when it knew other columns."""
    found = decode(file.read_bytes(), AuthorAnswers)
    names = {column.name for column in columns}
    if set(found.names) == names:
        return found
    return msgspec.structs.replace(found, names=tuple(column.name for column in columns)) if len(found.names) == len(columns) else None


def _safest(order: ConversionRequest, formats: Mapping[str, ModelFormat], file: bytes) -> tuple[ModelFormat, bytes]:
    """The model in the form it is kept in: what a pickle holds in a form that runs no code, when there is one."""
    format_ = formats[order.format]
    data = format_.imported(file)
    if not isinstance(format_, SealedFormat):
        return format_, data
    opened = format_.unlocked(order.model, data, "")
    model = opened.held(data)
    others = loading.differences(_dependencies(order, opened))
    if others:
        raise InvalidInput(f"a pickle is only loaded by the packages that wrote it: {'; '.join(others)}")
    for safe in formats.values():
        if not isinstance(safe, SealedFormat) and safe.accepts(model):
            with suppress(InvalidInput):
                return safe, safe.dumps(model)
    return format_, data


def _signature(order: ConversionRequest) -> Signature | None:
    if not order.columns and not order.width:
        return None
    columns = tuple(mlmodel.Column(name, kind) for name, kind in order.columns)
    return Signature(columns, order.width, tensor=order.tensor, dtype=order.dtype)


def _dependencies(order: ConversionRequest, opened: ModelFormat) -> dict[str, str]:
    """The libraries that the bytes depend on, in the versions that the model was logged with where it says so."""
    own = opened.libraries()
    return own | {name: version for name, version in order.pins.items() if name in own}


def answered(plain: Any) -> Converted:
    """What the process said, read back."""
    return msgspec.convert(plain, Converted)
