"""Pages of the registry and of governance: what they show, who may act on them, and that no other site can."""

from urllib.parse import urlencode

import msgspec
import pytest

from rota.manage.access import tokens
from rota.manage.governance import alias_moves, cards, decisions, policies, readiness, risk
from rota.manage.governance.decisions import ReviewDecision
from rota.manage.lineage import notes
from rota.manage.models import model_versions
from rota.manage.signals import prediction_log
from rota.ports.metadata import Batch
from rota.records.model import Alias, RegisteredModel
from rota.records.record import encode
from rota.records.release import Rollout
from rota.records.run import Evaluation, Run
from rota.records.signal import Prediction
from rota.testing.story import NOON_US, version
from rota.wiring import Platform

HOSTILE = "<script>alert('x')</script>{{7*7}}"
PAGES = (
    "/models",
    "/models/delay",
    "/models/delay/1",
    "/models/delay/1/review",
    "/models/delay/1/card",
    "/models/delay/2/review",
    "/models/compare?version=delay@1&version=delay@2",
    "/report",
    "/audit",
    "/audit?verify=true",
)
POLICY = """
level = "semi-automatic"
[[questions]]
id = "bias"
category = "ethical"
text = "Who could be treated unfairly?"
"""


@pytest.fixture(autouse=True)
def now_is_the_story_s(platform: Platform, monkeypatch):
    monkeypatch.setattr(platform.repositories.clock, "now_us", lambda: NOON_US + 40 * 86_400_000_000, raising=False)


@pytest.fixture
def visitors(platform: Platform, stranger, entered):
    """Browsers that have entered, by name, with the origin that they send with a form."""
    roles = {"anna": "data_scientist", "rosa": "reviewer", "olga": "operator", "abel": "auditor", "appl": "application"}
    metadata, now_us = platform.repositories.metadata, platform.access.wall.now_us()
    made = {name: tokens.create(metadata, name, role, actor="owner", now_us=now_us)[1] for name, role in roles.items()}
    own = f"http://127.0.0.1:{stranger.port}"
    return {
        name: stranger.sending(Accept="text/html", Cookie=entered(secret), Origin=own, **{"Content-Type": "application/x-www-form-urlencoded"})
        for name, secret in made.items()
    }


def send(caller, path, **fields):
    return caller.ask("POST", path, urlencode(fields).encode())


def ask_risk(platform: Platform):
    policies.put(platform.repositories.metadata, policies.parse(POLICY, "delay"), actor="rosa", now_us=NOON_US)


def put(platform: Platform, *records):
    batch = Batch()
    for record in records:
        batch.put(record)
    platform.repositories.metadata.commit(batch)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_one_without_scripts_and_links_to_the_others(browser, path: str):
    answer = browser.get(path)
    assert answer.status == 200, answer.text
    assert "<script" not in answer.text
    assert " style=" not in answer.text
    assert 'href="/report"' in answer.text
    assert "unsafe" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("query", "found", "gone"),
    [
        ({"owner": "anna"}, "delay/2", "delay/1"),
        ({"tag": "team=ops"}, "delay/2", "delay/1"),
        ({"tag": "team"}, "delay/2", "delay/1"),
        ({"status": "approved"}, "delay/1", "delay/2"),
        ({"stage": "production"}, "delay/1", "delay/2"),
        ({"alias": "champion"}, "delay/1", "delay/2"),
        ({"metric": "roc_auc > 0.75"}, "delay/2", "delay/1"),
        ({"name": "ELA", "filter": "status = 'approved'"}, "delay/1", "delay/2"),
        ({"owner": "a' or '1'='1"}, "No version is like that", "delay/1"),
    ],
)
def test_the_catalog_finds_versions_by_what_the_form_asks(browser, platform: Platform, query, found: str, gone: str):
    put(platform, version(2, "registered", owner="anna", tags={"team": "ops"}, metrics={"roc_auc": 0.8}))
    text = browser.get("/models", **query).text.partition("<h2>Versions</h2>")[2]
    assert found in text
    assert f'/{gone}"' not in text


