"""Two tables compared at once: what is found, what is not called found, and what could not be judged."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

import rota
from rota.errors import InvalidInput
from rota.monitor.frame_comparison import Request, compare_frames
from rota.monitor.metric_comparison import Scoring
from rota.rendering.comparison_report import ComparisonReport


def table(rows: int, *, seed: int = 0, age: float = 40.0, plans=(0.5, 0.3, 0.2)) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "age": random.normal(age, 10, rows),
            "visits": random.integers(0, 6, rows),
            "plan": random.choice(["basic", "plus", "pro"], rows, p=plans),
            "active": random.random(rows) < 0.3,
            "at": pl.Series(random.integers(0, 10**15, rows)).cast(pl.Datetime("us")),
            "id": [f"c{each}" for each in random.integers(0, 10**12, rows)],
        }
    )


def check_of(found, subject, check="drift"):
    (result,) = [each for each in found.checks if (each.check, each.subject) == (check, subject)]
    return result


def column_of(found, name):
    return next(column for column in found.columns if column.name == name)


def scored(rows: int, *, seed: int = 0, flipped: float = 0.0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    answer = random.random(rows)
    label = (random.random(rows) < answer) ^ (random.random(rows) < flipped)
    return pl.DataFrame({"answer": answer, "label": label.astype(int)})


def test_what_moved_is_named_and_what_did_not_is_not():
    found = compare_frames(table(2_000), table(1_500, seed=1, age=45, plans=(0.3, 0.5, 0.2)))
    assert found.drifted == ("age", "plan")
    assert found.outcome == "fail"
    assert {c.subject for c in found.checks if c.check == "drift" and c.outcome == "pass"} == {"visits", "active"}
    assert "'plus' has 48.7% of the rows, 30.4% before" in check_of(found, "plan").message


def test_distances_are_those_of_scipy_on_the_raw_values():
    before, after = table(900), table(700, seed=2, age=43)
    found = column_of(compare_frames(before, after), "age").distances
    assert found["ks"] == pytest.approx(stats.ks_2samp(before["age"], after["age"]).statistic, abs=1e-9)
    assert found["wasserstein"] == pytest.approx(stats.wasserstein_distance(before["age"], after["age"]), abs=1e-9)
    plans = column_of(compare_frames(before, after), "plan").distances
    counts = [[frame.filter(pl.col("plan") == name).height for name in ("basic", "plus", "pro")] for frame in (before, after)]
    assert plans["chi_square"] == pytest.approx(stats.chi2_contingency(counts, correction=False).statistic, abs=1e-9)


def test_false_alarms_of_equal_tables_are_rare():
    drifted = [compare_frames(table(300, seed=2 * i), table(300, seed=2 * i + 1), Request(("drift",))).drifted for i in range(60)]
    assert sum(1 for names in drifted if names) <= 2


def test_what_has_no_distribution_by_its_nature_is_off_and_does_not_spoil_the_outcome():
    found = compare_frames(table(500), table(500, seed=3))
    assert {check_of(found, name).state for name in ("at", "id")} == {"off"}
    assert found.outcome == "pass"


def test_too_few_rows_are_no_proof_of_sameness_and_say_how_many_it_takes():
    result = check_of(compare_frames(table(400), table(25, seed=4)), "age")
    assert (result.outcome, result.state) == ("inconclusive", "cannot")
    assert "25 values, about" in result.missing
    assert result.needed is not None
    enough = check_of(compare_frames(table(result.needed), table(result.needed, seed=5)), "age")
    assert enough.outcome == "pass"


def test_so_few_rows_still_show_what_is_all_different():
    assert check_of(compare_frames(table(400), table(25, seed=4, age=90)), "age").outcome == "fail"


def test_anomalies_bear_the_names_of_tfdv():
    current = (
        table(500, seed=6)
        .drop("visits")
        .with_columns(plan=pl.lit("gold"), more=pl.lit(1.0), active=pl.lit("yes"), age=pl.when(pl.int_range(pl.len()) % 2 == 0).then("age"))
    )
    found = compare_frames(table(500), current)
    assert {(a.feature, a.kind) for a in found.anomalies} == {
        ("visits", "SCHEMA_MISSING_COLUMN"),
        ("more", "SCHEMA_NEW_COLUMN"),
        ("active", "UNEXPECTED_DATA_TYPE"),
        ("plan", "ENUM_TYPE_UNEXPECTED_STRING_VALUES"),
        ("age", "FEATURE_TYPE_LOW_FRACTION_PRESENT"),
    }
    assert check_of(found, "", "quality").outcome == "fail"
    assert "it holds string in current and bool in reference" in check_of(found, "active").missing
    assert "50.0% of the values are missing, 0.0% before" in check_of(found, "age").message


@pytest.mark.parametrize("empty", [table(0), table(50).with_columns(age=pl.lit(None, pl.Float64))])
def test_an_empty_or_all_null_column_could_not_be_judged(empty):
    result = check_of(compare_frames(table(50).with_columns(age=pl.lit(None, pl.Float64)), empty), "age")
    assert (result.outcome, result.state) == ("inconclusive", "cannot")


def test_a_current_table_without_rows_fails_and_a_reference_without_rows_is_refused():
    assert compare_frames(table(50), table(0)).outcome == "fail"
    with pytest.raises(InvalidInput, match="reference has 0 rows"):
        compare_frames(table(0), table(50))


def test_a_constant_a_hundred_thousand_categories_infinities_and_dates_are_compared():
    rows = 3_000
    before = pl.DataFrame(
        {"one": [7] * rows, "many": [f"k{i % 1_000}" for i in range(rows)], "odd": [1.0] * rows, "day": [dt.date(2025, 1, 1)] * rows}
    )
    after = before.with_columns(odd=pl.Series([np.inf] * (rows // 2) + [1.0] * (rows - rows // 2)))
    found = compare_frames(before, after)
    assert found.drifted == ("odd",)
    assert "wasserstein" not in column_of(found, "odd").distances
    assert check_of(found, "one").outcome == check_of(found, "many").outcome == "pass"
    assert check_of(found, "day").state == "off"


def test_lists_of_numbers_are_compared_by_their_norm_and_mean():
    random = np.random.default_rng(8)
    before, after = (pl.DataFrame({"vector": pl.Series((random.normal(size=(400, 4)) + up).tolist())}) for up in (0, 1))
    assert compare_frames(before, before).drifted == ()
    assert set(compare_frames(before, after).drifted) == {"vector:norm", "vector:mean"}


def test_a_column_that_cannot_be_compared_is_named():
    lists = table(100).with_columns(tags=pl.Series([["a"]] * 100))
    assert any("'tags' holds List(String) in reference" in note for note in compare_frames(lists, lists).notes)


def test_repeated_rows_are_counted():
    before = table(200)
    found = compare_frames(before, pl.concat([before, before.head(100)]), Request(("quality",)))
    assert found.duplicates == {"reference": 0, "current": 100}
    assert check_of(found, "", "duplicate_rows").outcome == "fail"
    assert found.columns == ()


def test_a_classifier_that_answers_worse_is_found_by_its_intervals():
    request = Request(("classification",), Scoring("label", "answer"))
    same = compare_frames(scored(2_000), scored(2_000, seed=1), request)
    assert same.problem == "classification"
    assert check_of(same, "roc_auc", "performance").outcome == "pass"
    worse = compare_frames(scored(2_000), scored(2_000, seed=1, flipped=0.2), request)
    assert check_of(worse, "roc_auc", "performance").outcome == "fail"
    assert check_of(worse, "brier", "performance").outcome == "fail"


def test_few_labels_and_rows_without_a_label_are_told():
    late = scored(100, seed=1).with_columns(label=pl.when(pl.int_range(pl.len()) < 20).then("label"))
    found = compare_frames(scored(500), late, Request(("classification",), Scoring("label", "answer")))
    assert check_of(found, "roc_auc", "performance").missing == "500 labelled rows in reference and 20 in current, 30 needed in each"
    assert any("80 of 100 rows of current have no label" in note for note in found.notes)


def test_named_classes_have_no_metrics_of_probabilities():
    random = np.random.default_rng(3)
    label = random.choice(["a", "b", "c"], 600)
    right = pl.DataFrame({"label": label, "answer": np.where(random.random(600) < 0.9, label, "a")})
    wrong = pl.DataFrame({"label": label, "answer": np.where(random.random(600) < 0.5, label, "a")})
    found = compare_frames(right, wrong, Request(("classification",), Scoring("label", "answer")))
    assert found.problem == "multiclass"
    assert "log_loss" not in {metric.name for metric in found.metrics}
    assert check_of(found, "balanced_accuracy", "performance").outcome == "fail"


def test_a_column_of_probabilities_for_each_class():
    random = np.random.default_rng(4)
    odds = random.dirichlet([1, 1, 1], 400)
    frame = pl.DataFrame({"label": [list("abc")[random.choice(3, p=row)] for row in odds], "a": odds[:, 0], "b": odds[:, 1], "c": odds[:, 2]})
    found = compare_frames(frame, frame, Request(("classification",), Scoring("label", ("a", "b", "c"))))
    assert check_of(found, "log_loss", "performance").outcome == "pass"


def test_regression_and_ranking():
    random = np.random.default_rng(5)
    truth = random.normal(size=800)
    before = pl.DataFrame({"y": truth, "answer": truth + random.normal(0, 1, 800)})
    after = before.with_columns(answer=pl.Series(truth + random.normal(0, 1.4, 800)))
    assert check_of(compare_frames(before, after, Request(("regression",), Scoring("y", "answer"))), "rmse", "performance").outcome == "fail"
    relevance = random.integers(0, 3, 800)
    ranked = pl.DataFrame({"q": np.repeat(np.arange(80), 10), "y": relevance, "answer": relevance + random.normal(0, 0.5, 800)})
    shuffled = ranked.with_columns(answer=pl.Series(random.normal(size=800)))
    request = Request(("ranking",), Scoring("y", "answer", "q"))
    assert check_of(compare_frames(ranked, shuffled, request), "ndcg", "performance").outcome == "fail"
    assert check_of(compare_frames(ranked, ranked, request), "ndcg", "performance").outcome == "pass"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"presets": "regression"}, "needs label="),
        ({"presets": "ranking", "label": "y", "answer": "p"}, "needs group="),
        ({"presets": "regression", "label": "y", "answer": "nothere"}, "no column 'nothere'"),
        ({"presets": "performance"}, "presets.*unknown.*ranking"),
        ({"presets": ["regression", "ranking"]}, "different problems"),
        ({"presets": "classification", "label": "word", "answer": "p"}, "labels of 0 and 1"),
        ({"false_alarms": 0}, "false_alarms=0"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_way_out(request_, words):
    frame = {"y": [0, 1, 0], "p": [0.25, 0.5, 0.75], "word": ["no", "yes", "no"]}
    with pytest.raises(InvalidInput, match=words):
        rota.compare(frame, frame, **request_)


def test_the_report_is_one_file_and_hides_no_name(tmp_path):
    odd = table(300).rename({"age": "<script>alert(1)</script>"})
    report = rota.compare(odd, odd.with_columns(plan=pl.lit("pro")))
    assert report.drifted == ("plan",)
    assert repr(report) == "<comparison of current with reference: fail; drifted: plan>"
    page = report.save(tmp_path / "report.html").read_text()
    for text in (page, report._repr_html_()):
        assert "<script>" not in text
        assert 'src="http' not in text
        assert "plan" in text
    stored = json.loads(report.save(tmp_path / "report.json").read_text())
    assert stored["drifted"] == ["plan"]
    assert set(stored["charts"]) >= {"plan", "visits"}
    with pytest.raises(InvalidInput, match=r"\.pdf"):
        report.save(tmp_path / "report.pdf")


def test_without_a_drawing_engine_the_counts_stand_in_tables():
    found = compare_frames(table(300), table(300, seed=1))
    page = ComparisonReport(found, None).to_html()
    assert "<img" not in page
    assert "rota[ui]" in page
