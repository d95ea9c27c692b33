"""The repository and the log settings of the Open Inference Protocol: what is served in which state, loading, unloading, how much is logged.

Loading and unloading needs the permission "model.release" of the endpoint, log settings "platform.read", and to change them "platform.operate".
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

import msgspec

from rota.errors import NotFound
from rota.records.access import Permission
from rota.serve import model_repository, tensor_views
from rota.serve.port_access import PortAccess, Refusal
from rota.serve.predicting import PredictionCore
from rota.serve.release_poller import ReleasePoller
from rota.serve.replies import Reply, decode, encode, require, stop_if

Scope = MutableMapping[str, Any]
Body = Callable[[], Awaitable[bytes]]


class _RepositoryRequest(msgspec.Struct, frozen=True):
    """The body of a request to the repository."""

    ready: bool = False
    parameters: dict[str, Any] = {}


_repository_decoder = msgspec.json.Decoder(_RepositoryRequest)
_settings_decoder = msgspec.json.Decoder(dict[str, Any])


class RepositoryPort:
    """Answers the paths below /v2/repository and /v2/logging of one process."""

    def __init__(self, core: PredictionCore, poller: ReleasePoller, *, access: PortAccess, most_rows: int) -> None:
        self._core = core
        self._poller = poller
        self._access = access
        self._most_rows = most_rows

    async def reply(self, scope: Scope, parts: tuple[str, ...], body: Body) -> Reply:
        """The answer to a request; `body` reads what it brings."""
        match parts:
            case ("v2", "repository", "index"):
                require(scope["method"], "POST")
                stop_if(self._access.unknown(scope))
                names = {*self._poller.known, *self._poller.unloaded, *self._poller.unreleased, *self._core.served}
                return self._index(self._access.endpoints(scope, names), await self._repository_request(body))
            case ("v2", "repository", "models", name, "load" | "unload" as what):
                require(scope["method"], "POST")
                actor = self._holder(scope, "model.release", name)
                return await self._control(name, actor, await self._repository_request(body), served=what == "load")
            case ("v2", "logging"):
                require(scope["method"], "GET", "POST")
                if scope["method"] == "POST":
                    return await self._set_log(self._holder(scope, "platform.operate", ""), await body())
                stop_if(self._access.lacking(scope, "platform.read"))
                return Reply(200, encode(model_repository.log_settings()))
        require(scope["method"], known=False)
        raise AssertionError(parts)

    def _holder(self, scope: Scope, permission: Permission, endpoint: str) -> str:
        """Who asks for what changes serving; a port without tokens lets nobody."""
        if self._access.tokens is None:
            stop_if(Refusal(403, "what is served is not changed at a port that asks for no token; switch tokens on with prediction_tokens = true"))
        stop_if(self._access.lacking(scope, permission, endpoint))
        return self._access.holder(scope)

    async def _repository_request(self, body: Body) -> _RepositoryRequest:
        data = await body()
        return decode(_repository_decoder, data, self._most_rows) if data.strip() else _RepositoryRequest()

    def _index(self, names: Sequence[str], request: _RepositoryRequest) -> Reply:
        found = []
        poller, served = self._poller, self._core.served
        for name in names:
            if name in served:
                problems = poller.blocking(name)
                said = {"state": "UNAVAILABLE" if problems else "READY", "reason": "; ".join(problems)}
                found += [{"name": name, "version": version, **said} for version in tensor_views.versions(served[name])]
                continue
            unloaded = poller.unloaded.get(name)
            reason = model_repository.why(unloaded) if unloaded else "; ".join(poller.problems(name))
            state = "UNAVAILABLE" if reason or name in poller.unreleased else "LOADING"
            found.append({"name": name, "version": "", "state": state, "reason": reason or ("it has no release" if state == "UNAVAILABLE" else "")})
        return Reply(200, encode([each for each in found if each["state"] == "READY" or not request.ready]))

    async def _control(self, endpoint: str, actor: str, request: _RepositoryRequest, *, served: bool) -> Reply:
        """Load or unload, and answer when every process has followed."""
        if served:
            model_repository.check_load(request.parameters)
        metadata, core, poller = self._poller.metadata, self._core, self._poller
        change = model_repository.load if served else model_repository.unload

        def act() -> None:
            change(metadata, endpoint, actor=actor, now_us=core.now_us())
            if served and endpoint in poller.unreleased:
                raise NotFound(f"endpoint {endpoint!r} has no release yet; approve a version of its model: `rota models review`", endpoint=endpoint)
            poller.woken.set()
            model_repository.settle(metadata, endpoint, served=served, is_so=lambda: (endpoint in core.served) == served, now_us=core.now_us)

        await asyncio.to_thread(act)
        return Reply(200, b"{}")

    async def _set_log(self, actor: str, body: bytes) -> Reply:
        given = decode(_settings_decoder, body, self._most_rows)
        await asyncio.to_thread(model_repository.set_log, self._poller.metadata, given, actor=actor, now_us=self._core.now_us())
        return Reply(200, encode(model_repository.log_settings()))
