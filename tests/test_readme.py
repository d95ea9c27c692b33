"""The blocks of the README and of the guides run as a reader would run them.

A block takes part when its fence says so: ```python run (all of them are one program, in order) or ```console run (lines
after "$ " are commands; the lines below one are its output, where "..." stands for anything). `file=NAME` after `run` also
writes a python block to that file, for the commands that come after it.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

FENCE = re.compile(r"^```(python|console) run(?: file=(\S+))?[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One runnable block of a document."""

    language: str
    file: str
    text: str
    line: int


def blocks(document: str) -> list[Block]:
    return [Block(m[1], m[2] or "", m[3], document.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(document)]


def commands(text: str) -> list[tuple[str, str]]:
    """Each command of a console block with the output that the document shows, "" where it shows none."""
    found = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not found[0].strip(), f"a console block begins with {found[0].splitlines()[0]!r}, not with a '$ ' line"
    return [(line.strip(), shown.strip()) for line, _, shown in (part.partition("\n") for part in found[1:])]


def shows(shown: str, output: str) -> bool:
    """Whether the output is what the document shows of it."""
    pattern = ".*".join(re.escape(part) for part in shown.split("..."))
    return not shown or re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def run(document: str, folder: Path) -> None:
    """Run a document's blocks in a folder; an AssertionError names the first one that does not do what it shows."""
    program, found = "", blocks(document)
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.language == "console":
            for command, shown in commands(block.text):
                output = execute(["bash", "-euo", "pipefail", "-c", command], folder, block)
                assert shows(shown, output), f"line {block.line}: `{command}` printed\n{output}\nand the document shows\n{shown}"
            continue
        if block.file:
            (folder / block.file).write_text(block.text)
        program += "\n" * (block.line - program.count("\n")) + block.text  # a traceback names lines of the document
        if following is None or following.language == "console":
            (folder / "_program.py").write_text(program)
            execute([sys.executable, "_program.py"], folder, block)


def execute(arguments: list[str], folder: Path, block: Block) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"line {block.line}: {arguments[-1]!r} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        pytest.param("docs/features.md", marks=pytest.mark.slow),
        "docs/experiments.md",
        "docs/sources.md",
        "docs/backup.md",
        "docs/answers.md",
        "docs/monitoring.md",
        pytest.param("docs/without-features.md", marks=pytest.mark.slow),
    ],
)
def test_the_document_does_what_it_says(root, tmp_path, document):
    text = (root / document).read_text()
    assert blocks(text), f"no block of {document} is marked to be run: ```python run or ```console run"
    run(text, tmp_path)


def test_only_marked_blocks_run_and_know_their_line():
    found = blocks("# A\n```python\nnever\n```\n```python run\nx = 1\n```\n```console run\n$ true\n```\n")
    assert [(block.language, block.line) for block in found] == [("python", 5), ("console", 8)]


def test_python_blocks_are_one_program_and_may_be_files(tmp_path):
    run(
        "```python run file=project.py\nx = 20\n```\n```python run\nassert x + 1 == 21\n```\n```console run\n$ cat project.py\nx = 20\n```\n",
        tmp_path,
    )


@pytest.mark.parametrize(
    "document",
    [
        "```python run\nassert 1 == 2\n```\n",
        "```console run\n$ echo one; false\n```\n",
        "```console run\n$ echo one\ntwo\n```\n",
        "```console run\n$ printf 'a\\nb\\nc\\n'\na\n...\nd\n```\n",
        "```console run\nno prompt\n```\n",
        "```python run\nx = 1\n```\n```python run\nprint(y)\n```\n",
    ],
)
def test_a_document_that_is_wrong_is_caught(document, tmp_path):
    with pytest.raises(AssertionError):
        run(document, tmp_path)


def test_an_ellipsis_stands_for_anything(tmp_path):
    run("```console run\n$ printf 'a\\n17 ms\\nc\\n'\na\n... ms\n...\n```\n", tmp_path)
