"""Settings: one frozen record, read once by `rota.wiring` from `rota.toml` and `ROTA_*` variables.

Order: a variable beats the file, the file beats the default. Unknown keys are errors, so a typing mistake is seen.
Each field carries its description; docs/settings.md is generated from it by `make docs`.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec

from rota.errors import InvalidInput

HOME = "Home"
ADDRESSES = "Addresses and ports"
PROCESSES = "Processes and their rhythm"
STORES = "Stores"
LIMITS = "Limits"
RETENTION = "Retention"
ALERTS = "Alerts"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDescription:
    """What a setting does, why its default is what it is, in which unit it counts, and between which values it must lie."""

    group: str
    text: str
    reason: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    secret: bool = False
    """A value that may hold a password or a token: never shown, and it may stand in a file named by ROTA_NAME_FILE instead."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be configured; each field's description gives unit, range and the default's reason."""

    home: Annotated[
        Path,
        SettingDescription(
            group=HOME,
            text="Directory of the embedded platform; created with mode 0700.",
            reason="A folder beside the project file; `rota init` keeps it out of version control.",
        ),
    ] = Path(".rota")
    environment: Annotated[
        str,
        SettingDescription(
            group=HOME,
            text="Name under which pipelines are deployed here; tokens may be limited to it.",
            reason="One platform is the usual case; a second one, for example `staging`, names itself.",
        ),
    ] = "prod"
    clock: Annotated[
        Literal["system", "replay"],
        SettingDescription(
            group=HOME,
            text="`system`: the machine's clock. `replay`: time stands still until it is advanced ([how to replay](replay.md)).",
            reason="A platform that serves follows the world.",
        ),
    ] = "system"
    host_name: Annotated[
        str,
        SettingDescription(
            group=HOME,
            text="Name of this machine among the hosts that share one `metadata_url`: part of the names of its processes and of what they tell of "
            "themselves, for example `disk@web-1`. Empty: the machine's own name.",
            reason="Machines have names; containers that are made anew, and two homes on one machine, may want another.",
        ),
    ] = ""
    host: Annotated[
        str,
        SettingDescription(
            group=ADDRESSES,
            text="Address on which the control plane and the prediction processes listen.",
            reason="Loopback: nobody else reaches a platform unless somebody decides so, and both ports speak in clear text.",
        ),
    ] = "127.0.0.1"
    allowed_hosts: Annotated[
        str,
        SettingDescription(
            group=ADDRESSES,
            text="Further names under which the servers may be addressed, separated by commas, for example behind a proxy.",
            reason="They answer to `host` and to this machine's loopback names only: a page elsewhere could rebind its name to this address.",
        ),
    ] = ""
    prediction_tokens: Annotated[
        bool,
        SettingDescription(
            group=ADDRESSES,
            text="False: the prediction port asks for no token, in a network where everybody may predict ([access](access.md#the-prediction-port)).",
            reason="Whoever reaches the port could write predictions into the log and read features; a check costs some microseconds.",
        ),
    ] = True
    control_port: Annotated[
        int,
        SettingDescription(
            group=ADDRESSES,
            text="Port of the control plane (pages and API). 0: any free port; HOME/ports.json and `rota status` tell which.",
            reason="Leaves the ports of Jupyter (8888), MLflow (5000) and Prometheus (9090) free.",
            low=0,
            high=65_535,
        ),
    ] = 7682
    prediction_port: Annotated[
        int,
        SettingDescription(
            group=ADDRESSES,
            text="Port of the prediction processes. 0: any free port.",
            reason="The control plane's neighbour.",
            low=0,
            high=65_535,
        ),
    ] = 7683
    prediction_processes: Annotated[
        int,
        SettingDescription(
            group=PROCESSES,
            text="Prediction processes that share one socket; a fitting number is one per core that serving may use.",
            reason="One process keeps one core busy; more help only where cores are free.",
            low=1,
            high=64,
        ),
    ] = 1
    workers: Annotated[
        int,
        SettingDescription(
            group=PROCESSES,
            text="Worker processes; each executes one training at a time, and rollouts and monitors beside it.",
            reason="Two trainings at once compete for the same cores and memory.",
            low=1,
            high=64,
        ),
    ] = 1
    lease_s: Annotated[
        float,
        SettingDescription(
            group=PROCESSES,
            text="How long a worker owns a run without renewing; after this a dead worker's run is taken over.",
            reason="A worker renews three times in it, so a short pause of the machine loses no run, and a crash costs seconds.",
            unit="seconds",
            low=1,
            high=3_600,
        ),
    ] = 5.0
    poll_s: Annotated[
        float,
        SettingDescription(
            group=PROCESSES,
            text="Time between two looks for work (workers) and for a new release (prediction processes) while things happen; when nothing "
            "did for some seconds it grows to 2 s and 1 s.",
            reason="What people wait for is noticed at once, and an idle platform reads next to nothing.",
            unit="seconds",
            low=0.01,
            high=60,
        ),
    ] = 0.1
    housekeeping_s: Annotated[
        float,
        SettingDescription(
            group=PROCESSES,
            text="Time between two rounds in which a worker carries pushed rows into the tables and sorts histories.",
            reason="Larger commits into the tables than after each push, and offline rows that are less than a minute old.",
            unit="seconds",
            low=0.1,
            high=86_400,
        ),
    ] = 30.0
    step_timeout_s: Annotated[
        float,
        SettingDescription(
            group=PROCESSES,
            text="How long a training step may take before it is ended.",
            reason="An hour: longer than models on one machine usually take, short enough that one which hangs is seen the same day.",
            unit="seconds",
            low=1,
            high=604_800,
        ),
    ] = 3_600.0
    hang_after_s: Annotated[
        float,
        SettingDescription(
            group=PROCESSES,
            text="How long a prediction process may not move before the supervisor ends it, tells what it hung on and starts it again.",
            reason="Longer than any answer is waited for, and short enough that other processes carry its load.",
            unit="seconds",
            low=1,
            high=3_600,
        ),
    ] = 30.0
    metadata_url: Annotated[
        str,
        SettingDescription(
            group=STORES,
            text="PostgreSQL of the metadata, as `postgresql://user:password@host:5432/database`; empty: SQLite in HOME/metadata.db.",
            reason="One machine needs no server ([metadata store](metadata-store.md)).",
            secret=True,
        ),
    ] = ""
    storage_url: Annotated[
        str,
        SettingDescription(
            group=STORES,
            text="`s3://BUCKET/PREFIX` of blobs and tables, reached with the `AWS_*` variables; empty: HOME/blobs and HOME/tables.",
            reason="One machine needs no object store ([several hosts](index.md#several-hosts)).",
        ),
    ] = ""
    online_url: Annotated[
        str,
        SettingDescription(
            group=STORES,
            text="Redis (6 or newer) or Valkey of the online features, as `redis://:password@host:6379/0`; empty: LMDB in HOME/online.",
            reason="One machine needs no server ([several hosts](index.md#several-hosts)).",
            secret=True,
        ),
    ] = ""
    online_namespace: Annotated[
        str,
        SettingDescription(
            group=STORES,
            text="What all keys in that server begin with: the same on every host of a platform, another one for each platform on the server.",
            reason="Keys that an operator recognises.",
        ),
    ] = "rota"
    online_size_mb: Annotated[
        int,
        SettingDescription(
            group=STORES,
            text="Largest size of the embedded online store.",
            reason="The file is sparse and grows as needed, so a generous limit costs nothing.",
            unit="megabytes",
            low=16,
            high=1_048_576,
        ),
    ] = 4_096
    wait_for_history: Annotated[
        bool,
        SettingDescription(
            group=STORES,
            text="Whether a prediction process is not ready while the online store lacks the history of features that it serves. Without it, it "
            "answers: values that lack their history are null or too old, have the status HISTORY_NOT_ONLINE, and an alert is open.",
            reason="A load balancer then sends requests to processes whose features are whole.",
        ),
    ] = True
    sync: Annotated[
        bool,
        SettingDescription(
            group=STORES,
            text="True: predictions, labels and pushes are acknowledged after fsync, so they survive a power cut, not only a killed process.",
            reason="An fsync per request costs more than most predictions; metadata is synced in any case.",
        ),
    ] = False
    signing_key: Annotated[
        str,
        SettingDescription(
            group=STORES,
            text="Signs models that are kept as pickle: at least 32 characters, the same on every host; empty: HOME/signing.key.",
            reason="The file is made at first use and only its owner can read it ([pickle](models.md#pickle)).",
            secret=True,
        ),
    ] = ""
    max_request_mb: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="Largest accepted HTTP body.",
            reason="Tens of thousands of rows fit, and a single request cannot fill the memory.",
            unit="megabytes",
            low=1,
            high=1_024,
        ),
    ] = 16
    max_request_rows: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="Most rows in one request: predictions, pushes, labels, outcomes, online features, rows held against a schema.",
            reason="A request of this size is answered within seconds; larger sets go through files and tables, which are read in pieces.",
            unit="rows",
            low=1,
            high=10_000_000,
        ),
    ] = 100_000
    max_header_kb: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="Longest address and headers of a request together; both ports.",
            reason="A search with a thousand ids in its address fits; nothing that is sent by browsers and clients comes near it.",
            unit="kilobytes",
            low=4,
            high=1_024,
        ),
    ] = 64
    receive_timeout_s: Annotated[
        float,
        SettingDescription(
            group=LIMITS,
            text="How long a new connection may stay silent, headers may take to arrive, and a body beyond a second for each 1,000 bytes.",
            reason="Slow lines send headers in a second; who sends a byte now and then to hold a connection is gone soon.",
            unit="seconds",
            low=0.1,
            high=3_600,
        ),
    ] = 20.0
    idle_timeout_s: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="How long a connection is kept open after an answer for the next request.",
            reason="Clients that ask again do so at once; a proxy in front may want more than its own time.",
            unit="seconds",
            low=1,
            high=3_600,
        ),
    ] = 5
    max_connections: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="Open connections of one process; beyond, the one that has kept it waiting longest goes, or else the new one is answered 503.",
            reason="Far more than clients hold, and within the open files that systems allow a process.",
            unit="connections",
            low=8,
            high=100_000,
        ),
    ] = 1_000
    predict_timeout_s: Annotated[
        float,
        SettingDescription(
            group=LIMITS,
            text="How long a prediction may take, its waiting included; then the answer is 504. Of a large request each 1,024 rows may.",
            reason="Longer than a healthy model takes, shorter than most callers wait.",
            unit="seconds",
            low=0.01,
            high=3_600,
        ),
    ] = 10.0
    model_hung_s: Annotated[
        float,
        SettingDescription(
            group=LIMITS,
            text="After how long a model's call counts as endless: the prediction process answers what else it has, ends, and is started again.",
            reason="Several times the deadline of a prediction, so that a slow model is only late.",
            unit="seconds",
            low=1,
            high=86_400,
        ),
    ] = 60.0
    model_ends: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="How often a model version may end its prediction process, by a crash or an endless call, before it is out of service.",
            reason="Once may be the machine's fault.",
            low=1,
            high=100,
        ),
    ] = 2
    model_ends_within_s: Annotated[
        float,
        SettingDescription(
            group=LIMITS,
            text="Within which time these ends count together.",
            reason="What ends a process is usually asked again at once; ends that lie further apart are worth another look first.",
            unit="seconds",
            low=1,
            high=604_800,
        ),
    ] = 600.0
    max_artifact_mb: Annotated[
        int,
        SettingDescription(
            group=LIMITS,
            text="Largest accepted artifact file.",
            reason="Files are streamed, so this bounds disk, not memory.",
            unit="megabytes",
            low=1,
            high=1_048_576,
        ),
    ] = 10_240
    retention_trash_days: Annotated[
        float,
        SettingDescription(
            group=RETENTION,
            text="How long deleted tracked runs, experiments, logged models and versions are kept; then `rota gc` purges them.",
            reason="A month to notice that something was deleted by mistake.",
            unit="days",
            low=0,
            high=36_500,
        ),
    ] = 30.0
    retention_pending_days: Annotated[
        float,
        SettingDescription(
            group=RETENTION,
            text="After how long a logged model whose upload never ended counts as given up.",
            reason="Longer than any upload, also one that is taken up again after a weekend.",
            unit="days",
            low=0,
            high=36_500,
        ),
    ] = 7.0
    retention_run_days: Annotated[
        float,
        SettingDescription(
            group=RETENTION,
            text="How long events, monitor runs and what a failed or blocked run made are kept; what a version rests on is kept for good.",
            reason="A year of history: each season once.",
            unit="days",
            low=0,
            high=36_500,
        ),
    ] = 365.0
    retention_grace_hours: Annotated[
        float,
        SettingDescription(
            group=RETENTION,
            text="How long a blob that nothing names is left alone, and how long a version of a table stays readable that was the newest.",
            reason="Longer than any upload or read takes: a blob is stored before the record that names it.",
            unit="hours",
            low=0,
            high=8_760,
        ),
    ] = 24.0
    alert_webhook: Annotated[
        str,
        SettingDescription(
            group=ALERTS,
            text="URL that receives each alert as JSON ([web hooks](access.md#web-hooks)).",
            reason="Empty: alerts are logged and stored, and stand on the pages.",
            secret=True,
        ),
    ] = ""
    audit_head_file: Annotated[
        str,
        SettingDescription(
            group=ALERTS,
            text="File that gets a line with position, hash and time of the audit log's end, best on another machine ([governance](governance.md)).",
            reason="Empty: the worker's log alone says it. `rota audit verify --heads FILE` finds a tail that was cut off.",
        ),
    ] = ""
    audit_head_url: Annotated[
        str,
        SettingDescription(
            group=ALERTS,
            text="URL that receives the same as JSON, by the rules of alert_webhook.",
            reason="Empty: nobody is told. Who rewrites the store cannot take back what another machine has.",
            secret=True,
        ),
    ] = ""
    audit_head_s: Annotated[
        float,
        SettingDescription(
            group=ALERTS,
            text="Time between two such lines.",
            reason="What is cut off within an hour of its being written is not found otherwise.",
            unit="seconds",
            low=1,
            high=86_400,
        ),
    ] = 3_600.0
    alert_private: Annotated[
        bool,
        SettingDescription(
            group=ALERTS,
            text="True: that URL may lie in a private network and be plain http.",
            reason="Only https to a public address, or loopback: a URL must not become a way into the network around the platform.",
        ),
    ] = False

    @property
    def prediction_names(self) -> tuple[str, ...]:
        """The names of the prediction processes that `rota up` keeps alive."""
        return tuple(f"serve-{number}" for number in range(self.prediction_processes))

    def __repr__(self) -> str:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        hidden = {name: "..." for name in _SECRET if values[name]}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in (values | hidden).items())})"

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidInput(f"setting {name} = {value} is out of range; it must lie between {low} and {high}", setting=name, value=value)
        if "@" in self.storage_url:
            raise InvalidInput("setting storage_url holds credentials; they belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")


