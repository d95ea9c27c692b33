"""Patterns and folders that lead to files without end, in circles, to a million names: every search ends and says why."""

import fnmatch
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rota import found_files
from rota.errors import InvalidInput
from rota.manage.features.ingestion.file_source import FileSource
from rota.manage.features.rows.field_inference import inferred_fields


@pytest.fixture
def loops(tmp_path: Path) -> Path:
    """A folder of two files, and in it links that lead back: a search that followed them would see 2 ** 40 folders."""
    (tmp_path / "a.csv").write_text("id,at\n1,2024-01-01\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.csv").write_text("id,at\n2,2024-01-01\n")
    for name in ("back", "again", "more"):
        (tmp_path / "deep" / name).symlink_to(tmp_path)
    (tmp_path / "self.csv").symlink_to("self.csv")
    return tmp_path


def test_links_that_lead_back_are_not_walked(loops: Path) -> None:
    assert [file.path.name for file in found_files.matching(f"{loops}/**/*.csv")] == ["a.csv", "b.csv"]
    assert [path.name for path in found_files.below(loops)] == ["a.csv", "b.csv"]
    assert [path.name for path in found_files.below(loops, links=True)] == ["a.csv", "b.csv"]
    assert inferred_fields(f"{loops}/**/*.csv") == {"id": "int", "at": "timestamp"}


def test_fields_are_inferred_from_the_files_that_are_ingested(tmp_path: Path) -> None:
    (tmp_path / "_SUCCESS.csv").write_text("other\n1\n")
    (tmp_path / "a.csv").write_text("id,at\n1,2024-01-01\n")
    assert list(FileSource("s", f"{tmp_path}/*.csv", timestamp_field="at").fields) == ["id", "at"]


def test_a_pipe_a_socket_and_a_device_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.csv")
        for path in ("pipe.csv", "socket.csv", "/dev/zero", "/dev/null"):
            with pytest.raises(InvalidInput, match="is a pipe, a socket or a device"):
                found_files.matching(path)
        with pytest.raises(InvalidInput, match="is a pipe"):
            FileSource("s", "pipe.csv", timestamp_field="at")
        assert found_files.matching("*.csv") == []


@pytest.mark.parametrize("pattern", ["/proc/**", "/proc/**/*.csv", "/proc/self/maps", "/proc/self/*", "/sys/**/*.csv", "/etc/../proc/self/maps"])
def test_what_the_kernel_shows_as_files_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="what the kernel shows"):
        found_files.matching(pattern)


def test_a_link_to_what_the_kernel_shows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("/proc/self/maps")
    with pytest.raises(InvalidInput, match="what the kernel shows"):
        found_files.matching(f"{tmp_path}/*.csv")
    with pytest.raises(InvalidInput, match="what the kernel shows"):
        found_files.below(tmp_path, links=True)
    assert found_files.below(tmp_path) == []


def test_a_search_of_too_many_names_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_files, "MOST_NAMES", 50)
    for place in range(8):
        (tmp_path / str(place)).mkdir()
        for number in range(8):
            (tmp_path / str(place) / f"{number}.csv").touch()
    for search in (lambda: found_files.matching(f"{tmp_path}/**/*.csv"), lambda: found_files.matching(f"{tmp_path}/*/*.csv")):
        with pytest.raises(InvalidInput, match="more than 50 names; give a narrower pattern"):
            search()
    with pytest.raises(InvalidInput, match="more than 50 names"):
        found_files.below(tmp_path)


@pytest.mark.parametrize("pattern", ["*" + "a" * 300 + ".csv", "a" * 300 + ".csv", "x/" * 150 + "*.csv", "{0}/self.csv"])
def test_names_that_no_file_can_have_are_not_there(loops: Path, pattern: str) -> None:
    assert found_files.matching(pattern.format(loops)) == []


def test_a_pattern_deeper_than_any_interpreter_follows_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1500 folders within each other, at most 200"):
        found_files.matching("*/" * 1_500 + "*.csv")


def test_a_pattern_of_many_stars_takes_linear_time() -> None:
    program = (
        "from rota.found_files import expression\n"
        "for pattern in ('*a' * 60 + '*b', '**/' + '*a' * 60 + '*b', ('*a' * 30 + '*/') * 2 + 'b'):\n"
        "    assert expression(pattern).fullmatch('a' * 250 + '/' + 'a' * 250) is None\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@given(st.text("ab/*?", min_size=1, max_size=9), st.text("ab/", max_size=9))
def test_a_pattern_matches_what_trying_every_place_matches(pattern: str, name: str) -> None:
    if "**" in pattern or pattern.startswith("/") or "//" in pattern:
        return
    simple = re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
    assert bool(found_files.expression(pattern).fullmatch(name)) == bool(re.fullmatch(simple, name))
    if "/" not in name:
        assert bool(found_files.expression(pattern).fullmatch(name)) == fnmatch.fnmatchcase(name, pattern)


@given(st.text("ab/*", max_size=5), st.text("ab/*", max_size=5), st.text("ab/", max_size=9))
def test_any_number_of_folders_matches_what_trying_every_place_matches(before: str, behind: str, name: str) -> None:
    if "**" in before + "-" + behind or (before and not before.endswith("/")):
        return
    pattern = f"{before}**/{behind}"
    simple = "(?:[^/]+/)*".join(re.escape(part).replace(r"\*", "[^/]*") for part in (before, behind))
    assert bool(found_files.expression(pattern).fullmatch(name)) == bool(re.fullmatch(simple, name))


def test_a_folder_of_links_and_pipes_is_an_input_of_its_files(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").symlink_to("a.parquet")
    os.mkfifo(tmp_path / "c.parquet")
    assert [path.name for path in found_files.below(tmp_path, links=True)] == ["a.parquet", "b.parquet"]
