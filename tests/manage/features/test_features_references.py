"""References: which service a list of names stands for, and what is said of names that stand for nothing."""

import pytest

from rota.backends.memory.metadata import MemoryMetadata
from rota.backends.memory.online import MemoryOnline
from rota.backends.memory.tables import MemoryTables
from rota.errors import InvalidInput, NotFound
from rota.manage.features.definitions import references, versions
from rota.manage.features.definitions import registration as registry
from rota.manage.features.online import row_codec
from rota.manage.features.online.reader import OnlineFeatures, merge, stored_view, upserts
from rota.records.data import Entity, FeatureService, FeatureView, OnDemandFeatureView, Source, sql
from rota.records.intake import CatalogStamp

SALES = Source("sales", {"shop": "string", "at": "timestamp", "amount": "float", "tax": "float", "name": "string"}, "at")
SHOP = Entity("shop", ["shop"])
SOLD = FeatureView("sold", [SHOP], SALES, {"amount": sql("amount"), "tax": sql("tax"), "name": sql("name")})
NEWER = FeatureView("sold", [SHOP], SALES, {"amount": sql("amount * 100"), "tax": sql("tax")})
REQUEST = OnDemandFeatureView("request", {"x": "float"}, {"double": sql("x * 2"), "half": sql("x / 2")})


@pytest.fixture
def metadata():
    made = MemoryMetadata()
    registry.register(made, MemoryTables(), [FeatureService("shops", [SOLD, REQUEST])], now_us=1)
    return made


@pytest.fixture
def twice(metadata):
    registry.register(metadata, MemoryTables(), [NEWER], now_us=2)
    return metadata


def test_references_are_read_in_the_order_in_which_they_are_given(metadata):
    asked = references.service(metadata, ["request:half", "sold:tax", "sold:amount"])
    assert asked.feature_names == ("request__half", "sold__tax", "sold__amount")
    assert asked.views == (REQUEST, SOLD)


def test_a_service_is_asked_for_by_its_name_or_given_itself(metadata):
    assert references.service(metadata, "shops") == FeatureService("shops", [SOLD, REQUEST])
    mine = FeatureService("mine", [SOLD[["tax"]]])
    assert references.service(metadata, mine) is mine
    assert mine.feature_names == ("sold__tax",)


def test_one_reference_may_stand_alone(metadata):
    assert references.service(metadata, "sold:tax").feature_names == ("sold__tax",)


def test_some_features_of_a_view_are_found_in_the_rows_of_the_whole_view(metadata):
    online = MemoryOnline()
    row = {"shop": "a", "at": 5, "amount": 7.0, "tax": 1.0, "name": "Anna's"}
    online.update(upserts(stored_view(SOLD), [row], 5), merge)
    asked = references.service(metadata, ["sold:name", "sold:amount"])
    assert OnlineFeatures(online, asked).vectors([{"shop": "a"}], 6) == [{"sold__name": "Anna's", "sold__amount": 7.0}]
    assert row_codec.prefix(asked.stored_views[0]) == row_codec.prefix(SOLD)


def test_a_version_is_that_definition_and_no_version_is_the_newest(twice):
    assert references.service(twice, ["sold@v1:name"]).views == (SOLD,)
    assert references.service(twice, ["sold@v2:amount"]).views == (NEWER,)
    assert references.service(twice, ["sold:amount"]).views == (NEWER,)
    assert references.service(twice, "shops").views == (SOLD, REQUEST), "a service keeps the definitions it was registered with"


def test_two_versions_of_a_view_are_asked_for_one_after_the_other(twice):
    with pytest.raises(InvalidInput, match="two versions of view 'sold' are asked for at once"):
        references.service(twice, ["sold@v1:amount", "sold@v2:tax"])


def test_a_retired_version_is_not_read(twice):
    first = versions.get(twice, "sold", 1)
    twice.commit(versions.retirement(first, [], twice.get(CatalogStamp, versions.CATALOG), actor="anna", now_us=3))
    with pytest.raises(NotFound, match=r"sold@v1 is retired; there are \['sold@v2'\]"):
        references.service(twice, ["sold@v1:amount"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["sold:amonut"], "view 'sold' has no feature 'amonut'; is it 'amount'?"),
        (["sould:amount"], "there is no feature view 'sould'; is it 'sold'?"),
        (["sold@v7:amount"], r"there is no version sold@v7; there are \['sold@v1'\]"),
        (["zzz:amount"], r"there is no feature view 'zzz'; there are \['request', 'sold'\]"),
        ("shop", "there is no feature service 'shop'; is it 'shops'?"),
        ("", "there is no feature service ''"),
        ("../shops", "there is no feature service '../shops'; is it 'shops'?"),
        ("x" * 10_000, "there is no feature service 'xxx"),
        ("\ud800", "there is no feature service"),
    ],
)
def test_what_does_not_exist_is_told_with_what_is_near(metadata, features, message):
    with pytest.raises(NotFound, match=message) as told:
        references.service(metadata, features)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize(
    "reference",
    ["sold", "sold__amount", ":", "sold:", ":amount", "sold:amount:x", "sold@2:amount", "sold@v:amount", "../sold:amount", "sold:*",
     "s\u00f6ld:a", "", "a:" + "b" * 9_999,
     "sold:amount\n", "\ud800:x", None, 7, ["sold:amount"]],
)  # fmt: skip
def test_what_is_no_reference_is_told_what_one_looks_like(metadata, reference):
    with pytest.raises(InvalidInput, match="write 'view:feature' or 'view@v2:feature'") as told:
        references.service(metadata, [reference])
    assert len(str(told.value)) < 300


def test_nothing_and_the_same_twice_are_no_question(metadata):
    with pytest.raises(InvalidInput, match="no feature is asked for"):
        references.service(metadata, [])
    with pytest.raises(InvalidInput, match="selects a feature twice"):
        references.service(metadata, ["sold:tax", "sold:tax"])


def test_a_service_selects_only_what_its_views_have():
    with pytest.raises(InvalidInput, match="selects"):
        FeatureService("s", [SOLD], selected=["sold__nix"])
    with pytest.raises(InvalidInput, match="has no feature"):
        SOLD[["nix"]]
