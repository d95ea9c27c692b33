"""Filters and orders in MLflow's grammar: read, refused, and answered as MLflow answers them.

The tables were made by MLflow 3.17.2 (SearchUtils.filter and .sort) over the same runs; None is an error there.
"""

import pytest

from rota.backends.shared.tracked_form import run_fields
from rota.errors import InvalidInput
from rota.manage.experiments.search_grammar import MAX_CONDITIONS, MAX_ORDERS, Subject, found, matches, ordered, paged, parse_filter, parse_order
from rota.records.filters import Comparison, Order, Query
from rota.records.tracking import ExperimentRun, MetricPoint, RunInput


def run(id: str, name: str, owner: str, status: str, started_ms: int, ended_ms: int | None, **logged: dict[str, object]) -> ExperimentRun:
    metrics = tuple(MetricPoint(key, float(str(value))) for key, value in logged["metrics"].items())
    inputs = tuple(RunInput(name, digest, tags={"mlflow.data.context": context} if context else {}) for name, digest, context in logged["datasets"])  # type: ignore[str-unpack]
    return ExperimentRun(
        id,
        "0",
        name,
        status,  # type: ignore[arg-type]
        started_ms * 1_000,
        None if ended_ms is None else ended_ms * 1_000,
        owner=owner,
        parameters=logged["params"],  # type: ignore[arg-type]
        latest=metrics,
        tags=logged["tags"],  # type: ignore[arg-type]
        inputs=inputs,
    )


RUNS = [
    run(
        "a",
        "first try",
        "ada",
        "finished",
        1000,
        2000,
        metrics={"auc": 0.7, "val/loss": 0.3, "a b": 1},
        params={"model": "trees", "depth": "8", "learning rate": "0.1"},
        tags={"team": "ice", "mlflow.user": "ada", "q": "it's"},
        datasets=[("flights", "d1", "training"), ("weather", "d2", "")],
    ),
    run(
        "b",
        "First Try 2",
        "bert",
        "failed",
        2000,
        None,
        metrics={"auc": "nan", "val/loss": 0.1},
        params={"model": "Trees", "depth": "10"},
        tags={"team": "air", "q": 'say "hi"'},
        datasets=[("weather", "d2", "training")],
    ),
    run("c", "third", "ada", "running", 3000, None, metrics={"auc": "inf"}, params={"model": "50%_net"}, tags={}, datasets=[]),
    run(
        "d",
        "",
        "",
        "scheduled",
        3000,
        4000,
        metrics={"auc": 0.5, "AUC": 2},
        params={"model": ""},
        tags={"team": "ICE"},
        datasets=[("flights", "d3", "")],
    ),
    run("e", "e", "eve", "killed", 500, 600, metrics={"auc": -1e300, "a.b.c": 5}, params={}, tags={"team": "ice cream", "a.b": "x"}, datasets=[]),
]

