"""Feedback on predictions from outside: labels and business outcomes are checked, and acknowledged by a journal entry."""

from collections.abc import Mapping, Sequence
from typing import Any

from rota.errors import NotFound
from rota.manage.repositories import Repositories
from rota.manage.signals import business_outcomes, label_domain, labels
from rota.records.release import Endpoint
from rota.records.signal import Label


class Feedback:
    """Accepts labels and outcomes for the endpoints of a home; what is accepted survives kill -9 (with `sync`, a power cut). Thread-safe."""

    def __init__(self, repositories: Repositories, *, sync: bool = False) -> None:
        self._repositories = repositories
        self._sync = sync
        self._endpoints: set[str] = set()
        self._numeric: set[str] = set()

    def label(self, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Accept labels, all or none, and return how many; rows have `prediction_id`, `value` and `at_us` or `at` (default: now).

        Raises `NotFound` for an unknown endpoint and `InvalidInput` naming the row that does not fit, or whose value is not one that the
        endpoint's problem allows: a classification's labels are 0 and 1, or the names of its classes.
        """
        self._check_known(endpoint)
        now_us = self._repositories.clock.now_us()
        accepted = self._in_form(endpoint, labels.from_rows(rows, now_us))
        if accepted:
            labels.append(self._repositories.journal, endpoint, accepted, now_us, sync=self._sync)
        return len(accepted)

    def outcome(self, endpoint: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Accept business outcomes, all or none, and return how many; those of the endpoint "" count wherever their predictions were made.

        Rows have `prediction_id`, `name`, `value` and `at_us` or `at` (default: now). Raises as `label` does.
        """
        if endpoint:
            self._check_known(endpoint)
        now_us = self._repositories.clock.now_us()
        accepted = business_outcomes.from_rows(rows, now_us)
        if accepted:
            business_outcomes.append(self._repositories.journal, endpoint, accepted, now_us, sync=self._sync)
        return len(accepted)

    def _in_form(self, endpoint: str, reported: Sequence[Label]) -> Sequence[Label]:
        """Labels as the endpoint's problem keeps them; those of 0 and 1 suit one that is known to take numbers, for others it is looked up."""
        if endpoint in self._numeric and all(label.value in (0.0, 1.0) for label in reported):
            return reported
        metadata, blobs = self._repositories.metadata, self._repositories.blobs
        found = metadata.get(Endpoint, endpoint)
        known = label_domain.declared(metadata, blobs, found.model) if found is not None else None
        if known is not None and known.kind.label.fits(1.0) and known.kind.needs_outputs == "never":
            self._numeric.add(endpoint)
        return label_domain.checked(known, reported, endpoint=endpoint)

    def _check_known(self, endpoint: str) -> None:
        """Metadata is asked about a name until it is known: endpoints are never deleted, so a known one stays known."""
        if endpoint in self._endpoints:
            return
        if self._repositories.metadata.get(Endpoint, endpoint) is None:
            raise NotFound(f"there is no endpoint {endpoint!r}; `rota endpoints list` shows them", endpoint=endpoint)
        self._endpoints.add(endpoint)
