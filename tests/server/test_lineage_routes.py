"""Metadata, notes, artifacts and garbage over HTTP, and the page that draws a graph."""

import io

import msgspec
import pytest

from rota.manage.experiments import artifacts
from rota.ports.metadata import Batch
from rota.records.model import ModelVersion
from rota.records.tracking import DEFAULT_EXPERIMENT, ExperimentRun
from rota.testing.story import NOON_US


@pytest.fixture
def bundle(platform):
    """The digest of real bytes behind version 1, and a tracked run with a file of any content."""
    r = platform.repositories
    version = r.metadata.get(ModelVersion, "delay", 1)
    digest = r.blobs.put(b'{"a": "bundle"}')
    batch = Batch()
    batch.put(msgspec.structs.replace(version, bundle=digest), replacing=version)
    r.metadata.commit(batch)
    run = ExperimentRun("e1", DEFAULT_EXPERIMENT, "first", "finished", NOON_US)
    r.tracking.create_run(run)
    artifacts.store(r, artifacts.run_root(run), "page.html", [b"<script>alert(1)</script>"])
    artifacts.store(r, artifacts.run_root(run), "empty", [])
    return digest


def test_artifacts_executions_contexts_and_events_are_listed_and_paged(owner):
    models = owner.get("/v1/metadata/artifacts", type="Model").json()
    assert [node["node"] for node in models] == ["model_version:delay@1", "model_version:delay@2"]
    assert owner.get("/v1/metadata/artifacts", type="Model", after="1", limit="1").json() == models[1:]
    assert [node["facts"]["status"] for node in owner.get("/v1/metadata/executions", type="Run").json()] == ["queued"]
    assert "pipeline:delay" in [node["node"] for node in owner.get("/v1/metadata/contexts").json()]
    events = owner.get("/v1/metadata/events", node="run:r1").json()
    assert [(event["type"], event["artifact"]) for event in events] == [("OUTPUT", "model_version:delay@1")]
    assert {each["concept"] for each in owner.get("/v1/metadata/types").json()} == {"artifact", "execution", "context"}
    node = owner.get("/v1/metadata/nodes/model_version:delay@1").json()
    assert (node["node"]["type"], node["notes"]) == ("Model", [])
    assert owner.get("/v1/metadata/nodes/model_version:delay@9").status == 404
    for query in ({"type": "Modell"}, {"limit": "0"}, {"limit": "1001"}, {"after": "-1"}):
        assert owner.get("/v1/metadata/artifacts", **query).status == 422


def test_a_version_is_explained_and_a_graph_is_given(owner):
    told = owner.get("/v1/lineage/explain/delay@champion").json()
    assert told["explanation"]["version"]["number"] == 1
    assert "approve" in " ".join(told["sentences"])
    assert owner.get("/v1/lineage/explain/delay@1", at="1999-01-01").status == 404
    assert {node["level"] for node in owner.get("/v1/lineage/graph/model_version:delay@1").json()["nodes"]} == {-1, 0}
    assert owner.get("/v1/lineage/graph/model_version:delay@1", depth="0").status == 422
    assert [edge["cause"] for edge in owner.get("/v1/lineage/causes/model_version:delay@1", depth="1").json()["edges"]] == [
        "dataset_version:delay@1",
        "run:r1",
    ]
    assert owner.get("/v1/lineage/row/arrivals", at="2013-07-15", key="origin=JFK").status == 404
    assert owner.get("/v1/lineage/row/arrivals", at="2013-07-15", key="origin").status == 422


def test_the_author_of_a_note_is_who_calls_and_nobody_else(owner, browser, stranger):
    sent = {"node": "model_version:delay@1", "text": "<b>storm</b>", "tags": ["data"]}
    made = owner.post("/v1/notes", sent).json()
    assert made["author"] == "owner"
    assert owner.get("/v1/notes/model_version:delay@1").json() == [made]
    assert owner.post("/v1/notes", sent | {"author": "the boss"}).status == 422
    assert owner.post("/v1/notes", {"node": "nix", "text": "x"}).status == 422
    assert stranger.post("/v1/notes", sent).status == 401
    page = browser.get("/models/delay/1").text
    assert "&lt;b&gt;storm&lt;/b&gt;" in page
    assert "<b>storm" not in page
    owner.post("/v1/notes", {"node": "run:r1", "text": "a slow one"})
    assert "a slow one" in browser.get("/runs/r1").text


