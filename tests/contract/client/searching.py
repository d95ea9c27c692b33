"""search_runs: filters, orders, pages, views, and what is wrong with some of them."""

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from transcript import pages

FILTERS = (
    "metrics.loss < 0.3",
    "metrics.loss <= 0.2 and metrics.auc > 0.5",
    "metric.loss != 0.2",
    "metrics.`val loss` >= 2",
    'metrics."val loss" = 3',
    "metrics.loss = 0.1",
    "metrics.absent > 0",
    "metrics.odd > 0",
    "metrics.odd != 1",
    "params.kind = 'tree'",
    "params.kind != 'tree'",
    "params.kind LIKE 't%'",
    "params.kind LIKE 'T%'",
    "params.kind ILIKE 'T%'",
    "params.kind IN ('tree', 'net')",
    "params.kind NOT IN ('tree')",
    "params.depth = '3'",
    "params.depth > '3'",
    "params.depth = 3",
    "params.`learning rate` = '0.1'",
    "parameters.kind = 'tree'",
    'param.kind = "tree"',
    "tags.team = 'blue'",
    "tags.team != 'blue'",
    "tags.team LIKE '%l%e'",
    "tags.`odd key` = 'x y'",
    "tag.team ILIKE 'BL__'",
    "tags.mlflow.user != 'nobody'",
    "tags.mlflow.runName = 'r1'",
    "tags.absent IS NULL",
    "tags.team IS NOT NULL",
    "params.absent IS NULL",
    "params.kind IS NOT NULL",
    "attributes.status = 'FINISHED'",
    "attributes.status != 'FINISHED'",
    "status = 'RUNNING'",
    "attributes.status IN ('RUNNING', 'FAILED')",
    "attribute.run_name = 'r1'",
    "attr.run_name LIKE 'r%'",
    "run.run_name ILIKE 'R1'",
    "attributes.`run name` = 'r1'",
    "attributes.run_name IN ('r1', 'r2')",
    "attributes.start_time >= 3000",
    "attributes.start_time < 2000 or status = 'RUNNING'",
    "attributes.end_time > 0",
    "start_time > 1500 and start_time < 3500",
    "attributes.artifact_uri LIKE '%artifacts'",
    "attributes.user_id = 'ada'",
    "datasets.name = 'wide'",
    "dataset.digest = 'd2'",
    "datasets.context = 'train'",
    "datasets.name LIKE 'w%' and datasets.context = 'train'",
    "datasets.name IN ('wide', 'long')",
    "params.kind = 'it''s'",
    'params.kind = "it\'s"',
    "params.kind = 'a' and metrics.loss > 0 and tags.team = 'blue' and attributes.status = 'FINISHED'",
    " metrics.loss   <  0.3  AND   params.kind='tree' ",
    "metrics.loss > -1 AND metrics.loss < 1e3",
    "metrics.loss < .3",
)
WRONG = (
    "metrics.loss >",
    "metrics.loss",
    "metrics.loss > 'a'",
    "metrics.loss LIKE '%'",
    "params.kind >",
    "params.kind = tree",
    "params.kind IN 'tree'",
    "params.kind IN ()",
    "metrics.loss IN (1, 2)",
    "tags.team = 'blue",
    "nonsense.loss > 1",
    "attributes.nonsense = 'x'",
    "attributes.status > 'FINISHED'",
    "attributes.start_time = 'x'",
    "attributes.start_time LIKE '1%'",
    "datasets.nonsense = 'x'",
    "and",
    "metrics.loss > 1 metrics.auc > 1",
    "metrics.loss > 1 and",
    "(metrics.loss > 1)",
    "NOT metrics.loss > 1",
    "metrics.loss > 1; DROP TABLE runs",
    "metrics.loss == 1",
    "params.kind = 'a' = 'b'",
    "loss > 1",
    "''",
)
ORDERS = (
    ["metrics.loss"],
    ["metrics.loss ASC"],
    ["metrics.loss DESC"],
    ["metrics.`val loss` desc", "params.depth"],
    ["params.kind", "metrics.loss DESC"],
    ["params.kind DESC", "attributes.run_name DESC"],
    ["tags.team", "tags.`odd key`", "attribute.run_name"],
    ["attributes.start_time"],
    ["start_time DESC"],
    ["attributes.status", "attributes.start_time DESC"],
    ["attributes.end_time DESC", "run_name"],
    ["metrics.odd", "run_name"],
    ["metrics.odd DESC", "run_name"],
    ["metrics.absent", "run_name"],
    ["datasets.name"],
    ["nonsense"],
    ["metrics.loss SIDEWAYS"],
    ["nonsense.loss"],
    [""],
    ["attributes.nonsense"],
)
ALL = ["odd5", "odd6", "odd7", "odd8", "r1", "r2", "r3", "r4"]
INVALID = {"error": "INVALID_PARAMETER_VALUE"}
MORE = {
    # Rota knows the user of every run, also when a client sent no such tag
    "tags.mlflow.user != 'nobody'": ALL,
    # more than MLflow's grammar: IN for every text, a quote written twice, a bare name that is a metric
    "attributes.status IN ('RUNNING', 'FAILED')": ["odd5", "odd6", "odd7", "odd8", "r3", "r4"],
    "attributes.run_name IN ('r1', 'r2')": ["r1", "r2"],
    "params.kind = 'it''s'": ["r4"],
    "loss > 1": [],
    "['nonsense']": ALL[3::-1] + ALL[:3:-1],
    # where files are kept follows from the run's id
    "attributes.artifact_uri LIKE '%artifacts'": INVALID,
    # MLflow overlooks what is wrong with these and answers all runs, or none
    "and": INVALID,
    "metrics.loss > 1 metrics.auc > 1": INVALID,
    "metrics.loss > 1 and": INVALID,
}
"""What Rota answers instead, by filter or order."""


