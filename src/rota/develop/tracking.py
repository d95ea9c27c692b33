"""Track experiments inside a program: each try is a run with its code, environment, data, parameters and results.

    with rota.track("late-flights", "deeper trees", seeds=[7]) as run:
        run.log_params(depth=8)
        run.log_metric("log_loss", 0.46, step=1)
        run.log_artifact("importance.svg", svg)
        with run.child("trial 3") as trial: ...

The record exists from the first moment on, as running. Metric points go through a spool (`rota.develop.spool`): they survive a
kill of the process once the call returned and are in the store moments later, at the latest when the block ends. Everything
else is in the store when the call returns. A block that raises ends its run as failed; KeyboardInterrupt and SIGTERM as killed.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from pathlib import Path
from typing import Any, Self

from rota.develop import artifact_logging, untracked_data
from rota.develop.run_session import RunSession
from rota.develop.tracker_stores import TrackerConfig, TrackerStores
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage import spellings
from rota.manage.adoption import registration
from rota.manage.experiments import provenance
from rota.manage.features.rows import table_adapters
from rota.manage.repositories import Repositories
from rota.ports.metadata import transact
from rota.ports.tracking import Logged, Tracking
from rota.problems import registry
from rota.records.run import Problem
from rota.records.time import Micros
from rota.records.tracking import (
    MAX_EXPERIMENT_NAME,
    MAX_KEY,
    MAX_PARAMETER,
    MAX_TAG,
    Experiment,
    ExperimentRun,
    LoggedModel,
    RunInput,
    TrackedStatus,
)

_current: ContextVar["TrackedRun | None"] = ContextVar("rota.current_run", default=None)


def current_run() -> "TrackedRun | None":
    """The innermost run whose block this code is in; None outside of any. A new thread is outside."""
    return _current.get()


class Tracker:
    """Opens runs; `new_id` gives a run its id (letters and digits). Thread-safe. `close` when the last block has ended."""

    def __init__(self, config: TrackerConfig, new_id: Callable[[], str]) -> None:
        self.config = config
        self.stores = TrackerStores(config)
        self.new_id = new_id

    def run(
        self,
        experiment: str,
        name: str = "",
        *,
        seeds: Sequence[int] = (),
        tags: Mapping[str, str] | None = None,
        parent: "TrackedRun | None" = None,
        directory: Path = Path(),
    ) -> "TrackedRun":
        """A run to be used as a context; `directory` lies in the work tree of its code. The experiment is made when it is new."""
        identity, clock = self.new_id(), self.repositories.clock
        if parent is None or parent.experiment != experiment:
            found = experiment_named(self.stores.tracking, experiment, clock.now_us())
            source = provenance.capture(self.repositories.blobs, directory, seeds=seeds)
        else:
            found, source = parent.experiment_id, {**parent.source, "seeds": provenance.seeds_text(seeds) or parent.source.get("seeds", "")}
        record = ExperimentRun(
            id=identity,
            experiment=found,
            name=name or identity[:8],
            status="running",
            started_us=clock.now_us(),
            owner=self.config.owner,
            parent=parent.id if parent else "",
            tags={_key(key): _value("tag", key, text, MAX_TAG) for key, text in (tags or {}).items()},
            source=source,
        )
        return TrackedRun(self, record, experiment)

    @property
    def repositories(self) -> Repositories:
        """The stores of this process."""
        return self.stores.repositories

    def drain(self, run: str = "") -> list[str]:
        """Store what killed processes left in this spool, of one run or of all; returns the runs concerned."""
        return self.stores.drain(run)

    def close(self) -> None:
        """End the background thread and close the stores, those of this process."""
        self.stores.close()


class TrackedRun:
    """A tracked run, open while its block works: logs metrics, parameters, tags, files, models and inputs. Thread-safe.

    Logging outside of the block, or after `end`, raises `Refused`.
    """

    def __init__(self, tracker: Tracker, record: ExperimentRun, experiment: str) -> None:
        self.id = record.id
        self.name = record.name
        self.experiment = experiment
        self.experiment_id = record.experiment
        self.source = record.source
        self.autologged = False
        """Whether an automatic logger has used this run; a second fit gets a child."""
        self.tracker = tracker
        self._session = RunSession(tracker.stores, record)

    @property
    def record(self) -> ExperimentRun:
        """The run as it is stored now; `flush` first to find every metric in it."""
        return self._session.record

    @property
    def inputs(self) -> tuple[RunInput, ...]:
        """What this process noted that the run read."""
        return self._session.inputs

    @property
    def repositories(self) -> Repositories:
        """The stores of this process."""
        return self.tracker.repositories

    def log_metric(self, name: str, value: float, step: int | None = None) -> None:
        """Log one value of a metric at a step (0 when none is given); NaN and infinities are kept as they are.

        Costs about a microsecond; survives a kill of this process once it returned, and is stored moments later.
        Raises `Unavailable` when the disk of the spool is full, or four million points wait for a store that does not answer.
        """
        self._session.append(name, value, 0 if step is None else step)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log one value of several metrics at the same step."""
        for name, value in metrics.items():
            self._session.append(name, value, 0 if step is None else step)

    def log_param(self, name: str, value: Any) -> None:
        """Log a parameter as text; raises `InvalidInput` when it has another value already."""
        self.log_params({name: value})

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Log parameters as texts, all or none; raises `InvalidInput` when one has another value already."""
        given = {**(params or {}), **more}
        self._session.log(Logged(parameters={_key(name): _value("parameter", name, value, MAX_PARAMETER) for name, value in given.items()}))

    def set_tag(self, name: str, value: Any) -> None:
        """Set a tag of the run; a later value replaces it."""
        self.set_tags({name: value})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set several tags of the run."""
        self._session.log(Logged(tags={_key(name): _value("tag", name, value, MAX_TAG) for name, value in tags.items()}))

    def tag_child(self, child: str, name: str, value: Any) -> None:
        """Set a tag of a child run, also after it has ended; raises `NotFound` when it is no child of this run."""
        record = self.tracker.stores.tracking.run(child)
        if record is None or record.parent != self.id:
            raise NotFound(f"run {self.id!r} has no child {child!r}", run=self.id, child=child)
        self.tracker.stores.tracking.log(child, Logged(tags={_key(name): _value("tag", name, value, MAX_TAG)}))

    def log_artifact(self, name: str | Path, data: bytes | None = None, folder: str = "") -> str:
        """Log `data` as the artifact `name`, or the file at the path `name` under its file name; returns the SHA-256 digest.

        Raises `NotFound` when there is no such file.
        """
        self._session.refuse_ended()
        return artifact_logging.artifact(self.repositories, self._session.begun, name, data, folder)

    def log_artifacts(self, directory: str | Path, folder: str = "") -> list[str]:
        """Log every file below a directory under its relative path; returns their digests. Symbolic links are left out.

        Raises `InvalidInput` naming every path that cannot be kept, before any file is.
        """
        self._session.refuse_ended()
        return artifact_logging.artifacts_below(self.repositories, self._session.begun, Path(directory), folder)

    def log_text(self, text: str, name: str) -> str:
        """Log a text as an artifact; returns its digest."""
        return self.log_artifact(name, text.encode())

    def log_dict(self, value: Any, name: str) -> str:
        """Log plain values (dicts, lists, numbers, texts) as a JSON artifact; returns its digest, raises `InvalidInput` for anything else."""
        return self.log_artifact(name, artifact_logging.json_bytes(value))

    def log_figure(self, figure: Any, name: str) -> str:
        """Log a figure: Matplotlib's in the form of the name's ending; an Altair chart or Vega-Lite dict as JSON, and as
        SVG when vl-convert is installed (`pip install 'rota[ui]'`). Returns the digest of the file `name`."""
        digest = ""
        for path, data in artifact_logging.figure(figure, name, self.tracker.config.drawing).items():
            digest = self.log_artifact(path, data)
        return digest

    def log_input(self, data: Any, name: str = "", *, context: str = "") -> RunInput:
        """Log data that the run used: a frame, a file or folder, a URI, or a `DatasetVersion` of this home.

        What Rota did not read itself is known by its digest only and marked as untracked. Reading by `rota.read_dataset` or
        `FeatureStore.get_historical_features` needs no call.
        """
        noted = untracked_data.described(data, name, context=context)
        self._session.note_input(noted)
        return noted

    def log_model(
        self, model: Any, name: str = "model", *, step: int = 0, signature: str = "", input_example: Any = b"", problem: Problem | None = None
    ) -> LoggedModel:
        """Log a fitted model, ready to be registered: in the first installed format that accepts it, any other as a pickle.

        Every model is kept; `unservable` of the result says why a version of it could not be served, "" when it could. `signature` is a
        JSON text in MLflow's form; without one it follows from `input_example`: rows (dicts, or a table) that the model reads, or their
        JSON in MLflow's form. `problem` is the name of a problem type ("multiclass", "count"), where the model itself does not say it: versions that
        are registered from the run solve it. Raises `InvalidInput` for an unknown problem, and when the model cannot be written at all.
        """
        self._session.refuse_ended()
        if problem is not None:
            registry.problem_type(problem)
        example = input_example
        if not isinstance(example, bytes):
            rows = table_adapters.rows(example, what="the input example")
            example = registration.example_bytes(rows) if rows else b""
            signature = signature or (registration.signature_of(json.loads(example)) if rows else "")
        extras = {"signature.json": signature.encode(), "input_example.json": example}
        files = {path: data for path, data in extras.items() if data}
        formats = self.tracker.config.formats()
        return artifact_logging.model(self.repositories, self._session.begun, model, name, formats=formats, files=files, step=step, problem=problem)

    @contextmanager
    def child(self, name: str = "", *, seeds: Sequence[int] = (), tags: Mapping[str, str] | None = None) -> Iterator["TrackedRun"]:
        """Open a child run, with the code and environment of this one and the inputs noted so far."""
        with self.tracker.run(self.experiment, name, seeds=seeds, tags=tags, parent=self) as child:
            for noted in self.inputs:
                child._session.note_input(noted)  # noqa: SLF001 - one class
            yield child

    def flush(self) -> None:
        """Store every metric point that was logged before; returns when they are in the tracking store."""
        self._session.flush()

    def end(self, status: TrackedStatus = "finished") -> None:
        """Close the run before its block ends; nothing can be logged afterwards."""
        self._session.end(status)

    def __enter__(self) -> Self:
        exits = self._session.open()
        outer = _current.get()
        exits.callback(_step_out, _current.set(self), outer)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._session.close(error)


