"""Outcomes, cards and the report over HTTP: what is taken, what is refused, and by whose token."""

import http.client
import json

import numpy as np
import pytest

from rota.client import Client
from rota.manage.access import tokens
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.early_times import DoubtfulTimes
from rota.records.model import RegisteredModel
from rota.records.signal import Prediction
from rota.testing.story import version

ROW = {"prediction_id": "p1", "name": "sale", "value": 10.0}


@pytest.fixture
def people(platform, stranger):
    """Callers by name: the shop reports, Anna registers, Mia is limited to the project "flights"."""
    metadata, now_us = platform.repositories.metadata, platform.access.wall.now_us()
    batch = Batch()
    batch.put(RegisteredModel("delay", "flights"))
    metadata.commit(batch)
    roles = {"shop": ("application", ""), "anna": ("data_scientist", ""), "mia": ("application", "flights"), "eve": ("application", "secret")}
    made = {name: tokens.create(metadata, name, role, actor="owner", now_us=now_us, project=project)[1] for name, (role, project) in roles.items()}
    return {name: stranger.sending(Authorization=f"Bearer {secret}") for name, secret in made.items()}


def log(platform, *ids):
    r = platform.repositories
    at_us = r.clock.now_us() - 60
    prediction_log.append(r.journal, "delay", [Prediction(i, "delay", at_us, "delay", 1, "stable", 1, "", {}, {"v__x": 1.0}, 0.5, 9) for i in ids])


def good(answer):
    assert answer.status == 200, answer.text
    return answer.json()


def test_outcomes_are_reported_and_read_by_version(platform, people):
    log(platform, "p1", "p2")
    assert good(people["shop"].post("/v1/endpoints/delay/outcomes", {"outcomes": [ROW, {**ROW, "prediction_id": "nobody"}]})) == {"accepted": 2}
    assert good(people["shop"].post("/v1/outcomes", {"outcomes": [{**ROW, "prediction_id": "p2", "value": 20}]})) == {"accepted": 1}
    found = good(people["anna"].get("/v1/endpoints/delay/outcomes", days="7"))
    assert found["unmatched"] == 1
    (only,) = found["versions"]
    assert (only["number"], only["predictions"]) == (1, 2)
    assert only["kpis"] == [{"name": "sale", "count": 2, "total": 30.0, "mean": 15.0, "per_prediction": 15.0}]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/endpoints/nix/outcomes", {"outcomes": [ROW]}, 404),
        ("/v1/endpoints/delay/outcomes", {"outcomes": [ROW, {**ROW, "value": "dear"}]}, 422),
        ("/v1/endpoints/delay/outcomes", {"outcomes": [{**ROW, "name": "../../x"}]}, 422),
        ("/v1/endpoints/delay/outcomes", {"outcomes": [{**ROW, "at_us": 10**30}]}, 422),
        ("/v1/endpoints/delay/outcomes", {"labels": [ROW]}, 422),
        ("/v1/outcomes", {"outcomes": ROW}, 422),
        ("/v1/outcomes", b"[", 422),
        ("/v1/outcomes", b'{"outcomes": [{"prediction_id": "\\ud800", "name": "sale", "value": 1}]}', 422),
        ("/v1/outcomes", b'{"outcomes": [{"prediction_id": "p", "name": "sale", "value": 1e999}]}', 422),
    ],
)
def test_what_does_not_fit_is_refused_whole(platform, people, path, body, status):
    log(platform, "p1")
    assert people["shop"].post(path, body).status == status
    assert good(people["anna"].get("/v1/endpoints/delay/outcomes"))["versions"] == []


def test_a_token_of_one_project_reports_to_its_endpoints_only(people):
    assert people["mia"].post("/v1/endpoints/delay/outcomes", {"outcomes": [ROW]}).status == 200
    assert people["eve"].post("/v1/endpoints/delay/outcomes", {"outcomes": [ROW]}).status == 403
    assert people["eve"].post("/v1/outcomes", {"outcomes": [ROW]}).status == 403
    assert people["anna"].post("/v1/outcomes", {"outcomes": [ROW]}).status == 403


def test_the_client_reports_outcomes(platform, stranger, token, monkeypatch):
    log(platform, "p1", "p2")
    client = Client(platform.settings.home, token=token.strip())
    monkeypatch.setitem(client._connections, "control", http.client.HTTPConnection("127.0.0.1", stranger.port, timeout=60))
    assert client.outcome("delay", [ROW]) == 1
    assert client.outcome("", [{**ROW, "prediction_id": "p2"}]) == 1
    assert client.outcome("delay", []) == 0
    with pytest.warns(DoubtfulTimes, match="field 'at_us': every time is a number before 1980"):
        assert client.outcome("delay", [{**ROW, "prediction_id": "nobody", "value": np.True_, "at_us": 1_373_889_600}]) == 1
    assert client.get("/v1/endpoints/delay/outcomes")["versions"][0]["kpis"][0]["count"] == 2
    client.close()


def test_a_card_is_json_html_and_markdown_and_is_written_by_who_registers(platform, people):
    hostile = "<script>alert(1)</script>"
    anna = people["anna"]
    batch = Batch()
    batch.put(version(2, "registered", description=hostile))
    platform.repositories.metadata.commit(batch)
    assert good(anna.post("/v1/models/delay/2/card", {"section": "limits", "text": "not for storms"}))["edited_by"] == "anna"
    card = good(anna.get("/v1/models/delay/2/card"))
    assert [section["text"] for section in card["sections"] if section["text"]] == ["not for storms"]
    page, text = anna.get("/v1/models/delay/2/card", format="html"), anna.get("/v1/models/delay/2/card", format="markdown")
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]
    assert text.headers["content-type"].startswith("text/markdown")
    for answer in (page, text):
        assert "not for storms" in answer.text
        assert "<script" not in answer.text
    assert anna.get("/v1/models/delay/2/card", format="pdf").status == 422
    assert anna.post("/v1/models/delay/2/card", {"section": "nix", "text": "x"}).status == 422
    assert anna.post("/v1/models/delay/2/card", {"section": "limits", "text": "x", "author": "rosa"}).status == 422
    assert people["shop"].post("/v1/models/delay/2/card", {"section": "limits", "text": "x"}).status == 403
    assert anna.get("/v1/models/delay/9/card").status == 404


def test_the_report_is_json(people):
    (only,) = good(people["anna"].get("/v1/report"))
    assert json.dumps(only)
    assert (only["model"], only["champion"]) == ("delay", 1)
