"""The glossary: every public name and every module stands there, a word has one row, and a class name means one thing."""

import ast
import importlib
import importlib.util
import re
from collections import defaultdict
from pathlib import Path

import rota

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "rota"
PAGE = ROOT / "docs" / "glossary.md"
WORDS, _, MODULES = PAGE.read_text().partition("## Modules\n")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in WORDS.splitlines() if line.startswith("| ") and "| word |" not in line]


def test_every_public_name_has_its_row():
    named = [match[1] for row in ROWS if (match := re.fullmatch(r"`(\w+)`", row[0]))]
    assert sorted(named) == dir(rota)


def test_a_word_has_one_row_and_each_row_a_meaning_and_a_place():
    words = [row[0].strip("`").lower() for row in ROWS]
    assert sorted(words) == sorted(set(words))
    assert [row[0] for row in ROWS if len(row) != 4 or not row[1] or not row[2]] == []


def test_each_place_in_the_code_is_there():
    for place in sorted({place for row in ROWS for place in re.findall(r"`(rota(?:\.\w+)*)`", row[2])}):
        assert importlib.util.find_spec(place), f"docs/glossary.md names the module {place}, which is not there"


def test_the_table_of_modules_is_as_the_modules_are():
    spec = importlib.util.spec_from_file_location("glossary", ROOT / "benchmarks" / "house" / "glossary.py")
    assert spec is not None
    assert spec.loader is not None
    glossary = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(glossary)
    assert glossary.page(PAGE.read_text()) == PAGE.read_text(), "run `python benchmarks/house/glossary.py`"
    assert re.findall(r"^\| `([\w.]+)` \| \S", MODULES, re.MULTILINE) == list(glossary.modules())


def test_a_class_name_means_one_thing_in_the_whole_package():
    files = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                files[node.name].add(path.relative_to(SOURCE).as_posix())
    twice = {name: sorted(places) for name, places in files.items() if len(places) > 1}
    assert twice == {}, "two things bear one name: rename one"
