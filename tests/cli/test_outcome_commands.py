"""Outcomes, model cards and the report on the command line."""

import json
import re

import pytest

from rota.manage.signals import prediction_log
from rota.records.signal import Prediction


def good(result):
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def served(home):
    """Four predictions of version 1, made just now."""
    with home.open() as platform:
        r = platform.repositories
        at_us = r.clock.now_us() - 60_000_000
        rows = [Prediction(f"{n}", "delay", at_us, "delay", 1, "stable", 1, "", {}, {"v__x": 1.0}, 0.5, 9) for n in range(4)]
        prediction_log.append(r.journal, "delay", rows)
    return home


def test_outcomes_of_a_file_are_counted_by_version_and_shown_with_the_version(served, tmp_path):
    file = tmp_path / "sales.csv"
    file.write_text("prediction_id,value,at\n1,10,2013-07-15T12:00:00Z\n2,20,\nunknown,5,\n")
    told = json.loads(good(served.rota("outcomes", "report", "delay", "--file", str(file), "--name", "sale", "--json")))
    assert told == {"endpoint": "delay", "outcomes": 3}
    good(served.rota("outcomes", "report", "delay", "--file", str(file), "--name", "sale"))
    shown = good(served.rota("outcomes", "show", "delay"))
    assert re.search(r"1 +4 +sale +2 +30 +15 +7.5", shown)
    assert "1 outcomes have no prediction" in shown
    assert "30 of 2, 7.5 a prediction" in good(served.rota("models", "show", "delay@1"))
    found = json.loads(good(served.rota("models", "show", "delay@1", "--json")))
    assert found["outcomes"]["delay"]["kpis"][0]["total"] == 30.0
    assert json.loads(good(served.rota("models", "review", "delay@1", "--json")))["evidence"]["online"]["outcomes"]["delay"]["predictions"] == 4


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("prediction_id,name,value\n1,sale,1\n2,sale,nan\n", "outcome 1"),
        ("prediction_id,name,value,currency\n1,sale,1,eur\n", "currency"),
        ("prediction_id,value\n1,1\n", "name"),
        ("name,value\nsale,1\n", "prediction_id"),
    ],
)
def test_a_file_with_a_wrong_line_is_not_taken_at_all(served, tmp_path, text, hint):
    file = tmp_path / "sales.csv"
    file.write_text(text)
    refused = served.rota("outcomes", "report", "delay", "--file", str(file))
    assert refused.exit_code == 1
    assert hint in refused.stderr
    assert json.loads(good(served.rota("outcomes", "show", "delay", "--json")))["versions"] == []


def test_two_names_for_one_figure_are_refused(served, tmp_path):
    file = tmp_path / "sales.jsonl"
    file.write_text('{"prediction_id": "1", "name": "sale", "value": 1}\n')
    assert "leave out --name" in served.rota("outcomes", "report", "delay", "--file", str(file), "--name", "cost").stderr


def test_a_card_is_written_on_and_exported_as_html_and_markdown(home, tmp_path):
    good(home.rota("models", "card", "delay@1", "--edit", "limits", "--text", "not for storms <b>"))
    page, text = tmp_path / "card.html", tmp_path / "card.md"
    good(home.rota("models", "card", "delay@champion", "--out", str(page)))
    good(home.rota("models", "card", "delay@champion", "--out", str(text)))
    html = page.read_text()
    assert "not for storms &lt;b&gt;" in html
    assert "<script" not in html
    assert not re.search(r"(?:src|href)=.(?!data:)", html), "it needs nothing else"
    assert "## Limits and caveats\n\nnot for storms &lt;b&gt;" in text.read_text()
    assert good(home.rota("models", "card", "delay@1", "--format", "html")).startswith("<!doctype html>")
    words = tmp_path / "words.txt"
    words.write_text("for the operations desk\n")
    good(home.rota("models", "card", "delay@1", "--edit", "intended_use", "--file", str(words)))
    card = json.loads(good(home.rota("models", "card", "delay@1", "--json")))
    assert [s["text"] for s in card["sections"] if s["text"]] == ["for the operations desk", "not for storms <b>"]


def test_the_report_names_every_deployed_model_and_is_one_file(home, tmp_path):
    (only,) = json.loads(good(home.rota("report", "models", "--json")))
    assert (only["model"], only["champion"], only["alerts"][0]["subject"]) == ("delay", 1, "last")
    page = tmp_path / "report.html"
    assert "wrote" in good(home.rota("report", "models", "--out", str(page)))
    html = page.read_text()
    assert "<b>delay</b>" in html
    assert not re.search(r"(?:src|href)=.(?!data:)", html)
