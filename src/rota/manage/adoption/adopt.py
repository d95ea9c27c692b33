"""Adopt a model made elsewhere: convert the files of a registered version into a bundle that can be served.

A version is registered with its files and cannot be served; adopting it reads them in a process of its own and, when the model
can be served, gives it its bundle: request columns by the signature, golden rows by the input example, dependencies by the
requirements. Otherwise the version says in `unservable` what hinders it. Adopting again is harmless.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rota.durable.workflow import Context, StepWork
from rota.errors import Interrupted, InvalidInput, Refused, RotaError, Unavailable
from rota.manage.adoption import mlmodel
from rota.manage.adoption.conversion import ConversionRequest, Converted, answered, rows_file
from rota.manage.adoption.mlmodel import DESCRIPTION, Foreign
from rota.manage.experiments import artifacts
from rota.manage.models import loading, model_versions, pickle_signing
from rota.manage.models.engine_choosing import EngineChooser
from rota.manage.repositories import Repositories
from rota.ports.compute import Compute
from rota.ports.metadata import Batch, transact
from rota.ports.models import ModelFormat, SealedFormat
from rota.problems import registry
from rota.records.model import ModelBundle, ModelVersion
from rota.records.record import encode, plain
from rota.records.run import Problem
from rota.records.signal import Event
from rota.records.time import Micros
from rota.records.tracking import ArtifactFile

LARGEST_MODEL = 2_000_000_000
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Adopter:
    """What adopting needs besides the version: the platform's formats, and where foreign files are read.

    `convert` is the "module:name" of what `compute` calls to read a foreign model's file, given an `Order` as plain values; `temporary` is where
    files lie meanwhile (None: the system's temporary directory). `engines` choose what serves a model (None: the library of its format).
    """

    repositories: Repositories
    formats: Mapping[str, ModelFormat]
    compute: Compute
    convert: str
    timeout_s: float = TIMEOUT_S
    temporary: Callable[[], Path | None] = lambda: None
    stopped: Callable[[], bool] = lambda: False
    engines: EngineChooser | None = None

    def __call__(self, context: Context, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The workflow "adopt" of one version. With `approval`, an approval that came first is told again, so that its rollout starts."""
        model, number = str(arguments["model"]), int(arguments["number"])

        def work(work: StepWork) -> dict[str, Any]:
            version = replace(self, stopped=work.stopped).adopt_into(work.batch, model, number, actor="rota", now_us=work.now_us)
            work.made(f"model_version:{version.id}")
            if arguments.get("approval"):
                work.batch.event(Event("version.approved", version.id, work.now_us, {**arguments["approval"], "adopted": True}))
            return {"version": version.id, "format": version.format, "unservable": version.unservable}

        outcome: dict[str, Any] = context.step("adopt", work)
        return outcome

    def adopt(self, model: str, number: int, *, actor: str, problem: Problem | None = None) -> ModelVersion:
        """Make a version servable, or say on it why it is not; a version that has a bundle stays as it is.

        Raises `Interrupted` when the process that reads the files took too long.
        """
        metadata = self.repositories.metadata

        def act() -> ModelVersion:
            batch = Batch()
            after = self.adopt_into(batch, model, number, actor=actor, now_us=self.repositories.clock.now_us(), problem=problem)
            metadata.commit(batch)
            return after

        return transact(act)

    def adopt_into(self, batch: Batch, model: str, number: int, *, actor: str, now_us: Micros, problem: Problem | None = None) -> ModelVersion:
        """The version as it is after adopting, its change in the batch."""
        before = model_versions.live(self.repositories.metadata, model, number)
        if before.bundle:
            return before
        after, bundle = self._adopted(before, problem)
        if after == before:
            return before
        after = msgspec.structs.replace(after, updated_us=max(now_us, before.updated_us))
        batch.put(after, replacing=before)
        batch.audit(actor, "version.adopt", after.id, now_us, bundle=bundle, format=after.format, unservable=after.unservable)
        if bundle:
            batch.link(f"model_version:{after.id}", [f"bundle:{bundle}"], now_us)
        return after

    def _adopted(self, version: ModelVersion, problem: Problem | None) -> tuple[ModelVersion, str]:
        """The version as it will be, and its bundle's digest ("": it cannot be served)."""
        files = {file.path: file for file in artifacts.files(self.repositories.metadata, version.artifacts)} if version.artifacts else {}
        described = version
        try:
            said = self._described(version, files)
            described = msgspec.structs.replace(
                version,
                signature=said.signature_json or version.signature,
                input_example=files[said.example].digest if said.example else version.input_example,
                requirements=files[said.requirements].digest if said.requirements else version.requirements,
            )
            found, data, rows = self._converted(version, said, files, problem or said.problem or None)
        except (Unavailable, Interrupted):
            raise
        except RotaError as error:
            return msgspec.structs.replace(described, unservable=" ".join(str(error).split())[:1_000]), ""
        if found.unservable or found.features is None:
            return msgspec.structs.replace(described, unservable=found.unservable), ""
        if version.group and not registry.problem_type(found.problem).needs_groups:
            why = f"it is a {found.problem}, whose rows are judged by themselves; register it without group={version.group!r}"
            return msgspec.structs.replace(described, unservable=why), ""
        bundle = self._bundle(version, found, data)
        if self.engines is not None:
            bundle = msgspec.structs.replace(bundle, engine=self.engines.choose(self.repositories.blobs, bundle, data, rows, self.stopped))
        digest = self.repositories.blobs.put(encode(bundle))
        told = {"classes": found.classes, "outputs": found.outputs, "problem": found.problem, "parity": found.parity, "engine": bundle.engine}
        return msgspec.structs.replace(described, bundle=digest, format=bundle.format, seal=bundle.seal, unservable="", **told), digest

    def _described(self, version: ModelVersion, files: Mapping[str, ArtifactFile]) -> Foreign:
        if DESCRIPTION in files:
            if files[DESCRIPTION].size > mlmodel.LARGEST_TEXT:
                raise InvalidInput(f"{DESCRIPTION} has {files[DESCRIPTION].size} bytes; it may have {mlmodel.LARGEST_TEXT}")
            foreign = mlmodel.read(self.repositories.blobs.get(files[DESCRIPTION].digest), files)
        else:
            foreign = mlmodel.bare(files)
        if foreign.signature is None and version.signature:
            foreign = _with_signature(foreign, version.signature)
        return foreign

    def _converted(
        self, version: ModelVersion, foreign: Foreign, files: Mapping[str, ArtifactFile], problem: Problem | None
    ) -> tuple[Converted, bytes, np.ndarray | None]:
        """What a process of its own makes of the files, and rows of the model's matrix."""
        if foreign.why:
            raise InvalidInput(foreign.why)
        if files[foreign.file].size > LARGEST_MODEL:
            raise InvalidInput(f"{foreign.file} has {files[foreign.file].size} bytes; a model may have {LARGEST_MODEL}")
        pickled = foreign.format == "pickle"
        if pickled and not pickle_signing.is_allowed(self.repositories.metadata, version.model):
            raise Refused(f"{pickle_signing.refusal(version.model)}, then `rota models adopt {version.id}`")
        with tempfile.TemporaryDirectory(prefix="rota-adopt-", dir=self.temporary()) as name:
            folder = Path(name)
            example = foreign.example if foreign.example and files[foreign.example].size <= mlmodel.LARGEST_EXAMPLE else ""
            answers = mlmodel.AUTHOR_ANSWERS if mlmodel.AUTHOR_ANSWERS in files else ""
            for path, local in ((foreign.file, "model"), (example, "example"), (answers, "author")):
                if path:
                    self._copy(files[path], folder / local)
            out = folder / "out"
            order = ConversionRequest(
                model=version.model,
                format=foreign.format,
                folder=name,
                file="model",
                out=str(out),
                columns=tuple((column.name, column.type) for column in foreign.signature.columns) if foreign.signature else (),
                width=foreign.signature.width if foreign.signature else 0,
                outputs=foreign.signature.outputs if foreign.signature else (),
                tensor=foreign.signature.tensor if foreign.signature else "",
                dtype=foreign.signature.dtype if foreign.signature else "",
                example="example" if example else "",
                author="author" if answers else "",
                pins=self._pins(foreign, files),
                problem=problem,
                pickle=pickled,
            )
            found = self._ask(order)
            rows = np.load(rows_file(str(out))) if rows_file(str(out)).exists() else None
            return found, out.read_bytes() if not found.unservable else b"", rows

    def _ask(self, order: ConversionRequest) -> Converted:
        try:
            return answered(self.compute.run(self.convert, plain(order), timeout_s=self.timeout_s, stopped=self.stopped))
        except Interrupted as error:
            if error.facts["cause"] != "died":
                raise
            return Converted(unservable=f"the process that read its file died ({error}); the file is damaged, or too large for this machine")

    def _bundle(self, version: ModelVersion, converted: Converted, data: bytes) -> ModelBundle:
        format_ = loading.installed(self.formats, version.model, converted.format)
        assert converted.features is not None
        return ModelBundle(
            model=version.model,
            format=converted.format,
            blob=self.repositories.blobs.put(data),
            problem=converted.problem,
            features=converted.features,
            transformation=converted.transformation,
            golden_rows=converted.golden_rows,
            golden_answers=converted.golden_answers,
            dependencies=converted.dependencies,
            seal=format_.sealed(version.model, data) if isinstance(format_, SealedFormat) else "",
            tolerance=format_.tolerance,
            classes=converted.classes,
            outputs=converted.outputs,
            group=version.group,
            input_tensors=converted.input_tensors,
            output_tensor=converted.output_tensor,
        )

    def _pins(self, foreign: Foreign, files: Mapping[str, ArtifactFile]) -> dict[str, str]:
        if not foreign.requirements or files[foreign.requirements].size > mlmodel.LARGEST_TEXT:
            return {}
        return mlmodel.pins(self.repositories.blobs.get(files[foreign.requirements].digest).decode(errors="replace"))

    def _copy(self, file: ArtifactFile, into: Path) -> None:
        with into.open("wb") as out:
            for chunk in self.repositories.blobs.stream(file.digest):
                out.write(chunk)


def _with_signature(foreign: Foreign, text: str) -> Foreign:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"the version's signature is no JSON: {error}") from error
    return Foreign(
        file=foreign.file, format=foreign.format, why=foreign.why, flavour=foreign.flavour, signature=mlmodel.signature(raw), signature_json=text,
        example=foreign.example, requirements=foreign.requirements, python=foreign.python, facts=foreign.facts,
        problem=foreign.problem,
    )  # fmt: skip
