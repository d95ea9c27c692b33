"""Holds: what garbage collection must keep whatever the retention rules say, with the person and the reason."""

import msgspec

from rota.errors import Conflict, InvalidInput, NotFound
from rota.manage.lineage import graph as lineage
from rota.manage.lineage.node_types import type_of
from rota.ports.metadata import Batch, Metadata
from rota.records.retention import Hold
from rota.records.time import Micros


def place(metadata: Metadata, node: str, reason: str, *, actor: str, now_us: Micros) -> Hold:
    """Hold a node, and with it everything that it came from or led to."""
    if not type_of(node).kind or not node.partition(":")[2]:
        raise InvalidInput(f"{node[:200]!r} is no node; write kind:key, for example model_version:churn@3 or run:ID", node=node[:200])
    if not reason.strip():
        raise InvalidInput(f"a hold on {node!r} needs a reason", node=node)
    if any(hold.node == node for hold in standing(metadata)):
        raise Conflict(f"{node} is held already; `rota hold list` shows by whom and why", node=node)
    made, batch = Hold(node, now_us, reason, actor), Batch()
    batch.create(made)
    batch.audit(actor, "hold.place", node, now_us, reason=reason)
    metadata.commit(batch)
    return made


def lift(metadata: Metadata, node: str, reason: str, *, actor: str, now_us: Micros) -> Hold:
    """End the hold on a node."""
    before = next((hold for hold in standing(metadata) if hold.node == node), None)
    if before is None:
        raise NotFound(f"{node!r} is not held; `rota hold list` shows what is", node=node)
    lifted, batch = msgspec.structs.replace(before, lifted_us=now_us, lifted_by=actor), Batch()
    batch.put(lifted, replacing=before)
    batch.audit(actor, "hold.lift", node, now_us, reason=reason)
    metadata.commit(batch)
    return lifted


def standing(metadata: Metadata) -> list[Hold]:
    """The holds in force."""
    return [hold for hold in metadata.find(Hold) if hold.lifted_us is None]


def held_nodes(metadata: Metadata) -> set[str]:
    """Every node that a hold reaches: the held one, what it came from, and what came from it."""
    found: set[str] = set()
    for hold in standing(metadata):
        found.add(hold.node)
        found |= lineage.reached(metadata, hold.node, "causes")
        found |= lineage.reached(metadata, hold.node, "effects")
    return found
