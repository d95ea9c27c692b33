"""How long `rota up` takes until the first prediction is answered, on a home that has a release.

    rota demo --fast --keep --home HOME && rota --home HOME down
    python benchmarks/operation/start.py HOME ENDPOINT '{"field": value, ...}' [--rounds 5] [--json]

Seconds from the start of the command to the first answer with status 200 on the prediction port, and to the control plane's first.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rota.addresses import is_published, published
from rota.errors import RotaError

GIVE_UP_S = 300.0


def answers(home: Path, server: str, method: str, path: str, body: str | None) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", int(str(published(home)[server])), timeout=GIVE_UP_S)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {(home / 'token').read_text().strip()}"})
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, RotaError, http.client.HTTPException):
        return False


def once(home: Path, endpoint: str, row: str) -> dict[str, float]:
    environment = {**os.environ, "ROTA_HOME": str(home), "ROTA_CONTROL_PORT": "0", "ROTA_PREDICTION_PORT": "0"}
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "rota.cli", "up"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    asked = {
        "first_prediction_s": ("prediction", "POST", f"/v1/endpoints/{endpoint}/predict", json.dumps({"rows": [json.loads(row)]})),
        "control_plane_s": ("control", "GET", "/healthz", None),
    }
    found: dict[str, float] = {}
    while len(found) < len(asked) and time.monotonic() - began < GIVE_UP_S:
        for name, question in asked.items():
            if name not in found and is_published(home) and answers(home, *question):
                found[name] = time.monotonic() - began
        time.sleep(0.01)
    process.terminate()
    process.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("endpoint")
    parser.add_argument("row")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = [once(options.home, options.endpoint, options.row) for _ in range(options.rounds)]
    figures = {name: [round(each.get(name, float("nan")), 2) for each in rounds] for name in ("first_prediction_s", "control_plane_s")}
    if options.json:
        print(json.dumps(figures))
        return
    for name, values in figures.items():
        print(f"{name:<20} median {statistics.median(values):.2f} of {values}")


if __name__ == "__main__":
    main()
