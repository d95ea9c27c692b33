"""Two tables compared at once, without a home and without days: data quality, drift of each column, and performance where labels are known.

A monitor takes a slice of time for one observation. Here nothing is known of time: rows count as independent of each other, and the
report says so.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import polars as pl
from msgspec.structs import replace

from rota.errors import InvalidInput
from rota.monitor.metric_comparison import Scoring, compare_metrics, roles
from rota.records.check import CheckResult
from rota.records.comparison import PRESETS, SIDES, ColumnComparison, ColumnRole, FrameComparison, Preset
from rota.records.schema import Anomaly, Comparator, Schema, Type
from rota.stats import sketches
from rota.stats.column_comparison import DRIFT, Rule, TwoColumns, compare_column, not_compared
from rota.stats.column_profile import IDENTITY_LEAST, IDENTITY_SHARE
from rota.stats.schema_inference import infer_table
from rota.stats.schema_validation import validate
from rota.stats.summarize import summarize, type_of
from rota.stats.table_summary import NUMBERS

QUALITY = "quality"
DUPLICATES = "duplicate_rows"
THREADS = 4
INDEPENDENT = (
    "rows count as independent of each other; rows of one day, customer or session are alike, and then a change may be found where there is "
    "none: a monitor compares days"
)
_PROBLEMS: frozenset[Preset] = frozenset({"classification", "regression", "ranking"})


@dataclass(frozen=True, slots=True)
class ComparisonRule:
    """How drift is judged: at most in a share of `false_alarms` of comparisons without drift any column is called drifted, and never for a
    change of less than `least_effect` of the rows.
    """

    false_alarms: float = 0.01
    least_effect: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1 or not 0 <= self.least_effect < 1:
            raise InvalidInput(
                f"false_alarms={self.false_alarms}, least_effect={self.least_effect}: false_alarms lies between 0 and 1, least_effect is a share of "
                "the rows, 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """What is compared: presets, which columns hold label, answer and group, and how drift is judged."""

    presets: tuple[Preset, ...] = ("quality", "drift")
    scoring: Scoring = field(default_factory=Scoring)
    rule: ComparisonRule = field(default_factory=ComparisonRule)

    def __post_init__(self) -> None:
        unknown = [name for name in self.presets if name not in PRESETS]
        if unknown or not self.presets:
            raise InvalidInput(f"presets {unknown or list(self.presets)} are unknown; give some of {list(PRESETS)}", presets=list(self.presets))
        problems = [name for name in self.presets if name in _PROBLEMS]
        if len(problems) > 1:
            raise InvalidInput(f"presets {problems} are of different problems; give one of them", presets=list(self.presets))


def compare_frames(
    reference: pl.DataFrame, current: pl.DataFrame, request: Request = Request(), *, names: tuple[str, str] = SIDES
) -> FrameComparison:
    """Compare two tables; `names` are theirs in the report. Raises `InvalidInput` for a reference without rows."""
    reference, current, notes = _comparable(reference, current)
    schema = _without_names(infer_table("reference", reference), reference.height)
    checks = [_rows(reference, current)]
    anomalies: tuple[Anomaly, ...] = ()
    duplicates = dict[str, int]()
    if "quality" in request.presets:
        anomalies = validate(schema, current)
        duplicates = {side: frame.height - frame.hash_rows().n_unique() for side, frame in zip(SIDES, (reference, current), strict=True)}
        checks += [_quality(schema, anomalies, current), _duplicates(duplicates, reference, current)]
    columns = tuple(_compared_columns(schema, reference, current, request)) if "drift" in request.presets else ()
    measured = [compare_metrics(preset, reference, current, request.scoring) for preset in request.presets if preset in _PROBLEMS]
    return FrameComparison(
        *names,
        reference.height,
        current.height,
        request.presets,
        columns,
        anomalies,
        tuple(metric for each in measured for metric in each.metrics),
        (*checks, *(column.check for column in columns), *(check for each in measured for check in each.checks)),
        duplicates,
        measured[0].problem if measured else "",
        (*notes, *(note for each in measured for note in each.notes), *([INDEPENDENT] if columns or measured else [])),
    )


def _comparable(reference: pl.DataFrame, current: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Both tables with the columns that can be compared, dates as moments, and what was left out."""
    if not reference.height or not reference.width:
        raise InvalidInput(f"the reference has {reference.height} rows of {reference.width} columns; there is nothing to compare with")
    reference, current = (_plain_types(frame) for frame in (reference, current))
    notes, dropped = list[str](), set[str]()
    for side, frame in zip(SIDES, (reference, current), strict=True):
        for name, dtype in frame.schema.items():
            if type_of(dtype) not in (None, "string", *NUMBERS) and name not in dropped:
                notes.append(f"column {name!r} holds {dtype} in {side} and is not compared; cast it to numbers, texts or times")
                dropped.add(name)
    return reference.drop(dropped, strict=False), current.drop(dropped, strict=False), notes


