"""Public conformance suites for the ports, makers of small worlds, and a clock that obeys.

A backend's own tests subclass the suites, for example `rota.testing.metadata.MetadataContract`; those modules need pytest.
"""

from rota.testing.clock import FakeClock, FakeSeconds

__all__ = ["FakeClock", "FakeSeconds"]
