"""An unmodified MLflow client sees the same of Rota as of MLflow's own server, step by step; where not, the step says what instead."""

import json
from pathlib import Path
from typing import Any

import pytest

GROUPS = json.loads((Path(__file__).parent / "client" / "groups.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_a_client_sees_the_same_here_as_of_mlflow(compared: Any, group: str) -> None:
    theirs, ours = compared.mlflow["groups"][group]["steps"], compared.rota["groups"][group]["steps"]
    broken = [step["seen"] for step in (*theirs, *ours) if step["label"] == "the rest of the group"]
    assert not broken, broken[0]
    wrong = [told for mine, other in zip(ours, theirs, strict=True) if (told := _difference(mine, other))]
    assert not wrong, "\n".join(["", *wrong])


def _difference(mine: dict[str, Any], other: dict[str, Any]) -> str:
    """What is wrong with a step, "" when nothing is. A difference that is noted as wanted must be one."""
    assert mine["label"] == other["label"]
    leaves = _leaves(mine["seen"], other["seen"])
    if "rota" in mine:
        leaves = [] if leaves and mine["seen"] == mine["rota"] else [("", f"{mine['seen']}, noted {mine['rota']}", str(other["seen"]))]
    if not leaves:
        return ""
    shown = [f"{mine['label']}{where}\n    rota   {a}\n    mlflow {b}" for where, a, b in leaves]
    return "\n".join([*shown, f"    rota said   {mine.get('message', '')}", f"    mlflow said {other.get('message', '')}"])


def _leaves(a: Any, b: Any, where: str = "") -> list[tuple[str, str, str]]:
    """Where two values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [leaf for key in sorted(a.keys() | b.keys()) for leaf in _leaves(a.get(key, "absent"), b.get(key, "absent"), f"{where}.{key}")]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [leaf for n, (x, y) in enumerate(zip(a, b, strict=True)) for leaf in _leaves(x, y, f"{where}[{n}]")]
    return [] if a == b else [(where, str(a)[:400], str(b)[:400])]
