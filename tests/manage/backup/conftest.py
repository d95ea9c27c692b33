"""Databases without tables on the real PostgreSQL of the tests."""

import uuid
from collections.abc import Callable

import pytest


@pytest.fixture
def postgres_empty(postgres_url: str) -> Callable[[], str]:
    """Makes a database and gives its URL."""
    import psycopg  # noqa: PLC0415 - an optional engine

    def make() -> str:
        name = f"backup_{uuid.uuid4().hex}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{postgres_url.rpartition('/')[0]}/{name}"

    return make
