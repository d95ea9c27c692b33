"""Kinds of models by every door: registered from a program, approved by commands, asked and labelled over HTTP, measured out of the log."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn import datasets
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rota
from rota.manage.signals import label_domain, labels, prediction_log
from rota.monitor import measure
from rota.problems import registry
from rota.server.app import create
from rota.settings import Settings
from rota.wiring import Platform, opened

FOUND = datasets.load_wine(as_frame=True)
WINE = FOUND.data[["alcohol", "flavanoids", "color_intensity"]].astype(float)
KINDS = FOUND.target_names[FOUND.target].astype(str)
ROWS = 24


@dataclass(frozen=True)
class Kind:
    """How a model is fitted, the rows and labels of its requests, and by which metric they are measured afterwards."""

    problem: str
    fit: Callable[[], Any]
    labels: Sequence[Any]
    metric: str
    table: Callable[[], pd.DataFrame] = lambda: WINE
    group: str = ""


def ranker() -> Any:
    return lightgbm.LGBMRanker(n_estimators=10, min_child_samples=5, verbose=-1, n_jobs=1).fit(WINE, 2 - FOUND.target, group=[178])


def catboost() -> Any:
    found = pytest.importorskip("catboost")
    return found.CatBoostClassifier(iterations=10, depth=3, verbose=0, thread_count=1, allow_writing_files=False).fit(WINE, KINDS)


def exercised() -> Any:
    return LinearRegression().fit(BODIES, datasets.load_linnerud(as_frame=True).target)


BODIES = datasets.load_linnerud(as_frame=True).data.astype(float)
PICKED = np.random.default_rng(0).permutation(178)[:ROWS]
ODD = (FOUND.target[PICKED] == 2).astype(float).tolist()
EACH: dict[str, Kind] = {
    "rank": Kind("ranking", ranker, (2.0 - FOUND.target[PICKED]).tolist(), "ndcg", group="search"),
    "odd": Kind("anomaly", lambda: IsolationForest(n_estimators=20, random_state=0).fit(WINE), ODD, "roc_auc"),
    "alike": Kind(
        "clustering", lambda: make_pipeline(StandardScaler(), KMeans(3, n_init=3, random_state=0)).fit(WINE), KINDS[PICKED].tolist(), "adjusted_rand"
    ),
    "kinds": Kind("multiclass", lambda: RandomForestClassifier(10, random_state=0).fit(WINE, KINDS), KINDS[PICKED].tolist(), "balanced_accuracy"),
    "cats": Kind("multiclass", catboost, KINDS[PICKED].tolist(), "balanced_accuracy"),
    "bodies": Kind(
        "regression", exercised, [{"Weight": 170.0 + n, "Waist": 35.0, "Pulse": 56.0} for n in range(20)], "rmse", table=lambda: BODIES
    ),
}  # fmt: skip


def sent(app: Any, method: str, path: str, body: Any = None, *, secret: str = "") -> Any:
    """A request to an ASGI application in this process; the body of its answer."""
    answered: list[Any] = []
    messages = [{"type": "http.request", "body": b"" if body is None else json.dumps(body).encode(), "more_body": False}]
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), (b"authorization", f"Bearer {secret}".encode())]

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answered.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in answered[1:])
    assert answered[0]["status"] < 300, content
    return json.loads(content)


def settle(platform: Platform) -> None:
    worker = platform.processes.worker("w")
    while platform.loop.advance() or worker.work_once():
        pass


def printed(home: Any, *words: str) -> Any:
    result = home.rota(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_a_kind_of_model_by_program_commands_and_http(empty: Any, name: str) -> None:
    kind, table = EACH[name], EACH[name].table()
    outputs = [str(column) for column in datasets.load_linnerud(as_frame=True).target] if name == "bodies" else []
    version = rota.register_model(name, model=kind.fit(), input_example=table.head(20), group=kind.group, outputs=outputs, home=empty.path)
    assert (version.unservable, version.problem) == ("", kind.problem)
    shown = printed(empty, "models", "show", f"{name}@1")["version"]
    assert (shown["problem"], shown.get("group", "")) == (kind.problem, kind.group)
    printed(empty, "endpoints", "create", name, "--model", name)
    assert printed(empty, "models", "approve", f"{name}@1", "--reason", "compared by hand")["status"] == "approved"
    rows = table.iloc[PICKED if table is WINE else range(len(table))].to_dict("records")
    if kind.group:
        rows = [row | {kind.group: f"s{place // 6}"} for place, row in enumerate(rows)]
    with opened(Settings(home=empty.path, prediction_tokens=False)) as platform:
        settle(platform)
        app = platform.processes.prediction_app("serve-0")
        app._poller.poll()
        described = sent(app, "GET", f"/v2/models/{name}")
        assert {tensor["name"] for tensor in described["inputs"]} == set(rows[0])
        ids = [f"p{place}" for place in range(len(rows))]
        found = sent(app, "POST", f"/v1/endpoints/{name}/predict", {"rows": rows, "ids": ids})["predictions"]
        form = registry.problem_type(kind.problem).answer
        assert all(form.fits(each["answer"]) for each in found), found[0]
        if outputs:
            assert list(found[0]["answer"]) == outputs
        truths = [{"prediction_id": each, "value": value} for each, value in zip(ids, kind.labels, strict=True)]
        control = create(platform)
        sent(control, "POST", f"/v1/endpoints/{name}/labels", {"labels": truths}, secret=(empty.path / "token").read_text())
        r = platform.repositories
        settle(platform)
        labels.flush(r.journal, r.tables, name)
        prediction_log.flush(r.journal, r.tables, name)
        known = label_domain.declared(r.metadata, r.blobs, name)
        assert known is not None
        joined = labels.joined(r.tables, name, 0, 2**62, known_until_us=2**62)
        found_day = measure.performances(measure.answered(joined), known)
        assert (found_day.measured, found_day.set_apart) == (len(rows), 0)
        assert kind.metric in found_day.by_version["1"]
