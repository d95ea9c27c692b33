"""An S3 server for tests: moto's, one request at a time, so that a conditional put is as atomic as it is on S3.

Run as `python s3_process.py SOCKET FOLDER KEY`, SOCKET the descriptor of an inherited listening socket. Each request is a line
"METHOD PATH" of FOLDER/requests, written before it is
answered. A request signed with another key is refused. One that matches the expression in FOLDER/lose is carried out and
then answered by an error, once.
"""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import MotoRequestHandler
from werkzeug.serving import make_server

REFUSED = b"<?xml version='1.0'?><Error><Code>InvalidAccessKeyId</Code><Message>unknown key</Message></Error>"


class OneAtATime:
    """Moto asks whether a key exists and stores it in two steps; between them another thread may do the same."""

    def __init__(self, application: Callable[..., Iterable[bytes]], folder: Path, key: str) -> None:
        self._application = application
        self._folder = folder
        self._key = key
        self._turn = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        if f"Credential={self._key}/" not in environ.get("HTTP_AUTHORIZATION", f"Credential={self._key}/"):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [REFUSED]
        with self._turn:
            with (self._folder / "requests").open("a") as log:
                log.write(f"{request}\n")
            answer = list(self._application(environ, start_response))
            return self._lost(start_response) if self._is_to_be_lost(request) else answer

    def _is_to_be_lost(self, request: str) -> bool:
        lose = self._folder / "lose"
        if not lose.exists() or not re.search(lose.read_text(), request):
            return False
        lose.unlink()
        return True

    def _lost(self, start_response: Callable[..., Any]) -> list[bytes]:
        try:
            raise ConnectionResetError  # WSGI wants to know why the first answer is not to be sent
        except ConnectionResetError:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"lost"]


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = DomainDispatcherApplication(create_backend_app)
    application = OneAtATime(moto, Path(sys.argv[2]), sys.argv[3])
    make_server("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler, fd=int(sys.argv[1])).serve_forever()
