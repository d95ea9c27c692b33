"""Pack a model into the bundle that prediction processes load: bytes, features, transformation, golden rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from rota.manage.models import golden_answers, loading, transformation
from rota.ports.blobs import Blobs
from rota.ports.models import ModelFormat, SealedFormat
from rota.records.data import FeatureService
from rota.records.model import EngineChoice, ModelBundle, Transformation
from rota.records.record import encode
from rota.records.run import Problem
from rota.records.schema import Type


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a bundle is made of besides the model's bytes; `golden` are rows of the matrix."""

    model: str
    format: str
    problem: Problem
    features: FeatureService
    transformation: Transformation
    golden: np.ndarray
    dependencies: Mapping[str, str]
    classes: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    group: str = ""
    group_type: Type = "string"


ChooseEngine = Callable[[ModelBundle, bytes], EngineChoice | None]
"""Says what shall serve a bundle with these bytes of its model (None: nothing was looked for)."""


def pack(blobs: Blobs, formats: Mapping[str, ModelFormat], ingredients: Ingredients, data: bytes, *, choose: ChooseEngine = lambda *_: None) -> str:
    """Store the model and its bundle with the answers it gives to the golden rows, and return the bundle's digest.

    A format that runs code when it is loaded is sealed first, which raises `Refused` when that is not allowed for the model.
    """
    found = loading.installed(formats, ingredients.model, ingredients.format)
    bundle = ModelBundle(
        model=ingredients.model,
        format=ingredients.format,
        blob=blobs.put(data),
        problem=ingredients.problem,
        features=ingredients.features,
        transformation=ingredients.transformation,
        golden_rows=transformation.golden(ingredients.golden),
        golden_answers=(),
        dependencies=ingredients.dependencies,
        seal=found.sealed(ingredients.model, data) if isinstance(found, SealedFormat) else "",
        tolerance=found.tolerance,
        classes=ingredients.classes,
        outputs=ingredients.outputs,
        group=ingredients.group,
        group_type=ingredients.group_type,
    )
    predictor = loading.opened(formats, bundle, data).loads(data)
    answers = golden_answers.kept(predictor.predict(ingredients.golden))
    bundle = msgspec.structs.replace(bundle, golden_answers=answers)
    return blobs.put(encode(msgspec.structs.replace(bundle, engine=choose(bundle, data))))
