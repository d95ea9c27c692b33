"""The control plane's API: errors are sentences with the right status, and no body is larger than allowed."""

from collections.abc import Iterator

import pytest


def test_a_body_that_announces_too_much_is_refused(owner):
    answer = owner.post("/v1/sources/arrivals/rows", b" " * 1_000_001)
    assert answer.status == 413
    assert "ROTA_MAX_REQUEST_MB" in answer.json()["error"]


def test_a_body_that_announces_nothing_is_cut_off_too(owner):
    def drip() -> Iterator[bytes]:
        for _ in range(11):
            yield b" " * 100_000

    assert owner.post("/v1/sources/arrivals/rows", drip()).status == 413


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"rows": 3}', b'{"rows": [], "more": 1}', b"\xff"])
def test_a_body_that_does_not_fit_is_named_in_one_sentence(owner, body: bytes):
    answer = owner.post("/v1/sources/arrivals/rows", body)
    assert answer.status == 422
    assert answer.json()["error"].startswith("the request body does not fit")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/models/delay/9", "it has [1, 2]"),
        ("/v1/runs/none", "rota runs list"),
        ("/v1/endpoints/none", "known are ['delay']"),
        ("/v1/lineage/prediction/none", "is in no prediction log"),
        ("/v1/nothing", "/openapi.json"),
    ],
)
def test_what_does_not_exist_is_404_with_a_way_on(owner, path: str, hint: str):
    answer = owner.get(path)
    assert answer.status == 404
    assert hint in answer.json()["error"]


def test_an_address_that_does_not_fit_is_422_and_names_its_part(owner):
    answer = owner.get("/v1/models/delay/first")
    assert answer.status == 422
    assert "number" in answer.json()["error"]


def test_a_wrong_method_is_405(owner):
    assert owner.ask("DELETE", "/v1/models").status == 405


def test_health_needs_no_token_and_tells_nothing(stranger):
    assert stranger.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic x", "Bearer é"])
def test_a_wrong_token_is_refused(stranger, authorization: str):
    assert stranger.sending(Authorization=authorization).get("/v1/models").status == 401


def test_the_clock_of_the_world_cannot_be_moved(owner):
    answer = owner.post("/v1/clock", {"to_us": 1})
    assert answer.status == 403
    assert "clock = 'replay'" in answer.json()["error"]


def test_a_decision_is_made_once(owner):
    decision = {"decision": "approve", "reason": "better"}
    assert owner.post("/v1/models/delay/2/decision", decision).json()["version"]["status"] == "approved"
    again = owner.post("/v1/models/delay/2/decision", decision)
    assert again.status == 403
    assert "already approved" in again.json()["error"]
