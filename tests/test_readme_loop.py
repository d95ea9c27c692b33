"""README's loop in one file, from its history to an answer: what is served is what was trained on."""

import json
import os
import random
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

import rota
from rota.errors import NotFound

HISTORY = 3_000
SHOPS = ("north", "south", "west")


def sales(now):
    """Sales of the last forty days, each known a day later; small ones come back."""
    draw = random.Random(7)
    rows = []
    for number in range(HISTORY):
        asked_at = now - timedelta(days=40) + timedelta(days=38.9) * (number / HISTORY)
        amount = draw.lognormvariate(3, 1)
        row = {"id": str(number), "shop": draw.choice(SHOPS), "asked_at": asked_at, "amount": amount, "known_at": asked_at + timedelta(days=1)}
        rows.append(row | {"returned": draw.random() < (0.8 if amount < 20 else 0.1)})
    return rows


def command(folder, *words):
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    done = subprocess.run([sys.executable, "-m", "rota.cli", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def answers(client, rows):
    deadline = time.monotonic() + 120
    while True:
        try:
            return client.predict("returns", rows)
        except NotFound:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_the_loop_in_one_file_serves_what_it_trained_on(root, tmp_path):
    (project,) = re.findall(r"^```python run file=project.py\n(.*?)^```", (root / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "project.py").write_text(project)
    command(tmp_path, "apply", "project.py")
    now = datetime.now(UTC)
    with rota.up(tmp_path / ".rota", control_port=0, prediction_port=0) as client:
        client.push("sales", sales(now))
        trained = json.loads(command(tmp_path, "pipeline", "run", "returns", "--local", "--json"))
        assert trained["status"] == "succeeded", trained
        told = answers(client, [{"shop": shop, "amount": 35.0} for shop in (*SHOPS, "nowhere")])
        assert [each.get("error", "") for each in told] == [""] * 4
        assert [bool(each.get("missing")) for each in told] == [False, False, False, True]
        client.label("returns", [{"prediction_id": told[0]["prediction_id"], "value": 1.0}])
        parity = json.loads(command(tmp_path, "features", "parity", "returns", "--json"))
    assert (parity["state"], parity["predictions"], parity["differences"]) == ("equal", 4, [])
