"""EngineContract: what the conformance suites of the storage, compute and model ports share. Needs pytest.

A backend's test module subclasses a suite and gives its fixture. A law that a backend cannot keep is named in its
`gaps` with the reason: that test must then fail (strict), so a closed gap is noticed; one in `deadly` is not even run.
"""

from collections.abc import Mapping
from typing import ClassVar

import pytest

HOSTILE_NAMES = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../up",
    "a/../b",
    "a//b",
    "a/",
    "a b",
    "a\0b",
    "a\nb",
    ".hidden",
    "a\\b",
    "x" * 600,
    "a/_delta_log",
    None,
    7,
)


class EngineContract:
    """What every contract shares: gaps are declared, not skipped."""

    gaps: ClassVar[Mapping[str, str]] = {}
    deadly: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture(autouse=True)
    def _expect_gap(self, request: pytest.FixtureRequest) -> None:
        name = request.node.name.partition("[")[0]
        if name in self.gaps:
            request.applymarker(pytest.mark.xfail(reason=self.gaps[name], strict=True, run=name not in self.deadly))
