"""Nouns of ingestion: how far an input has been taken in, what an ingestion did, what was left out and why."""

from typing import Literal

from rota.records.record import Record
from rota.records.time import Micros


class Counts(Record, frozen=True):
    """Rows read, stored, known before, and rejected."""

    rows_in: int = 0
    rows_out: int = 0
    known: int = 0
    rejected: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.rows_in + other.rows_in, self.rows_out + other.rows_out, self.known + other.known, self.rejected + other.rejected)

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.rows_in - other.rows_in, self.rows_out - other.rows_out, self.known - other.known, self.rejected - other.rejected)


class Intake(Record, frozen=True):
    """How far one input (a content, a database, an endpoint's outcomes) has been taken into a source.

    Chunk `number` is claimed here before its rows are appended under the same number; it is stored when it is `settled` or
    the table has that number. `counts` and `until` (the watermark) hold with that chunk, `counts_before` and `before` without
    it. `done`: a content that was taken to its end. Of a file of lines `until` are the bytes of its text, `digest` the SHA-256 over them,
    `waits` the bytes behind them that were no whole line, `content` the SHA-256 of the file as it was when it was taken to its end;
    `reported` are the counts that ended ingestions have told of, since such a file may grow.
    """

    source: str
    writer: str
    origin: str = ""
    number: int = 0
    counts: Counts = Counts()
    counts_before: Counts = Counts()
    until: int | None = None
    before: int | None = None
    settled: bool = True
    done: bool = False
    digest: str = ""
    waits: int = 0
    content: str = ""
    reported: Counts = Counts()


class SeenFile(Record, frozen=True):
    """A file that was taken: while its stamp stays the same it need not be read again.

    A content that a file grew to is noted like one, `file` being "sha256:" and its digest, so that it is known under another name.
    """

    source: str
    file: str
    stamp: str
    writer: str


class Rejection(Record, frozen=True):
    """A row that was left out: its number in the input (from 1, without a header), why, and the row as it came.

    `line` is the line of a text file on which it begins (from 1, with the header); 0 where there are no lines.
    """

    file: str
    row: int
    reason: str
    raw: str = ""
    line: int = 0


class Ingestion(Record, frozen=True):
    """What an ingestion did: rows read, stored, already there, and rejected (the first hundred with their reasons).

    `version` is the source's table version afterwards, `watermark` how far a database was read, `stale` what the contract's
    freshness says, `online_problem` why the rows of the ingestion that has just ended are not online in every view, `notices` what
    people should know of the rows and files: times that look like seconds, what is empty, waits, or lacks a column. `number` 0 is an
    ingestion that found nothing new and is not kept in the history. One that is "running" and whose process was killed is carried on
    by the next.
    """

    source: str
    number: int
    status: Literal["running", "done", "refused"] = "done"
    files: int = 0
    rows_in: int = 0
    rows_out: int = 0
    known: int = 0
    rejected: int = 0
    rejections: tuple[Rejection, ...] = ()
    at_us: Micros = 0
    actor: str = ""
    origin: str = ""
    watermark: int | None = None
    version: int | None = None
    reason: str = ""
    stale: str = ""
    online_problem: str = ""
    notices: tuple[str, ...] = ()


class SourceStatus(Record, frozen=True):
    """How a source stands: its rows, the newest of them, and its contract.

    `state`: "empty" without a row, "fresh" or "stale" against the contract's freshness, "no freshness promised" where nothing says how old
    the newest row may be. `stale` says in words what is wrong, `notices` what the last ingestion had to say of the files.
    """

    source: str
    rows: int
    newest_us: Micros | None
    age_s: float | None
    ingestions: int
    last_ingestion_us: Micros | None
    rejected: int
    owner: str = ""
    contract: int | None = None
    freshness: str = ""
    stale: str = ""
    state: Literal["empty", "fresh", "stale", "no freshness promised"] = "no freshness promised"
    notices: tuple[str, ...] = ()


class StreamClaim(Record, frozen=True):
    """The stretch of a segment of a source's pushed rows that somebody began to carry into the source's table.

    Bytes [start, end) of the segment, which hold so many `entries`. Whoever finds it unfinished carries the same stretch.
    """

    source: str
    segment: str
    start: int
    end: int
    entries: int


class ViewMaterialization(Record, frozen=True):
    """The last time that a definition of a view was materialized: when, from which version of the source's table, and how many keys it had.

    `definition` are the first bytes of the view's online keys in hexadecimal; `version` is None while the source has no table.
    `times` are this and the earlier moments, of which the last ten thousand are kept: an ingested row was online from the next one on.
    """

    view: str
    definition: str
    at_us: Micros
    version: int | None
    keys: int
    times: tuple[Micros, ...] = ()


class OnlineExtent(Record, frozen=True):
    """What metadata knows of the online rows of a source: the name of the state they are in, and its number.

    Whatever only the online store can still tell is counted there, and here: `begun` before, `reached` after it. An online store whose number
    is below `reached`, above `begun`, or that does not know `store`, was emptied, set back or exchanged.
    """

    source: str
    store: str
    reached: int = 0
    begun: int = 0


class CatalogStamp(Record, frozen=True):
    """How often the definitions of a catalog were changed: whoever keeps something derived from them compares it."""

    catalog: str
    changes: int
