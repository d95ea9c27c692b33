"""Models from elsewhere over HTTP."""

import json

from rota.manage.models import pickle_signing
from rota.records.release import Endpoint
from rota.records.run import RunQuery
from rota.records.signal import Monitor


def body(**fields):
    return json.dumps(fields).encode()


def test_pickle_is_allowed_and_forbidden_under_the_callers_name(owner, platform):
    made = owner.ask("PUT", "/v1/models/delay/pickle", body(reason="our own"))
    assert (made.status, made.json()["allowed_by"]) == (200, "owner")
    assert pickle_signing.is_allowed(platform.repositories.metadata, "delay")
    assert owner.ask("DELETE", "/v1/models/delay/pickle", body(reason="no more")).status == 200
    assert not pickle_signing.is_allowed(platform.repositories.metadata, "delay")
    assert owner.ask("DELETE", "/v1/models/delay/pickle", body(reason="again")).status == 403
    assert owner.ask("PUT", "/v1/models/delay/pickle", body(reason=" ")).status == 422
    assert owner.ask("PUT", "/v1/models/..%2Fx/pickle", body(reason="x")).status in (404, 422)


def test_an_endpoint_and_its_monitor_are_declared(owner, platform):
    made = owner.ask("PUT", "/v1/endpoints/second", body(model="delay", rollout={"steps": [10, 50], "hold": "1h"}))
    assert (made.status, made.json()["rollout"]["steps"]) == (200, [10, 50])
    assert owner.ask("PUT", "/v1/endpoints/second", body(model="delay", rollout={"steps": [10, 50], "hold": "1h"})).status == 200
    assert owner.ask("PUT", "/v1/endpoints/second", body(model="delay")).status == 409
    assert owner.ask("PUT", "/v1/endpoints/third", body(model="nix")).status == 404
    assert owner.ask("PUT", "/v1/endpoints/third", body(model="delay", rollout={"steps": [50, 10]})).status == 422
    assert owner.ask("PUT", "/v1/endpoints/second/monitor", body(schedule="0 3 * * *")).json()["schedule"] == "0 3 * * *"
    assert owner.ask("PUT", "/v1/endpoints/second/monitor", body(schedule="often")).status == 422
    assert owner.ask("PUT", "/v1/endpoints/nix/monitor", body()).status == 404
    metadata = platform.repositories.metadata
    assert metadata.get(Monitor, "second").endpoint == metadata.get(Endpoint, "second")


def test_adopting_is_a_run_of_a_worker(owner, platform):
    assert owner.post("/v1/models/delay/99/adopt").status == 404
    assert owner.post("/v1/models/delay/1/adopt").status == 403
    assert platform.repositories.runs.find(RunQuery("adopt")) == []
