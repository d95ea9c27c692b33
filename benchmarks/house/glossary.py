"""Write the table of modules in docs/glossary.md: each module of the package with the first line of its docstring.

    python benchmarks/house/glossary.py [--check]

`--check` writes nothing and fails when the table is not up to date.
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "rota"
PAGE = ROOT / "docs" / "glossary.md"
HEADING = "## Modules\n"


def modules() -> dict[str, str]:
    """Dotted names below `rota.` with what each holds, in the order of the tree; the template of a project is no module."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        if name:
            found[name] = docstring.split("\n")[0].strip()
    return dict(sorted(found.items()))


def page(text: str) -> str:
    """The page with its table of modules as the package is now."""
    rows = [f"| `{name}` | {line.replace('|', chr(92) + '|')} |" for name, line in modules().items()]
    return text.partition(HEADING)[0] + "\n".join([HEADING, "| module | what it holds |", "|---|---|", *rows]) + "\n"


def main() -> None:
    text = PAGE.read_text()
    wanted = page(text)
    if "--check" in sys.argv:
        sys.exit(f"{PAGE.relative_to(ROOT)} is not up to date; run `python benchmarks/house/glossary.py`" if wanted != text else 0)
    PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
