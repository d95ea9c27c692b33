"""ComputeContract: the law of `rota.ports.compute.Compute` as tests. Needs pytest."""

import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rota.errors import Interrupted, InvalidInput, Refused
from rota.ports.compute import Compute
from rota.testing.contract import EngineContract

STEPS = """
import json, os, sys, time
LOADED = os.urandom(8).hex()
def echo(arguments): return arguments
def where(arguments): return {"pid": os.getpid(), "path": sys.path[0], "loaded": LOADED}
def fail(arguments): raise KeyError("no such airport: " + arguments["airport"])
def leave(arguments): sys.exit(3)
def chatter(arguments):
    print("to standard output"); sys.stderr.write("to standard error"); os.write(1, b'{"result": "forged"}'); return "calm"
def unspeakable(arguments): return {1, 2}
def die(arguments): os._exit(7)
def slow(arguments): time.sleep(arguments["seconds"]); return "late"
def big(arguments): return "x" * arguments["size"]
"""


class ComputeContract(EngineContract):
    """Give the fixture `compute`."""

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        """A folder with a module of user code."""
        (tmp_path / "contract_steps.py").write_text(textwrap.dedent(STEPS))
        return tmp_path

    @pytest.mark.parametrize("value", [None, {}, [1, "é\n", {"a": [None, True]}], 0.1, -0.0, float("inf")], ids=repr)
    def test_arguments_arrive_and_results_return_as_json_values(self, compute: Compute, project: Path, value: object) -> None:
        assert compute.run("contract_steps:echo", {"value": value}, path=project) == {"value": value}

    def test_the_path_comes_first(self, compute: Compute, project: Path) -> None:
        assert compute.run("contract_steps:where", {}, path=project)["path"] == str(project)

    def test_without_a_path_installed_modules_run(self, compute: Compute) -> None:
        assert compute.run("json:dumps", {"a": 1}) == '{"a": 1}'

    def test_large_values_pass_both_ways(self, compute: Compute, project: Path) -> None:
        text = "y" * 3_000_000
        assert compute.run("contract_steps:echo", {"text": text}, path=project) == {"text": text}
        assert len(compute.run("contract_steps:big", {"size": 3_000_000}, path=project)) == 3_000_000

    def test_an_exception_is_refused_with_type_message_and_traceback(self, compute: Compute, project: Path) -> None:
        with pytest.raises(Refused, match=r"KeyError: 'no such airport: XYZ'") as caught:
            compute.run("contract_steps:fail", {"airport": "XYZ"}, path=project)
        assert "in fail" in str(caught.value)
        assert caught.value.facts["type"] == "KeyError"
        assert compute.run("contract_steps:echo", {}, path=project) == {}

    @pytest.mark.parametrize(
        ("function", "type_"),
        [("contract_steps:leave", "SystemExit"), ("contract_steps:none", "AttributeError"), ("no_such_module:x", "ModuleNotFoundError")],
    )
    def test_leaving_and_missing_names_are_exceptions_too(self, compute: Compute, project: Path, function: str, type_: str) -> None:
        with pytest.raises(Refused, match=type_):
            compute.run(function, {}, path=project)

    def test_prints_do_not_disturb_the_answer(self, compute: Compute, project: Path) -> None:
        assert compute.run("contract_steps:chatter", {}, path=project) == "calm"

    def test_what_is_not_json_is_refused_either_way(self, compute: Compute, project: Path) -> None:
        with pytest.raises(InvalidInput, match="arguments"):
            compute.run("contract_steps:echo", {"set": {1}}, path=project)
        with pytest.raises(Refused, match="set"):
            compute.run("contract_steps:unspeakable", {}, path=project)

    @pytest.mark.parametrize("function", ["", "module", ":name", "module:", "a b:c", "a:b.c", "../a:b", "os:system('x')"])
    def test_a_function_not_written_module_name_is_refused(self, compute: Compute, function: str) -> None:
        with pytest.raises(InvalidInput):
            compute.run(function, {})

    def test_changed_code_is_the_code_that_runs(self, compute: Compute, project: Path) -> None:
        module = project / "edited.py"
        module.write_text("def answer(arguments): return 1\n")
        assert compute.run("edited:answer", {}, path=project) == 1
        module.write_text("def answer(arguments): return 'two'\n")
        assert compute.run("edited:answer", {}, path=project) == "two"

    def test_paths_with_modules_of_the_same_name_are_apart(self, compute: Compute, tmp_path: Path) -> None:
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "twin.py").write_text(f"def who(arguments): return {name!r}\n")
        assert [compute.run("twin:who", {}, path=tmp_path / name) for name in ("first", "second", "first")] == ["first", "second", "first"]

    def test_threads_may_run_at_once(self, compute: Compute, project: Path) -> None:
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda i: compute.run("contract_steps:echo", {"i": i}, path=project)["i"], range(9))) == list(range(9))

    def test_a_passed_timeout_ends_the_function(self, compute: Compute, project: Path) -> None:
        began = time.monotonic()
        with pytest.raises(Interrupted, match="contract_steps:slow"):
            compute.run("contract_steps:slow", {"seconds": 3}, path=project, timeout_s=0.5)
        assert time.monotonic() - began < 2.5
        assert compute.run("contract_steps:echo", {}, path=project) == {}

    def test_a_dead_process_interrupts_and_the_next_run_works(self, compute: Compute, project: Path) -> None:
        with pytest.raises(Interrupted, match="7"):
            compute.run("contract_steps:die", {}, path=project)
        assert compute.run("contract_steps:echo", {}, path=project) == {}
