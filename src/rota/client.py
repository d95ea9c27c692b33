"""The client of a running platform: predictions, labels, pushes, and what the loop is doing.

Every call may be repeated safely (predictions and pushed rows carry ids), so a lost connection or a restarting process is
retried here, in one place, until `patience_s` is over.
"""

import http.client
import json
import math
import time
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rota.addresses import is_published, published
from rota.errors import InvalidInput, Refused, Unavailable
from rota.http_status import error_of
from rota.records.early_times import DoubtfulTimes
from rota.records.time import Micros
from rota.records.values import as_json
from rota.settings import secret


class Answers(list[dict[str, Any]]):
    """One answer a row, in the order of the rows; `warnings` say which features were null or not to be trusted, and why.

    `logged` is False when the log could not take them: then no label finds them, and no monitor sees them.
    """

    def __init__(self, answers: Iterable[dict[str, Any]] = (), warnings: Iterable[str] = (), *, logged: bool = True) -> None:
        super().__init__(answers)
        self.warnings = tuple(warnings)
        self.logged = logged


class Client:
    """Talks to the control plane and the prediction processes of one home over HTTP; one client a thread.

    Both servers are shown `token`, else that of ROTA_TOKEN, else the owner's, which stands in the home. A call that gets no answer
    is repeated for `patience_s` seconds; where no platform runs it fails at once, unless `wait_for_start` says that one is about to start.

    >>> client = Client(".rota")                                        # doctest: +SKIP
    >>> client.predict("flight-delay", [{"origin": "JFK", "distance": 733.0}])   # doctest: +SKIP
    """

    def __init__(
        self, home: str | Path = ".rota", *, host: str = "127.0.0.1", token: str = "", patience_s: float = 30.0, wait_for_start: bool = False
    ) -> None:
        self.home = Path(home)
        self._token = token or secret("token")
        self.host = host
        self.patience_s = patience_s
        self._expected = wait_for_start
        """Whether there is a platform to be waited for: one that is about to start, or that was there and starts again."""
        self._connections: dict[str, http.client.HTTPConnection] = {}

    def predict(self, endpoint: str, rows: Sequence[Mapping[str, Any]], *, ids: Sequence[str] | None = None) -> Answers:
        """One answer a row: `prediction_id`, `answer`, `model`, `version`, and in `missing` which features had no value, and why.

        The list's `warnings` say it in sentences, and its `logged` whether the log took them. Missing ids are drawn here, so that a retry keeps them.
        """
        rows = _listed(rows)
        body = {"rows": rows, "ids": list(ids) if ids is not None else [uuid.uuid4().hex for _ in rows]}
        answered = self._call("prediction", "POST", f"/v1/endpoints/{endpoint}/predict", body)
        return Answers(answered["predictions"], answered.get("warnings", ()), logged=answered["logged"])

    def push(self, source: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Push rows into a source: online at once, in the offline table soon after. Returns how many were new."""
        rows = _listed(rows)
        return _accepted(self._call("control", "POST", f"/v1/sources/{source}/rows", {"rows": rows})) if rows else 0

    def label(self, endpoint: str, labels: Sequence[Mapping[str, Any]]) -> int:
        """Report truths: each has `prediction_id`, `value` and `at_us` (when it became known). Returns how many were taken."""
        labels = _listed(labels)
        return _accepted(self._call("control", "POST", f"/v1/endpoints/{endpoint}/labels", {"labels": labels})) if labels else 0

    def outcome(self, endpoint: str, outcomes: Sequence[Mapping[str, Any]]) -> int:
        """Report business outcomes: each has `prediction_id`, `name`, `value` and `at_us`; the endpoint "" is whichever made the prediction."""
        outcomes = _listed(outcomes)
        path = f"/v1/endpoints/{endpoint}/outcomes" if endpoint else "/v1/outcomes"
        return _accepted(self._call("control", "POST", path, {"outcomes": outcomes})) if outcomes else 0

    def get(self, path: str, **query: Any) -> Any:
        """Any GET route of the control plane, for example `client.get("/v1/runs", workflow="train")`."""
        return self._call("control", "GET", path + (f"?{urlencode(query)}" if query else ""), None)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Any POST route of the control plane."""
        return self._call("control", "POST", path, body or {})

    def advance(self, to_us: Micros) -> None:
        """Move a replayed clock forward."""
        self._call("control", "POST", "/v1/clock", {"to_us": to_us})

    def settle(self, *, timeout_s: float = 600.0) -> None:
        """Wait until the loop has done everything that can be done at the clock's present moment."""
        deadline = time.monotonic() + timeout_s
        pause_s = 0.005
        while True:
            waiting = self.get("/v1/loop")["waiting"]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"the loop did not come to rest within {timeout_s:g} s; it still has {waiting[:3]}")
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.2, 0.05)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _call(self, server: str, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        payload = None if body is None else _encoded(body)
        deadline = time.monotonic() + self.patience_s
        pause_s = 0.02
        while True:
            try:
                status, answer = self._send(server, method, path, payload)
            except (OSError, http.client.HTTPException, Unavailable) as error:
                self._drop(server)
                failure: Exception = error
                if not self._expected and not is_published(self.home):
                    raise
            else:
                self._expected = True
                if status < 400:
                    return json.loads(answer)
                kind = error_of(status)
                if kind is not Unavailable:
                    raise kind(_message(answer), status=status, path=path)
                failure = Unavailable(_message(answer))
            if time.monotonic() > deadline:
                raise Unavailable(f"{method} {path} got no answer within {self.patience_s:g} s: {failure}; is `rota up` running?") from failure
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)

    def _send(self, server: str, method: str, path: str, payload: bytes | None) -> tuple[int, bytes]:
        connection = self._connections.get(server)
        if connection is None:
            port = int(str(published(self.home)[server]))
            connection = self._connections[server] = http.client.HTTPConnection(self.host, port, timeout=self.patience_s)
        headers = {"Content-Type": "application/json"}
        if server == "control" or self._token or (self.home / "token").exists():  # where predictions ask for no token there may be none
            headers["Authorization"] = f"Bearer {self._token or _owners(self.home)}"
        connection.request(method, path, payload, headers)
        response = connection.getresponse()
        return response.status, response.read()

    def _drop(self, server: str) -> None:
        if connection := self._connections.pop(server, None):
            connection.close()


