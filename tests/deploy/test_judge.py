"""The judge on logs whose truth is known: pass, fail and inconclusive of each analysis, and verdicts that can be recomputed."""

import math

import msgspec
import numpy as np
import polars as pl
import pytest

from rota.backends.inline_compute import InlineCompute
from rota.deploy import judge
from rota.errors import InvalidInput
from rota.manage.models.own_metrics import MetricCalls, TeamMetrics
from rota.manage.signals import labels
from rota.ports.metadata import Batch
from rota.records.check import CheckResult, combined
from rota.records.data import FeatureService
from rota.records.experiment import kpi
from rota.records.model import ModelBundle, ModelVersion, Transformation
from rota.records.own_metric import OwnMetric
from rota.records.record import encode
from rota.records.release import Analysis, Canary, Endpoint, Release, Rollout, error_rate, latency_p95, metric
from rota.records.signal import Label
from rota.records.time import HOUR_US
from rota.testing.story import NOON_US

ROLLOUT = Rollout("rollout.delay.2", "delay", "delay", 2, 1, "canary", 0, NOON_US)


def verdict(place, analysis, *, now_us=None):
    endpoint = Endpoint("delay", "delay", Canary(analysis=[analysis]))
    (found,) = judge.examine(place.repositories, endpoint, ROLLOUT, now_us=now_us or place.clock.now_us())
    return found


def both(place, count, *, stable=None, canary=None):
    place.ask(count, **(stable or {}))
    place.ask(count, number=2, role="canary", **(canary or {}))


def hours(place, count, *, candidate, stable=0.5, truth=1.0, rows=2):
    """Mirrored predictions in so many hours, all with one truth."""
    for _ in range(count):
        ids = place.ask(rows, answer=stable, truth=truth)
        place.ask(rows, number=2, role="shadow", answer=candidate, ids=ids)
        place.clock.advance(place.clock.now_us() + HOUR_US)


@pytest.mark.parametrize(
    ("count", "errors", "outcome"),
    [(2_000, 2, "pass"), (2_000, 400, "fail"), (40, 2, "inconclusive"), (0, 0, "inconclusive")],
)
def test_the_share_of_errors(place, count, errors, outcome):
    both(place, count, canary={"errors": errors})
    found = verdict(place, error_rate(margin=0.1))
    assert (found.outcome, found.rows) == (outcome, 2 * count)
    assert f"error rate {errors}/{count} against 0/{count}" in found.message


@pytest.mark.parametrize(("latency_us", "outcome"), [(1_000, "pass"), (3_000, "fail")])
def test_the_latency(place, latency_us, outcome):
    both(place, 3_000, canary={"latency_us": latency_us})
    assert verdict(place, latency_p95(ratio=1.5)).outcome == outcome


def test_an_estimate_beyond_the_bound_fails_only_once_its_whole_interval_lies_beyond(place):
    both(place, 40, canary={"errors": 8})
    found = verdict(place, error_rate(margin=0.1))
    assert found.lower < 0.1 < found.observed == 0.2
    assert found.outcome == "inconclusive"
    both(place, 1_000, canary={"errors": 200})
    found = verdict(place, error_rate(margin=0.1))
    assert found.lower > 0.1
    assert found.outcome == "fail"


def test_latency_with_few_rows_is_inconclusive(place):
    both(place, 20)
    assert verdict(place, latency_p95(ratio=1.5)).outcome == "inconclusive"


@pytest.mark.parametrize(("canaries", "outcome"), [(29, "inconclusive"), (400, "fail")])
def test_a_canary_is_timed_by_its_own_answers_however_quick_its_shadow_is(place, canaries, outcome):
    place.ask(1_000)
    place.ask(1_000, number=2, role="shadow")
    place.ask(canaries, number=2, role="canary", latency_us=3_000)
    found = verdict(place, latency_p95(ratio=1.5))
    assert "latency p95 3.00 ms against 1.00 ms" in found.message
    assert found.outcome == outcome
    if outcome == "inconclusive":
        assert (found.missing, found.state) == ("29 answers of the candidate and 1000 of stable, 30 needed of each", "learning")


def arm(random, rows, factor):
    at_us = np.sort(random.integers(0, 10**9, rows))
    return pl.DataFrame({"period": 0, "at_us": at_us, "latency_us": (random.lognormal(8, 0.5, rows) * factor).astype(np.int64)})


def ever_failed(candidate, stable, ratio):
    looks = ([each.filter(pl.col("at_us") < until) for each in (candidate, stable)] for until in range(10**8, 10**9 + 1, 10**8))
    return any(judge.judged_latency(latency_p95(ratio=ratio), *look)[0] == "fail" for look in looks)


