"""Small records and a way to store them, for tests of what keeps records."""

from typing import Any

import msgspec

from rota.ports.metadata import Batch, Metadata
from rota.records.model import Alias, ModelVersion
from rota.records.record import Record
from rota.records.signal import Event


def alias(name: str = "champion", number: int = 1, *, model: str = "flights", since_us: int = 0) -> Alias:
    return Alias(model, name, number, since_us)


def version(**changes: Any) -> ModelVersion:
    """A record with nested values."""
    made = ModelVersion("flights", 1, "b" * 64, "skops", "r1", "flights@1", "d" * 64, 5)
    return msgspec.structs.replace(made, **changes)


def pushed(subject: str) -> Event:
    return Event("commit.pushed", subject, 7, {"by": "ada"})


def store(metadata: Metadata, *records: Record) -> None:
    batch = Batch()
    for record in records:
        batch.put(record)
    metadata.commit(batch)
