"""Errors over HTTP: one table out, one way back."""

import re

import pytest

from rota import errors, http_status
from rota.durable.workflow import Blocked
from rota.errors import Conflict, Interrupted, InvalidInput, NotFound, Refused, RotaError, Unavailable
from rota.server.mlflow.wire import CODES


def test_every_error_has_a_row_and_the_printed_table_is_this_one():
    defined = {value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, RotaError)}
    assert set(http_status.TABLE) == defined
    printed = re.findall(r"^ *(\w+) +(\d{3}) +(\w+)", http_status.__doc__ or "", re.MULTILINE)
    assert printed == [(kind.__name__, str(status), code) for kind, (status, code) in http_status.TABLE.items()]


@pytest.mark.parametrize("kind", [InvalidInput, NotFound, Conflict, Refused, Unavailable, Interrupted])
def test_a_client_raises_what_was_raised_in_the_server(kind: type[RotaError]):
    assert http_status.error_of(http_status.status_of(kind("x"))) is kind


@pytest.mark.parametrize(
    ("status", "kind"), [(400, InvalidInput), (401, Refused), (413, InvalidInput), (502, Unavailable), (500, RotaError), (418, RotaError)]
)
def test_statuses_of_proxies_and_frameworks_become_errors_too(status: int, kind: type[RotaError]):
    assert http_status.error_of(status) is kind


def test_a_subclass_is_answered_as_its_base():
    assert http_status.status_of(Blocked("a gate refused")) == 403
    assert http_status.mlflow_code_of(Blocked("a gate refused")) == "PERMISSION_DENIED"


def test_mlflow_s_clients_know_every_code():
    assert {code for _, code in http_status.TABLE.values()} <= set(CODES)
