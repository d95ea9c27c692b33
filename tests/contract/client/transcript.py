"""What a client saw, step by step, in a form that two servers can be compared by: ids by name, moments as a word, errors by their code."""

import math
import numbers
import re
import traceback
from collections.abc import Callable
from typing import Any

from mlflow.exceptions import MlflowException

NOW_MS = 1_500_000_000_000
"""Later moments are the server's or client's clock; the steps themselves write earlier ones."""
MOMENTS = re.compile(r"(^|_)(time|timestamp|timestamp_ms)$")
UNORDERED = {"dataset_inputs", "model_inputs", "model_outputs", "aliases", "tags"}
HEX = re.compile(r"m-[0-9a-f]{32}|[0-9a-f]{32}")
_MORE = {"mlflow.user": {"mlflow.runName"}, "user_id": {"current_stage"}, "status_message": {"current_stage"}}
"""Left out beside these: Rota knows the user of every run and version, and says of a version why it cannot serve it."""
ROOT = re.compile(r"mlflow-artifacts:/+(?:[^/]+/(?=models/|[0-9a-f]{32}/)|[0-9]+$)")
"""The beginning of an artifact's URI with the experiment's id in it."""


class Transcript:
    """`step` carries a step out and notes what came of it."""

    def __init__(self) -> None:
        self.noted: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}

    def step(self, label: str, act: Callable[[], Any], *, rota: Any = None) -> Any:
        """The result of `act`, None when it failed; `rota` is what Rota answers instead, on purpose: a code or a value."""
        found, said = None, {}
        try:
            found = act()
            seen = self.plain(found)
        except MlflowException as error:
            seen = {"error": error.error_code}
            said = {"message": str(error)[:300]}
        except Exception as error:  # noqa: BLE001 - other things that a client says are compared by their kind
            seen = {"raised": type(error).__name__}
            said = {"message": traceback.format_exc()}
        self.noted.append({"label": label, "seen": seen} | said | ({"rota": rota} if rota is not None else {}))
        return found

    def named(self, identity: str, name: str) -> str:
        """Call an id by a name from here on."""
        self.names[identity] = f"<{name}>"
        return identity

    def plain(self, value: Any, key: str = "") -> Any:
        """JSON of an entity, a mapping, a list or a value."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(value, key)
        if isinstance(value, numbers.Real) or hasattr(value, "item"):
            return self._number(value, key)
        if isinstance(value, list | tuple | set):
            listed = [self.plain(each, key) for each in value]
            return sorted(listed, key=repr) if key in UNORDERED or isinstance(value, set) else listed
        try:
            return self._mapping(dict(value))
        except (TypeError, ValueError):
            return str(value)

    def _mapping(self, value: dict[Any, Any]) -> dict[str, Any]:
        kept = {str(name): each for name, each in value.items() if not _MORE.get(name, set()) & value.keys()}
        return {self._text(name, ""): self.plain(each, name) for name, each in kept.items()}

    def _text(self, value: str, key: str) -> str:
        if key in ("experiment_id", "experiment_ids"):
            return self.names.get(value, value)
        value = ROOT.sub("mlflow-artifacts:/<experiment>/", value)
        return HEX.sub(lambda found: self.names.get(found[0], "<id>"), value)

    def _number(self, value: Any, key: str) -> Any:
        if MOMENTS.search(key) and value > NOW_MS:
            return "<now>"
        if isinstance(value, int):
            return value
        return round(float(value), 9) if math.isfinite(value) else str(float(value))


def pages(ask: Callable[[str | None], Any], show: Callable[[Any], Any]) -> list[list[Any]]:
    """Every page of a search, each as the list of what `show` says of its entries."""
    found, token = [], None
    for _ in range(50):
        page = ask(token)
        found.append([show(each) for each in page])
        token = page.token
        if not token:
            return found
    raise AssertionError("fifty pages and still more")