def test_a_candidate_exactly_at_the_ratio_is_rarely_proven_slow_however_often_one_looks():
    random = np.random.default_rng(1)
    failed = sum(ever_failed(arm(random, 1_000, 1.2), arm(random, 4_000, 1.0), 1.2) for _ in range(60))
    assert failed <= 60 * judge.ALPHA


def test_a_third_slower_is_found_and_as_quick_is_cleared():
    random = np.random.default_rng(2)
    assert sum(ever_failed(arm(random, 5_000, 1.3), arm(random, 20_000, 1.0), 1.2) for _ in range(10)) >= 9
    cleared = judge.judged_latency(latency_p95(ratio=1.2), arm(random, 3_000, 1.0), arm(random, 12_000, 1.0))
    assert cleared[0] == "pass"


def test_a_stable_version_that_became_quick_does_not_keep_a_quick_candidate_from_passing():
    """It began cold: its old percentile is exceeded by nobody any more."""
    random = np.random.default_rng(3)
    cold, warm = arm(random, 400, 10.0).with_columns(at_us=pl.int_range(400, dtype=pl.Int64)), arm(random, 2_000, 1.0)
    assert judge.judged_latency(latency_p95(ratio=5), arm(random, 700, 1.0), pl.concat([cold, warm]))[0] == "pass"
    assert judge.judged_latency(latency_p95(ratio=5), arm(random, 700, 200.0), pl.concat([cold, warm]))[0] == "fail"


def test_one_answer_in_a_hundred_that_takes_ten_times_as_long_is_no_slower_95th_percentile():
    candidate = pl.DataFrame({"period": 0, "at_us": range(4_000), "latency_us": [10_000 if n % 100 == 0 else 1_000 for n in range(4_000)]})
    stable = pl.DataFrame({"period": 0, "at_us": range(4_000), "latency_us": [1_000] * 4_000})
    assert judge.judged_latency(latency_p95(ratio=1.2), candidate, stable)[0] == "pass"
    assert judge.judged_latency(latency_p95(ratio=1.2), candidate.with_columns(latency_us=pl.lit(1_300)), stable)[0] == "fail"


def test_a_bad_hour_for_all_after_the_split_changed_speaks_against_nobody(place):
    """Together the candidate looks worse: it had most of its traffic when everything failed."""
    batch = Batch()
    for number, since_us in enumerate((NOON_US, NOON_US + HOUR_US)):
        batch.create(Release("delay", number, (), "", since_us, ROLLOUT.id))
    place.repositories.metadata.commit(batch)
    place.ask(3_800)
    place.ask(200, number=2, role="canary")
    place.clock.advance(NOON_US + HOUR_US + 1)
    both(place, 2_000, stable={"errors": 400}, canary={"errors": 400})
    assert verdict(place, error_rate(margin=0.01)).outcome != "fail"


def test_a_few_failures_are_never_too_many(place):
    place.ask(5_000)
    place.ask(20, number=2, role="canary", errors=9)
    assert verdict(place, error_rate(margin=0.01, at_least=10)).outcome == "inconclusive"
    assert verdict(place, error_rate(margin=0.01, ratio=1.0, at_least=9)).outcome == "fail"


def test_in_the_shadow_stage_the_mirrored_predictions_are_timed(place):
    place.ask(3_000)
    place.ask(3_000, number=2, role="shadow")
    endpoint = Endpoint("delay", "delay", Canary(shadow="1h", analysis=[latency_p95(ratio=1.5)]))
    shadowed = msgspec.structs.replace(ROLLOUT, state="shadow")
    (found,) = judge.examine(place.repositories, endpoint, shadowed, now_us=place.clock.now_us())
    assert found.outcome == "pass"


def test_a_prediction_that_is_answered_and_mirrored_counts_once_and_as_it_was_answered(place):
    place.ask(100)
    ids = place.ask(100, number=2, role="canary", errors=7)
    place.ask(100, number=2, role="shadow", ids=ids)
    place.ask(50, number=2, role="shadow")
    assert "error rate 7/150 against 0/100" in verdict(place, error_rate(margin=0.1)).message


@pytest.mark.parametrize(
    ("count", "errors", "outcome"), [(0, 0, "inconclusive"), (29, 29, "inconclusive"), (30, 30, "fail"), (1, 0, "pass"), (30, 29, "pass")]
)
def test_without_an_analysis_the_candidate_must_have_answered_at_least(place, count, errors, outcome):
    place.ask(100)
    place.ask(count, number=2, role="canary", errors=errors)
    (found,) = judge.examine(place.repositories, Endpoint("delay", "delay", Canary()), ROLLOUT, now_us=place.clock.now_us())
    assert found.outcome == outcome
    assert bool(found.missing) == (outcome == "inconclusive")


