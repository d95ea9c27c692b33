"""The small world of the loop's tests, which the registry's tests run in too."""

import runpy
from pathlib import Path

world = runpy.run_path(str(Path(__file__).resolve().parents[2] / "loop" / "conftest.py"))["world"]
