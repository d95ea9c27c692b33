"""Sampled mutation testing: small faults are put into a copy of a module, and the tests of that module must notice each of them.

    python benchmarks/house/mutants.py [--sample 60] [--seed 1] [--minutes 20] [--jobs 2] [--only PART ...]

Draws `--sample` mutants at random from the modules of TESTS, equally many from each of its groups, and runs the group's tests
against each: an overlay of the package before the real one on the path, so the work tree is never touched. Prints the survivors
with the line that was changed, and the score: killed / judged. A mutant whose tests exceed the time-out counts as killed. When the
minutes are over the rest is counted as not judged. A survivor is a missing assertion, or a change that nobody could observe.

Why not a library: mutmut 3 runs every mutant of a module and rewrites the package around a trampoline, which an editable install
under `src` and `--import-mode=importlib` do not reach; cosmic-ray mutates the work tree in place. Neither samples by a seed, knows
a budget of time, or has other tests for each module.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "rota"
TESTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "statistics": (("stats/*.py",), ("tests/stats",)),
    "gates": (("train/gates.py",), ("tests/train/test_gates.py",)),
    "triggers": (("train/triggers.py",), ("tests/train/test_triggers.py",)),
    "judge": (("deploy/judge.py",), ("tests/deploy/test_judge.py", "tests/deploy/test_rollout.py")),
    "routing": (("serve/routing.py",), ("tests/serve/test_routing.py",)),
    "durable": (("durable/*.py",), ("tests/*/test_durable.py",)),
    "join": (
        ("manage/features/join/*.py",),
        (
            "tests/manage/features/test_features_offline.py",
            "tests/manage/features/test_features_windows.py",
            "tests/manage/features/test_features_clustered.py",
        ),
    ),
}
"""Group -> its modules below src/rota, and the tests that must kill their mutants."""
TIMEOUT_S = 60
COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed expression: the text of `path` from `start` to `end` (character offsets) becomes `after`."""

    group: str
    path: Path
    line: int
    start: int
    end: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE)}:{self.line}: `{' '.join(self.before.split())}` -> `{' '.join(self.after.split())}`"


def mutants_of(group: str, path: Path) -> Iterator[Mutant]:
    """Every mutant of a module; messages, annotations, decorators and docstrings are left alone."""
    text = path.read_text()
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    data = text.encode()
    for node in tested(ast.parse(text)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
        before = data[start:end].decode()
        for after in changed(node):
            yield Mutant(group, path, node.lineno, start, end, before, after)


def tested(tree: ast.AST) -> Iterator[ast.expr | ast.Return]:
    """The nodes that decide something, without the texts and types around them."""
    for name, value in ast.iter_fields(tree):
        if name in {"annotation", "returns", "decorator_list"}:
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.Raise | ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom):
                continue
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue
            if isinstance(node, ast.expr | ast.Return):
                yield node
            yield from tested(node)