@pytest.mark.parametrize(("candidate", "count", "outcome"), [(0.6, 40, "pass"), (0.2, 40, "fail"), (0.6, 20, "inconclusive")])
@pytest.mark.parametrize("loss", ["log_loss", "brier"])
def test_the_loss_on_the_same_predictions_hour_by_hour(place, candidate, count, outcome, loss):
    hours(place, count, candidate=candidate)
    found = verdict(place, metric(loss, margin=0.02))
    assert (found.outcome, found.rows) == (outcome, count)


def test_the_paired_difference_of_an_hour_is_the_one_computed_by_hand(place):
    ids = place.ask(2, answer=0.5, truth=1.0)
    place.ask(2, number=2, role="shadow", answer=0.8, ids=ids)
    more = place.ask(1, answer=0.9, truth=0.0)
    place.ask(1, number=2, role="shadow", answer=0.4, ids=more)
    place.ask(5, answer=0.1)  # no label yet
    place.ask(3, answer=0.1, truth=1.0)  # not mirrored
    place.clock.advance(NOON_US + HOUR_US)
    place.ask(1, number=2, role="shadow", answer=0.7, ids=place.ask(1, answer=0.6, truth=1.0))
    found = verdict(place, metric("log_loss", margin=0.02))
    first = (2 * (math.log(0.5) - math.log(0.8)) + (math.log(0.1) - math.log(0.6))) / 3
    second = math.log(0.6) - math.log(0.7)
    assert found.observed == pytest.approx((first + second) / 2)
    assert "same 4 predictions in 2 hours" in found.message


def test_a_verdict_asked_again_sees_no_label_that_was_received_since(place):
    first = place.ask(3, answer=0.5, truth=1.0)
    place.ask(3, number=2, role="shadow", answer=0.8, ids=first)
    unlabelled = place.ask(2, answer=0.9)
    place.ask(2, number=2, role="shadow", answer=0.1, ids=unlabelled)
    then_us = place.clock.now_us()
    before = verdict(place, metric("brier", margin=0.02), now_us=then_us)
    place.clock.advance(then_us + HOUR_US)
    late = [Label(each, 1.0, then_us - 1) for each in [*unlabelled, *first]]  # dated before the verdict, received after it
    labels.append(place.repositories.journal, "delay", late, place.clock.now_us())
    assert verdict(place, metric("brier", margin=0.02), now_us=then_us) == before
    assert "same 5 predictions" in verdict(place, metric("brier", margin=0.02)).message


