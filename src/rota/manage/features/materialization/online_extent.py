"""How far the online rows of a source have come, counted in the online store and in metadata: a store that was set back contradicts it.

What is pushed is online as far as the state of the source says, and what lies behind that is applied again from the journal. A segment of the
journal that is dropped can never be applied again. So with each drop the state is numbered: metadata says that a number is begun, the online
store takes it in the transaction that gives the segment up, and metadata says that it is reached. A kill in between leaves a number
that is begun, which is no contradiction. The state also has a name that nobody else's has.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace

import msgspec

from rota.manage.features.materialization import stream_state
from rota.manage.features.materialization.push_stream import PushStream
from rota.manage.features.materialization.stream_state import StreamState
from rota.ports.metadata import Batch, Metadata, transact
from rota.records.intake import OnlineExtent

Change = Callable[[StreamState], StreamState]


def known(metadata: Metadata, source: str) -> OnlineExtent | None:
    """What metadata knows of a source; None before anything of it was counted."""
    return metadata.get(OnlineExtent, source)


def contradiction(state: StreamState, extent: OnlineExtent | None) -> str:
    """Why a state cannot be the one that metadata knows; "" when it can."""
    if extent is None or (not extent.reached and not state.store):  # it is counted for the first time, or never was
        return "the online store has rows that this platform knows nothing of" if state.store else ""
    if not state.store:
        return "the online store was emptied, or set back to an early copy"
    if state.store != extent.store:
        return "the online store is another platform's, or was exchanged for one (each platform needs its own online_namespace)"
    if extent.reached <= state.number <= extent.begun:
        return ""
    is_old = state.number < extent.reached
    return "the online store was set back to an older copy" if is_old else "the online store is ahead of the metadata, which was set back"


def compared(stream: PushStream) -> tuple[StreamState, str]:
    """What the online store says of a source now, and why that contradicts metadata ("" when it does not)."""
    before, state = known(stream.stores.metadata, stream.source.name), stream.state()
    problem = contradiction(state, before)
    if problem and (after := known(stream.stores.metadata, stream.source.name)) is not None:  # another process may have counted in between
        problem = contradiction(state, msgspec.structs.replace(after, reached=before.reached if before is not None else 0))
    return state, problem


def count(stream: PushStream, change: Change = lambda state: state) -> None:
    """Change the state of a source and number it; a state that contradicts what metadata knows is changed, and goes on contradicting."""
    extent = _begun(stream)

    def merge(old: bytes | None, _: bytes) -> bytes:
        state = stream_state.decoded(old)
        if contradiction(state, extent):
            return change(state).encoded()
        return replace(change(state), store=extent.store, number=max(state.number, extent.begun)).encoded()

    stream.stores.online.update([(stream_state.key(stream.source.name), b"")], merge)
    _reach(stream, extent.begun)


def begin_anew(stream: PushStream, catalog_version: int, forget: Callable[[], object]) -> None:
    """Forget what the online store says of a source, and its rows: then it is as if it had been emptied, and metadata agrees.

    `forget` removes the rows. The state goes first, so that nothing is added to rows that are about to go, and once more behind
    them, for another process may have begun to bring rows online in between. Killed on the way, it is to be done again.
    """
    extent, losses = _begun(stream), stream.stores.online.report().losses

    def merge(old: bytes | None, new: bytes) -> bytes:
        anew = StreamState(catalog_version=catalog_version, rebuilds=stream_state.decoded(old).rebuilds + 1, losses=losses)
        return (replace(anew, store=extent.store, number=extent.begun) if new else anew).encoded()

    key = stream_state.key(stream.source.name)
    stream.stores.online.update([(key, b"")], merge)
    forget()
    stream.stores.online.update([(key, b"last")], merge)
    _reach(stream, extent.begun)


def _begun(stream: PushStream) -> OnlineExtent:
    """The extent with a number that nobody else has begun."""
    metadata, source = stream.stores.metadata, stream.source.name

    def begin() -> OnlineExtent:
        before = known(metadata, source)
        extent = before or OnlineExtent(source, secrets.token_hex(8))
        extent = msgspec.structs.replace(extent, begun=extent.begun + 1)
        batch = Batch()
        batch.put(extent, replacing=before)
        metadata.commit(batch)
        return extent

    return transact(begin)


def _reach(stream: PushStream, number: int) -> None:
    metadata = stream.stores.metadata

    def reach() -> None:
        before = known(metadata, stream.source.name)
        if before is not None and before.reached < number:
            batch = Batch()
            batch.put(msgspec.structs.replace(before, reached=number), replacing=before)
            metadata.commit(batch)

    transact(reach)
