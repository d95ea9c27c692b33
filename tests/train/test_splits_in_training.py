"""Training with each split, end to end: what is held out stays held out, and gate 1 looks at the newest days whatever the split."""

import polars as pl
import pytest

from rota.manage.datasets import build as datasets
from rota.records.dataset import DatasetVersion
from rota.records.time import DAY_US, HOUR_US

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightgbm")


@pytest.fixture
def with_split(world, tmp_path):
    def change(text):
        file = tmp_path / "project" / "project.py"
        file.write_text(file.read_text().replace('rota.TimeSplit(test="12h")', text))
        world.platform.projects.apply(file)
        return world

    return change


def one_more_day(world):
    """The day behind a history of two."""
    weather = world.weather(2)
    start = weather[0]["at"]
    world.clock.advance(start + DAY_US)
    world.platform.features.push("weather", weather)
    warm = {row["shop"]: row["temp"] for row in weather}
    sales = [(n, ("cone", "tub")[n // 2 % 2], start + n * HOUR_US // 6) for n in range(132)]
    world.platform.features.push("sales", [world.sale(f"x{n}", n % 2, kind, asked, warm[f"s{n % 2}"]) for n, kind, asked in sales])


def read(world, version):
    return datasets.read(world.platform.repositories.tables, version)


@pytest.mark.parametrize("split", ["rota.RandomSplit(0.3)", 'rota.GroupSplit(by="asked_at", test=0.3)'])
def test_a_model_is_trained_and_scored_and_later_data_leave_every_row_on_its_side(with_split, split):
    world = with_split(split)
    world.history(2)
    first = world.train()
    assert first.status == "succeeded", first.error
    (before,) = world.metadata.find(DatasetVersion)
    assert (before.run, before.environment, before.id) == (first.id, "prod", "ice@1")
    assert abs(before.test_rows / before.rows - 0.3) < 0.1
    one_more_day(world)
    second = world.train()
    assert second.status == "succeeded", second.error
    after = world.metadata.find(DatasetVersion, order="number")[-1]
    both = read(world, before).join(read(world, after), on="id", suffix="_after")
    assert both.height > 100
    assert both["is_test"].equals(both["is_test_after"], check_names=False)
    assert {version.number for version in world.versions()} == {1, 2}


def test_training_again_on_the_same_rows_uses_the_same_version(with_split):
    world = with_split("rota.RandomSplit(0.3)")
    world.history(2)
    first = world.train()
    world.clock.advance(world.clock.now_us() + 1_000)
    second = world.train()
    assert [first.status, second.status] == ["succeeded", "succeeded"], second.error
    (version,) = world.metadata.find(DatasetVersion)
    assert [each.dataset for each in world.versions()] == [version.id, version.id]
    causes = {edge.cause for edge in world.metadata.edges([f"run:{second.id}"], "causes")}
    assert f"dataset_version:{version.id}" in causes


def frame(test):
    at = [day * DAY_US for day in range(30)]
    return pl.DataFrame({datasets.AT: at, datasets.TEST: [test(day) for day in range(30)]})


def test_the_newest_rows_are_the_test_rows_of_a_time_split_and_the_newest_week_of_any_other():
    by_time = datasets.newest(frame(lambda day: day >= 27))
    assert by_time[datasets.AT].to_list() == [day * DAY_US for day in (27, 28, 29)]
    at_random = datasets.newest(frame(lambda day: day % 3 == 0))
    assert at_random[datasets.AT].to_list() == [day * DAY_US for day in range(23, 30)]
    assert datasets.newest(frame(lambda day: False)).height == 0