def test_what_cannot_be_read_in_a_search_is_said_above_the_table(browser):
    answer = browser.get("/models", metric="roc_auc >")
    assert answer.status == 200
    assert 'class="message"' in answer.text


def test_a_model_shows_its_aliases_with_their_history_and_its_quality_over_the_trainings(browser, platform: Platform):
    put(platform, RegisteredModel("delay", owner="anna", description="late or not"), version(2, "registered", metrics={"roc_auc": 0.8}))
    text = browser.get("/models/delay").text
    assert "roc auc over the trainings" in text
    assert "roc_auc, version 2: roc_auc 0.8" in text
    assert "first version, nothing to compare with" in text
    assert "late or not" in text
    assert "semi-automatic" in text
    assert browser.get("/models/nix").status == 404


def test_a_version_shows_offline_and_online_side_by_side_with_its_outcomes(browser, platform: Platform):
    r = platform.repositories
    now_us = r.clock.now_us()
    rows = [Prediction(f"p{n}", "delay", now_us - 60, "delay", 1, "stable", 1, "", {}, {"v__x": 1.0}, 0.5, 9) for n in range(4)]
    prediction_log.append(r.journal, "delay", rows)
    platform.signals.outcome("delay", [{"prediction_id": f"p{n}", "name": "sale", "value": 10.0} for n in range(2)])
    notes.add(r.metadata, "model_version:delay@1", "watch the storms", author="rosa", now_us=NOON_US)
    text = browser.get("/models/delay/1").text
    assert text.index("Offline") < text.index("0.71") < text.index("Online") < text.index("Outcomes of 4 predictions")
    assert "sale" in text
    assert '<td class="num">20</td><td class="num">10</td><td class="num">5</td>' in text
    assert "roc auc per day on delay" in text
    assert "watch the storms" in text
    assert "promoted" in text


def test_a_version_shows_what_it_reads_and_needs_and_what_was_done_to_it(browser, platform: Platform):
    r = platform.repositories
    inputs = '[{"name": "wind", "type": "double", "required": false}]'
    fields = {"inputs": inputs, "outputs": '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]'}
    made = version(
        3,
        "registered",
        signature=encode(fields).decode(),
        input_example=r.blobs.put(b'[{"wind": 3.5}]'),
        requirements=r.blobs.put(b"lightgbm==4.6.0\n"),
    )
    put(platform, made)
    model_versions.update(r.metadata, "delay", 3, actor="anna", now_us=NOON_US + 9, description="better in winter")
    text = browser.get("/models/delay/3").text
    for shown in ("wind", "double, optional", "float64 [-1]", "3.5", "lightgbm==4.6.0", "version.change", "better in winter"):
        assert shown in text, shown
    put(platform, version(4, "registered", signature="{broken"))
    assert "{broken" in browser.get("/models/delay/4").text


def test_only_who_may_read_the_audit_log_sees_what_was_done(visitors):
    assert "What was done to it" in visitors["rosa"].get("/models/delay/1").text
    assert "What was done to it" not in visitors["anna"].get("/models/delay/1").text
    assert visitors["anna"].get("/audit").status == 403


