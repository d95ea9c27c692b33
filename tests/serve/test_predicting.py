"""The prediction core: rows in, answers out, and whatever was answered is in the log."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from rota.errors import InvalidInput, NotFound, Unavailable
from rota.manage.signals import prediction_log
from rota.records.data import Feature, FeatureService, OnDemandFeatureView
from rota.records.release import HeaderMatch, HeaderRoute
from rota.serve import row_failures
from rota.serve.predicting import Answer, new_ids

ROW = {"x": 1.0, "carrier": "UA"}


def test_a_row_is_answered_by_the_stable_version_and_logged(world):
    world.serve(unit="carrier")
    [answer] = world.core.predict("delay", [ROW], ["p1"]).predictions
    assert answer == Answer("p1", 102.0, "flights", 1, "stable")
    [row] = world.log()
    assert (row["prediction_id"], row["answer"], row["number"], row["revision"], row["unit"]) == ("p1", 102.0, 1, 1, "UA")
    assert (row["request__x"], row["request__carrier"], row["request"]) == (1.0, "UA", '{"carrier":"UA","x":1.0}')
    assert row["at_us"] == world.clock.now_us()
    assert row["latency_us"] >= 0


def test_answers_keep_the_order_of_rows_whoever_made_them(world):
    world.serve(world.route(1, weight=50), world.route(2, "canary", 50), unit="flight")
    rows = [{"x": float(n), "carrier": "AA", "flight": f"f{n}"} for n in range(200)]
    answers = world.core.predict("delay", rows).predictions
    assert {answer.version for answer in answers} == {1, 2}
    assert [answer.answer for answer in answers] == [100.0 * answer.version + n for n, answer in enumerate(answers)]
    assert [answer.version for answer in world.core.predict("delay", rows).predictions] == [answer.version for answer in answers]


def test_without_a_unit_the_prediction_id_decides(world):
    world.serve(world.route(1, weight=50), world.route(2, "canary", 50))
    first, again = (world.core.predict("delay", [ROW] * 50, [f"p{n}" for n in range(50)]).predictions for _ in range(2))
    assert first == again
    assert {answer.version for answer in first} == {1, 2}
    assert len(world.log()) == 50


def test_features_are_read_once_and_each_version_is_called_once(world):
    world.serve(world.route(1, weight=50), world.route(2, "canary", 50), world.route(3, "shadow", 0))
    for number in (1, 2, 3):
        world.predictor(number).calls.clear()
    world.core.predict("delay", [ROW] * 100)
    world.core.close()
    assert len(world.sources) == 1
    assert world.sources[0].calls == 1
    assert len(world.predictor(1).calls) == len(world.predictor(2).calls) == 1
    assert world.predictor(3).calls == [100]


def test_an_answer_says_which_features_had_no_value_and_why(world):
    world.serve()
    rows = [{"x": 1.0, "carrier": None}, ROW, {"x": 2.0, "carrier": None}]
    world.sources[0].noted = {"request__carrier": ["NOT_FOUND", None, "OUTSIDE_MAX_AGE"], "request__x": None}
    response = world.core.predict("delay", rows, ["p1", "p2", "p3"])
    missing = [{"request__carrier": "NOT_FOUND"}, {}, {"request__carrier": "OUTSIDE_MAX_AGE"}]
    assert [answer.missing for answer in response.predictions] == missing
    assert response.warnings == (
        "1 of 3 rows: request__carrier null, nothing is stored of the entity (NOT_FOUND)",
        "1 of 3 rows: request__carrier null, the newest row of the entity is older than the ttl of the view (OUTSIDE_MAX_AGE)",
    )
    assert world.core.counters.value("rota_features_missing_total", endpoint="delay", reason="NOT_FOUND") == 1
    assert [row["missing"] for row in world.log()] == ['{"request__carrier":"NOT_FOUND"}', "", '{"request__carrier":"OUTSIDE_MAX_AGE"}']
    assert prediction_log.find(world.tables, "p1").missing == missing[0]


def test_values_that_are_not_to_be_trusted_are_named_even_where_they_are_there(world):
    world.serve()
    world.sources[0].warnings = ("the history of view 'request' is not online",)
    world.sources[0].noted = {"request__x": ["HISTORY_NOT_ONLINE"]}
    response = world.core.predict("delay", [ROW])
    assert response.warnings == ("the history of view 'request' is not online",)
    assert response.predictions[0].missing == {"request__x": "HISTORY_NOT_ONLINE"}


def test_requests_that_were_answered_together_get_their_own_warnings(world):
    world.serve()
    world.sources[0].noted = {"request__carrier": [None, "NOT_FOUND"]}
    asked = [world.core.prepare("delay", [row]) for row in (ROW, {"x": 1.0, "carrier": None})]
    assert [len(response.warnings) for response in world.core.answer(asked)] == [0, 1]


def test_rows_name_their_group_which_is_logged_and_answered_by_one_version(world):
    world.serve(world.route(1, weight=50, group="search"), world.route(2, "canary", 50, group="search"))
    rows = [ROW | {"search": f"s{n // 4}", "x": float(n)} for n in range(200)]
    answers = world.core.predict("delay", rows).predictions
    versions = [{answer.version for answer in answers[start : start + 4]} for start in range(0, 200, 4)]
    assert {len(each) for each in versions} == {1}  # a ranking by two versions would be judged of neither
    assert set.union(*versions) == {1, 2}
    logged = world.log()
    assert [row["group"] for row in sorted(logged, key=lambda row: row["request__x"])] == [row["search"] for row in rows]
    assert prediction_log.find(world.tables, answers[5].prediction_id).group == "s1"
    assert world.core.served["delay"].fields["search"] == "string"
    for row, told in ((ROW, "row 0 lacks the field 'search'"), (ROW | {"search": None}, "row 0: field 'search' names no group")):
        with pytest.raises(InvalidInput, match=told):
            world.core.predict("delay", [row])


def test_rows_that_stand_alone_have_no_column_of_groups(world):
    world.serve()
    world.core.predict("delay", [ROW | {"search": "s1"}])
    assert world.log()[0]["group"] is None
    assert "group" not in world.tables.scan("predictions/delay").collect_schema()


def test_given_ids_are_kept_and_made_ones_sort_by_time():
    earlier, later = (new_ids(100, now_us, lambda size: bytes(range(256)) * 4 if size > 999 else b"") for now_us in (10**15, 10**15 + 1_000))
    assert max(earlier) < min(later)
    made = uuid.UUID(later[0])
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == (10**15 + 1_000) // 1_000


def test_made_ids_are_distinct(world):
    world.serve()
    answers = world.core.predict("delay", [ROW] * 1_000).predictions
    assert len({answer.prediction_id for answer in answers}) == 1_000


def test_a_failing_canary_is_covered_by_the_stable_version_and_its_failure_is_logged(world):
    world.serve(world.route(1, weight=0), world.route(2, "canary", 100))
    world.predictor(2).broken = True
    answers = world.core.predict("delay", [ROW], ["p1"])
    assert answers.predictions == (Answer("p1", 102.0, "flights", 1, "stable"),)
    assert {(row["role"], row["number"], row["answer"], bool(row["error"])) for row in world.log()} == {
        ("canary", 2, None, True),
        ("stable", 1, 102.0, False),
    }
    assert world.core.counters.value("rota_prediction_failures_total", role="canary", version=2) == 1


def test_a_canary_that_answers_nan_is_covered_only_where_it_did(world):
    world.serve(world.route(1, weight=0), world.route(2, "canary", 100), world.route(3, "shadow", 0))
    answers = world.core.predict("delay", [ROW, {**ROW, "x": -999.0}]).predictions
    assert [answer.version for answer in answers] == [2, 1]
    assert answers[1].error == "the model answered nan"
    assert answers[1].answer is None


def test_a_failing_stable_version_gives_an_error_answer_that_is_logged(world):
    world.serve()
    answers = world.core.predict("delay", [{**ROW, "x": -666.0}], ["p1"])
    assert answers.logged
    assert answers.predictions[0].answer is None
    assert "the model broke" in answers.predictions[0].error
    assert world.log()[0]["error"] == "RuntimeError: the model broke"


def test_one_hostile_row_does_not_fail_its_neighbours_requests(world):
    world.serve()
    good, bad = world.core.prepare("delay", [ROW], ["good"]), world.core.prepare("delay", [{**ROW, "x": -666.0}], ["bad"])
    first, second, third = world.core.answer([good, bad, good])
    assert first.predictions[0].answer == third.predictions[0].answer == 102.0
    assert second.predictions[0].error
    assert {row["prediction_id"]: bool(row["error"]) for row in world.log()} == {"good": False, "bad": True}


def test_requests_that_arrive_together_share_one_call_and_one_entry(world):
    world.serve()
    world.serve(endpoint="other")
    world.predictor(1).calls.clear()
    questions = [world.core.prepare(name, [{**ROW, "x": float(n)}] * n) for n, name in enumerate(["delay", "other", "delay", "delay"])]
    answers = world.core.answer(questions)
    assert [[answer.answer for answer in each.predictions] for each in answers] == [[], [102.0], [103.0] * 2, [104.0] * 3]
    assert sorted(world.predictor(1).calls) == [1, 5]  # both endpoints share the loaded model
    assert [len(chunk.payloads) for chunk in world.journal.read("predictions/delay")] == [1]


def test_a_shadow_scores_the_same_features_under_the_same_id_and_is_never_heard(world):
    world.serve(world.route(1), world.route(2, "shadow", 0))
    answers = world.core.predict("delay", [ROW], ["p1"])
    world.core.close()
    assert answers.predictions[0].version == 1
    assert {(row["prediction_id"], row["role"], row["answer"], row["request__x"]) for row in world.log()} == {
        ("p1", "stable", 102.0, 1.0),
        ("p1", "shadow", 202.0, 1.0),
    }


def test_a_failing_shadow_is_logged_and_disturbs_nobody(world):
    world.serve(world.route(1), world.route(2, "shadow", 0))
    world.predictor(2).broken = True
    assert world.core.predict("delay", [ROW]).predictions[0].answer == 102.0
    world.core.close()
    assert [row["error"] != "" for row in sorted(world.log(), key=lambda row: row["role"])] == [True, False]


def test_a_slow_shadow_drops_and_counts_instead_of_slowing_the_answers(world):
    world.serve(world.route(1), world.route(2, "shadow", 0))
    gate, predict = threading.Event(), world.predictor(2).predict
    world.predictor(2).predict = lambda matrix: (gate.wait(60), predict(matrix))[1]
    for _ in range(300):
        world.core.predict("delay", [ROW, ROW])
    dropped = world.core.counters.value("rota_shadow_dropped_total", endpoint="delay")
    gate.set()
    world.core.close()
    assert dropped in {2 * (300 - 256), 2 * (300 - 257)}
    assert sum(row["role"] == "shadow" for row in world.log()) == 600 - dropped


def test_when_the_log_cannot_be_written_the_answer_is_given_marked_and_the_loss_counted(world, monkeypatch):
    def full(*args, **options):
        raise Unavailable("no space left")

    world.serve()
    monkeypatch.setattr(world.journal, "append", full)
    answers = world.core.predict("delay", [ROW] * 3)
    assert not answers.logged
    assert answers.predictions[0].answer == 102.0
    assert world.core.counters.value("rota_predictions_unlogged_total") == 3
    monkeypatch.undo()
    assert world.core.predict("delay", [ROW]).logged


def test_a_repeated_id_counts_once(world):
    world.serve()
    for _ in range(3):
        world.core.predict("delay", [ROW], ["p1"])
    assert len(world.log()) == 1


def test_unknown_endpoints_and_bad_rows_are_refused_before_anything_is_logged(world):
    world.serve()
    with pytest.raises(NotFound, match="'nowhere'"):
        world.core.predict("nowhere", [ROW])
    with pytest.raises(InvalidInput, match="row 1 lacks the field 'x'"):
        world.core.predict("delay", [ROW, {"carrier": "AA"}])
    with pytest.raises(InvalidInput, match="ids"):
        world.core.predict("delay", [ROW], [])
    assert world.log() == []


def test_no_rows_are_no_predictions(world):
    world.serve()
    assert world.core.predict("delay", []).predictions == ()
    assert world.log() == []


def test_a_canary_that_needs_a_field_callers_do_not_send_fails_alone(world):
    wider = FeatureService("delay", [OnDemandFeatureView("request", {"x": "float", "carrier": "string", "new": "int"}, {"x": Feature("x")})])
    world.serve(world.route(1, weight=0), world.route(2, "canary", 100, service=wider))
    assert world.core.predict("delay", [ROW]).predictions[0].version == 1
    assert "'new'" in next(row for row in world.log() if row["role"] == "canary")["error"]


def test_threads_and_switches_mix_without_a_lost_or_torn_answer(world):
    world.serve()
    second = world.release(world.route(2), revision=2)
    stop = threading.Event()

    def ask(thread):
        return [(answer.answer, answer.version) for n in range(100) for answer in world.core.predict("delay", [ROW], [f"{thread}-{n}"]).predictions]

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(ask, thread) for thread in range(4)]
        world.poller.poll()
        answers = [pair for each in asking for pair in each.result()]
    stop.set()
    assert second.revision == 2
    assert set(answers) <= {(102.0, 1), (202.0, 2)}
    assert len(world.log()) == 400


def test_rows_that_fail_are_found_alone_and_a_broken_model_is_asked_a_bounded_number_of_times(world):
    world.serve()
    rows = [{"x": float(number), "carrier": "AA"} for number in range(200)]
    for bad in (3, 77, 199):
        rows[bad]["x"] = -666.0
    answers = world.core.predict("delay", rows).predictions
    assert [place for place, each in enumerate(answers) if each.answer is None] == [3, 77, 199]
    assert all("the model broke" in answers[bad].error and not answers[bad].refused for bad in (3, 77, 199))
    assert [each.answer for place, each in enumerate(answers[:3])] == [100.0, 101.0, 102.0]
    predictor = world.predictor(1)
    predictor.broken = True
    predictor.calls.clear()
    assert all(each.answer is None for each in world.core.predict("delay", [dict(row) for row in rows * 20]).predictions)
    assert len(predictor.calls) <= row_failures.MOST_CALLS + 1


def test_a_header_sends_a_request_to_its_version_and_the_log_says_so(world):
    world.serve(world.route(1), world.route(2, "canary", 0), world.route(2, "shadow", 0), headers=[HeaderRoute(HeaderMatch("x-beta", "yes"), 2)])
    asked = [world.core.prepare("delay", [ROW], [name], sent) for name, sent in (("p1", [(b"x-beta", b"yes")]), ("p2", [(b"x-beta", b"no")]))]
    answers = [response.predictions[0] for response in world.core.answer(asked)]
    assert [(answer.version, answer.role) for answer in answers] == [(2, "canary"), (1, "stable")]
    world.core.close()
    rows = {(row["prediction_id"], row["role"]): row["routed_by"] for row in world.log()}
    cause = "header x-beta: yes"
    assert rows == {("p1", "canary"): cause, ("p1", "shadow"): cause, ("p2", "stable"): None, ("p2", "shadow"): None}
    assert (prediction_log.find(world.tables, "p1").routed_by, prediction_log.find(world.tables, "p2").routed_by) == (cause, "")
