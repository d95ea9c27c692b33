"""Directories that unmodified MLflow clients write now, in their own environments, are adopted."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rota.backends.inline_compute import InlineCompute
from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.journal import MemoryJournal
from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.runs import MemoryRuns
from rota.backends.memory.tables import MemoryTables
from rota.backends.memory.tracking import MemoryTracking
from rota.engines import installed_formats
from rota.manage.adoption import registration as foreign_registration
from rota.manage.adoption.adopt import Adopter
from rota.manage.models import loading, pickle_signing
from rota.manage.models.pickle_signing import PlatformSeals
from rota.manage.repositories import Repositories
from rota.testing import FakeClock

pytestmark = pytest.mark.slow
CONVERT = "rota.wiring:convert_in_child"
PEERS = Path(__file__).resolve().parents[3] / ".peers"
SCRIPT = """
import json, logging, pathlib, sys, warnings
warnings.filterwarnings("ignore")
import mlflow, numpy as np, pandas as pd, lightgbm
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
logging.disable(logging.WARNING)
out, random = pathlib.Path(sys.argv[1]), np.random.default_rng(0)
x = pd.DataFrame({"kind of day": random.choice(["sun", "rain"], 200), "temp": random.normal(20, 8, 200)})
y = ((x.temp > 20) ^ (x["kind of day"] == "rain")).astype(int)
encoder = ColumnTransformer([("day", OneHotEncoder(handle_unknown="ignore"), ["kind of day"]), ("temp", StandardScaler(), ["temp"])])
pipeline = make_pipeline(encoder, LogisticRegression()).fit(x, y)
safe = {"skops_trusted_types": ["numpy.dtype"]} if mlflow.__version__ > "3" else {}
mlflow.sklearn.save_model(pipeline, out / "sklearn", input_example=x[:5], pip_requirements=["scikit-learn"], **safe)
trees = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1).fit(x[["temp"]], y)
mlflow.lightgbm.save_model(trees, out / "lightgbm", input_example=x[["temp"]][:5], pip_requirements=["lightgbm"])
answers = {"sklearn": pipeline.predict_proba(x)[:, 1].tolist(), "lightgbm": trees.predict_proba(x[["temp"]])[:, 1].tolist()}
(out / "said.json").write_text(json.dumps({"rows": x.to_dict("records"), "answers": answers}))
"""


@pytest.mark.parametrize("client", ["mlflow2", "mlflow3"])
def test_what_a_client_writes_answers_as_it_did_there(client: str, tmp_path: Path) -> None:
    python = PEERS / client / "bin" / "python"
    if not python.exists():
        pytest.skip(f"there is no {python}; to run this test: make peers")
    subprocess.run([python, "-c", SCRIPT, tmp_path], check=True, capture_output=True)
    said = json.loads((tmp_path / "said.json").read_text())
    metadata = MemoryMetadata()
    repositories = Repositories(
        metadata, MemoryRuns(metadata), MemoryBlobs(), MemoryTables(), MemoryOnline(), MemoryJournal(), FakeClock(1), MemoryTracking(metadata)
    )
    adopter = Adopter(repositories, installed_formats(PlatformSeals(metadata, lambda: b"k" * 32)), InlineCompute(), CONVERT)
    for model, format_ in (("sklearn", "skops"), ("lightgbm", "lightgbm")):
        version = foreign_registration.register(adopter, model, foreign_registration.of_path(tmp_path / model), actor="ana")
        if client == "mlflow2":  # it knows no safe form of these
            assert f"rota models allow-pickle {model}" in version.unservable
            pickle_signing.allow(metadata, model, actor="ana", reason="ours", now_us=1)
            version = adopter.adopt(model, 1, actor="ana")
        assert (version.format, version.unservable) == (format_, "")
        np.testing.assert_allclose(_answers(adopter, version.bundle, said["rows"]), said["answers"][model], atol=1e-9)


def _answers(adopter: Adopter, bundle: str, rows: list[dict[str, Any]]) -> np.ndarray:
    loaded = loading.load(adopter.repositories.blobs, adopter.formats, bundle)
    vectors = [{f"request__{name.replace(' ', '_')}": value for name, value in row.items()} for row in rows]
    return loaded.predictor.predict(loaded.transformer.matrix(vectors))