def test_the_page_draws_the_graph_without_a_script(owner, browser):
    answer = browser.get("/lineage", node="model_version:delay@1")
    assert answer.status == 200
    assert answer.text.count('<g class="node') == 3
    assert '<g class="node artifact middle">' in answer.text
    assert "/lineage?node=run%3Ar1" in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert browser.get("/lineage", node="model_version:nix@1").status == 404
    assert browser.get("/lineage").status == 200
    assert "/lineage?node=model_version%3Adelay%401" in browser.get("/models/delay/1").text
    assert "/lineage?node=run%3Ar1" in browser.get("/runs/r1").text
    assert "/lineage?node=dataset_version%3Adelay%401" in browser.get("/datasets/delay@1").text


def test_a_node_of_any_name_is_drawn_as_text(platform, browser):
    batch = Batch()
    batch.link("model_version:delay@1", ['run:"><script>alert(1)</script>'], NOON_US)
    platform.repositories.metadata.commit(batch)
    page = browser.get("/lineage", node="model_version:delay@1").text
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_artifacts_are_listed_and_their_bytes_sent_as_a_download(owner, bundle):
    listed = owner.get("/v1/artifacts/of/model_version:delay@1").json()
    assert [(piece["about"], piece["digest"]) for piece in listed] == [("bundle", bundle)]
    blob = owner.get(f"/v1/artifacts/blob/{bundle}")
    assert (blob.text, blob.headers["content-length"]) == ('{"a": "bundle"}', "15")
    file = owner.get("/v1/artifacts/file", root="0/e1/artifacts", path="page.html")
    assert file.text == "<script>alert(1)</script>"
    assert (file.headers["content-type"], file.headers["content-disposition"]) == ("application/octet-stream", "attachment")
    assert file.headers["x-content-type-options"] == "nosniff"
    assert owner.get("/v1/artifacts/file", root="0/e1/artifacts", path="empty").text == ""
    assert [each["path"] for each in owner.get("/v1/artifacts/files", root="0/e1/artifacts").json()] == ["empty", "page.html"]
    for path in ("../../token", "/etc/passwd", "%2e%2e/x", "a#/../b", "nothing", "a\\..\\b", "."):
        assert owner.get("/v1/artifacts/file", root="0/e1/artifacts", path=path).status in (404, 422)
    for digest in ("0" * 64, "nix", "..%2f..%2ftoken"):
        assert owner.get(f"/v1/artifacts/blob/{digest}").status in (404, 422)


def test_an_archive_is_sent_whole(owner, platform, bundle, check_archive):
    answer = owner.get("/v1/artifacts/archive/model_version:delay@1")
    assert check_archive(io.BytesIO(answer.text.encode()))["node"] == "model_version:delay@1"
    assert owner.get("/v1/artifacts/archive/run:nix").status == 404
    assert owner.get("/v1/artifacts/archive/alert:x").status == 422


def test_garbage_is_planned_collected_and_held_back_with_a_reason(owner):
    planned = owner.get("/v1/gc").json()
    assert (planned["dry_run"], planned["removals"]) == (True, [])
    assert owner.post("/v1/gc", {}).json()["dry_run"] is False
    assert owner.post("/v1/holds", {"node": "run:r1", "reason": "claim"}).json()["held_by"] == "owner"
    assert [hold["node"] for hold in owner.get("/v1/holds").json()] == ["run:r1"]
    assert owner.post("/v1/holds", {"node": "run:r1", "reason": "claim"}).status == 409
    assert owner.post("/v1/holds/lift", {"node": "run:r1", "reason": "settled"}).json()["lifted_by"] == "owner"
    assert owner.post("/v1/holds/lift", {"node": "run:r1", "reason": "settled"}).status == 404


def test_a_list_says_in_its_header_what_asks_for_more(owner):
    first = owner.get("/v1/models", limit="1")
    second = owner.get("/v1/models", limit="1", after=first.headers["rota-next"])
    assert [version["number"] for answer in (first, second) for version in answer.json()] == [1, 2]
    assert "rota-next" not in owner.get("/v1/models").headers
    assert owner.get("/v1/alerts", after=first.headers["rota-next"]).status == 422
    for path in ("/v1/events", "/v1/audit"):
        assert owner.get(path, after=str(2**63)).status == 422
