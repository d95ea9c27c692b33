"""Registering models: what a tracked run logged, a fitted model in memory, or a file becomes the next version of a model."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rota.errors import Conflict
from rota.manage.adoption import registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.models import model_versions, registered_models, version_sources
from rota.records.model import ModelVersion, RegisteredModel
from rota.records.run import Problem


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """Registers versions; a model is made with its first one. `adopter` makes versions from elsewhere servable."""

    adopter: Adopter

    def register_run(
        self, name: str, *, run: str, artifact: str = "model", description: str = "", tags: Mapping[str, str] | None = None, actor: str = "owner"
    ) -> ModelVersion:
        """Register what a tracked run logged under `artifact`; raises `NotFound` for an unknown run or artifact, before anything is made."""
        r = self.adopter.repositories
        version_sources.check(r, f"runs:/{run}/{artifact}")
        with suppress(Conflict):  # the model is there
            registered_models.create(r.metadata, RegisteredModel(name), actor=actor, now_us=r.clock.now_us())
        source = f"runs:/{run}/{artifact}"
        return model_versions.create(r, model=name, source=source, run=run, tags=tags, description=description, actor=actor)

    def register_fitted(  # noqa: PLR0913 - what may be said of a version, each by its name
        self,
        name: str,
        model: Any,
        *,
        input_example: Sequence[Mapping[str, Any]] = (),
        signature: str = "",
        problem: Problem | None = None,
        outputs: Sequence[str] = (),
        group: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        actor: str = "owner",
    ) -> ModelVersion:
        """Register a fitted model of any framework; its signature (MLflow's JSON) follows from the example when none is given.

        `outputs` name the numbers of an answer in the signature.
        `group` is the field of a request that names the rows which are ranked together, where the model ranks."""
        offer = registration.of_model(
            model, name, self.adopter, input_example=input_example, signature=signature, problem=problem, outputs=tuple(map(str, outputs))
        )
        offer = replace(offer, problem=problem, group=group, description=description, tags=tags or {})
        return registration.register(self.adopter, name, offer, actor=actor)

    def register_file(  # noqa: PLR0913 - what may be said of a version, each by its name
        self,
        name: str,
        path: Path,
        *,
        signature: str = "",
        example: Path | None = None,
        problem: Problem | None = None,
        group: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
        actor: str = "owner",
    ) -> ModelVersion:
        """Register a model file, or a directory with an MLmodel."""
        offer = registration.of_path(path, signature=signature, example=example)
        offer = replace(offer, problem=problem, group=group, description=description, tags=tags or {})
        return registration.register(self.adopter, name, offer, actor=actor)
