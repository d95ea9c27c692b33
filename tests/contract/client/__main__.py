"""Runs the groups of steps with this environment's `mlflow` and writes what it saw: `python client OUT`.

MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN say where. The process knows nothing of Rota. Groups share `known`, what earlier
ones made, and stand in the order in which they need each other.
"""

import importlib
import json
import logging
import sys
import time
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace

import mlflow
from transcript import Transcript

GROUPS = json.loads(Path(__file__).with_name("groups.json").read_text())


def main(out: str, groups: list[str]) -> None:
    warnings.simplefilter("ignore")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    known = SimpleNamespace(three=mlflow.__version__.startswith("3."))
    client, said, told = mlflow.MlflowClient(), Transcript(), {}
    for group in groups:
        said.noted = []
        began = time.monotonic()
        try:
            importlib.import_module(group).steps(said, client, known)
        except Exception:  # noqa: BLE001 - the other groups are tried too
            said.noted.append({"label": "the rest of the group", "seen": f"broke off: {traceback.format_exc()}"})
        told[group] = {"steps": said.noted, "took_s": round(time.monotonic() - began, 2)}
    plain = {name: value for name, value in vars(known).items() if isinstance(value, str | bool)}
    Path(out).write_text(json.dumps({"version": mlflow.__version__, "groups": told, "known": plain}, indent=1))


main(sys.argv[1], sys.argv[2:] or GROUPS)
