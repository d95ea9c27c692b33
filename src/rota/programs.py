"""Programs: what `import rota` gives a script, a notebook or a service that works on a home without a server."""

import getpass
import os
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import polars as pl

from rota import engines, record_engines
from rota.develop import reproduction, run_search, tuning
from rota.develop.tracker_stores import TrackerConfig
from rota.develop.tracking import TrackedRun, Tracker, current_run
from rota.errors import InvalidInput, Refused
from rota.manage.datasets import read as dataset_reading
from rota.manage.datasets import schema_inference
from rota.manage.features.definitions.registration import PlannedChange
from rota.manage.features.rows import table_adapters
from rota.manage.features.store import Store
from rota.manage.models import loading, model_versions
from rota.monitor import calibration, frame_comparison
from rota.monitor.frame_comparison import ComparisonRule
from rota.monitor.metric_comparison import Scoring
from rota.records.calibration import MonitorCalibration
from rota.records.comparison import Preset
from rota.records.model import ModelVersion
from rota.records.release import Endpoint
from rota.records.run import Problem
from rota.records.signal import Monitor
from rota.rendering.comparison_report import ComparisonReport
from rota.serve.embedded import EmbeddedModel, open_file
from rota.settings import Settings
from rota.settings import load as load_settings
from rota.wiring import SPOOL, open_platform, opened

_autologging = engines.autologging()
_homes: dict[str, Path] = {}


def compare(
    reference: Any,
    current: Any,
    *,
    presets: Preset | Sequence[Preset] = ("quality", "drift"),
    label: str = "",
    answer: str | Sequence[str] = "",
    group: str = "",
    false_alarms: float = 0.01,
    least_effect: float = 0.05,
) -> ComparisonReport:
    """Compare two tables at once, without a home: what is wrong with the data, which columns drifted, whether a model answers worse.

    Tables are polars, pandas or Arrow ones, mappings of columns, lists of dicts, or paths of Parquet, CSV and JSON-lines files. Presets are
    "quality" (anomalies by a schema of the reference, under TFDV's names), "drift" (distances of each column and whether it drifted),
    and "classification", "regression" and "ranking" (metrics on both sides), which need the columns `label` and `answer`, a ranking
    also `group`. Answers of a classification are probabilities of the class 1, names of classes, or one column of probabilities for
    each class. In at most a share of `false_alarms` of comparisons without drift a column is called
    drifted, and never for a change of less than `least_effect` of its rows. What could not be judged is a check with the outcome
    "inconclusive". Raises `InvalidInput` for tables that cannot be read and columns that are not there.

    >>> report = rota.compare({"age": [30] * 200}, {"age": [20] * 200}, presets="drift")
    >>> report.outcome, report.drifted
    ('fail', ('age',))
    >>> report.save("report.html")   # doctest: +SKIP
    """
    chosen = (presets,) if isinstance(presets, str) else tuple(presets)
    request = frame_comparison.Request(chosen, Scoring(label, answer, group), ComparisonRule(false_alarms, least_effect))
    tables = [(_table(table, what=side), _table_name(table, side)) for table, side in ((reference, "reference"), (current, "current"))]
    found = frame_comparison.compare_frames(tables[0][0], tables[1][0], request, names=(tables[0][1], tables[1][1]))
    return ComparisonReport(found, engines.drawing())


def calibrate(table: Any, *, timestamp: str, monitor: Monitor | None = None) -> MonitorCalibration:
    """What a monitor would do on your own days, before it is enabled: false alarms, and the smallest change that each feature shows.

    The table (as `compare` takes it, or a path) has a column of moments, and every other column of numbers, conditions or texts is a
    feature. `monitor` gives the budget and the windows; without it those of a monitor with nothing stated. Raises `InvalidInput` for
    fewer than 14 days.
    """
    source = calibration.of_table(_table_name(table, "table"), _table(table, what="table"), timestamp)
    return calibration.calibrate(source, monitor or Monitor(Endpoint("calibration", "calibration")))


class SecondHome(UserWarning):
    """A program that changed its directory begins another home than before, because the home was named relative to the directory."""


@contextmanager
def track(
    experiment: str,
    name: str = "",
    *,
    home: str | Path | None = None,
    seeds: Sequence[int] = (),
    tags: Mapping[str, str] | None = None,
    nested: bool = False,
    autolog: bool = False,
) -> Iterator[TrackedRun]:
    """A tracked run in the home of the settings (`rota.toml`, ROTA_*), or in `home`; see `rota.develop.tracking`.

    `nested`: a part of the run whose block this is in. `autolog`: fits of scikit-learn and LightGBM within the block log themselves.

    >>> with rota.track("tuning", "deeper trees", seeds=[7]) as run:   # doctest: +SKIP
    ...     run.log_params(depth=8)
    ...     run.log_metric("log_loss", 0.46)
    """
    with ExitStack() as left:
        tracker = left.enter_context(_tracker(_settings(home)))
        outer = current_run()
        if nested and (outer is None or outer.tracker is not tracker):
            raise InvalidInput("nested=True needs the block of another run of the same home around it; leave it out, or open that run first")
        if again := os.environ.get(reproduction.VARIABLE):
            tags = {**(tags or {}), reproduction.REPRODUCES: again}
        run = left.enter_context(tracker.run(experiment, name, seeds=seeds, tags=tags, parent=outer if nested else None))
        if autolog:
            left.enter_context(_autologging.enabled())
        yield run


