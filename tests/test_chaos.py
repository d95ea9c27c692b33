"""The campaign of faults in small: its worlds come up, faults are survived, and everything acknowledged is read back."""

import json
import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("faults", ["--kills=6", "--damage=3"])
def test_a_small_campaign_loses_and_doubles_nothing(root, faults):
    none = [f"--{name}=0" for name in ("kills", "stops", "full", "outages", "damage")]
    command = [sys.executable, "-m", "benchmarks.operation.chaos", "--seed=3", *none, faults]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"{done.stdout[-3_000:]}\n{done.stderr[-3_000:]}"
    (part,) = json.loads(done.stdout)["parts"]
    assert part["faults"] == int(faults[-1])
    assert part["acknowledged"]["predictions"] > 0
