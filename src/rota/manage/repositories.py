"""The repositories through which the rooms meet: one value that every workflow is given."""

from dataclasses import dataclass

from rota.ports.blobs import Blobs
from rota.ports.clock import Clock
from rota.ports.journal import Journal
from rota.ports.metadata import Metadata
from rota.ports.online import Online
from rota.ports.runs import Runs
from rota.ports.tables import Tables
from rota.ports.tracking import Tracking


@dataclass(frozen=True, slots=True)
class Repositories:
    """Data, model and metadata repositories, the journal that feeds them, and the clock they follow."""

    metadata: Metadata
    runs: Runs
    blobs: Blobs
    tables: Tables
    online: Online
    journal: Journal
    clock: Clock
    tracking: Tracking
