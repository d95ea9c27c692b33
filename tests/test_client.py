"""The client of a platform that is not there, and its answers' warnings."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from rota import addresses
from rota.client import Client
from rota.errors import InvalidInput, Unavailable

ANSWER = {"predictions": [{"prediction_id": "p", "answer": 0.5}], "logged": True, "warnings": ["the history of view 'v' is not online"]}


class Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    running = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_asking_where_nothing_runs_fails_at_once_and_says_how_to_start_it(tmp_path):
    client = Client(tmp_path, patience_s=1e9)
    with pytest.raises(Unavailable, match=r"no platform runs on .*; start it with `rota up`"):
        client.predict("delay", [{}])


def test_a_client_may_wait_for_a_platform_that_is_about_to_start(tmp_path, server):
    client = Client(tmp_path, patience_s=60, wait_for_start=True)
    started = threading.Timer(0.2, lambda: addresses.publish(tmp_path, {"prediction": server.server_port}))
    started.start()
    answers = client.predict("delay", [{}])
    started.join()
    client.close()
    assert (answers, answers.warnings) == (ANSWER["predictions"], ("the history of view 'v' is not online",))


def test_a_platform_that_was_there_is_waited_for(tmp_path, server):
    addresses.publish(tmp_path, {"prediction": server.server_port})
    client = Client(tmp_path, patience_s=60)
    client.predict("delay", [{}])
    client.close()
    addresses.withdraw(tmp_path)
    started = threading.Timer(0.2, lambda: addresses.publish(tmp_path, {"prediction": server.server_port}))
    started.start()
    assert client.predict("delay", [{}])
    started.join()
    client.close()


@pytest.mark.parametrize("rows", ["a", 7, {"prediction_id": "a"}, None])
def test_what_holds_no_rows_is_refused_before_anything_is_asked(tmp_path, rows):
    client = Client(tmp_path)
    for act in (client.push, client.label, client.outcome, client.predict):
        with pytest.raises(InvalidInput, match="give a list of dicts, or a polars or pandas frame"):
            act("x", rows)
