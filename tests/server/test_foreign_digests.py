"""A digest is no key: whoever writes another project's digest into a field of their own gets none of its bytes."""

import http.client
import json

import pytest

from rota.manage.access import tokens
from rota.ports.metadata import Batch
from rota.records.data import FeatureService
from rota.records.model import ModelBundle, ModelVersion, RegisteredModel, Transformation
from rota.records.record import encode
from rota.records.run import Deployed, PipelineRelease, Run
from rota.records.tracking import Experiment, ExperimentRun
from rota.testing.story import NOON_US, PIPELINE

SECRET = b"what only the other project may read" * 3
RUN, MODEL = "c" * 32, "mine"
M = "/api/2.0/mlflow"


@pytest.fixture
def foreign(platform):
    """A blob of another project, and a project of our own with a run and a model; the digest stands wherever people's texts stand."""
    r = platform.repositories
    digest = r.blobs.put(SECRET)
    words = {"rows": [{"id": digest}], "nested": {"blob": digest, digest: digest}}
    features = FeatureService("f", [])
    bundle = ModelBundle(MODEL, "linear", r.blobs.put(b"model"), "classification", features, Transformation(()), (), (), classes=("0", digest))
    evaluation = {"candidate": {"slices": {"segment": {digest: {"rows": 1}}}}}
    batch = Batch()
    batch.create(RegisteredModel(MODEL, "own", description=digest, tags={"k": digest}))
    batch.create(
        ModelVersion(
            MODEL, 1, r.blobs.put(encode(bundle)), "linear", "", "", "", NOON_US,
            parameters={"p": digest}, tags={"t": digest}, description=digest, input_example=r.blobs.put(encode(words)),
            requirements=r.blobs.put(digest.encode()), evaluation=r.blobs.put(encode(evaluation)), statistics=r.blobs.put(encode([words])),
        )
    )  # fmt: skip
    batch.create(PipelineRelease("e" * 64, "own", "", "", "", False, "", "", NOON_US))
    batch.create(Deployed(MODEL, "dev", "e" * 64, PIPELINE, NOON_US))
    r.metadata.commit(batch)
    r.tracking.create_experiment(Experiment("77", "own", "own", NOON_US))
    r.tracking.create_run(ExperimentRun(RUN, "77", "first", "running", NOON_US))
    r.runs.submit(Run("own-run", "train", MODEL, {"note": digest}, NOON_US))
    return digest


@pytest.fixture
def caller(platform, stranger):
    made = tokens.create(platform.repositories.metadata, "ana", "data_scientist", actor="owner", now_us=NOON_US, project="own")
    return stranger.sending(Authorization=f"Bearer {made[1]}")


def write_everywhere(caller, digest):
    """Each text field of each act that a token of a project may do, with the digest in it."""
    pair = {"key": "mlflow.source.git.commit", "value": digest}
    data = {"name": digest, "digest": digest[:36], "source_type": "local", "source": digest}
    acts = [
        (f"{M}/runs/set-tag", {"run_id": RUN, **pair}),
        (f"{M}/runs/create", {"experiment_id": "77", "run_name": digest, "tags": [pair, {"key": "mlflow.source.name", "value": digest}]}),
        (f"{M}/runs/log-parameter", {"run_id": RUN, "key": "packages", "value": digest}),
        (f"{M}/runs/log-batch", {"run_id": RUN, "params": [{"key": "diff", "value": digest}], "tags": [{"key": "diff", "value": digest}]}),
        (f"{M}/runs/log-inputs", {"run_id": RUN, "datasets": [{"dataset": data}]}),
        (f"{M}/logged-models", {"experiment_id": "77", "name": "m", "source_run_id": RUN, "tags": [pair], "params": [pair]}),
        (f"{M}/model-versions/create", {"name": MODEL, "source": f"mlflow-artifacts:/{digest}", "run_id": RUN}),
        (f"{M}/model-versions/create", {"name": MODEL, "source": f"runs:/{RUN}/{digest}"}),
        (f"/v1/models/{MODEL}/versions", {"source": f"runs:/{RUN}/example", "description": digest, "tags": {"x": digest}}),
        (f"/v1/models/{MODEL}/versions", {"source": f"blobs:/{digest}"}),
        (f"/v1/models/{MODEL}/1/card", {"section": "limits", "text": digest}),
        (f"/v1/models/{MODEL}/1/review", {"comment": digest}),
        ("/v1/notes", {"node": f"model_version:{MODEL}@1", "text": digest}),
    ]  # fmt: skip
    runs = [RUN]
    for path, body in acts:
        answer = caller.post(path, body)
        assert answer.status < 500, (path, answer.text)
        if path.endswith("runs/create") and answer.status == 200:
            runs.append(answer.json()["run"]["info"]["run_id"])
    text = json.dumps({"dataframe_split": {"columns": [digest], "data": [[digest]]}}).encode()
    assert caller.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/77/{RUN}/artifacts/example/input.json", text).status == 200
    assert caller.post(f"/v1/models/{MODEL}/versions", {"source": f"runs:/{RUN}/example"}).status in (200, 201)
    return runs


def test_no_field_that_names_a_foreign_digest_gives_its_bytes(platform, foreign, caller, owner):
    runs = write_everywhere(caller, foreign)
    numbers = [v.number for v in platform.repositories.metadata.find(ModelVersion, {"model": MODEL})]
    nodes = [f"model_version:{MODEL}@{number}" for number in numbers] + [f"experiment_run:{run}" for run in runs] + ["run:own-run"]
    paths = [f"/v1/artifacts/{what}/{node}" for what in ("archive", "of") for node in nodes]
    paths += [f"/v1/artifacts/blob/{foreign}", f"/v1/artifacts/file?root={foreign}&path=x", f"/v1/artifacts/file?root=77&path=../{foreign}"]
    paths += [f"/models/{MODEL}/{number}" for number in numbers] + [f"/experiments/runs/{run}" for run in runs]
    paths += [f"/v1/models/{MODEL}/{number}/card" for number in numbers] + [f"/api/2.0/mlflow-artifacts/artifacts/{foreign}"]
    seen = 0
    for path in paths:
        status, body = raw(caller, path)
        assert SECRET[:36] not in body, path
        assert f"blobs/{foreign}".encode() not in body, path
        seen += status == 200
    assert seen >= len(nodes)
    assert raw(owner, f"/v1/artifacts/blob/{foreign}")[1] == SECRET


def raw(caller, path):
    """Status and bytes of an answer, which may be an archive."""
    connection = http.client.HTTPConnection("127.0.0.1", caller.port, timeout=60)
    try:
        connection.request("GET", path, headers=caller.headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
