"""Sessions of browsers: an id that opens nothing elsewhere, for as long as its token opens something, and not longer than its time."""

import msgspec
import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.errors import Conflict, NotFound, Unavailable
from rota.manage.access import sessions, tokens
from rota.records.access import BrowserSession, Identity
from rota.records.record import encode
from rota.records.time import DAY_US, HOUR_US, SECOND_US

NOW_US = 1_800_000_000_000_000
OWNER_SECRET = "rota_owner"


@pytest.fixture
def metadata():
    return MemoryMetadata()


def entered(metadata, *, now_us=NOW_US, role="reviewer", **limits):
    """A token, its session and the id in the cookie."""
    token, secret = tokens.create(metadata, "ana", role, actor="owner", now_us=NOW_US, **limits)
    identity = Identity("ana", role, token.project, token.id, token.endpoint)
    return token, *sessions.begin(metadata, identity, secret, now_us=now_us)


def seen(metadata, key, *, now_us=NOW_US, owner_secret=OWNER_SECRET, environment="prod"):
    return sessions.recognise(metadata, key, owner_secret=owner_secret, environment=environment, now_us=now_us)


def state(metadata, session, *, now_us=NOW_US, owner_secret=OWNER_SECRET):
    session = metadata.get(BrowserSession, session.id)
    return sessions.described(metadata, session, owner_secret=owner_secret, environment="prod", now_us=now_us)["state"]


def test_a_session_opens_what_its_token_opens_and_its_id_is_stored_nowhere(metadata):
    token, session, key = entered(metadata, project="delays")
    assert seen(metadata, key) == Identity("ana", "reviewer", "delays", token.id)
    stored = b"".join(encode(record) for record in [*metadata.find(BrowserSession), *metadata.audit()])
    assert key.encode() not in stored
    assert session.hash.encode() not in b"".join(encode(entry) for entry in metadata.audit())
    shown = sessions.described(metadata, session, owner_secret=OWNER_SECRET, environment="prod", now_us=NOW_US)
    assert session.hash not in str(shown)
    assert token.hash not in str(shown)
    assert tokens.recognise(metadata, key, environment="prod", now_us=NOW_US) is None, "it is no token"
    for wrong in ("", "x", session.hash, session.id, key[:-1], "rota_x", "\udcff", "\x00"):
        assert seen(metadata, wrong) is None


def test_a_session_ends_with_its_token(metadata):
    token, session, key = entered(metadata, expires_us=NOW_US + HOUR_US)
    assert seen(metadata, key, now_us=NOW_US + HOUR_US - 1) is not None
    assert seen(metadata, key, now_us=NOW_US + HOUR_US) is None
    assert seen(metadata, key, environment="staging") is not None
    tokens.revoke(metadata, token.id, actor="owner", now_us=NOW_US)
    assert seen(metadata, key) is None
    assert state(metadata, session) == "token ended"


def test_a_session_of_another_environment_s_token_opens_nothing(metadata):
    _, _, key = entered(metadata, environment="prod")
    assert seen(metadata, key) is not None
    assert seen(metadata, key, environment="staging") is None


def test_the_owner_s_session_ends_when_the_owner_s_token_is_renewed(metadata):
    session, key = sessions.begin(metadata, tokens.OWNER, OWNER_SECRET, now_us=NOW_US)
    assert seen(metadata, key) == tokens.OWNER
    for other in ("rota_renewed", ""):
        assert seen(metadata, key, owner_secret=other) is None
    assert state(metadata, session, owner_secret="rota_renewed") == "token ended"


def test_a_session_is_over_when_unused_for_long_and_lives_while_it_is_used(metadata):
    _, session, key = entered(metadata)
    assert seen(metadata, key, now_us=NOW_US + sessions.IDLE_US) is None
    assert state(metadata, session, now_us=NOW_US + sessions.IDLE_US) == "idle"
    at_us = NOW_US
    while at_us + 11 * HOUR_US < NOW_US + sessions.LONGEST_US:
        at_us += 11 * HOUR_US
        assert seen(metadata, key, now_us=at_us) is not None
    assert seen(metadata, key, now_us=NOW_US + sessions.LONGEST_US) is None
    assert state(metadata, session, now_us=NOW_US + sessions.LONGEST_US) == "expired"


def test_a_use_is_written_coarsely_and_a_store_that_takes_no_writes_keeps_nobody_out(metadata, monkeypatch):
    _, session, key = entered(metadata)
    seen(metadata, key, now_us=NOW_US + sessions.COARSE_US - 1)
    assert metadata.get(BrowserSession, session.id) == session
    for error in (Unavailable("away"), Conflict("changed")):

        def commit(_, error=error):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(metadata, "commit", commit)
            assert seen(metadata, key, now_us=NOW_US + sessions.COARSE_US) is not None
    seen(metadata, key, now_us=NOW_US + sessions.COARSE_US)
    assert metadata.get(BrowserSession, session.id).used_us == NOW_US + sessions.COARSE_US


def test_an_ended_session_opens_nothing_though_a_request_notes_its_use_meanwhile(metadata, monkeypatch):
    _, session, key = entered(metadata)
    at_us = NOW_US + sessions.COARSE_US
    commit = metadata.commit

    def ended_first(batch):
        monkeypatch.setattr(metadata, "commit", commit)
        sessions.end(metadata, session.id, actor="ana", now_us=at_us)
        commit(batch)

    monkeypatch.setattr(metadata, "commit", ended_first)
    seen(metadata, key, now_us=at_us)
    assert seen(metadata, key, now_us=at_us) is None
    once = metadata.get(BrowserSession, session.id)
    assert sessions.end(metadata, session.id, actor="ana", now_us=at_us + 1) == once
    assert [entry.action for entry in metadata.audit()][-2:] == ["session.begin", "session.end"]
    with pytest.raises(NotFound, match="rota token sessions list"):
        sessions.end(metadata, "nix", actor="ana", now_us=at_us)


def test_sessions_do_not_pile_up(metadata):
    token, first, key = entered(metadata)
    identity = Identity("ana", "reviewer", "", token.id)
    for number in range(sessions.OPEN_A_TOKEN):
        sessions.begin(metadata, identity, "rota_x", now_us=NOW_US + (number + 1) * SECOND_US)
    assert len(sessions.sessions(metadata)) == sessions.OPEN_A_TOKEN
    assert metadata.get(BrowserSession, first.id) is None
    assert seen(metadata, key) is None
    sessions.begin(metadata, tokens.OWNER, OWNER_SECRET, now_us=NOW_US + sessions.IDLE_US + sessions.KEPT_US + DAY_US)
    assert [session.holder for session in sessions.sessions(metadata)] == ["owner"]


def test_a_session_of_a_token_whose_secret_is_another_now_opens_nothing(metadata):
    _, session, key = entered(metadata)
    changed = msgspec.structs.replace(session, entered_with=tokens.hash_of("rota_other"))
    batch = sessions.Batch()
    batch.put(changed)
    metadata.commit(batch)
    assert seen(metadata, key) is None