def _plain_types(frame: pl.DataFrame) -> pl.DataFrame:
    """Dates as moments; lists of numbers, bytes and decimals by the numbers that stand for them (`sketches`)."""
    return sketches.replaced(frame.with_columns(pl.selectors.date().cast(pl.Datetime("us"))))


def _without_names(schema: Schema, rows: int) -> Schema:
    """Texts that name things have no domain: new ones are their nature."""
    most = max(IDENTITY_SHARE * rows, IDENTITY_LEAST)
    return replace(schema, columns=tuple(replace(c, domain=None) if c.domain and len(c.domain) > most else c for c in schema.columns))


def _rows(reference: pl.DataFrame, current: pl.DataFrame) -> CheckResult:
    message = f"{current.height:,} rows, {reference.height:,} before"
    return CheckResult("rows", "pass" if current.height else "fail", message, rows=current.height)


def _quality(schema: Schema, anomalies: Sequence[Anomaly], current: pl.DataFrame) -> CheckResult:
    broken = [each for each in anomalies if each.severity == "fail"]
    message = "; ".join(each.message for each in broken) or f"{len(schema.columns)} columns are as the reference leads to expect"
    warned = len(anomalies) - len(broken)
    if warned:
        message += f"; {warned} warning{'s' if warned > 1 else ''}"
    return CheckResult(QUALITY, "fail" if broken else "pass", message, rows=current.height)


def _duplicates(duplicates: dict[str, int], reference: pl.DataFrame, current: pl.DataFrame) -> CheckResult:
    """Repeated rows, when they are at least one in twenty more than before."""
    before, now = (duplicates[side] / max(1, frame.height) for side, frame in zip(SIDES, (reference, current), strict=True))
    message = f"{now:.1%} of the rows repeat an earlier one, {before:.1%} before"
    return CheckResult(DUPLICATES, "fail" if now > before + 0.05 else "pass", message, observed=now, bound=before + 0.05, rows=current.height)


def _compared_columns(schema: Schema, reference: pl.DataFrame, current: pl.DataFrame, request: Request) -> Iterable[ColumnComparison]:
    """Every column of the reference that the current table has; others are anomalies, and said here too."""
    bins = {each.name: each for each in schema.bins}
    counted = replace(schema, columns=tuple(replace(column, drift=Comparator()) for column in schema.columns))  # so that bins are counted
    before, after = summarize(reference, counted), summarize(current, counted)
    known = roles(request.scoring)
    both = [column for column in schema.columns if column.name in after.columns]
    rule = Rule(request.rule.least_effect, request.rule.false_alarms / (2 * max(1, len(both))))

    def compared(name: str, kind: Type) -> ColumnComparison:
        role: ColumnRole = known.get(name, "feature")
        two = TwoColumns(name, kind, role, reference[name], current[name], before.columns[name], after.columns[name], bins[name])
        return _refused(two, two.seen_current.type) or compare_column(two, rule)

    with ThreadPoolExecutor(THREADS) as threads:
        yield from threads.map(compared, [column.name for column in both], [column.type for column in both])


def _refused(two: TwoColumns, now: str | None) -> ColumnComparison | None:
    """A column that cannot be compared as it is."""
    if two.role == "group":
        return not_compared(two, CheckResult(DRIFT, "inconclusive", "not compared: it names groups", two.name, "names", "off"))
    missing = "current has no rows" if not two.seen_current.rows else ""
    if now is not None and now != two.type and {now, two.type} - {"int", "float", "bool"}:
        missing = f"it holds {now} in current and {two.type} in reference"
    if not missing:
        return None
    return not_compared(two, CheckResult(DRIFT, "inconclusive", f"could not be judged: {missing}", two.name, missing, "cannot"))