def test_all_predictions_of_one_hour_are_one_observation(place):
    for third in range(3):
        place.clock.advance(NOON_US + third * HOUR_US // 3)
        place.ask(1, number=2, role="shadow", answer=0.8, ids=place.ask(1, answer=0.5, truth=1.0))
    found = verdict(place, metric("log_loss", margin=0.02))
    assert "same 3 predictions in 1 hours" in found.message


def test_an_unknown_loss_is_named_with_those_that_a_rollout_knows(place):
    with pytest.raises(InvalidInput, match=r"'roc_auk' is unknown.*'brier', .*'log_loss', .*'roc_auc'.*declares: \[\]"):
        verdict(place, metric("roc_auk", margin=0.1))


OWN = """
def cost(truth, answers):
    return float(abs(truth - answers).mean())


def worth(rows):
    return -float(abs(rows.truth - rows.answers).mean())


def fails(truth, answers):
    raise KeyError("price")


def first_hours(rows):
    return 1.0 if rows.answers[0] == 0.5 else float("nan")
"""


def team(tmp_path, name, *, higher=False):
    (tmp_path / "ours.py").write_text(OWN)
    own = OwnMetric(name, f"ours:{name}", higher_is_better=higher)
    return TeamMetrics((own,), MetricCalls(InlineCompute(), tmp_path, 60, lambda: False))


def judged(place, name, *, team=None, margin=0.05):
    endpoint = Endpoint("delay", "delay", Canary(analysis=[metric(name, margin=margin)]))
    (found,) = judge.examine(place.repositories, endpoint, ROLLOUT, now_us=place.clock.now_us(), team=team)
    return found


@pytest.mark.parametrize(("name", "higher"), [("cost", False), ("worth", True)])
@pytest.mark.parametrize(("candidate", "outcome"), [(0.5, "pass"), (0.8, "pass"), (0.1, "fail")])
def test_a_metric_of_the_teams_own_compares_both_versions_hour_by_hour_in_its_direction(place, tmp_path, name, higher, candidate, outcome):
    hours(place, 60, candidate=candidate)
    found = judged(place, name, team=team(tmp_path, name, higher=higher))
    assert (found.outcome, found.subject) == (outcome, name)
    assert "120 predictions in 60 hours" in found.message


def test_a_metric_of_the_teams_own_that_fails_could_not_be_judged(place, tmp_path):
    hours(place, 60, candidate=0.5)
    found = judged(place, "fails", team=team(tmp_path, "fails"))
    assert (found.outcome, found.state) == ("inconclusive", "cannot")
    assert found.missing == "the metric 'fails' raised KeyError: 'price'"


def test_hours_on_which_a_metric_is_not_defined_are_left_out_and_told(place, tmp_path):
    hours(place, 40, candidate=0.5)
    hours(place, 5, candidate=0.6)
    found = judged(place, "first_hours", team=team(tmp_path, "first_hours"))
    assert found.outcome == "pass"
    assert "in 40 hours, not defined in 5 more" in found.message


@pytest.mark.parametrize(("candidate", "outcome"), [(0.9, "pass"), (0.4, "fail")])
def test_a_metric_of_the_problem_is_an_analysis_too(place, candidate, outcome):
    hours(place, 60, candidate=candidate, stable=0.6)
    assert judged(place, "accuracy").outcome == outcome


def test_rows_before_the_rollout_and_of_other_models_do_not_count(place):
    place.ask(50, at_us=NOON_US - 1, errors=50)
    both(place, 50)
    assert "0/50 against 0/50" in verdict(place, error_rate(margin=0.1)).message


def test_a_verdict_can_be_recomputed_later_from_the_log(place):
    hours(place, 35, candidate=0.6)
    both(place, 100, canary={"errors": 3})
    moment = place.clock.now_us()
    analyses = [error_rate(margin=0.1), latency_p95(ratio=1.5), metric("log_loss", margin=0.02)]
    then = [verdict(place, analysis, now_us=moment) for analysis in analyses]
    place.clock.advance(moment + HOUR_US)
    hours(place, 5, candidate=0.01)
    both(place, 100, canary={"errors": 100})
    assert [verdict(place, analysis, now_us=moment) for analysis in analyses] == then
    assert [verdict(place, analysis).outcome for analysis in analyses[:1]] == ["fail"]


@pytest.mark.parametrize(("means", "outcome"), [((1.0, 1.0), "pass"), ((1.0, 0.5), "fail"), ((1.0, 0.8), "inconclusive")])
def test_a_business_figure_of_a_canary_by_units(place, means, outcome):
    random = np.random.default_rng(8)
    for number, mean in zip((1, 2), means, strict=True):
        ids = place.ask(1_200, number=number, role="stable" if number == 1 else "canary", units=[f"{number}.{n // 3}" for n in range(1_200)])
        place.report("revenue", dict(zip(ids, random.normal(mean, 1.0, 1_200), strict=True)))
    found = verdict(place, kpi("revenue", margin=0.25))
    assert (found.outcome, found.subject, found.rows) == (outcome, "revenue_per_prediction", 800)
    assert verdict(place, kpi("refund", margin=0.25, per="order")).outcome == "inconclusive"


def test_a_failure_beats_what_is_open_and_everything_must_pass_to_pass():
    def of(*outcomes):
        return combined([CheckResult("error_rate", outcome, f"it {outcome}") for outcome in outcomes])

    assert of("pass", "inconclusive", "fail") == ("fail", "it fail")
    assert of("pass", "inconclusive") == ("inconclusive", "it inconclusive")
    assert of("pass", "pass") == ("pass", "it pass; it pass")
    assert of() == ("inconclusive", "nothing was judged")


def test_a_verdict_is_stored_without_numbers_that_json_lacks(place):
    found = verdict(place, Analysis("error_rate", 0.1))
    assert (found.observed, found.lower, found.upper) == (None, None, None)
    assert "nan" not in found.message
    assert msgspec.json.decode(msgspec.json.encode(found), type=CheckResult) == found


def test_a_version_of_a_problem_that_does_not_know_the_loss_is_named_and_not_waited_for(place):
    bundle = ModelBundle("delay", "linear", "", "count", FeatureService("delay", []), Transformation(()), (), ())
    version = place.repositories.metadata.get(ModelVersion, "delay", 2)
    batch = Batch()
    batch.put(msgspec.structs.replace(version, bundle=place.repositories.blobs.put(encode(bundle))), replacing=version)
    place.repositories.metadata.commit(batch)
    hours(place, 2, candidate=0.6)
    with pytest.raises(
        InvalidInput, match=r"version 2 of 'delay' solves a count, which is not compared by 'brier'; its losses are \['poisson_deviance'"
    ):
        verdict(place, metric("brier", margin=0.02))
