"""A program that changes its directory: what is open stays where it is, and a second home is never begun in silence."""

import warnings
from pathlib import Path

import pytest

import rota
from rota.programs import SecondHome


def test_a_second_home_of_the_same_relative_name_is_warned_of_and_an_absolute_one_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    with rota.track("churn", home=".of-the-test") as run:
        run.log_metric("loss", 0.5)
    monkeypatch.chdir(tmp_path / "second")
    with pytest.warns(SecondHome, match=r"was .*first.*and is now .*second"), rota.track("churn", home=".of-the-test"):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error", SecondHome)
        with rota.track("churn", home=tmp_path / "first" / ".of-the-test"):
            pass


def test_what_is_open_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "first")
    with rota.FeatureStore(".store-of-the-test") as store:
        monkeypatch.chdir(tmp_path / "second")
        assert store.list_feature_views() == []
    assert list((tmp_path / "second").iterdir()) == []
