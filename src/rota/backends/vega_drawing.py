"""Vega-Lite and Vega charts as SVG, by vl-convert: no browser, no Node, no network."""

from collections.abc import Mapping
from typing import Any

import vl_convert

from rota.errors import InvalidInput


class VegaDrawing:
    """Drawing (port)."""

    def svg(self, specification: Mapping[str, Any]) -> bytes:
        schema = str(specification.get("$schema", ""))
        try:
            if "/vega/" in schema:
                return vl_convert.vega_to_svg(dict(specification), allowed_base_urls=[]).encode()
            return vl_convert.vegalite_to_svg(dict(specification), allowed_base_urls=[]).encode()
        except ValueError as error:
            raise InvalidInput(f"the chart cannot be drawn: {str(error)[:500]}") from error