def autolog(*, disable: bool = False, experiment: str = "autolog", home: str | Path | None = None) -> None:
    """Let every fit of scikit-learn and LightGBM log itself from now on: parameters, metrics, signature and the fitted model.

    A fit inside a tracked run belongs to it (from the second one on, to a child of it); one outside opens a run of its own in
    `experiment`. Logging never breaks a fit: what goes wrong is a warning in the log. `disable=True` ends it and leaves the
    libraries as they were.
    """
    if disable:
        _autologging.disable()
    else:
        _autologging.enable(lambda name: track(experiment, name, home=home))


def read_dataset(name: str, *, home: str | Path | None = None) -> pl.DataFrame:
    """The rows of "NAME@NUMBER", or of the newest version of "NAME"; `is_test` tells the side of the split, `label` is the label.

    The tracked run around the call is known to have read that version.

    >>> rows = rota.read_dataset("flights@3")                            # doctest: +SKIP
    """
    with _tracker(_settings(home)) as tracker:
        return dataset_reading.read(tracker.repositories, name)


def tune(  # noqa: PLR0913 - what users may say of a search, each by its name
    experiment: str,
    objective: Callable[[tuning.Trial], Any],
    *,
    trials: int = 20,
    direction: Literal["minimize", "maximize"] | None = None,
    metric: Callable[..., Any] | str | None = None,
    problem: Problem = "classification",
    name: str = "tuning",
    seed: int = 0,
    learn_from: str = "",
    home: str | Path | None = None,
) -> tuning.Tuned:
    """Search hyperparameters with Optuna: a tuning run with one child run a trial, the best one marked; see `rota.develop.tuning`.

    Inside a run of the same experiment the search is a part of it, and has its inputs. `learn_from` is the id of an earlier tuning
    run whose finished trials the search begins with.

    The objective returns a number, which is minimized unless `direction` says otherwise. With a `metric` it returns `(truth, answers)` of rows
    that the model was not fitted on: a metric of the `problem` by its name, or a function with `@rota.metric`, says what they are worth, and its
    direction is that of the search.
    """
    if metric is not None:
        objective, better = tuning.measured_by(metric, problem, objective)
        if direction not in (None, better):
            raise InvalidInput(f"direction = {direction!r}, and the metric is to be {better}d; leave the direction out", direction=direction)
        direction = better
    direction = "minimize" if direction is None else direction
    tuner = engines.tuner(direction, seed=seed)

    def progress(line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"{line}\n")

    outer = current_run()
    part = outer.child(name, seeds=[seed]) if outer is not None and outer.experiment == experiment else None
    with part or track(experiment, name, home=home, seeds=[seed]) as run:
        if learn_from:
            earlier = run_search.run(run.repositories.tracking, learn_from)
            run.log_params(
                {"tuning.learned_from": earlier.id, "tuning.learned": tuning.learn(tuner, run_search.children(run.repositories.tracking, earlier))}
            )
        return tuning.tune(run, tuner, objective, trials=trials, direction=direction, progress=progress)


def load(model: str | Path, *, home: str | Path | None = None) -> EmbeddedModel:
    """A model ready to predict inside this program without a server: "churn@3" or "churn@champion" of a home, or a file of `rota models export`.

    Raises `NotFound` for a version, an alias or a file that is not there, `Refused` for a version that cannot be served.

    >>> rota.load("churn@champion").predict(rows)       # doctest: +SKIP
    """
    if isinstance(model, Path) or "@" not in model or Path(model).exists():
        return open_file(Path(model), engines.installed_formats())
    with opened(_settings(home)) as platform:
        r = platform.repositories
        found = model_versions.resolve(r.metadata, model)
        version = model_versions.live(r.metadata, found.model, found.number)
        if not version.bundle:
            raise Refused(f"{version.id} cannot be served: {version.unservable or 'it has no bundle'}", version=version.id)
        return EmbeddedModel(loading.load(r.blobs, platform.formats, version.bundle, name=version.model))