def _listed(rows: Any) -> Sequence[Mapping[str, Any]]:
    """Rows as a list of dicts; frames of polars and pandas are taken apart. Raises `InvalidInput` for what holds no rows."""
    library = type(rows).__module__.partition(".")[0]
    if library == "polars" and hasattr(rows, "to_dicts"):
        return list(rows.to_dicts())
    if library == "pandas" and hasattr(rows, "columns"):
        return list(rows.to_dict("records"))
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Sequence):
        raise InvalidInput(f"the rows are a {type(rows).__name__}; give a list of dicts, or a polars or pandas frame")
    return rows


def _encoded(body: Mapping[str, Any]) -> bytes:
    """The body as JSON, with values of numpy and pandas as what they hold and nan as null; raises `InvalidInput` for what JSON has no form for."""
    try:
        return json.dumps(body, default=as_json, allow_nan=False).encode()
    except TypeError as error:
        raise InvalidInput(f"the rows cannot be sent: {error}") from error
    except ValueError:
        return json.dumps(_without_nan(body), default=as_json).encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _owners(home: Path) -> str:
    try:
        return (home / "token").read_text().strip()
    except FileNotFoundError:
        raise Unavailable(f"there is no token in {home}; the control plane writes it when it starts") from None
    except PermissionError:
        raise Refused(f"the token in {home} is not yours to read: ask for one of your own and set ROTA_TOKEN", home=str(home)) from None


def _message(answer: bytes) -> str:
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer[:500].decode(errors="replace")


def _accepted(answer: Mapping[str, Any]) -> int:
    """How many rows were taken; what the server has to say of them is warned of where the client was called."""
    for notice in answer.get("notices", ()):
        warnings.warn(notice, DoubtfulTimes, stacklevel=3)
    return int(answer["accepted"])
