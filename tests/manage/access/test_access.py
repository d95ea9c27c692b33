"""Tokens: made once, known by their hash, ended by time or by hand; roles as the one table says."""

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import InvalidInput, NotFound, Refused
from rota.manage.access import tokens
from rota.manage.experiments.project_ownership import NOBODYS
from rota.records.access import PERMISSIONS, ROLES, AccessToken, Identity
from rota.records.intake import CatalogStamp, StreamClaim, ViewMaterialization
from rota.records.record import encode
from rota.records.time import DAY_US

NOW_US = 1_800_000_000_000_000


@pytest.fixture
def metadata():
    return MemoryMetadata()


def made(metadata, holder="ana", role="reviewer", **limits):
    return tokens.create(metadata, holder, role, actor="owner", now_us=NOW_US, **limits)


def known(metadata, secret, *, environment="prod", now_us=NOW_US):
    return tokens.recognise(metadata, secret, environment=environment, now_us=now_us)


def test_a_secret_opens_and_is_stored_nowhere(metadata):
    token, secret = made(metadata)
    assert known(metadata, secret) == Identity("ana", "reviewer", "", token.id)
    stored = b"".join(encode(record) for record in [*metadata.find(AccessToken), *metadata.audit()])
    assert secret.encode() not in stored
    assert secret.removeprefix(tokens.PREFIX).encode() not in stored
    assert token.hash not in str(tokens.described(token, NOW_US))
    assert token.hash.encode() not in b"".join(encode(entry) for entry in metadata.audit())


@pytest.mark.parametrize("wrong", ["", "rota_", "rota_x", "x", "rota_" + "é" * 40, "rota_\x00", "rota_\udcff", "rota_" + "a" * 100_000])
def test_what_is_no_secret_opens_nothing(metadata, wrong):
    _, secret = made(metadata)
    assert known(metadata, wrong) is None
    for near in (secret[:-1], secret + "x", secret.swapcase(), secret.removeprefix("rota_"), tokens.hash_of(secret)):
        assert known(metadata, near) is None


def test_a_revoked_token_opens_nothing_and_revoking_twice_is_the_same(metadata):
    token, secret = made(metadata)
    other = made(metadata)[1]
    once = tokens.revoke(metadata, token.id, actor="owner", now_us=NOW_US + 1)
    assert tokens.revoke(metadata, token.id, actor="owner", now_us=NOW_US + 2) == once
    assert known(metadata, secret) is None
    assert known(metadata, other) is not None
    assert [(entry.action, entry.subject, entry.actor) for entry in metadata.audit()][-1] == ("token.revoke", token.id, "owner")
    with pytest.raises(NotFound, match="rota token list"):
        tokens.revoke(metadata, "nix", actor="owner", now_us=NOW_US)


def test_a_token_ends_at_its_moment_and_not_before(metadata):
    _, secret = made(metadata, expires_us=tokens.expiry("90d", NOW_US))
    assert known(metadata, secret, now_us=NOW_US + 90 * DAY_US - 1) is not None
    assert known(metadata, secret, now_us=NOW_US + 90 * DAY_US) is None
    assert known(metadata, made(metadata, expires_us=tokens.expiry("never", NOW_US))[1], now_us=2**62) is not None


@pytest.mark.parametrize("lasts", ["", "0d", "-1d", "soon", "90", "1e9d", "Never"])
def test_a_token_lasts_a_positive_time_that_is_said(lasts):
    with pytest.raises(InvalidInput):
        tokens.expiry(lasts, NOW_US)


def test_a_token_of_another_environment_opens_nothing(metadata):
    _, secret = made(metadata, environment="staging")
    assert known(metadata, secret) is None
    assert known(metadata, secret, environment="staging") is not None


@pytest.mark.parametrize(
    "given",
    [
        {"holder": "owner"},
        {"holder": "rota"},
        {"holder": "-x"},
        {"holder": "a b"},
        {"holder": ""},
        {"role": "admin"},
        {"role": ""},
        {"expires_us": NOW_US},
        {"project": "../x"},
        {"environment": "?"},
    ],
)
def test_a_token_that_makes_no_sense_is_not_made(metadata, given):
    with pytest.raises(InvalidInput):
        made(metadata, **given)
    assert metadata.find(AccessToken) == []
    assert list(metadata.audit()) == []


def test_tokens_are_listed_newest_first_with_their_state(metadata):
    first, _ = tokens.create(metadata, "ana", "auditor", actor="owner", now_us=NOW_US, expires_us=NOW_US + 5)
    second, _ = tokens.create(metadata, "ben", "auditor", actor="owner", now_us=NOW_US + 1)
    tokens.revoke(metadata, second.id, actor="owner", now_us=NOW_US + 2)
    assert [(token.id, tokens.state(token, NOW_US + 9)) for token in tokens.tokens(metadata)] == [(second.id, "revoked"), (first.id, "expired")]
    assert [token.id for token in tokens.tokens(metadata, holder="ana")] == [first.id]
    assert tokens.state(first, NOW_US + 4) == "valid"


def test_every_role_holds_known_permissions_and_a_lacking_one_is_named_with_who_has_it():
    assert all(held <= set(PERMISSIONS) for held in ROLES.values())
    with pytest.raises(Refused, match=r"ana \(data_scientist\) lacks the permission 'model.approve'.*\['owner', 'reviewer'\]"):
        tokens.require(Identity("ana", "data_scientist"), "model.approve")
    tokens.require(Identity("ana", "reviewer"), "model.approve")


def test_the_printed_table_has_a_cross_exactly_where_a_role_holds_a_permission():
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in tokens.table().splitlines()]
    roles = [name.replace(" ", "_") for name in lines[0][2:]]
    printed = {(role, line[0]) for line in lines[2:] for role, cell in zip(roles, line[2:], strict=True) if cell == "x"}
    assert printed == {(role, permission) for role, held in ROLES.items() for permission in held}
    assert [line[0] for line in lines[2:]] == list(PERMISSIONS)


def test_an_empty_secret_equals_nothing():
    assert not tokens.same("", "")
    assert tokens.same("é", "é")
    assert not tokens.same("é", "e")


def test_a_token_of_one_project_reads_what_computed_features_follow_from():
    assert {CatalogStamp, ViewMaterialization, StreamClaim} <= set(NOBODYS)
