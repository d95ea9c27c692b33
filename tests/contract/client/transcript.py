"""What a client saw, step by step, in a form that two servers can be compared by: ids by name, moments as a word, errors by their code."""

import math
import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from mlflow.exceptions import MlflowException

NOW_MS = 1_500_000_000_000
"""Later moments are the server's or client's clock; the steps themselves write earlier ones."""
MOMENTS = re.compile(r"(^|_)(time|timestamp|timestamp_ms)$")
UNORDERED = {"dataset_inputs", "model_inputs", "model_outputs", "aliases", "tags"}
HEX = re.compile(r"m-[0-9a-f]{32}|[0-9a-f]{32}")
ROOT = re.compile(r"mlflow-artifacts:/+(?:[^/]+/(?=models/|[0-9a-f]{32}/)|[0-9]+$)")
"""The beginning of an artifact's URI with the experiment's id in it."""


class Transcript:
    """`step` carries a step out and notes what came of it."""

    def __init__(self) -> None:
        self.noted: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}

    def step(self, label: str, act: Callable[[], Any], *, rota: Any = None) -> Any:
        """The result of `act`, None when it failed; `rota` is what Rota answers instead, on purpose: a code or a value."""
        found = None
        try:
            found = act()
            seen = self.plain(found)
        except MlflowException as error:
            seen = {"error": error.error_code}
        except Exception as error:  # noqa: BLE001 - other things that a client says are compared by their kind
            seen = {"raised": type(error).__name__}
            self.noted.append({"label": f"{label}: trace", "trace": traceback.format_exc()})
        self.noted.append({"label": label, "seen": seen} | ({"rota": rota} if rota is not None else {}))
        return found

    def named(self, identity: str, name: str) -> str:
        """Call an id by a name from here on."""
        self.names[identity] = f"<{name}>"
        return identity

    def plain(self, value: Any, key: str = "") -> Any:
        """JSON of an entity, a frame's column, a list or a value."""
        if isinstance(value, str):
            return self._text(value, key)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float) or hasattr(value, "item"):
            return self._number(float(value) if not isinstance(value, int) else value, key)
        if isinstance(value, Mapping):
            return {self._text(str(name), ""): self.plain(each, str(name)) for name, each in value.items()}
        if isinstance(value, list | tuple | set):
            listed = [self.plain(each, key) for each in value]
            return sorted(listed, key=repr) if key in UNORDERED or isinstance(value, set) else listed
        if hasattr(type(value), "to_dictionary") and hasattr(value, "info"):  # Run.__iter__ gives the same; its to_dictionary loses kinds
            return self.plain(dict(value), key)
        try:
            return self.plain(dict(value), key)
        except (TypeError, ValueError):
            return str(value)

    def _text(self, value: str, key: str) -> str:
        if key in ("experiment_id", "experiment_ids"):
            return self.names.get(value, value)
        value = ROOT.sub("mlflow-artifacts:/<experiment>/", value)
        return HEX.sub(lambda found: self.names.get(found[0], "<id>"), value)

    def _number(self, value: float, key: str) -> Any:
        if MOMENTS.search(key) and value > NOW_MS:
            return "<now>"
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        return round(value, 9) if isinstance(value, float) else value


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
