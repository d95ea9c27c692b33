"""Who may use the prediction port: tokens in memory, hosts, origins and content types."""

import asyncio
import json

import pytest

from rota.backends.home_secrets import PrivateFile
from rota.errors import Unavailable
from rota.manage.access import tokens
from rota.ports.metadata import Batch
from rota.records.model import RegisteredModel
from rota.records.release import Endpoint
from rota.serve.asgi import PredictionApp
from rota.serve.port_access import PortAccess
from rota.serve.prediction_tokens import PredictionTokens, TokenSource

ROW = {"x": 1.0, "carrier": "UA"}
PREDICT = "/v1/endpoints/delay/predict"
OWNER = "rota_" + "o" * 43
HERE = (b"host", b"127.0.0.1:7683")
BODY = {"rows": [ROW]}


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.text = status, headers, body.decode()

    @property
    def json(self):
        return json.loads(self.text)


def ask(app, method, path, body=b"", headers=()):
    """One request to an application."""
    sent, data = [], body if isinstance(body, bytes) else json.dumps(body).encode()

    async def receive():
        return {"type": "http.request", "body": data}

    async def send(message):
        sent.append(message)

    asyncio.run(app({"type": "http", "method": method, "path": path, "headers": list(headers)}, receive, send))
    return Answer(sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"])


class Store:
    """Metadata that can be away, and counts what it is asked."""

    def __init__(self, metadata):
        self.metadata, self.away, self.asked = metadata, False, 0

    def __getattr__(self, name):
        verb = getattr(self.metadata, name)

        def ask(*arguments, **options):
            self.asked += 1
            if self.away:
                raise Unavailable("the store is away")
            return verb(*arguments, **options)

        return ask


class Port:
    """A guarded prediction process of the world."""

    def __init__(self, world, file):
        self.world, self.file = world, file
        self.store = Store(world.metadata)
        world.serve()
        self.start()

    def start(self):
        self.known = PredictionTokens(TokenSource(self.store, lambda: OWNER, self.world.clock, "test", PrivateFile(self.file)))
        self.known.look()
        self.app = PredictionApp(self.world.core, self.world.poller, access=PortAccess(frozenset({"localhost", "127.0.0.1"}), self.known))

    def token(self, role="application", **limits):
        made, secret = tokens.create(
            self.world.metadata, f"h{len(self.world.metadata.find(tokens.AccessToken))}", role, actor="o", now_us=1, **limits
        )
        self.known.look()
        return made, secret

    def ask(self, secret="", path=PREDICT, body=BODY, method="POST", headers=(HERE,)):
        shown = ((b"authorization", f"Bearer {secret}".encode()),) if secret else ()
        return ask(self.app, method, path, body, (*headers, *shown))


@pytest.fixture
def port(world, tmp_path):
    return Port(world, tmp_path / "tokens.json")


def test_a_prediction_needs_a_token_and_says_which(port):
    stranger, wrong = port.ask(), port.ask("rota_wrong")
    assert (stranger.status, wrong.status) == (401, 401)
    assert stranger.headers[b"www-authenticate"] == b'Bearer realm="rota"'
    assert wrong.headers[b"www-authenticate"] == b'Bearer realm="rota", error="invalid_token"'
    assert "rota token create --role application" in stranger.json["error"]
    assert port.ask(OWNER).status == 200
    assert port.ask(port.token()[1]).status == 200
    refused = port.ask(port.token("auditor")[1])
    assert (refused.status, b'error="insufficient_scope", scope="predict"' in refused.headers[b"www-authenticate"]) == (403, True)
    assert len(port.world.log()) == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/delay/infer", 401),
        ("GET", "/v2/models/delay", 401),
        ("GET", "/v2/models/delay/ready", 401),
        ("POST", "/v1/endpoints/nothing/predict", 401),
        ("GET", "/v2", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/metrics", 200),
    ],
)
def test_what_is_open_tells_nothing_of_endpoints(port, method, path, status):
    assert port.ask(path=path, method=method, body=b"" if method == "GET" else BODY).status == status


def test_a_token_of_one_endpoint_or_project_opens_no_other(port):
    batch = Batch()
    batch.create(RegisteredModel("flights", "air"))
    batch.put(Endpoint("delay", "flights"))
    batch.create(Endpoint("other", "flights"))
    port.world.metadata.commit(batch)
    own, elsewhere = port.token(endpoint="delay")[1], port.token(endpoint="other")[1]
    assert (port.ask(own).status, port.ask(elsewhere).status) == (200, 403)
    air, sea = port.token(project="air")[1], port.token(project="sea")[1]
    assert (port.ask(air).status, port.ask(sea).status) == (200, 403)
    assert "limited to project 'sea'" in port.ask(sea).json["error"]
    assert port.ask(port.token(environment="prod")[1]).status == 401


def test_a_revoked_or_expired_token_opens_nothing_after_the_next_look(port):
    made, secret = port.token()
    _, brief = port.token(expires_us=port.world.clock.now_us() + 1_000)
    assert (port.ask(secret).status, port.ask(brief).status) == (200, 200)
    tokens.revoke(port.world.metadata, made.id, actor="o", now_us=2)
    port.known.look()
    port.world.clock.advance(port.world.clock.now_us() + 1_000)
    assert (port.ask(secret).status, port.ask(brief).status) == (401, 401)


def test_a_request_asks_no_store_and_goes_on_while_it_is_away_also_after_a_restart(port):
    _, secret = port.token()
    asked = port.store.asked
    assert [port.ask(secret).status for _ in range(20)] == [200] * 20
    assert port.store.asked == asked
    port.store.away = True
    port.known.look()
    assert port.ask(secret).status == 200
    port.start()
    assert (port.ask(secret).status, port.ask("rota_wrong").status) == (200, 401)
    assert port.file.stat().st_mode & 0o777 == 0o600
    assert secret.encode() not in port.file.read_bytes()


@pytest.mark.parametrize("spoil", [lambda file: file.write_bytes(b"{"), lambda file: file.chmod(0o644), lambda file: file.unlink()])
def test_kept_hashes_that_somebody_may_have_changed_open_nothing(port, spoil):
    _, secret = port.token()
    port.store.away = True
    spoil(port.file)
    port.start()
    assert port.ask(secret).status == 401


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1.evil.example", b"", b"localhost:x"])
def test_a_name_that_somebody_pointed_here_is_not_answered(port, host):
    assert port.ask(OWNER, headers=((b"host", host),)).status == 421
    assert port.ask(OWNER, headers=()).status == 421


def test_a_page_of_another_site_writes_no_prediction(port):
    trusted = PredictionApp(port.world.core, port.world.poller, access=PortAccess(frozenset({"127.0.0.1"})))
    body = json.dumps(BODY).encode()
    for origin in (b"https://evil.example", b"null", b"http://127.0.0.1:1", b"file://"):
        assert ask(trusted, "POST", PREDICT, body, (HERE, (b"origin", origin))).status == 403
    for kind in (b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"text/plain; application/json"):
        refused = ask(trusted, "POST", PREDICT, body, (HERE, (b"content-type", kind)))
        assert (refused.status, "application/json" in refused.json["error"]) == (415, True)
    assert port.world.log() == []
    for kind in (b"application/json", b"Application/JSON; charset=utf-8", b"application/cloudevents+json"):
        assert ask(trusted, "POST", PREDICT, body, (HERE, (b"content-type", kind))).status == 200
    assert ask(trusted, "POST", PREDICT, body, (HERE, (b"origin", b"http://127.0.0.1:7683"))).status == 200