ANSWERS: dict[str, str | None] = {
    "metrics.auc > 0.5": "ac",
    "metrics.auc >= 0.5": "acd",
    "metric.auc < 0.7": "de",
    "metrics.auc <= .7": "ade",
    "metrics.auc = 0.5": "d",
    "metrics.auc != 0.5": "abce",
    "metrics.auc > -1e300": "acd",
    "metrics.auc > 1e3": "c",
    "metrics.auc > 5": "c",
    "metrics.AUC > 1": "d",
    "metrics.`val/loss` < 0.2": "b",
    'metrics."val/loss" < 0.2': "b",
    "metrics.`a b` = 1": "a",
    'metrics."a b" = 1': "a",
    "metrics.a.b.c = 5": "e",
    "metrics.nope > 0": "",
    "metrics.nope != 0": "",
    "params.model = 'trees'": "a",
    'params.model = "trees"': "a",
    "param.model != 'trees'": "bcd",
    "parameter.model = 'trees'": "a",
    "parameters.model = 'trees'": "a",
    "params.model LIKE 'tree%'": "a",
    "params.model like '%ree%'": "ab",
    "params.model ILIKE 'tree%'": "ab",
    "params.model LIKE '50%_net'": "c",
    "params.model LIKE 't_ees'": "a",
    "params.model LIKE ''": "d",
    "params.model = ''": "d",
    "params.depth = '8'": "a",
    "params.`learning rate` = '0.1'": "a",
    "params.\"learning rate\" = '0.1'": "a",
    "params.nope != 'x'": "",
    "params.depth IS NULL": "cde",
    "params.depth IS NOT NULL": "ab",
    "tags.team = 'ice'": "a",
    "tag.team ILIKE 'ice'": "ad",
    "tags.team LIKE 'ice%'": "ae",
    "tags.`mlflow.user` = 'ada'": "a",
    "tags.mlflow.user = 'ada'": "a",
    "tags.a.b = 'x'": "e",
    "tags.\"a.b\" = 'x'": "e",
    'tags.q = "it\'s"': "a",
    "tags.q = 'say \"hi\"'": "b",
    "tags.team IS NULL": "c",
    "tags.team is not null": "abde",
    "attributes.status = 'FINISHED'": "a",
    "attribute.status != 'FINISHED'": "bcde",
    "attr.status = 'RUNNING'": "c",
    "run.status LIKE 'FIN%'": "a",
    "status = 'FAILED'": "b",
    "attributes.run_id = 'a'": "a",
    "attributes.run_id IN ('a', 'c')": "ac",
    'run_id IN ("a")': "a",
    "attributes.run_id NOT IN ('a', 'c')": "bde",
    "attributes.run_name = 'first try'": "a",
    "attributes.run_name ILIKE 'first%'": "ab",
    "attributes.`run name` = 'third'": "c",
    "attributes.\"Run name\" = 'third'": "c",
    "run_name = 'third'": "c",
    "user_id = 'ada'": "ac",
    "attributes.user_id != 'ada'": "bde",
    "attributes.start_time > 1000": "bcd",
    "start_time >= 1000 and start_time < 3000": "ab",
    "created = 3000": "cd",
    "attributes.Created <= 1000": "ae",
    "attributes.end_time > 600": "ad",
    "end_time != 2000": "de",
    "datasets.name = 'flights'": "ad",
    "dataset.name != 'weather'": "ad",
    "datasets.digest = 'd2'": "ab",
    "datasets.name LIKE 'fli%'": "ad",
    "datasets.digest IN ('d1', 'd3')": "ad",
    "datasets.context = 'training'": "ab",
    "metrics.auc > 0 AND params.model = 'trees' and tags.team = 'ice'": "a",
    "metrics.auc > 0   And   tags.team = 'ice'": "a",
    "metrics.auc>0.6": "ac",
    "params.model='trees' and metrics.auc<1": "a",
    "   metrics.auc > 0.6   ": "ac",
    "metrics.auc > 'x'": None,
    "metrics.auc LIKE '0.5'": None,
    "metrics.auc IN ('a')": None,
    "metrics.auc IS NULL": None,
    "params.model > 'a'": None,
    "params.model = 3": None,
    "params.model = trees": None,
    "params.model IN ('trees')": None,
    "tags.team = 5": None,
    "status > 'a'": None,
    "status = 5": None,
    "start_time LIKE '5'": None,
    "start_time = 'abc'": None,
    "attributes.nope = 'x'": None,
    "nopes.auc > 1": None,
    "metrics.auc > 1 OR metrics.auc < 0": None,
    "metrics.auc": None,
    "metrics.auc >": None,
    "> 1": None,
    "(metrics.auc > 1)": None,
    "run_id IN ()": None,
    "run_id IN (1, 2)": None,
    "datasets.nope = 'x'": None,
    "datasets.name = 5": None,
    "metrics.auc > 1; DROP TABLE runs": None,
    "params.model = 'trees": None,
}

SORTED: dict[tuple[str, ...], str | None] = {
    (): "cdbae",
    ("metrics.auc",): "edacb",
    ("metrics.auc DESC",): "cadeb",
    ("metrics.`val/loss` ASC",): "bacde",
    ("params.model",): "dcbae",
    ("params.model DESC", "metrics.auc"): "abcde",
    ("tags.team desc",): "eabdc",
    ("attributes.start_time",): "eabcd",
    ("start_time DESC",): "cdbae",
    ("attributes.end_time",): "eadcb",
    ("end_time DESC",): "daecb",
    ("run_name",): "dbeac",
    ("attributes.status DESC", "start_time ASC"): "dceab",
    ("created",): "eabcd",
    ('metrics."a b"',): "acdbe",
    ("nope.x",): None,
    ("attributes.nope",): None,
    ("metrics.auc SIDEWAYS",): None,
    ("metrics.auc DESC ASC",): None,
    ("metrics.`val/loss` DESC", "tags.team"): "abdec",
}