def changed(node: ast.expr | ast.Return) -> Iterator[str]:
    """The expressions, or the statement, that a node is changed into."""
    match node:
        case ast.Compare(left, [operator], [right]):
            for other in COMPARE[type(operator)]:
                yield f"({ast.unparse(ast.Compare(left, [other()], [right]))})"
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC and not isinstance(left, ast.Constant | ast.JoinedStr):
            yield f"({ast.unparse(ast.BinOp(left, ARITHMETIC[type(operator)](), right))})"
        case ast.BoolOp(operator, values):
            yield f"({ast.unparse(ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values))})"
        case ast.UnaryOp(ast.Not() | ast.USub() | ast.Invert(), operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(bool(value)):
            yield str(not value)
        case ast.Constant(int(value)):
            yield str(value + 1)
        case ast.Constant(float(value)):
            yield repr(value * 2 + 1)
        case ast.Return(value) if value is not None and not (isinstance(value, ast.Constant) and value.value is None):
            yield "return None"


class Overlay:
    """A copy of the package in a directory of its own, in which one module at a time is changed."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rota-mutants-"))
        shutil.copytree(PACKAGE, self.folder / "rota", ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, tests: list[str], mutant: Mutant | None) -> tuple[bool, float, str]:
        """Whether the tests pass, the seconds they took, and what they printed."""
        if mutant is None:
            return self._pytest(tests)
        target = self.folder / "rota" / mutant.path.relative_to(PACKAGE)
        data = target.read_bytes()
        target.write_bytes(data[: mutant.start] + mutant.after.encode() + data[mutant.end :])
        try:
            return self._pytest(tests)
        finally:
            target.write_bytes(data)

    def _pytest(self, tests: list[str]) -> tuple[bool, float, str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "--no-header", "--tb=line", *tests]
        began = time.monotonic()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        ) as process:
            try:
                printed, _ = process.communicate(timeout=self.limit_s(tests))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.communicate()
                return False, time.monotonic() - began, "timed out"
        return process.returncode == 0, time.monotonic() - began, printed

    limits: dict[tuple[str, ...], float] = {}  # noqa: RUF012 - of all overlays: measured once by the run without a mutant

    def limit_s(self, tests: list[str]) -> float:
        return self.limits.get(tuple(tests), 1_800.0)


def files(patterns: tuple[str, ...], root: Path) -> list[Path]:
    """The files of some patterns; a pattern without any is a mistake."""
    found = [sorted(path for path in root.glob(pattern) if path.name != "__init__.py") for pattern in patterns]
    if not all(found):
        sys.exit(f"no file fits {[pattern for pattern, paths in zip(patterns, found, strict=True) if not paths]} below {root}")
    return [path for paths in found for path in paths]


def drawn(groups: list[str], only: list[str], sample: int, seed: int) -> list[Mutant]:
    """`sample` mutants in random order, equally many of each group as far as it has them."""
    lots = random.Random(seed)
    pools = []
    for group in groups:
        paths = [path for path in files(TESTS[group][0], PACKAGE) if not only or any(part in f"{group} {path.relative_to(PACKAGE)}" for part in only)]
        pool = [mutant for path in paths for mutant in mutants_of(group, path)]
        lots.shuffle(pool)
        pools.append(pool)
    mutants = [pool[turn] for turn in range(max(map(len, pools), default=0)) for pool in pools if turn < len(pool)]
    return mutants[:sample]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="parts of a group's or module's name")
    options = parser.parse_args()
    mutants = drawn(list(TESTS), options.only, options.sample, options.seed)
    tests = {group: [str(path.relative_to(ROOT)) for path in files(TESTS[group][1], ROOT)] for group in {mutant.group for mutant in mutants}}
    overlays: Queue[Overlay] = Queue()
    for _ in range(options.jobs):
        overlays.put(Overlay())
    try:
        judge(mutants, tests, overlays, options.jobs, until=time.monotonic() + options.minutes * 60)
    finally:
        while not overlays.empty():
            shutil.rmtree(overlays.get().folder)


def judge(mutants: list[Mutant], tests: dict[str, list[str]], overlays: "Queue[Overlay]", jobs: int, *, until: float) -> None:
    """Run each group's tests without a mutant, then against its mutants; print survivors and the score."""

    def run(group: str, mutant: Mutant | None) -> tuple[bool, float, str] | None:
        if mutant is not None and time.monotonic() > until:
            return None
        overlay = overlays.get()
        try:
            return overlay.run(tests[group], mutant)
        finally:
            overlays.put(overlay)

    with ThreadPoolExecutor(jobs) as pool:
        groups = sorted(tests)
        for group, baseline in zip(groups, pool.map(lambda group: run(group, None), groups), strict=True):
            assert baseline is not None
            passed, seconds, printed = baseline
            if not passed:
                sys.exit(f"the tests of {group} fail without a mutant:\n{printed}")
            Overlay.limits[tuple(tests[group])] = max(TIMEOUT_S, 5 * seconds)
            print(f"{group}: {len(tests[group])} files of tests, {seconds:.0f} s", flush=True)
        verdicts: list[bool | None] = []
        for mutant, outcome in zip(mutants, pool.map(lambda mutant: run(mutant.group, mutant), mutants), strict=True):
            verdicts.append(None if outcome is None else not outcome[0])
            if outcome is not None and outcome[0]:
                print(f"survived {mutant}", flush=True)
    judged = [verdict for verdict in verdicts if verdict is not None]
    share = f"{sum(judged) / len(judged):.0%}" if judged else "none"
    print(f"killed {sum(judged)} of {len(judged)} mutants ({share}); {len(verdicts) - len(judged)} were not judged in the time given")


if __name__ == "__main__":
    main()
