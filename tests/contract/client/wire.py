"""Requests as no client sends them: the status, the error's code and the shape of the body."""

from mlflow.tracking._tracking_service.utils import get_tracking_uri
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

BASE = "/api/2.0/mlflow"
INVALID = [400, "INVALID_PARAMETER_VALUE", True]
"""What Rota answers where MLflow overlooks a wrong value or breaks."""


def steps(said, client, known):
    def ask(method, path, **more):
        answer = http_request(get_default_host_creds(get_tracking_uri()), path, method, raise_on_status=False, max_retries=0, **more)
        kind = answer.headers.get("content-type", "").partition(";")[0]
        body = answer.json() if kind == "application/json" else None
        if isinstance(body, dict) and "error_code" in body:
            return [answer.status_code, body["error_code"], bool(body["message"])]
        return [answer.status_code, sorted(key for key in body if body[key] not in ([], "")) if isinstance(body, dict) else body]

    def post(path, body=None, method="POST", rota=None):
        said.step(f"{method} {said.plain(path)} {str(said.plain(body))[:120]}", lambda: ask(method, f"{BASE}/{path}", json=body), rota=rota)

    def get(path, rota=None, **query):
        said.step(f"GET {said.plain(path)} {said.plain(query)}", lambda: ask("GET", f"{BASE}/{path}", params=query), rota=rota)

    _experiments(post)
    _runs(post, known.logged)
    _models(post)
    _queries(get, known.logged, known.files)
    for text in ("{", "[]", "3", '"text"', "", "\xff", "null"):
        more = {"data": text, "extra_headers": {"Content-Type": "application/json"}}
        rota = INVALID if text in ("[]", "3", '"text"') else None
        said.step(f"a body of {text!r}", lambda more=more: ask("POST", f"{BASE}/experiments/create", **more), rota=rota)


def _experiments(post):
    post("experiments/create", {})
    post("experiments/create", {"name": None})
    post("experiments/create", {"name": 3})
    post("experiments/create", {"name": "fine", "unknown": 1})
    post("experiments/create", {"name": "tagged wrong", "tags": {"a": "b"}})
    post("experiments/search", {}, rota=[200, ["experiments"]])  # as without `max_results` elsewhere
    post("experiments/search", {"max_results": "3"})
    post("experiments/search", {"max_results": "many"})
    post("experiments/delete", {})


def _runs(post, run):
    post("runs/create", {}, rota=INVALID)
    post("runs/create", {"experiment_id": 0})
    post("runs/create", {"experiment_id": "0", "tags": [{"value": "x"}]}, rota=INVALID)
    post("runs/create", {"experiment_id": "0", "start_time": "soon"})
    post("runs/create", {"experiment_id": "0", "start_time": "1000"})
    post("runs/update", {})
    post("runs/update", {"run_id": run, "status": "FINISHED", "end_time": 5})
    post("runs/search", {})
    post("runs/search", {"experiment_ids": "0"})
    post("runs/search", {"experiment_ids": ["0"], "run_view_type": "NONE_AT_ALL"}, rota=INVALID)
    post("runs/log-metric", {"run_id": run})
    post("runs/log-metric", {"run_id": run, "key": "w", "value": 1, "timestamp": 1})
    post("runs/log-metric", {"run_uuid": run, "key": "w", "value": 1, "timestamp": 1})
    post("runs/log-metric", {"run_id": run, "key": "w", "value": "0.5", "timestamp": "1", "step": "2"})
    post("runs/log-metric", {"run_id": run, "key": "w", "value": "NaN", "timestamp": 1})
    post("runs/log-metric", {"run_id": run, "key": "w", "value": None, "timestamp": 1})
    post("runs/log-metric", {"run_id": run, "key": "w", "value": [], "timestamp": 1}, rota=INVALID)
    post("runs/log-metric", {"run_id": run, "key": "w", "value": 1, "timestamp": 1, "step": 2**70}, rota=INVALID)
    post("runs/log-batch", {"run_id": run, "metrics": [{"key": "w"}]})
    post("runs/log-batch", {"run_id": run, "metrics": {"key": "w"}})
    post("runs/log-batch", {"run_id": run, "params": [{"key": "only"}]})
    post("runs/log-batch", {})
    post("runs/set-tag", {"run_id": run, "key": "w"})
    post("runs/set-tag", {"key": "w", "value": "x"})
    post("runs/log-parameter", {"run_id": run, "key": "w"})
    post("runs/log-inputs", {"run_id": run, "datasets": [{"dataset": {"name": "x"}}]}, rota=INVALID)


def _models(post):
    post("registered-models/create", {})
    post("registered-models/update", {"name": "iris"}, "PATCH")
    post("registered-models/alias", {"name": "iris", "alias": "x"})
    post("model-versions/create", {"name": "iris"})
    post("model-versions/get", {"name": "iris"}, "GET")
    post("nonsense/route", {}, rota=[404, "ENDPOINT_NOT_FOUND", True])


def _queries(get, run, files):
    get("experiments/get")
    get("experiments/get", experiment_id="0")
    get("experiments/get-by-name", experiment_name="first")
    get("experiments/search", max_results=2)
    get("runs/get", run_uuid=run)
    get("runs/get", run_id=run, run_uuid=run)
    get("metrics/get-history", run_id=run)
    get("metrics/get-history", run_id=run, metric_key="m", max_results=0)
    get("metrics/get-history", run_id=run, metric_key="m", page_token="nonsense")
    get("artifacts/list", run_id=files)
    get("artifacts/list")
    get("registered-models/get", name="iris")
    get("registered-models/search", filter="name LIKE 'i%'", order_by="name")
    get("registered-models/get-latest-versions", name="iris")
    get("model-versions/search", filter="name = 'iris'", max_results=1)
    get("runs/create", rota=[405, "ENDPOINT_NOT_FOUND", True])
