"""Settings: one frozen record, read once by `rota.wiring` from `rota.toml` and `ROTA_*` variables.

Order: a variable beats the file, the file beats the default. Unknown keys are errors, so a typing mistake is seen.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from rota.errors import InvalidInput


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be configured; each field's comment gives unit, range and the default's reason."""

    home: Path = Path(".rota")
    """Directory of the embedded platform; created with mode 0700."""
    host: str = "127.0.0.1"
    """Address of both servers; loopback unless somebody decides otherwise."""
    allowed_hosts: str = ""
    """Further names under which the control plane may be addressed, separated by commas, for example behind a proxy; it
    answers to `host` and to this machine's loopback names, and to nothing else (a page elsewhere could rebind a name to it)."""
    control_port: int = 7682
    """Port of the control plane, 1-65535 (0: any free port; read it from HOME/ports.json)."""
    prediction_port: int = 7683
    """Port of the prediction processes, 1-65535 (0: any free port)."""
    prediction_processes: int = 1
    """Prediction processes sharing one socket, 1-64; a fitting number is one per core that serving may use."""
    workers: int = 1
    """Worker processes, 1-64."""
    environment: str = "prod"
    """Name under which pipelines are deployed here."""
    clock: Literal["system", "replay"] = "system"
    """replay: time stands still until it is advanced (replaying recorded data); system: the machine's clock."""
    lease_s: float = 5.0
    """Seconds a worker owns a run without renewing, 1-3600: a dead worker's run is taken over after this."""
    poll_s: float = 0.1
    """Seconds between two looks for work or for a new release, 0.01-60."""
    sync: bool = False
    """True: predictions, labels and pushes are acknowledged after fsync (they survive a power cut, not only a killed process)."""
    online_size_mb: int = 4_096
    """Largest size of the online store in megabytes, 16-1048576; the file is sparse and grows as needed."""
    online_url: str = ""
    """URL of the Redis (6 or newer) or Valkey of the online features, as redis://:password@host:6379/0; empty: LMDB in HOME/online."""
    online_namespace: str = "rota"
    """What all keys in that server begin with: the same on every host of a platform, another one for each platform that shares the server."""
    max_request_mb: int = 16
    """Largest accepted HTTP body in megabytes, 1-1024."""
    max_artifact_mb: int = 10_240
    """Largest accepted artifact file in megabytes, 1-1048576; files are streamed, so this bounds disk, not memory."""
    housekeeping_s: float = 30.0
    """Seconds between two rounds in which a worker carries pushed rows into the tables and sorts histories, 0.1-86400."""
    step_timeout_s: float = 3_600.0
    """Seconds a training step may take before it is ended, 1-604800."""
    retention_trash_days: float = 30.0
    """Days for which deleted tracked runs, experiments, logged models and versions are kept, 0-36500; then `rota gc` purges them."""
    retention_pending_days: float = 7.0
    """Days after which a logged model whose upload never ended counts as given up, 0-36500."""
    retention_run_days: float = 365.0
    """Days for which events, monitor runs and what a failed or blocked run made are kept, 0-36500; what a version rests on is kept for good."""
    retention_grace_hours: float = 24.0
    """Hours for which a blob that nothing names is left alone, 0-8760: longer than any upload takes."""
    metadata_url: str = ""
    """URL of the metadata store, as postgresql://user:password@host:5432/database; empty: SQLite in HOME/metadata.db."""
    storage_url: str = ""
    """s3://BUCKET/PREFIX of blobs and tables, reached with the AWS_* variables; empty: HOME/blobs and HOME/tables."""
    alert_webhook: str = ""
    """URL that receives each alert as JSON; empty: alerts are only logged and stored."""
    alert_private: bool = False
    """True: that URL may lie in a private network and be plain http; otherwise only https to a public address, or loopback."""
    signing_key: str = ""
    """What signs models that are kept as pickle, at least 32 characters and the same on every host; empty: HOME/signing.key, made at first use."""

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


_SECRET = ("metadata_url", "alert_webhook", "online_url", "signing_key")
"""URLs that may hold a password or a token: never shown. Each may stand in a file named by ROTA_NAME_FILE instead."""
SECRET_FILES = frozenset(f"ROTA_{name.upper()}_FILE" for name in _SECRET)
NOT_SETTINGS = frozenset({"ROTA_LOG", "ROTA_SUPERVISOR_PID", "ROTA_TOKEN", "ROTA_TOKEN_FILE", "ROTA_REPRODUCES"}) | SECRET_FILES
"""Variables of the entry points: the form of the log, who started a child, the token of who gives a command, and the run that is executed again."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "control_port": (0, 65_535),
    "prediction_port": (0, 65_535),
    "prediction_processes": (1, 64),
    "workers": (1, 64),
    "lease_s": (1, 3_600),
    "poll_s": (0.01, 60),
    "online_size_mb": (16, 1_048_576),
    "max_request_mb": (1, 1_024),
    "max_artifact_mb": (1, 1_048_576),
    "housekeeping_s": (0.1, 86_400),
    "step_timeout_s": (1, 604_800),
    "retention_trash_days": (0, 36_500),
    "retention_pending_days": (0, 36_500),
    "retention_run_days": (0, 36_500),
    "retention_grace_hours": (0, 8_760),
}


def load(directory: Path = Path(), environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Settings of a directory's `rota.toml` (if there is one), the environment, and explicit overrides, later ones winning."""
    file = directory / "rota.toml"
    values: dict[str, Any] = {}
    if file.exists():
        try:
            values = tomllib.loads(file.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file} is not valid TOML: {error}", file=str(file)) from error
    values |= {name.removeprefix("ROTA_").lower(): text for name, text in environ.items() if name.startswith("ROTA_") and name not in NOT_SETTINGS}
    values |= {name: text for name in _SECRET if (text := secret(name, environ))}
    values |= {name: value for name, value in overrides.items() if value is not None}
    unknown = sorted(set(values) - set(Settings.__struct_fields__))
    if unknown:
        raise InvalidInput(f"unknown settings {unknown} in {file} or ROTA_*; known are {list(Settings.__struct_fields__)}", unknown=unknown)
    try:
        return msgspec.convert(values, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"a setting in {file} or ROTA_* has a wrong type: {error}") from error


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
