"""MLflow's artifact service: files go up, are listed, come down and go; no path leaves its root in any verb or encoding."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from rota.records.tracking import ArtifactFile

SERVICE = "/api/2.0/mlflow-artifacts/artifacts"


def raw(mlflow: Any, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], bytes]:
    """A request whose path is sent exactly as given; clients tidy paths before they send them."""
    connection = http.client.HTTPConnection("127.0.0.1", mlflow.caller.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", f"127.0.0.1:{mlflow.caller.port}")
        for name, value in mlflow.caller.headers.items():
            connection.putheader(name, value)
        if isinstance(body, Iterator):
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(body, encode_chunked=True)
        else:
            connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def put(mlflow: Any, path: str, body: Any) -> int:
    return raw(mlflow, "PUT", f"{SERVICE}/{quote(path)}", body)[0]


def got(mlflow: Any, path: str) -> bytes:
    status, _, body = raw(mlflow, "GET", f"{SERVICE}/{quote(path)}")
    assert status == 200, body
    return body


def files(mlflow: Any) -> list[str]:
    found = mlflow.platform.repositories.metadata.find(ArtifactFile)
    return sorted(f"{file.root}/{file.path}" for file in found)


def test_a_file_goes_up_is_listed_and_comes_down(mlflow: Any) -> None:
    run = mlflow.run()
    root = f"0/{run}/artifacts"
    assert put(mlflow, f"{root}/notes/a.txt", b"hello") == 200
    assert put(mlflow, f"{root}/50% \u00e9 done.txt", b"") == 200
    assert got(mlflow, f"{root}/notes/a.txt") == b"hello"
    assert got(mlflow, f"{root}/50% \u00e9 done.txt") == b""
    listed = mlflow.get("artifacts/list", run_id=run)
    assert listed["root_uri"] == f"mlflow-artifacts:/{root}"
    assert listed["files"] == [{"path": "50% \u00e9 done.txt", "is_dir": False, "file_size": 0}, {"path": "notes", "is_dir": True}]
    assert mlflow.get("artifacts/list", run_id=run, path="notes")["files"] == [{"path": "notes/a.txt", "is_dir": False, "file_size": 5}]
    by_service = json.loads(raw(mlflow, "GET", f"{SERVICE}?path={quote(root + '/notes')}")[2])
    assert by_service == {"files": [{"path": "a.txt", "is_dir": False, "file_size": 5}]}
    assert mlflow.get("artifacts/list", run_id=run, path="nothing/here")["files"] == []


def test_a_large_file_is_streamed_both_ways(mlflow: Any) -> None:
    path = f"0/{mlflow.run()}/artifacts/large.bin"
    pieces = [bytes([n]) * 100_000 for n in range(35)]
    assert put(mlflow, path, iter(pieces)) == 200
    status, headers, body = raw(mlflow, "GET", f"{SERVICE}/{path}")
    assert (status, headers["content-length"]) == (200, "3500000")
    assert body == b"".join(pieces)


def test_a_file_beyond_the_limit_is_refused_whether_it_says_so_or_not(mlflow: Any) -> None:
    path = f"0/{mlflow.run()}/artifacts/too-large.bin"
    before = files(mlflow)
    assert put(mlflow, path, iter([b"x" * 1_000_000] * 5)) == 400
    connection = http.client.HTTPConnection("127.0.0.1", mlflow.caller.port, timeout=60)
    connection.putrequest("PUT", f"{SERVICE}/{path}")
    for name, value in {**mlflow.caller.headers, "Content-Length": "5000000"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()
    assert files(mlflow) == before


def test_a_file_is_replaced_and_removed_and_so_is_a_folder(mlflow: Any) -> None:
    root = f"0/{mlflow.run()}/artifacts"
    for body in (b"first", b"second"):
        put(mlflow, f"{root}/a/b.txt", body)
    put(mlflow, f"{root}/a/c/d.txt", b"d")
    put(mlflow, f"{root}/ab.txt", b"ab")
    assert got(mlflow, f"{root}/a/b.txt") == b"second"
    assert put(mlflow, f"{root}/ab.txt/below", b"x") == 400
    assert raw(mlflow, "DELETE", f"{SERVICE}/{root}/a")[0] == 200
    assert [path for path in files(mlflow) if path.startswith(root)] == [f"{root}/ab.txt"]
    assert raw(mlflow, "DELETE", f"{SERVICE}/{root}/a")[0] == 404
    assert raw(mlflow, "GET", f"{SERVICE}/{root}/a/b.txt")[0] == 404


def test_nothing_that_is_sent_is_shown_by_a_browser(mlflow: Any) -> None:
    path = f"0/{mlflow.run()}/artifacts/page.html"
    put(mlflow, path, b"<script>alert(1)</script>")
    headers = raw(mlflow, "GET", f"{SERVICE}/{path}")[1]
    assert headers["content-disposition"].startswith("attachment")
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


def test_only_roots_of_known_runs_and_models_of_that_experiment_take_files(mlflow: Any) -> None:
    run = mlflow.run()
    other = mlflow.post("experiments/create", name="another")["experiment_id"]
    before = files(mlflow)
    for path in (
        f"0/{'e' * 32}/artifacts/a",
        f"{other}/{run}/artifacts/a",
        "a",
        f"0/{run}/a",
        f"0/{run}/artifactsx/a",
        f"0/models/m-{'0' * 32}/artifacts/a",
    ):
        assert put(mlflow, path, b"x") == 404, path
        assert raw(mlflow, "GET", f"{SERVICE}/{path}")[0] == 404, path
    assert put(mlflow, f"0/{run}/artifacts", b"x") == 400
    assert raw(mlflow, "GET", f"{SERVICE}/0/{run}/artifacts")[0] == 400
    assert files(mlflow) == before


HOSTILE = [
    "../../{other}/artifacts/planted",
    "..",
    "a/../b",
    "a/./b",
    "./a",
    "%2e%2e/a",
    "%2E%2E%2Fa",
    "a/%2e%2e/%2e%2e/b",
    "%252e%252e/a",
    "%25252e%25252e%25252fa",
    "..%2f..%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "a%5cb",
    "%5c%5chost%5cshare",
    "/etc/passwd",
    "%2fetc%2fpasswd",
    "//host/share",
    "a//b",
    "a%00.txt",
    "%2500",
    "a%0ab",
    "a%0d%0aX-Injected:%201",
    "a%7fb",
    "a%23b",
    "a%253fb",
    "a%3fb",
    "file:/etc/passwd",
    "file:%2f%2f%2fetc%2fpasswd",
    "http:%2f%2f169.254.169.254%2f",
    "C:%5cwindows",
    "C:/windows",
    "c:relative",
    "%20/a",
    "a/%20%2e%2e%20/b",
    "x" * 300,
    "/".join(["d" * 100] * 15),
    "%ff%fe",
    "%ed%a0%80",
    "a%e2%80%a8b",
]


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_no_verb_of_the_service_takes_a_hostile_path(mlflow: Any, method: str) -> None:
    run, other = mlflow.run(), mlflow.run()
    put(mlflow, f"0/{other}/artifacts/secret", b"other")
    before = files(mlflow)
    for path in HOSTILE:
        status, _, body = raw(mlflow, method, f"{SERVICE}/0/{run}/artifacts/{path.format(other=other)}", b"x" if method == "PUT" else None)
        assert 400 <= status < 500, (method, path, status)
        assert "error_code" in json.loads(body), (method, path)
    assert files(mlflow) == before


@pytest.mark.parametrize("route", [SERVICE + "?path=0/{run}/artifacts/", "/api/2.0/mlflow/artifacts/list?run_id={run}&path="])
def test_no_listing_takes_a_hostile_path(mlflow: Any, route: str) -> None:
    run, other = mlflow.run(), mlflow.run()
    put(mlflow, f"0/{other}/artifacts/secret", b"other")
    for path in HOSTILE:
        status, _, body = raw(mlflow, "GET", route.format(run=run) + path.format(other=other).replace("#", "%23"))
        assert 400 <= status < 500, (path, status, body)
        assert "error_code" in json.loads(body), path


def test_a_sender_that_goes_away_leaves_nothing(mlflow: Any) -> None:
    path = f"0/{mlflow.run()}/artifacts/half.bin"
    connection = http.client.HTTPConnection("127.0.0.1", mlflow.caller.port, timeout=60)
    connection.putrequest("PUT", f"{SERVICE}/{path}")
    for name, value in {**mlflow.caller.headers, "Content-Length": "2000000"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"x" * 1_200_000)
    connection.close()
    assert put(mlflow, f"{path}.whole", b"y") == 200
    assert raw(mlflow, "GET", f"{SERVICE}/{path}")[0] == 404
