"""YAML of others: what its aliases stand for is counted before anything is built."""

import datetime as dt

import pytest
import yaml

from rota.errors import InvalidInput
from rota.manage.adoption import mlmodel, yaml_data

LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 7))
MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{','.join([f'*a{n - 1}'] * 10)}], k{n}: 1}}\n" for n in range(1, 9))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (LAUGHS, "aliases stand for more than 100000"),
        (MERGES, "aliases stand for more than 100000"),
        ("flavors: &a [*a]", "contains the alias itself"),
        ("a: &a {b: {c: *a}}", "contains the alias itself"),
        ("a: 1" + ":2" * 300_000, "a number of 600001 characters"),
        ("a: " + "9" * 5_000, "a number of 5000 characters"),
    ],
)
def test_a_small_text_that_stands_for_much_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        yaml_data.load(text)
    with pytest.raises(InvalidInput, match=f"MLmodel cannot be read as YAML.*{why}"):
        mlmodel.read(text.encode(), ["model.skops"])


def test_nesting_without_end_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidInput, match="MLmodel cannot be read as YAML"):
        mlmodel.read(b"a: " + b"[" * 100_000, ["model.skops"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: &x {b: 1, c: [2.5, null, yes]}\nd: *x\ne: {<<: *x, b: 2}", None),
        ("at: 2024-05-06 07:08:09\nbase60: 1:30\n'1': text", {"at": dt.datetime(2024, 5, 6, 7, 8, 9), "base60": 90, "1": "text"}),  # noqa: DTZ001
    ],
)
def test_what_is_within_the_limits_is_read_as_safe_load_reads_it(text: str, value: object) -> None:
    assert yaml_data.load(text) == yaml.safe_load(text)
    assert value is None or yaml_data.load(text) == value