def steps(said, client, known):
    _made(said, client, known)
    here = [known.searched]

    def names(text="", **more):
        return [run.info.run_name for run in client.search_runs(here, text, **more)]

    for text in FILTERS:
        said.step(f"filter {text}", lambda text=text: sorted(names(text)), rota=MORE.get(text))
    for text in WRONG:
        said.step(f"wrong {text}", lambda text=text: sorted(names(text)), rota=MORE.get(text))
    for order in ORDERS:
        said.step(f"order {order}", lambda order=order: names(order_by=order), rota=MORE.get(str(order)))
    said.step("no order: the latest started first", names)
    _views(said, client, known, names)

    def page(token):
        return client.search_runs(here, "attributes.run_name LIKE 'r%'", max_results=2, order_by=["metrics.loss DESC"], page_token=token)

    said.step("pages of two", lambda: pages(page, lambda run: run.info.run_name))
    said.step("no results wanted", lambda: names(max_results=0))
    said.step("fewer than none wanted", lambda: names(max_results=-1))
    said.step("too many wanted", lambda: names(max_results=50_001))
    said.step("a page token of nobody", lambda: names(page_token="nonsense"))
    said.step("nowhere", lambda: [run.info.run_name for run in client.search_runs([])])
    said.step("in an experiment nobody has", lambda: [run.info.run_name for run in client.search_runs(["123456"])])
    said.step("in two", lambda: len(client.search_runs([known.searched, known.experiment], "metrics.loss > 0.15 and params.kind != 'q'")))
    frame = mlflow.search_runs(here, order_by=["attributes.run_name"])
    said.step("as a frame", lambda: [list(frame["params.kind"].fillna("none")), list(frame["metrics.loss"].round(3)), sorted(frame.columns)])
    said.step("by names of experiments", lambda: len(mlflow.search_runs(experiment_names=["searched"])))


def _made(said, client, known):
    known.searched = said.named(client.create_experiment("searched"), "searched")
    for number, (kind, depth, team) in enumerate([("tree", "3", "blue"), ("tree", "10", "red"), ("net", "3", "blue"), ("it's", "20", "bl_e")], 1):
        run = client.create_run(known.searched, start_time=1_000 * number, run_name=f"r{number}", tags={"mlflow.user": "ada"}).info.run_id
        said.named(run, f"r{number}")
        metrics = [Metric("loss", number / 10, 1_000, 0), Metric("auc", 1 - number / 10, 1_000, 0), Metric("val loss", number, 1_000, 0)]
        params = [Param("kind", kind), Param("depth", depth), Param("learning rate", "0.1" if number % 2 else "0.01")]
        client.log_batch(run, metrics, params, [RunTag("team", team), RunTag("odd key", "x y" if number > 2 else "z")])
        data = Dataset("wide" if number < 3 else "long", f"d{number}", "http", "{}")
        client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", "train" if number % 2 else "test")])])
        if number < 4:
            client.set_terminated(run, "FINISHED" if number < 3 else "FAILED", 10_000 + number)
    for number, value in enumerate((float("nan"), float("inf"), float("-inf"), 1.0), 5):
        run = client.create_run(known.searched, start_time=1_000 * number, run_name=f"odd{number}").info.run_id
        client.log_metric(run, "odd", value, 1_000)
        said.named(run, f"odd{number}")
    client.delete_run(client.create_run(known.searched, start_time=500, run_name="deleted").info.run_id)


def _views(said, client, known, names):
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL):
        said.step(f"view {ViewType.to_string(view)}", lambda view=view: sorted(names(run_view_type=view)))
    by_parent = f"tags.mlflow.parentRunId = '{known.parent}'"
    said.step("children of a parent", lambda: [run.info.run_name for run in client.search_runs([known.experiment], by_parent)])
    by_id = f"attributes.run_id = '{known.run}'"
    said.step("by id", lambda: [run.info.run_name for run in client.search_runs([known.experiment], by_id)])
    by_ids = f"attributes.run_id IN ('{known.run}', '{known.child}')"
    said.step("by ids", lambda: sorted(run.info.run_name for run in client.search_runs([known.experiment], by_ids)))
