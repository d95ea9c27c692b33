"""Charts of a profile as Vega-Lite specifications: one definition for the control plane's page, the report and a notebook.

Values from outside stand in data and titles only, never in a field's name or an expression. A notebook shows one with
`altair.Chart.from_dict(spec)`, or with any other reader of Vega-Lite 5.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rota.records.profile import ColumnProfile, Histogram, Profile
from rota.records.schema import Type
from rota.records.time import LAST_US, to_datetime

Spec = dict[str, Any]
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
INK, GRID = "#77766f", "#8886"
COLOURS = ("#2a78d6", "#eda100", "#1baf7a", "#4a3aa7", "#e87ba4")
WIDTH, HEIGHT = 300, 110
CONFIG: Spec = {
    "background": "transparent",
    "view": {"stroke": None},
    "font": "system-ui, sans-serif",
    "axis": {"labelColor": INK, "titleColor": INK, "gridColor": GRID, "domainColor": GRID, "tickColor": GRID, "titleFontWeight": "normal"},
    "legend": {"labelColor": INK, "titleColor": INK, "symbolType": "square", "labelLimit": 220},
}


def charts(profile: Profile) -> dict[str, Spec]:
    """One specification for each column that has a histogram, in the profile's order."""
    return {column.name: chart(column, profile) for column in profile.columns if column.histogram is not None}


def chart(column: ColumnProfile, profile: Profile) -> Spec:
    """Two panels: the column's distribution in training and test, and in each class of the label."""
    assert column.histogram is not None
    panels = [_panel(column.type, column.histogram, profile.sides, COLOURS[:2])]
    if column.role != "label" and len(profile.classes) > 1:
        panels.append(_panel(column.type, column.histogram, profile.classes, COLOURS))
    return {
        "$schema": SCHEMA,
        "description": f"Distribution of {column.name}",
        "hconcat": panels,
        "resolve": {"scale": {"color": "independent"}},
        "config": CONFIG,
    }


def sides_chart(name: str, type: Type, histogram: Histogram, sides: Sequence[str]) -> Spec:
    """One panel: the distribution of a column on each of two sides."""
    panel = _panel(type, histogram, sides, COLOURS[: len(sides)])
    return {"$schema": SCHEMA, "description": f"Distribution of {name}", **panel, "config": CONFIG}


def quality_chart(profile: Profile) -> Spec:
    """A bar for each dimension of quality."""
    values = [{"dimension": each.name, "score": None if each.score is None else round(each.score, 4)} for each in profile.quality]
    return {
        "$schema": SCHEMA,
        "description": "Quality by dimension",
        "padding": {"left": 16, "top": 5, "right": 5, "bottom": 5},
        "width": WIDTH,
        "height": {"step": 18},
        "data": {"values": values},
        "mark": {"type": "bar", "color": COLOURS[0], "cornerRadiusEnd": 2},
        "encoding": {
            "y": {"field": "dimension", "type": "nominal", "sort": None, "title": None},
            "x": {"field": "score", "type": "quantitative", "scale": {"domain": [0, 1]}, "title": None, "axis": {"tickCount": 5}},
        },
        "config": CONFIG,
    }


def _panel(type: Type, histogram: Histogram, groups: Sequence[str], colours: Sequence[str]) -> Spec:
    """Shares of each group's rows, so that groups of different size can be compared."""
    spec = _named(histogram, groups) if histogram.labels else _ranged(type, histogram, groups)
    spec["encoding"]["y"] = {"field": "share", "type": "quantitative", "title": None, "stack": None, "axis": {"format": ".0%", "tickCount": 4}}
    legend = {"orient": "top", "title": None, "direction": "horizontal", "columnPadding": 16}
    spec["encoding"]["color"] = {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": list(groups), "range": list(colours[: len(groups)])},
        "legend": legend,
        "sort": list(groups),
    }
    return spec


def _named(histogram: Histogram, groups: Sequence[str]) -> Spec:
    """Bars side by side for named values; texts lie down so that they can be read."""
    values = [
        {"place": place, "value": label, "group": group, "share": share}
        for group, shares in _shares(histogram, groups).items()
        for place, (label, share) in enumerate(zip(histogram.labels, shares, strict=True))
    ]
    axis = {"labelLimit": 120, "labelAngle": -40 if len(histogram.labels) > 8 else 0}
    along = {"field": "value", "type": "ordinal", "sort": {"field": "place"}, "title": None, "axis": axis}
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "data": {"values": values},
        "mark": {"type": "bar"},
        "encoding": {"x": along, "xOffset": {"field": "group", "sort": list(groups)}},
    }


def _ranged(type: Type, histogram: Histogram, groups: Sequence[str]) -> Spec:
    """Overlaid bars over ranges of numbers or of time; steps where more than two groups would hide each other."""
    time = type == "timestamp"
    edges = [_moment(edge) if time else edge for edge in histogram.edges]
    values = [
        {"from": edges[place], "to": edges[place + 1], "group": group, "share": share}
        for group, shares in _shares(histogram, groups).items()
        for place, share in enumerate(shares)
    ]
    x: Spec = {"field": "from", "type": "quantitative", "title": None, "axis": {"tickCount": 5, "grid": False, "labelOverlap": True}}
    x |= {"type": "temporal", "scale": {"type": "utc"}} if time else {"scale": {"zero": False, "nice": False}}
    spec: Spec = {"width": WIDTH, "height": HEIGHT, "data": {"values": values}, "encoding": {"x": x}}
    if len(groups) > 2:
        spec["mark"] = {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5}
    else:
        spec["mark"] = {"type": "rect", "opacity": 0.55}
        spec["encoding"] |= {"x2": {"field": "to"}, "y2": {"datum": 0}}
    return spec


def _shares(histogram: Histogram, groups: Sequence[str]) -> Mapping[str, list[float]]:
    found = {}
    for group in groups:
        counts = histogram.counts.get(group, ())
        total = sum(counts)
        found[group] = [round(times / total, 5) if total else 0.0 for times in counts]
    return found


def _moment(at_us: float) -> str:
    return to_datetime(min(max(int(at_us), -62_135_596_800_000_000), LAST_US)).isoformat()
