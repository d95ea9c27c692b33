"""Model cards: made from what was recorded, written on by people, and harmless whatever a name says."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from rota.errors import InvalidInput, NotFound
from rota.manage.governance import cards, decisions, policies, risk
from rota.manage.governance.cards import SECTIONS
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.models import model_versions
from rota.manage.signals import business_outcomes, prediction_log
from rota.ports.metadata import Batch
from rota.records.project import UseCase
from rota.records.record import encode
from rota.records.run import Evaluation
from rota.records.signal import Outcome, Prediction
from rota.rendering.card_markdown import escaped, markdown
from rota.testing import story
from rota.testing.story import NOON_US, version

POLICY = """
valid = "90d"
[[questions]]
id = "bias"
category = "ethical"
text = "Who could be treated unfairly?"
[[questions]]
id = "law"
category = "legal"
text = "May we?"
required = false
"""
HOSTILE = (
    "<script>alert(1)</script>",
    "{{7*7}} {% raw %}",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/p.png)",
    "<javascript:alert(1)>",
    "# not a title",
    "- not a list",
    "1. not a list",
    "a | b | c",
    "line\n\n## two\n---\nx\n===",
    "`code` **bold** _it_ ~~gone~~ &lt; &#106;",
    "a\\[b](c)",
    "[a]: http://evil.example",
    "\x1b[31mred\x00\u202e",
)


@pytest.fixture
def told(repositories):
    story.tell(repositories.metadata, repositories.runs)
    repositories.clock.advance(NOON_US + 1_000)
    return repositories


def put(r, *records):
    batch = Batch()
    for record in records:
        batch.put(record)
    r.metadata.commit(batch)


def card_of(r, number=1):
    return cards.card(r, model_versions.get(r.metadata, "delay", number))


def section(r, name, number=1):
    return next(each for each in card_of(r, number).sections if each.id == name)


def cells(found):
    return [cell for grid in found.grids for row in grid.rows for cell in row]


def rendered(text):
    return MarkdownIt("commonmark").enable("table").enable("strikethrough").render(text)


def test_a_card_has_every_section_in_its_order_and_says_what_is_missing(told):
    made = card_of(told)
    assert [each.id for each in made.sections] == list(SECTIONS)
    assert (made.id, made.status, made.made_us) == ("delay@1", "approved", NOON_US + 1_000)
    assert section(told, "limits").missing == "Nobody has written down its limits yet."
    assert section(told, "parameters").missing == "Nothing was recorded."


def test_a_card_tells_the_use_case_of_the_model_before_that_of_all(told):
    put(told, UseCase("a-all", "everything", "money", "rmse"), UseCase("late", "who is late", "seats", "roc_auc", models=("delay",), owner="ops"))
    facts = section(told, "purpose").facts
    assert (facts["use case"], facts["use case: task"], facts["use case: business measure"], facts["use case: owner"]) == (
        "late",
        "who is late",
        "seats",
        "ops",
    )
    assert cards.use_case(told.metadata, "other").name == "a-all"


def test_a_card_tells_data_quality_by_slice_and_the_comparison(told):
    scored = {
        "candidate": Evaluation("candidate", "delay@1", 20, {"roc_auc": 0.8}, {"carrier": {"AA": {"roc_auc": 0.9}, "UA": {"roc_auc": 0.7}}}),
        "champion": Evaluation("delay@1", "delay@1", 20, {"roc_auc": 0.7}),
    }
    put(told, version(2, "registered", evaluation=told.blobs.put(encode(scored)), metrics={"roc_auc": 0.8}, parameters={"depth": 8}))
    assert section(told, "data", 2).facts["rows"] == "100 (80 to train on, 20 to test on)"
    offline = section(told, "offline", 2)
    assert (offline.facts["roc_auc"], offline.facts["test rows"]) == ("0.8", "20")
    assert [(grid.title, grid.rows) for grid in offline.grids] == [("by carrier", (("AA", "0.9"), ("UA", "0.7")))]
    assert cells(section(told, "comparison", 2)) == ["delay@2", "0.8", "champion delay@1", "0.7"]
    assert section(told, "parameters", 2).facts == {"depth": "8"}


def test_a_card_tells_how_it_did_in_use_and_what_it_earned(told):
    rows = [Prediction(f"p{n}", "delay", NOON_US - 60, "delay", 1, "stable", 1, "", {}, {"v__x": 1.0}, 0.5, 9) for n in range(4)]
    prediction_log.append(told.journal, "delay", rows)
    business_outcomes.append(told.journal, "delay", [Outcome("p1", "sale", 12.0, NOON_US)], NOON_US)
    assert float(section(told, "online").facts["labelled on delay"]) == 9_000
    assert "promoted" in cells(section(told, "online"))
    (grid,) = section(told, "outcomes").grids
    assert (grid.title, grid.rows) == ("delay, 4 predictions", (("sale", "1", "12", "12", "3"),))


def test_a_card_tells_risks_decisions_aliases_and_where_it_comes_from(told):
    policies.put(told.metadata, policies.parse(POLICY, "delay"), actor="rosa", now_us=NOON_US)
    risk.answer(told.metadata, "delay", 2, "bias", text="nobody", acceptable=True, actor="rosa", now_us=NOON_US)
    decisions.decide(told, "delay", 2, ReviewDecision("approve", "rosa", "good on every carrier"))
    risky = cells(section(told, "risk", 2))
    assert risky[:4] == ["ethical", "Who could be treated unfairly?", "nobody", "acceptable"]
    assert risky[5:9] == ["legal", "May we?", "", "open"]
    assert section(told, "aliases", 1).grids[0].rows[0][1:4] == ("champion", "none", "1")
    assert section(told, "lineage").facts["commit"] == "c0ffee"
    assert section(told, "lineage").facts["run"] == "r1"


def test_people_write_sections_and_every_change_is_audited(told):
    act = {"actor": "anna", "now_us": NOON_US + 5}
    cards.edit(told.metadata, "delay", 1, "limits", "not for storms\r\nnor snow ", **act)
    cards.edit(told.metadata, "delay", 1, "intended_use", "the operations desk", **act)
    made = card_of(told)
    assert (made.edited_by, made.edited_us) == ("anna", NOON_US + 5)
    assert section(told, "limits").text == "not for storms\nnor snow"
    assert section(told, "limits").missing == ""
    entry = told.metadata.audit(limit=100)[-2]
    assert (entry.actor, entry.action, entry.subject, entry.body["section"], entry.body["before"]) == ("anna", "card.edit", "delay@1", "limits", "")
    cards.edit(told.metadata, "delay", 1, "limits", "", **act)
    assert section(told, "limits").text == ""
    assert section(told, "intended_use").text == "the operations desk"


@pytest.mark.parametrize(("name", "text"), [("nix", "x"), ("limits", "x" * 10_001), ("limits", "a\x00"), ("limits", "\ud800")])
def test_what_no_section_takes_is_refused(told, name, text):
    with pytest.raises(InvalidInput):
        cards.edit(told.metadata, "delay", 1, name, text, actor="anna", now_us=NOON_US)


def test_a_version_that_is_not_there_has_no_card(told):
    with pytest.raises(NotFound):
        cards.edit(told.metadata, "delay", 9, "limits", "x", actor="anna", now_us=NOON_US)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_from_outside_renders_as_itself(text):
    clean = " ".join("".join(c if c.isprintable() or c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text).split())
    shown = rendered(f"before\n\n{escaped(text)}\n")
    assert shown == f"<p>before</p>\n<p>{html.escape(clean, quote=False).replace(chr(34), '&quot;')}</p>\n"
    assert "{{" not in escaped(text)
    assert "{%" not in escaped(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_breaks_out_of_a_whole_card(told, text):
    text = text.replace("\x00", "")  # no store keeps it
    put(told, version(2, "registered", trigger=text, owner=text, metrics={text: 0.5}, parameters={text: text}, dataset=text, description=text))
    cards.edit(told.metadata, "delay", 2, "limits", re.sub(r"[^\x20-\x7e\n]", "", text), actor=text, now_us=NOON_US)
    shown = rendered(markdown(card_of(told, 2)))
    assert re.findall(r"<h\d>(.*?)</h\d>", shown) == ["delay@2", *SECTIONS.values()]
    for tag in ("<script", "<a ", "<img", "<code", "<hr", "<ol", "<del"):
        assert tag not in shown, tag
    for table in re.findall(r"<table>.*?</table>", shown, re.DOTALL):
        assert len({row.count("<td") + row.count("<th>") for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}) == 1
