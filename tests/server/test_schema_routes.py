"""Schemas over HTTP: read, edit as a whole, freeze, and hold rows against the active version."""

import pytest

FEATURE = "origin_delays__last"


def test_versions_and_the_law_are_read(owner):
    assert [(s["name"], s["version"]) for s in owner.get("/v1/schemas", name="delay").json()] == [("delay", 1)]
    assert owner.get("/v1/schemas/delay").json() == owner.get("/v1/schemas/delay/versions/1").json()


def test_an_edit_is_stored_frozen_and_obeyed(owner):
    schema = owner.get("/v1/schemas/delay/versions/1").json()
    schema["columns"][0]["maximum"] = 90
    made = owner.post("/v1/schemas/delay/versions", {"schema": schema})
    assert (made.status, made.json()["version"], made.json()["author"]) == (200, 2, "owner")
    assert owner.get("/v1/schemas/delay").json()["version"] == 1
    rows = {"rows": [{FEATURE: 75.0}]}
    assert [a["kind"] for a in owner.post("/v1/schemas/delay/validate", rows).json()] == ["FLOAT_TYPE_BIG_FLOAT"]
    assert owner.post("/v1/schemas/delay/versions/2/freeze", {}).status == 200
    assert owner.post("/v1/schemas/delay/validate", rows).json() == []
    overtaken = owner.post("/v1/schemas/delay/versions", {"schema": schema | {"environments": []}})
    assert overtaken.status == 409
    assert "version 2 appeared" in overtaken.json()["error"]


def test_rows_are_judged_in_an_environment(owner):
    assert [a["kind"] for a in owner.post("/v1/schemas/delay/validate", {"rows": [{"other": 1}]}).json()] == [
        "SCHEMA_MISSING_COLUMN",
        "SCHEMA_NEW_COLUMN",
    ]
    assert [a["kind"] for a in owner.post("/v1/schemas/delay/validate", {"rows": []}).json()] == ["SCHEMA_MISSING_COLUMN", "DATASET_LOW_NUM_EXAMPLES"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/schemas/nix/validate", {"rows": []}, 404),
        ("/v1/schemas/nix/versions", {"schema": {"name": "delay", "version": 1, "columns": []}}, 422),
        ("/v1/schemas/delay/versions", {"schema": {"name": "delay", "version": 1, "columns": [{"name": "x", "type": "colour"}]}}, 422),
        (
            "/v1/schemas/delay/versions",
            {"schema": {"name": "delay", "version": 1, "columns": [{"name": "x", "type": "float", "max_null_share": 7}]}},
            422,
        ),
        ("/v1/schemas/delay/validate", {"rows": [{FEATURE: {"deep": [1, {"mixed": "x"}]}}, {FEATURE: 2**70}]}, 422),
        ("/v1/schemas/delay/versions/9/freeze", {}, 404),
    ],
)
def test_what_does_not_fit_is_a_sentence_with_the_right_status(owner, path, body, status):
    answer = owner.post(path, body)
    assert answer.status == status, answer.text
    assert answer.json()["error"]


def test_a_name_without_a_law_is_404(owner):
    assert owner.get("/v1/schemas/nix").status == 404
