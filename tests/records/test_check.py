"""A check's result: what was not judged is never passed, and results stored before there was one record are read."""

import pytest

from rota.records.check import CheckResult, combined, from_stored, unjudged
from rota.records.record import plain


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ((), "inconclusive"),
        (("pass",), "pass"),
        (("pass", "inconclusive"), "inconclusive"),
        (("inconclusive", "fail", "pass"), "fail"),
    ],
)
def test_the_whole_passes_only_when_something_was_judged_and_all_of_it_passed(outcomes, whole):
    assert combined([CheckResult("roc_auc", outcome, "m") for outcome in outcomes])[0] == whole


def test_gates_and_verdicts_of_older_journals_are_read():
    assert from_stored({"gate": "roc_auc", "passed": True, "message": "m", "observed": 0.7, "bound": 0.6}) == CheckResult(
        "roc_auc", "pass", "m", observed=0.7, bound=0.6
    )
    assert from_stored({"gate": "roc_auc", "passed": False, "message": "m", "observed": None, "bound": None}).outcome == "fail"
    verdict = {
        "kind": "error_rate",
        "outcome": "inconclusive",
        "message": "m",
        "estimate": 0.1,
        "lower": None,
        "upper": None,
        "bound": 0.2,
        "rows": 4,
    }
    assert from_stored(verdict) == CheckResult("error_rate", "inconclusive", "m", observed=0.1, bound=0.2, rows=4)


def test_a_result_reads_back_as_it_was_written_and_what_is_missing_is_told():
    found = CheckResult("drift", "inconclusive", "m", "v__x", "16 of 30 reference days", "learning")
    assert from_stored(plain(found)) == found
    assert unjudged([found, CheckResult("drift", "pass", "m")]) == ["drift of v__x: 16 of 30 reference days"]
