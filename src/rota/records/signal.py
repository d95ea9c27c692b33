"""Nouns that flow back: predictions, labels, events, alerts, lineage edges, audit entries, monitors."""

from collections.abc import Mapping
from typing import Any, Literal

from rota.errors import InvalidInput
from rota.records.breakdown import Breakdown
from rota.records.record import Record
from rota.records.release import Endpoint
from rota.records.schema import Bins, VectorMoments
from rota.records.time import Micros

EventKind = Literal[
    "commit.pushed",
    "pipeline.deployed",
    "schedule.fired",
    "data.arrived",
    "run.finished",
    "version.registered",
    "review.requested",
    "risk.answered",
    "version.approved",
    "version.withdrawn",
    "rollout.changed",
    "label.arrived",
    "alert.raised",
    "alert.lasting",
]
AlertKind = Literal["schema_skew", "distribution_skew", "drift", "concept_drift", "performance", "efficiency", "gate", "rollout", "platform"]


class Event(Record, frozen=True):
    """Something happened; append-only, read with a cursor. `position` is given by the store (0 = not stored yet)."""

    kind: EventKind
    subject: str
    at_us: Micros
    body: Mapping[str, Any] = {}
    position: int = 0


class Edge(Record, frozen=True):
    """`effect` came from `cause`; both are nodes written kind:key, for example "run:r1" -> "model_version:flights@2"."""

    cause: str
    effect: str
    at_us: Micros


class AuditEntry(Record, frozen=True):
    """One administrative act. The store numbers the entries and chains their hashes."""

    actor: str
    action: str
    subject: str
    at_us: Micros
    body: Mapping[str, Any] = {}
    position: int = 0
    previous: str = ""
    hash: str = ""


class Alert(Record, frozen=True):
    """A breach seen by a monitor: one alert per endpoint, kind and subject as long as it lasts.

    One of kind "rollout" is about the rollout `subject`, which is held because the data did not decide in time. One of kind "platform" has
    endpoint "": a part of the platform itself is not well; `subject` is the condition's name.
    """

    id: str
    endpoint: str
    kind: AlertKind
    subject: str
    severity: Literal["warning", "critical"]
    message: str
    evidence: Mapping[str, Any]
    raised_us: Micros
    last_seen_us: Micros
    status: Literal["open", "acknowledged", "resolved"] = "open"
    resolved_us: Micros | None = None
    monitor_run: str = ""


SWITCHES: tuple[AlertKind, ...] = ("schema_skew", "distribution_skew", "drift", "performance")
"""Kinds of checks that a monitor may switch off."""


class Monitor(Record, frozen=True):
    """Continuous monitoring of an endpoint: every `schedule` the newest slice of the prediction log is examined.

    `expected_days_between_false_alarms` is what the team can live with; thresholds follow from it. `off` switches checks off: "drift" for
    all features, "drift:FEATURE" for one. Drift of features that follow the calendar (one value on all rows of a day) is off by
    itself unless `watch_calendar`.
    """

    endpoint: Endpoint
    schedule: str = "0 1 * * *"
    expected_days_between_false_alarms: int = 90
    reference_days: int = 90
    gap_days: int = 7
    off: tuple[str, ...] = ()
    watch_calendar: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.off if name.partition(":")[0] not in SWITCHES]
        if unknown:
            raise InvalidInput(
                f"off={list(self.off)} names {unknown[0]!r}; give some of {list(SWITCHES)}, or one of them with a feature, as in 'drift:FEATURE'",
                endpoint=self.endpoint.name,
            )
        if self.expected_days_between_false_alarms < 1:
            raise InvalidInput(
                f"expected_days_between_false_alarms={self.expected_days_between_false_alarms}: state at least 1 day", endpoint=self.endpoint.name
            )


