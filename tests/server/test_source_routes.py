"""Sources over HTTP: what is declared, how it stands, what came in and what was left out."""

from pathlib import Path

import pytest

from rota import wiring
from rota.records.data import Contract, Source
from rota.records.schema import ColumnSchema
from rota.testing.story import NOON_US, SOURCE


@pytest.fixture
def rows(platform: wiring.Platform, tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("id,origin,at,delay\na,JFK,2013-07-15,3\nb,JFK,2013-07-15,many\n")
    contract = Contract("anna", (ColumnSchema("delay", "float", maximum=600),))
    platform.feed.register([Source(SOURCE.name, SOURCE.fields, "at", id_field="id", path=str(path), contract=contract)])
    return path


def test_a_source_is_taken_in_and_seen(owner, rows):
    assert [each["name"] for each in owner.get("/v1/sources").json()] == ["arrivals"]
    done = owner.post("/v1/sources/arrivals/ingest", {})
    assert (done.status, done.json()["rows_out"], done.json()["rejected"]) == (200, 1, 1)
    assert owner.get("/v1/sources/arrivals").json()["status"]["rows"] == 1
    assert [each["actor"] for each in owner.get("/v1/sources/arrivals/ingestions").json()] == ["owner"]
    (rejected,) = owner.get("/v1/sources/arrivals/rejects").json()
    assert (rejected["row"], rejected["reason"]) == (2, "field 'delay': many is no float")


def test_pushed_rows_that_break_the_contract_do_not_count(owner, rows):
    pushed = [{"id": name, "origin": "JFK", "at": NOON_US, "delay": delay} for name, delay in (("c", 1.0), ("d", 601.0))]
    assert owner.post("/v1/sources/arrivals/rows", {"rows": pushed}).json() == {"accepted": 1}
    assert owner.get("/v1/sources/arrivals/rejects").json()[0]["file"] == "push"


def test_a_caller_cannot_name_a_path_and_an_unknown_source_is_404(owner, rows):
    assert owner.post("/v1/sources/arrivals/ingest?path=/etc/passwd", {"path": "/etc/passwd"}).json()["origin"] == str(rows)
    for path in ("/v1/sources/nix", "/v1/sources/nix/ingestions", "/v1/sources/nix/rejects"):
        assert owner.get(path).status == 404
    assert owner.get("/v1/sources/arrivals/rejects?limit=0").status == 422


def test_a_stranger_sees_no_source(stranger, rows):
    assert stranger.get("/v1/sources/arrivals").status == 401
    assert stranger.post("/v1/sources/arrivals/ingest", {}).status == 401


def test_times_that_look_like_seconds_are_taken_and_told_of(owner, rows):
    answer = owner.post("/v1/sources/arrivals/rows", {"rows": [{"id": "s", "origin": "JFK", "at": 1_373_889_600, "delay": 1.0}]}).json()
    assert answer["accepted"] == 1
    assert [text.partition(":")[0] for text in answer["notices"]] == ["field 'at'"]