def test_a_review_goes_from_question_to_approval_by_forms(platform: Platform, visitors):
    ask_risk(platform)
    r = platform.repositories
    asked = send(visitors["anna"], "/models/delay/2/review", comment="better in winter")
    assert (asked.status, asked.headers["location"]) == (303, "/models/delay/2/review")
    rosa = visitors["rosa"]
    text = rosa.get("/models/delay/2/review").text
    for shown in ("better in winter", "Who could be treated unfairly?", "not answered", ">Approve<", ">Request changes<", ">Reject<"):
        assert shown in text, shown
    refused = send(rosa, "/models/delay/2/decision", decision="approve", reason="so it is", steps="10,50", rollout="yes")
    assert refused.status == 403
    assert "is not answered" in refused.text
    assert "so it is" in refused.text, "what was typed is not lost"
    assert send(rosa, "/models/delay/2/risk", question="bias", answer="nobody", acceptable="yes").status == 303
    done = send(rosa, "/models/delay/2/decision", decision="approve", reason="so it is", steps="10,50", hold="", shadow="1h", rollout="no")
    assert done.status == 303
    (made,) = readiness.decisions(r.metadata, model_versions.get(r.metadata, "delay", 2))
    assert (made.reviewer, made.decision, made.delivery.steps, made.delivery.shadow) == ("rosa", "approve", (10, 50), "1h")
    shown = rosa.get("/models/delay/2/review").text
    assert "so it is" in shown
    assert ">Approve<" not in shown, "a decision is made once"


@pytest.mark.parametrize(("word", "status"), [("reject", "rejected"), ("request_changes", "changes_requested")])
def test_a_version_is_rejected_or_sent_back(platform: Platform, visitors, word: str, status: str):
    assert send(visitors["rosa"], "/models/delay/2/decision", decision=word, reason="unfair").status == 303
    assert model_versions.get(platform.repositories.metadata, "delay", 2).status == status


@pytest.mark.parametrize(
    ("fields", "status", "hint"),
    [
        ({"decision": "approve", "reason": " "}, 422, "has no reason"),
        ({"decision": "enact", "reason": "r"}, 422, "is one of"),
        ({"reason": "r"}, 422, "is one of"),
        ({"decision": "approve", "reason": "r", "steps": "five"}, 422, "5,25,50"),
        ({"decision": "approve", "reason": "r", "steps": "50,5"}, 422, "must grow"),
        ({"decision": "approve", "reason": "r", "hold": "soon"}, 422, "soon"),
        ({"decision": "approve", "reason": HOSTILE, "steps": HOSTILE}, 422, "&lt;script&gt;"),
    ],
)
def test_a_form_that_does_not_fit_says_so_on_the_page_and_changes_nothing(platform: Platform, visitors, fields, status: int, hint: str):
    answer = send(visitors["rosa"], "/models/delay/2/decision", **fields)
    assert answer.status == status
    assert hint in answer.text
    assert "<script" not in answer.text
    assert model_versions.get(platform.repositories.metadata, "delay", 2).status == "registered"


@pytest.mark.parametrize("body", [b"\xff=1", b"a=1&" * 100, b"decision=%ff"])
def test_a_body_that_is_no_form_is_refused(visitors, body: bytes):
    assert visitors["rosa"].ask("POST", "/models/delay/2/decision", body).status == 422


def test_buttons_are_shown_to_those_who_may_and_the_routes_hold_without_them(visitors):
    ask_page, decide_page = visitors["anna"].get("/models/delay/2/review").text, visitors["rosa"].get("/models/delay/2/review").text
    assert ("Ask for a review" in ask_page, ">Approve<" in ask_page) == (True, False)
    assert ("Ask for a review" in decide_page, ">Approve<" in decide_page) == (False, True)
    assert "<form" not in visitors["abel"].get("/models/delay/2/review").text.partition("<main>")[2]
    assert ("<textarea" in visitors["anna"].get("/models/delay/2/card").text, "<textarea" in visitors["rosa"].get("/models/delay/2/card").text) == (
        True,
        False,
    )
    for who, path in [
        ("anna", "decision"),
        ("anna", "risk"),
        ("rosa", "review"),
        ("rosa", "card"),
        ("abel", "decision"),
        ("olga", "decision"),
        ("appl", "card"),
    ]:
        answer = send(visitors[who], f"/models/delay/2/{path}", decision="approve", reason="r")
        assert answer.status == 403, (who, path)
        assert "lacks the permission" in answer.text
    assert visitors["appl"].get("/models").status == 403


