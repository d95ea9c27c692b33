"""What a rule is given besides its event, and what it answers."""

from dataclasses import dataclass, field

from rota.manage.repositories import Repositories
from rota.ports.alerts import AlertSink
from rota.ports.metadata import Batch
from rota.records.run import Run


@dataclass(frozen=True, slots=True)
class LoopContext:
    """The platform as rules see it; `sinks` are where alerts go beside the store."""

    repositories: Repositories
    environment: str
    sinks: tuple[AlertSink, ...] = ()


@dataclass(frozen=True, slots=True)
class Reaction:
    """Runs to start and facts to store because of one event."""

    runs: tuple[Run, ...] = ()
    batch: Batch = field(default_factory=Batch)