@cache
def descriptions() -> Mapping[str, SettingDescription]:
    """The description of every setting, by its name, in the order of their groups."""
    hints = get_type_hints(Settings, include_extras=True)
    return {name: next(note for note in hints[name].__metadata__ if isinstance(note, SettingDescription)) for name in Settings.__struct_fields__}


_RANGES: Mapping[str, tuple[float, float]] = {
    name: (about.low, about.high) for name, about in descriptions().items() if about.low is not None and about.high is not None
}
_SECRET = tuple(name for name, about in descriptions().items() if about.secret)
SECRET_FILES = frozenset(f"ROTA_{name.upper()}_FILE" for name in _SECRET)
VARIABLES: Mapping[str, str] = {
    "ROTA_TOKEN": "Token with which commands and `rota.Client` act; without it they act for whoever can read the home.",
    "ROTA_TOKEN_FILE": "File that holds that token instead.",
    "ROTA_LOG": "`json`: the platform's processes log one JSON object a line; otherwise lines for people.",
    "ROTA_GENERATION": "Set by the supervisor for its processes: a digest of version and settings; the next one takes over what has its own.",
    "ROTA_REPRODUCES": "Set by `rota runs reproduce`: the run that is executed again.",
}
"""Variables of the entry points, which are no settings: the token of who gives a command, the form of the log, who started a process."""
NOT_SETTINGS = frozenset(VARIABLES) | SECRET_FILES


