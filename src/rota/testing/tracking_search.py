"""TrackingSearchContract: what `rota.ports.tracking.Tracking` promises of searches, as tests; a part of `TrackingContract`. Needs pytest."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rota.errors import InvalidInput
from rota.ports.tracking import Tracking
from rota.records.filters import Comparison, Order, Page, Query
from rota.records.tracking import Experiment, ExperimentRun, RunInput
from rota.testing.tracked_records import ids, point, run


class TrackingSearchContract:
    """Every search finds what going through all runs finds."""

    def test_runs_of_the_asked_experiments_come_newest_first(self, tracking: Tracking) -> None:
        tracking.create_experiment(Experiment("e1", "one"))
        for number in range(6):
            tracking.create_run(run(f"r{number}", experiment="e1" if number % 2 else "0", started_us=number // 2))
        assert ids(tracking.search_runs(["0", "e1"], Query())) == ["r4", "r5", "r2", "r3", "r0", "r1"]
        assert ids(tracking.search_runs(["e1", "e1"], Query())) == ["r5", "r3", "r1"]
        assert tracking.search_runs([], Query()) == tracking.search_runs(["nowhere"], Query()) == Page([])

    def test_the_view_decides_about_deleted_runs(self, tracking: Tracking) -> None:
        tracking.create_run(run("r1"))
        tracking.create_run(run("r2", deleted_us=5))
        assert ids(tracking.search_runs(["0"], Query())) == ["r1"]
        assert ids(tracking.search_runs(["0"], Query(view="deleted"))) == ["r2"]
        assert ids(tracking.search_runs(["0"], Query(view="all"))) == ["r1", "r2"]

    def test_like_is_case_sensitive_and_ilike_is_not(self, tracking: Tracking) -> None:
        tracking.create_run(run(tags={"t": "Trees [v1] 50%_*?\\"}))
        tracking.create_run(run("r2", tags={"t": "line\nbreak Ä"}, started_us=0))
        found = {
            ("LIKE", "Trees%"): ["r1"],
            ("LIKE", "trees%"): [],
            ("LIKE", "%[v1]%"): ["r1"],
            ("LIKE", "%[v2]%"): [],
            ("LIKE", "%*?\\"): ["r1"],
            ("LIKE", "Trees _v__ %"): ["r1"],
            ("LIKE", "Trees _v_ %"): [],
            ("LIKE", "%%"): ["r1", "r2"],
            ("LIKE", ""): [],
            ("LIKE", "line_break%"): ["r2"],
            ("LIKE", "%s%s%s%"): [],
            ("LIKE", "Trees%50%_*?\\"): ["r1"],
            ("ILIKE", "tREES%"): ["r1"],
            ("ILIKE", "%BREAK Ä"): ["r2"],
            ("ILIKE", "%break ä"): [],
        }
        for (operator, pattern), expected in found.items():
            where = [Comparison("tag", "t", operator, pattern)]  # type: ignore[arg-type]
            assert ids(tracking.search_runs(["0"], Query(where=where))) == expected, (operator, pattern)

    def test_nan_differs_from_everything_and_is_nowhere_in_the_order(self, tracking: Tracking) -> None:
        for number, value in enumerate([math.nan, math.inf, -math.inf, 1.0]):
            tracking.create_run(run(f"r{number}", latest=(point(value=value),), started_us=number))
        tracking.create_run(run("r9", started_us=9))

        def find(operator: Any, value: float) -> list[str]:
            return ids(tracking.search_runs(["0"], Query(where=[Comparison("metric", "auc", operator, value)])))

        assert find(">", 0.0) == ["r3", "r1"]
        assert find("<=", 1.0) == ["r3", "r2"]
        assert find("=", math.inf) == ["r1"]
        assert find("!=", 1.0) == ["r2", "r1", "r0"]
        order = [Order("metric", "auc")]
        assert ids(tracking.search_runs(["0"], Query(order=order))) == ["r2", "r3", "r1", "r0", "r9"]
        assert ids(tracking.search_runs(["0"], Query(order=[Order("metric", "auc", descending=True)]))) == ["r1", "r3", "r2", "r0", "r9"]
        where = [Comparison("metric", "auc", "!=", 1.0)]
        assert ids(tracking.search_runs(["0"], Query(where=where, order=[Order("metric", "auc", descending=True)]))) == ["r1", "r2", "r0"]

    def test_pages_neither_repeat_nor_lose_a_run(self, tracking: Tracking) -> None:
        for number in range(23):
            tracking.create_run(run(f"r{number:02}", started_us=number // 5, latest=(point(value=number % 3),) if number % 4 else ()))
        for order in ([], [Order("metric", "auc")], [Order("metric", "auc", descending=True)], [Order("attribute", "start_time")]):
            whole = ids(tracking.search_runs(["0"], Query(order=order)))
            for limit in (1, 7, 22, 23, 24):
                seen: list[str] = []
                page = tracking.search_runs(["0"], Query(order=order, limit=limit))
                seen += ids(page)
                while page.next:
                    page = tracking.search_runs(["0"], Query(order=order, limit=limit, page=page.next))
                    assert page.items
                    seen += ids(page)
                assert seen == whole
                assert len(set(whole)) == 23

    def test_a_page_of_another_search_or_of_nobody_is_refused(self, tracking: Tracking) -> None:
        for number in range(3):
            tracking.create_run(run(f"r{number}"))
        next_page = tracking.search_runs(["0"], Query(limit=1)).next
        for query in (
            Query(page=next_page, view="all"),
            Query(page=next_page, where=[Comparison("tag", "a", "=", "b")]),
            Query(page=next_page, order=[Order("tag", "a")]),
        ):
            with pytest.raises(InvalidInput, match="another search"):
                tracking.search_runs(["0"], query)
        with pytest.raises(InvalidInput, match="another search"):
            tracking.search_runs(["1"], Query(page=next_page))
        for token in ("x", "' OR 1=1", "WzEsMl0=", "bnVsbA==", "ü", "W1tbW1tbW1s=", next_page[:-4], "A" * 10_000):
            with pytest.raises(InvalidInput, match="page token"):
                tracking.search_runs(["0"], Query(page=token))
        for limit in (0, -1):
            with pytest.raises(InvalidInput, match="ask for 1 or more"):
                tracking.search_runs(["0"], Query(limit=limit))

    def test_long_texts_differ_at_their_end(self, tracking: Tracking) -> None:
        for end in ("c", "d", ""):
            long = "a" * 200 + end
            tracking.create_run(run(f"r{end}", parameters={"p": long}, tags={"t": long}))

        def find(operator: Any, value: str, **options: Any) -> list[str]:
            return ids(tracking.search_runs(["0"], Query(where=[Comparison("parameter", "p", operator, value)], **options)))

        assert find("=", "a" * 200 + "c") == ["rc"]
        assert find("=", "a" * 200) == ["r"]
        assert find("!=", "a" * 200 + "c", order=[Order("tag", "t", descending=True)]) == ["rd", "r"]
        assert find("LIKE", "%ad") == ["rd"]

    def test_times_are_compared_in_whole_milliseconds(self, tracking: Tracking) -> None:
        for number, started_us in enumerate((4_999, 5_000, 5_001, 5_999, 6_000)):
            tracking.create_run(run(f"r{number}", started_us=started_us))

        def find(operator: Any, value: float, key: str = "start_time") -> set[str]:
            return set(ids(tracking.search_runs(["0"], Query(where=[Comparison("attribute", key, operator, value)]))))

        assert find("=", 5) == {"r1", "r2", "r3"}
        assert find("!=", 5) == {"r0", "r4"}
        assert find(">", 5) == {"r4"}
        assert find(">=", 5) == {"r1", "r2", "r3", "r4"}
        assert find("<", 5) == {"r0"}
        assert find("<=", 5) == {"r0", "r1", "r2", "r3"}
        assert find("<", 5.5) == find("<=", 5.5) == find("<=", 5)
        assert find("IS NULL", "", "end_time") == find("IS NOT NULL", "") == {"r0", "r1", "r2", "r3", "r4"}  # type: ignore[arg-type]
        assert find("=", 5.5) == find("<", 10**30, "end_time") == find("!=", 5, "end_time") == set()
        assert len(find("<", 10**30)) == len(find(">", -(10**30))) == len(find("!=", 5.5)) == 5

    def test_datasets_fit_when_one_of_them_does(self, tracking: Tracking) -> None:
        read = [RunInput("flights", "d1", tags={"mlflow.data.context": "training"}), RunInput("weather", "d2")]
        tracking.create_run(run("r1", inputs=tuple(read), started_us=2))
        tracking.create_run(run("r2", inputs=(read[1],), started_us=1))
        tracking.create_run(run("r3", started_us=0))

        def find(key: str, operator: Any, value: Any) -> list[str]:
            return ids(tracking.search_runs(["0"], Query(where=[Comparison("dataset", key, operator, value)])))

        assert find("name", "=", "weather") == ["r1", "r2"]
        assert find("name", "!=", "weather") == ["r1"]
        with pytest.raises(InvalidInput, match="none of them is null"):
            find("name", "IS NULL", "")
        assert find("digest", "IN", ("d1", "d3")) == ["r1"]
        assert find("digest", "NOT IN", ("d2",)) == ["r1"]
        assert find("context", "LIKE", "train%") == ["r1"]
        assert find("context", "!=", "x") == ["r1"]

    def test_what_cannot_be_searched_is_told(self, tracking: Tracking) -> None:
        queries = [
            Query(where=[Comparison("attribute", "colour", "=", "red")]),
            Query(order=[Order("attribute", "colour")]),
            Query(where=[Comparison("dataset", "colour", "=", "red")]),
            Query(order=[Order("dataset", "colour")]),
        ]
        tracking.create_run(run())
        for query in queries:
            with pytest.raises(InvalidInput, match="colour"):
                tracking.search_runs(["0"], query)
        with pytest.raises(InvalidInput, match="no order by one"):
            tracking.search_runs(["0"], Query(order=[Order("dataset", "name")]))
        with pytest.raises(InvalidInput, match="metric"):
            tracking.search_experiments(Query(order=[Order("metric", "auc")]))

    def test_any_search_finds_what_going_through_all_runs_finds(self, tracking: Tracking) -> None:
        """Random runs, conditions and orders against a search that is spelled out below."""
        rng = random.Random(11)  # noqa: S311 (no secret)
        runs = [_random_run(rng, f"r{number:02}") for number in range(40)]
        for each in runs:
            tracking.create_run(each)
        found = 0
        for _ in range(250):
            query = Query(where=[_random_condition(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))], order=_random_order(rng))
            expected = _by_hand(runs, query)
            assert ids(tracking.search_runs(["0"], query)) == expected, query
            limit = rng.choice((1, 5, 20))
            assert ids(tracking.search_runs(["0"], replace(query, limit=limit))) == expected[:limit], query
            found += len(expected)
        assert found > 1_000


# --- a search by hand, in other words than the engines' ---


def _random_run(rng: random.Random, id: str) -> ExperimentRun:
    some: Callable[[dict[str, str]], dict[str, str]] = lambda texts: {key: text for key, text in texts.items() if rng.random() < 0.7}  # noqa: E731
    values = [math.nan, math.inf, 0.0, 0.5, 0.5, 1.0, 2.5]
    metrics = tuple(point(key, rng.choice(values)) for key in ("auc", "loss") if rng.random() < 0.7)
    return run(
        id,
        name=rng.choice(["Ada", "ada", "bert", "x%"]),
        status=rng.choice(["running", "finished", "failed"]),
        started_us=rng.randrange(8) * 500,
        ended_us=rng.choice([None, 3_000, 4_500]),
        parameters=some({"model": rng.choice(["trees", "Trees", "net", ""]), "long": rng.choice("ab") * 200 + rng.choice("cd")}),
        tags=some({"team": rng.choice(["ice", "air"])}),
        latest=metrics,
    )


def _random_condition(rng: random.Random) -> Comparison:
    numeric = rng.choice(["=", "!=", ">", ">=", "<", "<="])
    textual = rng.choice(["=", "!=", "LIKE", "ILIKE", "IS NULL", "IS NOT NULL"])
    text = rng.choice(["trees", "Trees", "net", "", "%ee%", "t%", "_rees", "a" * 200 + "c", "b%d", "ice", "air"])
    made = [
        Comparison("metric", rng.choice(["auc", "loss"]), numeric, rng.choice([0.0, 0.5, 1.0])),  # type: ignore[arg-type]
        Comparison("parameter", rng.choice(["model", "long"]), textual, text),  # type: ignore[arg-type]
        Comparison("tag", "team", textual, text),  # type: ignore[arg-type]
        Comparison("attribute", rng.choice(["start_time", "end_time"]), numeric, rng.choice([0, 2, 3, 4, 3.5])),  # type: ignore[arg-type]
        Comparison("attribute", "run_name", rng.choice(["=", "!=", "LIKE", "ILIKE"]), rng.choice(["Ada", "ada", "%a", "x%"])),
        Comparison("attribute", "status", rng.choice(["IN", "NOT IN"]), ("running", "failed")),
    ]
    return rng.choice(made)


def _random_order(rng: random.Random) -> list[Order]:
    fields: list[tuple[Any, str]] = [("metric", "auc"), ("metric", "loss"), ("parameter", "model"), ("parameter", "long"), ("tag", "team")]
    fields += [("attribute", "run_name"), ("attribute", "start_time"), ("attribute", "end_time")]
    return [Order(entity, key, rng.random() < 0.5) for entity, key in rng.sample(fields, rng.choice((0, 1, 1, 2, 3)))]


def _by_hand(runs: list[ExperimentRun], query: Query) -> list[str]:
    kept = [each for each in runs if all(_fits(each, comparison) for comparison in query.where)]
    kept.sort(key=lambda each: (-each.started_us, each.id))
    for order in reversed(query.order):
        values = {each.id: _value(each, order.entity, order.key, unit_us=1) for each in kept}
        plain = [each for each in kept if values[each.id] is not None and values[each.id] == values[each.id]]
        nans = [each for each in kept if values[each.id] is not None and values[each.id] != values[each.id]]
        kept = sorted(plain, key=lambda each: values[each.id], reverse=order.descending) + nans + [each for each in kept if values[each.id] is None]
    return [each.id for each in kept]


def _value(each: ExperimentRun, entity: str, key: str, *, unit_us: int = 1_000) -> Any:
    times = {"start_time": each.started_us, "end_time": each.ended_us}
    if key in times:
        at_us = times[key]
        return None if at_us is None else at_us // unit_us
    if entity == "attribute":
        return {"run_name": each.name, "status": each.status}[key]
    return {"metric": each.metrics, "parameter": each.parameters, "tag": each.tags}[entity].get(key)


def _fits(each: ExperimentRun, comparison: Comparison) -> bool:
    value, wanted = _value(each, comparison.entity, comparison.key), comparison.value
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (comparison.operator == "IS NULL")
    if value is None:
        return False
    if comparison.operator in ("IN", "NOT IN"):
        return (value in tuple(wanted)) == (comparison.operator == "IN")  # type: ignore[arg-type]
    if comparison.operator in ("LIKE", "ILIKE"):
        if comparison.operator == "ILIKE":
            value, wanted = value.lower(), str(wanted).lower()
        return _like(value, str(wanted))
    return bool(eval(f"value {'==' if comparison.operator == '=' else comparison.operator} wanted", {"value": value, "wanted": wanted}))  # noqa: S307


def _like(text: str, pattern: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and _like(text[1:], pattern[1:])
