"""Texts from outside are read in a time that grows with their length: so many characters that its square would never end.

Each runs in a process of its own, because a regular expression at work cannot be interrupted.
"""

import subprocess
import sys

import pytest

N = 300_000
GUARD_S = 60
FILTERS = {
    "digits": f"'a > ' + '1' * {N} + 'x'",
    "digits and points": f"'a > ' + '1.' * {N}",
    "exponents": f"'a > ' + '1e' * {N}",
    "quotes": f"'a = ' + chr(39) * {2 * N + 1} + 'x'",
    "an open quote": f"'params.a = ' + chr(39) + 'b' * {N}",
    "double quotes": f"'\"' * {2 * N + 1}",
    "back-ticks": f"'`' * {N}",
    "dots": f"'a.' * {N} + '\"'",
    "blanks": f"'a > 1' + ' ' * {N} + '?'",
    "blanks before nothing": f"' ' * {N} + '('",
    "brackets": f"'(' * {N}",
    "nots": f"'a ' + 'not ' * {N}",
}
READ = """
from rota.manage.experiments import search_grammar as g
from rota.errors import InvalidInput
g.MAX_TEXT = 10**9
for read in (lambda: g.parse_filter({text}, "run"), lambda: g.parse_order([{text}], "run")):
    try:
        read()
    except InvalidInput as error:
        assert len(str(error)) < 3_000
    else:
        raise SystemExit("taken")
"""
CASES = {"filters and orders": "".join(READ.format(text=text) for text in FILTERS.values())}
CASES["addresses with passwords in arguments"] = (
    f"from rota.manage.experiments.provenance import _ADDRESS as a\nassert a.sub('x', 'a' * {N} + '.-' * {N} + '://' * {N}) is not None"
)
CASES["LIKE in an expression"] = f"""
from rota.manage.features.expressions.compiler import compile_values
answer = compile_values(["t like '%a%a%a%a%a%a%a%a%b'"], {{"t": "string"}})
assert answer({{"t": "a" * {N}}}) == (False,)
"""
CASES["LIKE in a search"] = f"from rota.records.searching import _like\nassert not _like('a' * {N}, '%a%a%a%a%a%a%a%a%b')"
CASES["times, durations and numbers"] = f"""
from contextlib import suppress
from rota.errors import RotaError
from rota.records.time import micros, parse_time
for text in ("1" * {N}, "1d" * {N}, "2024-01-01T" + "0" * {N}, " " * {N}, "1/2/" * {N}, "." * {N}):
    for read in (parse_time, micros):
        with suppress(RotaError):
            read(text)
"""
CASES["names, references and schedules"] = f"""
from contextlib import suppress
from rota.errors import RotaError
from rota.manage.features.definitions import references
from rota.manage.models import cron, version_sources
from rota.records.record import check_name
for text in ("a" * {N}, "a/" * {N}, "a:" * {N}, "@v" * {N}, "* " * {N}, "1,-" * {N}, "mon" * {N}):
    for read in (lambda t: check_name("thing", t), references._REFERENCE.fullmatch, cron._FIELD.fullmatch, version_sources._VERSION.match):
        with suppress(RotaError):
            read(text)
"""


@pytest.mark.parametrize("name", CASES)
def test_reading_is_linear(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", CASES[name]], timeout=GUARD_S, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