def register_model(  # noqa: PLR0913 - what users may say of a version, each by its name
    name: str,
    *,
    run: str = "",
    artifact: str = "model",
    model: Any = None,
    input_example: Any = (),
    signature: str = "",
    problem: Problem | None = None,
    outputs: Sequence[str] = (),
    group: str = "",
    description: str = "",
    tags: Mapping[str, str] | None = None,
    home: str | Path | None = None,
) -> ModelVersion:
    """Register the next version of a model, made when it is new: what a tracked run kept under `artifact`, or a fitted `model`.

    A fitted model of any framework that is installed is given with `input_example`, rows (dicts, or a table) of the columns that it reads, in
    their order; the version answers requests of these columns. Either way the version says at once, by `unservable`, why it could not be served.
    Only with a fitted model (of a run `log_model` takes the first two): `signature` (MLflow's JSON), `problem` (the name of a problem type, such as
    "multiclass"), `outputs` (the names of its numbers where it only numbers them, such as the columns of the targets), and of one that ranks
    `group`, the field of a request that names the rows which are ranked together.

    >>> rota.register_model("churn", run=run.id, artifact="model")       # doctest: +SKIP
    >>> rota.register_model("churn", model=fitted, input_example=[{"age": 31.0, "plan": "basic"}])       # doctest: +SKIP
    """
    if bool(run) == (model is not None):
        raise InvalidInput("register_model takes a run or a fitted model; give one of them")
    if run and (signature or problem or group or outputs):
        raise InvalidInput("signature, problem, outputs and group belong to a fitted model; what a run logged carries its own, leave them out")
    with opened(_settings(home)) as platform:
        actor = getpass.getuser()
        if run:
            made = platform.models.register_run(name, run=run, artifact=artifact, description=description, tags=tags, actor=actor)
            return platform.models.adopter.adopt(name, made.number, actor=actor)
        return platform.models.register_fitted(
            name,
            model,
            input_example=input_example,
            signature=signature,
            problem=problem,
            outputs=outputs,
            group=group,
            description=description,
            tags=tags,
            actor=actor,
        )


def apply(file: str | Path, *, home: str | Path | None = None, **settings: Any) -> list[PlannedChange]:
    """Register everything a project file declares in a home, and make its release the active one."""
    with opened(_settings(home, **settings)) as platform:
        return platform.projects.apply(Path(file))


class FeatureStore(Store):
    """The feature repository of a home for a program of its own, with Feast's names; a context manager that closes it at the end.

    `home` is the directory of the platform (otherwise ROTA_HOME, `rota.toml`, or .rota); a running platform may share it.

    >>> with rota.FeatureStore() as store:                               # doctest: +SKIP
    ...     store.get_online_features(["weather:temp"], [{"origin": "JFK"}]).to_dict()
    {'origin': ['JFK'], 'weather__temp': [39.02]}
    """

    def __init__(self, home: str | Path | None = None, **settings: Any) -> None:
        self._platform = open_platform(_settings(home, **settings))
        super().__init__(self._platform.repositories, self._platform.feed, sync=self._platform.settings.sync)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every engine; closing twice is the same."""
        self._platform.close()


def _settings(home: str | Path | None, **settings: Any) -> Settings:
    """The settings with the home's absolute path, so that a later change of the program's directory moves nothing that is open.

    Warns (`SecondHome`) when the same relative name meant an existing home before and means a new one now.
    """
    found = load_settings(home=None if home is None else str(home), **settings)
    named, place = str(found.home), found.home.resolve()
    first = _homes.setdefault(named, place)
    if first != place and first.exists() and not place.exists():
        warnings.warn(
            f"home {named!r} was {first} and is now {place}, which is begun anew: the program changed its directory; "
            "give an absolute home, or set ROTA_HOME to one",
            SecondHome,
            stacklevel=3,
        )
    return msgspec.structs.replace(found, home=place)


@contextmanager
def _tracker(settings: Settings) -> Iterator[Tracker]:
    """The tracker of a home: that of the run around, or a new one, which first stores what killed processes left."""
    spool = record_engines.made(settings) / SPOOL
    outer = current_run()
    if outer is not None and outer.tracker.config.spool == spool:
        yield outer.tracker
        return
    ticks: tuple[Callable[[], int], int] = (record_engines.clock(settings).now_us, 1) if settings.clock == "replay" else (time.time_ns, 1_000)
    config = TrackerConfig(
        lambda: engines.development_repositories(settings),
        spool,
        *ticks,
        owner=_user(),
        formats=engines.installed_formats,
        drawing=engines.drawing(),
    )
    tracker = Tracker(config, new_id=lambda: uuid.uuid4().hex)
    try:
        tracker.drain()
        yield tracker
    finally:
        tracker.close()


def _user() -> str:
    with suppress(OSError, KeyError):  # a container may have no user of that number
        return getpass.getuser()
    return ""


def _table(table: Any, *, what: str) -> pl.DataFrame:
    """A table as polars has it, read from its file when it is a path."""
    return schema_inference.file_table(Path(table)).collect() if isinstance(table, str | Path) else table_adapters.columns(table, what=what)


def _table_name(table: Any, side: str) -> str:
    return Path(table).name if isinstance(table, str | Path) else side
