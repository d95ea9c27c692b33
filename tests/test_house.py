"""The house itself: floors, names, public surface, decisions. What is promised about the source tree is looked up in it."""

import ast
import inspect
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import rota
from rota import errors

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "rota"
MODULES = sorted(SOURCE.rglob("*.py"))

PUBLIC = [
    "Canary",
    "Client",
    "ColumnSchema",
    "Conflict",
    "Contract",
    "Corrupt",
    "Dataset",
    "DatasetDefinition",
    "Endpoint",
    "Entity",
    "Feature",
    "FeatureService",
    "FeatureStore",
    "FeatureView",
    "Field",
    "FileSource",
    "GroupSplit",
    "InvalidInput",
    "Monitor",
    "NotFound",
    "OnDemandFeatureView",
    "PushSource",
    "RandomSplit",
    "Refused",
    "ReleasePolicy",
    "RequestSource",
    "RetryPolicy",
    "RotaError",
    "Rows",
    "Settings",
    "Source",
    "TimeSplit",
    "TrainingData",
    "TrainingPipeline",
    "Trial",
    "Unavailable",
    "UseCase",
    "__version__",
    "ab_test",
    "analysis",
    "apply",
    "at_least",
    "at_most",
    "autolog",
    "bandit",
    "blue_green",
    "calibrate",
    "category",
    "compare",
    "count",
    "cron",
    "current_run",
    "error_rate",
    "kpi",
    "last",
    "latency_p95",
    "load",
    "maximum",
    "mean",
    "metric",
    "minimum",
    "new_data",
    "not_worse_than_champion",
    "on_alert",
    "outcomes",
    "pause",
    "per_slice",
    "read_dataset",
    "register_model",
    "set_header_route",
    "set_mirror",
    "set_weight",
    "shadow",
    "share",
    "sql",
    "step",
    "total",
    "track",
    "transform",
    "tune",
    "up",
]


def test_the_import_contracts_hold():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 kept, 0 broken" in done.stdout


def test_importing_rota_loads_nothing_but_rota_and_the_standard_library():
    assert loaded_by("import rota") == {"rota"}


def test_declaring_features_loads_the_records_and_no_engine():
    names = "rota.FeatureView, rota.mean, rota.TrainingPipeline, rota.Endpoint, rota.Monitor, rota.Settings, rota.Refused"
    assert loaded_by(f"import rota; {names}") <= {"rota", "msgspec", "typing_extensions"}


def test_the_supervisor_loads_no_engine_and_no_model():
    heavy = {"polars", "numpy", "deltalake", "sqlalchemy", "sqlglot", "fastapi", "uvicorn", "pydantic", "lmdb"}
    assert not loaded_by("import rota.cli.platform, rota.supervisor.processes") & heavy


def test_asking_for_the_names_and_the_version_loads_nothing():
    assert loaded_by("import rota; dir(rota), rota.__version__, hasattr(rota, 'no_such_name')") == {"rota"}


def loaded_by(program: str) -> set[str]:
    """Top-level packages, apart from the standard library's, that a fresh interpreter imports for a program."""
    script = f"import sys, json; before = set(sys.modules)\n{program}\nprint(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout)} - sys.stdlib_module_names


def test_the_public_names_are_exactly_these():
    assert dir(rota) == PUBLIC


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_every_public_name_is_there_and_says_what_it_is(name: str):
    assert inspect.getdoc(getattr(rota, name)), f"rota.{name} has no docstring"


def test_an_unknown_public_name_is_answered_with_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'KafkaSource'.*'Source'"):
        rota.KafkaSource  # noqa: B018


