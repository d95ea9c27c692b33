"""Feedback from outside: checked, all or none, only for endpoints that there are, and without asking metadata each time."""

from dataclasses import replace

import pytest

from rota.errors import InvalidInput, NotFound
from rota.manage.signals import business_outcomes, label_domain, labels
from rota.manage.signals.feedback import Feedback
from rota.manage.signals.label_domain import DeclaredProblem
from rota.ports.metadata import Batch
from rota.records.release import Endpoint

LABEL = {"prediction_id": "p1", "value": 1.0}
OUTCOME = {"prediction_id": "p1", "name": "sale", "value": 1.0}


class CountedReads:
    """Metadata that counts every question put to it."""

    def __init__(self, metadata):
        self._metadata = metadata
        self.reads = 0

    def __getattr__(self, name):
        self.reads += 1
        return getattr(self._metadata, name)


def put(repositories, name):
    batch = Batch()
    batch.put(Endpoint(name, "m"))
    repositories.metadata.commit(batch)


@pytest.mark.parametrize(("verb", "row"), [("label", LABEL), ("outcome", OUTCOME)])
def test_metadata_is_asked_about_an_endpoint_until_it_is_known_and_never_again(repositories, monkeypatch, verb, row):
    monkeypatch.setattr(label_domain, "declared", lambda *_: DeclaredProblem("classification"))
    metadata = CountedReads(repositories.metadata)
    accept = getattr(Feedback(replace(repositories, metadata=metadata)), verb)
    for _ in range(2):
        with pytest.raises(NotFound, match=r"no endpoint 'delay'; `rota endpoints list` shows them"):
            accept("delay", [row])
    put(repositories, "delay")  # by another process
    assert (metadata.reads, accept("delay", [row])) == (2, 1)
    asked = metadata.reads
    assert [accept("delay", [row]) for _ in range(3)] == [1, 1, 1]
    assert metadata.reads == asked
    with pytest.raises(NotFound, match="no endpoint 'other'"):
        accept("other", [row])


def test_what_is_accepted_is_in_the_journal_on_return_and_nothing_of_a_request_with_a_bad_row_is(repositories):
    put(repositories, "delay")
    feedback = Feedback(repositories)
    for accept, row in ((feedback.label, LABEL), (feedback.outcome, OUTCOME)):
        with pytest.raises(InvalidInput, match=" 1 does not fit"):
            accept("delay", [row, {**row, "value": "x"}])
        assert accept("delay", []) == 0
    assert repositories.journal.streams() == []
    assert feedback.label("delay", [LABEL]) == feedback.outcome("delay", [OUTCOME]) == feedback.outcome("", [OUTCOME]) == 1
    assert repositories.journal.streams() == ["labels/delay", "outcomes/delay", "unplaced_outcomes"]
    assert labels.flush(repositories.journal, repositories.tables, "delay") == 1
    assert [business_outcomes.flush(repositories.journal, repositories.tables, each) for each in ("delay", "")] == [1, 1]


@pytest.mark.parametrize("field", ["value", "at_us"])
def test_a_number_too_large_to_be_kept_is_refused_with_its_row(repositories, field):
    put(repositories, "delay")
    with pytest.raises(InvalidInput, match="label 0"):
        Feedback(repositories).label("delay", [{**LABEL, field: 10**400}])


@pytest.mark.parametrize("verb", ["label", "outcome"])
@pytest.mark.parametrize("rows", [None, 5, "abc", [None], ["x"], [{"prediction_id": "\ud800", "name": "sale", "value": 1.0}]])
def test_what_is_no_row_is_invalid_input(repositories, verb, rows):
    put(repositories, "delay")
    with pytest.raises(InvalidInput, match=r"label|outcome"):
        getattr(Feedback(repositories), verb)("delay", rows)
