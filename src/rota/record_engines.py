"""The engines of records alone: metadata, durable runs and tracked runs, the clocks, and who owns the home.

What reads records and nothing else opens these and starts in a fraction of the time that all engines take to load.
"""

from dataclasses import dataclass
from pathlib import Path

from rota.backends.clocks import ReplayClock, SystemClock
from rota.backends.home_secrets import OwnerToken, private_home
from rota.backends.sql.engine import check_layout, open_engine, unopened_engine
from rota.backends.sql.metadata import SqlMetadata
from rota.backends.sql.runs import SqlRuns
from rota.backends.sql.tracking import SqlTracking
from rota.manage.access import tokens
from rota.ports.clock import Clock
from rota.ports.metadata import Metadata
from rota.ports.runs import Runs
from rota.ports.tracking import Tracking
from rota.settings import Settings


@dataclass(frozen=True, slots=True)
class RecordStores:
    """The stores of records of one home; they share one database."""

    metadata: Metadata
    runs: Runs
    tracking: Tracking

    def close(self) -> None:
        """Close the database."""
        self.metadata.close()


def record_stores(settings: Settings) -> RecordStores:
    """The stores of records of the settings' home; the home is made when it is new."""
    engine = open_engine(settings.metadata_url or made(settings) / "metadata.db")
    return RecordStores(SqlMetadata(engine), SqlRuns(engine), SqlTracking(engine))


def checked_layout(settings: Settings) -> None:
    """Look at the metadata store as a process that starts now would: raises what it would meet, and changes nothing."""
    engine = unopened_engine(settings.metadata_url or settings.home.resolve() / "metadata.db")
    try:
        check_layout(engine)
    finally:
        engine.dispose()


def owner_token(settings: Settings) -> OwnerToken:
    """The token of whoever owns the home."""
    return OwnerToken(settings.home.resolve(), tokens.PREFIX)


def clock(settings: Settings) -> Clock:
    """The platform's clock."""
    return ReplayClock(settings.home.resolve() / "clock") if settings.clock == "replay" else SystemClock()


def wall() -> Clock:
    """The machine's clock, also where the platform follows a replayed one."""
    return SystemClock()


def made(settings: Settings) -> Path:
    """The home's directory, made when it is new."""
    return private_home(settings.home.resolve())
