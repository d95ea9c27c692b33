"""Load a model for serving: from its bundle's digest to a predictor that still gives the golden rows' answers."""

import importlib.metadata
import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np

from rota.errors import Refused, RotaError
from rota.manage.models import engine_gate, golden_answers
from rota.manage.models.engine_guard import GuardedPredictor
from rota.manage.models.transformation import RowsTransformer, matrix_of_golden
from rota.ports.models import AmbiguousFormat, ModelFormat, Predictor, SealedFormat
from rota.records.model import EngineChoice, EngineGuard, ModelBundle
from rota.records.record import decode
from rota.records.run import Problem

log = logging.getLogger("rota.manage")
EXTRAS = {"skops": "sklearn"}
"""Formats whose extra has another name."""
SAME = {"xgboost": ("xgboost-cpu",), "onnxruntime": ("onnxruntime-gpu",)}
"""Packages that hold the same module under another name."""
BOUNDED = frozenset({"lightgbm", "xgboost"})
"""Formats whose calls end by what is checked of their trees when they are loaded, and run no code of the model's author."""
QUICK_S = 0.0005
"""A call of one row that took longer is made away from the event loop, where it would hold up every endpoint."""
WARM_UP_ROWS = (1, 1, 1, 32)
"""Rows of the calls made before traffic: the first call of an engine allocates, and one row and many may be different code."""


