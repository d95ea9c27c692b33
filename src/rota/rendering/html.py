"""Render templates as HTML: the Jinja environment of the control plane's pages and of stand-alone files.

Nothing is loaded from elsewhere and no script runs; `POLICY` says so to the browser.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rota.manage.datasets import build as datasets
from rota.manage.lineage.node_types import type_of
from rota.records import check
from rota.records.record import plain
from rota.records.run import ENDED
from rota.records.time import Micros, iso, lasted
from rota.rendering import line_charts

_DIGEST = re.compile(r"\b[0-9a-f]{64}\b")


def rendered(template: str, **values: Any) -> str:
    """One of our templates as text."""
    return _templates.get_template(template).render(values)


def _moment(at_us: Micros | None) -> str:
    return "" if at_us is None else iso(at_us - at_us % 1_000_000).replace("T", " ").removesuffix("Z")


def _day(at_us: Micros) -> str:
    return iso(at_us)[:10]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _small(value: object) -> Mapping[str, object]:
    """Of a step's result, what fits on a line."""
    named = value if isinstance(value, dict) else {"result": value}
    named = {name.removesuffix("_us"): _moment(each) if name.endswith("_us") and isinstance(each, int) else each for name, each in named.items()}
    return {name: each for name, each in named.items() if isinstance(each, str | int | float) and each != "" and len(str(each)) <= 90}


def _headline(metrics: Mapping[str, float]) -> Mapping[str, float]:
    return {name: metrics[name] for name in line_charts.METRICS if name in metrics} or metrics


def _brief(body: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in _small(plain(body)).items())


def _told(body: Mapping[str, Any]) -> str:
    """The facts of an audit entry, changed ones as before and after."""
    facts = plain(body)
    if isinstance(facts.get("after"), dict):
        before, after = facts.pop("before", None) or {}, facts.pop("after")
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        facts |= {
            name: f"{_brief_value(before[name])} \N{RIGHTWARDS ARROW} {_brief_value(value)}" if name in before else value
            for name, value in changed.items()
        }
    return "; ".join(f"{name}: {_brief_value(value)}" for name, value in facts.items() if value not in ("", None))


def _brief_value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else _number(value)


def _link(node: str) -> str:
    """Where a lineage node is shown: on its own page, else in the middle of its graph; "" for a text that is no node."""
    return _own_page(node) or (f"/lineage?node={quote(node, safe='')}" if type_of(node).kind else "")


def _own_page(node: str) -> str:
    """The page of a lineage node, or "" where there is none."""
    kind, _, key = node.partition(":")
    name, _, number = key.partition("@")
    whole, first = quote(key, safe=""), quote(name, safe="")
    pages = {
        "model_version": f"/models/{first}/{number}" if number.isdecimal() else "",
        "dataset_version": f"/datasets/{quote(key, safe='@')}" if number.isdecimal() else "",
        "run": f"/runs/{whole}",
        "experiment_run": f"/experiments/runs/{whole}",
        "prediction": f"/lineage/prediction/{whole}",
        "release": f"/endpoints/{first}",
    }
    return pages.get(kind, "")


def _short(text: str) -> str:
    """A text with its long digests cut to what tells them apart."""
    return _DIGEST.sub(lambda match: match[0][:12] + "\N{HORIZONTAL ELLIPSIS}", text)


def _environment() -> Environment:
    made = Environment(loader=PackageLoader("rota.rendering"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"moment": _moment, "day": _day, "number": _number, "brief": _brief, "small": _small, "node_link": _link, "own_page": _own_page}
    made.filters |= {"colour": line_charts.colour, "short": _short, "headline": _headline, "told": _told}
    made.filters["checks"] = lambda stored: [check.from_stored(each) for each in stored]
    made.filters["segment"] = lambda text: quote(str(text), safe="")
    made.globals |= {"lasted": lasted, "ENDED": ENDED, "split_words": datasets.split_words}
    return made


_templates = _environment()
_style = (files("rota.rendering") / "templates" / "style.css").read_text()
_templates.globals["style"] = Markup(_style)  # noqa: S704 - our own file, and the policy below admits nothing but its digest
_digest = base64.b64encode(hashlib.sha256(_style.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_digest}'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of every page: our own style, and nothing else."""
