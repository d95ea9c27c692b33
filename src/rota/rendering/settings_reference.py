"""The reference of all settings as Markdown, generated from their descriptions; `make docs` writes it to docs/settings.md."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, get_args, get_type_hints

from rota.records import limits
from rota.settings import LIMITS, VARIABLES, SettingDescription, Settings, descriptions

_TYPES: Mapping[Any, str] = {Path: "path", str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}
_INTRODUCTION = """\
# Settings

<!-- Generated from src/rota/settings.py by `make docs`; edit it there. -->

A setting stands in `rota.toml` in the directory in which Rota is started, or in a variable of the environment: `workers = 2`, or
`ROTA_WORKERS=2`. A variable beats the file, the file beats the default, `rota --home` beats all. A misspelt name and a value of a wrong
type or out of range are errors. They are read once, when a process starts; `rota up` hands its own to the processes that it starts.

```toml
# rota.toml
home = "/var/lib/rota"
control_port = 8000
prediction_port = 8001
prediction_processes = 2
```

`rota settings` shows what is in force here and where each value comes from. Two platforms on one machine need two homes and two pairs
of ports, or port 0. A setting marked *secret* is never shown; rather than in a file that is shared it belongs into its variable, or into
a file named by the variable with `_FILE` at its end (`ROTA_METADATA_URL_FILE`), as container platforms mount secrets.
"""
_FIXED = """
Both servers keep them, and refuse before any work is done. A refusal says what was too large and what is allowed; whoever is still
sending when it comes can read it, because the rest of the request is read on for a while. These do not change by a setting:

| limit | most | beyond |
|---|---|---|
"""


def markdown() -> str:
    """The whole page: one table for each group of settings, then the variables that are no settings."""
    parts = [_INTRODUCTION]
    hints = get_type_hints(Settings)
    for group, members in groupby(descriptions().items(), key=lambda item: item[1].group):
        parts += [f"\n## {group}\n\n", "| setting | variable | type | default | range | what it does | why this default |\n"]
        parts += ["|---|---|---|---|---|---|---|\n"]
        parts += [_row(name, hints[name], about) for name, about in members]
        if group == LIMITS:
            parts += [_FIXED, *(f"| {each.what} | {each.most} | {each.beyond} |\n" for each in limits.TABLE)]
    parts += ["\n## Variables that are no settings\n\n", "| variable | what it does |\n", "|---|---|\n"]
    parts += [f"| `{variable}` | {text} |\n" for variable, text in VARIABLES.items()]
    return "".join(parts)


def bounds(about: SettingDescription) -> str:
    """The range with its unit, for example `1 to 3600 seconds`; "" for a setting without one."""
    between = "" if about.low is None or about.high is None else f"{about.low:.10g} to {about.high:.10g}"
    return f"{between} {about.unit}".strip()


def _row(name: str, kind: Any, about: SettingDescription) -> str:
    what = f"{about.text} *Secret.*" if about.secret else about.text
    return f"| `{name}` | `ROTA_{name.upper()}` | {_type(kind)} | {_default(name)} | {bounds(about)} | {what} | {about.reason} |\n"


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else "empty"


def _type(kind: Any) -> str:
    return _TYPES.get(kind) or " or ".join(f"`{choice}`" for choice in get_args(kind))
