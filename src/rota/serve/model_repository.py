"""The model repository of the Open Inference Protocol where releases are governed: loading and unloading an endpoint, and how much is logged.

What an endpoint serves is decided by its releases; nobody loads another model by this port. Unloading takes an endpoint out of serving in every
prediction process, by a record and with an entry in the audit log, until somebody loads it again; both ask for the permission to release.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.condition import ProcessReport
from rota.records.release import Endpoint, Serving, ServingLogLevel, Unloaded
from rota.records.time import Micros, iso

SETTLED_S = 30.0
"""How long a call waits until all prediction processes have followed."""
LOOK_S = 0.02
REPORTS_US = 30_000_000
"""A process that did not tell of itself for so long is not waited for."""
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LOG = "serving"
_SETTINGS: Mapping[str, type] = {
    "log_file": str, "log_info": bool, "log_warning": bool, "log_error": bool, "log_verbose_level": int, "log_format": str,
}  # fmt: skip


def follow(metadata: Metadata) -> dict[str, Unloaded]:
    """The endpoints that somebody unloaded, and the log's level set as it is recorded."""
    found = metadata.get(ServingLogLevel, _LOG)
    if found is not None and logging.getLogger("rota").level != getattr(logging, found.level):
        logging.getLogger("rota").setLevel(found.level)
    return {each.endpoint: each for each in metadata.find(Unloaded)}


def why(unloaded: Unloaded) -> str:
    """Why an endpoint is not served, and the way back."""
    return (
        f"endpoint {unloaded.endpoint!r} was unloaded by {unloaded.by} at {iso(unloaded.at_us)}; "
        f"POST /v2/repository/models/{unloaded.endpoint}/load loads it again"
    )


def unload(metadata: Metadata, endpoint: str, *, actor: str, now_us: Micros) -> None:
    """Take an endpoint out of serving; one that is so already stays as it is. Raises `NotFound` for one that is not declared."""

    def act() -> None:
        _declared(metadata, endpoint)
        if metadata.get(Unloaded, endpoint) is not None:
            return
        batch = Batch()
        batch.create(Unloaded(endpoint, actor, now_us))
        batch.audit(actor, "endpoint.unload", endpoint, now_us)
        metadata.commit(batch)

    transact(act)


def load(metadata: Metadata, endpoint: str, *, actor: str, now_us: Micros) -> None:
    """Let an endpoint be served again; one that is served stays as it is. Raises `NotFound` for one that is not declared."""

    def act() -> None:
        _declared(metadata, endpoint)
        before = metadata.get(Unloaded, endpoint)
        if before is None:
            return
        batch = Batch()
        batch.remove(before)
        batch.audit(actor, "endpoint.load", endpoint, now_us, unloaded_by=before.by)
        metadata.commit(batch)

    transact(act)


def settle(metadata: Metadata, endpoint: str, *, served: bool, is_so: Callable[[], bool], now_us: Callable[[], Micros]) -> None:
    """Wait until this process (`is_so`) and all others that tell of themselves serve an endpoint, or do not; raises `Unavailable` past SETTLED_S."""
    deadline = time.monotonic() + SETTLED_S
    while True:
        here = is_so()
        others = _others(metadata, endpoint, _reporting(metadata, now_us()), served=served) if here else []
        if here and not others:
            return
        if time.monotonic() > deadline:
            waited = ", ".join(others) or "this process"
            raise Unavailable(
                f"endpoint {endpoint!r}: {waited} did not {'load' if served else 'unload'} it within {SETTLED_S:g} s; ask again, or look at "
                "/v2/repository/index for the reason",
                endpoint=endpoint,
            )
        time.sleep(LOOK_S)


def check_load(parameters: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` for a load that brings its own configuration or files."""
    foreign = [name for name in parameters if name == "config" or name.startswith("file:")]
    if foreign:
        raise InvalidInput(
            f"models are not loaded from a request ({foreign[0][:100]!r}): register a version (`rota models register`) and release it; "
            "a load without parameters serves what is released"
        )


def log_settings() -> dict[str, Any]:
    """What prediction processes write to their own logs, in Triton's words."""
    level = logging.getLogger("rota").getEffectiveLevel()
    return {
        "log_file": "",
        "log_info": level <= logging.INFO,
        "log_warning": level <= logging.WARNING,
        "log_error": level <= logging.ERROR,
        "log_verbose_level": int(level <= logging.DEBUG),
        "log_format": "default",
    }


def set_log(metadata: Metadata, given: Mapping[str, Any], *, actor: str, now_us: Micros) -> None:
    """Set how much all prediction processes write to their own logs; raises `InvalidInput` for a setting that there is not."""
    for name, value in given.items():
        kind = _SETTINGS.get(name)
        if kind is None:
            raise InvalidInput(f"there is no log setting {name[:100]!r}; there are {', '.join(_SETTINGS)}")
        if type(value) is not kind:
            raise InvalidInput(f"the log setting {name!r} is {value!r}; it must be of type {kind.__name__}")
        if (name == "log_file" and value) or (name == "log_format" and value != "default"):
            raise InvalidInput(f"the log setting {name!r} cannot be set here; `rota up` writes the logs, in lines of JSON, below its home")
    wanted = log_settings() | dict(given)
    level = _level(wanted)

    def act() -> None:
        before = metadata.get(ServingLogLevel, _LOG)
        batch = Batch()
        batch.put(ServingLogLevel(_LOG, level, actor, now_us), replacing=before)  # type: ignore[arg-type]
        batch.audit(actor, "serving.log", level, now_us, before=before.level if before else "")
        metadata.commit(batch)

    transact(act)
    follow(metadata)


def _level(wanted: Mapping[str, Any]) -> str:
    """The lowest level that is written."""
    if wanted["log_verbose_level"] > 0:
        return "DEBUG"
    return next((level for level in ("INFO", "WARNING", "ERROR") if wanted[f"log_{level.lower()}"]), "CRITICAL")


def _declared(metadata: Metadata, endpoint: str) -> None:
    if metadata.get(Endpoint, endpoint) is None:
        raise NotFound(f"endpoint {endpoint!r} does not exist; there are {sorted(each.name for each in metadata.find(Endpoint))[:50]}")


def _reporting(metadata: Metadata, now_us: Micros) -> Collection[str]:
    return {each.process for each in metadata.find(ProcessReport) if each.kind == "prediction process" and each.at_us > now_us - REPORTS_US}


def _others(metadata: Metadata, endpoint: str, processes: Collection[str], *, served: bool) -> list[str]:
    """The processes that have not followed yet."""
    serving = metadata.find(Serving, {"endpoint": endpoint})
    return sorted(each.process for each in serving if each.process in processes and (each.revision > 0) != served)