def test_checkers_read_the_same_public_names_as_python():
    """The imports under TYPE_CHECKING and the table behind `__getattr__` are two texts of one list."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    read = {alias.asname: node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}
    assert read == rota._HOMES


@pytest.mark.slow
def test_a_strict_checker_sees_the_types_behind_the_names(tmp_path):
    (tmp_path / "project.py").write_text("import rota\nview: rota.FeatureView\nreveal_type(rota.sql('x'))\nrota.mean('x')\nrota.Entitty\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path / "cache", "project.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.partition(":")[2] for line in done.stdout.splitlines() if line.startswith("project.py") and 'note: "' not in line]
    assert 'Revealed type is "rota.records.data.Feature"' in found[0]
    assert 'Missing named argument "window"' in found[1]
    assert 'Module has no attribute "Entitty"' in found[2]
    assert len(found) == 3


def test_type_checking_hides_no_imports_elsewhere():
    assert [path.name for path in MODULES if "TYPE_CHECKING" in path.read_text() and path != SOURCE / "__init__.py"] == []


FLOORS = next(
    contract["layers"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["name"].startswith("1 floors")
)
NAME_HIGHER_ONES = {
    "__init__.py": "the table of public names",
    "supervisor/process_table.py": "knows the command line of `python -m rota.cli`",
    "supervisor/processes.py": "starts `python -m rota.cli`",
    "supervisor/running.py": "starts `python -m rota.cli`",
}


def test_no_module_names_a_higher_one_in_a_string():
    """What an import may not do, a name that is imported later may not do either: references are handed in from above."""
    found = [
        f"{path.relative_to(SOURCE)}: {name}"
        for path in MODULES
        if path.relative_to(SOURCE).as_posix() not in NAME_HIGHER_ONES
        for name in modules_named_in_strings(ast.parse(path.read_text()))
        if floor_of(name.removeprefix("rota.").partition(".")[0]) < floor_of(path.relative_to(SOURCE).parts[0].removesuffix(".py"))
    ]
    assert found == []


def test_a_module_named_in_a_string_is_seen():
    program = 'FIT = "rota.wiring:fit_in_child"\nlogging.getLogger("rota.cli")\nhint = "see rota.cli for more"\n'
    assert modules_named_in_strings(ast.parse(program)) == ["rota.wiring"]
    assert floor_of("wiring") < floor_of("train")


def modules_named_in_strings(tree: ast.Module) -> list[str]:
    """Modules of ours that a text names as an importer would: "rota.x.y" or "rota.x.y:function". Names of loggers are none."""
    loggers = {node.args[0] for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "getLogger" and node.args}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in loggers]
    named = [hit.group(1) for text in texts if (hit := re.fullmatch(r"(rota(?:\.\w+)+)(?::\w+)?", text))]
    return [name for name in named if (SOURCE / name.split(".")[1]).exists() or (SOURCE / f"{name.split('.')[1]}.py").exists()]


def floor_of(part: str) -> int:
    """The place of a package or module in the first import contract, 0 at the top; what is above all floors has -1."""
    return next((place for place, floor in enumerate(FLOORS) if part in floor.split(" | ")), -1)


def test_no_module_is_called_by_a_name_that_says_nothing():
    empty_words = {"utils", "util", "helpers", "helper", "common", "core", "base", "misc"}
    assert [path.relative_to(SOURCE).as_posix() for path in MODULES if path.stem in empty_words] == []


def test_no_file_is_an_empty_placeholder():
    assert [str(path.relative_to(SOURCE)) for path in MODULES if path.name != "__init__.py" and not statements(path)] == []


def statements(path: Path) -> list[ast.stmt]:
    """What a file holds beside docstrings and comments."""
    return [node for node in ast.parse(path.read_text()).body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]


def test_every_module_begins_with_a_docstring():
    assert [str(path.relative_to(SOURCE)) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_the_error_tree_is_drawn_as_it_is():
    drawn = re.findall(r"^[├└]── (\w+)  ", errors.__doc__ or "", re.MULTILINE)
    defined = [name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__]
    assert ["RotaError", *drawn] == defined
    assert all(getattr(errors, name).__bases__ == (errors.RotaError,) for name in drawn)


def test_decisions_are_short_and_numbered_without_a_gap():
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert len(text.splitlines()) <= 60, f"{page.name} is longer than 60 lines"
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Options", "Choice", "What would change our mind"], page.name
        assert text.startswith(f"# {page.name[:4]}. "), page.name


def test_the_table_of_engines_names_what_is_opened():
    table = (ROOT / "docs" / "inside.md").read_text().partition("## Ports and engines")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([\w/]+)\.py`", table)) - {"engines", "record_engines"}
    texts_of_engines = [(SOURCE / f"{module}.py").read_text() for module in ("engines", "record_engines")]
    opened = {name.replace(".", "/") for text in texts_of_engines for name in re.findall(r"rota\.backends\.([\w.]+)", text)}
    assert opened <= named, f"docs/inside.md lacks {sorted(opened - named)}"
    assert [name for name in named if not (SOURCE / "backends" / f"{name}.py").is_file()] == []
    ports = {path.stem for path in (SOURCE / "ports").glob("[a-z]*.py")}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == ports


def test_the_readme_is_short_and_shows_code_at_once():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert next(number for number, line in enumerate(lines, 1) if line.startswith(("```console", "```python"))) < 30


def test_links_in_the_documents_lead_somewhere():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}, which is not there"


def test_links_into_a_page_lead_to_a_heading_of_it():
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", document.read_text()):
            page = document.parent / target if target else document
            titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            headings = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in headings, f"{document.relative_to(ROOT)} links to {target}#{anchor}, a heading that is not there"


def test_the_picture_of_the_floors_names_every_floor_and_room():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = [layer for contract in contracts if contract["type"] == "layers" for layer in contract["layers"]]
    pages = (ROOT / "docs" / "inside.md").read_text().partition("## Floors")[2].partition("## Ports and engines")[0]
    assert {name for layer in layers for name in layer.split(" | ")} - set(re.findall(r"\w+", pages)) == set()


def test_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_no_file_names_a_path_of_somebodys_machine():
    private = re.compile(r"(?<![\w.)}~>-])/(?:home|root|Users|work|workspace|mnt)/\w+")
    found = [f"{path.relative_to(ROOT)}: {hit.group()}" for path in texts() for hit in private.finditer(path.read_text(errors="replace"))]
    assert found == []


def test_the_lock_names_no_index():
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host", text), lock.name
        assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\S)", text) if re.match(r"\w", block)), f"{lock.name}: a line without hash"


def test_the_locks_agree_with_each_other():
    pins = {lock.stem: set(re.findall(r"^(\S+==.*?) *\\?$", lock.read_text(), re.MULTILINE)) for lock in (ROOT / "requirements").glob("*.txt")}
    assert pins["base"] < pins["demo"] < pins["dev"]


def texts() -> Iterator[Path]:
    """Every file of the repository that people read."""
    folders = [ROOT / name for name in ("src", "tests", "docs", "requirements", "benchmarks", "examples", ".ci")]
    for path in [*ROOT.glob("[!.]*"), *(path for folder in folders for path in folder.rglob("[!.]*"))]:
        if path.is_file() and path.suffix in {"", ".py", ".md", ".toml", ".txt", ".html", ".js", ".json"}:
            yield path
