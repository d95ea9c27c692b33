"""Line charts of measured performance as plain numbers, which the template draws as SVG without a script."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rota.records.signal import Alert, MonitorSlice
from rota.records.time import DAY_US, Micros, iso

METRICS = ("roc_auc", "log_loss", "rmse", "mae")
"""The metrics that lists and charts show, where a problem has them; a version's own page shows all."""
ALL = "all"
WIDTH, HEIGHT = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 44, 18, 26
COLOURS = 7
MAX_POINTS = 400
"""Points of a drawn series: more than the pixels of a screen show nothing more."""
MIN_LABELLED = 30
"""A version's day with fewer labelled rows is not drawn: its AUC would be noise that stretches the axis."""


@dataclass(frozen=True, slots=True)
class Point:
    """One day of a line, and the sentence shown when it is pointed at."""

    x: float
    y: float
    title: str


@dataclass(frozen=True, slots=True)
class Line:
    """One version: its stretches of consecutive days as SVG paths, its points, and where its name stands."""

    name: str
    colour: int
    path: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """An alert on the time axis."""

    x: float
    severity: str
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything in the units of the viewBox."""

    title: str
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    days: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]
    across: str = "day and version"
    named: bool = True
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def performance(slices: Sequence[MonitorSlice], metric: str, alerts: Iterable[Alert]) -> Chart | None:
    """The metric of each version over the days of ascending slices, alerts marked; None when nothing was measured."""
    measured = _measured(slices, metric)
    if not measured:
        return None
    days = [day for series in measured.values() for day, _ in series]
    first, last = min(days), max(days)
    ticks = _ticks([value for series in measured.values() for _, value in series])
    low, high = ticks[0], ticks[-1]

    def x(at_us: Micros) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (at_us - first) / max(last - first, DAY_US), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / (high - low), 1)

    def line(name: str, series: Sequence[tuple[Micros, float]]) -> Line:
        points = tuple(Point(x(day), y(value), f"version {name}, {iso(day)[:10]}: {metric} {value:.4f}") for day, value in series)
        return Line(f"v{name}", colour(name), _path(series, points), points)

    return Chart(
        title=metric,
        lines=tuple(line(name, series) for name, series in measured.items()),
        ticks=tuple((y(value), f"{value:g}") for value in ticks),
        days=tuple((x(day), iso(day)[:10]) for day in _calendar(first, last)),
        marks=tuple(
            Mark(x(alert.raised_us), alert.severity, f"{iso(alert.raised_us)[:10]} {alert.kind} of {alert.subject}: {alert.message}")
            for alert in alerts
            if first <= alert.raised_us <= last + DAY_US
        ),
    )


def series(title: str, named: Mapping[str, Sequence[tuple[float, float]]], *, across: str = "step") -> Chart | None:
    """Named series of (x, y) points, each sorted by x; what is not finite is left out. None when nothing is left."""
    lines = {name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for name, points in named.items()}
    lines = {name: _thinned(points) for name, points in lines.items() if points}
    if not lines:
        return None
    xs, ys = [x for points in lines.values() for x, _ in points], [y for points in lines.values() for _, y in points]
    first, last, ticks = min(xs), max(xs), _ticks(ys)

    def place(point: tuple[float, float], name: str) -> Point:
        x = LEFT + (WIDTH - LEFT - RIGHT) * ((point[0] - first) / (last - first) if last > first else 0.5)
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (point[1] - ticks[0]) / (ticks[-1] - ticks[0])
        return Point(round(x, 1), round(y, 1), f"{name}, {across} {point[0]:g}: {title} {point[1]:.6g}")

    drawn = []
    for number, (name, values) in enumerate(lines.items()):
        points = tuple(place(value, name) for value in values)
        path = "".join(f"{'L' if position else 'M'}{point.x} {point.y}" for position, point in enumerate(points))
        drawn.append(Line(name, number % COLOURS, path, points))
    return Chart(
        title=title,
        lines=tuple(drawn),
        ticks=tuple((place((first, value), "").y, f"{value:g}") for value in ticks),
        days=tuple((place((value, ticks[0]), "").x, f"{value:g}") for value in _steps(first, last)),
        marks=(),
        across=across,
        named=False,
    )


def colour(version: str | int) -> int:
    """The colour of a version, the same wherever it is drawn; neighbours differ."""
    return (int(version) - 1) % COLOURS if str(version).isdecimal() else COLOURS - 1


def _measured(slices: Sequence[MonitorSlice], metric: str) -> dict[str, list[tuple[Micros, float]]]:
    """(day, value) of each version that was measured by itself, oldest version first."""
    newest = {each.start_us: each for each in slices}
    found: dict[str, list[tuple[Micros, float]]] = {}
    for day in sorted(newest):
        for version, metrics in newest[day].performance.items():
            if version != ALL and metric in metrics and metrics.get("labelled", math.inf) >= MIN_LABELLED and math.isfinite(metrics[metric]):
                found.setdefault(version, []).append((day, metrics[metric]))
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0])))


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MAX_POINTS of a long series, evenly spread, its first and last among them."""
    if len(points) <= MAX_POINTS:
        return list(points)
    return [points[round(number * (len(points) - 1) / (MAX_POINTS - 1))] for number in range(MAX_POINTS)]


def _steps(first: float, last: float) -> list[float]:
    """Round numbers between two values."""
    return [value for value in _ticks([first, last]) if first <= value <= last] if last > first else [first]


def _path(series: Sequence[tuple[Micros, float]], points: Sequence[Point]) -> str:
    """An SVG path that is broken where days are missing."""
    parts = []
    for number, point in enumerate(points):
        joined = number > 0 and series[number][0] - series[number - 1][0] <= DAY_US
        parts.append(f"{'L' if joined else 'M'}{point.x} {point.y}")
    return "".join(parts)


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers around the values: 3 to 6 of them, the first below, the last above."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    raw = span / 4
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= raw)
    start, end = math.floor(low / step), math.ceil(high / step)
    if start == end:
        end += 1
    return [round(number * step, 12) for number in range(start, end + 1)]


def _calendar(first: Micros, last: Micros) -> list[Micros]:
    """At most six evenly spread days."""
    days = (last - first) // DAY_US
    step = max(1, math.ceil(days / 5))
    return [first + number * DAY_US for number in range(0, days + 1, step)]
