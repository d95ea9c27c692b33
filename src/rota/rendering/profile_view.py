"""A dataset profile for people: the values that the page and the report show, and the report as one HTML file.

Charts are drawn from their Vega-Lite specifications by the drawing engine, where there is one, and stand in the page as images:
no script runs, nothing is loaded, and no name in a chart can reach the page around it. Without it the counts stand in tables.
"""

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rota.ports.drawing import Drawing
from rota.records.dataset import DatasetVersion
from rota.records.profile import ColumnProfile, Profile
from rota.records.record import decode, encode
from rota.records.time import LAST_US, iso
from rota.rendering import profile_charts
from rota.stats.slice_statistics import QUANTILES

INSTALL = "pip install 'rota[ui]'"
MOST_CHARTS = 200
"""Charts of one page: each takes about 50 ms to draw; the columns behind are shown as tables."""


def values(version: DatasetVersion, profile: Profile, drawing: Drawing | None) -> dict[str, Any]:
    """What `profile_parts.html` shows."""
    return {
        "version": version,
        "profile": profile,
        "facts": {column.name: facts(column) for column in profile.columns},
        "images": {} if drawing is None else images(encode(profile), drawing),
        "install": INSTALL if drawing is None else "",
        "most_charts": MOST_CHARTS,
    }


@lru_cache(maxsize=8)
def images(profile: bytes, drawing: Drawing) -> Mapping[str, str]:
    """The charts of an encoded profile as data URIs by column, the quality chart as ""; kept, because a version never changes."""
    found = decode(profile, Profile)
    specs = [("", profile_charts.quality_chart(found)), *list(profile_charts.charts(found).items())[:MOST_CHARTS]]
    return {name: f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg(spec)).decode()}" for name, spec in specs}


def facts(column: ColumnProfile) -> dict[str, str]:
    """The facts of a column as texts, in reading order."""
    found = {"type": column.type, "missing": f"{column.nulls:,} ({1 - column.completeness:.1%})", "distinct": f"{column.distinct:,}"}
    shown = _moment if column.type == "timestamp" else _number
    if column.minimum is not None and column.maximum is not None:
        found |= {"range": f"{shown(column.minimum)} to {shown(column.maximum)}"}
    if column.type in ("float", "int") and column.mean is not None and column.std is not None:
        found |= {"mean": _number(column.mean), "std": _number(column.std), "zeros": f"{column.zeros:,}"}
    if column.type == "bool" and column.mean is not None:
        found |= {"true": f"{column.mean:.1%}"}
    if column.quantiles and column.type != "timestamp":
        found |= {f"{share:.0%}": shown(value) for share, value in zip(QUANTILES, column.quantiles, strict=True) if share in (0.05, 0.5, 0.95)}
    if column.infinite:
        found |= {"infinite": f"{column.infinite:,}"}
    if column.invalid:
        found |= {"invalid": column.invalid}
    return found


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e12 else f"{value:.4g}"


def _moment(at_us: float) -> str:
    return iso(min(int(at_us), LAST_US))[:19].replace("T", " ")
