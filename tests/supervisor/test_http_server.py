"""uvicorn as Rota runs it: what it does when it is told to end."""

import signal
import socket
import threading
import urllib.error
import urllib.request

from rota.supervisor.http_server import QuietServer


def test_readiness_goes_before_the_server_stops_accepting():
    """A request that comes after the signal and before the end is still answered, by an application that knows of the end."""
    told = threading.Event()

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
            return
        status = 503 if told.is_set() else 200
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    with socket.create_server(("127.0.0.1", 0)) as listener:
        seen = []

        def told_to_end() -> None:
            seen.append(server.should_exit)
            told.set()
            seen.append(status_of(listener.getsockname()[1]))

        server = QuietServer(application, told_to_end=told_to_end)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert status_of(listener.getsockname()[1]) == 200
        server.handle_exit(signal.SIGTERM, None)
        thread.join(60)
    assert seen == [False, 503]
    assert not thread.is_alive()


def status_of(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
