"""The description of the API against the API: every operation with bodies made from its schema, for three roles."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from rota.manage.access import tokens
from rota.server import app as control_plane
from rota.server.access import permissions as access

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN: Mapping[str, list[Any]] = {
    "model": ["delay", "*"],
    "number": [1, 2],
    "name": ["delay", "flights", "arrivals", "mean_delay"],
    "endpoint": ["delay"],
    "source": ["arrivals", "flights"],
    "view": ["arrivals"],
    "alias": ["champion", "challenger", "tested"],
    "node": ["model_version:delay@1", "run:none", "prediction:none"],
    "version": [1, 2],
    "experiment": ["0"],
    "experiment_id": ["0"],
    "after": [0, 1],
    "limit": [1, 10],
}
"""What the story of the tests has: half of the names of an address are taken from here, else all would end as unknown."""
AREAS = sorted(
    {
        ("mlflow" if "mlflow" in path else path.split("/")[2].partition("-")[0])
        for _, path in [
            (m, r.path) for room in control_plane.ROUTERS for r in access.routes_of(room.router.routes) if r.include_in_schema for m in r.methods
        ]
        if path.count("/") > 1
    }
)
EXAMPLES = int(os.environ.get("ROTA_FUZZ_EXAMPLES", "5"))
NEW = "ROTA_FUZZ_EXAMPLES" in os.environ


def area_of(path: str) -> str:
    parts = path.split("/")
    if "mlflow" in path:
        return "mlflow"
    return parts[2].partition("-")[0] if len(parts) > 2 else parts[1]


@pytest.fixture
def roles(stranger: Any, token: str, platform: Any) -> list[requests.Session]:
    """Sessions of the owner, an auditor and an application."""
    metadata, now_us = platform.repositories.metadata, platform.access.wall.now_us()
    secrets = [token.strip(), *(tokens.create(metadata, role, role, actor="owner", now_us=now_us)[1] for role in ("auditor", "application"))]
    sessions = []
    for secret in secrets:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {secret}"
        sessions.append(session)
    return sessions


def with_known_names(values: Any, draw: Any) -> Any:
    return {
        name: draw(st.sampled_from(KNOWN[name])) if name in KNOWN and draw(st.booleans()) else value for name, value in dict(values or {}).items()
    }


def check(operation: Any, sessions: list[requests.Session], base_url: str, examples: int) -> None:
    @given(data=st.data())
    @settings(
        max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=not NEW, database=None
    )
    def hold(data: Any) -> None:
        case = data.draw(operation.as_strategy())
        case.path_parameters = with_known_names(case.path_parameters, data.draw)
        case.query = with_known_names(case.query, data.draw)
        for session in sessions:
            response = case.call(base_url=base_url, session=session)
            case.validate_response(response, checks=CHECKS)

    hold()


def operations(schema: Mapping[str, Any]) -> Iterator[Any]:
    for result in schemathesis.openapi.from_dict(schema).get_all_operations():
        yield result.ok()


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("area", AREAS)
def test_no_operation_fails_and_each_answers_as_described(area: str, shared: Any, stranger: Any, roles: list[requests.Session]) -> None:
    faults = []
    for operation in operations(shared.application.openapi()):
        if area_of(operation.path) != area:
            continue
        try:
            check(operation, roles, f"http://127.0.0.1:{stranger.port}", EXAMPLES)
        except BaseExceptionGroup as group:
            faults.append(f"{operation.label}: {group.exceptions}")
        except Exception as error:  # noqa: BLE001 - all faults of an area are told together
            faults.append(f"{operation.label}: {error!r:.2000}")
    assert not faults, "\n".join(faults)