@pytest.mark.parametrize("path", ["decision", "risk", "review", "card"])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", None])
def test_another_site_s_form_is_refused_though_the_browser_sends_the_cookie(platform: Platform, stranger, browser, path: str, origin):
    headers = {"Accept": "text/html", "Cookie": browser.headers["Cookie"], "Content-Type": "application/x-www-form-urlencoded"}
    foreign = stranger.sending(**headers, **({"Origin": origin} if origin else {}))
    answer = send(foreign, f"/models/delay/2/{path}", decision="approve", reason="r", section="limits", text="none", comment="c")
    assert answer.status == 403
    assert model_versions.get(platform.repositories.metadata, "delay", 2).status == "registered"
    assert platform.repositories.metadata.find(cards.ModelCard) == []


def test_a_section_of_the_card_is_written_and_taken_back(platform: Platform, visitors):
    anna = visitors["anna"]
    done = send(anna, "/models/delay/2/card", section="limits", text="not for storms\r\nnor for snow")
    assert (done.status, done.headers["location"]) == (303, "/models/delay/2/card#limits")
    assert "not for storms\nnor for snow</p>" in anna.get("/models/delay/2/card").text
    assert platform.repositories.metadata.audit(limit=100)[-1].action == "card.edit"
    assert send(anna, "/models/delay/2/card", section="limits", text="").status == 303
    assert "not for storms" not in anna.get("/models/delay/2/card").text
    wrong = send(anna, "/models/delay/2/card", section="nix", text="x")
    assert wrong.status == 422
    assert "has no section" in wrong.text


def test_versions_stand_side_by_side_on_the_rows_that_both_were_scored_on(browser, platform: Platform):
    r = platform.repositories
    scored = {
        "candidate": Evaluation("candidate", "delay@1", 20, {"roc_auc": 0.8123}),
        "champion": Evaluation("delay@1", "delay@1", 20, {"roc_auc": 0.7123}),
    }
    put(platform, version(2, "registered", evaluation=r.blobs.put(encode(scored)), parameters={"depth": 8}), version(1, "approved", model="other"))
    text = browser.get("/models/compare?version=delay@champion&version=delay@2").text
    assert "on the same rows" in text
    assert text.index("0.7123") < text.index("0.8123")
    assert "depth" in text
    assert "0.8123" in browser.get("/models/delay/2/review").text
    both = browser.get("/models/compare?version=delay@1&version=other@1").text
    assert "other@1" in both
    assert browser.get("/models/compare?version=delay@9").status == 404
    put(platform, RegisteredModel("compare"))
    assert "<h1>compare</h1>" in browser.get("/models/compare").text, "a model may have this name"


def test_the_report_shows_the_champion_its_quality_then_and_now_and_what_happened(browser, owner, platform: Platform):
    day_us = 86_400_000_000
    gone = Rollout("rollout.delay.2", "delay", "delay", 2, 1, "rolled_back", 1, NOON_US + 30 * day_us, NOON_US + 31 * day_us, "more errors")
    put(platform, RegisteredModel("delay", owner="anna"), gone, RegisteredModel("lone"), version(1, "approved", model="lone"))
    put(platform, Alias("lone", "champion", 1, NOON_US))
    text = browser.get("/report").text
    for shown in (
        "version 1",
        'since</span> <span class="day">2013-07-15',
        "owner</span> anna",
        "drift",
        "version 2 was taken back: more errors",
        "0.71",
        "for good",
        "lone",
    ):
        assert shown in text, shown
    (delay, lone) = owner.get("/v1/report").json()
    assert (delay["champion"], delay["endpoint"], lone["endpoint"]) == (1, "delay", "")
    assert [incident["kind"] for incident in delay["incidents"]] == ["rollback", "alert"]
    assert delay["measured"] == {}, "version 1 answered no day of the last seven"


