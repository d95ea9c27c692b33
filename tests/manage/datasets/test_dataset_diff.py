"""What changed between two versions: rows that came, went and moved, columns that were added, and distributions that drifted."""

import msgspec
import polars as pl

from rota.backends.memory.blobs import MemoryBlobs
from rota.backends.memory.tables import MemoryTables
from rota.manage.datasets import build as datasets
from rota.manage.datasets import diff as dataset_diff
from rota.manage.datasets import profiles
from rota.records.data import Entity, Feature, FeatureService, FeatureView, Source
from rota.records.dataset import DatasetDefinition, RandomSplit
from rota.records.record import encode
from rota.records.time import HOUR_US
from rota.testing.story import NOON_US

SOURCE = Source("sales", {"id": "string", "shop": "string", "at": "timestamp", "price": "float"}, "at", id_field="id")
VIEW = FeatureView("shop", [Entity("shop", ["shop"])], SOURCE, {"last": Feature("price")})
DEFINITION = DatasetDefinition(FeatureService("s", [VIEW]), SOURCE, Feature("price > 50"), "at", window="999d", split=RandomSplit(0.4))


def sales(first, last):
    return pl.DataFrame([{"id": f"s{n}", "shop": f"h{n % 3}", "at": NOON_US + n * HOUR_US, "price": float(n * 37 % 100)} for n in range(first, last)])


class Versions:
    """Builds versions over one store."""

    def __init__(self):
        self.tables, self.blobs, self.number = MemoryTables(), MemoryBlobs(), 0

    def build(self, frame, definition=DEFINITION):
        self.number += 1
        source = MemoryTables()
        source.append("sources/sales", frame.with_columns(created_us=pl.lit(0, pl.Int64)))
        built = datasets.build(source, "ice", self.number, definition, now_us=NOON_US + 10_000 * HOUR_US)
        self.tables.append(built.version.table, built.rows)
        profile = profiles.profile(built.rows, definition, built.version.id, expected=None, now_us=0)
        return msgspec.structs.replace(built.version, statistics=self.blobs.put(encode(profile)))

    def diff(self, before, after):
        return dataset_diff.diff(self.tables, self.blobs, before, after)


def test_a_version_does_not_differ_from_itself():
    versions = Versions()
    version = versions.build(sales(0, 200))
    found = versions.diff(version, version)
    assert (found.same_rows, found.gone_rows, found.new_rows, found.moved) == (200, 0, 0, 0)
    assert (found.added, found.removed, found.retyped, found.drifted) == ((), (), (), ())
    assert max(column.distance for column in found.columns) == 0


def test_rows_are_told_apart_by_content_and_counted_one_to_one():
    versions = Versions()
    before, after = versions.build(sales(0, 200)), versions.build(sales(50, 260))
    found = versions.diff(before, after)
    assert (found.same_rows, found.gone_rows, found.new_rows, found.moved) == (150, 50, 60, 0)
    other = versions.build(sales(0, 200), msgspec.structs.replace(DEFINITION, split=RandomSplit(0.4, seed=9)))
    rows = [datasets.read(versions.tables, version).sort("id") for version in (before, other)]
    assert versions.diff(before, other).moved == (rows[0]["is_test"] != rows[1]["is_test"]).sum() > 0


def test_columns_that_came_went_or_changed_type_are_named():
    versions = Versions()
    before = versions.build(sales(0, 200))
    view = msgspec.structs.replace(VIEW, features={"last": Feature("price > 3"), "twice": Feature("2 * price")})
    after = versions.build(sales(0, 200), msgspec.structs.replace(DEFINITION, features=FeatureService("s", [view])))
    found = versions.diff(before, after)
    assert (found.added, found.removed) == (("shop__twice",), ())
    assert found.retyped == ("shop__last: Float64 -> Boolean",)
    assert versions.diff(after, before).removed == ("shop__twice",)


def test_a_column_that_lies_elsewhere_has_drifted_and_no_other():
    versions = Versions()
    before = versions.build(sales(0, 600))
    after = versions.build(sales(0, 600).with_columns(pl.col("price") + 40))
    found = versions.diff(before, after)
    assert set(found.drifted) == {"price", "shop__last", "label"}
    assert found.columns[0].distance > 0.3
    assert {column.name: column.distance for column in found.columns}["id"] == 0.0, "an identity has no distribution"
