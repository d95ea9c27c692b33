"""The comparison of two tables for people: one HTML file that needs nothing else, a notebook's view, and JSON with its charts."""

import base64
import json
from pathlib import Path
from typing import Any

from rota.errors import InvalidInput, Unavailable
from rota.ports.drawing import Drawing
from rota.records.comparison import SIDES, ColumnComparison, FrameComparison
from rota.records.record import plain
from rota.rendering import profile_charts
from rota.rendering.html import rendered
from rota.rendering.profile_view import INSTALL, facts

MOST_CHARTS = 200
"""Charts of one report: each takes about 50 ms to draw; the columns behind are shown as tables."""
NOTEBOOK_CHARTS = 12


class ComparisonReport:
    """What `rota.compare` found: `outcome`, `drifted`, `found` (the whole record), and ways to show it. A notebook shows it by itself."""

    def __init__(self, found: FrameComparison, drawing: Drawing | None) -> None:
        self.found = found
        self._drawing = drawing

    @property
    def outcome(self) -> str:
        """ "pass", "fail", or "inconclusive" when something could not be judged."""
        return self.found.outcome

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the columns that drifted."""
        return self.found.drifted

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, with a Vega-Lite specification of each column's chart."""
        return {"outcome": self.outcome, "drifted": list(self.drifted), **plain(self.found), "charts": charts(self.found)}

    def to_html(self) -> str:
        """One HTML document that loads and runs nothing."""
        return rendered("comparison_report.html", **self._values(MOST_CHARTS))

    def save(self, file: str | Path) -> Path:
        """Write the report to an .html or a .json file whose directory exists."""
        path = Path(file)
        if path.suffix not in (".html", ".json"):
            raise InvalidInput(f"{path} has the suffix {path.suffix!r}; give a .html or .json file", file=str(path))
        try:
            path.write_text(self.to_html() if path.suffix == ".html" else json.dumps(self.to_dict(), indent=2), encoding="utf-8")
        except OSError as error:
            raise Unavailable(f"{path} cannot be written: {error}", file=str(path)) from error
        return path

    def _repr_html_(self) -> str:
        return rendered("comparison_notebook.html", **self._values(NOTEBOOK_CHARTS))

    def __repr__(self) -> str:
        moved = f"drifted: {', '.join(self.drifted)}" if self.drifted else "no column drifted" if self.found.columns else "drift was not asked for"
        return f"<comparison of {self.found.current} with {self.found.reference}: {self.outcome}; {moved}>"

    def _values(self, most_charts: int) -> dict[str, Any]:
        ordered = by_change(self.found)
        drawn = [] if self._drawing is None else [column for column in ordered if column.histogram][:most_charts]
        specs = charts(self.found)
        images = {column.name: _image(specs[column.name], self._drawing) for column in drawn if self._drawing is not None}
        return {
            "found": self.found,
            "columns": ordered,
            "sides": SIDES,
            "facts": {column.name: _facts(column) for column in ordered},
            "images": images,
            "install": INSTALL if self._drawing is None else "",
            "left_out": sum(1 for column in ordered if column.histogram) - len(images),
        }


def charts(found: FrameComparison) -> dict[str, profile_charts.Spec]:
    """One specification for each column that has a histogram."""
    return {c.name: profile_charts.sides_chart(c.name, c.type, c.histogram, SIDES) for c in found.columns if c.histogram is not None}


def by_change(found: FrameComparison) -> list[ColumnComparison]:
    """The columns, those that changed most first; what was not compared last."""
    return sorted(found.columns, key=lambda c: (-(c.check.outcome == "fail"), -(c.check.observed if c.check.observed is not None else -1.0)))


def _facts(column: ColumnComparison) -> list[tuple[str, str, str]]:
    """Each fact on both sides."""
    before, after = facts(column.reference), facts(column.current)
    return [(name, before.get(name, ""), after.get(name, "")) for name in dict.fromkeys([*before, *after])]


def _image(spec: profile_charts.Spec, drawing: Drawing) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(drawing.svg(spec)).decode()}"
