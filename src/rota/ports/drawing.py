"""Drawing: a chart's specification becomes a picture."""

from collections.abc import Hashable, Mapping
from typing import Any, Protocol


class Drawing(Hashable, Protocol):
    """Law: `svg` takes a Vega-Lite (or Vega) specification with its data inside and gives an SVG document; nothing is fetched from
    anywhere. A specification that cannot be drawn raises `InvalidInput`. Thread-safe."""

    def svg(self, specification: Mapping[str, Any]) -> bytes: ...