def test_the_audit_page_is_filtered_and_says_whether_the_chain_is_whole(browser, platform: Platform):
    text = browser.get("/audit", actor="anna", subject="delay@1").text
    assert text.count("version.approve</td>") == 1
    assert "No such entry" in browser.get("/audit", actor="ann").text
    checked = browser.get("/audit", verify="true").text
    assert "the chain is whole" in checked
    batch = Batch()
    for number in range(250):
        batch.audit("paul", "act.many", f"thing{number}", NOON_US)
    platform.repositories.metadata.commit(batch)
    page = browser.get("/audit", action="act.").text
    assert "thing249" in page
    assert "thing0<" not in page
    last = page.partition("before=")[2].partition('"')[0]
    assert "thing149<" in browser.get("/audit", action="act.", before=last).text


def test_names_from_outside_are_text_on_every_page(browser, platform: Platform):
    r = platform.repositories
    ask_risk(platform)
    made = version(
        3,
        "registered",
        trigger=HOSTILE,
        owner=HOSTILE,
        description=HOSTILE,
        tags={HOSTILE: HOSTILE},
        metrics={HOSTILE: 1.0},
        parameters={HOSTILE: HOSTILE},
        dataset=HOSTILE,
        signature=HOSTILE,
        source=HOSTILE,
        unservable=HOSTILE,
        requirements=r.blobs.put(HOSTILE.encode()),
        input_example=r.blobs.put(HOSTILE.encode()),
    )
    put(platform, made, RegisteredModel("delay", owner=HOSTILE, description=HOSTILE, tags={HOSTILE: HOSTILE}))
    act = {"actor": HOSTILE, "now_us": NOON_US}
    decisions.request_review(r.metadata, "delay", 3, comment=HOSTILE, **act)
    risk.answer(r.metadata, "delay", 3, "bias", text=HOSTILE, acceptable=True, **act)
    cards.edit(r.metadata, "delay", 3, "limits", HOSTILE, **act)
    decisions.decide(r, "delay", 3, ReviewDecision("approve", HOSTILE, HOSTILE))
    alias_moves.move(r, "delay", "candidate", 3, actor=HOSTILE, reason=HOSTILE, may_release=True)
    for path in (
        *PAGES,
        "/models/delay/3",
        "/models/delay/3/review",
        "/models/delay/3/card",
        "/models/compare?version=delay@3&version=delay@1",
        f"/models?{urlencode({'name': HOSTILE, 'tag': HOSTILE, 'metric': HOSTILE, 'filter': HOSTILE})}",
        f"/audit?{urlencode({'actor': HOSTILE})}",
    ):
        answer = browser.get(path)
        assert answer.status == 200, path
        assert "<script" not in answer.text, path
    for path in ("/v1/models/delay/3/card?format=html", "/v1/models/delay/3/card?format=markdown"):
        assert "<script" not in browser.get(path).text
    assert "{{7*7}}" in browser.get("/models/delay/3/card").text


def under_way(platform: Platform) -> Rollout:
    """A rollout in its first canary step, with its durable run."""
    found = Rollout("rollout.delay.2", "delay", "delay", 2, 1, "canary", 1, NOON_US)
    put(platform, found)
    platform.repositories.runs.submit(Run(found.id, "rollout", "delay", {}, NOON_US))
    return found


def test_an_operator_pauses_resumes_and_aborts_a_rollout_on_the_page_of_its_endpoint(platform: Platform, visitors):
    rollout, olga = under_way(platform), visitors["olga"]
    shown = olga.get("/endpoints/delay").text
    assert ('value="pause"' in shown, 'value="resume"' in shown, 'value="abort"' in shown) == (True, False, True)
    done = send(olga, f"/rollouts/{rollout.id}", verb="pause", reason="the <feed> is late")
    assert (done.status, done.headers["location"]) == (303, "/endpoints/delay#rollouts")
    shown = olga.get("/endpoints/delay").text
    assert ('value="pause"' in shown, 'value="resume"' in shown) == (False, True)
    assert "pause by olga: the &lt;feed&gt; is late" in shown
    assert send(olga, f"/rollouts/{rollout.id}", verb="resume").status == 303
    refused = send(olga, f"/rollouts/{rollout.id}", verb="abort", reason=" ")
    assert (refused.status, "has no reason" in refused.text) == (422, True)
    assert send(olga, f"/rollouts/{rollout.id}", verb="abort", reason="enough").status == 303
    assert [each.verb for each in platform.repositories.metadata.get(Rollout, rollout.id).commands] == ["pause", "resume", "abort"]
    assert send(olga, "/rollouts/rollout.delay.9", verb="abort", reason="r").status == 404