@pytest.mark.parametrize(("text", "expected"), ANSWERS.items())
def test_a_filter_finds_what_mlflow_finds_and_is_refused_where_mlflow_refuses(text: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(InvalidInput):
            parse_filter(text, "run")
    else:
        conditions = parse_filter(text, "run")
        assert "".join(run.id for run in RUNS if all(matches(condition, run_fields(run)) for condition in conditions)) == expected


@pytest.mark.parametrize(("texts", "expected"), SORTED.items())
def test_an_order_sorts_as_mlflow_sorts(texts: tuple[str, ...], expected: str | None) -> None:
    natural = sorted(RUNS, key=lambda run: (-run.started_us, run.id))
    if expected is None:
        with pytest.raises(InvalidInput):
            parse_order(texts, "run")
    else:
        assert "".join(run.id for run in ordered(natural, parse_order(texts, "run"), run_fields)) == expected


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("metrics.auc > 1 metrics.auc < 0", 17, "`and` and another condition, or the end is expected"),
        ("metrics.auc > 1 or metrics.auc < 0", 17, "or stands where `and`"),
        ("metrics.auc >", 14, "a number is missing"),
        ("metrics.auc", 12, "one of =, !=, >, >=, <, <= is missing"),
        ("metrics.auc > 'x'", 15, "a number is expected"),
        ("params.depth = 8", 16, "in quotes, as in 'trees'"),
        ("params.depth > '8'", 14, "possible are =, !=, LIKE, ILIKE, IS NULL, IS NOT NULL"),
        ("tags.a = 'x' and  colours.b = 'y'", 19, "'colours' is no entity; possible are ['attributes', 'metrics', 'params', 'tags', 'datasets']"),
        ("attributes.colour = 'red'", 1, "a run has no attribute 'colour'; possible are ['run_id', 'run_name'"),
        ("params.a = 'x", 12, "is a quote left open"),
        ("metrics.learning rate > 1", 18, "cannot be compared by RATE"),
        ("start_time > '5'", 14, "milliseconds since 1970 is expected"),
        ("run_id IN ()", 12, "a list holds texts in quotes"),
        ("datasets.colour = 'red'", 1, "a dataset has no 'colour'"),
        ("metrics. > 1", 1, "no key behind the dot"),
        ("artifact_uri = 'x'", 16, "a number is expected"),
        ("\u00fc\0", 2, "nothing can be read from here"),
    ],
)
def test_an_error_names_the_place_and_what_may_stand_there(text: str, place: int, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(text, "run")
    assert f", character {place}: " in str(caught.value)
    assert said in str(caught.value)
    assert caught.value.facts["at"] == place


def test_a_bare_name_is_an_attribute_or_else_a_metric() -> None:
    assert parse_filter("auc>0.8 and val/loss<=-1e-3 and status='FINISHED' and owner = 'ada'", "run") == (
        Comparison("metric", "auc", ">", 0.8),
        Comparison("metric", "val/loss", "<=", -0.001),
        Comparison("attribute", "status", "=", "finished"),
        Comparison("attribute", "user_id", "=", "ada"),
    )
    assert parse_order(["auc desc", "started"], "run") == (Order("metric", "auc", True), Order("attribute", "start_time"))


def test_a_quote_within_quotes_is_written_twice() -> None:
    text = """params.a = 'it''s' and params."b""c" = "d""e" and tags.`f"g'` = '`'"""
    assert [(each.key, each.value) for each in parse_filter(text, "run")] == [("a", "it's"), ('b"c', 'd"e'), ("f\"g'", "`")]


def test_a_blank_filter_asks_for_nothing() -> None:
    assert parse_filter("", "run") == parse_filter(" \n\t", "experiment") == parse_order([], "run") == ()


@pytest.mark.parametrize(
    ("subject", "text", "expected"),
    [
        (
            "experiment",
            "name LIKE 'ice%' and tags.team = 'x'",
            (Comparison("attribute", "name", "LIKE", "ice%"), Comparison("tag", "team", "=", "x")),
        ),
        ("experiment", "attribute.creation_time >= 5", (Comparison("attribute", "creation_time", ">=", 5),)),
        ("experiment", "experiment_id IN ('1', '2')", (Comparison("attribute", "experiment_id", "IN", ("1", "2")),)),
        ("registered_model", "name ILIKE '%ice%'", (Comparison("attribute", "name", "ILIKE", "%ice%"),)),
        ("registered_model", "tags.`a.b` != 'c'", (Comparison("tag", "a.b", "!=", "c"),)),
        (
            "model_version",
            "version_number > 3 and run_id = 'r'",
            (Comparison("attribute", "version_number", ">", 3), Comparison("attribute", "run_id", "=", "r")),
        ),
        ("model_version", "version_number = '3'", (Comparison("attribute", "version_number", "=", 3),)),
        ("model_version", "source_path = 's3://b'", (Comparison("attribute", "source_path", "=", "s3://b"),)),
        (
            "logged_model",
            "name = 'm' and status = 'READY'",
            (Comparison("attribute", "name", "=", "m"), Comparison("attribute", "status", "=", "ready")),
        ),
        (
            "logged_model",
            "creation_time < 9 and params.a = 'b'",
            (Comparison("attribute", "creation_timestamp", "<", 9), Comparison("parameter", "a", "=", "b")),
        ),
        (
            "logged_model",
            "metrics.auc > 1 and model_id = 'm-1'",
            (Comparison("metric", "auc", ">", 1.0), Comparison("attribute", "model_id", "=", "m-1")),
        ),
    ],
)
def test_every_subject_has_its_words(subject: Subject, text: str, expected: tuple[Comparison, ...]) -> None:
    assert parse_filter(text, subject) == expected


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("experiment", "metrics.auc > 1"),
        ("experiment", "params.a = 'b'"),
        ("experiment", "auc > 1"),
        ("registered_model", "params.a = 'b'"),
        ("registered_model", "version_number = 1"),
        ("model_version", "datasets.name = 'x'"),
        ("model_version", "name = 5"),
        ("logged_model", "datasets.name = 'x'"),
        ("logged_model", "run_id = 'x'"),
    ],
)
def test_other_words_are_refused(subject: Subject, text: str) -> None:
    with pytest.raises(InvalidInput, match="character"):
        parse_filter(text, subject)


