"""Write docs/problems.md, the reference of all problem types, from their tables.

python benchmarks/house/problems.py
"""

from pathlib import Path

from rota.rendering import problems_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "problems.md"


if __name__ == "__main__":
    PAGE.write_text(problems_reference.markdown())