class BlobReader(Protocol):
    """Where the bytes of bundles and models come from: `Blobs`, or copies of some of them that are nearer."""

    def get(self, digest: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to answer. `quick`: a call ends by what was checked of its trees, and took at most QUICK_S for a row when it was loaded.

    `engine` says what answers: the engine that was chosen at registration, or the library of the model's format and why.
    """

    digest: str
    bundle: ModelBundle
    predictor: Predictor
    transformer: RowsTransformer
    quick: bool = False
    engine: str = ""


def load(blobs: BlobReader, formats: Mapping[str, ModelFormat], digest: str, *, name: str = "") -> LoadedModel:
    """The model of a bundle; raises `Refused` when its format is not installed or a golden row gives another answer than at registration.

    `name` is what the model is called now ("": as in its bundle, which keeps the name of when it was packed): a pickle is allowed by it.
    """
    bundle = decode(blobs.get(digest), ModelBundle)
    if bundle.engine is not None and bundle.engine.blob and not bundle.seal:
        try:
            return _converted(bundle, bundle.engine, blobs.get(bundle.engine.blob), formats, digest)
        except RotaError as error:
            why = f"{engine_gate.native(bundle.format, '').engine}, because its conversion cannot serve here: {error}"
            log.warning("model %s (bundle %s) is served by %s", bundle.model, digest[:12], why, extra={"action": "load", "bundle": digest})
        return replace(assemble(bundle, blobs.get(bundle.blob), formats, digest, name=name), engine=why)
    return assemble(bundle, blobs.get(bundle.blob), formats, digest, name=name)


def assemble(bundle: ModelBundle, model: bytes, formats: Mapping[str, ModelFormat], digest: str, *, name: str = "") -> LoadedModel:
    """As `load`, from the bundle and the model's bytes."""
    predictor = opened(formats, bundle, model, name=name).loads(model)
    others = differences(bundle.dependencies)
    if others:
        log.warning(
            "model %s (bundle %s): %s",
            bundle.model,
            digest[:12],
            "; ".join(others),
            extra={"action": "load", "model": bundle.model, "bundle": digest},
        )
    try:
        _check_golden_rows(bundle, predictor, digest)
        row_s = _warm_up(bundle, predictor)
    except RotaError:
        raise
    except Exception as error:
        raise Refused(
            f"model {bundle.model!r} (bundle {digest[:12]}) cannot predict: {type(error).__name__}: {error}{_hint(others)}", bundle=digest
        ) from error
    quick = bundle.format in BOUNDED and row_s <= QUICK_S
    return LoadedModel(digest, bundle, predictor, RowsTransformer(bundle.transformation), quick, engine_gate.native(bundle.format, "").engine)


def _converted(bundle: ModelBundle, choice: EngineChoice, data: bytes, formats: Mapping[str, ModelFormat], digest: str) -> LoadedModel:
    """The model by its conversion; the library of its own format is not imported."""
    fast = installed(formats, bundle.model, engine_gate.CONVERTED).loads(data)
    predictor = GuardedPredictor.of(fast, choice.guard or EngineGuard())
    try:
        _check_golden_rows(msgspec.structs.replace(bundle, tolerance=max(bundle.tolerance, choice.tolerance)), predictor, digest)
        row_s = _warm_up(bundle, predictor)
    except RotaError:
        raise
    except Exception as error:
        raise Refused(f"it cannot predict: {type(error).__name__}: {error}", bundle=digest) from error
    return LoadedModel(digest, bundle, predictor, RowsTransformer(bundle.transformation), row_s <= QUICK_S, choice.engine)


def opened(formats: Mapping[str, ModelFormat], bundle: ModelBundle, model: bytes, *, name: str = "") -> ModelFormat:
    """The format that loads a bundle's model; of a sealed one only when its seal and its allowance were found right.

    Raises `Refused` naming what is missing: the format, its packages (in another major version a pickle is not loaded), the allowance or the seal.
    """
    found = installed(formats, bundle.model, bundle.format)
    if not isinstance(found, SealedFormat):
        return reading(found, bundle.problem)
    others = differences(bundle.dependencies)
    if others:
        raise Refused(
            f"model {bundle.model!r} is a pickle, which is only loaded by the packages that wrote it: {'; '.join(others)}", model=bundle.model
        )
    return reading(found.unlocked(name or bundle.model, model, bundle.seal, signed_for=bundle.model), bundle.problem)


def reading(format_: ModelFormat, problem: Problem | None) -> ModelFormat:
    """The format as it reads objects of a problem that can be read in two ways; None: as they are read when nobody says it."""
    return format_.read_as(problem) if problem and isinstance(format_, AmbiguousFormat) else format_


def installed(formats: Mapping[str, ModelFormat], model: str, format: str) -> ModelFormat:
    """The format of a model; `Refused` naming the extra when it is not installed."""
    found = formats.get(format)
    if found is None:
        raise Refused(
            f"model {model!r} has format {format!r}, which is not installed here; installed are {sorted(formats)}, "
            f"so install rota[{EXTRAS.get(format, format)}]",
            model=model,
            format=format,
        )
    return found


def differences(dependencies: Mapping[str, str]) -> list[str]:
    """What is not here as the model had it: packages that are missing, or there in another major version."""
    said = []
    for name, wanted in dependencies.items():
        here = _version(name)
        if not here:
            said.append(f"{name} {wanted} is not installed")
        elif _major(here) != _major(wanted):
            said.append(f"it was built with {name} {wanted}, and {here} is installed")
    return said


def _version(name: str) -> str:
    if name == "python":
        return platform.python_version()
    for package in (name, *SAME.get(name, ())):
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _major(version: str) -> str:
    return version.partition(".")[0]


def _hint(others: list[str]) -> str:
    return f"; {'; '.join(others)}" if others else ""


def _check_golden_rows(bundle: ModelBundle, predictor: Predictor, digest: str) -> None:
    if not bundle.golden_rows:
        return
    expected = bundle.golden_answers
    right = golden_answers.same(expected, predictor.predict(matrix_of_golden(bundle.transformation, bundle.golden_rows)), bundle.tolerance)
    if not right.all():
        raise Refused(
            f"model {bundle.model!r} (bundle {digest[:12]}) does not answer its golden rows as at registration: "
            f"{np.count_nonzero(~right)} of {len(expected)} differ by more than {bundle.tolerance}; it was built with {dict(bundle.dependencies)}"
            f"{_hint(differences(bundle.dependencies))}",
            model=bundle.model,
            bundle=digest,
        )


def _warm_up(bundle: ModelBundle, predictor: Predictor) -> float:
    """The shortest time of a call for one row, in seconds."""
    row = bundle.golden_rows[0] if bundle.golden_rows else (None,) * len(bundle.transformation.columns)
    shortest = float("inf")
    for rows in WARM_UP_ROWS:
        matrix = matrix_of_golden(bundle.transformation, [row] * rows)
        start = time.perf_counter()
        predictor.predict(matrix)
        if rows == 1:
            shortest = min(shortest, time.perf_counter() - start)
    return shortest
