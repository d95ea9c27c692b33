"""Notes that people add to a run, a dataset, a model or any other lineage node. Added, never changed."""

from collections.abc import Sequence

from rota.errors import Conflict, InvalidInput
from rota.manage.lineage.node_types import type_of
from rota.ports.metadata import Batch, Metadata
from rota.records.signal import Note
from rota.records.time import Micros

MAX_TEXT = 10_000
MAX_TAG = 100
MAX_TAGS = 20
_TRIES = 1_000


def add(metadata: Metadata, node: str, text: str, *, author: str, now_us: Micros, tags: Sequence[str] = ()) -> Note:
    """Keep a note; two of one author at one moment are a microsecond apart."""
    _check(node, text, tags)
    for later_us in range(_TRIES):
        note = Note(node, now_us + later_us, author, text, tuple(dict.fromkeys(tags)))
        batch = Batch()
        batch.create(note)
        try:
            metadata.commit(batch)
        except Conflict:
            continue
        return note
    raise Conflict(f"{_TRIES} notes of {author} about {node!r} stand at this very moment; try again", node=node)


def of(metadata: Metadata, node: str) -> list[Note]:
    """The notes about a node, oldest first."""
    return metadata.find(Note, {"node": node}, order="at_us")


def _check(node: str, text: str, tags: Sequence[str]) -> None:
    kind, _, key = node.partition(":")
    if not key or type_of(node).name == "Other" or not node.isprintable() or len(node) > 1_000:
        raise InvalidInput(f"{node[:200]!r} is no node; write kind:key, for example model_version:churn@3 or run:ID", node=node[:200], kind=kind)
    if not text.strip() or len(text) > MAX_TEXT:
        raise InvalidInput(f"a note has 1-{MAX_TEXT} characters; this one has {len(text)}", node=node)
    if any(not tag.strip() or len(tag) > MAX_TAG or not tag.isprintable() for tag in tags) or len(tags) > MAX_TAGS:
        raise InvalidInput(f"a note has at most {MAX_TAGS} tags of 1-{MAX_TAG} printable characters each", node=node)
