"""Damage in the log of a Delta table: a checkpoint that cannot be read is set aside, for the commits say the same; a damaged commit is named."""

import json
import logging
import re
from collections.abc import Callable

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from polars.exceptions import PolarsError

from rota.backends.shared.engine_panics import EnginePanicked, panics_caught
from rota.backends.storage import delta_commits
from rota.backends.storage.delta_commits import LOG
from rota.backends.storage.table_folders import TableFolder

logger = logging.getLogger("rota.storage")
_HINT = f"{LOG}/_last_checkpoint"
_NAME = re.compile(rf"{LOG}/(\d{{20}})\.(json|checkpoint\.parquet)")


def opened(folder: TableFolder, opening: Callable[[], DeltaTable]) -> DeltaTable:
    """Open a table; where its log is damaged, go on without damaged checkpoints, or raise `Corrupt` naming the commit."""
    try:
        with panics_caught():
            return opening()
    except TableNotFoundError:
        raise
    except (DeltaError, EnginePanicked, OSError, ValueError):
        if not _set_aside(folder):
            raise
    with panics_caught():
        return opening()


def _set_aside(folder: TableFolder) -> list[str]:
    """Put checkpoints that cannot be read, and a hint at one, into the table's `_damaged`; raises `Corrupt` for a damaged commit."""
    damaged = [_HINT] if _is_damaged_hint(folder) else []
    for file in folder.files(LOG):
        found = _NAME.fullmatch(file.name)
        if found and found[2] == "json":
            delta_commits.read(folder, int(found[1]))
        elif found and not _is_readable(folder.address(file.name), folder):
            damaged.append(file.name)
    if damaged and _HINT not in damaged and folder.read(_HINT) is not None:
        damaged.append(_HINT)  # it leads to a checkpoint that is gone
    for name in damaged:
        logger.error("%s is damaged and was set aside", folder.address(name), extra={"action": "set_aside", "file": folder.address(name)})
        folder.set_aside(name)
    return damaged


def _is_damaged_hint(folder: TableFolder) -> bool:
    data = folder.read(_HINT)
    try:
        return data is not None and not isinstance(json.loads(data)["version"], int)
    except (ValueError, KeyError, TypeError):
        return True


def _is_readable(address: str, folder: TableFolder) -> bool:
    try:
        with panics_caught():
            pl.scan_parquet(address, storage_options=folder.scan_options, credential_provider=None).collect()
    except (PolarsError, EnginePanicked, OSError):
        return False
    return True
