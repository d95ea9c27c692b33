"""Metadata: records by key, found by indexed fields, changed only in atomic batches together with their consequences."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from rota.errors import Conflict, Corrupt
from rota.records.filters import Page
from rota.records.record import Record
from rota.records.signal import AuditEntry, Edge, Event
from rota.records.time import Micros

R = TypeVar("R", bound=Record)
T = TypeVar("T")
ATTEMPTS = 100
"""How often a transaction is tried before its caller hears that others were always faster."""

MAX_PAGE = 10_000
"""Items on one page of records or durable runs, at most."""


class Anything:
    """Marks a put that does not care what was stored before."""


ANYTHING = Anything()


@dataclass(frozen=True, slots=True)
class Put:
    """Store a record; `replacing` is the value it must replace (None: nothing may be there; ANYTHING: unconditional)."""

    record: Record
    replacing: Record | Anything | None = ANYTHING


@dataclass(slots=True)
class Batch:
    """Changes that happen together or not at all."""

    puts: list[Put] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    audits: list[AuditEntry] = field(default_factory=list)
    removals: list[Record] = field(default_factory=list)

    def put(self, record: Record, *, replacing: Record | Anything | None = ANYTHING) -> None:
        self.puts.append(Put(record, replacing))

    def create(self, record: Record) -> None:
        """Store a record under a key that must be free."""
        self.puts.append(Put(record, None))

    def remove(self, record: Record) -> None:
        """Remove a record for good; it must still be as given. Retention and garbage collection only: what people decide is kept."""
        self.removals.append(record)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def audit(self, actor: str, action: str, subject: str, at_us: Micros, **body: Any) -> None:
        self.audits.append(AuditEntry(actor, action, subject, at_us, body))

    def link(self, effect: str, causes: Collection[str], at_us: Micros) -> None:
        """Record that `effect` came from each of `causes` (lineage nodes)."""
        self.edges.extend(Edge(cause, effect, at_us) for cause in causes)


class Metadata(Protocol):
    """The repository of records, events, lineage and audit.

    Law:
    - `commit` is atomic and durable on return (survives kill -9 of any process at any moment). It raises `Conflict` and
      writes nothing when one `replacing`, or one record to remove, does not equal what is stored (compared by value).
      Puts are applied in order, then removals; what is removed is gone from `get` and `find`, its key free again.
    - Events get growing positions in commit order: a reader that saw position n never later sees a new event below n.
    - `forget_events` removes the events up to and with a position for good and returns how many there were; no position is ever
      given twice, also after the newest events were removed.
    - Audit entries get positions 1, 2, 3 ... without a gap; hash = SHA-256 over the previous hash and the entry; there is
      no verb that changes or removes one.
    - A repeated edge is stored once. `edges` returns the direct neighbours only; walking is `manage.lineage`'s work.
    - `find` gives every record that fits, as they stood at one moment: for decisions. It filters by equality on key or index
      fields (any other field raises `InvalidInput`), orders by one of them ("-" prefix: descending; default: key; equal ones
      by key), and is stable. `get` of a missing key is None.
      A record whose stored form cannot be read raises `Corrupt` that names it; with `damaged` it is left out, and its error is added there.
    - `events` raises `Corrupt` with the fact `position` when the first event behind `after` cannot be read; it gives those before it first.
    - `page` gives at most `limit` of the same records in the same order (1 to MAX_PAGE, else `InvalidInput`): for lists that people
      read, and for the newest few. `after` is the `next` of the page before with the same kind, `where` and `order` (a token of
      another list raises `InvalidInput`); a full walk gives each record that was there all the while once, whatever is added or
      removed meanwhile, as long as its own `order` field is not changed.
    - `mark` is cheap, for who looks often: while two marks of one handle are equal, nothing was committed between them by anybody; where runs
      or tracked runs lie in the same database, to them neither. They may differ although nothing was.
    - A number that does not fit into 64 bits, asked for or as a position, raises `InvalidInput`.
    - Thread-safe; several processes may use one store; a busy store is waited for, then `Unavailable`.
    """

    def get(self, kind: type[R], *key: str | int) -> R | None: ...

    def find(
        self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", damaged: list[Corrupt] | None = None
    ) -> list[R]: ...

    def page(
        self, kind: type[R], where: Mapping[str, str | int] | None = None, *, order: str = "", after: str = "", limit: int = 1_000
    ) -> Page[R]: ...

    def commit(self, batch: Batch) -> None: ...

    def events(self, after: int, *, limit: int = 1_000) -> list[Event]: ...

    def forget_events(self, until: int) -> int: ...

    def edges(self, nodes: Collection[str], direction: Literal["causes", "effects"]) -> list[Edge]: ...

    def audit(self, after: int = 0, *, limit: int = 1_000) -> Sequence[AuditEntry]: ...

    def mark(self) -> str: ...

    def close(self) -> None: ...


def transact(act: Callable[[], T], *, attempts: int = ATTEMPTS, busy: str = "", on_conflict: Callable[[], object] = lambda: None) -> T:
    """Run an optimistic transaction: `act` reads, decides and commits, and runs again from the start when it raises `Conflict`.

    Each conflict means that somebody else's commit came through, so contenders make progress together and nothing waits. After
    `attempts` conflicts in a row `Conflict` is raised, with the message `busy` or else the last one's; `on_conflict` is called
    before each repetition. What `act` does besides its commit must be repeatable. Any other error ends it at once.
    """
    for _ in range(attempts - 1):
        try:
            return act()
        except Conflict:
            on_conflict()
    try:
        return act()
    except Conflict as error:
        if busy:
            raise Conflict(f"{busy} ({attempts} attempts in a row met another change)", **error.facts) from error
        raise