def test_a_model_that_was_never_called_a_prompt_is_none() -> None:
    unequal, equal = parse_filter("tags.`mlflow.prompt.is_prompt` != 'true'", "registered_model") + parse_filter(
        "tags.`mlflow.prompt.is_prompt` = 'true'", "model_version"
    )
    prompt = {"mlflow.prompt.is_prompt": "true"}
    assert matches(unequal, {})
    assert matches(unequal, {"tag": {"a": "b"}})
    assert not matches(unequal, {"tag": prompt})
    assert not matches(equal, {"tag": {}})
    assert matches(equal, {"tag": prompt})


def test_orders_name_a_field_once_and_not_a_dataset() -> None:
    with pytest.raises(InvalidInput, match="twice"):
        parse_order(["metrics.auc", "auc DESC"], "run")
    with pytest.raises(InvalidInput, match="no order"):
        parse_order(["datasets.name"], "run")
    with pytest.raises(InvalidInput, match=f"at most {MAX_ORDERS}"):
        parse_order([f"m{number}" for number in range(MAX_ORDERS + 1)], "run")
    with pytest.raises(InvalidInput, match="nothing may follow"):
        parse_order(["auc DESC, loss"], "run")
    assert parse_order(["timestamp DESC", "name"], "registered_model")[0] == Order("attribute", "last_updated_timestamp", True)


def test_hostile_texts_are_refused_quickly() -> None:
    for text in (
        "auc>1 and " * MAX_CONDITIONS + "auc>1",
        "'" * 100_001,
        "a" * 1_000_000,
        "(" * 100_000,
        "metrics." * 50_000 + "> 1 or",
        "`" + "a" * 100_000,
        "auc > " + "9" * 10_000 + " x",
    ):
        with pytest.raises(InvalidInput) as caught:
            parse_filter(text, "run")
        assert len(str(caught.value)) < 2_000
    assert parse_filter("auc > " + "9" * 10_000, "run") == (Comparison("metric", "auc", ">", float("inf")),)
    slow = Comparison("tag", "a", "LIKE", "%a" * 2_000 + "b")
    assert not matches(slow, {"tag": {"a": "a" * 8_000}})


def test_records_in_memory_are_filtered_sorted_and_paged() -> None:
    def fields(run: ExperimentRun) -> dict[str, dict[str, object]]:
        return {"attribute": {"name": run.name}, "tag": dict(run.tags)}

    query = Query(parse_filter("tags.team ILIKE 'ice%'", "registered_model"), parse_order(["name DESC"], "registered_model"), limit=2)
    first = found(RUNS, query, fields)  # type: ignore[arg-type]
    assert [run.id for run in first.items] == ["a", "e"]
    rest = found(RUNS, Query(query.where, query.order, limit=2, page=first.next), fields)  # type: ignore[arg-type]
    assert ([run.id for run in rest.items], rest.next) == (["d"], "")
    with pytest.raises(InvalidInput, match="another search"):
        found(RUNS, Query(query.where, query.order, page=first.next), fields, scope="elsewhere")  # type: ignore[arg-type]
    assert paged(RUNS, Query(limit=5)).next == ""
