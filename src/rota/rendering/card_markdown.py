"""A model card as Markdown. Whatever came from outside is text in it: no link, no markup, no template, no row of its own."""

import re

from rota.manage.governance.cards import Card, Grid, Section
from rota.records.time import iso

_MARKUP = re.compile(r"([\\`*_{}\[\]()#|~$!]|(?<=\{)%|%(?=\}))")
_ENTITIES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_FIRST = re.compile(r"^(?:(?=[=+-])|(\d{1,9})(?=\.(?: |$)))")
"""What begins a list, a numbered list or an underlined heading."""


def markdown(card: Card) -> str:
    """The whole card."""
    head = [f"# {escaped(card.id)}", f"Model card of {iso(card.made_us)}, status {escaped(card.status.replace('_', ' '))}."]
    return "\n\n".join([*head, *(_section(section) for section in card.sections)]) + "\n"


def escaped(text: str) -> str:
    """A text on one line that renders as itself."""
    return _FIRST.sub(r"\1\\", _MARKUP.sub(r"\\\1", " ".join(_clean(text).split()).translate(_ENTITIES)))


def _clean(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter.isspace() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _section(section: Section) -> str:
    parts = [f"## {section.title}"]
    parts += ["  \n".join(escaped(line) for line in part.splitlines()) for part in section.text.split("\n\n") if part.strip()]
    if section.facts:
        parts.append("\n".join(f"- **{escaped(name)}**: {escaped(value)}" for name, value in section.facts.items()))
    parts += [_grid(grid) for grid in section.grids]
    return "\n\n".join([*parts, section.missing] if section.missing else parts)


def _grid(grid: Grid) -> str:
    lines = [_row(grid.columns), "|" + "---|" * len(grid.columns), *(_row(row) for row in grid.rows)]
    return (f"{escaped(grid.title)}:\n\n" if grid.title else "") + "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"
