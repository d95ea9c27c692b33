"""Process 7 on the command line, model cards: made from metadata, written on by people, exported as HTML and Markdown."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rota.cli import rows, show
from rota.cli.opening import opened
from rota.errors import InvalidInput
from rota.manage.governance import cards
from rota.manage.models import model_versions
from rota.records.record import plain
from rota.rendering.card_markdown import markdown
from rota.rendering.documents import card_html

models = typer.Typer()

Version = Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version by number or alias, for example churn@3 or churn@champion.")]


class CardFormat(StrEnum):
    """How a card is written."""

    html = "html"
    markdown = "markdown"


@models.command()
def card(
    ctx: typer.Context,
    version: Version,
    format: Annotated[CardFormat | None, typer.Option(help="Otherwise what the suffix of --out says, else Markdown.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="A file for it, instead of the terminal.", show_default=False)] = None,
    edit: Annotated[str, typer.Option(help=f"Write a section of it: {', '.join(cards.SECTIONS)}.", metavar="SECTION")] = "",
    text: Annotated[str | None, typer.Option(help='With --edit: what it says from now on; "" takes it back.', show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="With --edit: a file with the text.", show_default=False)] = None,
    json: show.Json = False,
) -> None:
    """Show, export or write on the model card of a version.

    Example: rota models card flight-delay@champion --out card.html
    """
    if edit:
        _edit(ctx, version, edit, _text(text, file), json=json)
        return
    if text is not None or file is not None:
        raise InvalidInput("a text needs its section: --edit limits, for example")
    with opened(ctx, "model.read") as platform:
        made = cards.card(platform.repositories, model_versions.resolve(platform.repositories.metadata, version))
    if json:
        show.write_json(plain(made))
        return
    chosen = format or (CardFormat.html if out is not None and out.suffix in (".html", ".htm") else CardFormat.markdown)
    written = card_html(made) if chosen is CardFormat.html else markdown(made)
    if out is None:
        print(written, end="")
    else:
        rows.write_text(out, written)
        print(f"wrote {out}")


def _text(text: str | None, file: Path | None) -> str:
    if (text is None) == (file is None):
        raise InvalidInput("give the section's text either by --text or by --file")
    if file is None:
        return text or ""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}", file=str(file)) from error


def _edit(ctx: typer.Context, version: str, section: str, text: str, *, json: bool) -> None:
    with opened(ctx, "model.register") as platform:
        r = platform.repositories
        found = model_versions.resolve(r.metadata, version)
        kept = cards.edit(r.metadata, found.model, found.number, section, text, actor=platform.identity.name, now_us=r.clock.now_us())
    show.facts({"version": found.id, "section": section, "written by": kept.edited_by}, as_json=json, record=kept)