def _step_out(token: Token["TrackedRun | None"], outer: "TrackedRun | None") -> None:
    try:
        _current.reset(token)
    except ValueError:  # entered in one notebook cell and left in another: those are different contexts
        _current.set(outer)


def experiment_named(tracking: Tracking, name: str, now_us: Micros) -> str:
    """The id of the experiment of a name; it is made when there is none."""
    if not name or len(name) > MAX_EXPERIMENT_NAME or not name.isprintable():
        raise InvalidInput(f"{name!r} cannot name an experiment; use 1-{MAX_EXPERIMENT_NAME} printable characters", name=name)

    def find_or_create() -> Experiment:
        found = tracking.experiment_named(name)
        if found is None:
            spellings.check_experiment(tracking, name)
            found = Experiment(str(random.SystemRandom().randrange(10**17, 10**18)), name, created_us=now_us, updated_us=now_us)
            tracking.create_experiment(found)  # Conflict: another process was a moment earlier
        return found

    found = transact(find_or_create)
    if found.deleted_us is not None:
        raise Refused(f"experiment {name!r} is deleted; restore it (`rota experiments restore`) or choose another name", experiment=name)
    return found.id


def _key(name: object) -> str:
    if not isinstance(name, str) or not name or len(name) > MAX_KEY or not name.isprintable():
        raise InvalidInput(f"{name!r} cannot name a parameter or tag; use 1-{MAX_KEY} printable characters", name=name)
    return name


def _value(what: str, name: str, value: Any, most: int) -> str:
    text = str(value)
    if len(text) > most:
        raise InvalidInput(f"{what} {name!r} has {len(text)} characters; at most {most} are kept: log it with log_text or log_dict", name=name)
    return text