class MonitorSlice(Record, frozen=True):
    """What one monitor run counted in one slice of time: statistics per feature and measured performance per version.

    `counts` are on the bins of version `schema` of the model's schema (0: written by an older release, which kept none). `labelled` rows
    were measured; `set_apart` ones have a label or an answer outside of what the problem allows. `revisions` counts how often the
    slice was measured again because labels came later or were corrected, at `revised_us` the last time. `not_measured` says why a metric of
    a team's own has no value of all versions together. `answers` counts the answers of version `answered_by`, which gave most of the day's, on the
    bins that were chosen on the day `answer_bins` and are kept in its slice as `answer_columns`. `vectors` has the moments of features that are
    lists of one length. `intervals` are the 95 % bounds of the metrics of all versions together, by the bootstrap over the hours of the day (none
    with labels of fewer than four), `breakdown` what lies behind these.
    """

    endpoint: str
    start_us: Micros
    end_us: Micros
    rows: int
    labelled: int
    counts: Mapping[str, tuple[int, ...]]
    performance: Mapping[str, Mapping[str, float]]
    efficiency: Mapping[str, float]
    run: str = ""
    schema: int = 0
    set_apart: int = 0
    revisions: int = 0
    revised_us: Micros | None = None
    not_measured: Mapping[str, str] = {}
    answers: Mapping[str, tuple[int, ...]] = {}
    answered_by: int = 0
    answer_bins: Micros = 0
    answer_columns: tuple[Bins, ...] = ()
    vectors: Mapping[str, VectorMoments] = {}
    intervals: Mapping[str, tuple[float, float]] = {}
    breakdown: Breakdown | None = None


class Prediction(Record, frozen=True):
    """One row of the prediction log. `features` is what the model saw before transformation; `role` is the route's.

    `answer` is None where `error` says why, else a number, a text, a mapping of names to numbers, a list of numbers or any JSON.
    `missing` says of stored features why they had no value, or none to be trusted: a status of the online read (NOT_FOUND,
    OUTSIDE_MAX_AGE, HISTORY_NOT_ONLINE). `group` names the rows that are ranked together ("": the problem knows no groups). `routed_by` is what sent
    the request to its version, "header x-beta: yes"; "": its unit, by the weights.
    """

    prediction_id: str
    endpoint: str
    at_us: Micros
    model: str
    number: int
    role: str
    revision: int
    unit: str
    request: Mapping[str, Any]
    features: Mapping[str, Any]
    answer: Any
    latency_us: int
    error: str = ""
    missing: Mapping[str, str] = {}
    group: str = ""
    routed_by: str = ""


class Label(Record, frozen=True, omit_defaults=True):
    """The truth about a prediction, known at `at_us`; a later label for the same prediction replaces it, one that names some outputs only these.

    `value` is a number, a text, a mapping of names to numbers, a list of numbers or any JSON, as the problem says. `withdrawn`: it was a
    mistake, and nothing is known any more. `weight` is how much the row counts in metrics.
    """

    prediction_id: str
    value: Any
    at_us: Micros
    weight: float = 1.0
    withdrawn: bool = False


class Outcome(Record, frozen=True):
    """What came of a prediction for the business: a named figure (a sale, a cost, a click) at the moment it was reported."""

    prediction_id: str
    name: str
    value: float
    at_us: Micros


class Note(Record, frozen=True):
    """What somebody wrote about a lineage node, afterwards; notes are added, never changed."""

    node: str
    at_us: Micros
    author: str
    text: str
    tags: tuple[str, ...] = ()


class Cursor(Record, frozen=True):
    """How far a consumer has read an append-only stream."""

    consumer: str
    position: int


class ArrivalCount(Record, frozen=True):
    """Rows of a source that arrived since a moment, for the trigger of a pipeline: events up to `position` are counted.

    No event up to `start` is younger than that moment; from there it is counted anew when a run has moved the moment on.
    """

    pipeline: str
    source: str
    since_us: Micros = 0
    start: int = 0
    position: int = 0
    rows: int = 0


class ScheduleState(Record, frozen=True):
    """The last tick of a schedule that was fired; the next ones follow from the cron expression."""

    name: str
    last_us: Micros
