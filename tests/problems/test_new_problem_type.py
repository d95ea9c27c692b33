"""A problem type is one table and its registration: a new one goes through evaluation, gates, plan, log and labels. The reference has them all."""

import math

import numpy as np
import polars as pl
import pytest

from rota.errors import InvalidInput
from rota.manage.signals import label_domain, typed_values
from rota.manage.signals.label_domain import DeclaredProblem
from rota.monitor import measure
from rota.problems import forms, registry
from rota.problems.problem_type import AnswerForm, LabelForm, Metric, ProblemType, ScoredRows
from rota.records.run import Evaluation, at_least, at_most
from rota.records.signal import Label
from rota.rendering import problems_reference
from rota.stats.weighting import mean
from rota.train import gates


def _label(_outputs, value):
    if not isinstance(value, list) or len(value) != 2:
        raise InvalidInput(f"{value!r} is no point of two numbers")
    return [float(each) for each in value]


def miss(rows: ScoredRows) -> np.ndarray:
    return np.linalg.norm(rows.truth - rows.answers, axis=1)


PLACES = ProblemType(
    name="places",
    summary="a point on a map",
    answer=AnswerForm("a point", lambda _outputs, array: array.tolist(), forms.lists, lambda value: isinstance(value, list), is_list=True),
    label=LabelForm("a point", "lists of two numbers", _label, forms.lists, lambda value: isinstance(value, list)),
    metrics={"mean_miss": Metric(lambda rows: mean(miss(rows), rows.weights), False, highest=math.inf)},
    losses={"miss": miss},
    excess=miss,
    excess_name="miss",
    drift=lambda _outputs, answers: {"answer.x": answers[:, 0], "answer.y": answers[:, 1]},
    main_metric="mean_miss",
    always="mean_miss",
    gates=(at_most("mean_miss", 2.0),),
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(registry.PROBLEMS, "places", PLACES)


def test_it_is_evaluated_and_gated():
    found = registry.evaluate("places", [[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]], weights=[1.0, 3.0])
    assert found == {"mean_miss": pytest.approx(3.75)}
    results = gates.judge([at_most("mean_miss", 4), at_least("mean_miss", 3)], Evaluation("m", "d@1", 2, found), None)
    assert [result.passed for result in results] == [True, False]
    assert registry.loss_problems("miss") == ["places"]


def test_its_labels_are_checked_and_its_log_is_measured():
    known = DeclaredProblem("places")
    with pytest.raises(InvalidInput, match=r"no point of two numbers.*labels are lists of two numbers"):
        label_domain.checked(known, [Label("p0", [1.0], 0)], endpoint="map")
    labels = label_domain.checked(known, [Label(f"p{place}", [place, 0], 0, weight=1.0 + place) for place in range(3)], endpoint="map")
    answers = PLACES.answer.plain((), np.zeros((3, 2)))
    rows = pl.concat(
        [
            typed_values.frame("answer", answers),
            typed_values.frame("label", [label.value for label in labels]),
            pl.DataFrame({"label_at_us": [0, 0, 0], "label_weight": [label.weight for label in labels], "number": [1, 1, 1], "at_us": [0, 0, 0]}),
        ],
        how="horizontal",
    )
    found = measure.performances(rows, known)
    measured, apart, performance = found.measured, found.set_apart, found.by_version
    assert (measured, apart) == (3, 0)
    wanted = (0 * 1 + 1 * 2 + 2 * 3) / 6
    assert performance["all"] == pytest.approx({"mean_miss": wanted, "labelled": 3.0, "excess": wanted})


def test_the_reference_tells_of_it():
    page = problems_reference.markdown()
    assert "| [places](#places) | a point on a map | a point | a point |" in page
    assert "| `mean_miss` (the main one) | smaller | 0 to ∞ |" in page


def test_days_on_which_a_loss_is_not_defined_have_no_excess():
    """Rankings without groups, anomalies of which none was one."""
    for problem in ("ranking", "anomaly"):
        found = measure.performance(ScoredRows(np.zeros(3), np.arange(3.0)), DeclaredProblem(problem))
        assert "excess" not in found
        assert found["labelled"] == 3


def test_the_page_of_problem_types_is_up_to_date(root, monkeypatch):
    monkeypatch.delitem(registry.PROBLEMS, "places")
    assert (root / "docs" / "problems.md").read_text() == problems_reference.markdown(), "run `make docs`"
