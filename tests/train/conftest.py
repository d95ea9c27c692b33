"""The small world of the loop's tests, which training runs in too."""

import runpy
from pathlib import Path

world = runpy.run_path(str(Path(__file__).resolve().parents[1] / "loop" / "conftest.py"))["world"]
