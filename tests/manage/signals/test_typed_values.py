"""Answers and labels of every form lie in typed columns and come back as they were; parts and withdrawals of labels are put together by rule."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput
from rota.manage.adoption import prediction_import
from rota.manage.signals import label_domain, labels, prediction_log, typed_values
from rota.manage.signals.label_domain import DeclaredProblem
from rota.records.limits import KEPT_CLASSES
from rota.records.model import ModelVersion
from rota.records.signal import Label, Prediction

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(min_size=1, max_size=5)
FORMS = st.one_of(
    NUMBERS,
    st.text(max_size=8),
    st.dictionaries(NAMES, NUMBERS, min_size=1, max_size=4),
    st.builds(lambda name, others: {"class": name, "probabilities": {name: 0.5, **others}}, NAMES, st.dictionaries(NAMES, NUMBERS, max_size=3)),
    st.lists(NUMBERS, min_size=1, max_size=4),
    st.sampled_from([True, [], {}, [["a"]], {"a": None, "b": "x"}, [None], ["a", 1.0], {"class": "a"}, {"class": 1.0, "probabilities": {}}]),
)
CLASSES = tuple("abc")


@given(st.lists(st.one_of(st.none(), FORMS), max_size=6))
def test_a_value_of_any_form_comes_back_as_it_was(values):
    assert typed_values.of(typed_values.frame("answer", values), "answer") == values


@given(st.lists(FORMS, min_size=1, max_size=6))
def test_the_log_gives_back_answers_of_every_form(values):
    journal, tables = MemoryJournal(), MemoryTables()
    rows = [Prediction(f"p{at}", "kind", at, "m", 1, "stable", 1, "", {}, {"v__x": 1.0}, value, 9) for at, value in enumerate(values)]
    for row in rows:
        prediction_log.append(journal, "kind", [row])
    prediction_log.flush(journal, tables, "kind")
    assert typed_values.of(prediction_log.read(tables, "kind", 0, 99), "answer") == values
    assert [prediction_log.find(tables, row.prediction_id).answer for row in rows] == values


def test_a_table_of_numbers_has_the_columns_of_before_and_gets_others_when_they_are_needed():
    journal, tables = MemoryJournal(), MemoryTables()
    for at, answer in enumerate([0.5, {"class": "a", "probabilities": {"a": 1.0}}]):
        prediction_log.append(journal, "kind", [Prediction(f"p{at}", "kind", at, "m", 1, "stable", 1, "", {}, {}, answer, 9)])
        prediction_log.flush(journal, tables, "kind")
        found = [name for name in tables.scan("predictions/kind").collect_schema().names() if name.startswith("answer")]
        assert found == (["answer"] if not at else ["answer", "answer_text", "answer_names", "answer_values"])
    assert prediction_log.read(tables, "kind", 0, 99)["answer_json"].to_list() == [None, None]


def test_of_very_many_classes_the_likeliest_are_logged_and_metrics_share_what_is_left():
    names = tuple(f"c{place}" for place in range(500))
    answer = {"class": "c0", "probabilities": {name: 0.9 if name == "c0" else 0.1 / 499 for name in names}}
    kept = typed_values.bounded(answer)
    assert (kept["class"], len(kept["probabilities"]), kept["probabilities"]["c0"]) == ("c0", KEPT_CLASSES, 0.9)
    assert kept["left_out"] == 500 - KEPT_CLASSES
    columns = typed_values.split(kept)
    assert columns.json == f'{{"left_out":{500 - KEPT_CLASSES}}}'
    assert typed_values.joined(columns) == kept
    assert typed_values.shown(kept) == "c0 (0.9000, 480 classes not kept)"
    kind = DeclaredProblem("multiclass", names).kind
    whole = kind.answer.array(names, [kept])[0]
    assert whole.sum() == pytest.approx(1.0)
    assert whole[499] == pytest.approx(0.1 / 499)
    few = {"class": "a", "probabilities": dict.fromkeys(CLASSES, 1 / 3)}
    assert typed_values.bounded(few) is few


def test_what_the_log_keeps_of_many_classes_is_said_with_what_an_answer_is():
    few, many = (ModelVersion("m", 1, "b", "f", "", "", "", 0, outputs=tuple(map(str, range(n))), problem="multiclass") for n in (3, 101))
    assert few.answer == "the likeliest of the classes '0', '1', '2', with the probability of each"
    assert many.answer.endswith("and 91 more, with the probability of each (the log keeps those of the 20 likeliest)")


def test_a_file_of_labels_with_numbers_and_names_keeps_each_as_it_is():
    cells = pl.Series(["1", "0.5", "late", "", None])
    assert prediction_import.label_values(cells, "labels.csv") == [1.0, 0.5, "late", None, None]
    assert prediction_import.label_values(pl.Series(["1", "0"]), "labels.csv") == [1.0, 0.0]


def reported(*given):
    """The labels that count after these reports, by prediction."""
    journal, tables = MemoryJournal(), MemoryTables()
    for received_us, label in enumerate(given):
        labels.append(journal, "kind", [label], received_us)
        labels.flush(journal, tables, "kind")
    found = labels.read(tables, "kind")
    return dict(zip(found["prediction_id"], typed_values.of(found, "value"), strict=True))


def test_labels_that_name_some_targets_complete_each_other_and_later_ones_correct():
    assert reported(Label("p", {"a": 1.0, "b": 2.0}, 1), Label("p", {"c": 3.0}, 2), Label("p", {"a": 4.0}, 3)) == {
        "p": {"a": 4.0, "b": 2.0, "c": 3.0}
    }
    late = reported(Label("p", {"a": 4.0}, 9), Label("p", {"a": 1.0, "b": 2.0}, 1))
    assert late == {"p": {"a": 4.0, "b": 2.0}}


def test_a_withdrawn_label_is_forgotten_with_what_was_before_it_and_may_come_again():
    gone = Label("p", None, 3, withdrawn=True)
    assert reported(Label("p", 1.0, 1), Label("q", 0.0, 1), gone) == {"q": 0.0}
    assert reported(Label("p", 1.0, 1), gone, Label("p", 0.0, 4)) == {"p": 0.0}
    assert reported(Label("p", {"a": 1.0, "b": 1.0}, 1), gone, Label("p", {"b": 2.0}, 4)) == {"p": {"b": 2.0}}
    assert reported(Label("p", {"a": 1.0}, 1), gone) == {}


def test_a_weight_counts_and_is_one_where_none_was_given():
    journal, tables = MemoryJournal(), MemoryTables()
    given = [{"prediction_id": "p", "value": "a"}, {"prediction_id": "q", "value": 1, "weight": 2.5}, {"prediction_id": "r", "withdrawn": True}]
    labels.append(journal, "kind", labels.from_rows(given, 5), 5)
    labels.flush(journal, tables, "kind")
    found = labels.read(tables, "kind").sort("prediction_id")
    assert (found["prediction_id"].to_list(), found["weight"].to_list()) == (["p", "q"], [1.0, 2.5])
    for weight in (0, -1, math.nan, "much", None):
        with pytest.raises(InvalidInput, match=r"label 0.*weight"):
            labels.from_rows([{"prediction_id": "p", "value": 1, "weight": weight}], 0)


@pytest.mark.parametrize(
    ("problem", "names", "value", "kept"),
    [
        ("classification", ("stay", "churn"), "churn", 1.0),
        ("classification", ("stay", "churn"), True, 1.0),
        ("classification", (), 0, 0.0),
        ("multiclass", CLASSES, "b", "b"),
        ("multiclass", ("0", "1", "2"), 2, "2"),
        ("multiclass", ("0", "1", "2"), 2.0, "2"),
        ("regression", ("a", "b"), [1, 2.5], {"a": 1.0, "b": 2.5}),
        ("regression", ("a", "b"), {"b": 2}, {"b": 2.0}),
    ],
)
def test_a_label_is_kept_in_the_form_of_its_problem(problem, names, value, kept):
    (given,) = labels.from_rows([{"prediction_id": "p", "value": value}], 0)
    (found,) = label_domain.checked(DeclaredProblem(problem, names), [given], endpoint="kind")
    assert (found.value, type(found.value)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("problem", "names", "value", "told"),
    [
        ("classification", ("stay", "churn"), "left", r"'left' is outside \{0, 1\}, 'stay' or 'churn'"),
        ("classification", (), 2, r"2.0 is outside \{0, 1\}"),
        ("multiclass", CLASSES, "d", r"'d' is none of the classes \['a', 'b', 'c'\]"),
        ("regression", (), "late", "'late'"),
        ("regression", (), {"a": 1}, "a"),
        ("regression", ("a", "b"), 1.0, "no mapping"),
        ("regression", ("a", "b"), [1.0], "it has 1 numbers, and an answer has 2"),
        ("regression", ("a", "b"), {"c": 1.0}, r"it names \['c'\], and an answer has \['a', 'b'\]"),
        ("regression", ("a", "b"), {"a": float("inf")}, "inf is not a finite number"),
        ("regression", ("a", "b"), {}, "no mapping"),
    ],
)
def test_a_label_of_another_form_is_refused_with_what_is_allowed(problem, names, value, told):
    (given,) = labels.from_rows([{"prediction_id": "p", "value": value}], 0)
    with pytest.raises(InvalidInput, match=rf"label 0.*prediction 'p'.*{told}.*serves a {problem}"):
        label_domain.checked(DeclaredProblem(problem, names), [given], endpoint="kind")


def test_a_class_that_the_model_never_saw_is_a_row_that_it_got_wrong_and_other_forms_are_set_apart():
    answers = [{"class": "a", "probabilities": {"a": 0.8, "b": 0.1, "c": 0.1}}] * 3 + [0.5]
    frame = typed_values.frame("answer", answers).hstack(typed_values.frame("label", ["a", "z", None, "a"]))
    rows = frame.with_columns(label_at_us=pl.Series([1, 1, None, 1]), label_weight=pl.lit(1.0))
    known = DeclaredProblem("multiclass", CLASSES)
    measured, scored = label_domain.measured(rows, known)
    assert (measured.height, scored.truth.tolist()) == (2, [0.0, -1.0])
    assert known.kind.evaluate(scored)["accuracy"] == 0.5


def test_rows_of_a_ranking_are_measured_by_their_groups_and_one_without_a_group_is_set_apart():
    journal, tables = MemoryJournal(), MemoryTables()
    groups = ["a", "a", "", "b", "b"]
    scores, truths = [2.0, 1.0, 9.0, 1.0, 2.0], [1.0, 0.0, 1.0, 1.0, 0.0]
    rows = [
        Prediction(
            f"p{at}", "kind", at, "m", 1, "stable", 1, "", {}, {"v__x": 1.0}, score, 9, missing={"v__x": "NOT_FOUND"} if at else {}, group=group
        )
        for at, (score, group) in enumerate(zip(scores, groups, strict=True))
    ]
    prediction_log.append(journal, "kind", rows[:3])
    prediction_log.append(journal, "kind", rows[3:])
    labels.append(journal, "kind", [Label(row.prediction_id, truth, 50) for row, truth in zip(rows, truths, strict=True)], 50)
    prediction_log.flush(journal, tables, "kind")
    labels.flush(journal, tables, "kind")
    joined = labels.joined(tables, "kind", 0, 99, known_until_us=99)
    assert joined["group"].to_list() == ["a", "a", None, "b", "b"]
    assert prediction_log.find(tables, "p1") == rows[1]
    known = DeclaredProblem("ranking")
    measured, scored = label_domain.measured(joined, known)
    assert measured["prediction_id"].to_list() == ["p0", "p1", "p3", "p4"]
    assert known.kind.evaluate(scored)["ndcg"] == pytest.approx((1 + 1 / math.log2(3)) / 2)  # the second group is upside down
    assert known.kind.evaluate(scored)["reciprocal_rank"] == 0.75


def test_people_are_shown_the_class_and_the_first_numbers():
    assert typed_values.shown(0.5) == "0.5000"
    assert typed_values.shown({"class": "a", "probabilities": {"a": 0.75}}) == "a (0.7500)"
    assert typed_values.shown({str(name): float(name) for name in range(6)}) == "0 0.0000, 1 1.0000, 2 2.0000, 3 3.0000, and 2 more"
    assert typed_values.shown("x" * 100) == "x" * 80 + "..."
