"""Looking back: answers given beside those of another version on the same rows, and features recomputed cell by cell."""

import pytest

from rota.errors import InvalidInput, NotFound
from rota.manage.signals import labels, prediction_log
from rota.monitor import compare
from rota.ports.metadata import Batch
from rota.records.signal import Label


def test_a_version_compared_with_itself_answers_the_same_and_features_are_the_same(world):
    world.history(10)
    world.train()
    for _ in range(3):
        world.live()
    repositories, formats = world.platform.repositories, world.platform.formats
    (version,) = world.versions()
    month, everything = compare.by_month(repositories, formats, "ice", version)
    assert (month["month"], month["rows"], everything["month"]) == ("2013-07", 480, "all")
    assert month["served"] == pytest.approx(month["other"])
    assert "brier" in month["served"]
    journal, tables = repositories.journal, repositories.tables
    odd = prediction_log.read(tables, "ice", 0, world.clock.now_us())["prediction_id"][0]
    labels.append(journal, "ice", [Label(odd, 2.0, world.clock.now_us())], world.clock.now_us())  # past the door, as an older release took it
    apart, _ = compare.by_month(repositories, formats, "ice", version)
    assert (apart["rows"], apart["set_apart"]) == (479, 1)
    assert "brier" in apart["served"]
    found = compare.check_parity(repositories, world.platform.feed.pushes, "ice", rows=100)
    assert (found.differing, found.cells, found.outcome, found.not_compared) == ([], 2 * found.rows, "pass", 0)
    assert found.rows >= 100
    assert found.left_out == 480 - found.rows
    batch = Batch()
    batch.remove(version)
    repositories.metadata.commit(batch)
    gone = compare.check_parity(repositories, world.platform.feed.pushes, "ice", rows=100, newest=True)
    assert (gone.rows, gone.outcome, gone.not_compared) == (0, "inconclusive", 100)


def test_predictions_of_every_version_are_recomputed_by_the_features_of_their_own(world):
    world.history(10)
    world.train()
    world.live()
    world.train()
    assert len(world.versions()) == 2
    world.core.predict("ice", [{"shop": "s0", "kind": "cone"}], ["p1"])
    repositories, pushes = world.platform.repositories, world.platform.feed.pushes
    log = prediction_log.read(repositories.tables, "ice", 0, world.clock.now_us())
    found = compare.check_parity(repositories, pushes, "ice")
    assert (found.rows, found.differing, found.not_compared) == (log.height + 1, [], 0)


def test_there_is_nothing_to_compare_before_there_are_predictions_and_labels(world):
    world.history(10)
    world.train()
    repositories, formats = world.platform.repositories, world.platform.formats
    with pytest.raises(NotFound, match="no labelled predictions"):
        compare.by_month(repositories, formats, "ice", world.versions()[0])
    assert compare.check_parity(repositories, world.platform.feed.pushes, "ice").outcome == "inconclusive"
    with pytest.raises(InvalidInput, match="rows=0"):
        compare.check_parity(repositories, world.platform.feed.pushes, "ice", rows=0)


def test_a_feature_that_was_never_there_is_compared_as_null(world):
    world.history(10)
    world.train()
    world.clock.advance(world.clock.now_us() + 40 * 86_400_000_000)
    world.core.predict("ice", [{"shop": "s0", "kind": "cone"}], ["p1"])
    world.platform.signals.label("ice", [{"prediction_id": "p1", "value": 1.0}])
    repositories, formats = world.platform.repositories, world.platform.formats
    assert compare.by_month(repositories, formats, "ice", world.versions()[0])[0]["rows"] == 1
    assert compare.check_parity(repositories, world.platform.feed.pushes, "ice").differing == []