def load(directory: Path = Path(), environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Settings of a directory's `rota.toml` (if there is one), the environment, and explicit overrides, later ones winning.

    Raises `InvalidInput` for unknown names, values of a wrong type and values out of range.
    """
    file = directory / "rota.toml"
    gathered = _gathered(file, environ, overrides)
    values = {name: value for name, (value, _) in gathered.items()}
    unknown = sorted(set(values) - set(Settings.__struct_fields__))
    if unknown:
        raise InvalidInput(f"unknown settings {unknown} in {file} or ROTA_*; known are {list(Settings.__struct_fields__)}", unknown=unknown)
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        what, _, path = str(error).rpartition(" - at `$.")
        name = path.strip("`").partition("[")[0]
        value, origin = gathered.get(name, ("", str(file)))
        shown = "" if name in _SECRET else f" = {value!r}"
        raise InvalidInput(f"{origin}: the setting {name}{shown} does not fit: {what[:1].lower()}{what[1:]}", setting=name) from error


def origins(directory: Path = Path(), environ: Mapping[str, str] = os.environ, **overrides: Any) -> dict[str, str]:
    """Where the value of each setting that `load` would give comes from: a file, a variable, "option" for an override, or "default"."""
    gathered = _gathered(directory / "rota.toml", environ, overrides)
    return {name: gathered[name][1] if name in gathered else "default" for name in Settings.__struct_fields__}


def _gathered(file: Path, environ: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Each configured value with its origin; unknown names are still among them."""
    gathered: dict[str, tuple[Any, str]] = {}
    if file.exists():
        try:
            gathered = {name: (value, str(file)) for name, value in tomllib.loads(file.read_text()).items()}
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file} is not valid TOML: {error}", file=str(file)) from error
    for variable, text in environ.items():
        if variable.startswith("ROTA_") and variable not in NOT_SETTINGS:
            gathered[variable.removeprefix("ROTA_").lower()] = (text, variable)
    for name in _SECRET:
        if text := secret(name, environ):
            variable = f"ROTA_{name.upper()}"
            gathered[name] = (text, f"{variable}_FILE" if environ.get(f"{variable}_FILE") else variable)
    return gathered | {name: (value, "option") for name, value in overrides.items() if value is not None}


def secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The secret in the variable ROTA_NAME, or in the file that ROTA_NAME_FILE names; "" when neither is set."""
    variable = f"ROTA_{name.upper()}"
    file = environ.get(f"{variable}_FILE", "")
    if not file:
        return environ.get(variable, "").strip()
    if environ.get(variable):
        raise InvalidInput(f"{variable} and {variable}_FILE are both set; leave one of them out", setting=name)
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise InvalidInput(f"{variable}_FILE = {file!r} cannot be read: {why}", setting=name) from error


def _path(kind: type[Any], value: object) -> object:
    """Files and variables hold texts; `home` is a path."""
    return Path(value) if kind is Path and isinstance(value, str) else value