def test_a_held_rollout_says_on_its_page_what_is_still_needed_and_offers_the_three_ways_out(platform: Platform, visitors):
    held = msgspec.structs.replace(under_way(platform), held_us=NOON_US + 5, missing="error rate: 40 of about 900 predictions of the <candidate>")
    put(platform, held)
    shown = visitors["olga"].get("/endpoints/delay").text
    assert "still needed: error rate: 40 of about 900 predictions of the &lt;candidate&gt;" in shown
    assert [f'value="{verb}"' in shown for verb in ("promote", "abort", "resume")] == [True] * 3
    assert "Wait on" in shown
    assert send(visitors["olga"], f"/rollouts/{held.id}", verb="resume").status == 303


def test_a_rollout_that_ended_is_retried_on_its_page(platform: Platform, visitors):
    arguments = {"endpoint": "delay", "model": "delay", "number": 1}
    put(platform, Rollout("rollout.delay.1", "delay", "delay", 1, 0, "rolled_back", 1, NOON_US, NOON_US, "more errors"))
    platform.repositories.runs.submit(Run("rollout.delay.1", "rollout", "delay", arguments, NOON_US))
    shown = visitors["olga"].get("/endpoints/delay").text
    assert ('value="retry"' in shown, 'value="undo"' in shown, 'value="abort"' in shown) == (True, False, False)
    assert send(visitors["olga"], "/rollouts/rollout.delay.1", verb="retry", reason="it was the gateway").status == 303
    assert "waiting" in visitors["olga"].get("/endpoints/delay").text


def test_who_may_not_release_sees_no_form_and_is_refused(platform: Platform, visitors):
    rollout = under_way(platform)
    assert "<form" not in visitors["anna"].get("/endpoints/delay").text.partition("<main>")[2]
    assert send(visitors["anna"], f"/rollouts/{rollout.id}", verb="abort", reason="r").status == 403
    assert platform.repositories.metadata.get(Rollout, rollout.id) == rollout


def test_a_run_is_cancelled_on_its_page_by_whoever_may_start_such_a_run(platform: Platform, visitors):
    for name, workflow in (("t1", "train"), ("o1", "rollout")):
        platform.repositories.runs.submit(Run(name, workflow, "delay", {}, NOON_US))
    assert "Cancel this run" in visitors["anna"].get("/runs/t1").text
    for name, run in (("abel", "t1"), ("anna", "o1")):
        assert "Cancel this run" not in visitors[name].get(f"/runs/{run}").text
        assert send(visitors[name], f"/runs/{run}/cancel", reason="no").status == 403
        assert platform.repositories.runs.get(run).status == "queued"
    done = send(visitors["anna"], "/runs/t1/cancel", reason="the <feed> is late")
    assert (done.status, done.headers["location"]) == (303, "/runs/t1")
    shown = visitors["anna"].get("/runs/t1").text
    assert "cancelled by anna: the &lt;feed&gt; is late" in shown
    assert "Cancel this run" not in shown
    assert send(visitors["anna"], "/runs/t1/cancel").status == 409
    elsewhere = visitors["anna"].sending(Cookie=visitors["anna"].headers["Cookie"], Origin="https://elsewhere.example")
    assert elsewhere.post("/runs/o1/cancel").status == 403
    assert visitors["olga"].ask("POST", "/v1/runs/o1/cancel", b'{"reason": "enough"}').json()["status"] == "cancelled"
